"""The error of parts that cannot be exported."""

from __future__ import annotations

__all__ = ["ExportError"]


class ExportError(ValueError):
    """A part of a mixture cannot be written in this form; the message names the part."""
