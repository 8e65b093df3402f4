"""Fitted experts: predictions of one shape whatever the library, and fold models that are averaged."""

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

from metamix.data.tables import n_rows
from metamix.fitting.device_placement import join_devices
from metamix.fitting.out_of_fold import Failure
from metamix.recombination import both_classes

__all__ = ["LARGEST", "FittedExpert", "FoldAverage", "PerLabel", "PerTarget", "offers_scale"]

Array = NDArray[np.float64]
#: Numbers above this cannot be squared and added.
LARGEST = 1e150
#: Probabilities whose sum differs from one by more than this are divided by it.
ROUNDING = 1e-6


@dataclass(frozen=True)
class FittedExpert:
    """A fitted expert and what it answers about.

    `classes` holds the codes behind the columns of its predict_proba: a fold, or a weight, may lack some. A model
    that was fitted elsewhere may know further classes, coded -1; the others share their probability. With several
    labels `classes` holds such codes for each of them.
    `seconds` is what fitting took, `device` where that was.
    """

    name: str
    model: Any
    n_classes: int | None = None
    classes: NDArray[np.intp] | tuple[NDArray[np.intp], ...] | None = None
    seconds: float = 0.0
    n_targets: int | None = None
    device: str = "cpu"

    def predict(self, X: Any) -> Array:
        """Predictions (n,) or (n, T), probabilities over all C classes (n, C), or of each label (n, L).

        Raises
        ------
        ValueError
            If a number of rows or columns is wrong, a value is not finite, or something is no probability.
        """
        given = self.model.predict(X) if self.n_classes is None else self.model.predict_proba(X)
        return self._shaped(given, n_rows(X))

    def predict_with_scale(self, X: Any) -> tuple[Array, Array | None]:
        """The answer and the expert's own standard deviation, of the same shape; None where it has none."""
        if self.n_classes is not None or not offers_scale(self.model):
            return self.predict(X), None
        values, scale = self.model.predict(X, return_std=True)
        values = self._shaped(values, n_rows(X))
        scale = np.asarray(scale, dtype=np.float64)
        if scale.ndim < values.ndim:  # one deviation for all targets
            scale = scale[:, None]
        # A deviation that is no number is no deviation: the likelihood has one of its own.
        return values, np.where(np.isfinite(scale) & (scale >= 0), np.broadcast_to(scale, values.shape), np.nan)

    def try_predict(self, X: Any, fold: int) -> Array | Failure:
        """The answer, or what went wrong, for callers that go on without it."""
        try:
            return self.predict(X)
        except Exception as error:  # a foreign predict may raise anything
            return Failure(self.name, fold, f"{type(error).__name__}: {error}")

    def _shaped(self, given: Any, n: int) -> Array:
        if self.n_classes is not None and self.n_targets is not None:
            return self._by_label(given, n)
        values = np.asarray(given, dtype=np.float64)
        if len(values) != n:
            raise ValueError(f"answered {len(values)} of {n} rows")
        if self.n_classes is None:
            values, expected = values.reshape(len(values), -1), self.n_targets or 1
            if values.shape[1] != expected:
                what = "one target" if expected == 1 else f"{expected} targets"
                raise ValueError(f"predict answered {values.shape[1]} columns for {what}")
            values = values[:, 0] if self.n_targets is None else values
        else:
            values = self._by_class(values)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
            raise ValueError(f"answered NaN or infinity for {bad} of {len(values)} rows")
        if self.n_classes is None:
            bad = int((np.abs(values) > LARGEST).reshape(len(values), -1).any(axis=1).sum())
            if bad:
                raise ValueError(f"answered numbers above {LARGEST:g}, whose squares overflow, for {bad} rows")
            return values
        total = values.sum(axis=1, keepdims=True)
        bad = int(((values < 0).any(axis=1) | (total[:, 0] <= 0)).sum())
        if bad:
            raise ValueError(f"answered negative probabilities, or none at all, for {bad} of {len(values)} rows")
        return values if np.allclose(total, 1, rtol=0, atol=ROUNDING) else values / total

    def _by_label(self, given: Any, n: int) -> Array:
        """Probabilities (n, L) of the labels, from one array of them or a table of classes for each label."""
        L, classes = self.n_targets, self.classes
        assert L is not None
        if not isinstance(given, list | tuple):
            values = np.asarray(given, dtype=np.float64)
            if values.ndim != 2 or values.shape[1] != L:
                raise ValueError(f"predict_proba answered an array of shape {values.shape}, for {L} labels")
            given, classes = [both_classes(column) for column in values.T], (np.arange(2),) * L
        assert isinstance(classes, tuple)
        if len(given) != L:
            raise ValueError(f"predict_proba answered {len(given)} tables, for {L} labels")
        labels = [replace(self, n_targets=None, classes=one) for one in classes]
        return np.column_stack([one._shaped(table, n)[:, 1] for one, table in zip(labels, given, strict=True)])

    def _by_class(self, values: Array) -> Array:
        """Columns (n, C), in the order of all classes."""
        assert isinstance(self.classes, np.ndarray)
        assert self.n_classes is not None
        if values.ndim != 2 or values.shape[1] != len(self.classes):
            raise ValueError(
                f"predict_proba answered an array of shape {values.shape}, for {len(self.classes)} classes"
            )
        if len(self.classes) == self.n_classes and (self.classes == np.arange(self.n_classes)).all():
            return values
        known = self.classes >= 0
        aligned = np.zeros((len(values), self.n_classes))
        aligned[:, self.classes[known]] = values[:, known]
        # A row that surely belongs to a class which is none of these may belong to any of those that it knows.
        nowhere = (aligned == 0).all(axis=1) & (values[:, ~known] > 0).any(axis=1)
        aligned[np.ix_(nowhere, self.classes[known])] = 1.0
        return aligned


@dataclass(frozen=True)
class FoldAverage:
    """The fold models of one expert, answering with their mean."""

    name: str
    members: Sequence[FittedExpert]

    @property
    def model(self) -> list[Any]:
        """The fold models themselves."""
        return [member.model for member in self.members]

    @property
    def device(self) -> str:
        """Where the fold models were fitted."""
        return join_devices(member.device for member in self.members)

    def predict(self, X: Any) -> Array:
        """Mean prediction (n,) or (n, T), or mean probabilities (n, C) or (n, L)."""
        return np.asarray(np.mean([member.predict(X) for member in self.members], axis=0))

    def predict_with_scale(self, X: Any) -> tuple[Array, Array | None]:
        """Mean answer, and the root mean square of the members' own deviations, where they have any."""
        values, scales = zip(*(member.predict_with_scale(X) for member in self.members), strict=True)
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
        """Predictions (n, T), and deviations (n, T) where asked."""
        if not return_std:
            return np.column_stack([model.predict(X) for model in self.models])
        pairs = [model.predict(X, return_std=True) for model in self.models]
        return np.column_stack([mean for mean, _ in pairs]), np.column_stack([std for _, std in pairs])


class PerLabel(PerTarget):
    """One fitted classifier for each label, for learners that know one label only.

    Parameters
    ----------
    models : list of L fitted classifiers
    """

    @property
    def classes_(self) -> list[NDArray[Any]]:
        """The classes that each classifier knows."""
        return [model.classes_ for model in self.models]

    def predict_proba(self, X: Any) -> list[Array]:
        """Probabilities of the classes of each label, L arrays (n, C)."""
        return [model.predict_proba(X) for model in self.models]


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
