"""Encoding of mixed columns for experts: as `ColumnEncoder`, and what large categories and texts tell besides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from metamix.data.category_means import CategoryMeans
from metamix.data.cells import codes_of
from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.text_vectors import TextVectors, holds_prose

__all__ = ["FeatureEncoder"]

Array = NDArray[np.float64]


class FeatureEncoder(ColumnEncoder):
    """Encode mixed columns as `ColumnEncoder` does, large categories by means of y too, and texts by vectors.

    A category whose values are too many for a column each (`max_categories`) has rare values merged by `ColumnEncoder`;
    here the mean of y for each value is a column besides, or the shares of the classes. In `fit_transform` the mean of
    a row is learned without its fold; `transform` uses the means of all training rows. Texts, such as titles and
    reviews, get up to 30 columns of letter frequencies in their principal directions.

    Parameters
    ----------
    classes : bool
        Whether y holds classes.
    categories, scale, missing, max_categories, missing_indicator
        As for `ColumnEncoder`.

    Examples
    --------
    >>> import pandas as pd
    >>> cities = [f"city {i}" for i in range(50)]
    >>> frame = pd.DataFrame({"city": cities * 4})
    >>> encoder = FeatureEncoder(scale=False)
    >>> found = encoder.fit_transform(frame, np.tile(np.arange(50.0), 4))
    >>> encoder.get_feature_names_out()[-1], encoder.transform(frame)[10, -1].round(1)
    ('city (mean of y)', np.float64(10.0))
    """

    def __init__(
        self,
        classes: bool = False,
        categories: str = "onehot",
        scale: bool = True,
        missing: str = "impute",
        max_categories: int | None = 20,
        missing_indicator: bool = True,
    ) -> None:
        super().__init__(categories, scale, missing, max_categories, missing_indicator)
        self.classes = classes

    def fit(self, X: Any, y: Any = None) -> FeatureEncoder:
        """Learn from X (n, d) and y (n,) or (n, T); without y there are no means. Raises as `ColumnEncoder.fit`."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and encode the same X (n, d) with means learned without the fold of each row."""
        encoded = super().fit_transform(X)
        self._tables: dict[int, dict[str, int]] = {}
        self._means: dict[int, CategoryMeans] = {}
        self._vectors: dict[int, TextVectors] = {}
        self._scaler: StandardScaler | None = None
        worded = [j for j, kind in enumerate(self.kinds_) if kind in ("text", "category")]
        if not worded:
            return encoded
        columns, more = self._columns(X), []
        for j in worded:
            codes, levels, _ = codes_of(columns[j])
            counts = np.bincount(codes[codes >= 0], minlength=len(levels))
            if self.kinds_[j] == "text" and holds_prose(levels, counts):
                self._vectors[j] = TextVectors().fit(_texts(codes, levels))
                more.append(self._vectors[j].transform(_texts(codes, levels)))
            elif y is not None and self._has_rare[j]:
                self._tables[j] = {level: i for i, level in enumerate(dict.fromkeys(levels))}
                self._means[j] = CategoryMeans(self.classes)
                more.append(self._means[j].fit_transform(self._ranks(j, codes, levels), y))
        return self._joined(encoded, more, fit=True)

    def transform(self, X: Any) -> Any:
        """Encode X (n, d) as an array (n, D). Raises as `ColumnEncoder.transform`."""
        encoded = super().transform(X)
        if not (self._means or self._vectors):
            return encoded
        columns, more = self._columns(X), []
        for j in sorted([*self._means, *self._vectors]):
            codes, levels, _ = codes_of(columns[j])
            if j in self._vectors:
                more.append(self._vectors[j].transform(_texts(codes, levels)))
            else:
                more.append(self._means[j].transform(self._ranks(j, codes, levels)))
        return self._joined(encoded, more, fit=False)

    @property
    def centre_(self) -> Array:
        """What is subtracted from each encoded column before it is multiplied by `factor_`, (D,)."""
        return np.append(super().centre_, np.zeros(self._n_added) if self._scaler is None else self._scaler.mean_)

    @property
    def factor_(self) -> Array:
        """Factors by which centred encoded columns are multiplied, (D,)."""
        return np.append(super().factor_, np.ones(self._n_added) if self._scaler is None else 1 / self._scaler.scale_)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names (D,) of the encoded columns, such as ``city (mean of y)`` and ``title (text 3)``."""
        names = list(super().get_feature_names_out(input_features))
        known = getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        for j in sorted([*self._means, *self._vectors]):
            if j in self._vectors:
                names += [f"{known[j]} (text {i})" for i in range(self._vectors[j].n_columns)]
            else:
                n = self._means[j].n_columns
                names += [f"{known[j]} (mean of y)"] if n == 1 else [f"{known[j]} (mean of y {i})" for i in range(n)]
        return np.asarray(names, dtype=object)

    @property
    def _n_added(self) -> int:
        return sum(one.n_columns for one in self._means.values()) + sum(one.n_columns for one in self._vectors.values())

    def _columns(self, X: Any) -> list[Any]:
        read = self._read(X)
        return list(read.T) if isinstance(read, np.ndarray) else read

    def _ranks(self, j: int, codes: NDArray[np.intp], levels: list[str]) -> NDArray[np.intp]:
        """Codes (n,) of the values that training had; the next one is missing, and -1 is any other."""
        table = self._tables[j]
        return np.array([*(table.get(level, -1) for level in levels), len(table)], dtype=np.intp)[codes]

    def _joined(self, encoded: Array, more: list[Array], *, fit: bool) -> Array:
        if not more:
            return encoded
        added = np.column_stack(more)
        if fit:
            self._scaler = giving_arrays(StandardScaler()).fit(added) if self.scale and added.shape[1] else None
        return np.hstack([encoded, added if self._scaler is None else self._scaler.transform(added)])


def _texts(codes: NDArray[np.intp], levels: list[str]) -> list[str]:
    """Texts (n,), empty where missing."""
    return [*map(str, np.array([*levels, ""], dtype=object)[codes])]
