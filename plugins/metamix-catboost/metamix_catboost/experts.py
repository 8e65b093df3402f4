"""CatBoost with scikit-learn's interface: cloning, tags, labels of any type, a target of any scale."""

from __future__ import annotations

from typing import Any

import catboost
import numpy as np
from catboost.utils import get_gpu_device_count
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from metamix_catboost.columns import NativeColumns
from metamix_catboost.onnx_export import exported

__all__ = ["CatBoostClassifierExpert", "CatBoostRegressorExpert"]

Array = NDArray[np.float64]


class CatBoostRegressorExpert(RegressorMixin, BaseEstimator):
    """CatBoost's regressor on the standardised target, so that the scale of y does not matter.

    Parameters
    ----------
    iterations : int
        Number of trees.
    depth : int
    learning_rate : float or None
        None uses CatBoost's default for the number of rows and trees.
    l2_leaf_reg : float
    random_state : int or None
    n_jobs : int
        Number of threads.
    options : dict or None
        Other parameters of CatBoostRegressor.
    device : {None, "cpu", "cuda"} or "cuda:N"
        None is the CPU, or the device of the mixture that contains the expert.

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 0.0, 8.0, 8.0]
    >>> model = CatBoostRegressorExpert(iterations=100).fit(X, y)
    >>> bool(model.predict([[3.0]])[0] > model.predict([[0.0]])[0])
    True
    """

    def __init__(
        self,
        iterations: int = 300,
        depth: int = 6,
        learning_rate: float | None = None,
        l2_leaf_reg: float = 3.0,
        random_state: int | None = None,
        n_jobs: int | None = 1,
        options: dict[str, Any] | None = None,
        device: str | None = None,
    ) -> None:
        self.iterations = iterations
        self.depth = depth
        self.learning_rate = learning_rate
        self.l2_leaf_reg = l2_leaf_reg
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.options = options
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CatBoostRegressorExpert:
        """Fit to X (n, d) with columns of any kind, y (n,) and weights (n,)."""
        y = np.asarray(y, dtype=np.float64)
        self.mean_ = float(np.average(y, weights=sample_weight))
        scale = float(np.sqrt(np.average((y - self.mean_) ** 2, weights=sample_weight)))
        self.constant_ = scale <= 1e-12 * abs(self.mean_)  # CatBoost rejects a constant target
        self.scale_ = 1.0 if self.constant_ else scale
        self.columns_ = NativeColumns().fit(X)
        self.n_features_in_ = self.columns_.n_features
        if not self.constant_:
            self.model_ = catboost.CatBoostRegressor(**_parameters(self))
            self.model_.fit(self.columns_.pool(X, (y - self.mean_) / self.scale_, sample_weight))
        return self

    def predict(self, X: Any) -> Array:
        """Predict the rows of X (n, d); returns (n,)."""
        check_is_fitted(self)
        pool = self.columns_.pool(X)
        if self.constant_:
            return np.full(pool.num_row(), self.mean_)
        standardised = self.model_.predict(pool, thread_count=self.n_jobs or 1)
        return np.asarray(standardised, dtype=np.float64) * self.scale_ + self.mean_

    def __metamix_onnx__(self) -> Any:
        """The fitted model in ONNX."""
        check_is_fitted(self)
        if self.constant_:
            raise ValueError("the target was constant, and there is no model")
        return exported(self.model_, self.scale_, self.mean_)

    def __metamix_device__(self, device: str) -> tuple[str, str]:
        return _device(device)

    def __sklearn_tags__(self) -> Tags:
        return _any_columns(super().__sklearn_tags__())


class CatBoostClassifierExpert(ClassifierMixin, BaseEstimator):
    """CatBoost's classifier, for labels of any type.

    Parameters
    ----------
    iterations, depth, learning_rate, l2_leaf_reg, random_state, n_jobs, options, device
        As for `CatBoostRegressorExpert`.

    Examples
    --------
    >>> X, y = [["a"], ["a"], ["b"], ["b"]], ["no", "no", "yes", "yes"]
    >>> model = CatBoostClassifierExpert(iterations=20).fit(X, y)
    >>> model.predict_proba([["b"]]).shape
    (1, 2)
    """

    def __init__(
        self,
        iterations: int = 300,
        depth: int = 6,
        learning_rate: float | None = None,
        l2_leaf_reg: float = 3.0,
        random_state: int | None = None,
        n_jobs: int | None = 1,
        options: dict[str, Any] | None = None,
        device: str | None = None,
    ) -> None:
        self.iterations = iterations
        self.depth = depth
        self.learning_rate = learning_rate
        self.l2_leaf_reg = l2_leaf_reg
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.options = options
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CatBoostClassifierExpert:
        """Fit to X (n, d) with columns of any kind, labels y (n,) and weights (n,)."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"All rows have the class {self.classes_[0]!r}; CatBoost needs at least two classes.")
        self.columns_ = NativeColumns().fit(X)
        self.n_features_in_ = self.columns_.n_features
        loss = "Logloss" if len(self.classes_) == 2 else "MultiClass"
        self.model_ = catboost.CatBoostClassifier(**{"loss_function": loss} | _parameters(self))
        self.model_.fit(self.columns_.pool(X, codes, sample_weight))
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable label of each row of X (n, d); returns (n,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, C) in the order of `classes_`."""
        check_is_fitted(self)
        return np.asarray(self.model_.predict_proba(self.columns_.pool(X), thread_count=self.n_jobs or 1))

    def __metamix_onnx__(self) -> Any:
        """The fitted model in ONNX."""
        check_is_fitted(self)
        return exported(self.model_)

    def __metamix_device__(self, device: str) -> tuple[str, str]:
        return _device(device)

    def __sklearn_tags__(self) -> Tags:
        return _any_columns(super().__sklearn_tags__())


def _parameters(expert: Any) -> dict[str, Any]:
    given = {"iterations": expert.iterations, "depth": expert.depth, "l2_leaf_reg": expert.l2_leaf_reg}
    if expert.learning_rate is not None:
        given["learning_rate"] = expert.learning_rate
    quiet = {"verbose": False, "allow_writing_files": False}
    seed = {"random_seed": expert.random_state, "thread_count": expert.n_jobs or 1}
    device = {}
    if expert.device not in (None, "cpu"):
        found, reason = _device(expert.device)
        if reason:
            raise ValueError(f"device={expert.device!r} is not available ({reason}); give 'cpu', or None.")
        device = {"task_type": "GPU", "devices": found.partition(":")[2]}
    return given | quiet | seed | device | (expert.options or {})


def _device(device: str) -> tuple[str, str]:
    """Device that CatBoost uses if `device` is requested, and the reason if that is the CPU instead."""
    if device == "cpu":
        return "cpu", ""
    number, count = int(device.partition(":")[2] or 0), get_gpu_device_count()
    if number < count:
        return f"cuda:{number}", ""
    return "cpu", f"catboost {catboost.__version__} finds {count} usable GPUs"


def _any_columns(tags: Tags) -> Tags:
    tags.input_tags.allow_nan = True
    tags.input_tags.string = True
    tags.input_tags.categorical = True
    tags.input_tags.sparse = True
    return tags
