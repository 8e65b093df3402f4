"""Several tasks with one loss: what each task's labels are, which are missing, and how much each task counts."""

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
from metamix.nn.checks import is_missing, units_of
from metamix.nn.layers import MMoE
from metamix.nn.losses import auxiliary_loss

Array = NDArray[np.float64]

KINDS = ("regression", "binary", "multiclass")


@dataclass(frozen=True)
class Task:
    """One task: its kind, and its labels or its units.

    Parameters
    ----------
    name : str
    kind : {"regression", "binary", "multiclass"}
    classes : ndarray of shape (C,), or None for numbers
    mean, unit : float
        Of numbers: they are standardised.

    Examples
    --------
    >>> task = learn_task("sold", "binary", np.array(["yes", None, "no"], dtype=object))
    >>> task.coded(np.array(["no", "yes", None], dtype=object))
    array([ 0.,  1., nan])
    """

    name: str
    kind: str
    classes: NDArray[Any] | None = None
    mean: float = 0.0
    unit: float = 1.0

    @property
    def width(self) -> int:
        """Numbers that the network answers."""
        return len(self.classes) if self.kind == "multiclass" and self.classes is not None else 1

    def coded(self, labels: NDArray[Any]) -> Array:
        """Standardised numbers, or codes of classes, (n,); NaN where the label is missing.

        Raises
        ------
        ValueError
            If a label is of no class that training had.
        """
        missing = is_missing(labels)
        if self.classes is None:
            return (_numbers(labels, self.name) - self.mean) / self.unit
        known = {label: code for code, label in enumerate(self.classes.tolist())}
        coded = np.full(len(labels), np.nan)
        for i in np.flatnonzero(~missing):
            label = labels[i].item() if isinstance(labels[i], np.generic) else labels[i]
            if label not in known:
                raise ValueError(
                    f"Task {self.name!r} has the label {label!r}, which training had not; known: {list(known)}."
                )
            coded[i] = known[label]
        return coded

    def losses(self, answers: Tensor, y: Tensor) -> Tensor:
        """Squared error, or cross-entropy, (n,) of what the network answered (n, width) to y (n,)."""
        if self.kind == "regression":
            return (answers[:, 0] - y).square()
        if self.kind == "binary":
            return nn.functional.binary_cross_entropy_with_logits(answers[:, 0], y, reduction="none")
        return nn.functional.cross_entropy(answers, y.long(), reduction="none")

    def probabilities(self, answers: Tensor) -> Array:
        """Probabilities (n, C) from what the network answered."""
        if self.kind == "multiclass":
            return torch.softmax(answers.double(), 1).numpy()
        positive = torch.sigmoid(answers[:, 0].double()).numpy()
        return np.column_stack([1 - positive, positive])

    def guess(self, answers: Tensor) -> Array:
        """Standardised numbers, or codes of the most probable classes, (n,): what `coded` makes of labels."""
        if self.classes is None:
            return answers[:, 0].double().numpy()
        return self.probabilities(answers).argmax(axis=1).astype(np.float64)

    def decide(self, answers: Tensor) -> NDArray[Any]:
        """Numbers in the units of y, or the most probable labels, (n,)."""
        if self.classes is None:
            return self.mean + self.unit * self.guess(answers)
        return np.asarray(self.classes[self.guess(answers).astype(np.intp)])


def kinds_of(tasks: Any) -> list[str]:
    """Kinds of the tasks that are named; one where one is for all.

    Raises
    ------
    ValueError
        If it is no text, list or mapping.

    Examples
    --------
    >>> kinds_of({"price": "regression", "sold": "binary"})
    ['regression', 'binary']
    """
    if isinstance(tasks, str):
        return [tasks]
    if not isinstance(tasks, Mapping | Sequence | np.ndarray):
        raise ValueError(f"tasks={tasks!r}; give a kind for all ({', '.join(KINDS)}), one per column, or name: kind.")
    return list(tasks.values() if isinstance(tasks, Mapping) else tasks)


def learn_task(name: str, kind: str, labels: NDArray[Any], weight: Array | None = None) -> Task:
    """What a task's labels are.

    Parameters
    ----------
    name : str
    kind : {"regression", "binary", "multiclass"}
    labels : ndarray of shape (n,)
    weight : ndarray of shape (n,) or None
        Labels of weight zero are as good as missing.

    Raises
    ------
    ValueError
        If there are no labels at all, the kind is unknown, or labels do not fit it.

    Examples
    --------
    >>> learn_task("price", "regression", np.array([1.0, 3.0, np.nan])).mean
    2.0
    """
    if kind not in KINDS:
        raise ValueError(f"Task {name!r} is of kind {kind!r}; give one of {', '.join(map(repr, KINDS))}.")
    there = ~is_missing(labels) if weight is None else ~is_missing(labels) & (weight > 0)
    if not there.any():
        raise ValueError(f"Task {name!r} has no labels at all: leave it out, or give some rows a label and a weight.")
    seen = labels[there]
    if kind == "regression":
        numbers = _numbers(seen, name)
        return Task(name, kind, None, *units_of(numbers, np.ones(len(numbers)) if weight is None else weight[there]))
    classes = _classes(seen, name, kind)
    if len(classes) < 2 or (kind == "binary" and len(classes) > 2):
        wanted = "two" if kind == "binary" else "two or more"
        raise ValueError(f"Task {name!r} is {kind} and has the labels {classes.tolist()}; {wanted} would do.")
    return Task(name, kind, classes)


def _classes(seen: NDArray[Any], name: str, kind: str) -> NDArray[Any]:
    """Labels (m,) that are there, each once, in order."""
    given = seen.tolist()
    values, text = np.array(given), [isinstance(label, str) for label in given]
    if any(text) and not all(text):
        odd = given[text.index(not text[0])]
        raise ValueError(
            f"Task {name!r} has text and other labels, such as {given[0]!r} and {odd!r}: one type for all would do."
        )
    if values.dtype.kind not in "biufUS" or type_of_target(values, input_name=name) == "continuous":
        raise ValueError(
            f"Task {name!r} is {kind}, and labels such as {given[0]!r} are no classes; whole numbers or text would do, "
            "or the kind 'regression'."
        )
    return np.unique(values)


def _numbers(labels: NDArray[Any], name: str) -> Array:
    missing = is_missing(labels)
    numbers = np.full(len(labels), np.nan)
    try:
        numbers[~missing] = labels[~missing].astype(np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Task {name!r} is a regression, and its labels are no numbers: {error}") from error
    if np.isinf(numbers).any():
        raise ValueError(f"Task {name!r} has infinite labels; NaN is what marks a missing one.")
    return numbers


def columns_of(y: Any, tasks: Any) -> tuple[list[str], list[str], list[NDArray[Any]]]:
    """Names, kinds and labels (n,) of the tasks.

    Parameters
    ----------
    y : array-like or frame of shape (n, T) or (n,)
    tasks : str, sequence of str, or mapping of str to str
        One kind for all, a kind per column, or names with kinds; the columns of a frame are found by name.

    Raises
    ------
    ValueError
        If there are not as many kinds as columns, or a name is no column.

    Examples
    --------
    >>> names, kinds, columns = columns_of([[1.0, 0], [2.0, 1]], {"price": "regression", "sold": "binary"})
    >>> names, columns[1].tolist()
    (['price', 'sold'], [0.0, 1.0])
    """
    if hasattr(y, "columns") and hasattr(y, "to_numpy"):
        found = {str(name): np.asarray(y[name]) for name in y.columns}
        if len(found) < len(y.columns):
            raise ValueError(f"y has the columns {list(y.columns)}; names that differ would do.")
    else:
        table = array_of_lists(y) if isinstance(y, list | tuple) else np.asarray(y)
        if table.ndim not in (1, 2):
            raise ValueError(f"y has shape {table.shape}; (n, T), a column per task, would do.")
        table = table[:, None] if table.ndim == 1 else table
        found = {f"task{t}": table[:, t] for t in range(table.shape[1])}
    kinds = [tasks] * len(found) if isinstance(tasks, str) else kinds_of(tasks)
    names = list(map(str, tasks)) if isinstance(tasks, Mapping) else list(found)
    if isinstance(tasks, Mapping) and hasattr(y, "columns"):
        absent = [name for name in names if name not in found]
        if absent:
            raise ValueError(f"tasks names {absent[0]!r}, which is no column of y; there are {', '.join(found)}.")
        return names, kinds, [found[name] for name in names]
    if len(kinds) != len(found):
        raise ValueError(f"tasks has {len(kinds)} kinds, y has {len(found)} columns; one kind per column would do.")
    return names, kinds, list(found.values())


def weights_of_tasks(given: Any, T: int) -> Sequence[float] | str:
    """What `TaskLoss` takes, of what a user gave: one number per task, "uncertainty", or None.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> weights_of_tasks(None, 2)
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
            f"task_weights={given!r}; {T} finite numbers, one per task, none negative and not all zero, would do."
        )
    return weights


def keep_labels(
    rows: NDArray[np.intp], held: NDArray[np.intp], labelled: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to learn from and rows held out, moved so that every task has a label among the first.

    Parameters
    ----------
    rows, held : ndarray of int
    labelled : ndarray of bool, shape (n, T)

    Examples
    --------
    >>> keep_labels(np.array([0]), np.array([1, 2]), np.array([[True, False], [True, True], [True, False]]))
    (array([0, 1]), array([2]))
    """
    for column in labelled.T:
        if not column[rows].any():
            rows, held = np.union1d(rows, held[column[held]]), held[~column[held]]
    return rows, held


class TaskNetwork(nn.Module):
    """Columns → multi-gate mixture → an answer per task.

    Parameters
    ----------
    embedding : torch.nn.Module
        Takes numbers (n, q) and codes (n, c) to features.
    mixture : MMoE

    Examples
    --------
    >>> from metamix.nn import MLPExperts
    >>> from metamix.nn.embeddings import ColumnEmbedding
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


class ToldNetwork(nn.Module):
    """The same network as one that says all it knows as tensors, for the learner's own methods.

    Parameters
    ----------
    network : TaskNetwork
    """

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, numbers: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Weights (n, K, T), and the answers (n, width) of each task by its number."""
        answers, told = self.network.mixture(self.network.embedding(numbers, codes), return_info=True)
        weights = torch.stack([info.weights for info in told], -1)
        return {"weights": weights} | {f"task {t}": answer for t, answer in enumerate(answers)}


class TaskLoss(nn.Module):
    """Weighted sum of the tasks' mean losses, each over the labels that a batch has.

    Weights of rows have the mean one over all labels of a task, and the sum over a batch is divided by the number of
    its labels, not by their weight: a batch of light rows must not count like one of heavy ones. A batch without
    a task's labels contributes a zero that still has a graph.

    Parameters
    ----------
    tasks : sequence of Task
    weights : sequence of float, or "uncertainty"
        "uncertainty" learns a log variance s of each task: e^−s times its loss plus s/2, with half the loss for
        numbers (Kendall, Gal & Cipolla 2018); in evaluation tasks then count alike.

    Examples
    --------
    >>> loss = TaskLoss([Task("a", "regression"), Task("b", "regression")], [1.0, 1.0])
    >>> given = {"y": torch.tensor([[1.0, 0.0]]), "weight": torch.tensor([[1.0, 0.0]])}
    >>> loss({"answers": [torch.zeros(1, 1), torch.zeros(1, 1)], "auxiliary": torch.zeros(())}, given)
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

    def forward(self, said: Mapping[str, Any], given: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss; `given` has y (n, T), zeros where missing, and weight (n, T), zero there too."""
        total = said["auxiliary"] if self.training else torch.zeros_like(said["auxiliary"])
        for t, task in enumerate(self.tasks):
            weight = given["weight"][:, t]
            labels = (weight > 0).sum()
            rows = (weight * task.losses(said["answers"][t], given["y"][:, t])).sum()
            mean = rows / labels.clamp(min=1)
            if self.training and self.log_variance is not None:
                s = self.log_variance[t]
                mean = (labels > 0) * (torch.exp(-s) * mean * (0.5 if task.kind == "regression" else 1.0) + s / 2)
            total = total + self.fixed[t] * mean
        return total
