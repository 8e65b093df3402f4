"""Frames of dask as tables: each partition is computed once, and written as a Parquet file of a temporary folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from metamix.data.frames import TableError
from metamix.memory import in_units

__all__ = ["is_dask", "named_columns", "write_partitions"]


def is_dask(X: Any, kind: str = "DataFrame") -> bool:
    """Tell whether X is a frame, or another collection, of dask, without importing it.

    Examples
    --------
    >>> is_dask([1.0])
    False
    """
    dask = sys.modules.get("dask.dataframe")
    return dask is not None and isinstance(X, getattr(dask, kind))


def named_columns(frame: Any, **given: Any) -> tuple[Any, dict[str, str | None]]:
    """A frame of dask with further columns, and the names of these; of a name that is given, that name.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    **given : dask.dataframe.Series, str or None

    Raises
    ------
    TypeError
        For anything else.
    TableError
        If they have other partitions.
    """
    names: dict[str, str | None] = {}
    for what, values in given.items():
        names[what] = values
        if not is_dask(values, "Series"):
            if values is not None and not isinstance(values, str):
                raise TypeError(
                    f"{what} is a {type(values).__name__}, and X a frame of dask: give the name of a column of X, or a "
                    "Series of dask"
                )
            continue
        name = what if values.name in (None, *frame.columns) else str(values.name)
        while name in frame.columns:
            name += "_"
        if values.divisions != frame.divisions:
            raise TableError(f"{what} has other partitions than X: make it a column of X, and give its name")
        frame = frame.assign(**{name: values})
        names[what] = name
    return frame, names


def write_partitions(frame: Any, folder: Path, memory: float) -> list[Path]:
    """Compute the partitions of a frame of dask one after the other, and write each that has rows.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    folder : path
    memory : float
        Bytes that a partition may take.

    Raises
    ------
    TableError
        If a partition takes more, or none has rows.
    """
    paths: list[Path] = []
    for number, partition in enumerate(frame.partitions):
        rows = partition.compute()
        size = rows.memory_usage(index=False, deep=True).sum()
        if size > memory:
            raise TableError(
                f"partition {number} takes {in_units(size)}, more than memory={in_units(memory)}: make partitions "
                f"smaller, as by repartition(partition_size='{in_units(memory / 4).replace(' ', '')}')"
            )
        if len(rows):
            paths.append(folder / f"partition-{number:06d}.parquet")
            rows.to_parquet(paths[-1], index=False)
    if not paths:
        raise TableError("the frame of dask has no rows")
    return paths
