"""Features of gates: columns of X, the experts' predictions, both, some columns, or a transformer's output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import make_pipeline

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.features import find_features
from metamix.data.frames import take_columns
from metamix.data.tables import is_frame
from metamix.derivatives import NoGradientError, jacobian, numbers, spread_gradient

__all__ = ["GateFeatures", "StackColumns"]

Array = NDArray[np.float64]


class GateFeatures(BaseEstimator):
    """Transform X and the experts' predictions to the input of a gate.

    Parameters
    ----------
    kind : {"x", "predictions", "both"}, list of columns or mask, or transformer
        "predictions" are the experts' predictions and their standard deviation for regression; logits, entropy
        and margin for classification.
    raw : bool
        Pass X unchanged, for a classifier that the user passed as the gate.
    most_columns : int or None
        Replace more columns than this by as many principal components; for gates chosen by name.

    Examples
    --------
    >>> features = GateFeatures("x").fit(np.array([[1.0], [2.0]]))
    >>> features.join(features.base(np.array([[3.0]])), None)
    array([[3.]])
    """

    def __init__(self, kind: Any = "x", raw: bool = False, most_columns: int | None = None) -> None:
        self.kind = kind
        self.raw = raw
        self.most_columns = most_columns

    @property
    def asks_experts(self) -> bool:
        """Whether the gate needs the predictions of all experts."""
        return isinstance(self.kind, str) and self.kind in ("predictions", "both")

    @property
    def are_chosen(self) -> bool:
        """Whether the user chose columns, or a transformer of them, for the gate."""
        return not isinstance(self.kind, str)

    def all_columns(self, X: Any) -> Any:
        """All columns of X: as the gate sees them where it sees all, else as they are."""
        base = None if self.are_chosen else self.base(X)
        return X if base is None else base

    def fit(self, X: Any, y: Any = None) -> GateFeatures:
        """Fit the encoder; ValueError for an unknown kind."""
        if isinstance(self.kind, str) and self.kind not in ("x", "predictions", "both"):
            raise ValueError(
                f"gate_features={self.kind!r} is unknown; give 'x', 'predictions', 'both', a list of columns, "
                "or a transformer."
            )
        self.encoder_: Any = None
        self.fill_: Array | None = None
        if isinstance(self.kind, str | list | tuple | np.ndarray):
            self.columns_ = None if isinstance(self.kind, str) else _found(self.kind, X)
            X = X if self.columns_ is None else take_columns(X, self.columns_)
            if self.kind != "predictions" and not self.raw:
                self._fit_encoder(X)
        else:
            self.columns_ = None
            self.encoder_ = self._fit_transformer(X, y)
        return self

    def _fit_transformer(self, X: Any, y: Any) -> Any:
        """Fit the transformer of the user's without y."""
        if isinstance(self.kind, type) or not (hasattr(self.kind, "fit") and hasattr(self.kind, "transform")):
            raise ValueError(
                f"gate_features={self.kind!r} is no transformer; give 'x', 'predictions', 'both', a list of columns, "
                "or an object with fit and transform."
            )
        try:
            return clone(self.kind).fit(X)
        except Exception as error:  # a foreign fit may raise anything
            if _needs_y(self.kind, X, y):
                raise ValueError(
                    f"gate_features={self.kind!r} cannot be fitted without y; a transformer fitted to y would leak the "
                    "targets of held-out rows. Give a transformer of X alone, or give this transformer to the experts "
                    "that need it, as make_pipeline(transformer, expert), which is fitted out of fold."
                ) from error
            raise ValueError(
                f"gate_features={self.kind!r} cannot be fitted to X ({type(error).__name__}: {error}); give a "
                "transformer that takes X as it is, or a list of columns."
            ) from error

    def _fit_encoder(self, X: Any) -> None:
        """Fit an encoder unless X is numeric without missing values, and PCA if there are too many columns."""
        # Not scaled: gates standardise columns themselves, and what they say of columns is in the units of X.
        encoder = None if _is_complete_numeric(X) else giving_arrays(ColumnEncoder(scale=False)).fit(X)
        self.encoder_ = encoder
        if encoder is None and not sparse.issparse(X):
            self.fill_ = np.asarray(X.mean(axis=0))
        columns = X.shape[1] if encoder is None else len(encoder.get_feature_names_out())
        if self.most_columns is None or columns <= self.most_columns:
            return
        scaled = giving_arrays(ColumnEncoder()).fit(X)
        encoded: Any = scaled.transform(X)
        if sparse.issparse(encoded):
            reduction: Any = TruncatedSVD(self.most_columns, random_state=0)
        else:
            reduction = PCA(min(self.most_columns, len(encoded)), svd_solver="covariance_eigh")
        self.encoder_ = make_pipeline(scaled, giving_arrays(reduction).fit(encoded))

    def base(self, X: Any) -> Any:
        """The features (n, q) from X alone, not copied if X is numeric; None if there are none."""
        if isinstance(self.kind, str) and self.kind == "predictions":
            return None
        X = X if self.columns_ is None else take_columns(X, self.columns_)
        if self.encoder_ is None:
            return self._imputed(X)
        found = self.encoder_.transform(X)
        return found.to_numpy() if is_frame(found) and not self.raw else found

    def _imputed(self, X: Any) -> Any:
        """Impute values that are missing in new rows, but in no training row, by column means."""
        if (
            self.raw
            or self.fill_ is None
            or not isinstance(X, np.ndarray)
            or X.dtype.kind != "f"
            or _is_complete_numeric(X)
        ):
            return X
        return np.where(np.isnan(X), self.fill_, X)

    def join(self, base: Any, predictions: Array | None) -> Any:
        """The input of the gate: `base`, features of the predictions (n, K) or (n, K, C), or both concatenated."""
        if not self.asks_experts:
            return base
        assert predictions is not None
        answers = _prediction_features(predictions)
        if base is None:
            return answers
        if sparse.issparse(base):
            return sparse.hstack([base, answers], format="csr")
        return np.hstack([np.asarray(base, dtype=np.float64), answers])

    def base_jacobian(self, X: Any) -> Array | None:
        """Jacobian (n, q, d) of `base` with respect to x; None if there are no features from X alone.

        Raises
        ------
        NoGradientError
            If columns are not numeric, X is sparse, or the transformer has no gradient.
        """
        if isinstance(self.kind, str) and self.kind == "predictions":
            return None
        taken = X if self.columns_ is None else take_columns(X, self.columns_)
        d = numbers(X).shape[1] if self.columns_ is None else X.shape[1]
        chosen = np.eye(d) if self.columns_ is None else np.eye(d)[self.columns_]
        if self.encoder_ is not None:
            return np.asarray(jacobian(self.encoder_, taken) @ chosen)
        return np.where(np.isnan(numbers(taken)), 0.0, 1.0)[:, :, None] * chosen

    def jacobian(self, X: Any, predictions: Array | None = None, predictions_gradient: Array | None = None) -> Array:
        """Jacobian of the input of the gate with respect to x.

        Parameters
        ----------
        X : array or data frame of numbers of shape (n, d)
        predictions : ndarray of shape (n, K), optional
            The experts' predictions, if they are features.
        predictions_gradient : ndarray of shape (n, K, d), optional
            Their gradients.

        Returns
        -------
        ndarray of shape (n, q, d)

        Raises
        ------
        NoGradientError
            If columns are not numeric, X is sparse, the transformer has no gradient, or predictions are features
            and they are not given or are those of classifiers.
        """
        base = self.base_jacobian(X)
        if not self.asks_experts:
            assert base is not None
            return base
        if predictions is None or predictions_gradient is None or predictions.ndim != 2:
            raise NoGradientError(
                f"gate_features={self.kind!r} needs the predictions of regressors and their gradients."
            )
        spread = spread_gradient(predictions, predictions_gradient)[:, None, :]
        answers = np.concatenate([predictions_gradient, spread], axis=1)
        return answers if base is None else np.concatenate([base, answers], axis=1)


def _needs_y(transformer: Any, X: Any, y: Any) -> bool:
    """Whether the transformer can be fitted with y, or with y in two classes, as scores of columns want it."""
    if y is None:
        return False
    column = np.asarray(y).reshape(len(y), -1)[:, 0]
    for target in (y, (column > np.median(column)).astype(int)):
        try:
            clone(transformer).fit(X, target)
        except Exception:  # a foreign fit may raise anything
            continue
        return True
    return False


def _found(columns: Any, X: Any) -> list[int]:
    """Positions of the gate's columns in X."""
    try:
        return find_features(list(columns), X)
    except ValueError as error:
        raise ValueError(f"gate_features={columns!r}: {error}") from error


def _is_complete_numeric(X: Any) -> bool:
    """Whether X is a numeric array without missing values, or any sparse matrix."""
    if sparse.issparse(X):
        return True
    if is_frame(X) or not isinstance(X, np.ndarray) or X.dtype.kind not in "fiub":
        return False
    return X.dtype.kind != "f" or bool(np.isfinite(X.sum()) or np.isfinite(X).all())


def _prediction_features(predictions: Array) -> Array:
    """Predictions and their standard deviation for regression; logits, entropy and margin for classification.

    Missing predictions are replaced by zero.
    """
    known = np.nan_to_num(predictions)
    if known.ndim == 2:
        return np.column_stack([known, known.std(axis=1)])
    p = np.clip(known, 1e-6, 1.0)
    entropy = -(p * np.log(p)).sum(axis=2)
    top = np.sort(p, axis=2)[:, :, -2:]
    logits = np.log(p) - np.log1p(-np.minimum(p, 1 - 1e-6))
    return np.column_stack([logits[:, :, 1:].reshape(len(p), -1), entropy, top[:, :, 1] - top[:, :, 0]])


class StackColumns(BaseEstimator):
    """Numeric columns of X for feature-weighted stacking.

    Parameters
    ----------
    most_sparse : int
        A sparse X with more columns than this is not used, since stacking needs dense columns.

    Examples
    --------
    >>> StackColumns().fit(np.array([["a"], ["b"]], dtype=object)).dense(np.array([["b"]], dtype=object))
    array([[0., 1.]])
    """

    def __init__(self, most_sparse: int = 50) -> None:
        self.most_sparse = most_sparse

    def fit(self, X: Any, y: Any = None) -> StackColumns:
        """Fit the encoder."""
        self.encoder_ = None if _is_complete_numeric(X) else giving_arrays(ColumnEncoder()).fit(X)
        return self

    def dense(self, X: Any) -> Array | None:
        """Columns (n, q); X itself if it is numeric, None if it is sparse with too many columns."""
        X = X if self.encoder_ is None else self.encoder_.transform(X)
        if not sparse.issparse(X):
            return np.asarray(X)
        return np.asarray(X.toarray(), dtype=np.float64) if X.shape[1] <= self.most_sparse else None

    def jacobian(self, X: Any) -> Array:
        """Jacobian (n, q, d) of the columns; NoGradientError if X is sparse or not numeric."""
        if self.encoder_ is not None:
            return jacobian(self.encoder_, X)
        n, d = numbers(X).shape
        return np.broadcast_to(np.eye(d), (n, d, d))
