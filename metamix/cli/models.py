"""metamix compare, fit and predict: what learns from a table, or answers for one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from metamix.cli.html import check_report, notes_of, write_report
from metamix.cli.options import (
    Options,
    expert_names,
    force_option,
    learning_options,
    output_file,
    read_table,
)
from metamix.cli.output import comparison_lines, failures, say
from metamix.cli.progress import progress
from metamix.cli.reading import comma_separated, file_options, reading_options, take_reading_options
from metamix.cli.tables import TableData, read_for_prediction, say_lines, suggestion, table_warnings

LEGEND = (
    "Smaller losses are better; ± is the standard error of the paired difference to scikit-learn's stacking, in "
    "percent of its loss. Candidates share one fit, whose time includes the experts. Experts that specialise can beat "
    "the oracle."
)


@click.command()
@click.argument("table")
@learning_options
@reading_options
@click.option("--out", metavar="FILE.csv", help="Write the results to this file, in full precision.")
@click.option("--report", metavar="FILE.html", help="Fit a mixture to all rows too, and write a report on it.")
@force_option
@click.pass_context
def compare(
    context: click.Context, /, table: str, out: str | None, report: str | None, force: bool, **given: Any
) -> None:
    """Compare experts and their combinations on TABLE.

    Compares on the same held-out rows: every expert, the mean of y, the best single expert, the average, convex
    weights, the stack, the feature-weighted stack (for numbers), a gate over experts and stacks (gated), the
    specialised mixture, a stack that also sees the mixture, their blend, scikit-learn's stacking, and an oracle that
    selects the best expert for each row. (A mixture whose experts have specialised may be better than the oracle.)
    """
    reading = take_reading_options(given)
    options = Options(**given)
    output = None if out is None else output_file(out, force, table)
    if report is not None:
        check_report(report, force, table, *([] if out is None else [out]))
    data = read_table(table, options, reading)
    comparison = run_comparison(data, options, Path(table).name)
    show(comparison)
    if output is not None:
        _write_csv(comparison.frame(), output)
        say(f"Written to {out}.", err=True)
    if report is not None:
        mixture = _fitted(data, options, Path(table).name)
        write_report(context, mixture, data.X, data.y, report, comparison=comparison, notes=notes_of(data))


def run_comparison(data: TableData, options: Options, label: str) -> Any:
    """Run the comparison, with a progress bar on a terminal."""
    from metamix.comparison import compare as run

    with progress(label):
        return run(
            data.X, data.y, expert_names(options.experts), cv=options.folds, groups=data.groups,
            sample_weight=data.weights, scoring=options.scoring, random_state=options.seed,
            n_jobs=options.jobs, task=data.task, device=options.device, columns=data.cleaner,
            time_limit=options.time_limit,
        )  # fmt: skip


def show(comparison: Any) -> None:
    """Print the table, the verdict and failed experts."""
    click.echo()
    for line in comparison_lines(comparison.frame().to_dict("records"), comparison.measure):
        click.echo(line)
    click.echo()
    say(str(comparison.verdict))
    say(LEGEND)
    failures(comparison.failures)


@click.command()
@click.argument("table")
@click.option("--out", required=True, metavar="FILE", help="File for the fitted mixture.")
@force_option
@learning_options
@reading_options
def fit(table: str, out: str, force: bool, **given: Any) -> None:
    """Fit a mixture to TABLE and save it to a file for metamix predict."""
    reading = take_reading_options(given)
    options = Options(**given)
    output_file(out, force, table)
    data = read_table(table, options, reading)
    from metamix.persistence import save, untrusted_types

    mixture = _fitted(data, options, Path(table).name)
    say(str(mixture.verdict_))
    failures(mixture.failures_.itertuples(index=False))
    save(mixture, out)
    if not Path(out).is_file():  # a device or a pipe, which cannot be read again
        say(f"Written to {out}.", err=True)
        return
    types = untrusted_types(out)
    note = f" To load it, these types must be trusted: {', '.join(types)}." if types else ""
    say(f"Written to {out} ({_size(Path(out))}).{note}", err=True)


def _fitted(data: TableData, options: Options, label: str) -> Any:
    """A mixture fitted to all rows, with a progress bar on a terminal."""
    from metamix.estimators import MixtureClassifier, MixtureRegressor

    estimator = MixtureRegressor if data.task == "regression" else MixtureClassifier
    mixture = estimator(
        expert_names(options.experts), cv=options.folds, scoring=options.scoring, random_state=options.seed,
        n_jobs=options.jobs, device=options.device, columns=data.cleaner, time_limit=options.time_limit,
    )  # fmt: skip
    with progress(label):
        return mixture.fit(data.X, data.y, sample_weight=data.weights, groups=data.groups)


@click.command()
@click.argument("file")
@click.argument("table")
@click.option("--out", metavar="FILE.csv", help="Write predictions to this file, not to standard output.")
@force_option
@click.option("--trust", multiple=True, metavar="TYPE", help="Trust this type in FILE, or all; may be repeated.")
@file_options
def predict(file: str, table: str, out: str | None, force: bool, trust: tuple[str, ...], **given: Any) -> None:
    """Predict the rows of TABLE with the mixture in FILE, as CSV.

    Columns are matched by name, in any order; additional columns, such as the target, are ignored. For
    classification the output has the most probable class and the probability of each class.
    """
    output = None if out is None else output_file(out, force, file, table)
    mixture = load_model(file, comma_separated(trust), "predict", file, table)
    rows, identifiers, lines = read_for_prediction(table, take_reading_options(given))
    X = training_columns(table, rows, mixture)
    with table_warnings(lines):
        frame = _predictions(mixture, X)
    say_lines(lines, err=True)
    if identifiers is not None:
        frame.insert(0, identifiers.name, identifiers.to_numpy())
    if output is None:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        _write_csv(frame, output)
        say(f"{len(frame)} predictions written to {out}.", err=True)


def _predictions(mixture: Any, X: Any) -> Any:
    """Predictions (n,) or (n, T), or classes and probabilities (n, C), or labels and theirs (n, L), as a frame."""
    import pandas as pd

    if hasattr(mixture, "label_names_"):
        probabilities = mixture.predict_proba(X)
        frame = pd.DataFrame(mixture.predict(X), columns=mixture.label_names_)
        for label, probability in zip(mixture.label_names_, probabilities.T, strict=True):
            frame[f"probability_{label}"] = probability
        return frame
    if hasattr(mixture, "classes_"):
        probabilities = mixture.predict_proba(X)
        frame = pd.DataFrame({"class": mixture.classes_[probabilities.argmax(axis=1)]})
        for label, probability in zip(mixture.classes_, probabilities.T, strict=True):
            frame[f"probability_{label}"] = probability
        return frame
    predictions = mixture.predict(X)
    n_targets = 1 if predictions.ndim == 1 else predictions.shape[1]
    names = ["prediction"] if predictions.ndim == 1 else [f"prediction_{t}" for t in range(n_targets)]
    return pd.DataFrame(predictions.reshape(-1, n_targets), columns=names)


def load_model(file: str, trust: list[str], *command: str) -> Any:
    """The mixture in a file; `command` is what was called, named where types are not trusted."""
    from metamix.persistence import UntrustedTypesError, load, untrusted_types

    try:
        return load(file, trusted=untrusted_types(file) if "all" in trust else trust)
    except UntrustedTypesError as error:
        raise click.ClickException(
            f"{file} contains types that are not trusted: {', '.join(error.types)}. If you trust the source of the "
            f"file: metamix {shlex.join(command)} --trust all"
        ) from None


def training_columns(table: str, frame: Any, mixture: Any) -> Any:
    """The columns that the mixture was fitted on, in its order."""
    from metamix.data.frames import TableError

    names = getattr(mixture, "feature_names_in_", None)
    if names is None:  # fitted on an array without column names
        if frame.shape[1] != mixture.n_features_in_:
            raise TableError(
                f"{table} has {frame.shape[1]} columns, and the mixture was fitted on "
                f"{mixture.n_features_in_} without names"
            )
        from metamix.data.cleaning import TableCleaner

        frame = TableCleaner(dict.fromkeys(frame.columns, "number")).fit(frame).transform(frame)
        return frame.to_numpy(dtype=float)
    absent = [name for name in names if name not in frame.columns]
    if absent:
        hint = suggestion(str(absent[0]), frame.columns)
        raise TableError(f"{table} lacks columns that the mixture was fitted on: {', '.join(map(repr, absent))}{hint}")
    return frame[list(names)]


def _write_csv(frame: Any, output: Any) -> None:
    with output.open() as stream:
        frame.to_csv(stream, index=False, lineterminator="\n")


def _size(path: Path) -> str:
    size = path.stat().st_size / 1e6
    return f"{size:.1f} MB" if size >= 0.95 else f"{1000 * size:.0f} kB"
