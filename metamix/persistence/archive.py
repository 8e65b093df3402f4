"""The file of a saved model: a zip archive of three members, none of them compressed.

=================  ==============================================================================================
``manifest.json``  number of the format, versions, and what the mixture is
``model.json``     the mixture, taken apart (`metamix.persistence.encoding`)
``arrays.bin``     its arrays, one after another
=================  ==============================================================================================

Nothing is compressed: reading takes no more memory than the file has bytes, and half of the time of loading was spent
on decompression.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from metamix.persistence.decoding import read_dtype
from metamix.persistence.encoding import MOST_NODES
from metamix.persistence.manifest import MANIFEST

__all__ = ["FORMAT", "READERS", "UNRELEASED", "open_archive", "write_archive"]

MODEL, ARRAYS = "model.json", "arrays.bin"
MOST_AXES = 64  # of numpy
Entry = tuple[np.dtype[Any], tuple[int, ...], bool]
# What a file without members but these three ends with: 22 bytes.
END, LONGEST_DIRECTORY, ZIP64_LOCATOR = b"PK\x05\x06", 1000, b"PK\x06\x07"


def write_archive(stream: IO[bytes], manifest: dict[str, Any], document: Any, arrays: Sequence[NDArray[Any]]) -> None:
    """Write a file.

    Raises
    ------
    ValueError
        If the document has more than `MOST_NODES` nodes.
    """
    model = json.dumps(document, separators=(",", ":")).encode()
    _check_nodes(model)
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False))
        file.writestr(MODEL, model)
        with file.open(ARRAYS, "w", force_zip64=True) as member:
            for array in arrays:
                if array.size:
                    whole = np.ascontiguousarray(array.T if array.flags.f_contiguous else array)
                    member.write(whole.reshape(-1).view(np.uint8).data)


def open_archive(path: str | os.PathLike[str]) -> zipfile.ZipFile:
    """Open a file, whose members are checked before any is read.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError, zipfile.BadZipFile
        If it is no archive of these members.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as raw:
        raw.seek(max(0, size - 42))
        tail = raw.read()
        end = tail[-22:]
        long = tail.startswith(ZIP64_LOCATOR) and size < 2**32
        if end[:4] != END or int.from_bytes(end[12:16], "little") > LONGEST_DIRECTORY or long:
            raise ValueError("it is no archive of a mixture")
    file = zipfile.ZipFile(path)
    try:
        for one in file.infolist():
            if one.compress_type != zipfile.ZIP_STORED or one.compress_size != one.file_size or one.file_size > size:
                raise ValueError(f"its member {one.filename!r} is not stored as metamix does")
        if MANIFEST not in file.namelist():
            raise ValueError("it has no manifest")
    except BaseException:
        file.close()
        raise
    return file


def _read_3(file: zipfile.ZipFile) -> tuple[dict[str, Any], Callable[[], list[NDArray[Any]]]]:
    """Document of format 3, and a function that reads its arrays."""
    if sorted(file.namelist()) != sorted((MANIFEST, MODEL, ARRAYS)):
        raise ValueError("it has other members than a mixture")
    model = file.read(MODEL)
    _check_nodes(model)
    document = json.loads(model)
    table = [_entry(*one) for one in document["arrays"]]
    if sum(dtype.itemsize * math.prod(shape) for dtype, shape, _ in table) != file.getinfo(ARRAYS).file_size:
        raise ValueError("its arrays have another size than they should")
    return document, partial(_arrays_3, file, table)


def _arrays_3(file: zipfile.ZipFile, table: Sequence[Entry]) -> list[NDArray[Any]]:
    with file.open(ARRAYS) as member:
        return [_array(member, *one) for one in table]


def _entry(description: Any, shape: list[int], fortran: bool) -> Entry:
    if len(shape) > MOST_AXES or any(type(length) is not int or not 0 <= length < 2**63 for length in shape):
        raise ValueError("no array has this shape")
    return read_dtype(description), tuple(shape), bool(fortran)


def _array(member: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> NDArray[Any]:
    array = np.empty(shape[::-1] if fortran else shape, dtype)
    if array.size:
        content = member.read(array.nbytes)
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(content, np.uint8)
    return array.T if fortran else array


def _check_nodes(model: bytes) -> None:
    if model.count(b",") + model.count(b"[") + model.count(b"{") > MOST_NODES:
        raise ValueError(f"it consists of more than {MOST_NODES:,} objects")


# The format that `save` writes. A change of what a file consists of raises the number by one, keeps the reader of the
# old number in READERS (files of every release must load), and adds a file of that format to tests/persistence/files.
FORMAT = 3
READERS = {3: _read_3}
# Formats of metamix before its first release, which are not read.
UNRELEASED = (1, 2)
