"""The table of a comparison on the terminal, and what its columns and marks mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import click

from metamix.cli.output import change, number, seconds, short
from metamix.training.wording import is_score, measure_name

__all__ = ["comparison_lines", "comparison_notes"]


def comparison_lines(
    rows: Sequence[dict[str, Any]],
    measure: str,
    winner: str = "",
    best_single: Sequence[str] = (),
    final: str = "blend",
) -> Iterator[str]:
    """Lines of the table of a comparison: experts, then combinations.

    Parameters
    ----------
    rows : sequence of dict
        Of `Comparison.frame`.
    measure : str
        What the loss is; of squared errors the root is shown, in units of y, and scores have their own sign.
    winner : str
        The combination that the verdict names, marked with an asterisk; what `predict` answers with is marked with >.
    best_single : sequence of str
        The best single expert inside each outer fold.
    final : {"blend", "best", "simplest"}
        What `predict` answers with.
    """
    sign = -1 if is_score(measure) else 1
    # Differences of losses are in per cent, those of scores, which may be zero or negative, are not.
    base = next((row["loss"] for row in rows if row["name"] == "stacking"), math.nan) if sign > 0 else 0.0
    rooted = measure == "squared error"
    shown = [math.sqrt(row["loss"]) if rooted else sign * row["loss"] for row in rows]
    combinations = [i for i, row in enumerate(rows) if row["kind"] == "combination" and row["name"] != "oracle"]
    smallest = min((abs(shown[i]) for i in combinations if shown[i]), default=math.nan)
    shared = [i for i in combinations if rows[i]["name"] != "stacking"]
    cells = []
    for i, (row, loss) in enumerate(zip(rows, shown, strict=True)):
        mark = "*" if row["name"] == winner else ">" if row["name"] == "blend" else " "
        times = ("", "") if i in shared[:-1] else (seconds(row["fit_seconds"]), seconds(row["predict_seconds"]))
        differences = change(sign * row["difference"], row["standard_error"], base)
        cells.append(
            (f"{mark} {short(_row_name(row, best_single, final), 24)}", number(loss, smallest), *differences, *times)
        )
    heads = ("", "RMSE" if rooted else short(measure_name(measure), 14), "vs stacking", "", "fit", "predict")
    widths = [max(len(head), *(len(line[i]) for line in cells)) for i, head in enumerate(heads)]
    widths[2] = max(len(line[2]) for line in cells)  # this heading spans two columns: difference and error
    widths[3] = max(widths[3], len(heads[2]) - widths[2] - 1)
    span = widths[2] + 1 + widths[3]
    head = f"{'':{widths[0]}}  {heads[1]:>{widths[1]}}   {heads[2]:>{span}}   "
    yield click.style(f"{head}{'fit':>{widths[4]}}  {'predict':>{widths[5]}}", dim=True)
    kind = "expert"
    for row, (name, loss_text, difference, error, fit, predict) in zip(rows, cells, strict=True):
        if row["kind"] != kind:
            kind = row["kind"]
            yield ""
        line = f"{name:{widths[0]}}  {loss_text:>{widths[1]}}   {difference:>{widths[2]}} {error:>{widths[3]}}   "
        line += f"{fit:>{widths[4]}}  {predict:>{widths[5]}}"
        bold = row["name"] in (winner, "blend")
        yield click.style(line.rstrip(), bold=bold or None, dim=row["name"] == "oracle" or None)


def _row_name(row: dict[str, Any], best_single: Sequence[str], final: str) -> str:
    if row["name"] == "blend" and final != "blend":
        return f"{final} of these"
    if row["name"] == "best single" and best_single:
        return f"best single: {best_single[0] if len(set(best_single)) == 1 else 'differs'}"
    return "scikit-learn stacking" if row["name"] == "stacking" else str(row["name"])


def comparison_notes(measure: str, target: str, passed: float, n_folds: int) -> list[str]:
    r"""Sentences that say what the columns and marks of the table of a comparison mean.

    Parameters
    ----------
    measure : str
    target : str
        Name of the column that is predicted; empty where it has none.
    passed : float
        Seconds.
    n_folds : int

    Examples
    --------
    >>> print(*comparison_notes("log-loss", "sold", 12.3, 5)[:2], sep="\n")
    * the simplest combination that does as well as the best; > what predict answers with.
    vs stacking: difference of the log-loss, ± its standard error, in % of that of scikit-learn's stacking.
    """
    rooted = measure == "squared error"
    name = measure_name(measure)
    unit = ", larger is better" if is_score(measure) else ", in % of that of scikit-learn's stacking"
    of = f" ({target})" if target else ""
    rmse = [f"RMSE: root of the mean squared error, in units of the target{of}."] if rooted else []
    return [
        "* the simplest combination that does as well as the best; > what predict answers with.",
        *rmse,
        f"vs stacking: difference of the {name}{' to scikit-learn stacking' * is_score(measure)}, ± its standard error"
        f"{unit}.",
        f"fit, predict: seconds of work, added up over the {n_folds} folds and over processes that work at the same "
        f"time; the whole took {seconds(passed)}. The combinations from mean of y to blend are made in one fit, "
        "experts included, whose time stands beside the last of them.",
        "The oracle knows the best expert of each row. Experts that specialise in regimes can beat it.",
    ]
