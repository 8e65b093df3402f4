"""Finished fits kept in a folder, by content, so that a call that was interrupted continues where it stood."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import platform
import secrets
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import IO, Any

import cloudpickle
import joblib
import numpy as np
import sklearn

from metamix.data.row_keys import table_key

__all__ = [
    "Checkpoint", "CheckpointError", "CheckpointWarning", "Fingerprint", "StoredResult", "check_folder", "content_key",
    "table_fingerprint", "value_fingerprint", "version_fingerprints",
]  # fmt: skip

#: Number of the format of the folder; another one is refused.
FORMAT = 1
#: The file that says which call the folder belongs to, and the one that says which folds that call made.
CALL, FOLDS = "call.json", "folds.json"
#: Ends of the names of a finished fit, of a file that is being written, and of a folder of the parts of a fit.
FIT, PART, INSIDE = ".fit", ".part", ".inside"
#: A file is written in seconds: one that was not finished for so many is of a process that was killed.
ABANDONED_SECONDS = 3600
#: Seeds that are drawn are below this.
SEEDS = 2**31 - 1
_DIGEST = sha256().digest_size


class CheckpointError(ValueError):
    """A folder cannot be the checkpoint of this call; the message says why, and what would do."""


class CheckpointWarning(UserWarning):
    """A file of a checkpoint could not be read, so that its fit is done again, or a fit could not be kept."""


@dataclass(frozen=True)
class Fingerprint:
    """Something that two calls must agree in to share fits: as it is shown, and a key of its content."""

    shown: str
    key: str


@dataclass(frozen=True)
class StoredResult:
    """A result and the seconds that it took when it was computed."""

    value: Any
    seconds: float


class Checkpoint:
    """A folder that keeps the finished fits of one call, and of tasks that consist of fits what is done of them.

    A file is written beside its place and moved there in one step, and begins with a hash of its content. So the
    folder is in order whenever a process is killed, several processes may use it at once, and a file that is damaged
    all the same is recognised and its fit done again.

    Results are pickled: reading them runs code. Files of other users are therefore refused; those that the user copied
    from elsewhere cannot be told from the user's own.

    Parameters
    ----------
    folder : str or path
        Is made if it does not exist.
    fingerprints : mapping from str to Fingerprint
        What the call is recognised by.

    Raises
    ------
    CheckpointError
        If the folder holds fits of another call, something else, or files of another user, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Checkpoint(folder, {"cv": value_fingerprint("cv", 5)}).put("key", [1, 2], 0.5, "ridge, fold 0")
    ...     Checkpoint(folder, {"cv": value_fingerprint("cv", 5)}).get("key")
    StoredResult(value=[1, 2], seconds=0.5)
    """

    def __init__(self, folder: Any, fingerprints: Mapping[str, Fingerprint]) -> None:
        self.folder = Path(check_folder(folder))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            others = any(one.suffix != PART for one in self.folder.iterdir())
            if others and not (self.folder / CALL).exists():  # in this order: another process may be at it too
                raise CheckpointError(
                    f"checkpoint={str(self.folder)!r} is a folder with other files; give a new or an empty folder."
                )
            known = self._read_or_write(CALL, fingerprints, {"seed": secrets.randbelow(SEEDS)})
        except OSError as error:
            raise CheckpointError(
                f"checkpoint={str(self.folder)!r} cannot be used ({error.strerror or error}); give a folder that you "
                "can write to."
            ) from error
        self.seed = int(known["seed"])
        self._call = known
        self._is_part = False

    def check_folds(self, pairs: Any) -> None:
        """CheckpointError if the pairs of training and test rows of this call are not those of the first."""
        self._read_or_write(
            FOLDS,
            {"folds": Fingerprint("as a cv without a random_state of its own may make them", content_key(pairs))},
            {},
        )

    def get(self, key: str) -> StoredResult | None:
        """What is kept under a key; None if there is nothing, or a file that is damaged.

        Raises
        ------
        CheckpointError
            If the file belongs to another user.

        Warns
        -----
        CheckpointWarning
            If the file is damaged.
        """
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                _check_owner(file)
                content = file.read()
            if sha256(memoryview(content)[_DIGEST:]).digest() != content[:_DIGEST]:
                raise ValueError("it is incomplete")
            value, seconds = pickle.loads(memoryview(content)[_DIGEST:])
        except FileNotFoundError:
            return None
        except CheckpointError:
            raise
        except Exception as error:  # what a model does when it is loaded may raise anything
            warnings.warn(
                f"{path} cannot be read ({type(error).__name__}: {error}); its fit is done again.",
                CheckpointWarning,
                stacklevel=2,
            )
            return None
        return StoredResult(value, float(seconds))

    def put(self, key: str, value: Any, seconds: float, name: str) -> None:
        """Keep a result; `name` says what it is.

        Warns
        -----
        CheckpointWarning
            If it cannot be pickled or written; the call goes on without.
        """
        try:
            if self._is_part:  # another process may have removed it, which finished the same task
                self.folder.mkdir(exist_ok=True)
            content = cloudpickle.dumps((value, seconds), protocol=5)
            with self._temporary_file(self._path(key)) as (temporary, file):
                file.write(sha256(content).digest())
                file.write(content)
                file.close()
                os.replace(temporary, self._path(key))
            shutil.rmtree(self._inside(name), ignore_errors=True)
        except Exception as error:  # a full disk, or a foreign model that cannot be pickled
            warnings.warn(
                f"{name} is not kept in the checkpoint {self.folder} ({type(error).__name__}: {error}).",
                CheckpointWarning,
                stacklevel=2,
            )

    def inside(self, name: str) -> Checkpoint | None:
        """What keeps the parts of a task until the task itself is kept; None where the folder is not to be seen.

        Parameters
        ----------
        name : str
            Of the task, as it will be given to `put`.
        """
        try:
            seen = json.loads((self.folder / CALL).read_bytes()) == self._call
        except (OSError, ValueError):
            seen = False
        if not seen:  # as on another machine
            return None
        parts = copy(self)
        parts.folder, parts._is_part = self._inside(name), True
        return parts

    def _remove_abandoned(self) -> None:
        """Remove what processes were writing when they were killed."""
        for path in self.folder.rglob(f"*{PART}"):
            with suppress(OSError):  # it has its name by now
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()

    def _inside(self, name: str) -> Path:
        return self.folder / f"{content_key(name)}{INSIDE}"

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{FIT}"

    def _read_or_write(
        self, name: str, fingerprints: Mapping[str, Fingerprint], more: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What a file says, which is written if there is none; of several processes one writes it, and all agree."""
        path = self.folder / name
        mine = {
            "format": FORMAT,
            **more,
            "fingerprints": {what: vars(fingerprint) for what, fingerprint in fingerprints.items()},
        }
        if not path.exists():
            with self._temporary_file(path) as (temporary, file):
                file.write(json.dumps(mine, indent=1).encode())
                file.close()
                _move_unless_there(temporary, path)
        with open(path, "rb") as file:
            _check_owner(file)
            try:
                known: dict[str, Any] = json.load(file)
                theirs = {what: Fingerprint(**fingerprint) for what, fingerprint in known["fingerprints"].items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f"{path} is not a file of a checkpoint; remove the folder, or give another one."
                ) from error
        if known["format"] != FORMAT:
            theirs = {**theirs, "the format": Fingerprint(str(known["format"]), str(known["format"]))}
            fingerprints = {**fingerprints, "the format": Fingerprint(str(FORMAT), str(FORMAT))}
        self._check_equal(theirs, fingerprints)
        return known

    def _check_equal(self, theirs: Mapping[str, Fingerprint], mine: Mapping[str, Fingerprint]) -> None:
        nothing = Fingerprint("nothing", "")
        differences = []
        for what in dict.fromkeys([*mine, *theirs]):
            then, now = theirs.get(what, nothing), mine.get(what, nothing)
            if then.key != now.key:
                told = f"{then.shown}, now {now.shown}" if then.shown != now.shown else f"{now.shown}, of other content"
                differences.append(f"{what} ({told})")
        if differences:
            raise CheckpointError(
                f"checkpoint={str(self.folder)!r} keeps the fits of another call, which differs in "
                f"{'; '.join(differences)}. Give another folder, or remove this one."
            )

    @contextmanager
    def _temporary_file(self, path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
        """A new file beside a place, open for writing; removed at the end unless it was moved."""
        temporary = path.with_name(f".{secrets.token_hex(8)}{PART}")
        try:
            with open(temporary, "xb") as file:
                yield temporary, file
        finally:
            with suppress(OSError):
                temporary.unlink()


def _move_unless_there(temporary: Path, path: Path) -> None:
    """Give a complete file its name, unless another process was first."""
    try:
        os.link(temporary, path)  # fails if the name is taken, in one step
    except FileExistsError:
        pass
    except OSError:  # no links on this file system
        os.replace(temporary, path)


def _check_owner(file: IO[bytes]) -> None:
    """CheckpointError if a file belongs to another user, where the system tells."""
    if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid != os.getuid():
        raise CheckpointError(
            f"{file.name} belongs to another user, and reading a checkpoint runs code that it contains; give a folder "
            "of your own."
        )


def check_folder(folder: Any) -> str:
    """The name of a folder as text.

    Raises
    ------
    CheckpointError
        If it is no name of a folder.

    Examples
    --------
    >>> check_folder(Path("fits"))
    'fits'
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder) or "\0" in str(folder):
        raise CheckpointError(f"checkpoint={folder!r} is no name of a folder; give one, such as 'fits', or None.")
    return str(folder)


def content_key(value: Any) -> str:
    """A key that is equal for equal content, also in another process.

    Raises
    ------
    Exception
        Whatever pickling the value raises.

    Examples
    --------
    >>> content_key(np.arange(3)) == content_key(np.arange(3)), content_key([1]) == content_key([2])
    (True, False)
    """
    return str(joblib.hash(value, hash_name="sha1"))


def value_fingerprint(what: str, value: Any) -> Fingerprint:
    """A parameter as something that calls agree in.

    Raises
    ------
    CheckpointError
        If it cannot be recognised in another process, such as a function without a name.
    """
    try:
        return Fingerprint(shorten(" ".join(repr(value).split()), 80, placeholder=" …"), content_key(value))
    except Exception as error:  # a foreign object may raise anything when it is pickled
        raise CheckpointError(
            f"a checkpoint cannot recognise {what} in a later call, since it cannot be pickled ({error}); define its "
            "class or function by name in a module, or leave the checkpoint out."
        ) from error


def table_fingerprint(*tables: Any) -> Fingerprint:
    """The content of tables of n rows, with names and types of columns; one that is None is left out."""
    tables = tuple(one for one in tables if one is not None)
    if not tables:
        return Fingerprint("None", "")
    shown = " and ".join(" × ".join(map(str, np.shape(one))) for one in tables)
    return Fingerprint(shown, content_key((table_key(*tables), [_layout(one) for one in tables])))


def _layout(table: Any) -> Any:
    if hasattr(table, "columns"):
        dtypes = table.dtypes
        return [str(name) for name in table.columns], [repr(one) for one in dtypes]
    return type(table).__name__, str(getattr(table, "dtype", ""))


def version_fingerprints(estimators: Sequence[Any]) -> dict[str, Fingerprint]:
    """Versions of Python, of the libraries that every fit uses, and of those that some estimators are from.

    A class or function of a module without a version, such as one in a script or notebook, is known by its source.

    Parameters
    ----------
    estimators : sequence
        What else is among them is passed over.
    """
    found = {"Python": platform.python_version(), "numpy": np.__version__, "scikit-learn": sklearn.__version__}
    found["metamix"] = version("metamix")
    fingerprints = {what: Fingerprint(one, one) for what, one in found.items()}
    known = {"builtins", "numpy", "sklearn", "metamix"}
    for part in _parts(list(estimators)):
        kind = part if inspect.isroutine(part) or inspect.isclass(part) else type(part)
        top = (getattr(kind, "__module__", None) or "builtins").partition(".")[0]
        if top in known:
            continue
        number = getattr(sys.modules.get(top), "__version__", None)
        if isinstance(number, str):
            known.add(top)
            fingerprints[top] = Fingerprint(number, number)
            continue
        with suppress(OSError, TypeError):  # no source is known
            name = getattr(kind, "__qualname__", repr(kind))
            fingerprints[f"the source of {name}"] = Fingerprint(name, content_key(inspect.getsource(kind)))
    return fingerprints


def _parts(waiting: list[Any]) -> Iterator[Any]:
    """Estimators with the estimators and functions that are their parameters, at any depth."""
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
        elif callable(one) or hasattr(one, "get_params"):
            yield one
            if hasattr(one, "get_params") and not inspect.isclass(one):
                waiting += one.get_params(deep=False).values()
