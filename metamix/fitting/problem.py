"""What experts are fitted on: rows, target, weights and groups; and the experts, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.row_keys import count_once
from metamix.data.tables import take_rows
from metamix.fitting.source import TableSource

__all__ = ["NamedExpert", "Problem"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Rows to learn from.

    Parameters
    ----------
    X : array, sparse matrix or frame, n rows
        Handed to the experts as it is.
    y : ndarray of shape (n,), (n, T) or (n, L)
        Target, or several; integer codes 0 … C-1 for classes, 0 and 1 in a column for each label.
    sample_weight : ndarray of shape (n,) or None
    groups : ndarray of shape (n,) or None
    n_classes : int or None
        C, 2 with several labels, or None for regression.
    labels : ndarray of shape (C,) or None
        The classes as the user names them; None if they are called by their codes.
    source : TableSource or None
        Where X comes from, if workers may load it themselves; they do without.
    """

    X: Any
    y: NDArray[Any]
    sample_weight: Array | None = None
    groups: NDArray[Any] | None = None
    n_classes: int | None = None
    labels: NDArray[Any] | None = None
    source: TableSource | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "source": None}

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def n_targets(self) -> int | None:
        """T, or L labels, or None for a single target, whose arrays lack that axis."""
        return self.y.shape[1] if self.y.ndim == 2 else None

    @property
    def several_labels(self) -> bool:
        """Whether y has a column of zeros and ones for each label; tables hold the probabilities of 1, (n, K, L)."""
        return self.n_classes is not None and self.y.ndim == 2

    @property
    def depth(self) -> int | None:
        """Length of the last axis of a table of predictions: T, L or C; None where there is none."""
        return self.n_targets or self.n_classes

    def target(self, t: int) -> Problem:
        """The same rows with target t alone; of several labels each is a problem of two classes."""
        return self if self.y.ndim == 1 else replace(self, y=self.y[:, t])

    def take(self, rows: NDArray[np.intp]) -> Problem:
        """Some rows; these very data where all are taken in order."""
        if len(rows) == self.n and bool((rows == np.arange(self.n)).all()):
            return self
        weight, groups = (None if part is None else part[rows] for part in (self.sample_weight, self.groups))
        source = None if self.source is None else self.source.take(rows)
        return replace(
            self, X=take_rows(self.X, rows), y=self.y[rows], sample_weight=weight, groups=groups, source=source
        )

    def with_present_classes(self) -> tuple[Problem, NDArray[np.intp] | None]:
        """The same rows with their own classes as codes 0 … C'-1, and which of the C classes those are."""
        if self.n_classes is None or self.several_labels:  # a label is 0 or 1 even where all rows agree
            return self, None
        present, codes = np.unique(self.y, return_inverse=True)
        return replace(self, y=codes, n_classes=len(present), labels=self.class_labels[present]), present

    @property
    def class_labels(self) -> NDArray[Any]:
        """The classes as experts see them, (C,)."""
        return np.arange(self.n_classes or 0) if self.labels is None else self.labels

    @cached_property
    def counts(self) -> Array:
        """How much each row adds to the number of rows, (n,): 0 without weight, and equal rows count as one."""
        return count_once(self.weight, self.X, self.y)

    @property
    def weight(self) -> Array:
        """Sample weights, ones where none were given, (n,)."""
        return np.ones(self.n) if self.sample_weight is None else self.sample_weight


@dataclass(frozen=True)
class NamedExpert:
    """A named expert; `seed` draws rows for one that takes no weights, `device` says in words where it runs."""

    name: str
    estimator: Any
    seed: int = 0
    device: str = "cpu"
