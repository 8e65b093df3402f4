"""What displays are given: a fitted mixture, rows, and the target; checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from metamix.data.features import feature_names
from metamix.data.row_keys import table_key
from metamix.estimators.mixture import Mixture
from metamix.estimators.validation import check_rows, check_target_number
from metamix.training.selection import HeldOutLoss

__all__ = ["InspectedRows", "check_mixture", "regimes_of"]

Array = NDArray[np.float64]


def check_mixture(mixture: Any, display: str) -> Mixture:
    """The mixture itself.

    Raises
    ------
    TypeError
        If it is something else.
    sklearn.exceptions.NotFittedError
    """
    if not isinstance(mixture, Mixture):
        raise TypeError(
            f"{display} needs a fitted MixtureRegressor or MixtureClassifier, and got "
            f"{type(mixture).__name__}; give the mixture itself, without the pipeline or search around it."
        )
    check_is_fitted(mixture)
    return mixture


def regimes_of(mixture: Mixture) -> Mixture:
    """The mixture whose columns are regimes: `mixture_` where it has several, else this one."""
    inner = getattr(mixture, "mixture_", None)
    return inner if inner is not None and len(inner.named_experts_) > 1 else mixture


@dataclass(frozen=True)
class InspectedRows:
    """Rows on which a mixture is looked at; `InspectedRows.read` checks them.

    Parameters
    ----------
    mixture : Mixture
    X : table of shape (n, d)
        As it was given.
    table : table of shape (n, d)
        With columns of text read as numbers and dates, as the experts see it.
    y : ndarray of shape (n,), (n, T) or None
        Numbers, or class codes 0 … C-1.
    target : int
    of_fit : bool
        Whether these are the rows of `fit`, in its order.
    """

    mixture: Mixture
    X: Any
    table: Any
    y: NDArray[Any] | None
    target: int
    of_fit: bool

    @classmethod
    def read(
        cls, mixture: Any, display: str, X: Any, y: Any = None, target: int = 0, *, needs_y: str = ""
    ) -> InspectedRows:
        """Check what was given to a display; `needs_y` says what y is needed for, where it is."""
        mixture = check_mixture(mixture, display)
        if X is None:
            raise ValueError(f"X is None, and {display} needs rows; give X, such as that of fit.")
        if y is None and needs_y:
            raise ValueError(f"y is None, and {display} needs it for {needs_y}; give y, one value for each row of X.")
        number = check_target_number(target, mixture._fitted.n_targets)
        table = mixture._check_new(X)
        known = None
        if y is not None:
            known = mixture._check_known_target(y)
            check_rows(table, known)
        of_fit = known is not None and getattr(mixture, "_key_of_fit", None) == table_key(table, known)
        return cls(mixture, X, table, known, number, of_fit)

    @property
    def names(self) -> list[str]:
        """Names (d,) of the columns of X."""
        return feature_names(self.table)

    @property
    def truth(self) -> NDArray[Any]:
        """The target itself, (n,)."""
        assert self.y is not None
        return self.y[:, self.target] if self.y.ndim == 2 else self.y

    @property
    def likelihood(self) -> Any:
        """The fitted likelihood of the target."""
        return self.mixture._fitted.likelihoods[self.target]

    def weights(self, mixture: Mixture | None = None) -> Array:
        """Weights (n, K) for the target, of this mixture or another."""
        fitted = (mixture or self.mixture)._fitted
        return np.asarray(fitted.weights(self.table)[self.target])

    def predictions(self, mixture: Mixture | None = None) -> Array:
        """Predictions (n, K) or (n, K, C) of each column: out of fold for the rows of fit."""
        mixture = mixture or self.mixture
        values = mixture.oof_predictions_ if self.of_fit else mixture._fitted.column_predictions(self.table)[0]
        return np.asarray(values[..., self.target] if mixture._fitted.n_targets is not None else values)

    def losses(self, predictions: Array) -> Array:
        """Loss (n, K) of each column in each row; NaN where a prediction is missing."""
        known = np.isfinite(predictions).reshape(len(predictions), -1).all(axis=1)
        found = np.full(predictions.shape[:2], np.nan)
        for k in range(predictions.shape[1]):
            found[known, k] = self.row_losses(self.truth[known], predictions[known, k])
        return found

    def row_losses(self, truth: NDArray[Any], predictions: Array) -> Array:
        """Loss (m,) of predictions (m,) or (m, C): squared error, deviance or log-loss."""
        if self.several_labels:
            predictions = np.column_stack([1 - predictions, predictions])
        loss = HeldOutLoss(
            truth, np.ones(len(truth)), np.zeros(len(truth), dtype=np.intp), self.classes,
            deviance=getattr(self.likelihood, "deviance", None),
        )  # fmt: skip
        return loss.units(predictions)

    @property
    def several_labels(self) -> bool:
        """Whether the targets are labels, whose predictions are probabilities of 1."""
        return hasattr(self.mixture, "label_names_")

    @property
    def classes(self) -> NDArray[Any] | None:
        """The classes (C,) of the target, 0 and 1 of a label; None for numbers."""
        if self.several_labels:
            return np.arange(2)
        return getattr(self.mixture, "classes_", None)

    @property
    def measure(self) -> str:
        """Name of the loss."""
        if hasattr(self.mixture, "classes_"):
            return "log-loss"
        return "deviance" if hasattr(self.likelihood, "deviance") else "squared error"
