"""metamix compare, fit and predict."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from metamix.cli.screens import comparison_lines, failures, progress, say
from metamix.cli.tasks import Assignment, Wishes, expert_list, learning_options, near, read


@click.command()
@click.argument("table")
@learning_options
@click.option("--out", metavar="FILE.csv", help="Write the table there, in full precision.")
def compare(table: str, out: str | None, **options: Any) -> None:
    """Compare experts and their combinations on TABLE (CSV or Parquet).

    Every expert, the best single one, the plain average, a convex blend, scikit-learn's stacking, the mixture
    and an oracle that always knows which expert to ask, all on the same held-out rows. (A mixture whose experts have
    specialised may do better than that.)
    """
    wishes = Wishes(**options)
    assignment = read(table, wishes)
    _check_place(out)
    say(assignment.line)
    if assignment.constant is not None:
        say(_constant(assignment, wishes) + " There is nothing to compare.")
        return
    comparison = compare_quietly(assignment, wishes, Path(table).name)
    show(comparison)
    if out is not None:
        _write_csv(comparison.frame(), out)
        say(f"Written to {out}.", err=True)


def compare_quietly(assignment: Assignment, wishes: Wishes, label: str) -> Any:
    """Run the comparison, with a progress bar for whoever looks."""
    from metamix.comparison import compare as run

    with progress(label, wishes.cv, outer=True):
        return run(
            assignment.X, assignment.y, expert_list(wishes.experts), cv=wishes.cv, groups=assignment.groups,
            sample_weight=assignment.weights, scoring=wishes.scoring, random_state=wishes.seed,
            n_jobs=wishes.jobs, task=assignment.task, device=wishes.device,
        )  # fmt: skip


def show(comparison: Any) -> None:
    """Print table, verdict and whoever failed."""
    click.echo()
    for line in comparison_lines(comparison.frame().to_dict("records"), comparison.measure):
        click.echo(line)
    click.echo()
    say(str(comparison.verdict))
    failures(comparison.failures)


@click.command()
@click.argument("table")
@click.option("--out", required=True, metavar="FILE", help="Where the mixture goes.")
@learning_options
def fit(table: str, out: str, **options: Any) -> None:
    """Fit a mixture to TABLE and write it to a file that metamix predict reads."""
    wishes = Wishes(**options)
    assignment = read(table, wishes)
    _check_place(out)
    say(assignment.line)
    if assignment.constant is not None:
        say(_constant(assignment, wishes))
    from metamix.estimators import MixtureClassifier, MixtureRegressor
    from metamix.persistence import save, untrusted_types

    face = MixtureRegressor if assignment.task == "regression" else MixtureClassifier
    mixture = face(
        expert_list(wishes.experts), cv=wishes.cv, scoring=wishes.scoring, random_state=wishes.seed,
        n_jobs=wishes.jobs, device=wishes.device,
    )  # fmt: skip
    with progress(Path(table).name, wishes.cv, outer=False):
        mixture.fit(assignment.X, assignment.y, sample_weight=assignment.weights, groups=assignment.groups)
    say(str(mixture.verdict_))
    failures(mixture.failures_.itertuples(index=False))
    save(mixture, out)
    types = untrusted_types(out)
    asks = f" Loading it will ask for trust in {', '.join(types)}." if types else ""
    say(f"Written to {out} ({_size(Path(out))}).{asks}", err=True)


@click.command()
@click.argument("file")
@click.argument("table")
@click.option("--out", metavar="FILE.csv", help="Write predictions there instead of the screen.")
@click.option("--trust", multiple=True, metavar="TYPE", help="A type in FILE to trust, or all; may be repeated.")
def predict(file: str, table: str, out: str | None, trust: tuple[str, ...]) -> None:
    """Predict the rows of TABLE with the mixture in FILE, as CSV.

    Columns are found by name, in any order; others, such as the target, may be there. For classes: the most
    probable one, and the probability of each.
    """
    _check_place(out)
    mixture = _load(file, table, [name.strip() for one in trust for name in one.split(",") if name.strip()])
    X = _known_columns(table, mixture)
    import pandas as pd

    if hasattr(mixture, "classes_"):
        shares = mixture.predict_proba(X)
        answers = pd.DataFrame({"class": mixture.classes_[shares.argmax(axis=1)]})
        for label, share in zip(mixture.classes_, shares.T, strict=True):
            answers[f"probability_{label}"] = share
    else:
        given = mixture.predict(X)
        names = ["prediction"] if given.ndim == 1 else [f"prediction_{t}" for t in range(given.shape[1])]
        answers = pd.DataFrame(given.reshape(len(given), -1), columns=names)
    if out is None:
        answers.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        _write_csv(answers, out)
        say(f"{len(answers)} predictions written to {out}.", err=True)


def _load(file: str, table: str, trust: list[str]) -> Any:
    from metamix.persistence import UntrustedTypesError, load, untrusted_types

    try:
        return load(file, trusted=untrusted_types(file) if "all" in trust else trust)
    except UntrustedTypesError as error:
        raise click.ClickException(
            f"{file} holds types that only you can trust: {', '.join(error.types)}. If you know where the file "
            f"comes from: metamix predict {shlex.quote(file)} {shlex.quote(table)} --trust all"
        ) from None


def _known_columns(table: str, mixture: Any) -> Any:
    """The columns that the mixture was fitted on, in its order."""
    from metamix.data.tables import TableError, read_table

    frame = read_table(table)
    names = getattr(mixture, "feature_names_in_", None)
    if names is None:  # fitted on an array: columns have no names
        if frame.shape[1] != mixture.n_features_in_:
            raise TableError(
                f"{table} has {frame.shape[1]} columns, and the mixture was fitted on "
                f"{mixture.n_features_in_} without names"
            )
        return frame.to_numpy()
    absent = [name for name in names if name not in frame.columns]
    if absent:
        hint = near(str(absent[0]), frame.columns)
        raise TableError(f"{table} lacks {', '.join(map(repr, absent))}, which the mixture was fitted on{hint}")
    return frame[list(names)]


def _check_place(out: str | None) -> None:
    """Hours of work should not end in a folder that is not there."""
    if out is not None:
        from metamix.persistence import output_path

        output_path(out)


def _write_csv(frame: Any, out: str) -> None:
    from metamix.persistence import replacing

    with replacing(out) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def _constant(assignment: Assignment, wishes: Wishes) -> str:
    return f"The target {wishes.target!r} is constant, {assignment.constant} in every row: any model answers that."


def _size(path: Path) -> str:
    size = path.stat().st_size / 1e6
    return f"{size:.1f} MB" if size >= 0.95 else f"{1000 * size:.0f} kB"
