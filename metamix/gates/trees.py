"""Named gates made of trees: classifiers with column preprocessing and regularised defaults."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Tags

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.gates.classifier import ClassifierGate
from metamix.protocols import FloatArray

#: Columns are clipped to this range: scikit-learn's trees use 32-bit floats, which overflow at 3e38.
_CLIP = 1e30


def tree(**parameters: Any) -> ClassifierGate:
    """A decision tree that predicts the expert; parameters of DecisionTreeClassifier.

    A leaf holds at least 2 % of the total weight. Each row is repeated for every expert with a positive
    responsibility, so `min_samples_leaf` counts repeated rows.

    Examples
    --------
    >>> import numpy as np
    >>> X, labels = np.arange(100.0)[:, None], np.repeat(np.eye(2), 50, axis=0)
    >>> tree().fit(X, labels).predict_proba([[10.0], [90.0]])
    array([[1., 0.],
           [0., 1.]])
    """
    settings = {"min_samples_leaf": 10, "min_weight_fraction_leaf": 0.02, "max_depth": 6}
    return _gate(DecisionTreeClassifier(**settings | parameters))


def boosting(**parameters: Any) -> ClassifierGate:
    """Gradient boosting that predicts the expert, regularised; parameters of HistGradientBoostingClassifier.

    Each row is repeated for every expert with a positive responsibility. Early stopping is off, since its
    validation set would contain copies of training rows.

    Examples
    --------
    >>> boosting(max_iter=10).classifier.named_steps["model"].max_iter
    10
    """
    settings = {"max_iter": 50, "max_leaf_nodes": 8, "l2_regularization": 1.0, "early_stopping": False}
    return _gate(HistGradientBoostingClassifier(**settings | parameters))


def _gate(model: Any) -> ClassifierGate:
    columns = ColumnEncoder(categories="ordinal", missing="keep")
    steps = [("columns", columns), ("bounded", BoundedColumns()), ("model", model)]
    return ClassifierGate(giving_arrays(Pipeline(steps)))


class BoundedColumns(TransformerMixin, BaseEstimator):
    """Convert columns to a dense array and clip them to the range of 32-bit floats; missing values are kept.

    Examples
    --------
    >>> BoundedColumns().fit_transform([[1e300, 2.0]])
    array([[1.e+30, 2.e+00]])
    """

    def fit(self, X: Any, y: Any = None) -> BoundedColumns:
        """Do nothing."""
        return self

    def transform(self, X: Any) -> FloatArray:
        """Return X (n, q) as a dense array with clipped values."""
        X = X.toarray() if sparse.issparse(X) else np.asarray(X, dtype=np.float64)
        return np.clip(X, -_CLIP, _CLIP)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.allow_nan = True
        return tags
