"""Errors of files that cannot be written or read."""

from __future__ import annotations

__all__ = ["ModelFileError", "ModelVersionWarning", "UntrustedTypesError"]


class ModelFileError(ValueError):
    """A file that cannot be written, or that is not a mixture which this version can read."""


class UntrustedTypesError(ModelFileError):
    """A file contains types that are not trusted, listed in `types`. No code from the file was run."""

    def __init__(self, message: str, types: list[str]) -> None:
        super().__init__(message)
        self.types = types


class ModelVersionWarning(UserWarning):
    """A file was written with other versions of metamix, Python or the libraries that its mixture uses."""
