"""How a check speaks: it raises AssertionError with a sentence, also where Python runs without asserts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

__all__ = ["Checks", "Make", "bind", "demand"]

Make: TypeAlias = Callable[[], Any]
Checks: TypeAlias = Iterator[tuple[str, Callable[[], None]]]


def demand(condition: object, message: str) -> None:
    """Raise AssertionError with the message where the condition does not hold.

    Examples
    --------
    >>> demand(1 + 1 == 2, "arithmetic is broken")
    """
    if not condition:
        raise AssertionError(message)


def bind(checks: tuple[Callable[..., None], ...], *arguments: Any) -> Checks:
    """Give each check its arguments, and name it after its function.

    Examples
    --------
    >>> [name for name, check in bind((demand,), True, "never")]
    ['demand']
    """
    for check in checks:
        yield check.__name__, partial(check, *arguments)
