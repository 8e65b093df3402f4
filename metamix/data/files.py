"""Tables from files: text files as text, with what was noticed on the way; types are decided later, by column."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from metamix.data.frames import TableError, listed
from metamix.data.number_text import is_plain_number
from metamix.memory import free_memory, in_units

__all__ = ["FileTable", "read_file", "too_large"]

TEXT = {".csv": None, ".tsv": "\t", ".txt": None}
OTHERS = (".jsonl", ".ndjson", ".parquet", ".feather", ".arrow", ".xlsx")
ENDINGS = (*TEXT, *OTHERS)
SEPARATORS = (",", ";", "\t", "|")
#: Records by which the separator is recognised.
FIRST_RECORDS = 200
#: A text file needs about so many times its size in memory.
MEMORY_PER_BYTE = 8
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
#: More control characters than this share are no text.
RUBBISH = 0.01
#: With more zeros than this share of its first bytes a file is UTF-16.
ZEROS = 0.3


@dataclass(frozen=True)
class FileTable:
    """A table as its file has it.

    Parameters
    ----------
    frame : DataFrame of shape (n, d)
        Cells of text files are text; empty ones are "".
    notes : tuple of str
        What its owner should know.
    decimal : {".", ","}
        Decimal mark that goes with the separator: a comma where columns are separated by semicolons.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    decimal: str = "."


def read_file(
    path: str | Path, *, separator: str | None = None, encoding: str | None = None, sheet: str | None = None
) -> FileTable:
    r"""Read a table from a file.

    Parameters
    ----------
    path : str or path
        A file that ends in .csv, .tsv, .txt, .jsonl, .ndjson, .parquet, .feather, .arrow or .xlsx, or in one of these
        and .gz; "-" is CSV from standard input.
    separator : str, optional
        Of text files; without it the first lines decide between comma, semicolon, tab and bar.
    encoding : str, optional
        Of text files; without it UTF-8 or UTF-16, or else Latin-1, which is noted.
    sheet : str, optional
        Name of the sheet of a workbook; the first by default.

    Raises
    ------
    TableError
        If the file is missing, empty, of an unknown kind, too large for the memory, not a table, or has no rows.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "t.csv")
    ...     _ = path.write_text("sep=;\ncity;size\nRome;2,5\nOslo;3,0\n")
    ...     table = read_file(path)
    >>> table.frame["size"].tolist(), table.decimal
    (['2,5', '3,0'], ',')
    """
    content, ending = _content(path)
    if not content:
        raise TableError(f"{path} is empty: a header line and rows would do")
    if ending in TEXT:
        table = _from_text(str(path), content, separator or TEXT[ending], encoding)
    else:
        table = FileTable(*_clean_names(_typed(str(path), content, ending, sheet)))
    if not len(table.frame) or not table.frame.shape[1]:
        raise TableError(f"{path} has a header but no rows: at least one row of values is needed")
    return table


def _content(path: str | Path) -> tuple[bytes, str]:
    """Bytes of a file, decompressed, and the ending that says what they are."""
    if str(path) == "-":
        return sys.stdin.buffer.read(), ".csv"
    path = Path(path)
    name = path.name.lower()
    packed = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    if path.is_dir():
        raise TableError(
            f"{path} is a folder: give one file that ends in {listed(ENDINGS)}; of Parquet files metamix fit, metamix "
            "predict and metamix.scan take a folder, too"
        )
    if not path.exists():
        raise TableError(f"{path} does not exist{_near_file(path)}")
    if ending not in ENDINGS:
        raise TableError(f"{path} is of an unknown kind: a file that ends in {listed(ENDINGS)} would do")
    _check_size(path)
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if packed and content else content, ending
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path} cannot be read ({_first_line(error)})") from None


def too_large(path: Path) -> bool:
    """Whether the memory that the process may take lacks for a file."""
    return MEMORY_PER_BYTE * path.stat().st_size > free_memory().each


def _check_size(path: Path) -> None:
    if too_large(path):
        size = path.stat().st_size
        raise TableError(
            f"{path} has {in_units(size)}, and would need about {in_units(MEMORY_PER_BYTE * size)} of memory, of "
            f"which {in_units(free_memory().each)} are available: give a sample of its rows, or write it as Parquet, "
            "which metamix fit and metamix.scan read in chunks"
        )


def _typed(path: str, content: bytes, ending: str, sheet: str | None) -> pd.DataFrame:
    """A table from a file whose cells have types."""
    data = io.BytesIO(content)
    try:
        if ending == ".parquet":
            return pd.read_parquet(data)
        if ending in (".feather", ".arrow"):
            return pd.read_feather(data)
        if ending == ".xlsx":
            return pd.read_excel(data, sheet_name=0 if sheet is None else sheet, keep_default_na=False, na_values=[""])
        return pd.DataFrame([json.loads(line) for line in content.decode("utf-8-sig").split("\n") if line.strip()])
    except ImportError as error:
        needed = "openpyxl" if ending == ".xlsx" else "pyarrow"
        raise TableError(f"reading {path} needs {needed}: pip install {needed}") from error
    except Exception as error:  # each library has errors of its own for a file that is not of its kind
        raise TableError(f"{path} cannot be read as {ending} ({_first_line(error)})") from None


# --- text files -------------------------------------------------------------------------------------------


def _from_text(path: str, content: bytes, separator: str | None, encoding: str | None) -> FileTable:
    text, notes = _decode(path, content, encoding)
    first, _, rest = text.partition("\n")
    started = 0
    if first.lower().startswith("sep=") and len(first) == 5:
        separator, text, started = separator or first[4], rest, 1
    try:
        layout = _layout(text, separator)
    except csv.Error as error:
        raise TableError(f"{path} is not a table ({_first_line(error)})") from None
    separator, skipped = layout.separator, layout.skipped
    counted = [str(j) for j in range(len(layout.names))]  # as pandas names the columns of an array
    if layout.names != counted and len(counted) > 1 and all(map(is_plain_number, layout.names)):
        raise TableError(
            f"{path} has no header: its columns would be called {listed(layout.names)}. A first line with the names of "
            "the columns is needed; if it has one, give the separator"
        )
    if skipped:
        shown = text.split("\n", 1)[0].strip()
        notes.append(f"{skipped} line(s) before the header were left out, the first of which is {shown[:60]!r}.")
    names, renamed = _distinct(layout.names)
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    rows: list[list[str]] = []
    begin = end = 0
    try:
        for record in reader:
            begin, end = end, reader.line_num
            if not any(map(str.strip, record)) or reader.line_num <= skipped:
                continue
            if len(record) > len(names) and not any(record[len(names) :]):
                record = record[: len(names)]
            if len(record) != len(names) and rows:
                fields = f"{len(record)} fields, the header has {len(names)}"
                raise TableError(
                    f"{path} is not a table: line {reader.line_num + started} has {fields}; leave out lines that are "
                    "no rows, or give the separator"
                )
            rows.append(record)
        _check_quotes(path, text.split("\n")[begin:end], separator, begin + started)
    except csv.Error as error:
        raise TableError(f"{path} is not a table: line {reader.line_num + started}: {_first_line(error)}") from None
    frame = pd.DataFrame(rows[1:], columns=pd.Index(names, dtype=object), dtype=object)
    return FileTable(frame, (*notes, *renamed), "," if separator == ";" else ".")


def _check_quotes(path: str, lines: list[str], separator: str, before: int) -> None:
    """TableError if the last record of a file, which begins after so many lines, ends within quotes."""
    try:
        list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error as error:
        if "end of data" in str(error):
            raise TableError(
                f"{path} is not a table: a quote is opened in line {before + 1} and closed nowhere; close or remove it"
            ) from None


def _decode(path: str, content: bytes, encoding: str | None) -> tuple[str, list[str]]:
    """The text of a file, and what was noticed."""
    notes: list[str] = []
    found = encoding or next((name for bom, name in BOMS.items() if content.startswith(bom)), None)
    if found is None and content[:200].count(0) > ZEROS * len(
        content[:200]
    ):  # of Latin letters every other byte is zero
        found = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    try:
        text = content.decode(found or "utf-8")
        if found not in (None, encoding, "utf-8-sig"):
            notes.append(f"The file is in {found.upper()}.")
    except (LookupError, ValueError) as error:
        if not isinstance(error, UnicodeDecodeError):
            raise TableError(f"there is no encoding {encoding!r}: utf-8, utf-16 and latin-1 are some") from None
        if found is not None:
            raise TableError(f"{path} is not text in {found} ({error.reason} at byte {error.start})") from None
        text = content.decode("cp1252", errors="replace")
        notes.append("The file is not UTF-8 and was read as Latin-1 (Windows-1252); another encoding can be given.")
    text = text.lstrip("\ufeff").rstrip("\x1a")  # a mark of the encoding; the end of a file, as DOS wrote it
    sample = text[:100_000]
    odd = sum(1 for c in sample if (c < " " and c not in "\t\n\r\f\v") or c in "\ufffd\x7f")
    if odd > RUBBISH * len(sample):
        raise TableError(f"{path} is not text: a table as CSV in UTF-8 would do")
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


@dataclass(frozen=True)
class _Layout:
    """How a text file is laid out: its separator, the lines before the header, and the names in the header."""

    share: float
    fields: int
    separator: str
    skipped: int
    names: list[str]


def _layout(text: str, separator: str | None) -> _Layout:
    """The layout that most of the first records have.

    Of a table most records have as many fields as the header; lines before it have fewer.
    """
    best: _Layout | None = None
    for one in SEPARATORS if separator is None else [separator]:
        reader = csv.reader(io.StringIO(text), delimiter=one, skipinitialspace=True)
        lines, records = [], []
        for record in islice(reader, FIRST_RECORDS):
            records.append(record)
            lines.append(reader.line_num)
        counts = Counter(len(record) for record in records if record)
        if not counts:
            continue
        fields, times = max(counts.items(), key=lambda item: (item[1], item[0]))
        share = times / sum(counts.values()) if fields > 1 else 0.0
        header, names = _header(records, fields)
        found = _Layout(share, fields, one, lines[header - 1] if header else 0, names)
        if best is None or (found.share, found.fields) > (best.share, best.fields):
            best = found
    if best is None:
        raise csv.Error("it has no lines")
    return best


def _header(records: list[list[str]], fields: int) -> tuple[int, list[str]]:
    """Position of the header, and the names in it, of which there may be fewer than `fields`."""
    body = [record for record in records if len(record) == fields]
    position = next(i for i, record in enumerate(records) if len(record) == fields)
    while position + 1 < len(records) and _is_title(records[position], records[position + 1]):
        position += 1
    empty = next((j for j in range(fields) if any(record[-1 - j] for record in body)), fields)  # columns at the end
    for i, record in enumerate(records[:position]):
        names = [] if _is_title(record, records[i + 1]) else _without_end(record)
        if 1 < len(names) == fields - empty:  # separators at the end of rows, or of the header
            return i, names
        if 1 < len(names) == fields - 1 and i == position - 1 and _are_row_names([one[0] for one in body]):
            return i, ["", *names]  # row names have no name, as R writes them
    return position, records[position]


def _is_title(record: list[str], following: list[str]) -> bool:
    """Whether a line is a comment, or has far fewer fields that are not empty than it could, and than the next one."""
    named, then = (sum(1 for field in one if field) for one in (record, following))
    if len(record) == len(following) and any(map(is_plain_number, following)):  # a header, and its first row
        return False
    return (bool(record) and record[0].startswith("#")) or (named < then and 2 * named <= len(record))


def _without_end(record: list[str]) -> list[str]:
    """A record without empty fields at its end."""
    while record and not record[-1]:
        record = record[:-1]
    return record


def _are_row_names(texts: list[str]) -> bool:
    """Whether texts are no numbers, or count the rows."""
    numbers = [text for text in texts if text.isdigit()]
    return not numbers or [int(text) for text in numbers] == list(range(int(numbers[0]), int(numbers[0]) + len(texts)))


def _distinct(header: list[Any]) -> tuple[list[str], list[str]]:
    """Names without repeats, and what was changed."""
    names, notes = [], []
    for name in (str(one).strip() for one in header):
        new, times = name, 1
        while new in names:
            times += 1
            new = f"{name or 'column'}.{times}"
        if new != name:
            notes.append(f"More than one column is named {name!r}; one of them is {new!r} now.")
        names.append(new)
    return names, notes


def _clean_names(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    index = [name for name in frame.index.names if name is not None]
    if index:
        frame = frame.reset_index(level=index)
    names, notes = _distinct(list(frame.columns))
    notes += [f"The index {str(name)!r} is a column." for name in index]
    return frame.set_axis(names, axis=1).reset_index(drop=True), tuple(notes)


def _near_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    near = get_close_matches(path.name, [p.name for p in folder.iterdir()], n=1)
    return f": did you mean {folder / near[0]}?" if near else ": give the path of a CSV or Parquet file"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
