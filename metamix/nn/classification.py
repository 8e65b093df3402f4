"""`NeuralMixtureClassifier`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from torch import nn

from metamix.nn.base import NeuralMixture
from metamix.nn.mixture import ClassLikelihood
from metamix.nn.validation import check_classes, codes_of_known

Array = NDArray[np.float64]


class NeuralMixtureClassifier(ClassifierMixin, NeuralMixture):
    """Mixture of neural classifiers, trained end to end on P(c | x) = Σ_k g_k(x) P_k(c | x).

    Parameters
    ----------
    n_experts, hidden, activation, gate, top_k, gate_options, losses, start, numeric, missing, max_epochs, batch_size, \
learning_rate, weight_decay, schedule, early_stopping, patience, validation_fraction, warm_epochs, callbacks, \
device, random_state, verbose
        As in `NeuralMixtureRegressor`.
    objective : {"likelihood", "cooperative"}
        "likelihood": −log Σ_k g_k P_k(c), a mixture of probabilities. "cooperative": the cross-entropy of the weighted
        sum of logits.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    network_, n_experts_, best_epoch_, device_, history_
        As in `NeuralMixtureRegressor`.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.where(np.abs(x[:, 0]) < 0.5, "in", "out")
    >>> model = NeuralMixtureClassifier(2, hidden=8, max_epochs=40, random_state=0).fit(x, y)
    >>> model.predict([[0.0], [0.9]]).tolist()
    ['in', 'out']
    """

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities (n, C), in the order of `classes_`."""
        output = self._network_output(X)
        if self.objective == "cooperative":
            mixed = torch.einsum("nk,nkc->nc", output["weights"].double(), output["outputs"].double())
            return torch.softmax(mixed, -1).numpy()
        return np.einsum(
            "nk,nkc->nc", self._normalised_weights(output), torch.softmax(output["outputs"].double(), -1).numpy()
        )

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class (n,)."""
        proba = self.predict_proba(X)
        return np.asarray(self.classes_[proba.argmax(axis=1)])

    def predict_experts(self, X: Any) -> Array:
        """Class probabilities (n, K, C) of each expert."""
        return torch.softmax(self._network_output(X)["outputs"].double(), -1).numpy()

    def log_prob(self, X: Any, y: Any) -> Array:
        """Log probability (n,) of the class y (n,) given x."""
        proba = self.predict_proba(X)
        codes = self._encode_target(y, len(proba))
        return np.asarray(np.log(np.maximum(proba[np.arange(len(proba)), codes], np.finfo(float).tiny)))

    def _check_target(self, y: Any, n: int) -> NDArray[Any]:
        self.classes_, codes = check_classes(self, y, n)
        return codes

    def _encode_target(self, y: Any, n: int) -> NDArray[Any]:
        return codes_of_known(y, self.classes_, n)

    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _likelihood(self, n_experts: int) -> nn.Module:
        return ClassLikelihood()

    def _proxy_target(self, target: NDArray[Any]) -> tuple[Array, bool]:
        return np.eye(len(self.classes_))[target], True

    def _strata(self, target: NDArray[Any]) -> NDArray[Any] | None:
        return target
