"""Tables in Parquet files that may be larger than the memory: known columns, read in batches."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metamix.data.frames import TableError, listed
from metamix.data.partitions import is_dask, write_partitions
from metamix.memory import bytes_of, free_memory

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ParquetTable", "scan"]

#: Rows of a batch: enough that a pass is not slow, and little beside any memory that a fit needs.
BATCH_ROWS = 32_768
#: What libraries that a fit loads take.
LIBRARIES = 150e6
#: Metadata of columns of whole numbers and booleans that have nulls somewhere, whatever a batch has.
HAS_NULLS = {b"has_nulls": b"1"}
#: What pandas writes of an index without a name.
INDEX = re.compile(r"__index_level_\d+__")


class ParquetTable:
    """A table in Parquet files, of which only a batch of rows is in memory at a time; made by `scan`.

    Parameters
    ----------
    paths : list of path
        Files with the same columns.
    memory : float
        Bytes that a fit may take.

    Attributes
    ----------
    columns : list of str

    Raises
    ------
    TableError
        If a file cannot be read, or its columns are not those of the others; the message names it.
    """

    def __init__(self, paths: Sequence[Path], memory: float) -> None:
        self.paths = list(paths)
        self.memory = memory
        self._folder: _TemporaryFolder | None = None
        self._schema, self._rows = _common_schema(self.paths)
        self.columns = [name for name in self._schema.names if not INDEX.fullmatch(name)]

    def __len__(self) -> int:
        """Number of rows."""
        return sum(self._rows)

    def __repr__(self) -> str:
        return f"<ParquetTable: {len(self.paths)} file(s), {len(self)} rows, {len(self.columns)} columns>"

    def check_column(self, name: str) -> str:
        """The name of a column; TableError where there is none such."""
        from difflib import get_close_matches

        if name not in self.columns:
            near = get_close_matches(str(name), self.columns, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TableError(f"there is no column {name!r}: {hint}the columns are {listed(self.columns)}")
        return name

    def type_of(self, name: str) -> Any:
        """The Arrow type of a column, of categories that of their values."""
        found = self._schema.field(self.check_column(name)).type
        return getattr(found, "value_type", found)

    def without(self, names: Sequence[str]) -> ParquetTable:
        """The same table without some columns."""
        dropped = {self.check_column(name) for name in names}
        other = ParquetTable.__new__(ParquetTable)
        other.__dict__ = {**self.__dict__, "columns": [name for name in self.columns if name not in dropped]}
        return other

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Frames of up to 32,768 rows each, in the order of the files and their rows."""
        for batch in self.arrow_batches(columns):
            yield to_frame(batch)

    def arrow_batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """The same as tables of Arrow."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = self.columns if columns is None else list(columns)
        schema = pa.schema([self._schema.field(name) for name in names])
        for path in self.paths:
            # Read as a stream: with `pre_buffer` a whole row group is in memory.
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
                    if batch.num_rows:
                        try:
                            yield pa.table(batch).select(names).cast(schema)
                        except pa.ArrowInvalid as error:
                            raise TableError(
                                f"{path} has values that the other files' types cannot hold: {error}"
                            ) from None

    def sample(self, n: int, columns: Sequence[str] | None = None, seed: int = 0) -> pd.DataFrame:
        """About n rows, each drawn with the same probability; all where there are no more.

        Parameters
        ----------
        n : int
        columns : sequence of str, optional
        seed : int
        """
        import pyarrow as pa

        if n >= len(self):
            return to_frame(pa.concat_tables(self.arrow_batches(columns)))
        rng, share = np.random.default_rng(seed), n / len(self)
        drawn = [batch.filter(rng.random(batch.num_rows) < share) for batch in self.arrow_batches(columns)]
        return to_frame(pa.concat_tables(drawn))


def scan(files: Any, memory: int | str | None = None) -> ParquetTable:
    """A table in Parquet files, for `fit` of a mixture to rows that do not fit into memory.

    Parameters
    ----------
    files : str, path, or list of these; or dask.dataframe.DataFrame
        A file, a folder of Parquet files, or a pattern such as ``"big/*.parquet"``. Files are read in the order of
        their names, and have the same columns in any order; whole numbers in one and fractions in another are
        fractions. A frame of dask is computed here, a partition after the other, and written to a temporary folder
        (`TMPDIR`), which is removed with the table.
    memory : int or str, optional
        Bytes that a fit may take, such as 2_000_000_000 or "2GB"; by default half of what the process may take
        beyond what it has. A guide for how many rows are held at once, not a limit that is enforced.

    Returns
    -------
    ParquetTable
        ``MixtureRegressor().fit(table, "price")`` is fitted to it; `batches` gives its rows as frames, for `predict`.

    Raises
    ------
    TableError
        If there is no such file, a file cannot be read, or its columns are not those of the others.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for year in (2020, 2021):
    ...         frame = pd.DataFrame({"size": [1.5, 2.0], "price": [10, 20]})
    ...         frame.to_parquet(pathlib.Path(folder, f"{year}.parquet"))
    ...     table = scan(folder)
    ...     len(table), table.columns, [len(batch) for batch in table.batches()]
    (4, ['size', 'price'], [2, 2])
    """
    try:
        free = free_memory().each
        allowed = max(free - LIBRARIES, free / 4) / 2 if memory is None else bytes_of(memory)
    except ValueError as error:
        raise TableError(f"memory={memory!r}: {error}") from None
    if not is_dask(files):
        return ParquetTable(_paths(files), allowed)
    folder = _TemporaryFolder()
    table = ParquetTable(write_partitions(files, folder.path, allowed), allowed)
    table._folder = folder
    return table


class _TemporaryFolder:
    """A folder that is removed when no table has it any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="metamix-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def to_frame(table: Any) -> pd.DataFrame:
    """A pandas frame of an Arrow table: categories of all its pieces are those of one column.

    Types are those of the table that it is a piece of: where a column of whole numbers has nulls somewhere it is of
    fractions, and booleans are objects.
    """
    frame = table.unify_dictionaries().to_pandas(ignore_metadata=True, use_threads=False)
    kinds = {
        one.name: object if str(one.type) == "bool" else np.float64
        for one in table.schema
        if one.metadata is not None and one.metadata.items() >= HAS_NULLS.items()
    }
    return frame.astype(kinds)


def _paths(files: Any) -> list[Path]:
    """Parquet files, those of a folder or a pattern in the order of their names."""
    if not isinstance(files, str | os.PathLike | list | tuple):
        raise TableError(
            f"a {type(files).__name__} is no Parquet file: give a file, a folder or a list of files, or a frame of dask"
        )
    found: list[Path] = []
    for one in [files] if isinstance(files, str | os.PathLike) else files:
        path = Path(one)
        some = sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.exists() else []
        some = some or [Path(name) for name in sorted(glob(str(one), recursive=True)) if not path.is_dir()]
        if not some:
            what = "has no file that ends in .parquet" if path.is_dir() else "does not exist"
            raise TableError(f"{one} {what}: give Parquet files, or a folder of them")
        found += some
    return sorted(dict.fromkeys(found))


def _common_schema(paths: Sequence[Path]) -> tuple[Any, list[int]]:
    """Columns with the types that hold the values of every file, and the number of rows of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, rows, with_nulls = None, [], set[str]()
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                own = file.schema_arrow.remove_metadata()
                rows.append(file.metadata.num_rows)
                with_nulls |= _columns_with_nulls(file)
        except (OSError, pa.ArrowException) as error:
            raise TableError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})") from None
        if schema is None:
            schema = own
            continue
        absent = [repr(name) for name in schema.names if name not in own.names]
        more = [repr(name) for name in own.names if name not in schema.names]
        if absent or more:
            what = [f"lacks {listed(absent)}"] if absent else []
            what += [f"has {listed(more)} besides"] if more else []
            raise TableError(
                f"{path} has other columns than {paths[0]}: it {' and '.join(what)}; give files of one table"
            )
        for name in schema.names:
            try:
                pair = [pa.schema([one.field(name)]) for one in (schema, own)]
                field = pa.unify_schemas(pair, promote_options="permissive").field(0)
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                raise TableError(
                    f"{path} has another type in the column {name!r} than {paths[0]}: {own.field(name).type} in place "
                    f"of {schema.field(name).type}; write it with the same types"
                ) from None
            schema = schema.set(schema.get_field_index(name), field)
    if not sum(rows):
        raise TableError(f"{listed([str(path) for path in paths], 3)} has no rows")
    assert schema is not None  # there is a file
    for i, one in enumerate(schema):
        if one.name in with_nulls and (pa.types.is_integer(one.type) or pa.types.is_boolean(one.type)):
            schema = schema.set(i, one.with_metadata(HAS_NULLS))
    return schema, rows


def _columns_with_nulls(file: Any) -> set[str]:
    """Names of the columns of a file that have nulls, by its statistics, or by its values where it has none."""
    found, uncounted = set[str](), set[str]()
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        for j in range(group.num_columns):
            one = group.column(j)
            statistics = one.statistics
            if statistics is None or not statistics.has_null_count:
                uncounted.add(one.path_in_schema)
            elif statistics.null_count:
                found.add(one.path_in_schema)
    uncounted = (uncounted - found) & set(file.schema_arrow.names)
    if uncounted:
        for batch in file.iter_batches(BATCH_ROWS, columns=sorted(uncounted), use_threads=False):
            found |= {name for name in batch.schema.names if batch.column(name).null_count}
    return found
