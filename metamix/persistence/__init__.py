"""Saving and loading of fitted mixtures with skops; no code from a file runs before its types are trusted.

A file is a zip archive of ``manifest.json`` (format number, versions, description of the mixture) and
``model.skops`` (the estimator as a tree of known types, arrays as .npy without pickle). To change the
format, raise `FORMAT`, decide which older formats `load` still reads, and describe the change in CHANGELOG.md.
"""

from __future__ import annotations

import json
import os
import platform
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from metamix.estimators import MixtureClassifier, MixtureOfPredictions, MixtureRegressor
from metamix.persistence.errors import ModelFileError, UntrustedTypesError
from metamix.persistence.manifest import MANIFEST, check_notes, describe_mixture, read_manifest
from metamix.persistence.output import OutputFile, check_path
from metamix.persistence.trust import check_trees, is_importable, is_known

__all__ = [
    "FORMAT",
    "ModelFileError",
    "OutputFile",
    "UntrustedTypesError",
    "load",
    "read_manifest",
    "save",
    "untrusted_types",
]

# The only format that is read. Format 1 (metamix 0.1, never released) is rejected.
FORMAT = 2
KINDS = (MixtureRegressor, MixtureClassifier, MixtureOfPredictions)
MODEL = "model.skops"
BASE_LIBRARIES = ("numpy", "scipy", "scikit-learn", "skops")
# Exceptions of zipfile, json, numpy, skops and scikit-learn on a damaged or foreign file.
DAMAGE_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NotImplementedError, RuntimeError,
    TypeError, ValueError, zipfile.BadZipFile, zlib.error,
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
    from skops import io

    if not _is_mixture(mixture):
        raise ModelFileError(
            f"save got {_described(mixture)}; expected a fitted MixtureRegressor, MixtureClassifier, "
            "MixtureOfPredictions or learner of metamix.nn"
        )
    check_is_fitted(mixture)
    said = check_notes(notes)
    output = OutputFile(path)
    try:
        model = io.dumps(mixture)
        types = io.get_untrusted_types(data=model)
    except Exception as error:  # skops may raise anything, depending on the state of the experts
        raise ModelFileError(f"this mixture cannot be saved: {_one_line(error)}") from error
    missing = [name for name in types if not is_importable(name)]
    if missing:
        raise ModelFileError(
            f"this mixture cannot be saved, because {', '.join(missing)} cannot be imported by name: define "
            "functions and classes at the top level of a module"
        )
    with output.open() as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        manifest = _manifest(mixture, types) | describe_mixture(mixture) | {"notes": said}
        file.writestr(MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False))
        file.writestr(MODEL, model)


def load(path: str | os.PathLike[str], trusted: Iterable[str] | None = None) -> Any:
    """Load a mixture written by `save`.

    Types of metamix, numpy and scikit-learn's estimators are trusted. Any other type, such as an expert of
    XGBoost or of your own, must be listed in `trusted`; before that no code from the file is run.

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

    Examples
    --------
    >>> load("nowhere.mix")
    Traceback (most recent call last):
    ...
    metamix.persistence.errors.ModelFileError: nowhere.mix does not exist
    """
    from skops import io

    path, allowed = Path(check_path(path)), _allowed(trusted)
    manifest, model, found = _open(path)
    types = [name for name in found if not is_known(name)]
    missing = [name for name in types if name not in allowed]
    if missing:
        raise UntrustedTypesError(
            f"{path} contains types that are not trusted: {', '.join(missing)}. If you trust the source of the file, "
            f"load it with metamix.load({str(path)!r}, trusted={types!r})",
            missing,
        )
    try:
        mixture = io.loads(model, trusted=found)
    except ImportError as error:
        libraries = ", ".join(f"{name} {number}" for name, number in manifest.get("libraries", {}).items())
        raise ModelFileError(
            f"{path} needs a library that is not installed ({_one_line(error)}); it was written with {libraries}"
        ) from error
    except DAMAGE_ERRORS as error:
        raise ModelFileError(f"{path} is damaged and cannot be read ({_one_line(error)})") from error
    if not _is_mixture(mixture):
        raise ModelFileError(f"{path} contains a {type(mixture).__name__}, not a mixture")
    try:
        check_trees(mixture)
    except DAMAGE_ERRORS as error:
        raise ModelFileError(f"{path} is damaged ({_one_line(error)}) and must not be used") from error
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
    return [name for name in _open(Path(check_path(path)))[2] if not is_known(name)]


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


def _open(path: Path) -> tuple[dict[str, Any], bytes, list[str]]:
    """Read the manifest, the model as bytes and the names of types that skops does not trust; no object is built."""
    from skops import io

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
        with zipfile.ZipFile(path) as file:
            manifest = json.loads(file.read(MANIFEST))
            _check_format(path, manifest)
            model = file.read(MODEL)
        return manifest, model, io.get_untrusted_types(data=model)
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or _one_line(error)})") from error
    except DAMAGE_ERRORS as error:
        problem = "is damaged" if zipfile.is_zipfile(path) else "is not a file written by metamix"
        raise ModelFileError(f"{path} {problem}; give a file written by metamix.save or metamix fit") from error


def _check_format(path: Path, manifest: dict[str, Any]) -> None:
    number, writer = manifest["format"], manifest.get("metamix", "")
    if number == FORMAT:
        return
    current = f"metamix {version('metamix')} reads format {FORMAT} only"
    if isinstance(number, int) and number < FORMAT:
        raise ModelFileError(
            f"{path} has format {number}, which is no longer supported: {current}. Fit the mixture again and save it"
        )
    raise ModelFileError(f"{path} has format {number}, and {current}: install metamix {writer} or newer")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
