"""The manifest of a saved mixture: what it is, as JSON, which is read without building anything."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from metamix.persistence.errors import ModelFileError
from metamix.persistence.output import check_path

__all__ = ["MANIFEST", "MOST_BYTES", "check_notes", "describe_mixture", "read_manifest", "wrong_entries"]

#: Its name in the file.
MANIFEST = "manifest.json"
#: Bytes of a manifest at most: 50,000 columns with names of 100 characters have 8 MB.
MOST_BYTES = 16_000_000
#: Exceptions of zipfile and json on a damaged or foreign file.
DAMAGE = (zipfile.BadZipFile, zlib.error, ArithmeticError, EOFError, KeyError, RuntimeError, ValueError)


def _is_list(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(check(one) for one in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1.001)


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(one) for one in value.values())


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("name")) and _is_share(value.get("share"))


def _is_reading(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("name")) and _is_text(value.get("kind"))


#: What each entry of a manifest must be; files that were saved before lack the second part.
ENTRIES: dict[str, Callable[[Any], bool]] = {
    "format": _is_count,
    "metamix": _is_text,
    "class": _is_text,
    "created": _is_text,
    "python": _is_text,
    "libraries": _is_texts,
    "types": _is_list(_is_text),
    "experts": _is_list(_is_text),
    "columns": lambda value: _is_count(value) or _is_list(_is_text)(value),
    "verdict": lambda value: value is None or _is_text(value),
    "task": _is_text,
    "rows": lambda value: value is None or _is_count(value),
    "targets": lambda value: _is_count(value) or _is_list(_is_text)(value),
    "classes": _is_list(_is_text),
    "readings": _is_list(_is_reading),
    "shares": _is_list(_is_part),
    "regimes": _is_list(_is_part),
    "notes": _is_texts,
}


def describe_mixture(mixture: Any) -> dict[str, Any]:
    """What a manifest says of a fitted mixture besides its class, experts and columns.

    Parameters
    ----------
    mixture : MixtureRegressor, MixtureClassifier, MixtureOfPredictions, or a learner of `metamix.nn`

    Returns
    -------
    dict
        task ("regression", "classification" or "several labels"), rows of `fit`, targets (their number, or the names
        of targets or labels), classes, readings (name and kind of each column), shares (mean weight of each column of
        `gate_weights` in the rows of `fit`, out of fold; None where it is not known), and regimes (those of the
        specialised mixture with their shares, where it has several).

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> X, y = make_regimes(100, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=True, cv=2, random_state=0).fit(X, y)
    >>> said = describe_mixture(mixture)
    >>> said["task"], said["rows"], [one["name"] for one in said["regimes"]]
    ('regression', 100, ['ridge', 'neighbours'])
    """
    classes = getattr(mixture, "classes_", None)
    labels = getattr(mixture, "label_names_", None)
    named = labels if labels is not None else getattr(mixture, "target_names_", None)
    fitted = getattr(mixture, "_fitted", None)
    task = "regression" if classes is None else "classification" if labels is None else "several labels"
    fold_of_row = getattr(mixture, "fold_of_row_", None)
    cleaner = getattr(mixture, "cleaner_", None)
    regimes = getattr(fitted, "mixture", None) if hasattr(fitted, "mixture") else fitted
    return {
        "task": task,
        "rows": None if fold_of_row is None else len(fold_of_row),
        "targets": (getattr(fitted, "n_targets", None) or 1) if named is None else [str(name) for name in named],
        "classes": [] if classes is None or labels is not None else [str(label) for label in classes],
        "readings": [{"name": one.name, "kind": one.kind} for one in getattr(cleaner, "readings_", ())],
        "shares": _shares(fitted),
        "regimes": found if len(found := _shares(regimes)) > 1 else [],
    }


def _shares(fitted: Any) -> list[dict[str, Any]]:
    """Name and share of each column, averaged over targets; none where fold models are kept or nothing is known."""
    if not hasattr(fitted, "targets"):
        return []
    import numpy as np

    # The specialised mixture, and what an earlier version fitted, know their responsibilities only.
    known = all(getattr(target, "shares", None) is not None for target in fitted.targets)
    if not known and not all(len(one.responsibilities) for one in fitted.targets):  # learned batch by batch
        return [{"name": str(name), "share": None} for name in fitted.names]
    each = [one.shares if known else np.nanmean(one.responsibilities, axis=0) for one in fitted.targets]
    mean = np.mean(np.array(each), axis=0)
    shares = [float(round(one, 6)) if np.isfinite(one) else None for one in mean]
    return [{"name": str(name), "share": share} for name, share in zip(fitted.names, shares, strict=True)]


def check_notes(notes: Any) -> dict[str, str]:
    """Notes that a caller adds to a manifest.

    Raises
    ------
    ModelFileError
        If they are no mapping of text to text.

    Examples
    --------
    >>> check_notes({"target": "price"})
    {'target': 'price'}
    """
    if notes is None:
        return {}
    if not isinstance(notes, Mapping) or not all(_is_text(one) for pair in notes.items() for one in pair):
        raise ModelFileError(f"notes={notes!r} must be a mapping of text to text, such as {{'target': 'price'}}")
    return dict(notes)


def wrong_entries(manifest: dict[str, Any]) -> list[str]:
    """Names of the entries of a manifest that are not what they must be.

    Examples
    --------
    >>> wrong_entries({"format": 3, "libraries": 5})
    ['libraries']
    """
    return [name for name, check in ENTRIES.items() if name in manifest and not check(manifest[name])]


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a file written by `save` says of the mixture in it; the mixture is not loaded, and no code runs.

    Nothing of it is compared with the mixture itself, so that of a file from somebody else it is what they say.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        format, metamix (the version that wrote it), class, created, python, libraries (versions by name), types (to
        be trusted by `load`), experts, columns (names, or their number), verdict, notes, and what `describe_mixture`
        says. Entries that an earlier version did not write are None.

    Raises
    ------
    ModelFileError
        If the file is missing or damaged, or was not written by `save`.

    Examples
    --------
    >>> read_manifest("nowhere.mix")
    Traceback (most recent call last):
    ...
    metamix.persistence.errors.ModelFileError: nowhere.mix does not exist
    """
    path = check_path(path)
    if not os.path.isfile(path):
        raise ModelFileError(f"{path} {'is not a regular file' if os.path.exists(path) else 'does not exist'}")
    try:
        found = json.loads(_text(path))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or error})") from error
    except DAMAGE as error:
        problem = "is damaged" if zipfile.is_zipfile(path) else "is not a file written by metamix"
        raise ModelFileError(f"{path} {problem}; give a file written by metamix.save or metamix fit") from error
    if not isinstance(found, dict) or "format" not in found:
        raise ModelFileError(f"{path} has no description of a mixture; give a file written by metamix.save")
    if wrong := wrong_entries(found):
        raise ModelFileError(f"{path} is damaged: its description has no valid {', '.join(wrong)}")
    return {name: found.get(name) for name in ENTRIES}


def _text(path: str) -> bytes:
    """The manifest as bytes; a forged archive cannot make it large."""
    with zipfile.ZipFile(path) as file:
        member = file.getinfo(MANIFEST)
        # Other methods than these are unpacked in one piece, whatever they become.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"compression method {member.compress_type}")
        with file.open(member) as stream:
            text = stream.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise zipfile.BadZipFile(f"a manifest of more than {MOST_BYTES} bytes")
    return text
