"""Mixtures in files: one zip of a manifest and what skops wrote; no code of a file runs before its types are trusted.

The file holds ``manifest.json`` (format number, versions, facts about the mixture) and ``model.skops``
(the estimator as a tree of known types, arrays as .npy without pickle). To change the format, raise
`FORMAT`, keep reading the older numbers, and say in CHANGELOG.md what is new.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from metamix.estimators import MixtureClassifier, MixtureOfPredictions, MixtureRegressor
from metamix.persistence.trust import check_arrays, is_known, is_there

__all__ = ["FORMAT", "ModelFileError", "UntrustedTypesError", "load", "place", "replacing", "save", "untrusted_types"]

FORMAT = 1
KINDS = (MixtureRegressor, MixtureClassifier, MixtureOfPredictions)
MANIFEST, MODEL = "manifest.json", "model.skops"
ALWAYS = ("numpy", "scipy", "scikit-learn", "skops")
# What a damaged or foreign file makes zipfile, json, numpy, skops and scikit-learn raise.
DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NotImplementedError, RuntimeError,
    TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class ModelFileError(ValueError):
    """A file that cannot be written, or is no mixture that this version can read."""


class UntrustedTypesError(ModelFileError):
    """A file holds types that nobody has trusted yet; `types` lists them. Nothing of it was run."""

    def __init__(self, message: str, types: list[str]) -> None:
        super().__init__(message)
        self.types = types


def save(mixture: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted mixture into one file, never by pickle; a file that is there is replaced at the end.

    Parameters
    ----------
    mixture : MixtureRegressor, MixtureClassifier, MixtureOfPredictions, or a learner of `metamix.nn`
        FittedExpert.
    path : str or path
        Any name; nothing is added to it.

    Raises
    ------
    ModelFileError
        What is given is no mixture, holds something that could not be read again (such as a lambda), or the
        folder does not exist.
    sklearn.exceptions.NotFittedError
        The mixture is not fitted.

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
            f"save got a {type(mixture).__name__}: a fitted MixtureRegressor, MixtureClassifier, "
            "MixtureOfPredictions or learner of metamix.nn would do"
        )
    check_is_fitted(mixture)
    try:
        model = io.dumps(mixture)
        types = io.get_untrusted_types(data=model)
    except Exception as error:  # experts of any kind: whatever their state makes skops raise
        raise ModelFileError(f"this mixture cannot be saved: {_line(error)}") from error
    lost = [name for name in types if not is_there(name)]
    if lost:
        raise ModelFileError(
            f"this mixture cannot be saved, since {', '.join(lost)} could not be found again by name: define "
            "functions and classes at the top of a module"
        )
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
    ):
        file.writestr(MANIFEST, json.dumps(_manifest(mixture, types), indent=2, ensure_ascii=False))
        file.writestr(MODEL, model)


def load(path: str | os.PathLike[str], trusted: Iterable[str] | None = None) -> Any:
    """Read a mixture that `save` wrote.

    Types of metamix itself, of numpy and of scikit-learn's own estimators are trusted; any other type, such
    as an expert of XGBoost or of your own, must be named first. The file's own code, if it has any, is not
    run before.

    Parameters
    ----------
    path : str or path
    trusted : list of str, optional
        Names of types, as the error or `untrusted_types` gives them.

    Returns
    -------
    What was saved, fitted.

    Raises
    ------
    UntrustedTypesError
        The file holds other types; the message shows the call that would load it.
    ModelFileError
        The file is missing, damaged, no mixture, or of a newer format.

    Examples
    --------
    >>> load("nowhere.mix")
    Traceback (most recent call last):
    ...
    metamix.persistence.ModelFileError: nowhere.mix does not exist
    """
    from skops import io

    if isinstance(trusted, str | bool):
        raise ModelFileError(f"trusted={trusted!r}: a list of type names would do, such as [{str(trusted)!r}]")
    path, allowed = Path(path), set(trusted or ())
    manifest, model, found = _open(path)
    types = [name for name in found if not is_known(name)]
    missing = [name for name in types if name not in allowed]
    if missing:
        raise UntrustedTypesError(
            f"{path} holds types that only you can trust: {', '.join(missing)}. If you know where the file comes "
            f"from: metamix.load({str(path)!r}, trusted={types!r})",
            missing,
        )
    try:
        mixture = io.loads(model, trusted=found)
    except ImportError as error:
        wanted = ", ".join(f"{name} {number}" for name, number in manifest.get("libraries", {}).items())
        raise ModelFileError(
            f"{path} needs what is not installed ({_line(error)}); it was written with {wanted}"
        ) from error
    except DAMAGE as error:
        raise ModelFileError(f"{path} is damaged and cannot be read ({_line(error)})") from error
    if not _is_mixture(mixture):
        raise ModelFileError(f"{path} holds a {type(mixture).__name__}, not a mixture")
    try:
        check_arrays(mixture)
    except DAMAGE as error:
        raise ModelFileError(f"{path} is damaged ({_line(error)}) and must not be used") from error
    return mixture


def untrusted_types(path: str | os.PathLike[str]) -> list[str]:
    """Names of the types in a file that `load` asks to be trusted; nothing of the file is run.

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
    metamix.persistence.ModelFileError: nowhere.mix does not exist
    """
    return [name for name in _open(Path(path))[2] if not is_known(name)]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when all went well, and is removed when not.

    Parameters
    ----------
    path : str or path
        What is replaced at the end, in one step.

    Raises
    ------
    ModelFileError
        `path` is a folder, or in a folder that does not exist.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(pathlib.Path(folder, "a.txt")) as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     pathlib.Path(folder, "a.txt").read_text()
    'all of it'
    """
    target = place(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def place(path: str | os.PathLike[str]) -> Path:
    """Where a file would be written, if it can be; long work asks first.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    ModelFileError
        `path` is a folder, or in a folder that does not exist.

    Examples
    --------
    >>> place("model.mix").name
    'model.mix'
    """
    target = Path(os.path.realpath(path))  # where a link points to, so that the link stays one
    if target.is_dir():
        raise ModelFileError(f"{path} is a folder: give the name of a file")
    if not target.parent.is_dir():
        raise ModelFileError(f"{path} cannot be written: there is no folder {target.parent}")
    return target


def _is_mixture(one: Any) -> bool:
    """Whether it is one of ours; learners of the torch room are known by their kind, since torch need not be there."""
    return isinstance(one, KINDS) or (hasattr(one, "gate_weights") and is_known(_name(one)))


def _name(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__name__}"


def _manifest(mixture: Any, types: list[str]) -> dict[str, Any]:
    homes = packages_distributions()
    named = getattr(mixture, "named_experts_", None)
    verdict = getattr(mixture, "verdict_", None)
    torch = ("torch", "skorch") if any(kind.startswith("metamix.nn.") for kind in [*types, _name(mixture)]) else ()
    libraries = [*ALWAYS, *torch, *(name for kind in types for name in homes.get(kind.partition(".")[0], ())[:1])]
    return {
        "format": FORMAT,
        "metamix": version("metamix"),
        "class": type(mixture).__name__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in dict.fromkeys(libraries) if name != "metamix"},
        "types": [name for name in types if not is_known(name)],
        "experts": [f"expert {k + 1}" for k in range(mixture.n_experts_)] if named is None else list(named),
        "columns": [str(name) for name in getattr(mixture, "feature_names_in_", ())] or mixture.n_features_in_,
        "verdict": None if verdict is None else str(verdict),
    }


def _open(path: Path) -> tuple[dict[str, Any], bytes, list[str]]:
    """Manifest, model and the names of types that skops does not trust; constructs nothing."""
    from skops import io

    if path.is_dir() or not path.exists():
        raise ModelFileError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        with zipfile.ZipFile(path) as file:
            manifest = json.loads(file.read(MANIFEST))
            number = manifest["format"]
            if not isinstance(number, int) or not 1 <= number <= FORMAT:
                raise ModelFileError(
                    f"{path} has format {number}, and metamix {version('metamix')} reads formats up to {FORMAT}: "
                    f"install metamix {manifest.get('metamix', '')} or newer"
                )
            model = file.read(MODEL)
        return manifest, model, io.get_untrusted_types(data=model)
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or _line(error)})") from error
    except DAMAGE as error:
        kind = "is damaged" if zipfile.is_zipfile(path) else "is not a file that metamix wrote"
        raise ModelFileError(f"{path} {kind}: a file from metamix.save or metamix fit would do") from error


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
