"""Sections on what was observed beside what is predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.drawing import readable
from metamix.inspection.calibration import CalibrationDisplay
from metamix.inspection.inputs import InspectedRows
from metamix.inspection.report import charts
from metamix.inspection.report.items import Item, Picture, Table, Text, clipped
from metamix.inspection.report.subject import FEWEST_ROWS, Subject, summary_of_points

__all__ = ["calibration", "predictions"]

#: Classes in the table of observed and predicted ones.
MOST_CLASSES = 12
#: Classes with a curve of calibration.
MOST_CURVES = 8


def predictions(subject: Subject, t: int) -> list[Item]:
    """Observed and predicted values or classes."""
    rows = InspectedRows.read(subject.mixture, "metamix.report", subject.X, subject.y, t)
    predicted = _combined(rows)
    leading = rows.weights(subject.regimes).argmax(axis=1)
    held = (
        "Predictions of each model are out of fold; the weights that combine them were learned from all rows."
        if subject.of_fit
        else "Predictions are those of predict."
    )
    if rows.classes is not None:
        return [Text(held), *_agreement(rows, predicted)]
    known = np.isfinite(predicted)
    error = rows.truth[known] - predicted[known]
    spread = float(np.var(rows.truth[known]))
    explained = f", R² {readable(1 - float(np.mean(error**2)) / spread)}" if spread > 0 else ""
    said = (
        f"Root mean squared error {readable(float(np.sqrt(np.mean(error**2))))}, mean absolute error "
        f"{readable(float(np.abs(error).mean()))}{explained}, of {known.sum()} rows."
    )
    spec, sampled = subject.points(predicted, rows.truth, leading, "predicted", "observed", diagonal=True)
    words = f"Observed against predicted values; on the dashed line both are equal. {sampled}"
    numbers = summary_of_points("predicted", predicted, rows.truth, leading, subject.regimes._fitted.names)
    return [Text(f"{held} {said}"), Picture("Observed against predicted", words.strip(), spec, numbers)]


def calibration(subject: Subject, t: int) -> list[Item]:
    """Coverage of intervals, or reliability of probabilities."""
    rows: list[tuple[Any, ...]]
    display = CalibrationDisplay.from_estimator(subject.mixture, subject.X, subject.y, target=t)
    table = display.frame()
    fit = " These are the rows of fit: on new rows it will be worse." if display.of_fit else ""
    if display.kind == "coverage":
        said = (
            "An interval with a nominal coverage of 90 % should hold the target in 90 % of the rows. Below the "
            "dashed line intervals are too narrow, above it too wide; the band is two standard errors for all rows."
        )
        heads = [subject.noun, "rows", "nominal", "observed"]
        wanted = table[np.isclose(table["nominal"].to_numpy()[:, None], [0.5, 0.8, 0.9, 0.95]).any(axis=1)]
        rows = [(one.regime, one.rows, charts.percent(one.nominal), _share(one))
                for one in wanted.itertuples()]  # fmt: skip
        few = table.groupby("regime", sort=False)["rows"].first()
        drawn = table[table["regime"].isin(few.index[few >= FEWEST_ROWS])]
    else:
        said = (
            "Of the rows with a predicted probability of 30 %, the class should be found in 30 %. Below the dashed "
            "line probabilities are too large, above it too small."
        )
        heads = ["class", "predicted", "observed"]
        rows = [(a, charts.percent(b), charts.percent(c))
                for a, b, c in zip(table["class"], table["predicted"], table["observed"], strict=True)]  # fmt: skip
        of_rows = InspectedRows.read(subject.mixture, "metamix.report", subject.X, subject.y, t)
        classes: Any = of_rows.classes
        often = np.argsort(-np.bincount(of_rows.truth, minlength=len(classes)), kind="stable")[:MOST_CURVES]
        drawn = table[table["class"].isin(classes[often])]
        if table["class"].nunique() > MOST_CURVES:
            fit += f" The {MOST_CURVES} most frequent classes are drawn."
    title = "Coverage of intervals" if display.kind == "coverage" else "Reliability of probabilities"
    return [
        Picture(
            title,
            said + fit,
            charts.calibration(drawn, display.kind, subject.regimes._fitted.names),
            Table.of(title, heads, rows),
        )
    ]


def _share(one: Any) -> str:
    """Coverage observed, with its standard error."""
    return f"{100 * one.observed:.0f} ± {100 * one.standard_error:.1g} %"


def _combined(rows: InspectedRows) -> NDArray[Any]:
    """Predictions (n,), or probabilities (n, C), of the mixture: of the rows of fit from out-of-fold predictions."""
    if rows.of_fit:
        weights, predictions = rows.weights(), rows.predictions()
        known = np.isfinite(predictions).reshape(len(predictions), -1).all(axis=1)
        found = np.full((len(predictions), *predictions.shape[2:]), np.nan)
        found[known] = np.einsum("nk,nk...->n...", weights[known], predictions[known])
    else:
        mixture: Any = rows.mixture
        found = np.asarray(
            mixture.predict(rows.X) if rows.classes is None else mixture.predict_proba(rows.X), dtype=float
        )
        found = found[:, rows.target] if mixture._fitted.n_targets is not None else found
    return np.column_stack([1 - found, found]) if rows.several_labels else found


def _agreement(rows: InspectedRows, probabilities: NDArray[Any]) -> list[Item]:
    """Observed and predicted classes."""
    import pandas as pd

    classes = rows.classes
    assert classes is not None
    known = np.isfinite(probabilities).all(axis=1)
    truth, predicted = rows.truth[known], probabilities[known].argmax(axis=1)
    C = len(classes)
    table = np.bincount(truth * C + predicted, minlength=C * C).reshape(C, C)
    right = float(np.trace(table)) / max(int(table.sum()), 1)
    items: list[Item] = [Text(f"The class is predicted in {charts.percent(right)} of {known.sum()} rows.")]
    often = np.sort(np.argsort(-table.sum(axis=1), kind="stable")[:MOST_CLASSES])
    frame = pd.DataFrame(table[np.ix_(often, often)], index=classes[often], columns=classes[often])
    more = f" The {len(often)} most frequent of {C} classes are shown." if len(often) < C else ""
    words = (
        f"Number of rows of each observed class by the class predicted; shades are shares of the observed class.{more}"
    )
    numbers = Table.of("Rows", ["observed", *(f"predicted {clipped(one, 60)}" for one in frame.columns)], [
        (name, *map(str, line)) for name, line in zip(frame.index, frame.to_numpy(), strict=True)
    ])  # fmt: skip
    spec = charts.counts(charts.agreement(frame), "predicted", "observed")
    return [*items, Picture("Observed and predicted classes", words, spec, numbers)]
