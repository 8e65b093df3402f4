"""Means of y for each value of a category: what columns with many values tell a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold
from sklearn.preprocessing import TargetEncoder

from metamix.data.columns import giving_arrays

__all__ = ["CategoryMeans"]

Array = NDArray[np.float64]

#: Folds without which the means of training rows are learned.
FOLDS = 5


class CategoryMeans:
    """Means of y for each value of a column, shrunk towards the mean of all rows, by scikit-learn's TargetEncoder.

    For classes, the shares of each class, or of the second where there are two; for several labels (n, L), which are
    zeros and ones, the share of ones in each. Rows count once whatever their weight, since TargetEncoder takes none.

    Parameters
    ----------
    classes : bool
        Whether y holds classes.

    Attributes
    ----------
    encoders_ : list of TargetEncoder
        For each target, or class.

    References
    ----------
    Micci-Barreca (2001), A preprocessing scheme for high-cardinality categorical attributes.

    Examples
    --------
    >>> codes, y = np.repeat([0, 1], 50), np.repeat([1.0, 5.0], 50)
    >>> means = CategoryMeans(classes=False)
    >>> means.fit_transform(codes, y).shape, means.transform(np.array([0, 1, -1])).round(1).ravel().tolist()
    ((100, 1), [1.0, 5.0, 3.0])
    """

    def __init__(self, classes: bool) -> None:
        self.classes = classes

    def fit_transform(self, codes: NDArray[np.intp], y: Any) -> Array:
        """Learn from codes (n,) and y (n,), (n, T) or (n, L); return means (n, M), each row without its fold."""
        targets = self._targets(np.asarray(y))
        self.encoders_ = [self._fitted(codes, target) for target in targets]
        found = np.empty((len(codes), len(targets)))
        # The rows of the experts by name come in an order that does not depend on that of the table.
        for known, held in KFold(min(FOLDS, len(codes)), shuffle=True, random_state=0).split(codes):
            for t, target in enumerate(targets):
                found[held, t] = self._fitted(codes[known], target[known]).transform(codes[held, None])[:, 0]
        return found

    def transform(self, codes: NDArray[np.intp]) -> Array:
        """Means (n, M) for codes (n,); the mean of all for a code that training did not have."""
        return np.column_stack([one.transform(codes[:, None])[:, 0] for one in self.encoders_])

    @property
    def n_columns(self) -> int:
        """Number of columns M."""
        return len(self.encoders_)

    def _targets(self, y: NDArray[Any]) -> list[Array]:
        if not self.classes or y.ndim > 1:
            return [np.asarray(target, dtype=np.float64) for target in y.reshape(len(y), -1).T]
        values = np.unique(y)
        return [np.where(y == value, 1.0, 0.0) for value in (values[1:] if len(values) == 2 else values)]

    def _fitted(self, codes: NDArray[np.intp], target: Array) -> TargetEncoder:
        return giving_arrays(TargetEncoder(target_type="continuous")).fit(codes[:, None], target)
