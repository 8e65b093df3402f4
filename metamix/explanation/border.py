"""What would have to change in a row for another regime to lead: a number, at the nearest border, or a category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.cells import column_kind, floats_of, is_missing
from metamix.data.features import feature_names, feature_values, replace_feature
from metamix.data.tables import take_rows
from metamix.training.wording import short_number

__all__ = ["Border", "OtherCategory", "nearest_border", "other_categories"]

Array = NDArray[np.float64]
#: Values tried along the range of a column, to find on which sides of the row another regime leads.
STEPS = 64
#: Halvings of the interval in which the border lies.
HALVINGS = 40
#: Rows that the gate is asked about at a time.
MOST_ROWS = 4_096
#: Columns with more categories are not tried, and so many of them are named.
MOST_CATEGORIES, NAMED = 64, 3


@dataclass(frozen=True)
class Border:
    """Where another regime begins to lead.

    Parameters
    ----------
    column : str
    value, border : float
        Of the row, and where the other regime leads.
    distance : float
        Change in standard deviations of the column.
    other : str
        The regime that leads beyond.
    """

    column: str
    value: float
    border: float
    distance: float
    other: str

    def __str__(self) -> str:
        side = "more" if self.border > self.value else "less"
        digits = _digits(self.value, self.border)
        return (
            f"with {self.column} at {short_number(self.border, digits)} instead of {short_number(self.value, digits)} "
            f"({short_number(self.distance)} standard deviations {side}), {self.other} would lead"
        )


def _digits(one: float, other: float) -> int:
    """Digits that show two numbers as different, three at least."""
    return next((digits for digits in range(3, 17) if f"{one:.{digits}g}" != f"{other:.{digits}g}"), 17)


def nearest_border(
    leaders: Callable[[Any], NDArray[np.intp]], row: Any, background: Any, names: list[str]
) -> Border | None:
    """The smallest change of one numeric column, within the range seen, for another regime to lead.

    Parameters
    ----------
    leaders : callable
        From rows to the position of the leading regime of each.
    row : table of shape (1, d)
    background : table of shape (n, d)
        Of the same columns; their ranges and standard deviations are taken from it.
    names : list of K str

    Returns
    -------
    Border or None
        None where no change of a single column does it. A regime that leads between two of the 64 values that are
        tried along a column is not seen.

    Examples
    --------
    >>> X = np.linspace(0, 1, 101)[:, None]
    >>> found = nearest_border(lambda X: (X[:, 0] > 0.3).astype(int), X[:1], X, ["left", "right"])
    >>> found.column, round(found.border, 6), found.other
    ('x0', 0.3, 'right')
    """
    here = int(leaders(row)[0])
    columns, starts, changes = [], [], []
    spreads: dict[int, float] = {}
    for j in range(len(feature_names(background))):
        values = feature_values(background, j)
        if column_kind(values) != "number":
            continue
        known = floats_of(values)
        known = known[np.isfinite(known)]
        value = float(floats_of(feature_values(row, j))[0])
        if not len(known) or known.min() == known.max() or not np.isfinite(value):
            continue
        spreads[j] = float(known.std())
        columns.append(j)
        starts.append(value)
        changes.append(np.linspace(known.min(), known.max(), STEPS))
    inside, outside, where = [], [], []
    for at in range(0, len(columns), MOST_ROWS // STEPS):
        block = slice(at, at + MOST_ROWS // STEPS)
        tried = np.concatenate([[], *changes[block]])
        found = leaders(_changed(row, np.repeat(columns[block], STEPS), tried)).reshape(-1, STEPS)
        for j, value, grid, leading in zip(columns[block], starts[block], changes[block], found, strict=True):
            for side in (grid >= value, grid <= value):
                order = np.argsort(np.abs(grid[side] - value), kind="stable")
                path, other = grid[side][order], leading[side][order] != here
                if other.any():
                    first = int(other.argmax())
                    inside.append(path[first - 1] if first else value)
                    outside.append(path[first])
                    where.append(j)
    if not where:
        return None
    near, far, which = np.array(inside), np.array(outside), np.array(where)
    for _ in range(HALVINGS):
        middle = near + (far - near) / 2
        same = leaders(_changed(row, which, middle)) == here
        near, far = np.where(same, middle, near), np.where(same, far, middle)
    value_of = dict(zip(columns, starts, strict=True))
    distance = np.array([abs(far[i] - value_of[j]) / spreads[j] for i, j in enumerate(where)])
    best = int(distance.argmin())
    j = where[best]
    other_name = names[int(leaders(_changed(row, which[[best]], far[[best]]))[0])]
    return Border(feature_names(background)[j], value_of[j], float(far[best]), float(distance[best]), other_name)


def _changed(row: Any, columns: Any, values: Array) -> Any:
    """Copies of a row, each with another value in one column."""
    columns = np.asarray(columns)
    X = take_rows(row, np.zeros(len(values), dtype=np.intp))
    for j in np.unique(columns):
        mine = columns == j
        old = floats_of(feature_values(X, int(j)))
        X = replace_feature(X, int(j), np.where(mine, values, old))
    return X


@dataclass(frozen=True)
class OtherCategory:
    """Categories of one column in place of which another regime leads.

    Parameters
    ----------
    column, value : str
        Of the row; "missing" where it has none.
    categories : list of str
        The most frequent first.
    other : str
        The regime that leads with each of them.
    """

    column: str
    value: str
    categories: list[str]
    other: str

    def __str__(self) -> str:
        more = len(self.categories) - NAMED
        named = self.categories[:NAMED] + ([f"{more} others"] if more > 0 else [])
        last = f" or {named.pop()}" if len(named) > 1 else ""
        return f"with {self.column} at {', '.join(named)}{last} instead of {self.value}, {self.other} would lead"


def other_categories(
    leaders: Callable[[Any], NDArray[np.intp]], row: Any, background: Any, names: list[str]
) -> list[OtherCategory]:
    """Categories of the background that let another regime lead, where one column of the row had them.

    Parameters
    ----------
    leaders, row, background, names
        As in `nearest_border`.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"city": ["Rome", "Oslo", "Bern"]})
    >>> for one in other_categories(lambda X: (X["city"] == "Rome").to_numpy() * 1, X[:1], X, ["rest", "capital"]):
    ...     print(one)
    with city at Oslo or Bern instead of Rome, rest would lead
    """
    here = int(leaders(row)[0])
    found = []
    for j, column in enumerate(feature_names(background)):
        values = feature_values(background, j)
        if column_kind(values) not in ("category", "text", "boolean"):
            continue
        first = _first_rows(values)
        if not 1 < len(first) <= MOST_CATEGORIES:
            continue
        tried = take_rows(row, np.zeros(len(first), dtype=np.intp))
        tried = replace_feature(tried, j, feature_values(take_rows(background, np.array(list(first.values()))), j))
        leading = leaders(tried)
        now = feature_values(row, j)
        value = next(iter(_first_rows(now)), "missing")
        for k in np.unique(leading[leading != here]):
            categories = [name for name, leader in zip(first, leading, strict=True) if leader == k]
            found.append(OtherCategory(column, value, categories, names[int(k)]))
    return found


def _first_rows(values: Any) -> dict[str, int]:
    """The first row of each category, the most frequent first; none for missing values."""
    rows: dict[str, int] = {}
    count: Counter[str] = Counter()
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        rows.setdefault(str(value), i)
        count[str(value)] += 1
    return {name: rows[name] for name, _ in count.most_common()}
