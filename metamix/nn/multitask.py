"""Several tasks over shared experts, one gate and one tower each, behind fit and predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from metamix.devices import resolve_device
from metamix.nn.checks import check_table, check_weights
from metamix.nn.embeddings import ColumnEmbedding
from metamix.nn.experts import ACTIVATIONS, MLPExperts
from metamix.nn.layers import MMoE
from metamix.nn.loop import train
from metamix.nn.losses import auxiliary_loss
from metamix.nn.mixture import network_answers
from metamix.nn.settings import (
    as_tensor,
    check_lessons,
    devices_of,
    history_frame,
    lessons_of,
    narrating,
    on_device,
    split_rows,
)  # fmt: skip
from metamix.nn.tabular import Table, TableEncoder
from metamix.nn.tasks import Task, TaskLoss, columns_of, kinds_of, learn_task
from metamix.tables import take_rows

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


class TaskNetwork(nn.Module):
    """Columns → multi-gate mixture → an answer per task.

    Parameters
    ----------
    embedding : torch.nn.Module
        Takes numbers (n, q) and codes (n, c) to features.
    mixture : MMoE

    Examples
    --------
    >>> layer = MMoE(3, MLPExperts(2, 3, 4, 1), n_tasks=2)
    >>> said = TaskNetwork(ColumnEmbedding(3, []), layer)(torch.zeros(5, 3), torch.zeros(5, 0, dtype=torch.int64))
    >>> [answer.shape for answer in said["answers"]]
    [torch.Size([5, 1]), torch.Size([5, 1])]
    """

    def __init__(self, embedding: nn.Module, mixture: MMoE) -> None:
        super().__init__()
        self.embedding, self.mixture = embedding, mixture

    def forward(self, numbers: Tensor, codes: Tensor) -> dict[str, Any]:
        """Answers (n, width) of every task, and the auxiliary loss."""
        answers = self.mixture(self.embedding(numbers, codes))
        return {"answers": answers, "auxiliary": auxiliary_loss(self.mixture)}


class _Told(nn.Module):
    """The same network as one that says all it knows as tensors, for the learner's own methods."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, numbers: Tensor, codes: Tensor) -> dict[str, Tensor]:
        answers, told = self.network.mixture(self.network.embedding(numbers, codes), return_info=True)
        weights = torch.stack([info.weights for info in told], -1)
        return {"weights": weights} | {f"task {t}": answer for t, answer in enumerate(answers)}


def _has_classes(learner: Any) -> bool:
    return any(kind != "regression" for kind in kinds_of(learner.tasks))


class MultiTaskNeuralMixture(BaseEstimator):
    """Several tasks of any kind, labels missing here and there, on shared experts (MMoE, Ma et al. 2018).

    Parameters
    ----------
    tasks : str, sequence of str, or mapping of str to str
        regression, binary or multiclass: one for all, one per column of y, or names with kinds.
    n_experts : int
        K.
    hidden : int or sequence of int
        Widths of the hidden layers of each expert.
    expert_width : int
        What an expert answers, and a tower starts from.
    tower : int or sequence of int
        Widths of the hidden layers of each task's tower.
    activation : str
        relu, gelu, silu, tanh, identity.
    task_weights : sequence of float of length T, "uncertainty", or None
        How much each task's loss counts; "uncertainty" learns it (Kendall, Gal & Cipolla 2018); None: alike.
        Numbers are standardised first.
    visible : array-like of bool, shape (T, K), or None
        Which experts each task sees, see `owned_and_shared`.
    gate, top_k, gate_options, losses
        As of `MMoE`.
    numeric, max_epochs, batch_size, learning_rate, weight_decay, schedule, early_stopping, patience, \
validation_fraction, callbacks, device, random_state, verbose
        As of `NeuralMixtureRegressor`.

    Attributes
    ----------
    tasks_ : list of Task
    network_ : TaskNetwork
        On the CPU.
    task_weights_ : ndarray of shape (T,)
        What each task's mean loss was multiplied with at the end; the last epoch's where they are learned.
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
        """Learn from rows and what labels there are.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
            Columns of any kind; missing values are welcome.
        y : array-like or frame of shape (n, T)
            NaN or None is a missing label.
        sample_weight : array-like of shape (n,) or (n, T), or None

        Returns
        -------
        Itself, fitted.

        Raises
        ------
        ValueError
            If a task has no labels at all (it is named), labels do not fit their task or are infinite, X holds
            infinity, shapes do not match, or a parameter is none of its choices.
        """
        check_lessons(self)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        self.device_ = resolve_device(self.device)
        X = check_table(self, X, reset=True)
        names, kinds, columns = columns_of(y, self.tasks)
        weight = self._weights(sample_weight, X.shape[0], len(names))
        self._flat = np.asarray(y).ndim == 1
        self.tasks_ = [
            learn_task(name, kind, self._of_length(column, X.shape[0]), weight[:, t])
            for t, (name, kind, column) in enumerate(zip(names, kinds, columns, strict=True))
        ]
        Y = np.column_stack([task.coded(column) for task, column in zip(self.tasks_, columns, strict=True)])
        weight = np.where(np.isnan(Y), 0.0, weight)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows, held = split_rows(np.flatnonzero(weight.any(axis=1)), self, seed)
        with torch.random.fork_rng(devices=devices_of(self.device_)):
            torch.manual_seed(seed)
            self.encoder_ = TableEncoder(self.numeric, seed).fit(take_rows(X, rows))
            tables = [self._table(X, np.nan_to_num(Y), weight, part) for part in (rows, held)]
            self._train(tables[0], tables[1] if len(held) else None)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Numbers and labels (n, T), a column per task; (n,) where y was; of type object where labels are text."""
        said = self._answer(X)
        columns = [task.decide(said[f"task {t}"]) for t, task in enumerate(self.tasks_)]
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
        """Probabilities of the classes of a task, in the order of its `classes`.

        Parameters
        ----------
        X : array-like or frame of shape (n, d)
        task : str, int or None
            Name or number of the task; None: a list with those of every task that has classes.

        Returns
        -------
        ndarray of shape (n, C), or a list of them

        Raises
        ------
        ValueError
            If there is no such task, or it is a regression.
        """
        check_is_fitted(self, "network_")
        if task is None:
            wanted = [t for t, one in enumerate(self.tasks_) if one.classes is not None]
        else:
            wanted = [self._find(task)]
        said = self._answer(X)
        found = [self.tasks_[t].probabilities(said[f"task {t}"]) for t in wanted]
        return found if task is None else found[0]

    def gate_weights(self, X: Any) -> Array:
        """Weights (n, K, T) of the experts for each task; 0 where a task does not see an expert."""
        return self._answer(X)["weights"].double().numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over tasks of R² and accuracy, each over the labels that y (n, T) has."""
        names, _, columns = columns_of(y, self.tasks)
        check_is_fitted(self, "network_")
        said = self._answer(X)
        weight = self._weights(sample_weight, len(columns[0]), len(names))
        scores = []
        for t, (task, column) in enumerate(zip(self.tasks_, columns, strict=True)):
            truth = task.coded(column)
            w = np.where(np.isnan(truth), 0.0, weight[:, t])
            truth = np.nan_to_num(truth)
            if task.classes is not None:
                right = task.probabilities(said[f"task {t}"]).argmax(axis=1) == truth
            else:
                away = np.square(truth - np.average(truth, weights=w))
                error = np.square(truth - said[f"task {t}"][:, 0].double().numpy())
                right = 1 - error / max(float(np.average(away, weights=w)), np.finfo(float).tiny)
            scores.append(float(np.average(right, weights=w)))
        return float(np.mean(scores))

    @property
    def history_(self) -> pd.DataFrame:
        """Losses, seconds and learning rate, a row per epoch."""
        check_is_fitted(self, "network_")
        return history_frame(self._history)

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
        if not isinstance(t, int) or not 0 <= t < len(names) or self.tasks_[t].classes is None:
            known = ", ".join(one.name for one in self.tasks_ if one.classes is not None)
            raise ValueError(f"There is no task {task!r} with classes; there is: {known or 'none'}.")
        return t

    def _table(self, X: Any, Y: Array, weight: Array, rows: NDArray[np.intp]) -> Table:
        inputs = self.encoder_.tensors(take_rows(X, rows), self.device_)
        return Table(inputs, {"y": as_tensor(Y[rows], self.device_), "weight": as_tensor(weight[rows], self.device_)})

    def _train(self, table: Table, held: Table | None) -> None:
        network = TaskNetwork(*self._layers()).to(self.device_)
        T = len(self.tasks_)
        weights = [1.0] * T if self.task_weights is None else self.task_weights
        if isinstance(weights, str) and weights != "uncertainty":
            raise ValueError(f"task_weights={weights!r} is unknown; give 'uncertainty', {T} numbers or None.")
        if not isinstance(weights, str) and (len(weights) != T or min(weights) < 0):
            raise ValueError(f"task_weights={list(weights)!r}; {T} numbers, one per task and none negative, would do.")
        loss = TaskLoss(self.tasks_, weights)
        with narrating(self.verbose):
            self._history, self.best_epoch_ = train(network, loss, table, held, lessons_of(self), self.device_)
        learned = loss.fixed if loss.log_variance is None else torch.exp(-loss.log_variance.detach())
        self.task_weights_ = learned.cpu().double().numpy()
        self.network_, self.n_experts_ = network.cpu().eval(), self.n_experts

    def _layers(self) -> tuple[ColumnEmbedding, MMoE]:
        encoder = self.encoder_
        edges = encoder.edges if self.numeric == "piecewise" else None
        embedding = ColumnEmbedding(encoder.n_numbers, encoder.levels, edges)
        d = embedding.out_features
        mixture = MMoE(
            d, MLPExperts(self.n_experts, d, self.hidden, self.expert_width, self.activation), len(self.tasks_),
            [self._tower(task) for task in self.tasks_], self.visible,
            gate=self.gate, top_k=self.top_k, gate_options=self.gate_options, losses=self.losses,
        )  # fmt: skip
        return embedding, mixture

    def _tower(self, task: Task) -> nn.Sequential:
        widths = [self.expert_width, *([self.tower] if isinstance(self.tower, int) else self.tower)]
        layers: list[nn.Module] = []
        for before, after in zip(widths, [*widths[1:], task.width], strict=True):
            layers += [ACTIVATIONS[self.activation](), nn.Linear(before, after)]
        return nn.Sequential(*layers)

    def _answer(self, X: Any) -> dict[str, Tensor]:
        check_is_fitted(self, "network_")
        X = check_table(self, X, reset=False)
        network, device = on_device(self.network_, self.device_)
        return network_answers(_Told(network), self.encoder_.tensors(X, device))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.target_tags.required = tags.target_tags.multi_output = True
        return tags
