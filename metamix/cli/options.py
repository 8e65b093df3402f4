"""Options shared by the commands on tables, and reading of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


@dataclass(frozen=True)
class Options:
    """Values of the options added by `learning_options`."""

    target: str
    task: str | None
    experts: Sequence[str]
    cv: int
    groups: str | None
    weights: str | None
    scoring: str | None
    seed: int
    jobs: int
    device: str = "auto"


@dataclass(frozen=True)
class TableData:
    """A table split into X, target, groups and weights; `line` describes how it was read."""

    X: Any
    y: Any
    task: str
    groups: Any
    weights: Any
    constant: Any
    line: str


def learning_options(command: Command) -> Command:
    """Add the options that `compare` and `fit` share."""
    for option in reversed(
        [
            click.option("--target", required=True, metavar="COLUMN", help="Column to predict."),
            click.option("--task", type=click.Choice(["regression", "classification"]), help="Default: by the target."),
            click.option("--experts", multiple=True, metavar="NAME,…", help="Experts to use; see metamix parts."),
            click.option("--cv", type=click.IntRange(min=2), default=5, show_default=True, help="Number of folds."),
            click.option("--groups", metavar="COLUMN", help="Rows of one group are kept in one fold."),
            click.option("--weights", metavar="COLUMN", help="Sample weights."),
            click.option("--scoring", metavar="NAME", help="Name of a scikit-learn scorer."),
            click.option("--seed", type=int, default=0, show_default=True, help="Random seed."),
            click.option("--jobs", type=int, default=-1, metavar="N", help="Processes; default: all cores."),
            click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda or cuda:N."),
        ]
    ):
        command = option(command)
    return command


force_option = click.option("--force", is_flag=True, help="Replace the file given by --out if it exists.")


def output_file(out: str, force: bool, *inputs: str) -> Any:
    """The file given by --out, checked before a long computation.

    Raises
    ------
    metamix.persistence.ModelFileError
        If it is one of the files that are read, or cannot be written.
    click.UsageError
        If it exists and is not to be replaced.
    """
    from metamix.persistence import OutputFile

    output = OutputFile(out, inputs)
    if output.replaces and not force:
        raise click.UsageError(f"--out {out} exists: add --force to replace it, or give another name")
    return output


def read(table: str, options: Options) -> TableData:
    """Read a table and split it; raises TableError if that is impossible."""
    from metamix.data.tables import TableError, describe, n_rows, read_table, recognise_task, split_target

    if options.scoring:
        _check_scorer(options.scoring)
    frame = read_table(table)
    by_option = {"--target": options.target, "--groups": options.groups, "--weights": options.weights}
    given = [name for name in by_option.values() if name is not None]
    if len(set(given)) < len(given):
        raise TableError(f"target, groups and weights must be different columns; got {', '.join(given)}")
    X, y = split_target(frame, options.target)
    task = options.task or recognise_task(y)
    groups, weights = (_column(X, option, by_option[option]) for option in ("--groups", "--weights"))
    X = X.drop(columns=[name for name in given if name != options.target])
    if not X.shape[1]:
        raise TableError(f"{table} has no column left to predict {options.target!r} from")
    if weights is not None:
        try:
            weights = weights.to_numpy(dtype=float)
        except (TypeError, ValueError):
            raise TableError(f"--weights {options.weights!r} is not a numeric column") from None
    constant = y.iloc[0] if y.nunique() == 1 and task == "regression" else None
    about = f"{Path(table).name}: {n_rows(frame)} rows, {task} of {options.target}"
    if task == "classification":
        about += f" ({y.nunique()} classes)"
    line = f"{about} from {_describe_columns(describe(X))}."
    return TableData(X, y, task, None if groups is None else groups.to_numpy(), weights, constant, line)


def expert_names(given: Sequence[str]) -> list[str] | None:
    """Split comma-separated names, in one option or several; None if there are none.

    Examples
    --------
    >>> expert_names(["ridge, boosting", "svm"]), expert_names([])
    (['ridge', 'boosting', 'svm'], None)
    """
    return [name.strip() for text in given for name in text.split(",") if name.strip()] if given else None


def _column(X: Any, option: str, name: str | None) -> Any:
    from metamix.data.tables import TableError

    if name is None:
        return None
    if name not in X.columns:
        raise TableError(f"{option} {name!r} is not a column of the table{suggestion(name, X.columns)}")
    gaps = int(X[name].isna().sum())
    if gaps:
        raise TableError(f"{option} {name!r} is missing in {gaps} of {len(X)} rows: fill them in or remove the rows")
    return X[name]


def suggestion(name: str, names: Any) -> str:
    """Suggest the closest name; empty if none is close.

    Examples
    --------
    >>> suggestion("prise", ["price", "size"])
    ": did you mean 'price'?"
    """
    from difflib import get_close_matches

    close = get_close_matches(name, [str(one) for one in names], n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def _check_scorer(name: str) -> None:
    from sklearn.metrics import get_scorer_names

    names = get_scorer_names()
    if name not in names:
        raise click.UsageError(f"there is no scorer {name!r}{suggestion(name, names)}")


def _describe_columns(about: Any) -> str:
    """Kinds of columns as text: "3 numbers, 1 text; 2 columns have missing values"."""
    counts = about["kind"].value_counts()
    several = {"number": "numbers", "boolean": "booleans", "category": "categories", "date": "dates"}
    words = [f"{count} {kind if count == 1 else several.get(kind, kind)}" for kind, count in counts.items()]
    incomplete = int((about["missing"] > 0).sum())
    text = ", ".join(words)
    if not incomplete:
        return text
    return f"{text}; {incomplete} {'column has' if incomplete == 1 else 'columns have'} missing values"
