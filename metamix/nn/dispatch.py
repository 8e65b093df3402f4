"""Dispatch of rows to experts and weighted sums of their outputs: dense, segments or grouped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import embedding_bag
from torch.nn.parameter import is_lazy

from metamix.nn.experts import (
    FEW_ROWS,
    Experts,
    MLPExperts,
    concatenated_outputs,
    count_experts,
    outputs_by_expert,
    outputs_of_all,
    product_dtype,
    trainable_parameters,
)
from metamix.nn.gradients import zero_with_gradients
from metamix.nn.routing import Routing, SparseRouting, at_least_float32, full_precision, has_autocast, rows_unknown

#: Returns the forward-mode tangent of a tensor, if any; untyped in torch.
_unpack: Callable[[Tensor], Any] = unpack_dual

#: "auto" evaluates every expert on every row (dense) above this share of needed outputs.
DENSE_SHARE = 0.6
#: "auto" counts this many multiply-adds as the overhead of one expert's segment (gather, scatter-add, calls).
SLICE_WORK = 1_000_000

DISPATCHES = ("auto", "dense", "segments", "grouped")


def check_dispatch(dispatch: str) -> str:
    """Validate the name of a dispatch.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_dispatch("auto")
    'auto'
    """
    if dispatch not in DISPATCHES:
        raise ValueError(f"dispatch={dispatch!r} is unknown; use one of {', '.join(DISPATCHES)}.")
    return dispatch


def work_per_row(experts: Experts) -> int:
    """Multiply-adds of all experts for one row, approximated by the number of parameters.

    Examples
    --------
    >>> work_per_row(MLPExperts(8, 32, (), 1))
    264
    """
    return sum(p.numel() for p in experts.parameters() if not is_lazy(p))


def choose_dispatch(experts: Experts, x: Tensor, share: float, work: int) -> str:
    """Choose the dispatch from the shapes alone.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    x : Tensor of shape (n, d)
    share : float
        Share of the n·K outputs that are needed.
    work : int
        Result of `work_per_row`, computed once because iterating over parameters takes longer than a small product.

    Returns
    -------
    str
        "dense", "segments" or "grouped".

    Examples
    --------
    >>> experts = MLPExperts(8, 32, 64, 32)
    >>> choose_dispatch(experts, torch.zeros(64, 32), 0.25, work_per_row(experts))
    'dense'
    >>> choose_dispatch(experts, torch.zeros(8192, 32), 0.25, work_per_row(experts))
    'segments'
    """
    saved = x.shape[0] * (1 - share) * work
    if share > DENSE_SHARE or saved < SLICE_WORK * count_experts(experts):
        return "dense"
    if x.is_cuda and isinstance(experts, MLPExperts) and experts.can_group(x) and _grouped_is_fast(x):
        return "grouped"
    return "segments"


def _grouped_is_fast(x: Tensor) -> bool:
    # torch implements other dtypes as a loop, which cannot be compiled.
    major, _ = torch.cuda.get_device_capability(x.device)
    return major >= 8 and product_dtype(x) == torch.bfloat16


def mix(
    experts: Experts,
    streams: Sequence[Tensor],
    weights: Tensor,
    kept: Tensor | None,
    *,
    reads: Sequence[int] | None = None,
    dispatch: str = "auto",
    share: float = 1.0,
    work: int = 0,
) -> Tensor:
    """Weighted sums of the experts' outputs; each expert is called once, on the rows that need it.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    streams : sequence of Tensor, shape (n, d)
        Inputs of the experts.
    weights : Tensor of shape (n, T, K)
        One set of weights per task.
    kept : Tensor of bool, shape (n, K), or None
        Outputs that any task needs; None: all.
    reads : sequence of int, length K, or None
        Index of the stream that each expert reads; None: the first.
    dispatch : str
        auto, dense, segments or grouped; where the number of rows is unknown (`rows_unknown`) always dense.
    share : float
        Share of ``kept`` that is true, estimated from shapes; used by "auto".
    work : int
        See `choose_dispatch`.

    Returns
    -------
    Tensor of shape (n, T, o)
        Accumulated in float32 or higher precision, returned in the dtype of the experts' outputs.

    Raises
    ------
    ValueError
        If an expert rejects its rows, output widths differ, or grouped products do not support the experts or dtype.

    Examples
    --------
    >>> weights = torch.ones(5, 1, 4) / 4
    >>> mix(MLPExperts(4, 3, 8, 2), [torch.zeros(5, 3)], weights, None).shape
    torch.Size([5, 1, 2])
    """
    x = streams[0]
    if rows_unknown(x):
        dispatch = "dense"
    elif dispatch == "auto":
        dispatch = choose_dispatch(experts, x, share, work)
    if dispatch == "dense" or not x.shape[0]:
        return _dense(experts, x if reads is None else [streams[s] for s in reads], weights, kept)
    if kept is None:
        kept = (weights != 0).any(1)
    if dispatch == "grouped":
        return _grouped(experts, x, weights, kept, reads)
    if torch.compiler.is_compiling():
        # Segment lengths change with every batch; traced, each batch would trigger a recompilation.
        return call_untraced(_segments, experts, streams, weights, kept, reads)
    return _segments(experts, streams, weights, kept, reads)


def call_untraced(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Call a function outside the compiled graph (a graph break).

    Examples
    --------
    >>> call_untraced(torch.neg, torch.ones(1))
    tensor([-1.])
    """
    disable: Any = torch.compiler.disable  # as a decorator it would import the compiler with the package
    return disable(function)(*arguments)


def mix_one(experts: Experts, x: Tensor, routing: Routing, dispatch: str = "auto", work: int = 0) -> Tensor:
    """Weighted sums (n, o) of the experts' outputs for rows x (n, d) and one gate.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    x : Tensor of shape (n, d)
    routing : Routing
    dispatch, work
        See `mix`.

    Raises
    ------
    ValueError
        As `mix`.

    Examples
    --------
    >>> from metamix.nn.routing import from_logits
    >>> mix_one(MLPExperts(4, 3, 8, 2), torch.zeros(5, 3), from_logits(torch.zeros(5, 4), top_k=2)).shape
    torch.Size([5, 2])
    """
    if rows_unknown(x):
        dispatch = "dense"
    elif dispatch == "auto":
        dispatch = choose_dispatch(experts, x, routing.share(), work)
    if dispatch == "dense" and not rows_unknown(x) and len(x) <= FEW_ROWS and isinstance(routing, SparseRouting):
        # For few rows, gathering the selected outputs is faster than masking the others.
        outputs = outputs_of_all(experts, x)
        at = routing.indices.unsqueeze(2).expand(-1, -1, outputs.shape[2])
        picked = at_least_float32(outputs.gather(1, at))
        return (picked * routing.factors.unsqueeze(2)).sum(1).to(outputs.dtype)
    if dispatch == "segments" and isinstance(routing, SparseRouting) and len(x) and x.is_cpu and not _needs_trace(x):
        if x.dtype == routing.factors.dtype and x.dtype in (torch.float32, torch.float64):
            return _segments_without_gradients(experts, x, routing)
    return mix(experts, [x], routing.weights.unsqueeze(1), routing.mask(), dispatch=dispatch).squeeze(1)


def _needs_trace(x: Tensor) -> bool:
    """Whether gradients (reverse or forward mode), torch.compile or autocast are active."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or has_autocast(x.device.type):
        return True
    return _unpack(x).tangent is not None


def _segments_without_gradients(experts: Experts, x: Tensor, routing: SparseRouting) -> Tensor:
    """Segments dispatch without gradients: all outputs in one tensor, one `embedding_bag` sums those of each row."""
    kept = torch.zeros_like(routing.scores, dtype=torch.bool).scatter(1, routing.indices, True).t().contiguous()
    counts = kept.sum(1).tolist()
    per_expert = torch.split_with_sizes(kept.nonzero()[:, 1], counts)
    pieces = (x.index_select(0, at) for at in per_expert)
    # Outputs are sorted by expert, then by row; the position of one is the number of kept pairs before it.
    place = kept.flatten().cumsum(0).sub_(1).view(kept.shape).t().gather(1, routing.indices)
    outputs, dtype = concatenated_outputs(experts, pieces, counts, x)
    return embedding_bag(place, outputs, per_sample_weights=routing.factors.to(outputs.dtype), mode="sum").to(dtype)


def _dense(experts: Experts, inputs: Tensor | list[Tensor], weights: Tensor, kept: Tensor | None) -> Tensor:
    outputs = outputs_of_all(experts, inputs)
    if kept is not None:
        # An output that is not needed may be infinite, and 0 · inf is NaN.
        outputs = outputs.masked_fill_(~kept.unsqueeze(-1), 0)
    with full_precision(weights):
        raised = at_least_float32(outputs)
        if weights.shape[1] == 1 and not rows_unknown(weights) and len(weights) <= FEW_ROWS:
            return (raised * weights.transpose(1, 2)).sum(1, keepdim=True).to(outputs.dtype)
        return torch.bmm(weights.to(raised.dtype), raised).to(outputs.dtype)


def _segments(
    experts: Experts, streams: Sequence[Tensor], weights: Tensor, kept: Tensor, reads: Sequence[int] | None
) -> Tensor:
    n, T, K = weights.shape
    # Sorted by expert, then by row; same order as a stable sort of expert indices, and cheaper.
    owner, rows = kept.t().nonzero().unbind(1)
    counts = kept.sum(0).tolist()
    per_expert = torch.split_with_sizes(rows, counts)
    # Flattened to (n·K, T), so that one selection finds the weights of all tasks.
    factors = weights.transpose(1, 2).reshape(n * K, T).index_select(0, rows * K + owner)
    outputs = outputs_by_expert(experts, _pieces(streams, per_expert, reads))
    total, dtype, idle = None, weights.dtype, []
    for e, (output, factor, at) in enumerate(
        zip(outputs, torch.split_with_sizes(factors, counts), per_expert, strict=True)
    ):
        if output is None:
            idle.append(e)
            continue
        dtype = output.dtype
        part = output if T == 1 else output.unsqueeze(1)
        part = (part * (factor if T == 1 else factor.unsqueeze(2))).flatten(1)
        if total is None:
            total = part.new_zeros(n, part.shape[1])
        # An expert sees a row at most once, so indices are unique and the order of the sums is deterministic.
        total.index_add_(0, at, part)
    if total is None:  # all weights are zero: dense gives zeros of the right width
        return _dense(experts, streams[0] if reads is None else [streams[s] for s in reads], weights, kept)
    # DistributedDataParallel waits for a gradient of every parameter, also where this process has no rows for it.
    unused = trainable_parameters(experts, idle) if torch.is_grad_enabled() else []
    if unused:
        total = total + zero_with_gradients(unused)
    return total.view(n, T, -1).to(dtype)


def _pieces(streams: Sequence[Tensor], rows: Sequence[Tensor], reads: Sequence[int] | None) -> Iterable[Tensor]:
    reads = reads or [0] * len(rows)
    if not torch.is_grad_enabled():
        # A generator: each piece is still in the cache when it is used, and its memory is reused for the next.
        return (streams[s].index_select(0, at) for s, at in zip(reads, rows, strict=True))
    pieces: dict[int, Tensor] = {}
    for s, stream in enumerate(streams):
        mine = [e for e, read in enumerate(reads) if read == s]
        if mine:
            pieces.update(zip(mine, gather(stream, *(rows[e] for e in mine)), strict=True))
    return [pieces[e] for e in range(len(rows))]


class Gather(torch.autograd.Function):
    """Select rows x[rows_e] for each expert; the backward pass accumulates into one tensor.

    The built-in gradient of `index_select` allocates a full-size tensor per expert, or, for one selection of all
    rows, sums in an order that is not deterministic on a GPU.

    Examples
    --------
    >>> x = torch.ones(2, 1, requires_grad=True)
    >>> a, b = Gather.apply(x, torch.tensor([0, 1]), torch.tensor([1]))
    >>> (a.sum() + b.sum()).backward()
    >>> x.grad.flatten()
    tensor([1., 2.])
    """

    @staticmethod
    def forward(x: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """Select the rows of each expert."""
        return tuple(x.index_select(0, at) for at in rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        """Save the row indices."""
        x, *rows = inputs
        ctx.save_for_backward(*rows)
        ctx.save_for_forward(*rows)
        ctx.shape = x.shape
        ctx.set_materialize_grads(False)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        """Select the same rows of the tangent."""
        return tuple(None if tangent is None else tangent.index_select(0, at) for at in ctx.saved_tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Accumulate the gradients of all experts."""
        total: Tensor | None = None
        for at, gradient in zip(ctx.saved_tensors, gradients, strict=True):
            if gradient is not None:
                total = gradient.new_zeros(ctx.shape) if total is None else total
                total.index_add_(0, at, gradient)
        return total, *[None] * len(gradients)


#: Takes x (n, d) and the row indices of each expert, returns a tensor (n_e, d) for each.
gather: Callable[..., tuple[Tensor, ...]] = Gather.apply


def _grouped(experts: Experts, x: Tensor, weights: Tensor, kept: Tensor, reads: Sequence[int] | None) -> Tensor:
    if not isinstance(experts, MLPExperts) or reads is not None or not experts.can_group(x):
        raise ValueError(
            "dispatch='grouped' needs MLPExperts on one input, not float64, and widths that are multiples of 16 bytes; "
            f"got {type(experts).__name__} on {x.dtype}: use 'segments' or 'auto'."
        )
    owner, rows = kept.t().nonzero().unbind(1)
    ends = kept.sum(0).cumsum(0).to(torch.int32)
    outputs = experts.grouped(x.index_select(0, rows), ends, owner)
    place = torch.zeros(kept.shape, dtype=torch.int64, device=x.device)
    place[rows, owner] = torch.arange(len(rows), device=x.device)
    # Selected experts of each row first; rows with fewer than the maximum repeat their first, with weight zero.
    most = int(kept.sum(1).max())
    order = kept.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :most]
    there = kept.gather(1, order)
    place = place.gather(1, torch.where(there, order, order[:, :1]))
    factors = weights.gather(2, order.unsqueeze(1).expand(-1, weights.shape[1], -1)) * there.unsqueeze(1)
    with full_precision(x):
        back = at_least_float32(outputs.index_select(0, place.flatten())).reshape(*place.shape, outputs.shape[-1])
        return torch.bmm(factors.to(back.dtype), back).to(outputs.dtype)
