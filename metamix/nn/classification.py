"""The neural mixture of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from torch import nn

from metamix.nn.checks import check_classes, codes_of_known
from metamix.nn.learner import NeuralMixture
from metamix.nn.mixture import ClassLikelihood

Array = NDArray[np.float64]


class NeuralMixtureClassifier(ClassifierMixin, NeuralMixture):
    """A mixture of small networks for classes, trained end to end on P(c | x) = Σ_k g_k(x) P_k(c | x).

    Parameters
    ----------
    n_experts, hidden, activation, gate, top_k, gate_options, losses, start, numeric, missing, max_epochs, batch_size, \
learning_rate, weight_decay, schedule, early_stopping, patience, validation_fraction, warm_epochs, callbacks, \
device, random_state, verbose
        As of `NeuralMixtureRegressor`.
    objective : {"likelihood", "cooperative"}
        −log Σ g P(c), with probabilities mixed; or the cross-entropy of mixed logits, as a layer in a network
        has it.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    network_, n_experts_, best_epoch_, device_, history_
        As of `NeuralMixtureRegressor`.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.where(np.abs(x[:, 0]) < 0.5, "in", "out")
    >>> model = NeuralMixtureClassifier(2, hidden=8, max_epochs=40, random_state=0).fit(x, y)
    >>> model.predict([[0.0], [0.9]]).tolist()
    ['in', 'out']
    """

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, C) of the classes, in the order of `classes_`."""
        said = self._answer(X)
        if self.objective == "cooperative":
            mixed = torch.einsum("nk,nkc->nc", said["weights"].double(), said["answers"].double())
            return torch.softmax(mixed, -1).numpy()
        return np.einsum("nk,nkc->nc", self._shares(said), torch.softmax(said["answers"].double(), -1).numpy())

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class (n,)."""
        proba = self.predict_proba(X)
        return np.asarray(self.classes_[proba.argmax(axis=1)])

    def predict_experts(self, X: Any) -> Array:
        """Probabilities (n, K, C) of the experts."""
        return torch.softmax(self._answer(X)["answers"].double(), -1).numpy()

    def score_samples(self, X: Any, y: Any) -> Array:
        """Log probability (n,) of the class y (n,) given x."""
        proba = self.predict_proba(X)
        codes = self._target_again(y, len(proba))
        return np.asarray(np.log(np.maximum(proba[np.arange(len(proba)), codes], np.finfo(float).tiny)))

    def _read(self, y: Any, n: int) -> NDArray[Any]:
        self.classes_, codes = check_classes(self, y, n)
        return codes

    def _target_again(self, y: Any, n: int) -> NDArray[Any]:
        return codes_of_known(y, self.classes_, n)

    def _width(self) -> int:
        return len(self.classes_)

    def _likelihood(self, n_experts: int) -> nn.Module:
        return ClassLikelihood()

    def _for_proxies(self, target: NDArray[Any]) -> tuple[Array, bool]:
        return np.eye(len(self.classes_))[target], True

    def _strata(self, target: NDArray[Any]) -> NDArray[Any] | None:
        return target
