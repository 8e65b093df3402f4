"""What lies on the bench: rows, named experts, and what a fit leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.answers import Failure

__all__ = ["Data", "Entry", "Fitted", "FoldAverage"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """Rows to learn from.

    Parameters
    ----------
    X : array, sparse matrix or frame, n rows
        Handed to the experts as it is.
    y : ndarray of shape (n,)
        Target; integer codes 0 … C-1 for classes.
    sample_weight : ndarray of shape (n,) or None
    groups : ndarray of shape (n,) or None
    n_classes : int or None
        C, or None for regression.
    """

    X: Any
    y: NDArray[Any]
    sample_weight: Array | None = None
    groups: NDArray[Any] | None = None
    n_classes: int | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def weight(self) -> Array:
        """Sample weights, ones where none were given, (n,)."""
        return np.ones(self.n) if self.sample_weight is None else self.sample_weight


@dataclass(frozen=True)
class Entry:
    """A named expert; `fold_params` are set on it for each fold, the last ones for the fit on all rows.

    `seed` draws rows for an expert that takes no weights.
    """

    name: str
    estimator: Any
    fold_params: Sequence[Mapping[str, Any]] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """A fitted expert and the classes it knows.

    `classes` holds the codes behind the columns of its predict_proba: a fold, or a weight, may lack some.
    `seconds` is what fitting took.
    """

    name: str
    model: Any
    n_classes: int | None = None
    classes: NDArray[np.intp] | None = None
    seconds: float = 0.0

    def answer(self, X: Any) -> Array:
        """Predictions (n,), or probabilities over all C classes (n, C); ValueError if any is not finite."""
        if self.n_classes is None:
            values = np.asarray(self.model.predict(X), dtype=np.float64)
            values = values.reshape(len(values), -1)
            if values.shape[1] != 1:
                raise ValueError(f"predict answered {values.shape[1]} columns for one target")
            values = values[:, 0]
        else:
            given = np.asarray(self.model.predict_proba(X), dtype=np.float64)
            assert self.classes is not None
            if given.shape[1] == len(self.classes) == self.n_classes:
                values = given
            else:
                values = np.zeros((len(given), self.n_classes))
                values[:, self.classes] = given
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
            raise ValueError(f"answered NaN or infinity for {bad} of {len(values)} rows")
        return values

    def asked(self, X: Any, fold: int) -> Array | Failure:
        """The answer, or what went wrong, for callers that go on without it."""
        try:
            return self.answer(X)
        except Exception as error:  # a foreign predict may raise anything
            return Failure(self.name, fold, f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class FoldAverage:
    """The fold models of one expert, answering with their mean."""

    name: str
    members: Sequence[Fitted]

    @property
    def model(self) -> list[Any]:
        """The fold models themselves."""
        return [member.model for member in self.members]

    def answer(self, X: Any) -> Array:
        """Mean prediction (n,), or mean probabilities (n, C)."""
        return np.asarray(np.mean([member.answer(X) for member in self.members], axis=0))
