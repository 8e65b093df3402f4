"""Collection of the auxiliary losses that the layers of a network make in one pass."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

import torch
from torch import Tensor, nn

from metamix.nn.gradients import zero_with_gradients
from metamix.nn.recomputation import in_backward


class CollectedLosses(Sequence[Tensor]):
    """Auxiliary losses of one pass, weighted by their coefficients: a scalar for every call of a gate that has some.

    Add `total` (or ``sum`` of this sequence) to your loss before ``backward``.

    Examples
    --------
    >>> CollectedLosses().total()
    tensor(0.)
    """

    def __init__(self) -> None:
        self.with_gradients = torch.is_grad_enabled()
        self._losses: list[Tensor] = []

    def append(self, loss: Tensor) -> None:
        """Add the loss of one call."""
        self._losses.append(loss)

    def total(self) -> Tensor:
        """Sum of the losses, a scalar on the device of the first; zero if there are none."""
        if not self._losses:
            return torch.zeros(())
        return torch.stack([loss.to(self._losses[0].device) for loss in self._losses]).sum()

    def __len__(self) -> int:
        return len(self._losses)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        return self._losses[index]

    def __repr__(self) -> str:
        return f"CollectedLosses({self._losses})"


class _CallWithoutGraph:
    """A call under reentrant checkpointing, which runs forward without a graph and repeats it with one in backward.

    What is collected of it is a leaf; the gradient that arrives there is kept for the repetition.
    """

    def __init__(self, loss: Tensor) -> None:
        self.loss = loss.detach()
        self.gradient: Tensor | None = None

    def leaf(self) -> Tensor:
        leaf = self.loss.clone().requires_grad_()
        leaf.register_hook(self._add)  # type: ignore[no-untyped-call]
        return leaf

    def _add(self, gradient: Tensor) -> None:
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


class LossSource(nn.Module):
    """Base class of modules whose loss `collect_losses` collects."""

    def __init__(self) -> None:
        super().__init__()
        self.collections: list[CollectedLosses] = []
        # Weak, since a call is of interest only as long as somebody holds the leaf that was collected.
        self._calls: list[weakref.ref[_CallWithoutGraph]] = []

    def contribute(self, loss: Tensor, output: Tensor) -> Tensor:
        """Add the loss of this call to the open collections.

        Parameters
        ----------
        loss : Tensor
            A scalar.
        output : Tensor
            An output of the same call.

        Returns
        -------
        Tensor
            The output, to be used instead: where a call is repeated under reentrant checkpointing, the loss has its
            gradient through it.
        """
        if in_backward():
            return self._contribute_gradient(loss, output)
        call = None
        for collection in self.collections:
            if collection.with_gradients and not torch.is_grad_enabled():
                call = call or _CallWithoutGraph(loss)
                collection.append(call.leaf())
            else:
                collection.append(loss)
        if call is not None:
            self._calls = [ref for ref in self._calls if ref() is not None] + [weakref.ref(call)]
        return output

    def _contribute_gradient(self, loss: Tensor, output: Tensor) -> Tensor:
        calls = [call for ref in self._calls if (call := ref()) is not None and call.gradient is not None]
        if not calls or not loss.requires_grad:
            return output
        # Autograd has reached the leaves before this, as they were made later. Which of several calls is repeated is
        # known by its loss, the same up to rounding.
        loss_now = loss.detach()
        repeated = calls[0] if len(calls) == 1 else min(calls, key=lambda call: float((call.loss - loss_now).abs()))
        gradient, repeated.gradient = repeated.gradient, None
        return output + zero_with_gradients([loss], [gradient])

    def __getstate__(self) -> dict[str, Any]:
        # Graphs can be neither copied nor pickled.
        return {**self.__dict__, "collections": [], "_calls": []}


@contextmanager
def collect_losses(network: nn.Module) -> Iterator[CollectedLosses]:
    """Context that collects the auxiliary losses which the layers of a network make in training within it.

    Layers that are not called contribute nothing, one that is called three times contributes three losses, and layers
    nested in experts contribute too. Forward passes belong in the context; ``backward`` may be called in it or after
    it, once for the sum of all losses where layers are under reentrant checkpointing.

    Parameters
    ----------
    network : torch.nn.Module

    Yields
    ------
    CollectedLosses

    Examples
    --------
    >>> from metamix.nn import MoE
    >>> layer = MoE(3, [nn.Linear(3, 1), nn.Linear(3, 1)], top_k=1, losses={"z": 1.0})
    >>> network = nn.Sequential(nn.Linear(4, 3), layer)
    >>> with collect_losses(network) as losses:
    ...     y = network(torch.zeros(5, 4))
    >>> (y.square().mean() + losses.total()).backward()
    >>> len(losses)
    1
    """
    collected = CollectedLosses()
    sources = [module for module in network.modules() if isinstance(module, LossSource)]
    for source in sources:
        source.collections = [*source.collections, collected]
    try:
        yield collected
    finally:
        for source in sources:
            source.collections = [other for other in source.collections if other is not collected]
