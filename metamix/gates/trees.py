"""Gates made of trees, by name: classifiers that prepare their columns and are kept from overfitting."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Tags

from metamix.data.columns import ColumnEncoder
from metamix.gates.classifier import ClassifierGate
from metamix.protocols import FloatArray

#: Trees compare numbers as 32-bit floats, which end at 3e38.
_LARGEST = 1e30


def tree(**parameters: Any) -> ClassifierGate:
    """A decision tree over experts; parameters of DecisionTreeClassifier.

    A leaf holds at least a fiftieth of all weight. Rows are repeated for each expert that has a share in
    them, so `min_samples_leaf` counts repeated rows.

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
    """Boosted trees over experts, few and small; parameters of HistGradientBoostingClassifier.

    Rows are repeated for each expert that has a share in them, so early stopping, which would hold out some
    of the copies, stays off.

    Examples
    --------
    >>> boosting(max_iter=10).classifier.named_steps["model"].max_iter
    10
    """
    settings = {"max_iter": 50, "max_leaf_nodes": 8, "l2_regularization": 1.0, "early_stopping": False}
    return _gate(HistGradientBoostingClassifier(**settings | parameters))


def _gate(model: Any) -> ClassifierGate:
    columns = ColumnEncoder(categories="ordinal", missing="keep")
    return ClassifierGate(Pipeline([("columns", columns), ("bounded", BoundedColumns()), ("model", model)]))


class BoundedColumns(TransformerMixin, BaseEstimator):
    """Dense columns whose numbers fit into a 32-bit float; missing values stay.

    Examples
    --------
    >>> BoundedColumns().fit_transform([[1e300, 2.0]])
    array([[1.e+30, 2.e+00]])
    """

    def fit(self, X: Any, y: Any = None) -> BoundedColumns:
        """Nothing to learn."""
        return self

    def transform(self, X: Any) -> FloatArray:
        """Rows of X (n, q) as an array."""
        X = X.toarray() if sparse.issparse(X) else np.asarray(X, dtype=np.float64)
        return np.clip(X, -_LARGEST, _LARGEST)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.allow_nan = True
        return tags
