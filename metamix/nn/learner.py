"""What the neural mixtures have in common: their parameters, the walk of a fit, and their weights."""

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
from metamix.nn.checks import check_table, check_weights
from metamix.nn.embeddings import ColumnEmbedding
from metamix.nn.experts import MLPExperts
from metamix.nn.layers import MoE
from metamix.nn.mixture import MixtureLoss, MixtureNetwork, network_answers, teach_gate
from metamix.nn.network_state import NetworkLearner
from metamix.nn.settings import (
    as_tensor,
    check_lessons,
    devices_of,
    from_user,
    lessons_of,
    narrating,
    on_device,
    split_rows,
)  # fmt: skip
from metamix.nn.tabular import Table, TableEncoder
from metamix.nn.training_loop import train
from metamix.recombination import posterior
from metamix.training.regime_search.proxy_mixture import proxy_responsibilities

Array = NDArray[np.float64]

#: With fewer rows no regime is looked for.
FEWEST_TO_SEARCH = 40
#: Parameters that say what the network looks like.
RECIPE = ("hidden", "activation", "gate", "top_k", "gate_options", "losses", "likelihood")
#: Of the gate of the cheap mixtures that find the regimes.
PROXY_PENALTY = 1e-3


class NeuralMixture(NetworkLearner):
    """The walk of a fit; `NeuralMixtureRegressor` and `NeuralMixtureClassifier` say what y is."""

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
        """Learn from rows and targets.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
            Numbers, booleans, dates, text and categories.
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        Itself, fitted.

        Raises
        ------
        ValueError
            If X holds infinity or NaN that is not to be imputed, y or the weights are missing or not finite, a
            parameter is none of its choices, or the loss does not stay finite.
        """
        check_lessons(self)
        self.device_ = resolve_device(self.device)
        X = check_table(self, X, reset=True)
        n = X.shape[0]
        target = self._read(y, n)
        weight = check_weights(sample_weight, (n,))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows, held = split_rows(np.flatnonzero(weight > 0), self, seed, self._strata(target))
        with torch.random.fork_rng(devices=devices_of(self.device_)):
            torch.manual_seed(seed)
            self.encoder_ = TableEncoder(self.numeric, seed, self.missing).fit(take_rows(X, rows))
            start = self._begin(X, target, weight, rows, seed)
            self._fit_units(target[rows], weight[rows])
            tables = [self._table(X, target, weight, part) for part in (rows, held)]
            if start is not None:
                tables[0].targets["start"] = as_tensor(start, self.device_)
            self._train(tables[0], tables[1] if len(held) else None)
        return self

    def gate_weights(self, X: Any) -> Array:
        """Weights (n, K) of the experts before y is seen, the `top_k` largest kept; rows sum to one."""
        return self._shares(self._answer(X))

    def assign(self, X: Any) -> NDArray[np.intp]:
        """Expert (n,) with the largest weight."""
        return np.asarray(self.gate_weights(X).argmax(axis=1))

    def responsibilities(self, X: Any, y: Any) -> Array:
        """Who explained each row, once y (n,) is seen: (n, K)."""
        return self._explain(X, y)[0]

    def score_samples(self, X: Any, y: Any) -> Array:
        """Log density, or log probability, (n,) of y (n,) given x."""
        return self._explain(X, y)[1]

    @abstractmethod
    def _read(self, y: Any, n: int) -> NDArray[Any]:
        """The target (n,), checked; sets what is learned of it, such as classes."""

    @abstractmethod
    def _target_again(self, y: Any, n: int) -> NDArray[Any]:
        """A target (n,) after fit, in the units of training."""

    @abstractmethod
    def _width(self) -> int:
        """How many numbers an expert answers."""

    @abstractmethod
    def _likelihood(self, n_experts: int) -> nn.Module:
        """How good an answer was."""

    @abstractmethod
    def _for_proxies(self, target: NDArray[Any]) -> tuple[Array, bool]:
        """Target (n, m) of the cheap mixtures, and whether it is of classes."""

    def _strata(self, target: NDArray[Any]) -> NDArray[Any] | None:
        return None

    def _fit_units(self, target: NDArray[Any], weight: Array) -> None:
        """Learn the units of the target from training rows."""

    def _in_units(self, target: NDArray[Any]) -> NDArray[Any]:
        return target

    def _log_unit(self) -> float:
        """Log of the unit of the target, which a density is divided by."""
        return 0.0

    def _begin(self, X: Any, target: NDArray[Any], weight: Array, rows: NDArray[np.intp], seed: int) -> Array | None:
        """First responsibilities (rows, K), or None for a random start; sets `n_experts_`."""
        K = None if self.n_experts == "auto" else int(self.n_experts)
        if isinstance(self.start, str) and self.start not in ("proxy", "random"):
            raise ValueError(f"start={self.start!r} is unknown; give 'proxy', 'random', labels or an (n, K) array.")
        if not isinstance(self.start, str):
            given = from_user(self.start, len(target), K)[rows]
            self.n_experts_ = given.shape[1]
            return given
        # A static gate cannot tell regimes apart.
        chance = self.start == "random" or (isinstance(self.gate, str) and self.gate == "static")
        if K == 1 or (K is not None and chance) or len(rows) < FEWEST_TO_SEARCH:
            self.n_experts_ = K or 2
            return None
        gate = registry.gates["softmax"](penalty=PROXY_PENALTY)
        Y, classes = self._for_proxies(target[rows])
        found, _ = proxy_responsibilities(take_rows(X, rows), Y, weight[rows], gate, K, seed, classes=classes)
        # One regime is no mixture: two experts may still share the work, from wherever chance puts them.
        self.n_experts_ = max(found.shape[1], 2, self.top_k or 1) if K is None else K
        return found if not chance and found.shape[1] == self.n_experts_ else None

    def _table(self, X: Any, target: NDArray[Any], weight: Array, rows: NDArray[np.intp]) -> Table:
        inputs = self.encoder_.tensors(take_rows(X, rows), self.device_)
        share = weight[rows] / (weight[rows].mean() if len(rows) else 1.0)
        y = self._in_units(target[rows])
        return Table(inputs, {"y": as_tensor(y, self.device_), "weight": as_tensor(share, self.device_)})

    def _train(self, table: Table, held: Table | None) -> None:
        self._recipe = {name: copy.deepcopy(getattr(self, name)) for name in RECIPE}
        network = self._network().to(self.device_)
        loss = MixtureLoss(network.likelihood, self.objective)
        targets = table.targets
        if "start" in targets:
            teach_gate(network, table.inputs, targets["start"], targets["weight"])
        with narrating(self.verbose):
            self._history, self.best_epoch_ = train(network, loss, table, held, lessons_of(self), self.device_)
        self._keep(network)

    def _network(self) -> MixtureNetwork:
        encoder, K, recipe = self.encoder_, self.n_experts_, self._recipe
        embedding = ColumnEmbedding(encoder.n_numbers, encoder.levels, encoder.bent_edges())
        d = embedding.out_features
        # A gate of the user's is trained as a copy: parameters of an estimator stay as they were given.
        layer = MoE(
            d, MLPExperts(K, d, recipe["hidden"], self._width(), recipe["activation"]), copy.deepcopy(recipe["gate"]),
            recipe["top_k"], gate_options=recipe["gate_options"], losses=recipe["losses"],
        )  # fmt: skip
        return MixtureNetwork(embedding, layer, self._likelihood(K))

    def _answer(self, X: Any) -> dict[str, Tensor]:
        """What the network says about X."""
        check_is_fitted(self)
        X = check_table(self, X, reset=False)
        network, device = on_device(self.network_, self.device_)
        return network_answers(network, self.encoder_.tensors(X, device))

    def _shares(self, said: Mapping[str, Tensor]) -> Array:
        weights = said["weights"].double().numpy()
        return weights / weights.sum(axis=1, keepdims=True)

    def _explain(self, X: Any, y: Any) -> tuple[Array, Array]:
        said = self._answer(X)
        target = self._target_again(y, said["weights"].shape[0])
        with torch.no_grad():
            log_prob = self.network_.likelihood(said["answers"], as_tensor(self._in_units(target), "cpu"))
        return posterior(self._shares(said), log_prob.double().numpy() - self._log_unit())
