"""`NeuralMixtureRegressor`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from torch import nn

from metamix.nn.base import NeuralMixture
from metamix.nn.mixture import NumberLikelihood
from metamix.nn.validation import check_numbers, units_of
from metamix.recombination import spread

Array = NDArray[np.float64]


class NeuralMixtureRegressor(RegressorMixin, NeuralMixture):
    """Mixture of neural regressors with a gate, trained end to end on p(y | x) = Σ_k g_k(x) p_k(y | f_k(x)).

    Training starts from the responsibilities of mixtures of ridge experts (proxy models): the gate is fitted to
    them first, then for `warm_epochs` epochs the experts and the gate, and then the likelihood of the mixture is
    maximised. Random initialisation finds regimes less reliably.

    Parameters
    ----------
    n_experts : int or "auto"
        K; "auto" is the number of regimes found by the proxy models, at least two.
    hidden : int or sequence of int
        Widths of the hidden layers of each expert.
    activation : str
        relu, gelu, silu, tanh, identity.
    gate, top_k, gate_options, losses
        As in `MoE`. With ``objective="likelihood"`` a sparse gate uses all experts in training and selects experts
        in prediction.
    objective : {"likelihood", "cooperative"}
        "likelihood": −log Σ_k g_k p_k. "cooperative": the squared error of the weighted sum of the outputs.
    start : {"proxy", "random"} or array-like of shape (n,) or (n, K)
        Initial responsibilities: of the proxy models, none (random initialisation), regime labels, or an array.
    numeric : {"standardise", "quantile", "piecewise"}
        Encoding of numbers: standardised, mapped to a normal distribution by ranks, or standardised with an
        additional piecewise linear encoding (Gorishniy et al. 2022). Text and categories are embedded.
    missing : {"error", "impute"}
        "error" raises for NaN and None in X. "impute" replaces missing numbers by the median, with a 0/1 indicator
        column where training had any; missing text is a category of its own.
    max_epochs : int
    batch_size : int or "auto"
        "auto" is about n / 20, a power of two between 16 and 1024.
    learning_rate, weight_decay : float
        Of AdamW. The decay applies to the experts' weights; the learning rate of the gate is ten times larger.
    schedule : {"plateau", "cosine", None}
        Learning rate schedule; None is constant.
    early_stopping : bool
        Hold out validation rows, stop when their loss has not decreased for `patience` epochs, and keep the best
        epoch's weights.
    patience : int
    validation_fraction : float
    warm_epochs : int
        Epochs trained on the initial responsibilities.
    callbacks : sequence of skorch callbacks
    device : {"auto", "cpu", "cuda"} or "cuda:N"
    random_state : int, RandomState or None
    verbose : int
        1 shows epochs and losses; `metamix.progress.listen` receives them as events.
    likelihood : {"gaussian", "laplace", "student_t"}
        Density of y given an expert's output, with one scale per expert.

    Attributes
    ----------
    network_ : MixtureNetwork
        On the CPU.
    n_experts_, best_epoch_, n_features_in_ : int
    device_ : str
    history_ : DataFrame
        One row per epoch.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.where(x[:, 0] < 0, 3 * x[:, 0], 5 - 2 * x[:, 0])
    >>> model = NeuralMixtureRegressor(2, hidden=8, max_epochs=40, random_state=0).fit(x, y)
    >>> model.gate_weights([[-0.5], [0.5]]).shape, bool(abs(model.predict([[0.5]])[0] - 4) < 0.5)
    ((2, 2), True)
    """

    def __init__(
        self,
        n_experts: int | str = "auto",
        hidden: Any = (64, 64),
        *,
        activation: str = "silu",
        gate: Any = "softmax",
        top_k: int | None = None,
        gate_options: Any = None,
        losses: Any = None,
        objective: str = "likelihood",
        start: Any = "proxy",
        numeric: str = "standardise",
        missing: str = "error",
        max_epochs: int = 200,
        batch_size: int | str = "auto",
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        schedule: str | None = "plateau",
        early_stopping: bool = True,
        patience: int = 20,
        validation_fraction: float = 0.15,
        warm_epochs: int = 20,
        callbacks: Any = (),
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        likelihood: str = "gaussian",
    ) -> None:
        super().__init__(
            n_experts, hidden, activation=activation, gate=gate, top_k=top_k, gate_options=gate_options, losses=losses,
            objective=objective, start=start, numeric=numeric, missing=missing, max_epochs=max_epochs,
            batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay, schedule=schedule,
            early_stopping=early_stopping, patience=patience, validation_fraction=validation_fraction,
            warm_epochs=warm_epochs, callbacks=callbacks, device=device, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.likelihood = likelihood

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict y.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
        return_std : bool
            Whether to return the standard deviation of the mixture too (law of total variance).

        Returns
        -------
        ndarray of shape (n,), in the units of y; with `return_std` a pair of them
        """
        output = self._network_output(X)
        # In cooperative training the weights of a sparse gate need not sum to one.
        weights = (
            output["weights"].double().numpy() if self.objective == "cooperative" else self._normalised_weights(output)
        )
        outputs = output["outputs"][..., 0].double().numpy()
        mean = self._y_mean + self._y_scale * np.einsum("nk,nk->n", weights, outputs)
        if not return_std:
            return mean
        density: Any = self.network_.likelihood
        with torch.no_grad():
            scale = density.density(output["outputs"][..., 0]).stddev.double().numpy()
        return mean, self._y_scale * spread(self._normalised_weights(output), outputs, scale)

    def predict_experts(self, X: Any) -> Array:
        """Predictions (n, K) of each expert, in the units of y."""
        return np.asarray(self._y_mean + self._y_scale * self._network_output(X)["outputs"][..., 0].double().numpy())

    def _check_target(self, y: Any, n: int) -> NDArray[Any]:
        return check_numbers(self, y, n)

    def _encode_target(self, y: Any, n: int) -> NDArray[Any]:
        return check_numbers(self, y, n)

    def _n_outputs(self) -> int:
        return 1

    def _likelihood(self, n_experts: int) -> nn.Module:
        return NumberLikelihood(n_experts, self._network_parameters["likelihood"])

    def _proxy_target(self, target: NDArray[Any]) -> tuple[Array, bool]:
        return target[:, None], False

    def _fit_target_scale(self, target: NDArray[Any], weight: Array) -> None:
        self._y_mean, self._y_scale = units_of(target, weight)

    def _scale_target(self, target: NDArray[Any]) -> NDArray[Any]:
        return (target - self._y_mean) / self._y_scale

    def _log_target_scale(self) -> float:
        return float(np.log(self._y_scale))
