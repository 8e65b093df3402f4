"""Sections on how the mixture was fitted, and to which table."""

from __future__ import annotations

from collections.abc import Sequence

from metamix.data.frames import is_frame
from metamix.drawing import readable
from metamix.inspection.convergence import ConvergenceDisplay
from metamix.inspection.report import charts
from metamix.inspection.report.items import Bullets, Item, Part, Picture, Section, Table, Text, clipped, try_display
from metamix.inspection.report.subject import Subject

__all__ = ["convergence", "failures", "how_read"]

#: Starts in the chart, the best ones.
MOST_STARTS = 16


def convergence(subject: Subject) -> list[Item]:
    """Rounds of the mixture, and the starts that were tried."""
    items: list[Item] = []
    display = try_display(lambda: ConvergenceDisplay.from_estimator(subject.mixture), items)
    if display is None:
        return items
    items.append(
        Text(
            "A mixture is fitted in rounds: each row is shared out among the regimes by how well they predict it, "
            "then experts and gate are fitted anew. "
            + (
                "In sample the log-likelihood rises until it gains no more."
                if display.measure == "log_likelihood"
                else "Out of fold the round with the smallest loss is kept."
            )
        )
    )
    table, what = display.frame(), display.measure
    several = "fold" in table
    if len(table) == 1:
        items.append(
            Text(f"There was one round, with {what.replace('_', '-')} {readable(float(table[what].iloc[0]))}.")
        )
    heads = [*(["fold"] if several else []), "round", what.replace("_", "-"), "kept"]
    rows = [
        (*([one["fold"]] if several else []), one["round"], readable(one[what]), "yes" if one["chosen"] else "")
        for one in table.to_dict("records")
    ]
    words = f"{'Log-likelihood' if what == 'log_likelihood' else 'Out-of-fold loss'} of every round; a circle marks "
    words += "the rounds that were kept."
    if len(table) > 1:
        numbers = Table.of("Rounds", heads, rows, [len(heads) - 1])
        items.append(Picture("Rounds", words, charts.rounds(table, what), numbers))
    starts = display.starts.head(MOST_STARTS)
    if len(starts) > 1:
        more = f", the best {MOST_STARTS} of {len(display.starts)}" if len(display.starts) > len(starts) else ""
        words = f"Scores of the ways to share out the rows before the first round{more}; the smallest is taken."
        numbers = Table.of(
            "Starts", ["start", "score"], [(one.start, readable(one.score)) for one in starts.itertuples()]
        )
        items.append(Picture("Starts", words, charts.starts(starts), numbers))
    return items


def failures(subject: Subject) -> list[Item]:
    """Experts that could not be fitted."""
    failures = subject.mixture.failures_
    if not len(failures):
        return [Text("No fit of an expert failed.")]
    rows = [(one.expert, one.fold, one.error) for one in failures.itertuples()]
    return [
        Text("Experts that failed were left out, in this fold or altogether; the weights are those of the others."),
        Table.of("Failures", ["expert", "fold", "error"], rows, [2]),
    ]


def how_read(subject: Subject, notes: Sequence[str]) -> Section:
    """How the table was read: `metamix.describe`, as the mixture knows it, and sentences of who read the file."""
    cleaner = getattr(subject.mixture, "cleaner_", None)
    said: list[Item] = [Text(f"{subject.n} rows and {len(subject.names)} columns reach the experts.")]
    if notes:
        said.append(Bullets([clipped(note, 1000) for note in notes]))
    if cleaner is not None and is_frame(subject.X) and hasattr(cleaner, "report"):
        report = cleaner.report(subject.X)
        told = [note for note in report["note"] if note and note not in " ".join(notes)]
        if told:
            said.append(Bullets([clipped(note, 1000) for note in told[:50]]))
        rows = [
            (
                one.column,
                one.kind + (", left out" if one.left_out else ""),
                one.missing,
                one.distinct,
                one.converted,
            )
            for one in report.itertuples()
        ]
        heads = ["column", "kind", "missing", "distinct values", "converted from"]
        said.append(Table.of("Columns", heads, rows, [1, 4]))
    else:
        array = "X is an array without column names, read as it is; columns are called by their numbers."
        said.append(Text("The columns were read as the given cleaner says." if is_frame(subject.X) else array))
    return Section("table", "How the table was read", [Part("", said)])
