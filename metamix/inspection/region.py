"""RegionDisplay: who leads where, with which loss, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from metamix.data.frames import listed
from metamix.drawing import MUTED, area_style, colour, log_axis, names_in_pictures, panels
from metamix.explanation import RegionRules, find_rules
from metamix.inspection.inputs import InspectedRows, regimes_of
from metamix.training.wording import short_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RegionDisplay"]

Array = NDArray[np.float64]
#: Losses are drawn on a logarithmic axis where the largest is so many times the smallest.
WIDE = 20.0


class RegionDisplay:
    r"""Which regime leads where: shares of the rows, losses inside and outside, and the regions in words.

    Each row belongs to the regime with the largest weight. Make one with `from_estimator`.

    Parameters
    ----------
    table : DataFrame
        A row for each regime, see `frame`.
    regions : RegionRules
    measure : str
        What the loss is.
    out_of_fold : bool
        Whether losses are those of out-of-fold predictions.

    Attributes
    ----------
    accuracy : float
        Share of held-out rows whose leader the rules name.
    p_value : float
        Of a permutation test: how often such a tree does as well where the leaders are shuffled. NaN where one regime
        leads everywhere.
    importances : DataFrame
        For each column of X the accuracy lost where its values are shuffled in held-out rows (mean and standard
        deviation over shuffles), and how often nothing is lost. P-values are not corrected for the number of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from metamix import MixtureRegressor
    >>> from metamix.inspection import RegionDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(200, 2))
    >>> y = np.where(X[:, 0] > 0.3, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(200)
    >>> mixture = MixtureRegressor(["ridge"], n_experts=2, specialize=True, gate="softmax", random_state=0).fit(X, y)
    >>> print(*RegionDisplay.from_estimator(mixture, X, y).rules(), sep="\n")
    ridge-1 leads where x0 ≤ 0.3 (25 % of the rows, right for 100 % of them when held out).
    ridge-2 leads where x0 > 0.3 (75 % of the rows, right for 100 % of them when held out).
    """

    def __init__(self, table: pd.DataFrame, regions: RegionRules, measure: str, out_of_fold: bool) -> None:
        self.table = table
        self.regions = regions
        self.measure = measure
        self.out_of_fold = out_of_fold

    @classmethod
    def from_estimator(
        cls, mixture: Any, X: Any, y: Any = None, *, target: int = 0, n_permutations: int = 99, random_state: int = 0
    ) -> Self:
        """Regions of the regimes of ``mixture.mixture_`` where it has several, else of the columns of the mixture.

        Parameters
        ----------
        mixture : MixtureRegressor or MixtureClassifier
            Fitted.
        X : table of shape (n, d)
            20 rows or more.
        y : array-like of shape (n,) or (n, T), optional
            Without it there are no losses. Of the rows of `fit` they are out of fold.
        target : int
        n_permutations : int
            For the p-values; 0 leaves the tests out.
        random_state : int
        """
        rows = InspectedRows.read(mixture, cls.__name__, X, y, target)
        regimes = regimes_of(rows.mixture)
        names, weights = list(regimes.named_experts_), rows.weights(regimes)
        leading = weights.argmax(axis=1)
        regions = find_rules(rows.table, leading, names, n_permutations=n_permutations, random_state=random_state)
        table = _table(names, weights, None if rows.y is None else rows.losses(rows.predictions(regimes)))
        return cls(table, regions, rows.measure, rows.of_fit)

    @property
    def accuracy(self) -> float:
        """Share of held-out rows whose leader the rules name."""
        return self.regions.accuracy

    @property
    def p_value(self) -> float:
        """Of a permutation test of the tree."""
        return self.regions.p_value

    @property
    def importances(self) -> pd.DataFrame:
        """A row for each column of X: importance, deviation over shuffles, p-value."""
        return self.regions.frame()

    def rules(self) -> list[str]:
        """Sentences: who leads where, in how many rows, and how often the words are right in held-out rows."""
        return [str(rule) for rule in self.regions.rules]

    def frame(self) -> pd.DataFrame:
        """A row for each regime.

        Returns
        -------
        DataFrame
            Share of the rows that it leads, mean weight; with y its loss in the rows that it leads, the smallest loss
            of another there and whose that is, its loss in the other rows, and the loss of the leaders there.
        """
        return self.table

    def __str__(self) -> str:
        found = self.regions
        p_value = f", p = {short_number(found.p_value)}" if np.isfinite(found.p_value) else ""
        whole = (
            f"The rules name the leader of {short_number(100 * found.accuracy)} % of the rows held out "
            f"(the most frequent one leads {short_number(100 * found.chance)} %{p_value})."
        )
        named = {rule.leader for rule in found.rules}
        nowhere = self.table["regime"][(self.table["share"] > 0) & ~self.table["regime"].isin(named)].tolist()
        more = [f"No conditions were found for {listed(nowhere)}."] if nowhere else []
        return "\n".join([*self.rules(), *more, whole])

    def plot(self, ax: Any = None) -> Self:
        """Draw the shares of the regimes that lead somewhere, and with y their losses inside and outside."""
        table = self.table
        drawn = np.flatnonzero(table["share"] > 0)
        K = len(drawn)
        losses = "loss_inside" in table
        if losses:
            self.ax_, self.losses_ax_ = panels(ax, [4.0, 4.5], 1.7 + 0.36 * K)
        else:
            (self.ax_,), self.losses_ax_ = panels(ax, [5.5], 1.4 + 0.36 * K), None
        self.figure_ = self.ax_.figure
        places = np.arange(K)[::-1]
        for place, k in zip(places, drawn, strict=True):
            share = float(table["share"].iloc[k])
            self.ax_.barh(place, share, height=0.7, **area_style(int(k)))
            self.ax_.annotate(f"{100 * share:.0f} %", (share, place), (4, 0), textcoords="offset points", va="center")
        table = table.iloc[drawn]
        self.ax_.set_yticks(places, names_in_pictures(table["regime"].tolist()))
        self.ax_.set(xlim=(0, max(0.1, 1.25 * table["share"].max())), xlabel="share of the rows that it leads")
        self.ax_.spines[["top", "right"]].set_visible(False)
        if self.losses_ax_ is not None:
            self._plot_losses(table, places)
        return self

    def _plot_losses(self, table: pd.DataFrame, places: NDArray[np.intp]) -> None:
        ax = self.losses_ax_
        kinds = (
            ("loss_inside", "inside", {"marker": "o", "color": colour(0)}),
            ("other_inside", "the best other there", {"marker": "o", "facecolor": "none", "edgecolor": colour(0)}),
            ("loss_outside", "outside", {"marker": "D", "color": colour(1)}),
        )
        for name, label, look in kinds:
            ax.scatter(table[name], places, s=55, label=label, zorder=3, **look)
        drawn = table[[name for name, _, _ in kinds]].to_numpy(dtype=float)
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn) and drawn.min() > 0 and drawn.max() > WIDE * drawn.min():
            log_axis(ax.xaxis, drawn.min(), drawn.max())
        ax.hlines(places, *ax.get_xlim(), color="0.92", zorder=0)
        ax.set(yticks=[], ylim=self.ax_.get_ylim())
        ax.set_xlabel(f"{self.measure}{', out of fold' if self.out_of_fold else ''}")
        ax.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, columnspacing=1, handletextpad=0
        )
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.axvline(ax.get_xlim()[0], color=MUTED, linewidth=0.5)


def _table(names: list[str], weights: Array, losses: Array | None) -> pd.DataFrame:
    """Shares and losses of each regime."""
    import pandas as pd

    leading, K = weights.argmax(axis=1), len(names)
    table: dict[str, Any] = {
        "regime": names,
        "share": np.bincount(leading, minlength=K) / len(leading),
        "mean_weight": weights.mean(axis=0),
    }
    if losses is None:
        return pd.DataFrame(table)
    known = np.isfinite(losses).all(axis=1)
    leading, losses = leading[known], losses[known]
    columns: dict[str, list[Any]] = {
        name: [] for name in ("loss_inside", "other_inside", "best_other", "loss_outside", "leaders_outside")
    }
    for k in range(K):
        inside = leading == k
        means = losses[inside].mean(axis=0) if inside.any() else np.full(K, np.nan)
        others = np.delete(np.arange(K), k)
        best = others[means[others].argmin()] if len(others) and inside.any() else None
        columns["loss_inside"].append(means[k])
        columns["other_inside"].append(np.nan if best is None else means[best])
        columns["best_other"].append(None if best is None else names[best])
        outside = ~inside
        columns["loss_outside"].append(losses[outside, k].mean() if outside.any() else np.nan)
        led = losses[outside, leading[outside]]
        columns["leaders_outside"].append(led.mean() if outside.any() else np.nan)
    return pd.DataFrame(table | columns)
