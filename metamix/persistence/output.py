"""Output files: checked before a long computation, replaced in one step, never left half-written."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from metamix.persistence.errors import ModelFileError

__all__ = ["OutputFile", "check_path"]


def check_path(path: Any) -> str:
    """Name of a file as text.

    Parameters
    ----------
    path : str, bytes or path

    Raises
    ------
    ModelFileError
        If it is no name of a file, such as None, a number or an open file.

    Examples
    --------
    >>> check_path(Path("model.mix"))
    'model.mix'
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ModelFileError(f"{path!r} is not the name of a file; give one, such as 'model.mix'")
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise ModelFileError(f"{name!r} is not the name of a file; give one, such as 'model.mix'")
    return name


class OutputFile:
    """A place that a file can be written to; it is checked when the object is made.

    A regular file is written beside its place under a temporary name and takes its place in one step, so that what was
    there before is whole until then. What is no regular file, such as a device, a pipe or the terminal, is written to.

    Parameters
    ----------
    path : str or path
    inputs : iterable of str or path
        Files that are read, which the output must not be.

    Raises
    ------
    ModelFileError
        If `path` is a folder, one of the inputs, in a folder that does not exist, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with OutputFile(Path(folder, "a.txt")).open() as file:
    ...         _ = file.write(b"all of it")
    ...     Path(folder, "a.txt").read_text()
    'all of it'
    """

    def __init__(self, path: Any, inputs: Iterable[Any] = ()) -> None:
        self.name = check_path(path)
        try:
            self.status = _status(self.name)
            self._target = Path(os.path.realpath(self.name))  # a symbolic link is followed, not replaced by a file
            self._check(inputs)
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def replaces(self) -> bool:
        """Whether writing replaces a file that exists."""
        return self.status is not None and not self._is_stream

    @property
    def _is_stream(self) -> bool:
        """Whether it is written to as it is: no regular file, or one that this process prints to."""
        if self.status is None:
            return False
        return not stat.S_ISREG(self.status.st_mode) or any(os.path.samestat(self.status, one) for one in _printed_to())

    def _check(self, inputs: Iterable[Any]) -> None:
        if self.status is not None:
            if stat.S_ISDIR(self.status.st_mode):
                raise ModelFileError(f"{self.name} is a folder: give the name of a file")
            read = (_status(os.fspath(one)) for one in inputs)
            if any(one is not None and os.path.samestat(self.status, one) for one in read):
                raise ModelFileError(f"{self.name} is read as input and would be overwritten: give another name")
            if not os.access(self.name, os.W_OK):
                raise ModelFileError(f"{self.name} is write-protected: give another name, or change its permissions")
        if self._is_stream:
            return
        if self.name.endswith(os.sep) or not self._target.parent.is_dir():
            raise ModelFileError(f"{self.name} cannot be written: there is no folder {self._target.parent}")
        with self._temporary() as (_, file):
            file.close()

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it for writing; what was written takes its place at the end of the block, unless an error ends it.

        Raises
        ------
        ModelFileError
            If writing fails, for example because the disk is full.
        """
        try:
            if self._is_stream:
                whole = io.BytesIO()  # archives need a place that they can seek in
                yield whole
                with open(self.name, "ab") as stream:
                    stream.write(whole.getbuffer())
                return
            with self._temporary() as (temporary, file):
                yield file
                file.flush()
                os.fsync(file.fileno())  # the name must not be there before the content
                file.close()
                if self.status is not None:
                    shutil.copymode(self._target, temporary)
                os.replace(temporary, self._target)
        except BrokenPipeError:  # the reader has closed the pipe: not an error of the file
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A new file in the folder of the output, open for writing; removed at the end unless it was moved."""
        temporary = self._target.with_name(f".metamix-{secrets.token_hex(8)}.part")
        try:
            with open(temporary, "xb") as file:
                yield temporary, file
        finally:
            with suppress(OSError):
                temporary.unlink()

    def _unwritable(self, error: OSError) -> ModelFileError:
        return ModelFileError(f"{self.name} cannot be written: {error.strerror or error}")


def _status(name: str) -> os.stat_result | None:
    """What is there, symbolic links followed; None if nothing is."""
    try:
        return os.stat(name)
    except FileNotFoundError:
        return None


def _printed_to() -> Iterator[os.stat_result]:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or no file at all
            yield os.fstat(stream.fileno())
