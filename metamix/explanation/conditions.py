"""Conditions on the columns of X in words: a path through a tree over encoded columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamix.data.columns import ColumnEncoder

__all__ = ["Split", "in_words"]

Array = NDArray[np.float64]
DAY = 86_400


@dataclass(frozen=True)
class Split:
    """One side of a split of rows by an encoded column.

    Parameters
    ----------
    column : int
        Of the encoded columns.
    low, high : float
        The largest value below the threshold, and the smallest above.
    above : bool
        Whether the rows lie above.
    """

    column: int
    low: float
    high: float
    above: bool


def in_words(path: Sequence[Split], encoder: ColumnEncoder, names: Sequence[str]) -> list[str]:
    """Conditions that rows on this path fulfil and no others, in the units of X.

    Parameters
    ----------
    path : sequence of Split
    encoder : ColumnEncoder
        Fitted, with ``scale=False`` and ``categories="onehot"``.
    names : sequence of d str
        Of the columns of X.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"size": [1.0, 2.0, 3.0], "city": ["Rome", "Oslo", "Rome"]})
    >>> encoder = ColumnEncoder(scale=False).fit(X)
    >>> in_words([Split(0, 1.0, 2.0, True), Split(2, 0, 1, True), Split(0, 2.0, 3.0, False)], encoder, ["size", "city"])
    ['1.5 < size ≤ 2', 'city is Rome']
    """
    encoded = encoder.get_feature_names_out([*names] if not hasattr(encoder, "feature_names_in_") else None)
    said: dict[tuple[int, str], str] = {}
    for column in dict.fromkeys(split.column for split in path):
        splits = [split for split in path if split.column == column]
        # The last split on a side of a column is the closest.
        over = next((one for one in reversed(splits) if one.above), None)
        under = next((one for one in reversed(splits) if not one.above), None)
        j = int(encoder.source_[column])
        name, ending = names[j], str(encoded[column])[len(names[j]) :]
        kind = encoder.kinds_[j]
        if ending.endswith("(missing)"):
            said[j, ending] = f"{name} is missing" if over else f"{name} is not missing"
        elif kind in ("text", "category"):
            value = "none of the frequent values" if ending == " (other)" else ending.removeprefix("=")
            if over:
                said = {key: words for key, words in said.items() if key[0] != j}
                said[j, "is"] = f"{name} is {value}"
            elif (j, "is") not in said:
                said[j, ending] = f"{name} is not {value}"
        elif kind == "boolean":
            said[j, ending] = f"{name} is {'true' if over else 'false'}"
        elif kind == "date" and not ending:
            parts = [f"from {_date(over)} on" if over else "", f"before {_date(under)}" if under else ""]
            said[j, ending] = f"{name} {' and '.join(part for part in parts if part)}"
        else:
            said[j, ending] = _between(f"{name}{ending}", over, under)
    return list(said.values())


def _between(name: str, over: Split | None, under: Split | None) -> str:
    if over is None:
        assert under is not None
        return f"{name} ≤ {_threshold(under)}"
    if under is None:
        return f"{name} > {_threshold(over)}"
    return f"{_threshold(over)} < {name} ≤ {_threshold(under)}"


def _threshold(split: Split) -> str:
    """The shortest number near the middle that separates the same rows: at least `low` and below `high`."""
    middle = split.low + (split.high - split.low) / 2
    for digits in range(1, 17):
        short = float(f"{middle:.{digits}g}")
        if split.low <= short < split.high:
            return f"{short:.0f}" if short == round(short) and abs(short) < 1e9 else f"{short:.{digits}g}"
    return repr(split.low)


def _date(split: Split) -> str:
    """The day, or the second, before which the lower rows lie and from which on the upper ones."""
    day = split.high // DAY * DAY
    seconds, unit = (day, "D") if day > split.low else (split.high, "s")
    return str(np.datetime64(int(seconds), "s").astype(f"M8[{unit}]"))
