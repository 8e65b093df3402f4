"""Sections on the verdict and the candidates."""

from __future__ import annotations

from typing import Any

import numpy as np

from metamix.drawing import readable
from metamix.inspection.candidates import CandidatesDisplay
from metamix.inspection.error_correlation import ErrorCorrelationDisplay
from metamix.inspection.region import RegionDisplay
from metamix.inspection.report import charts
from metamix.inspection.report.items import Item, Picture, Table, Text, clipped, try_display
from metamix.inspection.report.regimes import shares
from metamix.inspection.report.subject import FEWEST_ROWS, Subject
from metamix.training.wording import short_number

__all__ = ["comparison", "verdict"]

#: Differences smaller than this, relative to the loss, are errors of rounding.
ROUNDING = 1e-9
#: What each candidate is.
CANDIDATES = {
    "mean of y": "the mean (for classes: the shares) of the target, whatever the row",
    "best single": "the one expert with the smallest out-of-fold loss",
    "average": "the mean of all experts' predictions",
    "convex": "a weighted mean of the experts, with the same weights in every row",
    "stack": "a second model fitted to the experts' out-of-fold predictions",
    "feature-weighted stack": "a stack whose weights also depend on the columns of X",
    "gated": "a weighted mean of experts and stacks, with weights that a gate gives for each row",
    "mixture": "experts fitted anew, each to its own region of the rows, and a gate between them",
    "stack with mixture": "a stack that also uses the predictions of the mixture",
    "blend": "what predict answers with: a weighted mean of the candidates",
}


def verdict(subject: Subject, t: int) -> list[Item]:
    """The verdict in words, and the candidates in a picture."""
    if subject.mixture.verdict_ is None:
        return _without_verdict(subject, t)
    verdict: Any = subject.mixture.verdict_
    verdict = verdict if subject.mixture._fitted.n_targets is None else verdict[t]
    first, found, rest = clipped(verdict, 3000).partition(". predict ")
    items: list[Item] = [Text(f"{first}." if found else first, lead=True)]
    if found:
        items.append(Text(f"predict {rest}"))
    display = CandidatesDisplay.from_estimator(subject.mixture, target=t)
    table, far = charts.without_far_mean(display)
    best = display.frame().iloc[:-1]
    best = best["candidate"].iloc[int(best["loss"].to_numpy().argmin())]
    words = (
        f"Difference of the {display.measure} of each candidate to that of the best, {best}, with two standard "
        f"errors of the paired difference; smaller is better. The candidate that the verdict names, "
        f"{display.winner}, is in colour. {far}"
    )
    items.append(
        Picture("The candidates", words.strip(), charts.differences(table, display.measure, display.winner),
                _candidates(display))
    )  # fmt: skip
    return items


def _without_verdict(subject: Subject, t: int) -> list[Item]:
    table = RegionDisplay.from_estimator(subject.mixture, subject.X, subject.y, target=t, n_permutations=0).frame() \
        if subject.n >= FEWEST_ROWS else None  # fmt: skip
    why = "cv=None" if subject.mixture.cv is None else f"specialize={subject.mixture.specialize!r}"
    K = len(subject.mixture.named_experts_)
    items: list[Item] = []
    if table is None:
        items.append(Text(f"The mixture has {K} regimes.", lead=True))
    else:
        order = table.sort_values("share", ascending=False, kind="stable")
        said = [f"{clipped(a, 60)} leads {charts.percent(b)} of the rows"
                for a, b in zip(order["regime"].head(4), order["share"].head(4), strict=True)]  # fmt: skip
        items.append(Text(f"The mixture has {K} regime{'s' if K > 1 else ''}: {', '.join(said)}.", lead=True))
    items.append(
        Text(
            f"No candidates were compared, since the mixture was fitted with {why}: whether something simpler "
            "would do as well is not known. With specialize='auto' it is."
        )
    )
    if table is not None:
        items.append(shares(subject, table))
    return items


def comparison(subject: Subject, t: int) -> list[Item]:
    """Candidates, how much alike experts err, and a comparison on outer folds where there is one."""
    items: list[Item] = []
    display = try_display(lambda: CandidatesDisplay.from_estimator(subject.mixture, target=t), items)
    if display is not None:
        items.append(
            Text(
                "Losses are out of fold; a difference is paired, row by row, and ± is its standard error. The "
                "simplest candidate within 1.75 standard errors of the best is the one named in the "
                "verdict. Weights are the parts of the candidates in what predict answers with."
            )
        )
        table = _candidates(display)
        items.append(table)
        parts = display.frame()
        parts = parts[(parts["candidate"] != "blend") & (parts["weight"] > 0)]
        if len(parts) > 1:
            words = "Weight of each candidate in what predict answers with."
            items.append(Picture("What predict combines", words, charts.blend_weights(parts), Table.of(
                "Weights", ["candidate", "weight"],
                [(one.candidate, charts.percent(one.weight)) for one in parts.itertuples()],
            )))  # fmt: skip
    errors = try_display(
        lambda: ErrorCorrelationDisplay.from_estimator(
            subject.mixture, *((None, None) if display is not None else (subject.X, subject.y)), target=t
        ),
        items,
    )
    if errors is not None and len(errors.names) > 1:
        frame = errors.frame()
        words = (
            "Correlation between the errors of each pair of experts. The smaller it is, the more a combination can "
            f"gain. {errors}"
        )
        numbers = Table.of("Correlations of errors", ["expert", *frame.columns], [
            (name, *(f"{value:.2f}" for value in line))
            for name, line in zip(frame.index, frame.to_numpy(), strict=True)
        ])  # fmt: skip
        items.append(Picture("How much alike the experts err", words, charts.correlations(frame), numbers))
    return [*items, *_outer_comparison(subject)] if t == 0 else items


def _outer_comparison(subject: Subject) -> list[Item]:
    if subject.comparison is None:
        return []
    table = subject.comparison.frame()
    words = (
        f"Difference of the {subject.comparison.measure} to that of scikit-learn's stacking, with two standard "
        "errors, for each expert and combination, all fitted anew without each outer fold and judged on its rows. "
        "The oracle knows the best expert of every row; nobody can use it."
    )
    shown = table[table["name"] != "mean of y"]
    spec = charts.differences(shown, subject.comparison.measure, "blend", "name", "scikit-learn's stacking")
    rows = [
        (one.name, one.kind, readable(one.loss), _plus_minus(one.difference, one.standard_error, one.loss),
         readable(one.fit_seconds), readable(one.predict_seconds))
        for one in table.itertuples(index=False)
    ]  # fmt: skip
    heads = ["", "kind", subject.comparison.measure, "difference to stacking", "seconds to fit", "seconds to predict"]
    return [
        Text("The same on outer folds (metamix.compare): " + clipped(subject.comparison.verdict, 3000)),
        Picture("Experts and combinations on outer folds", words, spec, Table.of("On outer folds", heads, rows, [1])),
    ]


def _candidates(display: CandidatesDisplay) -> Table:
    rows = [
        (one.candidate, readable(one.loss), _plus_minus(one.difference, one.standard_error, one.loss),
         charts.percent(one.weight), CANDIDATES.get(one.candidate, ""))
        for one in display.frame().itertuples()
    ]  # fmt: skip
    heads = ["candidate", display.measure, "difference to the best", "weight", "what it is"]
    return Table.of("Candidates", heads, rows, [4])


def _plus_minus(value: float, error: float, whole: float) -> str:
    """A difference with its standard error; 0 where it is nothing beside the whole."""
    if abs(value) <= ROUNDING * abs(whole) and not error > ROUNDING * abs(whole):
        return "0"
    return f"{readable(value)} ± {short_number(error)}" if np.isfinite(error) else readable(value)
