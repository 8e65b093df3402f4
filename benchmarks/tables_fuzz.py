"""Random tables with odd cells, separators, quotes and encodings: is every file read as it was meant, or refused aloud?

python benchmarks/tables_fuzz.py [--files 2000] [--first 0]

Each file is made from known numbers, dates and categories by one random way of writing for each column, and a few odd
cells. Reading must give the known values back, with the odd cells missing and named in a note; a value that differs
without a note is a silent change. Damaged files (cut, shuffled bytes, rows of other lengths) must be read, or end in
a `TableError` of one line. Prints the number of files of each outcome, and every failure with its seed.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metamix import TableCleaner
from metamix.data.files import read_file
from metamix.data.frames import TableError

ODD = ["?", "unknown", "n/a", "-", "missing", "#REF!", "inf"]
DAY_FORMATS = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d %b %Y", "%Y-%m-%dT%H:%M:%S"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "latin-1"]


def numbers(rng: Any, n: int, separator: str) -> tuple[list[str], np.ndarray]:
    """Numbers and one way to write them."""
    digits = int(rng.integers(0, 5))
    values = np.round(rng.normal(scale=10.0 ** rng.integers(0, 7), size=n), digits)
    marks = [(".", ""), (".", ",")] if separator != ";" else [(",", ""), (",", ".")]
    decimal, thousands = marks[rng.integers(len(marks))]
    texts = [f"{v:,.{digits}f}".translate({ord(","): thousands, ord("."): decimal}) for v in values]
    unit = rng.choice(["", "", "", "$", " €", " km", "%"])
    if unit == "%":
        return [f"{text}%" for text in texts], values / 100
    if unit == "$":
        return [f"-${text[1:]}" if text[0] == "-" else f"${text}" for text in texts], values
    return [text + unit for text in texts], values


def dates(rng: Any, n: int, separator: str) -> tuple[list[str], np.ndarray]:
    """Dates and one way to write them."""
    day = pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 9000, n), unit="D")
    return list(day.strftime(DAY_FORMATS[rng.integers(len(DAY_FORMATS))])), day.to_numpy("M8[us]")


def words(rng: Any, n: int, separator: str) -> tuple[list[str], np.ndarray]:
    """Categories with quotes, separators and line breaks in them."""
    levels = ["NA", "None", "Größe, A", 'say "so"', "two\nlines", "x;y", "yes"]
    found = rng.choice(levels, n)
    return list(found), found


def table(seed: int) -> tuple[bytes, dict[str, Any]]:
    """A file, and for each column its values and the rows of odd cells."""
    rng = np.random.default_rng(seed)
    n, separator = int(rng.integers(40, 120)), rng.choice([",", ";", "\t", "|"])
    columns, known = {}, {}
    for j in range(int(rng.integers(2, 6))):
        make = [numbers, dates, words][rng.choice(3, p=[0.5, 0.25, 0.25])]
        texts, values = make(rng, n, str(separator))
        odd = rng.choice(n, int(rng.integers(0, 3)), replace=False) if make is not words else np.empty(0, int)
        for i in odd:
            texts[i] = str(rng.choice(ODD))
        columns[f"c{j}"] = texts
        known[f"c{j}"] = (values, np.sort(odd))
    stream = io.StringIO()
    newline = rng.choice(["\n", "\r\n"])
    writer = csv.writer(stream, delimiter=str(separator), lineterminator=newline)
    before = rng.choice(["", "", "# exported today" + newline, f"sep={separator}{newline}"])
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    text, encoding = before + stream.getvalue(), ENCODINGS[rng.integers(len(ENCODINGS))]
    if encoding == "latin-1":
        text = text.replace("€", "$")
    return text.encode(encoding), known


def damaged(content: bytes, seed: int) -> bytes:
    """The file cut, with bytes exchanged, or with a line too long."""
    rng = np.random.default_rng([seed, 1])
    kind = rng.integers(4)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        noisy = bytearray(content)
        for i in rng.integers(0, len(content), 20):
            noisy[i] = rng.integers(256)
        return bytes(noisy)
    if kind == 2:
        return content + b"\n1,2;3\t4|5,6;7\n"
    return bytes(rng.integers(0, 256, int(rng.integers(0, 500)), dtype=np.uint8))


def check(seed: int, folder: str) -> str:
    """Outcome of one file: "read", "said", "refused", or what is wrong with it."""
    content, known = table(seed)
    is_damaged = seed % 4 == 3
    path = Path(folder, f"{seed}.csv")
    path.write_bytes(damaged(content, seed) if is_damaged else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_file(path)
            cleaner = TableCleaner(decimal=found.decimal).fit(found.frame)
            frame = cleaner.transform(found.frame)
        except TableError as error:
            if "\n" in str(error):
                return f"an error of several lines: {error}"
            return "refused" if is_damaged else f"refused: {error}"
    return "read" if is_damaged else _compare(frame, cleaner, known)


def _compare(frame: pd.DataFrame, cleaner: TableCleaner, known: dict[str, Any]) -> str:
    said = False
    notes = {one.name: " ".join(one.notes) for one in cleaner.readings_}
    for name, (values, odd) in known.items():
        if name not in frame:
            return f"{name} is left out: {notes.get(name)}"
        fine = np.setdiff1d(np.arange(len(values)), odd)
        found = frame[name]
        if values.dtype.kind == "M":
            same = found.dtype.kind == "M" and (found.to_numpy("M8[us]")[fine] == values[fine]).all()
        elif values.dtype.kind == "f":
            same = found.dtype.kind == "f" and np.allclose(found.to_numpy()[fine], values[fine], rtol=1e-9)
        else:
            same = found.tolist() == values.tolist()
        if not same and not notes[name]:
            return f"{name} was changed without a word: {found.tolist()[:3]} for {values.tolist()[:3]}"
        if len(odd) and "missing" not in notes[name]:
            return f"{name}: odd cells were not said: {notes[name]}"
        said |= not same
    return "said" if said else "read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.first, given.first + given.files):
            outcome = check(seed, folder)
            counts[outcome if outcome in ("read", "said", "refused") else "failed"] += 1
            if outcome not in ("read", "said", "refused"):
                print(f"seed {seed}: {outcome}")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
