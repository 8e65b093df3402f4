"""The neural mixture of a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from torch import nn

from metamix.nn.checks import check_numbers, units_of
from metamix.nn.learner import NeuralMixture
from metamix.nn.mixture import NumberLikelihood
from metamix.recombination import spread

Array = NDArray[np.float64]


class NeuralMixtureRegressor(RegressorMixin, NeuralMixture):
    """A mixture of small networks under a gate, trained end to end on p(y | x) = Σ_k g_k(x) p_k(y | f_k(x)).

    It begins where cheap mixtures of ridge experts found regimes: first the gate is fitted to their
    responsibilities, then for some epochs the experts too, and only then the mixture's own likelihood is
    descended on. From random starts regimes are found less well.

    Parameters
    ----------
    n_experts : int or "auto"
        K; "auto" counts regimes with cheap mixtures, and takes two where they see only one.
    hidden : int or sequence of int
        Widths of the hidden layers of each expert.
    activation : str
        relu, gelu, silu, tanh, identity.
    gate, top_k, gate_options, losses
        As of `MoE`. With ``objective="likelihood"`` a sparse gate learns from all experts and chooses when it
        answers.
    objective : {"likelihood", "cooperative"}
        −log Σ g p, or the squared error of the mixed answer.
    start : {"proxy", "random"} or array-like of shape (n,) or (n, K)
        Cheap mixtures, chance, labels of regimes, or responsibilities.
    numeric : {"standardise", "quantile", "piecewise"}
        What becomes of numbers; "piecewise" adds a piecewise linear encoding (Gorishniy et al. 2022). Text and
        categories are embedded.
    missing : {"error", "impute"}
        Whether NaN and None in X are refused, or filled in: numbers by the median, with a 0/1 column beside them
        that says so where training had any; missing text is a value of its own.
    max_epochs : int
    batch_size : int or "auto"
        "auto" is about n / 20, between 16 and 1024.
    learning_rate, weight_decay : float
        Of AdamW; the decay is of the experts' weights, and the gate learns ten times as fast.
    schedule : {"plateau", "cosine", None}
        How the learning rate falls.
    early_stopping : bool
        Hold out rows, stop when they have not been answered better for `patience` epochs, and keep the best.
    patience : int
    validation_fraction : float
    warm_epochs : int
        Epochs on the first responsibilities.
    callbacks : sequence of skorch callbacks
    device : {"auto", "cpu", "cuda"} or "cuda:N"
    random_state : int, RandomState or None
    verbose : int
        1 writes a line per epoch to standard error; `metamix.progress.listen` hears them too.
    likelihood : {"gaussian", "laplace", "student_t"}
        With one scale per expert.

    Attributes
    ----------
    network_ : MixtureNetwork
        On the CPU.
    n_experts_, best_epoch_, n_features_in_ : int
    device_ : str
    history_ : DataFrame
        A row per epoch.

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
        """Answer rows.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
        return_std : bool
            Whether to return the standard deviation of the mixture too, by the law of total variance.

        Returns
        -------
        ndarray of shape (n,), in the units of y; with `return_std` two of them
        """
        said = self._answer(X)
        # What a sparse gate of the cooperative objective was trained with need not sum to one.
        weights = said["weights"].double().numpy() if self.objective == "cooperative" else self._shares(said)
        answers = said["answers"][..., 0].double().numpy()
        mean = self._mean + self._unit * np.einsum("nk,nk->n", weights, answers)
        if not return_std:
            return mean
        density: Any = self.network_.likelihood
        with torch.no_grad():
            scale = density.density(said["answers"][..., 0]).stddev.double().numpy()
        return mean, self._unit * spread(self._shares(said), answers, scale)

    def predict_experts(self, X: Any) -> Array:
        """Answers (n, K) of the experts, in the units of y."""
        return np.asarray(self._mean + self._unit * self._answer(X)["answers"][..., 0].double().numpy())

    def _read(self, y: Any, n: int) -> NDArray[Any]:
        return check_numbers(self, y, n)

    def _target_again(self, y: Any, n: int) -> NDArray[Any]:
        return check_numbers(self, y, n)

    def _width(self) -> int:
        return 1

    def _likelihood(self, n_experts: int) -> nn.Module:
        return NumberLikelihood(n_experts, self._recipe["likelihood"])

    def _for_proxies(self, target: NDArray[Any]) -> tuple[Array, bool]:
        return target[:, None], False

    def _fit_units(self, target: NDArray[Any], weight: Array) -> None:
        self._mean, self._unit = units_of(target, weight)

    def _in_units(self, target: NDArray[Any]) -> NDArray[Any]:
        return (target - self._mean) / self._unit

    def _log_unit(self) -> float:
        return float(np.log(self._unit))
