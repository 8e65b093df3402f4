"""`save` and `load`: a mixture as one file, and back, with the versions that wrote it and the types to be trusted."""

from __future__ import annotations

import copy
import json
import os
import platform
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from metamix.estimators import MixtureClassifier, MixtureOfPredictions, MixtureRegressor
from metamix.persistence.archive import FORMAT, READERS, UNRELEASED, open_archive, write_archive
from metamix.persistence.decoding import decode
from metamix.persistence.encoding import encode
from metamix.persistence.errors import ModelFileError, ModelVersionWarning, UntrustedTypesError
from metamix.persistence.manifest import MANIFEST, MOST_BYTES, check_notes, describe_mixture, wrong_entries
from metamix.persistence.output import OutputFile, check_path
from metamix.persistence.trees import check_models
from metamix.persistence.trust import is_known

__all__ = ["load", "save", "untrusted_types"]

KINDS = (MixtureRegressor, MixtureClassifier, MixtureOfPredictions)
BASE_LIBRARIES = ("numpy", "scipy", "scikit-learn")
# Exceptions of zipfile and json on a damaged or foreign file.
DAMAGE_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, RuntimeError, TypeError,
    ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def save(mixture: Any, path: str | os.PathLike[str], *, notes: Mapping[str, str] | None = None) -> None:
    """Save a fitted mixture to one file, without pickle; an existing file is replaced once writing has succeeded.

    What is no regular file, such as a device or a pipe, is written to.

    Parameters
    ----------
    mixture : MixtureRegressor, MixtureClassifier, MixtureOfPredictions, or a learner of `metamix.nn`
        A fitted mixture.
    path : str or path
        Name of the file; no suffix is added.
    notes : mapping of str to str, optional
        What `read_manifest` and ``metamix show`` are to tell besides, such as the name of the target.

    Raises
    ------
    ModelFileError
        If the object is not a mixture, contains something that could not be loaded again (such as a lambda), or
        the file cannot be written.
    sklearn.exceptions.NotFittedError
        If the mixture is not fitted.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from metamix import MixtureRegressor, make_regimes
    >>> X, y = make_regimes(100, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, cv=2, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(mixture, pathlib.Path(folder, "regimes.mix"))
    ...     same = load(pathlib.Path(folder, "regimes.mix"))
    >>> bool((same.predict(X) == mixture.predict(X)).all())
    True
    """
    if not _is_mixture(mixture):
        raise ModelFileError(
            f"save got {_described(mixture)}; expected a fitted MixtureRegressor, MixtureClassifier, "
            "MixtureOfPredictions or learner of metamix.nn"
        )
    check_is_fitted(mixture)
    said = check_notes(notes)
    if hasattr(mixture, "set_callbacks"):  # they follow fits
        mixture = copy.copy(mixture).set_callbacks()
    output = OutputFile(path)
    try:
        document, arrays = encode(mixture)
    except Exception as error:  # experts of any library may raise anything when they are taken apart
        raise ModelFileError(f"this mixture cannot be saved: {_one_line(error)}") from error
    manifest = _manifest(mixture, document["names"]) | describe_mixture(mixture) | {"notes": said}
    with output.open() as stream:
        try:
            write_archive(stream, manifest, document, arrays)
        except ValueError as error:
            raise ModelFileError(f"this mixture cannot be saved: {error}") from error


def load(path: str | os.PathLike[str], trusted: Iterable[str] | None = None) -> Any:
    """Load a mixture written by `save`.

    Types of metamix, numpy and scikit-learn are trusted. Any other type, such as an expert of XGBoost or of your own,
    must be listed in `trusted`; before that no code from the file is run. A mixture that was trained on a GPU predicts
    on the CPU.

    Parameters
    ----------
    path : str or path
    trusted : list of str, optional
        Names of types, as given by the error or by `untrusted_types`.

    Returns
    -------
    The fitted mixture.

    Raises
    ------
    UntrustedTypesError
        If the file contains other types; the message shows the call that loads it.
    ModelFileError
        If the file is missing, damaged, not a mixture, or of another format.

    Warns
    -----
    ModelVersionWarning
        If metamix, Python or a library has another version (its first two numbers) than when the file was written.

    Examples
    --------
    >>> load("nowhere.mix")
    Traceback (most recent call last):
    ...
    metamix.persistence.errors.ModelFileError: nowhere.mix does not exist
    """
    path, allowed = Path(check_path(path)), _allowed(trusted)
    with _opened(path) as file:
        manifest, document, read_arrays = _read(path, file)
        types = _untrusted(document)
        missing = [name for name in types if name not in allowed]
        if missing:
            raise UntrustedTypesError(
                f"{path} contains types that are not trusted: {', '.join(missing)}. If you trust the source of the "
                f"file, load it with metamix.load({str(path)!r}, trusted={types!r})",
                missing,
            )
        mixture = _built(path, manifest, document, read_arrays)
    try:
        is_mixture = _is_mixture(mixture)
        check_models(mixture)
    except DAMAGE_ERRORS as error:
        raise ModelFileError(f"{path} is damaged ({_one_line(error)}) and must not be used") from error
    if not is_mixture:
        raise ModelFileError(f"{path} contains a {type(mixture).__name__}, not a mixture")
    _compare_versions(path, manifest)
    return mixture


def untrusted_types(path: str | os.PathLike[str]) -> list[str]:
    """List the types in a file that must be given to `load` as trusted; no code from the file is run.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    list of str

    Raises
    ------
    ModelFileError
        As `load`.

    Examples
    --------
    >>> untrusted_types("nowhere.mix")
    Traceback (most recent call last):
    ...
    metamix.persistence.errors.ModelFileError: nowhere.mix does not exist
    """
    path = Path(check_path(path))
    with _opened(path) as file:
        return _untrusted(_read(path, file)[1])


def _allowed(trusted: Any) -> set[str]:
    """Names of the types that the caller trusts."""
    if trusted is None:
        return set()
    if isinstance(trusted, str | bytes) or not isinstance(trusted, Iterable):
        raise ModelFileError(f"trusted={trusted!r} must be a list of type names, such as ['xgboost.core.Booster']")
    try:
        names = list(trusted)
    except TypeError as error:  # an array without an axis
        raise ModelFileError(f"trusted={trusted!r} must be a list of type names ({error})") from error
    wrong = [one for one in names if not isinstance(one, str)]
    if wrong:
        raise ModelFileError(f"trusted has {wrong[0]!r}, which is not the name of a type, a str")
    return set(names)


def _described(model: Any) -> str:
    """What was given where a mixture is expected."""
    return (
        f"the class {model.__name__}, not an object of it" if isinstance(model, type) else f"a {type(model).__name__}"
    )


def _is_mixture(model: Any) -> bool:
    """Whether it is a mixture; learners of `metamix.nn` are recognised by name, since torch may be absent."""
    return isinstance(model, KINDS) or (
        not isinstance(model, type) and hasattr(model, "gate_weights") and is_known(_type_name(model))
    )


def _type_name(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__name__}"


def _manifest(mixture: Any, types: list[str]) -> dict[str, Any]:
    distributions = packages_distributions()
    named = getattr(mixture, "named_experts_", getattr(mixture, "names_", None))
    verdict = getattr(mixture, "verdict_", None)
    torch = ("torch", "skorch") if any(name.startswith("metamix.nn.") for name in [*types, _type_name(mixture)]) else ()
    columns: Any = [str(name) for name in getattr(mixture, "feature_names_in_", ())]
    of_types = (one for name in types for one in distributions.get(name.partition(".")[0], ())[:1])
    libraries = [*BASE_LIBRARIES, *torch, *of_types]
    return {
        "format": FORMAT,
        "metamix": version("metamix"),
        "class": type(mixture).__name__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in dict.fromkeys(libraries) if name != "metamix"},
        "types": [name for name in types if not is_known(name)],
        "experts": [f"expert {k + 1}" for k in range(mixture.n_experts_)] if named is None else list(named),
        "columns": columns or getattr(mixture, "n_features_in_", 0),
        "verdict": None if verdict is None else str(verdict),
    }


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; what is wrong with it is one kind of error."""
    if not os.path.isfile(path):
        found = (
            "is a folder"
            if os.path.isdir(path)
            else "is not a regular file"
            if os.path.exists(path)
            else "does not exist"
        )
        raise ModelFileError(f"{path} {found}")
    try:
        with open_archive(path) as file:
            yield file
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or _one_line(error)})") from error
    except DAMAGE_ERRORS as error:
        problem = "is damaged" if zipfile.is_zipfile(path) else "is not a file written by metamix"
        raise ModelFileError(
            f"{path} {problem} ({_one_line(error)}); give a file written by metamix.save or metamix fit"
        ) from error


def _read(path: Path, file: zipfile.ZipFile) -> tuple[dict[str, Any], dict[str, Any], Callable[[], list[Any]]]:
    """Manifest, document, and a function that reads the arrays; no object is built."""
    if file.getinfo(MANIFEST).file_size > MOST_BYTES:
        raise ValueError(f"its manifest has more than {MOST_BYTES:,} bytes")
    manifest = json.loads(file.read(MANIFEST))
    document, read_arrays = _reader(path, manifest)(file)
    if wrong := wrong_entries(manifest):
        raise ValueError(f"its manifest has no valid {', '.join(wrong)}")
    return manifest, document, read_arrays


def _reader(path: Path, manifest: dict[str, Any]) -> Any:
    number, writer = manifest["format"], manifest.get("metamix", "")
    if type(number) is int and number in READERS:
        return READERS[number]
    if number in UNRELEASED:
        raise ModelFileError(
            f"{path} has format {number}, of metamix {writer} before its first release, which is not read any more: "
            "fit the mixture again and save it"
        )
    raise ModelFileError(
        f"{path} has format {number}, and metamix {version('metamix')} reads formats up to {FORMAT}: install metamix "
        f"{writer} or newer"
    )


def _untrusted(document: dict[str, Any]) -> list[str]:
    names = document["names"]
    # Names stand in messages: what is no name of Python could say anything there.
    if not all(isinstance(name, str) and all(map(str.isidentifier, name.split("."))) for name in names):
        raise ValueError("its types have no names")
    return [name for name in names if not is_known(name)]


def _built(path: Path, manifest: dict[str, Any], document: Any, read_arrays: Callable[[], list[Any]]) -> Any:
    """The object of a document whose types are trusted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # _compare_versions says it once for all
            return decode(document, read_arrays())
    except ImportError as error:
        libraries = ", ".join(f"{name} {number}" for name, number in manifest.get("libraries", {}).items())
        raise ModelFileError(
            f"{path} needs a library that is not installed ({_one_line(error)}); it was written with {libraries}"
        ) from error
    except Exception as error:  # trusted classes of any library may raise anything on a damaged state
        raise ModelFileError(f"{path} is damaged and cannot be read ({_one_line(error)})") from error


def _compare_versions(path: Path, manifest: dict[str, Any]) -> None:
    """Warn if the file was written with other versions, in their first two numbers."""
    written = {"metamix": manifest.get("metamix"), "Python": manifest.get("python"), **manifest.get("libraries", {})}
    installed = {name: _installed(name) for name in written}
    other = [name for name in written if _release(written[name]) != _release(installed[name])]
    if other:
        warnings.warn(
            f"{path} was written with {_listed(other, written)}, and this is {_listed(other, installed)}: predictions "
            "may differ. Install these versions, or fit the mixture again",
            ModelVersionWarning,
            stacklevel=3,
        )


def _installed(name: str) -> str | None:
    if name == "Python":
        return platform.python_version()
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return None


def _release(number: Any) -> list[str]:
    return str(number).split(".")[:2]


def _listed(names: Iterable[str], versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {versions[name] or '(not installed)'}" for name in names)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
