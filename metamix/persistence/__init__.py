"""Saving and loading of fitted mixtures without pickle; no code from a file runs before its types are trusted.

`saving` has `save` and `load`; `manifest` is what a file says of itself, which is read without any of the others.
`archive` describes the file, and what is to be done when its format changes; `encoding` and `decoding` go from objects
to what is in it and back; `trust` says which types need not be named, and `trees` checks what is built.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metamix.persistence.errors import ModelFileError, ModelVersionWarning, UntrustedTypesError
from metamix.persistence.manifest import read_manifest
from metamix.persistence.output import OutputFile

if TYPE_CHECKING:
    from metamix.persistence.archive import FORMAT
    from metamix.persistence.saving import load, save, untrusted_types

__all__ = [
    "FORMAT",
    "ModelFileError",
    "ModelVersionWarning",
    "OutputFile",
    "UntrustedTypesError",
    "load",
    "read_manifest",
    "save",
    "untrusted_types",
]

# Of these files the mixtures and their libraries are imported, which whoever reads a manifest does not need.
_HOME = {"FORMAT": "archive", "load": "saving", "save": "saving", "untrusted_types": "saving"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}.")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # found once, from then on an ordinary attribute
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
