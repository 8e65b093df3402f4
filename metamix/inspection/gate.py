"""GateDisplay: weights of the columns along one column of X, or who leads over two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from metamix.data.cells import codes_of, column_kind, date_part, dates_of, floats_of, sorted_levels
from metamix.data.features import feature_values, find_feature
from metamix.data.tables import n_rows
from metamix.drawing import area_style, colour, names_in_pictures, new_axes
from metamix.inspection.inputs import InspectedRows, regimes_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GateDisplay"]

Array = NDArray[np.float64]
#: Categories shown; the others are merged.
MOST_CATEGORIES = 12
OTHERS, MISSING = "other values", "missing"
#: Columns of the mixture whose weight is below this everywhere are left out of pictures.
NEGLIGIBLE = 0.005
#: Rows in a cell of a map on average.
ROWS_PER_CELL = 5
#: Least opacity of a cell, so that its colour can be told.
LEAST_OPACITY = 0.3


@dataclass(frozen=True)
class Bins:
    """A column of X in bins.

    Parameters
    ----------
    name : str
    labels : list of str
        Of categories; empty for numbers and dates, which have `edges`.
    edges : ndarray of shape (B + 1,)
        Of categories -0.5, 0.5, …; of dates seconds since 1970.
    index : ndarray of int, shape (n,)
        Bin of each row; -1 for numbers and dates that are missing.
    dates : bool
    """

    name: str
    labels: list[str]
    edges: NDArray[np.floating[Any]]
    index: NDArray[np.intp]
    dates: bool = False

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def frame(self) -> dict[str, Any]:
        """What frames say of each bin."""
        if self.labels:
            return {self.name: self.labels}
        ends = self.edges.astype("M8[s]") if self.dates else self.edges
        return {f"{self.name} from": ends[:-1], f"{self.name} to": ends[1:]}


def in_bins(column: Any, name: str, most: int) -> Bins:
    """A column in at most so many bins: quantiles of numbers and dates, the most frequent categories."""
    kind = column_kind(column)
    if kind in ("number", "date", "duration"):
        values = date_part(dates_of(column), "seconds") if kind == "date" else floats_of(column)
        known = np.isfinite(values)
        edges: NDArray[np.floating[Any]] = np.zeros(1)
        if known.any():
            edges = np.unique(np.quantile(values[known], np.linspace(0, 1, most + 1)))
        if len(edges) == 1:  # one value
            edges = np.array([edges[0] - 0.5, edges[0] + 0.5])
        index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        return Bins(name, [], edges, np.where(known, index, -1), kind == "date")
    codes, levels, ordered = codes_of(column)
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    often = [levels[i] for i in np.argsort(-counts, kind="stable")[:MOST_CATEGORIES] if counts[i]]
    labels = [level for level in levels if level in often] if ordered else sorted_levels(often)
    place = {level: i for i, level in enumerate(labels)}
    ends = []
    if (counts > 0).sum() > len(labels):
        ends.append(OTHERS)
    if (codes < 0).any():
        ends.append(MISSING)
    rare, missing = len(labels), len(labels) + len(ends) - 1
    index = np.array([*(place.get(level, rare) for level in levels), missing], dtype=np.intp)[codes]
    labels = [*labels, *ends]
    return Bins(name, labels, np.arange(len(labels) + 1) - 0.5, index)


class GateDisplay:
    """Weights of the columns of a mixture along one column of X, or which of them leads over two.

    All other columns of X are as they are in the rows given. Make one with `from_estimator`.

    Parameters
    ----------
    names : list of K str
        Columns of `gate_weights`.
    bins : list of one or two Bins
    weights : ndarray of shape (B, K) or (B1, B2, K)
        Mean weight of the rows in each bin; NaN where there are none.
    counts : ndarray of shape (B,) or (B1, B2)
        Rows in each bin.

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> from metamix.inspection import GateDisplay
    >>> X, y = make_regimes(200, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, random_state=0).fit(X, y)
    >>> GateDisplay.from_estimator(mixture, X, features=0, n_bins=4).frame().shape
    (4, 8)
    """

    def __init__(self, names: list[str], bins: list[Bins], weights: Array, counts: NDArray[np.intp]) -> None:
        self.names = names
        self.bins = bins
        self.weights = weights
        self.counts = counts

    @classmethod
    def from_estimator(
        cls,
        mixture: Any,
        X: Any,
        y: Any = None,
        *,
        features: Any = None,
        target: int = 0,
        n_bins: int = 10,
        of: str = "regimes",
    ) -> Self:
        """Mean weights in bins of one or two columns.

        Parameters
        ----------
        mixture : MixtureRegressor or MixtureClassifier
            Fitted.
        X : table of shape (n, d)
        y : ignored
        features : str, int, or a pair of them
            By default the column along which the weights change most.
        target : int
        n_bins : int
            Quantiles of numbers and dates; of two columns fewer, for five rows in a cell on average.
        of : {"regimes", "columns"}
            Weights of the regimes of ``mixture.mixture_`` where it has several, or of the columns of `gate_weights`.
        """
        if of not in ("regimes", "columns"):
            raise ValueError(f"of={of!r} is unknown; give 'regimes' or 'columns'.")
        rows = InspectedRows.read(mixture, cls.__name__, X, None, target)
        shown = regimes_of(rows.mixture) if of == "regimes" else rows.mixture
        weights, names = rows.weights(shown), rows.names
        n = n_rows(rows.table)
        if features is None:
            found = [in_bins(feature_values(rows.table, j), name, n_bins) for j, name in enumerate(names)]
            features = int(np.argmax([_moved(one, weights) for one in found]))
        asked = list(features) if isinstance(features, list | tuple | np.ndarray) else [features]
        if len(asked) not in (1, 2):
            raise ValueError(f"features has {len(asked)} columns; give one, or a pair of them.")
        most = n_bins if len(asked) == 1 else min(n_bins, max(2, int(np.sqrt(n / ROWS_PER_CELL))))
        bins = [in_bins(feature_values(rows.table, j), names[j], most) for j in (find_feature(names, a) for a in asked)]
        return cls(list(shown.named_experts_), bins, *_means(bins, weights))

    def frame(self) -> pd.DataFrame:
        """A row for each bin: its ends or value, the number of rows, mean weights; of two columns also the leader."""
        import pandas as pd

        if len(self.bins) == 1:
            columns = {**self.bins[0].frame, "rows": self.counts}
            return pd.DataFrame(columns | {f"weight of {k}": self.weights[:, i] for i, k in enumerate(self.names)})
        one, other = self.bins
        table: dict[str, Any] = {key: np.repeat(value, len(other)) for key, value in one.frame.items()}
        table |= {key: np.tile(value, len(one)) for key, value in other.frame.items()}
        flat = self.weights.reshape(-1, len(self.names))
        leading = np.array(self.names, dtype=object)[np.nan_to_num(flat).argmax(axis=1)]
        table |= {"rows": self.counts.ravel(), "leading": np.where(self.counts.ravel() > 0, leading, None)}
        return pd.DataFrame(table | {f"weight of {k}": flat[:, i] for i, k in enumerate(self.names)})

    def plot(self, ax: Any = None) -> Self:
        """Draw stacked weights, or the map of two columns; the more opaque, the larger the leader's weight."""
        self.ax_ = new_axes(ax, 7.5, 4.2)
        self.figure_ = self.ax_.figure
        handles = self._plot_weights() if len(self.bins) == 1 else self._plot_map()
        for axis, one in zip((self.ax_.xaxis, self.ax_.yaxis), self.bins, strict=False):
            _label(axis, one)
        self.ax_.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        self.ax_.spines[["top", "right"]].set_visible(False)
        return self

    def _plot_weights(self) -> list[Any]:
        (bins,) = self.bins
        below = np.zeros(len(bins))
        shown = [k for k in range(len(self.names)) if np.nanmax(self.weights[:, k]) >= NEGLIGIBLE]
        for k, name in zip(shown, names_in_pictures([self.names[k] for k in shown]), strict=True):
            above = below + np.nan_to_num(self.weights[:, k])
            if bins.labels:
                self.ax_.bar(range(len(bins)), above - below, bottom=below, width=0.8, label=name, **area_style(k))
            else:
                ends = [np.append(side, side[-1]) for side in (below, above)]
                self.ax_.fill_between(bins.edges, *ends, step="post", label=name, **area_style(k))
            below = above
        self.ax_.set(ylim=(0, 1), ylabel="mean weight", xlim=(bins.edges[0], bins.edges[-1]))
        return list(self.ax_.get_legend_handles_labels()[0][::-1])  # from top to bottom, as the areas

    def _plot_map(self) -> list[Any]:
        from matplotlib.colors import to_rgb
        from matplotlib.patches import Patch

        one, other = self.bins
        leading, weight = np.nan_to_num(self.weights).argmax(axis=2), np.nan_to_num(self.weights).max(axis=2)
        leaders = np.unique(leading[self.counts > 0])
        cells = np.ones((*leading.shape, 4))
        cells[..., :3] = np.array([to_rgb(colour(k)) for k in range(len(self.names))])[leading]
        cells[..., 3] = np.where(self.counts > 0, np.maximum(weight, LEAST_OPACITY), 0.0)
        self.ax_.pcolormesh(one.edges, other.edges, cells.transpose(1, 0, 2), edgecolors="none")
        # Colours are repeated from the ninth on, which are told apart by numbers.
        numbered = bool(leaders.max() > 7)
        names = names_in_pictures([self.names[k] for k in leaders])
        if numbered:
            middles = [(bins.edges[1:] + bins.edges[:-1]) / 2 for bins in self.bins]
            for i, j in zip(*np.nonzero(self.counts), strict=True):
                self.ax_.text(middles[0][i], middles[1][j], str(leading[i, j]), ha="center", va="center")
        labels = [f"{k}: {name}" if numbered else name for k, name in zip(leaders, names, strict=True)]
        return [Patch(facecolor=colour(k), label=label) for k, label in zip(leaders, labels, strict=True)]


def _means(bins: list[Bins], weights: Array) -> tuple[Array, NDArray[np.intp]]:
    """Mean weights and numbers of rows in each bin, or each pair of bins."""
    shape = tuple(len(one) for one in bins)
    known = np.all([one.index >= 0 for one in bins], axis=0)
    index = np.ravel_multi_index([one.index[known] for one in bins], shape)
    size = int(np.prod(shape))
    counts = np.bincount(index, minlength=size)
    sums = np.column_stack([np.bincount(index, column, minlength=size) for column in weights[known].T])
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], np.nan)
    return means.reshape(*shape, -1), counts.reshape(shape)


def _moved(bins: Bins, weights: Array) -> float:
    """Variance of the mean weights between bins, summed over the columns of the mixture."""
    means, counts = _means([bins], weights)
    if not counts.any():
        return 0.0
    share = counts / counts.sum()
    means = np.nan_to_num(means)
    return float((share @ means**2 - (share @ means) ** 2).sum())


def _label(axis: Any, bins: Bins) -> None:
    """Name an axis, and its categories or dates."""
    axis.set_label_text(names_in_pictures([bins.name], 40)[0])
    if bins.labels:
        axis.set_ticks(range(len(bins)), names_in_pictures(bins.labels))
        if axis.axis_name == "x" and (len(bins) > 6 or max(map(len, bins.labels)) > 10):
            for tick in axis.get_ticklabels():
                tick.set(rotation=40, ha="right", rotation_mode="anchor")
    elif bins.dates:
        places = np.linspace(bins.edges[0], bins.edges[-1], 5)
        axis.set_ticks(places, [str(place.astype("M8[D]")) for place in places.astype("M8[s]")])
