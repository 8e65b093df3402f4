"""Rows of a large table, dealt at random: a sample, rows that are held out, and chunks of the others, on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.parquet import ParquetTable, to_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chunk", "DealtRows", "Shares", "deal", "shares_of", "width_of"]

#: Files that are written at once.
MOST_CHUNKS = 200
#: A row of a chunk is there as it was read, cleaned and encoded, and in the library's form.
BYTES_OF_CHUNK, COPIES_OF_CHUNK = 200, 8
#: More rows than this make the ordinary fit slow, and its choices no better.
MOST_SAMPLE_ROWS = 100_000
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
class DealtRows:
    """The rows of a table that have a target, each in one place.

    Parameters
    ----------
    sample, held_out : Chunk
    others : list of Chunk
    without_target : int
        Rows without a target, which are nowhere.
    """

    sample: Chunk
    held_out: Chunk
    others: list[Chunk]
    without_target: int

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
    """
    n, sample = len(table), max(int(min(table.memory / bytes_of_fit, MOST_SAMPLE_ROWS)), 1)
    if n <= sample:
        return Shares(n, 0, 0)
    held_out = max(int(min(HELD_OUT * n, sample)), 1)
    rows = table.memory / (BYTES_OF_CHUNK + COPIES_OF_CHUNK * width_of(table))
    return Shares(sample, held_out, int(np.clip(np.ceil((n - sample - held_out) / rows), 1, MOST_CHUNKS)))


def deal(
    table: ParquetTable, shares: Shares, folder: Path, target: str, groups: str | None = None, seed: int = 0
) -> DealtRows:
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

    Returns
    -------
    DealtRows
    """
    import pyarrow as pa

    rng, n = np.random.default_rng(seed), len(table)
    chunk = (n - shares.sample - shares.held_out) / max(shares.n_chunks, 1)
    held_out = shares.held_out / n
    edges = np.cumsum([shares.sample, *[chunk] * shares.n_chunks]) / (n - shares.held_out)
    paths = [folder / f"{name}.arrows" for name in ("held_out", "sample", *range(shares.n_chunks))]
    counts, missing = np.zeros(len(paths), dtype=np.int64), 0
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
            by_row = uniform[0] if groups is None else _by_group(batch.column(groups), seed)
            place = np.where(by_row < held_out, 0, 1 + np.searchsorted(edges[:-1], uniform[1], side="right"))
            unknown = _is_missing(batch.column(target))
            place[unknown] = -1
            missing += int(unknown.sum())
            for i, rows in _rows_by_place(place, len(paths)):
                writers[i].write_table(batch.take(rows))
                counts[i] += len(rows)
    held, sample, *rest = (Chunk(path, int(count)) for path, count in zip(paths, counts, strict=True))
    return DealtRows(sample, held, rest, missing)


def _rows_by_place(place: NDArray[np.intp], n_places: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Positions of the rows of each place that has some, in their order."""
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(n_places + 1))
    for i in range(n_places):
        if ends[i] < ends[i + 1]:
            yield i, order[ends[i] : ends[i + 1]]


def _is_missing(column: Any) -> NDArray[np.bool_]:
    """Whether values of a column of Arrow are null, NaN or empty text."""
    found = np.asarray(column.is_null(nan_is_null=True).to_numpy())
    kind = str(column.type)
    if kind in ("string", "large_string"):
        found = found | np.asarray([value == "" for value in column.to_pylist()], dtype=bool)
    return found


def _by_group(column: Any, seed: int) -> NDArray[np.float64]:
    """A number between 0 and 1 for each row, the same for all rows of a group."""
    from pandas.util import hash_array

    texts = np.asarray([str(value) for value in column.to_pylist()], dtype=object)
    return np.asarray(hash_array(texts, hash_key=f"{seed:016d}"[-16:]), dtype=np.uint64) / 2.0**64
