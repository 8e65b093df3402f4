"""What counts as a number in a parameter."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

__all__ = ["is_number", "is_whole"]


def is_number(value: Any) -> bool:
    """Whether it is a real number that is neither a boolean nor NaN.

    Examples
    --------
    >>> is_number(0.5), is_number(True), is_number("0.5"), is_number(float("nan"))
    (True, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and bool(value == value)


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether it is a whole number of at least `least`.

    Examples
    --------
    >>> is_whole(2), is_whole(0), is_whole(2.0), is_whole("2")
    (True, False, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
