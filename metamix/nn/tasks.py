"""Tasks of a multi-task mixture: their labels, missing labels, weights, network and loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target
from torch import Tensor, nn

from metamix.data.frames import array_of_lists
from metamix.nn.collection import collect_losses
from metamix.nn.layers import MMoE
from metamix.nn.validation import is_missing, units_of

Array = NDArray[np.float64]

KINDS = ("regression", "binary", "multiclass")


@dataclass(frozen=True)
class Task:
    """One task: its kind, and its classes or its mean and scale.

    Parameters
    ----------
    name : str
    kind : {"regression", "binary", "multiclass"}
    classes : ndarray of shape (C,), or None for numbers
    mean, unit : float
        Mean and standard deviation of a regression, by which labels are standardised.

    Examples
    --------
    >>> task = make_task("sold", "binary", np.array(["yes", None, "no"], dtype=object))
    >>> task.encode(np.array(["no", "yes", None], dtype=object))
    array([ 0.,  1., nan])
    """

    name: str
    kind: str
    classes: NDArray[Any] | None = None
    mean: float = 0.0
    unit: float = 1.0

    @property
    def width(self) -> int:
        """Output width of the network for this task."""
        return len(self.classes) if self.kind == "multiclass" and self.classes is not None else 1

    def encode(self, labels: NDArray[Any]) -> Array:
        """Standardised numbers or class codes (n,); NaN where the label is missing.

        Raises
        ------
        ValueError
            If a label was not seen in fit.
        """
        missing = is_missing(labels)
        if self.classes is None:
            return (_numbers(labels, self.name) - self.mean) / self.unit
        known = {label: code for code, label in enumerate(self.classes.tolist())}
        encode = np.full(len(labels), np.nan)
        for i in np.flatnonzero(~missing):
            label = labels[i].item() if isinstance(labels[i], np.generic) else labels[i]
            if label not in known:
                raise ValueError(
                    f"Task {self.name!r} has the label {label!r}, which was not seen in fit; known: {list(known)}."
                )
            encode[i] = known[label]
        return encode

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Squared error or cross-entropy (n,) of outputs (n, width) for y (n,)."""
        if self.kind == "regression":
            return (outputs[:, 0] - y).square()
        if self.kind == "binary":
            return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], y, reduction="none")
        return nn.functional.cross_entropy(outputs, y.long(), reduction="none")

    def probabilities(self, outputs: Tensor) -> Array:
        """Class probabilities (n, C) from outputs (n, width)."""
        if self.kind == "multiclass":
            return torch.softmax(outputs.double(), 1).numpy()
        positive = torch.sigmoid(outputs[:, 0].double()).numpy()
        return np.column_stack([1 - positive, positive])

    def predict_codes(self, outputs: Tensor) -> Array:
        """Predictions (n,) in the encoding of `encode`: standardised numbers or class codes."""
        if self.classes is None:
            return outputs[:, 0].double().numpy()
        return self.probabilities(outputs).argmax(axis=1).astype(np.float64)

    def predict(self, outputs: Tensor) -> NDArray[Any]:
        """Predictions (n,): numbers in the units of y, or the most probable labels."""
        if self.classes is None:
            return self.mean + self.unit * self.predict_codes(outputs)
        return np.asarray(self.classes[self.predict_codes(outputs).astype(np.intp)])


def task_kinds(tasks: Any) -> list[str]:
    """List of kinds in the parameter `tasks`; a single kind for all tasks gives one entry.

    Raises
    ------
    ValueError
        If it is not a string, sequence or mapping.

    Examples
    --------
    >>> task_kinds({"price": "regression", "sold": "binary"})
    ['regression', 'binary']
    """
    if isinstance(tasks, str):
        return [tasks]
    if not isinstance(tasks, Mapping | Sequence | np.ndarray):
        raise ValueError(
            f"tasks={tasks!r} is invalid; give one kind ({', '.join(KINDS)}), one per column, or a mapping name: kind."
        )
    return list(tasks.values() if isinstance(tasks, Mapping) else tasks)


def make_task(name: str, kind: str, labels: NDArray[Any], weight: Array | None = None) -> Task:
    """Make a `Task` from labels.

    Parameters
    ----------
    name : str
    kind : {"regression", "binary", "multiclass"}
    labels : ndarray of shape (n,)
    weight : ndarray of shape (n,) or None
        Labels of weight zero count as missing.

    Raises
    ------
    ValueError
        If there are no labels, the kind is unknown, or labels do not match it.

    Examples
    --------
    >>> make_task("price", "regression", np.array([1.0, 3.0, np.nan])).mean
    2.0
    """
    if kind not in KINDS:
        raise ValueError(f"Task {name!r} has the unknown kind {kind!r}; give one of {', '.join(map(repr, KINDS))}.")
    present = ~is_missing(labels) if weight is None else ~is_missing(labels) & (weight > 0)
    if not present.any():
        raise ValueError(f"Task {name!r} has no labels with positive weight; remove the task or add labels.")
    seen = labels[present]
    if kind == "regression":
        numbers = _numbers(seen, name)
        return Task(name, kind, None, *units_of(numbers, np.ones(len(numbers)) if weight is None else weight[present]))
    classes = _classes(seen, name, kind)
    if len(classes) < 2 or (kind == "binary" and len(classes) > 2):
        wanted = "two" if kind == "binary" else "two or more"
        raise ValueError(f"Task {name!r} is {kind} and has the labels {classes.tolist()}; expected {wanted}.")
    return Task(name, kind, classes)


def _classes(seen: NDArray[Any], name: str, kind: str) -> NDArray[Any]:
    """Sorted unique labels."""
    given = seen.tolist()
    values, text = np.array(given), [isinstance(label, str) for label in given]
    if any(text) and not all(text):
        other = given[text.index(not text[0])]
        raise ValueError(
            f"Task {name!r} has labels of different types, such as {given[0]!r} and {other!r}; use one type."
        )
    if values.dtype.kind not in "biufUS" or type_of_target(values, input_name=name) == "continuous":
        raise ValueError(
            f"Task {name!r} is {kind}, and labels such as {given[0]!r} are not classes; use integers or text, "
            "or the kind 'regression'."
        )
    return np.unique(values)


def _numbers(labels: NDArray[Any], name: str) -> Array:
    missing = is_missing(labels)
    numbers = np.full(len(labels), np.nan)
    try:
        numbers[~missing] = labels[~missing].astype(np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Task {name!r} is a regression, and its labels are not numbers: {error}") from error
    if np.isinf(numbers).any():
        raise ValueError(f"Task {name!r} has infinite labels; use NaN for missing labels.")
    return numbers


def task_columns(y: Any, tasks: Any) -> tuple[list[str], list[str], list[NDArray[Any]]]:
    """Names, kinds and labels (n,) of all tasks.

    Parameters
    ----------
    y : array-like or frame of shape (n, T) or (n,)
    tasks : str, sequence of str, or mapping of str to str
        One kind for all, one per column, or a mapping of name to kind; columns of a frame are matched by name.

    Raises
    ------
    ValueError
        If the number of kinds differs from that of columns, or a name is not a column.

    Examples
    --------
    >>> names, kinds, columns = task_columns([[1.0, 0], [2.0, 1]], {"price": "regression", "sold": "binary"})
    >>> names, columns[1].tolist()
    (['price', 'sold'], [0.0, 1.0])
    """
    if hasattr(y, "columns") and hasattr(y, "to_numpy"):
        found = {str(name): np.asarray(y[name]) for name in y.columns}
        if len(found) < len(y.columns):
            raise ValueError(f"y has the columns {list(y.columns)}; column names must be unique.")
    else:
        table = array_of_lists(y) if isinstance(y, list | tuple) else np.asarray(y)
        if table.ndim not in (1, 2):
            raise ValueError(f"y has shape {table.shape}; expected (n, T), a column per task.")
        table = table[:, None] if table.ndim == 1 else table
        found = {f"task{t}": table[:, t] for t in range(table.shape[1])}
    kinds = [tasks] * len(found) if isinstance(tasks, str) else task_kinds(tasks)
    names = list(map(str, tasks)) if isinstance(tasks, Mapping) else list(found)
    if isinstance(tasks, Mapping) and hasattr(y, "columns"):
        absent = [name for name in names if name not in found]
        if absent:
            raise ValueError(
                f"tasks has the name {absent[0]!r}, which is not a column of y; columns: {', '.join(found)}."
            )
        return names, kinds, [found[name] for name in names]
    if len(kinds) != len(found):
        raise ValueError(f"tasks has {len(kinds)} kinds, y has {len(found)} columns; give one kind per column.")
    return names, kinds, list(found.values())


def check_task_weights(given: Any, T: int) -> Sequence[float] | str:
    """Validate the parameter `task_weights`: one number per task, "uncertainty", or None.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_task_weights(None, 2)
    [1.0, 1.0]
    """
    if given is None:
        return [1.0] * T
    if isinstance(given, str):
        if given != "uncertainty":
            raise ValueError(f"task_weights={given!r} is unknown; give 'uncertainty', {T} numbers or None.")
        return given
    try:
        weights = [] if isinstance(given, Mapping) else [float(weight) for weight in given]
    except (TypeError, ValueError):
        weights = []
    if len(weights) != T or not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ValueError(
            f"task_weights={given!r} is invalid; give {T} finite nonnegative numbers, one per task, not all zero."
        )
    return weights


def keep_labelled_rows(
    rows: NDArray[np.intp], held: NDArray[np.intp], labelled: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Move rows from validation to training so that every task has a label in training.

    Parameters
    ----------
    rows, held : ndarray of int
        Training and validation rows.
    labelled : ndarray of bool, shape (n, T)

    Examples
    --------
    >>> keep_labelled_rows(np.array([0]), np.array([1, 2]), np.array([[True, False], [True, True], [True, False]]))
    (array([0, 1]), array([2]))
    """
    for column in labelled.T:
        if not column[rows].any():
            rows, held = np.union1d(rows, held[column[held]]), held[~column[held]]
    return rows, held


class TaskNetwork(nn.Module):
    """Embedding and multi-gate mixture, with one output per task.

    Parameters
    ----------
    embedding : torch.nn.Module
        Maps numbers (n, q) and codes (n, c) to features.
    mixture : MMoE

    Examples
    --------
    >>> from metamix.nn import MLPExperts
    >>> from metamix.nn.embeddings import ColumnEmbedding
    >>> layer = MMoE(3, MLPExperts(2, 3, 4, 1), n_tasks=2)
    >>> output = TaskNetwork(ColumnEmbedding(3, []), layer)(torch.zeros(5, 3), torch.zeros(5, 0, dtype=torch.int64))
    >>> [output.shape for output in output["outputs"]]
    [torch.Size([5, 1]), torch.Size([5, 1])]
    """

    def __init__(self, embedding: nn.Module, mixture: MMoE) -> None:
        super().__init__()
        self.embedding, self.mixture = embedding, mixture

    def forward(self, numbers: Tensor, codes: Tensor) -> dict[str, Any]:
        """Outputs (n, width) of every task, and the auxiliary loss."""
        with collect_losses(self.mixture) as losses:
            outputs = self.mixture(self.embedding(numbers, codes))
        return {"outputs": outputs, "auxiliary": losses.total()}


class DetailedTaskNetwork(nn.Module):
    """Wrapper of a `TaskNetwork` that also returns the gate weights.

    Parameters
    ----------
    network : TaskNetwork
    """

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, numbers: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Weights (n, K, T), and outputs (n, width) of task t under the key "task t"."""
        outputs, infos = self.network.mixture(self.network.embedding(numbers, codes), return_info=True)
        weights = torch.stack([info.weights for info in infos], -1)
        return {"weights": weights} | {f"task {t}": output for t, output in enumerate(outputs)}


class TaskLoss(nn.Module):
    """Weighted sum of the tasks' mean losses, each over the labels present in a batch.

    Row weights have mean one over all labels of a task, and the weighted sum over a batch is divided by the number
    of labels, not by their total weight, so that batches with small weights have a small loss. A task without labels
    in a batch contributes a zero that is connected to the graph.

    Parameters
    ----------
    tasks : sequence of Task
    weights : sequence of float, or "uncertainty"
        "uncertainty" learns a log variance s per task: e^−s times its loss plus s/2, with half the squared error for
        regressions (Kendall, Gal & Cipolla 2018); in evaluation all tasks have weight one.

    Examples
    --------
    >>> loss = TaskLoss([Task("a", "regression"), Task("b", "regression")], [1.0, 1.0])
    >>> given = {"y": torch.tensor([[1.0, 0.0]]), "weight": torch.tensor([[1.0, 0.0]])}
    >>> loss({"outputs": [torch.zeros(1, 1), torch.zeros(1, 1)], "auxiliary": torch.zeros(())}, given)
    tensor(1.)
    """

    fixed: Tensor

    def __init__(self, tasks: Sequence[Task], weights: Sequence[float] | str) -> None:
        super().__init__()
        self.tasks = list(tasks)
        learned = isinstance(weights, str)
        fixed = [1.0] * len(self.tasks) if learned else [float(weight) for weight in weights]
        self.register_buffer("fixed", torch.tensor(fixed))
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks))) if learned else None

    def forward(self, output: Mapping[str, Any], targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss; `targets` has y (n, T) and weight (n, T), both zero where a label is missing."""
        total = output["auxiliary"] if self.training else torch.zeros_like(output["auxiliary"])
        for t, task in enumerate(self.tasks):
            weight = targets["weight"][:, t]
            labels = (weight > 0).sum()
            rows = (weight * task.losses(output["outputs"][t], targets["y"][:, t])).sum()
            mean = rows / labels.clamp(min=1)
            if self.training and self.log_variance is not None:
                s = self.log_variance[t]
                mean = (labels > 0) * (torch.exp(-s) * mean * (0.5 if task.kind == "regression" else 1.0) + s / 2)
            total = total + self.fixed[t] * mean
        return total
