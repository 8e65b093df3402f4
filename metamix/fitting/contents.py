"""What lies on the bench: rows, named experts, and what a fit leaves behind."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from metamix.answers import Failure
from metamix.fitting.placing import together
from metamix.tables import take_rows

__all__ = ["Data", "Entry", "Fitted", "FoldAverage", "PerTarget", "offers_scale"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """Rows to learn from.

    Parameters
    ----------
    X : array, sparse matrix or frame, n rows
        Handed to the experts as it is.
    y : ndarray of shape (n,) or (n, T)
        Target, or several; integer codes 0 … C-1 for classes.
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
    def n_targets(self) -> int | None:
        """T, or None for a single target, whose arrays lack that axis."""
        return self.y.shape[1] if self.y.ndim == 2 else None

    def target(self, t: int) -> Data:
        """The same rows with target t alone."""
        return self if self.y.ndim == 1 else replace(self, y=self.y[:, t])

    def take(self, rows: NDArray[np.intp]) -> Data:
        """Some rows; these very data where all are taken in order."""
        if len(rows) == self.n and bool((rows == np.arange(self.n)).all()):
            return self
        weight, groups = (None if part is None else part[rows] for part in (self.sample_weight, self.groups))
        return replace(self, X=take_rows(self.X, rows), y=self.y[rows], sample_weight=weight, groups=groups)

    @property
    def weight(self) -> Array:
        """Sample weights, ones where none were given, (n,)."""
        return np.ones(self.n) if self.sample_weight is None else self.sample_weight


@dataclass(frozen=True)
class Entry:
    """A named expert; `seed` draws rows for one that takes no weights, `device` says in words where it runs."""

    name: str
    estimator: Any
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Fitted:
    """A fitted expert and what it answers about.

    `classes` holds the codes behind the columns of its predict_proba: a fold, or a weight, may lack some.
    `seconds` is what fitting took, `device` where that was.
    """

    name: str
    model: Any
    n_classes: int | None = None
    classes: NDArray[np.intp] | None = None
    seconds: float = 0.0
    n_targets: int | None = None
    device: str = "cpu"

    def answer(self, X: Any) -> Array:
        """Predictions (n,) or (n, T), or probabilities over all C classes (n, C); ValueError if not finite."""
        return self._shaped(self.model.predict(X) if self.n_classes is None else self.model.predict_proba(X))

    def answer_with_scale(self, X: Any) -> tuple[Array, Array | None]:
        """The answer and the expert's own standard deviation, of the same shape; None where it has none."""
        if self.n_classes is not None or not offers_scale(self.model):
            return self.answer(X), None
        values, scale = self.model.predict(X, return_std=True)
        values = self._shaped(values)
        scale = np.asarray(scale, dtype=np.float64)
        if scale.ndim < values.ndim:  # one deviation for all targets
            scale = scale[:, None]
        # A deviation that is no number is no deviation: the likelihood has one of its own.
        return values, np.where(np.isfinite(scale) & (scale >= 0), np.broadcast_to(scale, values.shape), np.nan)

    def asked(self, X: Any, fold: int) -> Array | Failure:
        """The answer, or what went wrong, for callers that go on without it."""
        try:
            return self.answer(X)
        except Exception as error:  # a foreign predict may raise anything
            return Failure(self.name, fold, f"{type(error).__name__}: {error}")

    def _shaped(self, given: Any) -> Array:
        values = np.asarray(given, dtype=np.float64)
        if self.n_classes is None:
            values, expected = values.reshape(len(values), -1), self.n_targets or 1
            if values.shape[1] != expected:
                what = "one target" if expected == 1 else f"{expected} targets"
                raise ValueError(f"predict answered {values.shape[1]} columns for {what}")
            values = values[:, 0] if self.n_targets is None else values
        else:
            assert self.classes is not None
            if not values.shape[1] == len(self.classes) == self.n_classes:
                known, values = values, np.zeros((len(values), self.n_classes))
                values[:, self.classes] = known
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
            raise ValueError(f"answered NaN or infinity for {bad} of {len(values)} rows")
        return values


@dataclass(frozen=True)
class FoldAverage:
    """The fold models of one expert, answering with their mean."""

    name: str
    members: Sequence[Fitted]

    @property
    def model(self) -> list[Any]:
        """The fold models themselves."""
        return [member.model for member in self.members]

    @property
    def device(self) -> str:
        """Where the fold models were fitted."""
        return together(member.device for member in self.members)

    def answer(self, X: Any) -> Array:
        """Mean prediction (n,) or (n, T), or mean probabilities (n, C)."""
        return np.asarray(np.mean([member.answer(X) for member in self.members], axis=0))

    def answer_with_scale(self, X: Any) -> tuple[Array, Array | None]:
        """Mean answer, and the root mean square of the members' own deviations, where they have any."""
        values, scales = zip(*(member.answer_with_scale(X) for member in self.members), strict=True)
        known = [scale for scale in scales if scale is not None]
        whole = np.sqrt(np.mean(np.square(known), axis=0)) if known else None
        return np.asarray(np.mean(values, axis=0)), whole


class PerTarget(BaseEstimator):
    """One fitted model for each target, for learners that know one target only.

    Parameters
    ----------
    models : list of T fitted regressors
    """

    def __init__(self, models: Sequence[Any]) -> None:
        self.models = models

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Answers (n, T), and deviations (n, T) where asked."""
        if not return_std:
            return np.column_stack([model.predict(X) for model in self.models])
        pairs = [model.predict(X, return_std=True) for model in self.models]
        return np.column_stack([mean for mean, _ in pairs]), np.column_stack([std for _, std in pairs])


def offers_scale(model: Any) -> bool:
    """Whether `predict` takes ``return_std=True``, as Gaussian processes and mixtures do; inside pipelines too.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sklearn.linear_model import Ridge
    >>> offers_scale(GaussianProcessRegressor()), offers_scale(Ridge())
    (True, False)
    """
    if isinstance(model, Pipeline):
        return offers_scale(model.steps[-1][1])
    if isinstance(model, PerTarget):
        return all(offers_scale(one) for one in model.models)
    predict = getattr(model, "predict", None)
    if predict is None or isinstance(model, TransformedTargetRegressor):  # which cannot hand on a pair
        return False
    parameters = inspect.signature(predict).parameters
    inner = getattr(model, "regressor_", None)
    if "return_std" not in parameters and inner is not None:  # a wrapper may hand on what it does not know
        return any(one.kind is one.VAR_KEYWORD for one in parameters.values()) and offers_scale(inner)
    return "return_std" in parameters
