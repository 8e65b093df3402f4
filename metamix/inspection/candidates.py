"""CandidatesDisplay: paired differences between the candidates, and their weights in the blend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from metamix.drawing import MUTED, colour, leave_out_far, panels, readable
from metamix.estimators.validation import check_target_number
from metamix.inspection.inputs import check_mixture
from metamix.training.candidates import CANDIDATES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CandidatesDisplay"]

Array = NDArray[np.float64]
MEAN = CANDIDATES[0]


class CandidatesDisplay:
    """Out-of-fold losses of the candidates, compared with the best one in pairs, and weights in the blend.

    Make one with `from_estimator`.

    Parameters
    ----------
    candidates : DataFrame
        `candidates_` of one target.
    measure : str
        What the loss is.
    winner : str
        The candidate that the verdict names.

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> from metamix.inspection import CandidatesDisplay
    >>> X, y = make_regimes(200, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, random_state=0).fit(X, y)
    >>> CandidatesDisplay.from_estimator(mixture).frame().equals(mixture.candidates_)
    True
    """

    def __init__(self, candidates: pd.DataFrame, measure: str, winner: str) -> None:
        self.candidates = candidates
        self.measure = measure
        self.winner = winner

    @classmethod
    def from_estimator(cls, mixture: Any, X: Any = None, y: Any = None, *, target: int = 0) -> Self:
        """The candidates of a fitted mixture, which knows them without X and y.

        Raises
        ------
        ValueError
            If there were no candidates.
        """
        mixture = check_mixture(mixture, cls.__name__)
        if mixture.candidates_ is None:
            raise ValueError("there are no candidates with specialize=True or cv=None; fit with specialize='auto'.")
        n_targets = mixture._fitted.n_targets
        number = check_target_number(target, n_targets)
        verdict: Any = mixture.verdict_
        if n_targets is None:
            return cls(mixture.candidates_, verdict.measure, verdict.winner)
        names: Any = mixture._target_names
        table = mixture.candidates_
        table = table[table["target"] == names[number]].drop(columns="target").reset_index(drop=True)
        return cls(table, verdict[number].measure, verdict[number].winner)

    def frame(self) -> pd.DataFrame:
        """A row for each candidate: loss, difference to the best, its standard error, weight in the blend."""
        return self.candidates

    def plot(self, ax: Any = None) -> Self:
        """Draw the differences with two standard errors, and the weights beside."""
        table = self.candidates
        self.ax_, self.weights_ax_ = panels(ax, [6.0, 2.4], 1.3 + 0.36 * len(table))
        self.figure_ = self.ax_.figure
        places = np.arange(len(table))[::-1]
        error = 2 * np.where(np.isfinite(table["standard_error"]), table["standard_error"], 0.0)
        named = (table["candidate"] == self.winner).to_numpy()
        for rows, shade in ((~named, MUTED), (named, colour(0))):
            self.ax_.errorbar(
                table["difference"][rows], places[rows], xerr=error[rows], fmt="o", color=shade, capsize=3, markersize=7
            )
        self.ax_.axvline(0, color="0.8", zorder=0)
        leave_out_far(self.ax_, table["difference"].to_numpy(), error, places, (table["candidate"] == MEAN).to_numpy())
        self.ax_.set_yticks(places, table["candidate"])
        self.ax_.get_yticklabels()[int(np.argmax(named))].set_color(colour(0))
        self.ax_.set_xlabel(f"{self.measure}, difference to the best\n(two standard errors); the verdict's in blue")
        parts = table["candidate"].isin(CANDIDATES).to_numpy()  # the blend has weight one in itself
        weights = table["weight"].to_numpy(dtype=float)
        self.weights_ax_.barh(places[parts], weights[parts], color=colour(0), height=0.6)
        for place, weight in zip(places[parts], weights[parts], strict=True):
            if weight > 0:
                self.weights_ax_.annotate(
                    readable(weight), (weight, place), (4, 0), textcoords="offset points", va="center"
                )
        self.weights_ax_.set(xlim=(0, 1.25), ylim=self.ax_.get_ylim(), yticks=[], xticks=[0, 0.5, 1])
        self.weights_ax_.set_xlabel("weight in the blend")
        for one in (self.ax_, self.weights_ax_):
            one.spines[["top", "right"]].set_visible(False)
        return self
