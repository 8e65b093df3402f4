"""metamix compare and fit: what learns from a table."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metamix.cli.comparison_table import comparison_lines, comparison_notes
from metamix.cli.help import Command
from metamix.cli.html import check_report, notes_of, write_report
from metamix.cli.json_output import json_option, print_json, records
from metamix.cli.options import (
    Options,
    engine_of,
    expert_names,
    force_option,
    learning_options,
    output_file,
    read_table,
)
from metamix.cli.output import failures, say, seconds, size, write_csv
from metamix.cli.reading import reading_options, take_reading_options
from metamix.cli.regimes import about_regimes, regimes_in_words, regimes_of_folds
from metamix.cli.repeat import full_command
from metamix.cli.tables import TableData
from metamix.progress import show_progress

if TYPE_CHECKING:
    from metamix.deadline import Deadline

__all__ = ["Compared", "compare", "fit", "run_comparison", "show_comparison"]


#: A time limit is above zero.
LEAST_SECONDS = 1e-3


@dataclass(frozen=True)
class Compared:
    """A comparison, the seconds that passed, and the regimes of one of its mixtures in words."""

    comparison: Any
    seconds: float
    regimes: list[str]
    about_regimes: str


COMPARED = (
    ("every expert", "a model alone"),
    ("mean of y", "what to beat: the mean, or the shares of the classes"),
    ("best single", "the expert that was best in training"),
    ("average, convex", "the experts with the same weights in every row"),
    ("stack", "a second model over the experts' predictions"),
    ("feature-weighted stack", "a stack whose weights depend on the row (numbers only)"),
    ("gated", "a gate weighs experts and stacks in each row"),
    ("mixture", "experts fitted anew, each to a regime of the rows"),
    ("stack with mixture", "a stack that also sees the mixture"),
    ("blend", "all of these with weights; what metamix predict answers with"),
    ("scikit-learn stacking", "with its defaults"),
    ("oracle", "knows the best expert of each row, which nobody does"),
)


@click.command(
    cls=Command,
    example="metamix compare houses.csv --target price --experts fast --cv 3",
    listing=("What is compared", COMPARED),
)
@click.argument("table")
@learning_options
@reading_options
@click.option("--out", metavar="FILE.csv", help="Write the results to this file, in full precision.")
@click.option(
    "--report",
    metavar="FILE.html",
    help="Fit a mixture to all rows too, within the same --time-limit, and write a report on it.",
)
@force_option
@json_option
@click.pass_context
def compare(
    context: click.Context, /, table: str, out: str | None, report: str | None, force: bool, as_json: bool, **given: Any
) -> None:
    """Compare experts and their combinations on TABLE.

    TABLE is a file (CSV, Parquet, Excel, …) or - for standard input. All are judged on the same held-out rows.
    """
    from metamix.deadline import Deadline

    reading = take_reading_options(given)
    options = Options(**given)
    output = None if out is None else output_file(out, force, table)
    if report is not None:
        check_report(report, force, table, *([] if out is None else [out]))
    data = read_table(table, options, reading, err=as_json)
    deadline = Deadline(options.time_limit)
    done = run_comparison(data, _for_comparison(options, report), Path(table).name)
    command = full_command("compare", table, options, reading, data)
    if as_json:
        print_json(_comparison_object(done, data, options, table, command))
    else:
        show_comparison(done, options)
        say_command(command)
    failures(done.comparison.failures)
    if output is not None:
        write_csv(done.comparison.frame(), output)
        say(f"Written to {out}.", err=True)
    if report is not None:
        if options.checkpoint is not None:  # a folder serves one call
            options = replace(options, checkpoint=str(Path(options.checkpoint, "report")))
        mixture = _fitted(data, _for_report(options, deadline), Path(table).name)
        write_report(context, mixture, data.X, data.y, report, comparison=done.comparison, notes=notes_of(data))
        say(
            "It is about a mixture that was fitted to all rows, whose verdict may differ from the one above, which is "
            "that of the outer folds.",
            err=True,
        )


def _for_comparison(options: Options, report: str | None) -> Options:
    """Options whose time limit leaves time for the mixture of the report: as much as each outer fold takes."""
    if options.time_limit is None or report is None:
        return options
    return replace(options, time_limit=options.time_limit * options.cv / (options.cv + 1))


def _for_report(options: Options, deadline: Deadline) -> Options:
    """Options whose time limit is what the comparison left of it; the cheapest expert is fitted anyway."""
    return replace(options, time_limit=max(deadline.left, LEAST_SECONDS)) if deadline.limited else options


def run_comparison(data: TableData, options: Options, label: str) -> Compared:
    """Run the comparison, and show how far it is."""
    from metamix.comparison import compare as run

    began = time.monotonic()
    with engine_of(options), show_progress(label):
        comparison = run(
            data.X, data.y, expert_names(options.experts), gate=options.gates, final=options.final, cv=options.folds,
            groups=data.groups, sample_weight=data.weights, scoring=options.scoring, random_state=options.seed,
            n_jobs=options.jobs, task=data.task, device=options.device, columns=data.cleaner,
            time_limit=options.time_limit, expert_time_limit=options.expert_time_limit, checkpoint=options.checkpoint,
        )  # fmt: skip
    passed = time.monotonic() - began
    return Compared(comparison, passed, *regimes_of_folds(comparison.mixtures, data.X))


def show_comparison(done: Compared, options: Options) -> None:
    """Print the table with what its columns and marks mean, the verdict, and regimes in words."""
    found = done.comparison
    click.echo()
    rows = found.frame().to_dict("records")
    for line in comparison_lines(rows, found.measure, found.winner, found.best_single, options.final):
        click.echo(line)
    click.echo()
    say(str(found.verdict))
    if done.regimes:
        click.echo()
        say(done.about_regimes)
        show_regimes(done.regimes)
    click.echo()
    for line in comparison_notes(found.measure, options.target, done.seconds, options.cv):
        say(line)


def _comparison_object(done: Compared, data: TableData, options: Options, table: str, command: str) -> dict[str, Any]:
    found = done.comparison
    rows = records(found.frame())
    if found.measure == "squared error":
        rows = [row | {"rmse": math.sqrt(row["loss"])} for row in rows]
    return {
        "table": table, "target": options.target, "task": data.task, "rows": len(data.X), "measure": found.measure,
        "comparison": rows, "winner": found.winner, "best_single": found.best_single, "verdict": found.verdict,
        "regimes": done.regimes, "failures": [vars(one) for one in found.failures], "seconds": done.seconds,
        "columns": _columns(data), "notes": notes_of(data), "command": command,
    }  # fmt: skip


@click.command(cls=Command, example="metamix fit houses.csv --target price --out houses.mix")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE…")
@click.option("--out", required=True, metavar="FILE", help="File for the fitted mixture.")
@force_option
@json_option
@learning_options
@click.option("--memory", metavar="SIZE", help="Read Parquet in chunks and take about so much, such as 2GB.")
@reading_options
def fit(tables: tuple[str, ...], out: str, force: bool, as_json: bool, memory: str | None, **given: Any) -> None:
    """Fit a mixture to TABLE and save it to a file.

    TABLE is a file (CSV, Parquet, Excel, …) or - for standard input; several Parquet files, or a folder of them, are
    one table, which may be larger than the memory. What was found is printed: the verdict, which
    says what simpler combination of the experts does as well, the regimes in words where there are some, and the
    command that repeats the fit.
    """
    reading = take_reading_options(given)
    options = Options(**given)
    output_file(out, force, *tables)
    data = read_table(tables, options, reading, memory=memory, err=as_json)
    from metamix.persistence import save, untrusted_types

    began = time.monotonic()
    mixture = _fitted(data, options, Path(tables[0]).name)
    passed = time.monotonic() - began
    regimes = regimes_in_words(mixture, data.X)
    asked = [] if memory is None else ["--memory", memory]
    command = full_command("fit", tables, options, reading, data, *asked, "--out", out)
    if not as_json:
        click.echo()
        for sentence in mixture.verdict_.sentences:
            say(sentence)
        say("± is the standard error of a difference, paired row by row and out of fold.")
        if regimes:
            click.echo()
            say(about_regimes(mixture))
            show_regimes(regimes)
        say_command(command)
    failures(mixture.failures_.itertuples(index=False))
    notes = {"target": options.target, "command": command, "regimes": "\n".join(regimes)}
    if options.time is not None:
        notes["time"] = options.time  # by which metamix report puts the rows into the order of the fit
    save(mixture, out, notes=notes)
    written = f"Written to {out}"
    types = None
    if Path(out).is_file():  # a device or a pipe cannot be read again
        types = untrusted_types(out)
        note = f" To load it, these types must be trusted: {', '.join(types)}." if types else ""
        written = f"{written} ({size(Path(out))}) in {seconds(passed)}.{note}"
    say(written if types is not None else f"{written}.", err=True)
    if as_json:
        print_json(
            {
                "table": tables[0] if len(tables) == 1 else list(tables), "target": options.target, "task": data.task,
                "rows": data.n_rows, "out": out,
                "verdict": verdict_object(mixture.verdict_), "candidates": records(mixture.candidates_),
                "regimes": regimes, "failures": records(mixture.failures_), "seconds": passed, "types": types,
                "columns": _columns(data), "notes": notes_of(data), "command": command,
            }
        )  # fmt: skip


def _fitted(data: TableData, options: Options, label: str) -> Any:
    """A mixture fitted to all rows, and show how far it is."""
    from metamix.estimators import MixtureClassifier, MixtureRegressor

    estimator = MixtureRegressor if data.task == "regression" else MixtureClassifier
    mixture = estimator(
        expert_names(options.experts), gate=options.gates, final=options.final, cv=options.folds,
        scoring=options.scoring, random_state=options.seed, n_jobs=options.jobs, device=options.device,
        columns=data.cleaner, time_limit=options.time_limit, expert_time_limit=options.expert_time_limit,
        checkpoint=options.checkpoint,
    )  # fmt: skip
    with engine_of(options), show_progress(label):
        if data.large is not None:
            return mixture.fit(data.large, options.target, sample_weight=options.weights, groups=options.groups)
        return mixture.fit(data.X, data.y, sample_weight=data.weights, groups=data.groups)


def show_regimes(lines: list[str]) -> None:
    """Print which regime leads where."""
    for line in lines:
        say(f"  {line}", indent=4)


def say_command(command: str) -> None:
    """Print the command that repeats a run, in one line so that it can be copied."""
    click.echo(f"\nTo repeat it:\n{command}")


def verdict_object(verdict: Any) -> dict[str, Any]:
    """A verdict for scripts: its numbers and its sentences."""
    return {
        "winner": verdict.winner, "best": verdict.best, "best_single": verdict.best_single, "measure": verdict.measure,
        "loss": verdict.loss, "rmse": math.sqrt(verdict.loss) if verdict.measure == "squared error" else None,
        "gain": asdict(verdict.gain), "gain_over_single": asdict(verdict.gain_over_single),
        "weights": dict(verdict.weights), "n_regimes": verdict.n_regimes, "text": str(verdict),
    }  # fmt: skip


def _columns(data: TableData) -> list[dict[str, Any]]:
    """How each column was read."""
    return records(data.cleaner.report(data.X).drop(columns="note"))
