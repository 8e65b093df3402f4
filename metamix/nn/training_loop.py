"""Training loop of the estimators, based on skorch, with batches on the device and progress events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn import config_context
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from torch import nn

from metamix.nn.balance import update_balance
from metamix.nn.tabular import Batches, Table
from metamix.progress import Event, emit

SCHEDULES = ("plateau", "cosine", None)
#: Maximum gradient norm (clipping): the log density of an expert with a small scale has large gradients.
LARGEST_GRADIENT_NORM = 5.0
#: Rows of a validation batch.
VALIDATION_BATCH = 8192


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the optimiser and of early stopping.

    Parameters
    ----------
    max_epochs, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW; the decay applies to the weights of experts and towers.
    gate_rate : float
        Learning rate of the gate as a multiple of ``learning_rate``.
    schedule : {"plateau", "cosine", None}
    patience : int or None
        Epochs without a smaller validation loss before stopping; None: no early stopping.
    warm_epochs : int
        Epochs trained on the initial responsibilities.
    callbacks : sequence of skorch callbacks
    """

    max_epochs: int = 200
    batch_size: int | str = "auto"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    gate_rate: float = 10.0
    schedule: str | None = "plateau"
    patience: int | None = 20
    warm_epochs: int = 20
    callbacks: Sequence[Any] = ()

    def batch(self, n: int) -> int:
        """Batch size: as given, or about n / 20, a power of two between 16 and 1024."""
        if isinstance(self.batch_size, str):
            return int(min(max(16, 2 ** round(math.log2(max(n, 2) / 20))), 1024))
        return self.batch_size


class TrainingLoop(NeuralNet):
    """skorch network that balances gates after each step and passes a user's `KeyboardInterrupt` on to the caller.

    skorch ends training at every `KeyboardInterrupt`, because its callbacks raise it to stop. Here only one raised by
    a callback at the beginning or end of an epoch has that effect; others, also those from listeners to progress
    events, are raised to the caller.
    """

    interruption: KeyboardInterrupt | None = None
    _between_epochs = False

    def notify(self, method_name: str, **more: Any) -> None:
        """Call the callbacks."""
        self._between_epochs = method_name in ("on_epoch_begin", "on_epoch_end")
        super().notify(method_name, **more)
        self._between_epochs = False

    def train_step(self, batch: Any, **more: Any) -> Any:
        """Make a step of the optimiser, and one of the bias controllers."""
        step = super().train_step(batch, **more)
        update_balance(self.module_)
        return step

    def fit_loop(self, *args: Any, **more: Any) -> Any:
        """Train; store an interruption, so that callbacks are still called at the end."""
        try:
            return super().fit_loop(*args, **more)
        except KeyboardInterrupt as error:
            if not self._between_epochs:
                self.interruption = error
            return self


class EpochReporter(Callback):
    """Emit a progress event per epoch, end the warm-up, and raise if a loss is not finite."""

    def __init__(self, warm_epochs: int, max_epochs: int) -> None:
        self.warm_epochs, self.max_epochs = warm_epochs, max_epochs

    def on_epoch_begin(self, net: Any, **more: Any) -> None:
        """Set whether the loss uses the initial responsibilities."""
        net.criterion_.warming_up = len(net.history) <= self.warm_epochs

    def on_epoch_end(self, net: Any, **more: Any) -> None:
        """Emit the losses."""
        last = net.history[-1]
        losses = {name: last[name] for name in ("train_loss", "valid_loss") if name in last}
        if not all(math.isfinite(value) for value in losses.values()):
            raise ValueError(
                f"The loss is not finite in epoch {last['epoch']} ({losses}); lower learning_rate, or set "
                "numeric='quantile' if columns have outliers."
            )
        try:
            emit(Event("round", f"epoch {last['epoch']}", last["epoch"], self.max_epochs, detail=losses))
        except KeyboardInterrupt as error:
            net.interruption = error
            raise


def train(
    network: nn.Module, loss: nn.Module, table: Table, held: Table | None, settings: TrainingSettings, device: str
) -> tuple[list[dict[str, Any]], int]:
    """Train a network in place; with early stopping it ends with the weights of the best epoch.

    Parameters
    ----------
    network, loss : torch.nn.Module
        The loss is called with the output of the network and the targets of a batch.
    table : Table
        Training rows.
    held : Table or None
        Validation rows for early stopping.
    settings : TrainingSettings
    device : str

    Returns
    -------
    history : list of dict
        Losses, seconds and learning rate of each epoch.
    best : int
        Epoch whose weights were kept, counted from 1.

    Raises
    ------
    ValueError
        If the loss becomes infinite or NaN, or the schedule is unknown.
    KeyboardInterrupt
        If the user interrupts training.
    """
    if settings.schedule not in SCHEDULES:
        known = ", ".join(map(repr, SCHEDULES))
        raise ValueError(f"schedule={settings.schedule!r} is unknown; give one of {known}.")
    callbacks: list[Any] = [
        ("reporter", EpochReporter(settings.warm_epochs, settings.max_epochs)),
        ("clip", GradientNormClipping(LARGEST_GRADIENT_NORM)),
        *_schedule(settings, held is not None),
    ]
    if held is not None and settings.patience is not None:
        stop = EarlyStopping(patience=settings.patience, threshold=0.0, load_best=True, sink=_silent)
        callbacks.append(("stop", stop))
    net = TrainingLoop(
        network,
        criterion=loss,
        optimizer=torch.optim.AdamW,
        optimizer__param_groups=_groups(network, settings),
        optimizer__weight_decay=0.0,
        lr=settings.learning_rate,
        max_epochs=settings.max_epochs,
        batch_size=settings.batch(len(table)),
        iterator_train=Batches,
        iterator_train__shuffle=True,
        iterator_valid=Batches,
        iterator_valid__batch_size=VALIDATION_BATCH,
        train_split=None if held is None else predefined_split(held),
        callbacks=[*callbacks, *settings.callbacks],
        verbose=0,
        device=device,
    )
    emit(Event("part", "rounds"))
    with config_context(enable_metadata_routing=False):
        net.fit(table, None)
    if net.interruption is not None:
        raise net.interruption
    kept = ("epoch", "train_loss", "valid_loss", "dur", "event_lr")
    history = [{name: row[name] for name in kept if name in row} for row in net.history]
    scores = [row.get("valid_loss", row["train_loss"]) for row in history]
    stopped = held is not None and settings.patience is not None
    best = 1 + min(range(len(scores)), key=scores.__getitem__) if stopped else len(scores)
    return history, best


def _groups(network: nn.Module, settings: TrainingSettings) -> list[tuple[str, dict[str, float]]]:
    """Parameter groups by name pattern; a parameter belongs to the first group that matches."""
    return [
        # The history reports the learning rate of the first group.
        ("*experts*weight*", {"weight_decay": settings.weight_decay}),
        ("*gate.*", {"lr": settings.learning_rate * settings.gate_rate}),
        ("*towers*weight*", {"weight_decay": settings.weight_decay}),
    ]


def _schedule(settings: TrainingSettings, held: bool) -> list[tuple[str, Any]]:
    if settings.schedule == "plateau":
        monitor = "valid_loss" if held else "train_loss"
        patience = max((settings.patience or 20) // 3, 1)
        return [("rate", LRScheduler("ReduceLROnPlateau", monitor=monitor, factor=0.3, patience=patience))]
    if settings.schedule == "cosine":
        return [("rate", LRScheduler("CosineAnnealingLR", T_max=settings.max_epochs))]
    return []


def _silent(*words: Any) -> None:
    """Discard messages that skorch would print."""
