"""What a report is about: a fitted mixture, rows, and how models and targets are called on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.cells import is_pandas
from metamix.data.tables import n_rows
from metamix.drawing import readable, short_names
from metamix.inspection.inputs import InspectedRows, regimes_of
from metamix.inspection.report import charts
from metamix.inspection.report.items import Table, clipped

__all__ = ["FEWEST_ROWS", "MOST_POINTS", "MOST_TARGETS", "Subject", "summary_of_points"]

#: More rows than this are drawn at random for pictures with a point for each.
MOST_POINTS = 2_000
#: Targets with parts of their own.
MOST_TARGETS = 5
#: Fewer rows allow no rules of regions.
FEWEST_ROWS = 20


class Subject:
    """What a report is about.

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Fitted.
    X : table of shape (n, d)
    y : array-like of shape (n,), (n, T) or (n, L)
    comparison : Comparison, optional
        Of `metamix.compare`, to be shown beside the candidates.

    Raises
    ------
    TypeError, ValueError
        As `InspectedRows.read` does.
    """

    def __init__(self, mixture: Any, X: Any, y: Any, comparison: Any = None) -> None:
        rows = InspectedRows.read(mixture, "metamix.report", X, y, needs_y="losses")
        self.mixture, self.X, self.y, self.comparison = rows.mixture, X, y, comparison
        self.of_fit, self.measure = rows.of_fit, rows.measure
        self.n, self.names = n_rows(rows.table), rows.names
        labels = self.mixture._target_names
        self.targets = list(range(1 if labels is None else len(labels)))
        label = "Label" if rows.several_labels else "Target"
        self.headings = [""] if labels is None else [f"{label} {clipped(name, 80)}" for name in labels]
        self.regimes = regimes_of(self.mixture)
        self.has_regimes = self.regimes is not self.mixture or self.mixture.candidates_ is None
        #: What the columns of the gate are called on the page.
        self.noun = "regime" if self.has_regimes else "model"

    @property
    def expert(self) -> str:
        """What the experts that lead are called."""
        return "regime" if self.has_regimes else "expert"

    def points(
        self, x: NDArray[Any], y: NDArray[Any], leading: NDArray[np.intp], x_title: str, y_title: str, **how: Any
    ) -> tuple[charts.Spec, str]:
        """Points of rows, and sentences: who leads them, and whether all are drawn."""
        names = self.regimes._fitted.names
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        most = MOST_POINTS // min(len(self.targets), MOST_TARGETS)
        said = ""
        if len(known) > most:
            said = f"Of {len(known)} rows, {most} drawn at random are shown."
            known = np.sort(np.random.default_rng(0).choice(known, most, replace=False))
        places = np.unique(leading[known])
        leaders = (
            "Colours are the leaders." if len(places) > 1 else f"{clipped(names[places[0]], 60)} leads all of them."
        )
        said = f"{leaders} {said}"
        short = dict(zip(places, short_names([names[k] for k in places]), strict=True))
        index = self.X.index if is_pandas(self.X) else range(self.n)
        values = [
            {"row": clipped(index[i], 40), "x": float(f"{x[i]:.5g}"), "y": float(f"{y[i]:.5g}"),
             "name": short[leading[i]]}
            for i in known
        ]  # fmt: skip
        return charts.points(values, list(short.values()), x_title, y_title, places=list(map(int, places)), **how), said


def summary_of_points(
    name: str, x: NDArray[Any], y: NDArray[Any], leading: NDArray[np.intp], names: Sequence[str]
) -> Table:
    """Means of both axes for the rows that each leads: a cloud of points in few numbers."""
    known = np.isfinite(x) & np.isfinite(y)
    rows = [
        (names[k], int(mine.sum()), readable(float(x[mine].mean())), readable(float(y[mine].mean())),
         readable(float(np.corrcoef(x[mine], y[mine])[0, 1])) if _varies(x[mine]) and _varies(y[mine]) else "–")
        for k in np.unique(leading)
        if (mine := known & (leading == k)).any()
    ]  # fmt: skip
    return Table.of(
        "Points", ["leader", "rows", f"mean of {clipped(name, 60)}", "mean of the target", "correlation"], rows
    )


def _varies(values: NDArray[Any]) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > 0)
