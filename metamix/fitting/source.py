"""A table that is loaded by a function: once here, and by workers on other machines in place of receiving its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.tables import n_rows, take_rows
from metamix.engines import DifferentDataError
from metamix.fitting.checkpoint import Fingerprint, table_fingerprint

__all__ = ["TableSource"]


@dataclass(frozen=True)
class TableSource:
    """How a worker makes the X of a problem.

    Parameters
    ----------
    function : callable
        Without arguments: the rows as they are stored.
    prepare : callable
        From these to X.
    rows : ndarray of int or None
        Those of X that a problem has; None is all of them.

    Examples
    --------
    >>> source = TableSource(np.eye(2).copy, np.negative).take(np.array([1]))
    >>> source.load(table_fingerprint(np.array([[0.0, -1.0]])))
    array([[-0., -1.]])
    """

    function: Callable[[], Any]
    prepare: Callable[[Any], Any]
    rows: NDArray[np.intp] | None = None

    def take(self, rows: NDArray[np.intp]) -> TableSource:
        """The same for some of the rows."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def load(self, expected: Fingerprint) -> Any:
        """X.

        Raises
        ------
        DifferentDataError
            If it is not what is expected.
        """
        given = self.function()
        try:
            X = self.prepare(given)
        except (TypeError, ValueError) as error:
            raise self._differs(
                f"which cannot be prepared in the same way ({type(error).__name__}: {error})"
            ) from error
        if self.rows is not None and n_rows(X) > self.rows.max(initial=-1):
            X = take_rows(X, self.rows)
        found = table_fingerprint(X)
        if found.key != expected.key:
            same = (
                "of the same shape" if found.shown == expected.shown else f"{found.shown} in place of {expected.shown}"
            )
            raise self._differs(same)
        return X

    def _differs(self, how: str) -> DifferentDataError:
        return DifferentDataError(
            f"{self} returned another table there than in this process, {how}. Let it read something that stays as it "
            "is and is the same on all machines, or give the rows themselves, as in X=function()."
        )

    def __str__(self) -> str:
        return shorten(repr(self.function), 200, placeholder=" ...")
