"""Helpers of the checks: an assertion that is active under ``python -O`` too, and binding of arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

__all__ = ["Checks", "Factory", "bind_checks", "require"]

Factory: TypeAlias = Callable[[], Any]
Checks: TypeAlias = Iterator[tuple[str, Callable[[], None]]]


def require(condition: object, message: str) -> None:
    """Raise AssertionError with the message if the condition is false.

    Examples
    --------
    >>> require(1 + 1 == 2, "arithmetic is broken")
    """
    if not condition:
        raise AssertionError(message)


def bind_checks(checks: tuple[Callable[..., None], ...], *arguments: Any) -> Checks:
    """Yield each check with its name and its arguments bound.

    Examples
    --------
    >>> [name for name, check in bind_checks((require,), True, "never")]
    ['require']
    """
    for check in checks:
        yield check.__name__, partial(check, *arguments)
