"""Parameters of the estimators: validation, validation split, initial responsibilities, devices, history."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from metamix.data.scalars import check_seed, is_number
from metamix.devices import device_for
from metamix.nn.training_loop import TrainingSettings
from metamix.progress import show_progress

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

#: With fewer rows no validation rows are held out for early stopping.
MIN_ROWS_HOLDOUT = 20

#: The largest count, such as of experts.
LARGEST = 2**31 - 1


def check_parameters(learner: Any) -> None:
    """Validate the numeric parameters of an estimator.

    Raises
    ------
    ValueError
        If a count is not an integer of at least 1, a rate not finite or negative, or validation_fraction not
        between 0 and 1.

    Examples
    --------
    >>> from metamix.nn import NeuralMixtureRegressor
    >>> check_parameters(NeuralMixtureRegressor(max_epochs=0))
    Traceback (most recent call last):
    ...
    ValueError: max_epochs=0 is invalid; give an integer of at least 1.
    """
    check_seed(learner.random_state)
    # n_experts="auto" is available only with `start`, which initialises regimes.
    counts = "auto" if hasattr(learner, "start") else None
    for name, word in (("n_experts", counts), ("batch_size", "auto"), ("max_epochs", None), ("patience", None)):
        value = getattr(learner, name)
        if word is not None and isinstance(value, str) and value == word:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= LARGEST:
            alternative = "" if word is None else f", or {word!r}"
            bound = "" if not isinstance(value, int) or value <= LARGEST else f" and at most {LARGEST}"
            raise ValueError(f"{name}={value!r} is invalid; give an integer of at least 1{bound}{alternative}.")
    for name in ("learning_rate", "weight_decay", "warm_epochs"):
        value = getattr(learner, name, 0)
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not isfinite(value) or value < 0:
            raise ValueError(f"{name}={value!r} is invalid; give a finite number of at least 0.")
    for name, kind, what in (
        ("losses", Mapping, "a mapping from names to coefficients, such as {'load': 0.1}"),
        ("gate_options", Mapping, "a mapping from options of the gate to values"),
        ("gate", str | nn.Module, "a name or a torch module"),
        ("objective", str, "the name of an objective"),
        ("likelihood", str, "the name of a likelihood"),
        ("top_k", int | np.integer, "a whole number of at least 1, or None"),
        ("schedule", str, "the name of a schedule, or None"),
        ("early_stopping", bool | np.bool_, "True or False"),
    ):
        value = getattr(learner, name, None)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{name}={value!r} is invalid; give {what}.")
    if not (is_number(learner.validation_fraction) and 0 < learner.validation_fraction < 1):
        raise ValueError(
            f"validation_fraction={learner.validation_fraction!r} is invalid; give a number between 0 and 1."
        )


def training_settings(learner: Any) -> TrainingSettings:
    """Training settings of an estimator.

    Examples
    --------
    >>> from metamix.nn import NeuralMixtureRegressor
    >>> training_settings(NeuralMixtureRegressor(early_stopping=False)).patience is None
    True
    """
    return TrainingSettings(
        max_epochs=learner.max_epochs,
        batch_size=learner.batch_size,
        learning_rate=learner.learning_rate,
        weight_decay=learner.weight_decay,
        schedule=learner.schedule,
        patience=learner.patience if learner.early_stopping else None,
        # Estimators without initial responsibilities use one learning rate for all parameters.
        warm_epochs=getattr(learner, "warm_epochs", 0),
        gate_rate=10.0 if hasattr(learner, "warm_epochs") else 1.0,
        callbacks=tuple(learner.callbacks or ()),
    )


def split_rows(
    rows: NDArray[np.intp], learner: Any, seed: int, strata: NDArray[Any] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows into training and validation rows; none are held out without early stopping or with few rows.

    Parameters
    ----------
    rows : ndarray of shape (m,)
    learner : estimator
        Its early_stopping and validation_fraction are used.
    seed : int
    strata : ndarray of shape (n,) or None
        Class codes; the split is stratified if every class has at least two rows.

    Examples
    --------
    >>> from metamix.nn import NeuralMixtureRegressor
    >>> [len(part) for part in split_rows(np.arange(100), NeuralMixtureRegressor(), seed=0)]
    [85, 15]
    """
    if not learner.early_stopping or len(rows) < MIN_ROWS_HOLDOUT:
        return rows, rows[:0]
    share = learner.validation_fraction
    if strata is not None:
        counts = np.bincount(strata[rows])
        rare = counts[counts > 0].min() < 2 or share * len(rows) < len(counts)
        strata = None if rare else strata[rows]
    kept, held = train_test_split(rows, test_size=share, random_state=seed, stratify=strata)
    return np.sort(kept), np.sort(held)


def responsibilities_from_start(start: Any, n: int, K: int | None) -> Array:
    """Responsibilities (n, K) from the parameter `start`, an array (n, K) or labels (n,).

    Raises
    ------
    ValueError
        If the length is not n, there are more groups than K, or an entry is negative or not finite.

    Examples
    --------
    >>> responsibilities_from_start([1, 0], 2, None)
    array([[0., 1.],
           [1., 0.]])
    """
    start_array = np.asarray(start)
    if start_array.ndim == 1:
        groups, codes = np.unique(start_array, return_inverse=True)
        if K is not None and len(groups) > K:
            raise ValueError(f"start has {len(groups)} different labels for n_experts={K}; expected at most {K}.")
        start_array = np.eye(max(len(groups), K or 1))[codes]
    if start_array.ndim != 2 or len(start_array) != n or (K is not None and start_array.shape[1] != K):
        raise ValueError(
            f"start has shape {np.shape(start)}; expected labels ({n},) or responsibilities ({n}, {K or 'K'})."
        )
    total = start_array.sum(axis=1, keepdims=True).astype(np.float64)
    if not np.isfinite(total).all() or (start_array < 0).any() or not (total > 0).all():
        raise ValueError("start must be finite and nonnegative, with a positive sum in every row.")
    return np.asarray(start_array / total, dtype=np.float64)


def as_tensor(values: NDArray[Any], device: str) -> Tensor:
    """Tensor of an array on a device: integers as int64, others as float32.

    Examples
    --------
    >>> as_tensor(np.zeros(2), "cpu").dtype
    torch.float32
    """
    kind = np.int64 if values.dtype.kind in "iu" else np.float32
    return torch.as_tensor(np.ascontiguousarray(values, dtype=kind), device=device)


def rng_devices(device: str) -> list[str]:
    """GPUs whose random state a fit changes.

    Examples
    --------
    >>> rng_devices("cpu")
    []
    """
    return [] if device == "cpu" else [device]


def on_device(network: nn.Module, device: str) -> tuple[Any, str]:
    """Network for prediction on the device it was trained on, or on the CPU if that device is not available.

    Fitted state stays on the CPU; a GPU gets a copy.

    Examples
    --------
    >>> network = nn.Linear(1, 1)
    >>> on_device(network, "cpu")[0] is network
    True
    >>> on_device(network, "cuda:99")[1]  # trained on another machine
    'cpu'
    """
    available, _ = device_for("torch", device)
    return (network if available == "cpu" else copy.deepcopy(network).to(available)), available


def progress_output(name: str, verbose: int) -> AbstractContextManager[None]:
    """Context in which progress is shown under a name, if `verbose`.

    Examples
    --------
    >>> with progress_output("network", 0):
    ...     pass
    """
    return show_progress(name) if verbose else nullcontext()


def history_frame(history: list[dict[str, Any]]) -> pd.DataFrame:
    """DataFrame with a row per epoch.

    Examples
    --------
    >>> list(history_frame([{"epoch": 1, "dur": 0.1, "train_loss": 1.0}]).columns)
    ['epoch', 'seconds', 'train_loss']
    """
    import pandas as pd

    return pd.DataFrame(history).rename(columns={"dur": "seconds", "event_lr": "learning_rate"})
