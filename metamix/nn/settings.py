"""Parameters of the learners made usable: rows held out, seeds, devices, and numbers refused that no fit could use."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from metamix.devices import device_for
from metamix.nn.training_loop import Lessons
from metamix.progress import listen, narrate

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

#: With fewer rows none is held out to say when to stop.
FEWEST_TO_HOLD = 20


def check_lessons(learner: Any) -> None:
    """Refuse numbers that no fit could use.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from metamix.nn import NeuralMixtureRegressor
    >>> check_lessons(NeuralMixtureRegressor(max_epochs=0))
    Traceback (most recent call last):
    ...
    ValueError: max_epochs=0 is no whole number from 1; give 1, 2, ...
    """
    # Only what finds regimes by itself can count them.
    counts = "auto" if hasattr(learner, "start") else None
    for name, word in (("n_experts", counts), ("batch_size", "auto"), ("max_epochs", None), ("patience", None)):
        value = getattr(learner, name)
        if word is not None and isinstance(value, str) and value == word:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            more = "" if word is None else f" or {word!r}"
            raise ValueError(f"{name}={value!r} is no whole number from 1; give 1, 2, ...{more}")
    for name in ("learning_rate", "weight_decay", "warm_epochs"):
        value = getattr(learner, name, 0)
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not isfinite(value) or value < 0:
            raise ValueError(f"{name}={value!r} is no finite number from 0; give one.")
    if not 0 < learner.validation_fraction < 1:
        raise ValueError(f"validation_fraction={learner.validation_fraction!r}; give a share between 0 and 1, as 0.15.")


def lessons_of(learner: Any) -> Lessons:
    """How long and how fast a learner trains.

    Examples
    --------
    >>> from metamix.nn import NeuralMixtureRegressor
    >>> lessons_of(NeuralMixtureRegressor(early_stopping=False)).patience is None
    True
    """
    return Lessons(
        max_epochs=learner.max_epochs,
        batch_size=learner.batch_size,
        learning_rate=learner.learning_rate,
        weight_decay=learner.weight_decay,
        schedule=learner.schedule,
        patience=learner.patience if learner.early_stopping else None,
        # Without responsibilities to begin with the gate learns like the rest.
        warm_epochs=getattr(learner, "warm_epochs", 0),
        gate_rate=10.0 if hasattr(learner, "warm_epochs") else 1.0,
        callbacks=tuple(learner.callbacks or ()),
    )


def split_rows(
    rows: NDArray[np.intp], learner: Any, seed: int, strata: NDArray[Any] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to learn from, and rows that say when to stop: none without early stopping or with few rows.

    Parameters
    ----------
    rows : ndarray of shape (m,)
    learner : estimator
        Its early_stopping and validation_fraction.
    seed : int
    strata : ndarray of shape (n,) or None
        Codes of classes; each class keeps its share in both where it has rows enough.

    Examples
    --------
    >>> from metamix.nn import NeuralMixtureRegressor
    >>> [len(part) for part in split_rows(np.arange(100), NeuralMixtureRegressor(), seed=0)]
    [85, 15]
    """
    if not learner.early_stopping or len(rows) < FEWEST_TO_HOLD:
        return rows, rows[:0]
    share = learner.validation_fraction
    if strata is not None:
        counts = np.bincount(strata[rows])
        rare = counts[counts > 0].min() < 2 or share * len(rows) < len(counts)
        strata = None if rare else strata[rows]
    kept, held = train_test_split(rows, test_size=share, random_state=seed, stratify=strata)
    return np.sort(kept), np.sort(held)


def from_user(start: Any, n: int, K: int | None) -> Array:
    """Responsibilities (n, K) from the user's matrix (n, K) or labels (n,).

    Raises
    ------
    ValueError
        If the length is not n, there are more groups than K, or an entry is negative or not finite.

    Examples
    --------
    >>> from_user([1, 0], 2, None)
    array([[0., 1.],
           [1., 0.]])
    """
    given = np.asarray(start)
    if given.ndim == 1:
        groups, codes = np.unique(given, return_inverse=True)
        if K is not None and len(groups) > K:
            raise ValueError(f"start has {len(groups)} different labels for n_experts={K}; at most {K} would do.")
        given = np.eye(max(len(groups), K or 1))[codes]
    if given.ndim != 2 or len(given) != n or (K is not None and given.shape[1] != K):
        raise ValueError(f"start has shape {np.shape(start)}; ({n},) labels or ({n}, {K or 'K'}) weights would do.")
    total = given.sum(axis=1, keepdims=True).astype(np.float64)
    if not np.isfinite(total).all() or (given < 0).any() or not (total > 0).all():
        raise ValueError("start must be finite and not negative, with something above zero in every row.")
    return np.asarray(given / total, dtype=np.float64)


def as_tensor(values: NDArray[Any], device: str) -> Tensor:
    """An array on a device: whole numbers as int64, others as float32.

    Examples
    --------
    >>> as_tensor(np.zeros(2), "cpu").dtype
    torch.float32
    """
    kind = np.int64 if values.dtype.kind in "iu" else np.float32
    return torch.as_tensor(np.ascontiguousarray(values, dtype=kind), device=device)


def devices_of(device: str) -> list[str]:
    """The GPUs whose random numbers a fit draws from.

    Examples
    --------
    >>> devices_of("cpu")
    []
    """
    return [] if device == "cpu" else [device]


def on_device(network: nn.Module, device: str) -> tuple[Any, str]:
    """A network to be asked on the device it was trained on, or on the CPU where that device is not there.

    Fitted state stays on the CPU: what goes to a GPU is a copy.

    Examples
    --------
    >>> network = nn.Linear(1, 1)
    >>> on_device(network, "cpu")[0] is network
    True
    >>> on_device(network, "cuda:99")[1]  # trained on another machine
    'cpu'
    """
    there, _ = device_for("torch", device)
    return (network if there == "cpu" else copy.deepcopy(network).to(there)), there


def narrating(verbose: int) -> AbstractContextManager[None]:
    """A context in which every epoch is told on standard error, if `verbose`.

    Examples
    --------
    >>> with narrating(0):
    ...     pass
    """
    return listen(narrate) if verbose else nullcontext()


def history_frame(history: list[dict[str, Any]]) -> pd.DataFrame:
    """A frame with a row per epoch.

    Examples
    --------
    >>> list(history_frame([{"epoch": 1, "dur": 0.1, "train_loss": 1.0}]).columns)
    ['epoch', 'seconds', 'train_loss']
    """
    import pandas as pd

    return pd.DataFrame(history).rename(columns={"dur": "seconds", "event_lr": "learning_rate"})
