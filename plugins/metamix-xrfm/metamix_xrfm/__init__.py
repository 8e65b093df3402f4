"""xRFM, trees of recursive feature machines (Beaglehole et al. 2025), as experts of metamix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from xrfm import xRFM

__all__ = ["XRFMClassifier", "XRFMRegressor", "classifier", "regressor"]

#: Share of the rows by which the library chooses the iteration and, for small tables, fits again.
HELD_OUT = 0.2


class _Machine(BaseEstimator):
    """`xrfm.xRFM` with the interface of scikit-learn, for standardised columns.

    Parameters
    ----------
    rfm_params : dict or None, default=None
        Of the machines in the leaves; as for xRFM.
    max_leaf_size : int, default=60000
        Rows of a leaf at most.
    random_state : int or None, default=None
    device : {"cpu", "cuda", "cuda:N"} or None, default=None
        Where it is fitted; predictions are made on the CPU. None is the CPU, or the device of a mixture.
    """

    def __init__(
        self,
        rfm_params: dict[str, Any] | None = None,
        max_leaf_size: int = 60_000,
        random_state: int | None = None,
        device: str | None = None,
    ) -> None:
        self.rfm_params, self.max_leaf_size = rfm_params, max_leaf_size
        self.random_state, self.device = random_state, device

    def _fit(self, X: Any, y: Any) -> Any:
        random = check_random_state(self.random_state)
        rows = random.permutation(len(X))
        train, held_out = np.split(rows, [len(rows) - max(1, round(HELD_OUT * len(rows)))])
        X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
        machine = self._machine(self.device or "cpu", int(random.randint(2**31 - 1)))
        machine.fit(X[train], y[train], X[held_out], y[held_out])
        self.X_, self.state_ = X[train].numpy(), _changed(machine.get_state_dict(), torch.Tensor, _to_numpy)
        return self

    def _fitted(self, X: Any) -> tuple[Any, Any]:
        """The machine, built from arrays, since files of mixtures cannot store tensors, and the rows of X."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float32)
        machine = self._machine("cpu")
        machine.load_state_dict(_changed(self.state_, np.ndarray, torch.tensor), torch.tensor(self.X_))
        return machine, X

    def _machine(self, device: str, seed: int | None = None) -> Any:
        return xRFM(
            self.rfm_params, self.max_leaf_size, device=device, random_state=seed, use_temperature_tuning=False,
            verbose=False,
        )  # fmt: skip


class XRFMRegressor(RegressorMixin, _Machine):
    """xRFM for numbers."""

    def fit(self, X: Any, y: Any) -> XRFMRegressor:
        """Fit to X (n, d) and y (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float32, y_numeric=True)
        return self._fit(X, y.astype(np.float32)[:, None])

    def predict(self, X: Any) -> Any:
        """Predictions (n,) of the rows of X (n, d)."""
        machine, X = self._fitted(X)
        return machine.predict(X)[:, 0].astype(np.float64)


class XRFMClassifier(ClassifierMixin, _Machine):
    """xRFM for classes."""

    def fit(self, X: Any, y: Any) -> XRFMClassifier:
        """Fit to X (n, d) and labels y (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"all rows have the class {self.classes_[0]!r}; xRFM needs at least two classes.")
        return self._fit(X, codes.astype(np.int64))

    def predict_proba(self, X: Any) -> Any:
        """Probabilities (n, C) in the order of `classes_`."""
        machine, X = self._fitted(X)
        known = np.clip(machine.predict_proba(X).astype(np.float64), 1e-6, 1.0)
        return known / known.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> Any:
        """The most probable label (n,) of each row of X (n, d)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _to_numpy(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _changed(value: Any, kind: type, change: Any) -> Any:
    """Nested dictionaries and lists with every value of a kind changed."""
    if isinstance(value, dict):
        return {name: _changed(one, kind, change) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(one, kind, change) for one in value]
    return change(value) if isinstance(value, kind) else value


def regressor(**parameters: Any) -> Any:
    """XRFM for numbers, on prepared columns.

    Examples
    --------
    >>> regressor(max_leaf_size=1000).named_steps["model"].regressor
    XRFMRegressor(max_leaf_size=1000)
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(XRFMRegressor(**parameters))


def classifier(**parameters: Any) -> Any:
    """XRFM for classes, on prepared columns.

    Examples
    --------
    >>> classifier().named_steps["model"]
    XRFMClassifier()
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(XRFMClassifier(**parameters))
