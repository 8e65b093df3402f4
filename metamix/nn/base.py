"""Base class of the neural mixtures: parameters, fit, weights and responsibilities."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from metamix import registry
from metamix.data.tables import take_rows
from metamix.devices import resolve_device
from metamix.nn.embeddings import ColumnEmbedding
from metamix.nn.experts import MLPExperts
from metamix.nn.exporting import CombinedPrediction, to_model
from metamix.nn.layers import MoE
from metamix.nn.mixture import MixtureLoss, MixtureNetwork, fit_gate, network_outputs
from metamix.nn.network_state import NetworkLearner
from metamix.nn.settings import (
    as_tensor,
    check_parameters,
    on_device,
    progress_output,
    responsibilities_from_start,
    rng_devices,
    split_rows,
    training_settings,
)  # fmt: skip
from metamix.nn.tabular import Table, TableEncoder
from metamix.nn.training_loop import train
from metamix.nn.validation import check_table, check_weights
from metamix.recombination import posterior
from metamix.training.regime_search.proxy_mixture import proxy_responsibilities

Array = NDArray[np.float64]

#: With fewer rows no proxy models are fitted, and the initialisation is random.
MIN_ROWS_SEARCH = 40
#: Parameters that determine the architecture of the network.
NETWORK_PARAMETERS = ("hidden", "activation", "gate", "top_k", "gate_options", "losses", "likelihood")
#: Penalty of the softmax gate of the proxy models.
PROXY_PENALTY = 1e-3


class NeuralMixture(NetworkLearner):
    """Base class of `NeuralMixtureRegressor` and `NeuralMixtureClassifier`, which define the target."""

    likelihood: str | None = None

    def __init__(
        self,
        n_experts: int | str = "auto",
        hidden: int | Sequence[int] = (64, 64),
        *,
        activation: str = "silu",
        gate: str | nn.Module = "softmax",
        top_k: int | None = None,
        gate_options: Mapping[str, Any] | None = None,
        losses: Mapping[str, float] | None = None,
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
        callbacks: Sequence[Any] = (),
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_experts = n_experts
        self.hidden = hidden
        self.activation = activation
        self.gate = gate
        self.top_k = top_k
        self.gate_options = gate_options
        self.losses = losses
        self.objective = objective
        self.start = start
        self.numeric = numeric
        self.missing = missing
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.early_stopping = early_stopping
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.warm_epochs = warm_epochs
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
            Numbers, booleans, dates, text and categories.
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        The fitted estimator.

        Raises
        ------
        ValueError
            If X has infinite values, or NaN without missing="impute", y or the weights are missing or not finite, a
            parameter is invalid, or the loss becomes infinite or NaN.
        """
        check_parameters(self)
        self.device_ = resolve_device(self.device)
        X = check_table(self, X, reset=True)
        n = X.shape[0]
        target = self._check_target(y, n)
        weight = check_weights(sample_weight, (n,))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows, held = split_rows(np.flatnonzero(weight > 0), self, seed, self._strata(target))
        with torch.random.fork_rng(devices=rng_devices(self.device_)):
            torch.manual_seed(seed)
            self.encoder_ = TableEncoder(self.numeric, seed, self.missing).fit(take_rows(X, rows))
            responsibilities = self._initial_responsibilities(X, target, weight, rows, seed)
            self._fit_target_scale(target[rows], weight[rows])
            tables = [self._table(X, target, weight, part) for part in (rows, held)]
            if responsibilities is not None:
                tables[0].targets["responsibilities"] = as_tensor(responsibilities, self.device_)
            self._train(tables[0], tables[1] if len(held) else None)
        return self

    def gate_weights(self, X: Any) -> Array:
        """Gate weights (n, K), prior to y; at most `top_k` are nonzero per row, and rows sum to one."""
        return self._normalised_weights(self._network_output(X))

    def assign(self, X: Any) -> NDArray[np.intp]:
        """Index (n,) of the expert with the largest weight."""
        return np.asarray(self.gate_weights(X).argmax(axis=1))

    def responsibilities(self, X: Any, y: Any) -> Array:
        """Responsibilities (n, K): posterior probabilities of the experts given y (n,)."""
        return self._posterior(X, y)[0]

    def log_prob(self, X: Any, y: Any) -> Array:
        """Log density, or log probability for classes, (n,) of y (n,) given X."""
        return self._posterior(X, y)[1]

    @abstractmethod
    def _check_target(self, y: Any, n: int) -> NDArray[Any]:
        """Validate the target (n,) and set its fitted attributes, such as classes."""

    @abstractmethod
    def _encode_target(self, y: Any, n: int) -> NDArray[Any]:
        """Validate a target (n,) after fit and encode it as in training."""

    @abstractmethod
    def _n_outputs(self) -> int:
        """Output width of an expert."""

    @abstractmethod
    def _likelihood(self, n_experts: int) -> nn.Module:
        """Likelihood of y given the outputs of the experts."""

    @abstractmethod
    def _proxy_target(self, target: NDArray[Any]) -> tuple[Array, bool]:
        """Target (n, m) of the proxy models, and whether it is one-hot classes."""

    def _strata(self, target: NDArray[Any]) -> NDArray[Any] | None:
        return None

    def _fit_target_scale(self, target: NDArray[Any], weight: Array) -> None:
        """Fit the mean and scale of the target on training rows."""

    def _scale_target(self, target: NDArray[Any]) -> NDArray[Any]:
        return target

    def _log_target_scale(self) -> float:
        """Log scale of the target, subtracted from log densities."""
        return 0.0

    def _initial_responsibilities(
        self, X: Any, target: NDArray[Any], weight: Array, rows: NDArray[np.intp], seed: int
    ) -> Array | None:
        """Initial responsibilities of the training rows, or None for random initialisation; sets `n_experts_`."""
        K = None if self.n_experts == "auto" else int(self.n_experts)
        if isinstance(self.start, str) and self.start not in ("proxy", "random"):
            raise ValueError(f"start={self.start!r} is unknown; give 'proxy', 'random', labels or an (n, K) array.")
        if not isinstance(self.start, str):
            given = responsibilities_from_start(self.start, len(target), K)[rows]
            self.n_experts_ = given.shape[1]
            return given
        # The weights of a static gate do not depend on X, so responsibilities cannot be fitted.
        random = self.start == "random" or (isinstance(self.gate, str) and self.gate == "static")
        if K == 1 or (K is not None and random) or len(rows) < MIN_ROWS_SEARCH:
            self.n_experts_ = K or 2
            return None
        gate = registry.gates["softmax"](penalty=PROXY_PENALTY)
        Y, classes = self._proxy_target(target[rows])
        n_classes = Y.shape[1] if classes else None
        regimes = proxy_responsibilities(take_rows(X, rows), Y, weight[rows], gate, K, seed, n_classes=n_classes)
        found = regimes.responsibilities
        # At least two experts; with one regime found the initialisation is random.
        self.n_experts_ = max(found.shape[1], 2, self.top_k or 1) if K is None else K
        return found if not random and found.shape[1] == self.n_experts_ else None

    def _table(self, X: Any, target: NDArray[Any], weight: Array, rows: NDArray[np.intp]) -> Table:
        inputs = self.encoder_.tensors(take_rows(X, rows), self.device_)
        share = weight[rows] / (weight[rows].mean() if len(rows) else 1.0)
        y = self._scale_target(target[rows])
        return Table(inputs, {"y": as_tensor(y, self.device_), "weight": as_tensor(share, self.device_)})

    def _train(self, table: Table, held: Table | None) -> None:
        self._network_parameters = {name: copy.deepcopy(getattr(self, name)) for name in NETWORK_PARAMETERS}
        network = self._network().to(self.device_)
        loss = MixtureLoss(network.likelihood, self.objective)
        targets = table.targets
        if "responsibilities" in targets:
            fit_gate(network, table.inputs, targets["responsibilities"], targets["weight"])
        with progress_output(type(self).__name__, self.verbose):
            self._history, self.best_epoch_ = train(network, loss, table, held, training_settings(self), self.device_)
        self._store_network(network)

    def _network(self) -> MixtureNetwork:
        encoder, K, parameters = self.encoder_, self.n_experts_, self._network_parameters
        embedding = ColumnEmbedding(encoder.n_numbers, encoder.levels, encoder.piecewise_edges())
        d = embedding.out_features
        # A gate module given by the user is copied, because fit must not change parameters.
        layer = MoE(
            d, MLPExperts(K, d, parameters["hidden"], self._n_outputs(), parameters["activation"]), 
            copy.deepcopy(parameters["gate"]),
            parameters["top_k"], gate_options=parameters["gate_options"], losses=parameters["losses"],
        )  # fmt: skip
        return MixtureNetwork(embedding, layer, self._likelihood(K))

    def _network_output(self, X: Any) -> dict[str, Tensor]:
        """Outputs of the network for X."""
        check_is_fitted(self)
        X = check_table(self, X, reset=False)
        network, device = on_device(self.network_, self.device_)
        return network_outputs(network, self.encoder_.tensors(X, device))

    def __metamix_onnx__(self) -> Any:
        return to_model(CombinedPrediction(self), self.n_features_in_)

    def _normalised_weights(self, output: Mapping[str, Tensor]) -> Array:
        weights = output["weights"].double().numpy()
        return weights / weights.sum(axis=1, keepdims=True)

    def _posterior(self, X: Any, y: Any) -> tuple[Array, Array]:
        output = self._network_output(X)
        target = self._encode_target(y, output["weights"].shape[0])
        with torch.no_grad():
            log_prob = self.network_.likelihood(output["outputs"], as_tensor(self._scale_target(target), "cpu"))
        return posterior(self._normalised_weights(output), log_prob.double().numpy() - self._log_target_scale())
