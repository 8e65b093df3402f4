"""Rows of a large table, assigned at random: a sample, held-out rows, and chunks of the others, on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.frames import TableError
from metamix.data.parquet import ParquetTable, to_frame
from metamix.memory import in_units

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AssignedRows", "Chunk", "Shares", "assign", "shares_of", "width_of"]

#: Files that are written at once.
MOST_CHUNKS = 200
#: A row of a chunk is there as it was read, cleaned and encoded, and in the library's form.
BYTES_OF_CHUNK, COPIES_OF_CHUNK = 200, 8
#: More rows than this make the ordinary fit slow, and its choices no better.
MOST_SAMPLE_ROWS = 100_000
#: Places of rows that are not written: without a target, or beyond the number of rows to hold out.
MISSING, UNUSED = -1, -2
#: Share of the rows that is held out, unless that is more than the sample.
HELD_OUT = 0.1


@dataclass(frozen=True)
class Shares:
    """How many rows, about, go where.

    Parameters
    ----------
    sample, held_out : int
        Rows of the ordinary fit, and rows by which everything is judged in the end.
    n_chunks : int
        Of the other rows; 0 where the whole table is the sample.
    """

    sample: int
    held_out: int
    n_chunks: int


@dataclass(frozen=True)
class Chunk:
    """Rows in a file of the folder of a fit."""

    path: Path
    n_rows: int

    def read(self) -> pd.DataFrame:
        """The rows as a frame."""
        import pyarrow as pa

        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as stream:
            return to_frame(stream.read_all())


@dataclass(frozen=True)
class AssignedRows:
    """The rows of a table that have a target, each in one place.

    Parameters
    ----------
    sample, held_out : Chunk
    others : list of Chunk
    without_target : int
        Rows without a target, which are nowhere.
    unused : int
        Rows of groups that are held out, beyond the number of rows to hold out; they are nowhere either.
    """

    sample: Chunk
    held_out: Chunk
    others: list[Chunk]
    without_target: int
    unused: int = 0

    @property
    def n_rows(self) -> int:
        """Number of rows that have a target."""
        return sum(chunk.n_rows for chunk in (self.sample, self.held_out, *self.others))


def width_of(table: ParquetTable) -> float:
    """Bytes of a row in a frame, by the first rows."""
    first = next(islice(table.batches(), 1))
    return float(first.memory_usage(index=False, deep=True).sum()) / len(first)


def shares_of(table: ParquetTable, bytes_of_fit: float) -> Shares:
    """How the rows of a table are divided, so that a fit takes about `table.memory` bytes.

    Parameters
    ----------
    table : ParquetTable
    bytes_of_fit : float
        What an ordinary fit takes for each row.

    Raises
    ------
    TableError
        If more chunks than can be written at once would be needed.
    """
    n, sample = len(table), max(int(min(table.memory / bytes_of_fit, MOST_SAMPLE_ROWS)), 1)
    if n <= sample:
        return Shares(n, 0, 0)
    held_out = max(int(min(HELD_OUT * n, sample)), 1)
    size = (n - sample - held_out) * (BYTES_OF_CHUNK + COPIES_OF_CHUNK * width_of(table))
    n_chunks = max(int(np.ceil(size / table.memory)), 1)
    if n_chunks > MOST_CHUNKS:
        raise TableError(
            f"memory={in_units(table.memory)} is too little for {n} rows, which would be {n_chunks} chunks: "
            f"{in_units(1.1 * size / MOST_CHUNKS)} or more would do"
        )
    return Shares(sample, held_out, n_chunks)


def assign(
    table: ParquetTable,
    shares: Shares,
    folder: Path,
    target: str,
    groups: str | None = None,
    seed: int = 0,
    least: int = 2,
) -> AssignedRows:
    """Write every row to one of several files, drawn independently for each row.

    Parameters
    ----------
    table : ParquetTable
    shares : Shares
    folder : path
        Takes as much as the table without its compression by Parquet (LZ4 instead).
    target : str
        Rows without a value of this column are left out.
    groups : str, optional
        Column whose groups are held out as a whole.
    seed : int
    least : int
        Number of rows, or of groups, that the sample and the held-out part need at least.

    Returns
    -------
    AssignedRows

    Raises
    ------
    ValueError
        If there are too few rows or groups.
    """
    import pyarrow as pa

    rng, n = np.random.default_rng(seed), len(table)
    chunk = (n - shares.sample - shares.held_out) / max(shares.n_chunks, 1)
    apart = None
    if groups is not None and shares.n_chunks:
        apart = _GroupsApart.of(table, target, groups, shares.held_out, seed, least)
    held_out = shares.held_out / n if apart is None else apart.kept
    edges = np.cumsum([shares.sample, *[chunk] * shares.n_chunks]) / (n - shares.held_out)
    paths = [folder / f"{name}.arrows" for name in ("held_out", "sample", *range(shares.n_chunks))]
    counts, missing, unused = np.zeros(len(paths), dtype=np.int64), 0, 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        writers: list[Any] = []
        for batch in table.arrow_batches():
            if not writers:
                files = [stack.enter_context(pa.OSFile(str(path), "wb")) for path in paths]
                writers = [
                    stack.enter_context(pa.ipc.new_stream(file, batch.schema, options=options)) for file in files
                ]
            uniform = rng.random((2, batch.num_rows))
            place = 1 + np.searchsorted(edges[:-1], uniform[1], side="right")
            if apart is None:
                place[uniform[0] < held_out] = 0
            else:
                inside = apart.has(batch.column(groups))
                place[inside] = np.where(uniform[0][inside] < held_out, 0, UNUSED)
            unknown = _is_missing(batch.column(target))
            place[unknown] = MISSING
            missing += int(unknown.sum())
            unused += int((place == UNUSED).sum())
            for i, rows in _rows_by_place(place, len(paths)):
                writers[i].write_table(batch.take(rows))
                counts[i] += len(rows)
    held, sample, *rest = (Chunk(path, int(count)) for path, count in zip(paths, counts, strict=True))
    if rest and min(held.n_rows, sample.n_rows) < least:
        raise ValueError(
            f"of {sum(counts)} rows with a value of {target!r} the sample has {sample.n_rows} and the held-out part "
            f"{held.n_rows}, where each needs {least}: give scan more memory, or a table with more rows."
        )
    return AssignedRows(sample, held, rest, missing, unused)


def _rows_by_place(place: NDArray[np.intp], n_places: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Positions of the rows of each place that has some, in their order."""
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(n_places + 1))
    for i in range(n_places):
        if ends[i] < ends[i + 1]:
            yield i, order[ends[i] : ends[i + 1]]


def _is_missing(column: Any) -> NDArray[np.bool_]:
    """Whether values of a column of Arrow are null, NaN or empty text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = np.asarray(column.is_null(nan_is_null=True).to_numpy())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        found = found | pc.equal(column, "").fill_null(False).to_numpy()
    return found


@dataclass(frozen=True)
class _GroupsApart:
    """Groups that are held out, as hashes, and the share of their rows that is used."""

    hashes: NDArray[np.uint64]
    kept: float
    seed: int

    @classmethod
    def of(cls, table: ParquetTable, target: str, groups: str, n: int, seed: int, least: int) -> _GroupsApart:
        """Draw groups of about n rows together, and at least so many groups, from counts of their rows."""
        import pandas as pd

        counts = pd.Series(dtype=np.int64)
        for batch in table.arrow_batches([groups, target]):
            hashes = _hashed(batch.column(groups), seed)[~_is_missing(batch.column(target))]
            counts = counts.add(pd.Series(hashes).value_counts(sort=False), fill_value=0)
        if len(counts) < 2 * least:
            raise ValueError(
                f"groups={groups!r} has {len(counts)} groups: {least} are needed to learn from and {least} others to "
                "be held out; set cv lower, or give a column with more groups."
            )
        counts = counts.sort_index()  # by the hashes, which is at random
        chosen = pd.Series(False, index=counts.index)
        left = float(n)
        for one, size in counts.items():
            if size <= left:
                chosen[one], left = True, left - size
        for one in counts[~chosen].sort_values(kind="stable").index[: max(least - int(chosen.sum()), 0)]:
            chosen[one] = True
        return cls(chosen.index[chosen].to_numpy(np.uint64), min(n / float(counts[chosen].sum()), 1.0), seed)

    def has(self, column: Any) -> NDArray[np.bool_]:
        """Whether rows are of these groups."""
        return np.isin(_hashed(column, self.seed), self.hashes)


def _hashed(column: Any, seed: int) -> NDArray[np.uint64]:
    """A number for each row, the same for all rows of a group."""
    from pandas.util import hash_array

    texts = np.asarray([str(value) for value in column.to_pylist()], dtype=object)
    return np.asarray(hash_array(texts, hash_key=f"{seed:016d}"[-16:]), dtype=np.uint64)
