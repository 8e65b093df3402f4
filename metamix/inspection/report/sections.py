"""Sections of a report about a fitted mixture, in their order on the page."""

from __future__ import annotations

from collections.abc import Callable

from metamix.inspection.report.accuracy import calibration, predictions
from metamix.inspection.report.fitting import convergence, failures
from metamix.inspection.report.items import Item, Part, Section
from metamix.inspection.report.regimes import laws, trust
from metamix.inspection.report.subject import MOST_TARGETS, Subject
from metamix.inspection.report.verdict import comparison, verdict
from metamix.progress import Event, emit

__all__ = ["sections"]


def sections(subject: Subject) -> list[Section]:
    """All sections that depend on the mixture, in their order on the page."""
    several = ""
    if len(subject.targets) > MOST_TARGETS:
        several = f"There are {len(subject.targets)} targets; this page shows the first {MOST_TARGETS}."
    held = (
        "The rows are those that the mixture was fitted to. Losses and predictions of each model are out of fold: "
        "every row was predicted by models fitted without it."
        if subject.of_fit
        else "The rows are not those that the mixture was fitted to, or not in the same order. Losses below are of "
        "the fitted models on these rows; the candidates were judged out of fold when the mixture was fitted."
    )
    return [
        _section(subject, "verdict", "Verdict", verdict, " ".join(filter(None, [several, held]))),
        _section(subject, "trust", "Who is trusted where", trust),
        _section(subject, "comparison", "Comparison of the candidates", comparison),
        _section(subject, "laws", f"What each {subject.expert} says", laws),
        _section(subject, "predictions", "Observed and predicted", predictions),
        _section(subject, "calibration", "Calibration", calibration),
        Section("convergence", "Convergence", [Part("", convergence(subject))]),
        Section("failures", "Failures", [Part("", failures(subject))]),
    ]


def _section(
    subject: Subject, key: str, title: str, of_target: Callable[[Subject, int], list[Item]], intro: str = ""
) -> Section:
    emit(Event("part", title))
    few = subject.targets[:MOST_TARGETS]
    return Section(key, title, [Part(subject.headings[t], of_target(subject, t)) for t in few], intro)
