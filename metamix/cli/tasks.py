"""What the commands on tables share: their options, and the table as data to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


@dataclass(frozen=True)
class Wishes:
    """The options of `learning_options`, as given."""

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
class Assignment:
    """A table as data to learn from, and one line about how it was read."""

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
            click.option("--target", required=True, metavar="COLUMN", help="What is to be predicted."),
            click.option("--task", type=click.Choice(["regression", "classification"]), help="Recognised if left out."),
            click.option(
                "--experts", multiple=True, metavar="NAME,…", help="Experts to mix; metamix parts lists them."
            ),
            click.option("--cv", type=click.IntRange(min=2), default=5, show_default=True, help="Folds."),
            click.option("--groups", metavar="COLUMN", help="Rows of one group stay in one fold."),
            click.option("--weights", metavar="COLUMN", help="How much each row counts."),
            click.option("--scoring", metavar="NAME", help="A scikit-learn scorer to judge by."),
            click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same result."),
            click.option("--jobs", type=int, default=-1, metavar="N", help="Processes; all cores if left out."),
            click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda or cuda:N."),
        ]
    ):
        command = option(command)
    return command


def read(table: str, wishes: Wishes) -> Assignment:
    """Read a table and split it; TableError says what is wrong with it."""
    from metamix.data.tables import TableError, describe, n_rows, read_table, recognise_task, split_target

    if wishes.scoring:
        _check_scorer(wishes.scoring)
    frame = read_table(table)
    asked = {"--target": wishes.target, "--groups": wishes.groups, "--weights": wishes.weights}
    given = [name for name in asked.values() if name is not None]
    if len(set(given)) < len(given):
        raise TableError(f"target, groups and weights must be different columns, not {', '.join(given)}")
    X, y = split_target(frame, wishes.target)
    task = wishes.task or recognise_task(y)
    groups, weights = (_beside(X, option, asked[option]) for option in ("--groups", "--weights"))
    X = X.drop(columns=[name for name in given if name != wishes.target])
    if not X.shape[1]:
        raise TableError(f"{table} has no column left to predict {wishes.target!r} from")
    if weights is not None:
        try:
            weights = weights.to_numpy(dtype=float)
        except (TypeError, ValueError):
            raise TableError(f"--weights {wishes.weights!r} does not hold numbers") from None
    constant = y.iloc[0] if y.nunique() == 1 and task == "regression" else None
    about = f"{Path(table).name}: {n_rows(frame)} rows, {task} of {wishes.target}"
    if task == "classification":
        about += f" ({y.nunique()} classes)"
    line = f"{about} from {_kinds(describe(X))}."
    return Assignment(X, y, task, None if groups is None else groups.to_numpy(), weights, constant, line)


def expert_list(given: Sequence[str]) -> list[str] | None:
    """Names between commas, in one option or several; None where there is none.

    Examples
    --------
    >>> expert_list(["ridge, boosting", "svm"]), expert_list([])
    (['ridge', 'boosting', 'svm'], None)
    """
    return [name.strip() for text in given for name in text.split(",") if name.strip()] if given else None


def _beside(X: Any, option: str, name: str | None) -> Any:
    from metamix.data.tables import TableError

    if name is None:
        return None
    if name not in X.columns:
        raise TableError(f"{option} {name!r} is no column of the table{near(name, X.columns)}")
    gaps = int(X[name].isna().sum())
    if gaps:
        raise TableError(f"{option} {name!r} is missing in {gaps} of {len(X)} rows: fill them in or remove the rows")
    return X[name]


def near(name: str, names: Any) -> str:
    """Say what was probably meant.

    Examples
    --------
    >>> near("prise", ["price", "size"])
    ": did you mean 'price'?"
    """
    from difflib import get_close_matches

    close = get_close_matches(name, [str(one) for one in names], n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def _check_scorer(name: str) -> None:
    from sklearn.metrics import get_scorer_names

    names = get_scorer_names()
    if name not in names:
        raise click.UsageError(f"there is no scorer {name!r}{near(name, names)}")


def _kinds(about: Any) -> str:
    """How columns were read: 3 numbers, 1 text; 2 columns have gaps."""
    counts = about["kind"].value_counts()
    several = {"number": "numbers", "boolean": "booleans", "category": "categories", "date": "dates"}
    words = [f"{count} {kind if count == 1 else several.get(kind, kind)}" for kind, count in counts.items()]
    gaps = int((about["missing"] > 0).sum())
    text = ", ".join(words)
    return text if not gaps else f"{text}; {gaps} {'column has' if gaps == 1 else 'columns have'} gaps"
