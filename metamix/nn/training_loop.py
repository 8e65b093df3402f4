"""The training loop of the learners: skorch, with batches cut on the device and events instead of prints."""

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

from metamix.nn.tabular import Batches, Table
from metamix.progress import Event, emit

SCHEDULES = ("plateau", "cosine", None)
#: Gradients longer than this are cut: densities of sure experts are steep.
LONGEST_GRADIENT = 5.0
#: Rows of a validation batch.
BLOCK = 8192


@dataclass(frozen=True)
class Lessons:
    """How long and how fast to train.

    Parameters
    ----------
    max_epochs, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW; the decay is of the experts' weights.
    gate_rate : float
        The gate learns so many times as fast.
    schedule : {"plateau", "cosine", None}
    patience : int or None
        Epochs without a better validation loss; None: never stop early.
    warm_epochs : int
        Epochs on the first responsibilities.
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
        """Rows of a batch: as asked, or a twentieth of n, a power of two between 16 and 1024."""
        if isinstance(self.batch_size, str):
            return int(min(max(16, 2 ** round(math.log2(max(n, 2) / 20))), 1024))
        return self.batch_size


class Loop(NeuralNet):
    """skorch's loop, in which somebody's interruption goes on to the caller.

    skorch takes every `KeyboardInterrupt` for the end of training, since its callbacks stop by one. Between two epochs
    it still means that here; anywhere else, and from who listens to events, it is meant for the caller.
    """

    interruption: KeyboardInterrupt | None = None
    _is_between = False

    def notify(self, method_name: str, **more: Any) -> None:
        """Tell the callbacks."""
        self._is_between = method_name in ("on_epoch_begin", "on_epoch_end")
        super().notify(method_name, **more)
        self._is_between = False

    def fit_loop(self, *args: Any, **more: Any) -> Any:
        """Train; remember an interruption, so that callbacks may still end their work."""
        try:
            return super().fit_loop(*args, **more)
        except KeyboardInterrupt as error:
            if not self._is_between:
                self.interruption = error
            return self


class Narrator(Callback):
    """Raise an event for each epoch, end the first lesson in time, and refuse a loss that is no number."""

    def __init__(self, warm_epochs: int, max_epochs: int) -> None:
        self.warm_epochs, self.max_epochs = warm_epochs, max_epochs

    def on_epoch_begin(self, net: Any, **more: Any) -> None:
        """Say whether this is still the first lesson."""
        net.criterion_.warming = len(net.history) <= self.warm_epochs

    def on_epoch_end(self, net: Any, **more: Any) -> None:
        """Tell the losses."""
        last = net.history[-1]
        losses = {name: last[name] for name in ("train_loss", "valid_loss") if name in last}
        if not all(math.isfinite(value) for value in losses.values()):
            raise ValueError(
                f"The loss became {losses} in epoch {last['epoch']}; lower learning_rate, or try numeric='quantile' "
                "where columns have values far from all others."
            )
        try:
            emit(Event("round", f"epoch {last['epoch']}", last["epoch"], self.max_epochs, detail=losses))
        except KeyboardInterrupt as error:
            net.interruption = error
            raise


def train(
    network: nn.Module, loss: nn.Module, table: Table, held: Table | None, lessons: Lessons, device: str
) -> tuple[list[dict[str, Any]], int]:
    """Train a network in place; it ends with the weights of the best epoch.

    Parameters
    ----------
    network, loss : torch.nn.Module
        The loss takes what the network says and the targets of a batch.
    table : Table
        Rows to learn from.
    held : Table or None
        Rows that say when to stop.
    lessons : Lessons
    device : str

    Returns
    -------
    history : list of dict
        Losses, seconds and learning rate of each epoch.
    best : int
        Number of the epoch whose weights were kept, from 1.

    Raises
    ------
    ValueError
        If the loss becomes infinite or NaN, or the schedule is unknown.
    KeyboardInterrupt
        If somebody asked for it while it trained.
    """
    if lessons.schedule not in SCHEDULES:
        known = ", ".join(map(repr, SCHEDULES))
        raise ValueError(f"schedule={lessons.schedule!r} is unknown; give one of {known}.")
    callbacks: list[Any] = [
        ("narrator", Narrator(lessons.warm_epochs, lessons.max_epochs)),
        ("clip", GradientNormClipping(LONGEST_GRADIENT)),
        *_schedule(lessons, held is not None),
    ]
    if held is not None and lessons.patience is not None:
        stop = EarlyStopping(patience=lessons.patience, threshold=0.0, load_best=True, sink=_silent)
        callbacks.append(("stop", stop))
    net = Loop(
        network,
        criterion=loss,
        optimizer=torch.optim.AdamW,
        optimizer__param_groups=_groups(network, lessons),
        optimizer__weight_decay=0.0,
        lr=lessons.learning_rate,
        max_epochs=lessons.max_epochs,
        batch_size=lessons.batch(len(table)),
        iterator_train=Batches,
        iterator_train__shuffle=True,
        iterator_valid=Batches,
        iterator_valid__batch_size=BLOCK,
        train_split=None if held is None else predefined_split(held),
        callbacks=[*callbacks, *lessons.callbacks],
        verbose=0,
        device=device,
    )
    with config_context(enable_metadata_routing=False):
        net.fit(table, None)
    if net.interruption is not None:
        raise net.interruption
    kept = ("epoch", "train_loss", "valid_loss", "dur", "event_lr")
    history = [{name: row[name] for name in kept if name in row} for row in net.history]
    scores = [row.get("valid_loss", row["train_loss"]) for row in history]
    stopped = held is not None and lessons.patience is not None
    best = 1 + min(range(len(scores)), key=scores.__getitem__) if stopped else len(scores)
    return history, best


def _groups(network: nn.Module, lessons: Lessons) -> list[tuple[str, dict[str, float]]]:
    """Patterns of parameters that learn otherwise than the rest; a parameter goes with the first that fits."""
    return [
        # The first one's rate is what the history tells.
        ("*experts*weight*", {"weight_decay": lessons.weight_decay}),
        ("*gate.*", {"lr": lessons.learning_rate * lessons.gate_rate}),
        ("*towers*weight*", {"weight_decay": lessons.weight_decay}),
    ]


def _schedule(lessons: Lessons, held: bool) -> list[tuple[str, Any]]:
    if lessons.schedule == "plateau":
        monitor = "valid_loss" if held else "train_loss"
        patience = max((lessons.patience or 20) // 3, 1)
        return [("rate", LRScheduler("ReduceLROnPlateau", monitor=monitor, factor=0.3, patience=patience))]
    if lessons.schedule == "cosine":
        return [("rate", LRScheduler("CosineAnnealingLR", T_max=lessons.max_epochs))]
    return []


def _silent(*words: Any) -> None:
    """What skorch would print."""
