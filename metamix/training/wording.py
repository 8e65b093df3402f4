"""Numbers in sentences."""

from __future__ import annotations

__all__ = ["short_number"]


def short_number(value: float, digits: int = 2) -> str:
    """A number with so many significant digits, without an exponent where it is large.

    Examples
    --------
    >>> short_number(0.12345), short_number(99.75), short_number(1234.5)
    ('0.12', '100', '1234')
    """
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{float(f'{value:.{digits}g}'):g}"
