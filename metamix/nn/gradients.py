"""A zero that hands gradients to tensors that a result does not otherwise depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class _Zero(torch.autograd.Function):
    @staticmethod
    def forward(gradients: Sequence[Tensor | None], *tensors: Tensor) -> Tensor:
        return tensors[0].new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.gradients, *tensors = inputs
        # Nothing is saved as a tensor: checkpointing counts the tensors that a forward pass saves.
        ctx.like = [(tensor.shape, {"dtype": tensor.dtype, "device": tensor.device}) for tensor in tensors]

    @staticmethod
    def jvp(ctx: Any, *_: Tensor | None) -> Tensor:
        _, options = ctx.like[0]
        return torch.zeros((), **options)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.gradients, ctx.like, strict=True)
        return None, *(torch.zeros(shape, **options) if g is None else g for g, (shape, options) in pairs)


_zero: Callable[..., Tensor] = _Zero.apply


def zero_with_gradients(tensors: Sequence[Tensor], gradients: Sequence[Tensor | None] | None = None) -> Tensor:
    """Scalar zero; added to a result, it gives the tensors these gradients in the backward pass of the result.

    Zero times a tensor would not do: it is NaN where the tensor is infinite.

    Parameters
    ----------
    tensors : sequence of Tensor, not empty
    gradients : sequence of (Tensor or None), or None
        One per tensor, whatever the gradient of the result is; None: zeros.

    Examples
    --------
    >>> weight, unused = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    >>> (weight.sum() + zero_with_gradients([unused])).backward()
    >>> unused.grad
    tensor([0.])
    """
    return _zero([None] * len(tensors) if gradients is None else list(gradients), *tensors)
