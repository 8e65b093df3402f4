"""`MultiTaskNeuralMixture`: several tasks on shared experts, with one gate and one tower per task."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from metamix.data.tables import take_rows
from metamix.devices import resolve_device
from metamix.nn.embeddings import ColumnEmbedding
from metamix.nn.experts import ACTIVATIONS, MLPExperts, widths_of
from metamix.nn.layers import MMoE
from metamix.nn.mixture import network_outputs
from metamix.nn.network_state import NetworkLearner
from metamix.nn.settings import (
    as_tensor,
    check_parameters,
    on_device,
    progress_output,
    rng_devices,
    split_rows,
    training_settings,
)  # fmt: skip
from metamix.nn.tabular import Table, TableEncoder
from metamix.nn.tasks import (
    DetailedTaskNetwork,
    Task,
    TaskLoss,
    TaskNetwork,
    check_task_weights,
    keep_labelled_rows,
    make_task,
    task_columns,
    task_kinds,
)
from metamix.nn.training_loop import train
from metamix.nn.validation import check_table, check_weights

Array = NDArray[np.float64]

#: Parameters that determine the architecture of the network.
NETWORK_PARAMETERS = (
    "n_experts", "hidden", "expert_width", "tower", "activation", "visible", "gate", "top_k", "gate_options", "losses",
)  # fmt: skip


def _has_classes(learner: Any) -> bool:
    return any(kind != "regression" for kind in task_kinds(learner.tasks))


class MultiTaskNeuralMixture(NetworkLearner):
    """Multi-gate mixture of experts for several tasks, with missing labels allowed (MMoE, Ma et al. 2018).

    Parameters
    ----------
    tasks : str, sequence of str, or mapping of str to str
        "regression", "binary" or "multiclass": one kind for all columns of y, one per column, or a mapping of column
        name to kind.
    n_experts : int
        K.
    hidden : int or sequence of int
        Widths of the hidden layers of each expert.
    expert_width : int
        Output width of an expert, and input width of a tower.
    tower : int or sequence of int
        Widths of the hidden layers of each task's tower.
    activation : str
        relu, gelu, silu, tanh, identity.
    task_weights : sequence of float of length T, "uncertainty", or None
        Weights of the tasks' losses; "uncertainty" learns them (Kendall, Gal & Cipolla 2018); None: equal. Numeric
        targets are standardised.
    visible : array-like of bool, shape (T, K), or None
        Which experts each task uses, see `owned_and_shared`.
    gate, top_k, gate_options, losses
        As in `MMoE`.
    numeric, missing, max_epochs, batch_size, learning_rate, weight_decay, schedule, early_stopping, patience, \
validation_fraction, callbacks, device, random_state, verbose
        As in `NeuralMixtureRegressor`.

    Attributes
    ----------
    tasks_ : list of Task
    network_ : TaskNetwork
        On the CPU.
    task_weights_ : ndarray of shape (T,)
        Weights of the tasks' mean losses; if learned, after the last epoch.
    n_experts_, best_epoch_, n_features_in_ : int
    device_ : str
    history_ : DataFrame

    References
    ----------
    Ma et al. (2018), Modeling task relationships in multi-task learning with multi-gate mixture-of-experts.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> y = np.column_stack([3 * x[:, 0], x[:, 0] > 0])
    >>> y[::3, 1] = np.nan
    >>> tasks = {"size": "regression", "big": "binary"}
    >>> model = MultiTaskNeuralMixture(tasks, 2, hidden=8, max_epochs=30, random_state=0)
    >>> model.fit(x, y).predict([[-0.9], [0.9]])[:, 1].tolist()
    [0.0, 1.0]
    >>> model.predict_proba([[0.9]], "big").shape
    (1, 2)
    """

    def __init__(
        self,
        tasks: str | Sequence[str] | Mapping[str, str] = "regression",
        n_experts: int = 8,
        hidden: int | Sequence[int] = 64,
        *,
        expert_width: int = 32,
        tower: int | Sequence[int] = 16,
        activation: str = "silu",
        task_weights: Sequence[float] | str | None = None,
        visible: Any = None,
        gate: str | nn.Module = "softmax",
        top_k: int | None = None,
        gate_options: Mapping[str, Any] | None = None,
        losses: Mapping[str, float] | None = None,
        numeric: str = "standardise",
        missing: str = "error",
        max_epochs: int = 100,
        batch_size: int | str = "auto",
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        schedule: str | None = "plateau",
        early_stopping: bool = True,
        patience: int = 10,
        validation_fraction: float = 0.15,
        callbacks: Sequence[Any] = (),
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.tasks = tasks
        self.n_experts = n_experts
        self.hidden = hidden
        self.expert_width = expert_width
        self.tower = tower
        self.activation = activation
        self.task_weights = task_weights
        self.visible = visible
        self.gate = gate
        self.top_k = top_k
        self.gate_options = gate_options
        self.losses = losses
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
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit on the labels that are not missing.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
            Numbers, booleans, dates, text and categories.
        y : array-like or frame of shape (n, T)
            NaN or None is a missing label.
        sample_weight : array-like of shape (n,) or (n, T), or None

        Returns
        -------
        The fitted estimator.

        Raises
        ------
        ValueError
            If a task has no labels, labels are infinite or do not match the kind of the task, X has infinite values, or
            NaN without missing="impute", shapes do not match, or a parameter is invalid.
        """
        check_parameters(self)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        self.device_ = resolve_device(self.device)
        X = check_table(self, X, reset=True)
        names, kinds, columns = task_columns(y, self.tasks)
        weight = self._weights(sample_weight, X.shape[0], len(names))
        self._flat = np.asarray(y).ndim == 1
        self.tasks_ = [
            make_task(name, kind, self._of_length(column, X.shape[0]), weight[:, t])
            for t, (name, kind, column) in enumerate(zip(names, kinds, columns, strict=True))
        ]
        Y = np.column_stack([task.encode(column) for task, column in zip(self.tasks_, columns, strict=True)])
        weight = np.where(np.isnan(Y), 0.0, weight)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows, held = keep_labelled_rows(*split_rows(np.flatnonzero(weight.any(axis=1)), self, seed), weight > 0)
        weight = weight / np.array([w[rows][w[rows] > 0].mean() for w in weight.T])
        with torch.random.fork_rng(devices=rng_devices(self.device_)):
            torch.manual_seed(seed)
            self.encoder_ = TableEncoder(self.numeric, seed, self.missing).fit(take_rows(X, rows))
            tables = [self._table(X, np.nan_to_num(Y), weight, part) for part in (rows, held)]
            self._train(tables[0], tables[1] if len(held) else None)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict numbers and labels (n, T), or (n,) if y was one-dimensional; dtype object if labels are text."""
        output = self._network_output(X)
        columns = [task.predict(output[f"task {t}"]) for t, task in enumerate(self.tasks_)]
        if self._flat:
            return columns[0]
        if all(column.dtype.kind in "fiub" for column in columns):
            return np.column_stack([column.astype(np.float64) for column in columns])
        table = np.empty((len(columns[0]), len(columns)), dtype=object)
        for t, column in enumerate(columns):
            table[:, t] = column
        return table

    @available_if(_has_classes)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any, task: str | int | None = None) -> Any:
        """Class probabilities of a task, in the order of its `classes`.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
        task : str, int or None
            Name or index of the task; None: a list over all classification tasks.

        Returns
        -------
        ndarray of shape (n, C), or a list of them

        Raises
        ------
        ValueError
            If the task is unknown, or is a regression.
        """
        check_is_fitted(self, "network_")
        if task is None:
            wanted = [t for t, one in enumerate(self.tasks_) if one.classes is not None]
        else:
            wanted = [self._find(task)]
        output = self._network_output(X)
        found = [self.tasks_[t].probabilities(output[f"task {t}"]) for t in wanted]
        return found if task is None else found[0]

    def gate_weights(self, X: Any) -> Array:
        """Gate weights (n, K, T) of each task; 0 where a task does not use an expert."""
        return self._network_output(X)["weights"].double().numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over tasks of R² (regression) or accuracy, each over the labels that are not missing in y (n, T).

        A task without labels, or a regression with fewer than two, is skipped.

        Raises
        ------
        ValueError
            If all tasks are skipped, a label was not seen in fit, or lengths do not match.
        """
        names, _, columns = task_columns(y, self.tasks)
        output = self._network_output(X)
        n = output["weights"].shape[0]
        weight = self._weights(sample_weight, n, len(names))
        scores = []
        for t, (task, column) in enumerate(zip(self.tasks_, columns, strict=True)):
            truth = task.encode(self._of_length(column, n))
            there = ~np.isnan(truth) & (weight[:, t] > 0)
            score, least = (r2_score, 2) if task.classes is None else (accuracy_score, 1)
            if there.sum() >= least:
                predicted = task.predict_codes(output[f"task {t}"])
                scores.append(float(score(truth[there], predicted[there], sample_weight=weight[there, t])))
        if not scores:
            raise ValueError("y has no labels to score; give at least one class label, or two numbers of a regression.")
        return float(np.mean(scores))

    def _weights(self, sample_weight: Any, n: int, T: int) -> Array:
        if sample_weight is not None and np.asarray(sample_weight).ndim == 2:
            return check_weights(sample_weight, (n, T))
        return np.repeat(check_weights(sample_weight, (n,))[:, None], T, axis=1)

    def _of_length(self, column: NDArray[Any], n: int) -> NDArray[Any]:
        if len(column) != n:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: X has {n} rows, y has {len(column)}."
            )
        return column

    def _find(self, task: str | int) -> int:
        names = [one.name for one in self.tasks_]
        t = names.index(task) if task in names else task
        if not isinstance(t, int | np.integer) or not 0 <= t < len(names) or self.tasks_[t].classes is None:
            known = ", ".join(one.name for one in self.tasks_ if one.classes is not None)
            raise ValueError(f"task={task!r} is not a classification task; available: {known or 'none'}.")
        return int(t)

    def _table(self, X: Any, Y: Array, weight: Array, rows: NDArray[np.intp]) -> Table:
        inputs = self.encoder_.tensors(take_rows(X, rows), self.device_)
        return Table(inputs, {"y": as_tensor(Y[rows], self.device_), "weight": as_tensor(weight[rows], self.device_)})

    def _train(self, table: Table, held: Table | None) -> None:
        self._network_parameters = {name: copy.deepcopy(getattr(self, name)) for name in NETWORK_PARAMETERS}
        network = self._network().to(self.device_)
        loss = TaskLoss(self.tasks_, check_task_weights(self.task_weights, len(self.tasks_)))
        with progress_output(type(self).__name__, self.verbose):
            self._history, self.best_epoch_ = train(network, loss, table, held, training_settings(self), self.device_)
        learned = loss.fixed if loss.log_variance is None else torch.exp(-loss.log_variance.detach())
        self.task_weights_ = learned.cpu().double().numpy()
        self.n_experts_ = int(self.n_experts)
        self._store_network(network)

    def _network(self) -> TaskNetwork:
        encoder, parameters = self.encoder_, self._network_parameters
        embedding = ColumnEmbedding(encoder.n_numbers, encoder.levels, encoder.piecewise_edges())
        d = embedding.out_features
        experts = MLPExperts(
            parameters["n_experts"], d, parameters["hidden"], parameters["expert_width"], parameters["activation"]
        )
        # A gate module given by the user is copied, because fit must not change parameters.
        mixture = MMoE(
            d, experts, len(self.tasks_), [self._tower(task) for task in self.tasks_], parameters["visible"],
            gate=copy.deepcopy(parameters["gate"]), top_k=parameters["top_k"], gate_options=parameters["gate_options"],
            losses=parameters["losses"],
        )  # fmt: skip
        return TaskNetwork(embedding, mixture)

    def _tower(self, task: Task) -> nn.Sequential:
        widths = [self._network_parameters["expert_width"], *widths_of(self._network_parameters["tower"], "tower")]
        layers: list[nn.Module] = []
        for before, after in zip(widths, [*widths[1:], task.width], strict=True):
            layers += [ACTIVATIONS[self._network_parameters["activation"]](), nn.Linear(before, after)]
        return nn.Sequential(*layers)

    def _network_output(self, X: Any) -> dict[str, Tensor]:
        check_is_fitted(self, "network_")
        X = check_table(self, X, reset=False)
        network, device = on_device(self.network_, self.device_)
        return network_outputs(DetailedTaskNetwork(network), self.encoder_.tensors(X, device))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
