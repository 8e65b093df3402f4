"""ConvergenceDisplay: rounds of the alternation, and the starts that competed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from metamix.drawing import MUTED, names_in_pictures, panels, point_style
from metamix.inspection.inputs import check_mixture, regimes_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ConvergenceDisplay"]

#: Starts in the picture, the best ones.
MOST_STARTS = 16


class ConvergenceDisplay:
    """Loss of every round of the alternation, the round that was kept, and the scores of the starts.

    Make one with `from_estimator`.

    Parameters
    ----------
    history : DataFrame
        `history_` with a column `chosen`.
    starts : DataFrame
        `starts_`; empty where the start was given.
    measure : str
        Column of the history by which rounds were chosen.

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> from metamix.inspection import ConvergenceDisplay
    >>> X, y = make_regimes(200, random_state=0)
    >>> mixture = MixtureRegressor(["ridge"], n_experts=2, specialize=True, random_state=0).fit(X, y)
    >>> int(ConvergenceDisplay.from_estimator(mixture).frame()["chosen"].sum())
    1
    """

    def __init__(self, history: pd.DataFrame, starts: pd.DataFrame, measure: str = "loss") -> None:
        self.history = history
        self.starts = starts
        self.measure = measure

    @classmethod
    def from_estimator(cls, mixture: Any, X: Any = None, y: Any = None, *, target: int = 0) -> Self:
        """Rounds and starts of a fitted mixture; X, y and target are ignored, since all targets share the rounds.

        Raises
        ------
        ValueError
            If there was no alternation.
        """
        mixture = check_mixture(mixture, cls.__name__)
        history = mixture.history_.copy()
        if not len(history):
            raise ValueError(
                f"specialize={mixture.specialize!r}, so that there were no rounds; fit with specialize=True or 'auto'."
            )
        names = [f"share_{name}" for name in regimes_of(mixture).named_experts_]
        shares = [name for name in history if name.startswith("share_")]
        same = np.ones(len(history), dtype=bool)
        if set(names) <= set(shares):  # rounds with other components were followed by these
            others = [name for name in shares if name not in names]
            same = (history[names].notna().all(axis=1) & history[others].isna().all(axis=1)).to_numpy()
        fold = history["fold"].to_numpy() if "fold" in history else np.zeros(len(history), dtype=int)
        in_sample = mixture.cv is None
        chosen = np.zeros(len(history), dtype=bool)
        for f in np.unique(fold):
            rows = np.flatnonzero((fold == f) & same)
            rows = rows if len(rows) else np.flatnonzero(fold == f)
            # In sample EM ends with the likeliest round; out of fold the round with the smallest loss is kept.
            chosen[rows[-1] if in_sample else rows[history["loss"].to_numpy()[rows].argmin()]] = True
        return cls(history.assign(chosen=chosen), mixture.starts_, "log_likelihood" if in_sample else "loss")

    def frame(self) -> pd.DataFrame:
        """A row for each round, as in `history_`, and whether it was kept."""
        return self.history

    def plot(self, ax: Any = None) -> Self:
        """Draw the loss (in sample the log-likelihood) of the rounds, and the score of the best 16 starts."""
        starts = self.starts.head(MOST_STARTS)
        if len(starts):
            height = max(3.6, 1.2 + 0.28 * len(starts))
            self.ax_, self.starts_ax_ = panels(ax, [4.5, 5.5], height)
        else:
            (self.ax_,), self.starts_ax_ = panels(ax, [5.5], 3.6), None
        self.figure_ = self.ax_.figure
        table = self.history if "fold" in self.history else self.history.assign(fold=0)
        for k, (fold, rows) in enumerate(table.groupby("fold")):
            place = rows["round"] if rows["round"].is_unique else np.arange(1, len(rows) + 1)
            label = f"fold {fold}" if "fold" in self.history else None
            self.ax_.plot(place, rows[self.measure], markersize=5, label=label, **point_style(k))
            kept = rows["chosen"].to_numpy()
            self.ax_.plot(
                np.asarray(place)[kept], rows[self.measure][kept], "o", markersize=12, fillstyle="none", color="black",
                label="kept" if k == 0 else None,
            )  # fmt: skip
        last = int(table.groupby("fold")["round"].size().max())
        self.ax_.set_xticks(range(1, last + 1, 1 + last // 12))
        self.ax_.set_xlim(0.5, last + 0.5)
        self.ax_.margins(y=0.15)
        out_of_fold = "log-likelihood" if self.measure == "log_likelihood" else "out-of-fold loss"
        self.ax_.set(xlabel="round", ylabel=out_of_fold)
        self.ax_.legend(frameon=False)
        if self.starts_ax_ is not None:
            places = np.arange(len(starts))[::-1]
            self.starts_ax_.scatter(starts["score"], places, color=MUTED)
            self.starts_ax_.set_yticks(places, names_in_pictures(starts["start"].tolist(), 36))
            more = len(self.starts) - len(starts)
            self.starts_ax_.set_xlabel(
                f"score of the start, {f'the best {MOST_STARTS}; ' if more else ''}left is better"
            )
            self.starts_ax_.grid(axis="y", color="0.9")
            self.starts_ax_.set_axisbelow(True)
        for one in (self.ax_, self.starts_ax_):
            if one is not None:
                one.spines[["top", "right"]].set_visible(False)
        return self
