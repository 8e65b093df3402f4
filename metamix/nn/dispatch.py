"""Which rows go to which expert, and how answers come back as weighted sums: dense, segments or grouped."""

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
    answers_in_one,
    answers_to_all,
    answers_to_pieces,
    count_experts,
    product_dtype,
)
from metamix.nn.routing import ChosenRouting, Routing, at_least_float32, full_precision, has_autocast

#: The tangent of a tensor in forward mode, if any; torch has no type for it.
_unpack: Callable[[Tensor], Any] = unpack_dual

#: Above this share of needed answers, sorting rows costs more than it saves.
DENSE_SHARE = 0.6
#: Multiply-adds that one expert's slice costs in overhead: gathering, adding back, calls.
SLICE_WORK = 1_000_000

WAYS = ("auto", "dense", "segments", "grouped")


def check_dispatch(how: str) -> str:
    """Return a way of dispatch that exists.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_dispatch("auto")
    'auto'
    """
    if how not in WAYS:
        raise ValueError(f"There is no dispatch {how!r}: give one of {', '.join(WAYS)}.")
    return how


def work_per_row(experts: Experts) -> int:
    """Multiply-adds for a row to be answered by all experts: near enough, one for every parameter.

    Examples
    --------
    >>> work_per_row(MLPExperts(8, 32, (), 1))
    264
    """
    return sum(p.numel() for p in experts.parameters() if not is_lazy(p))


def choose(experts: Experts, x: Tensor, share: float, work: int) -> str:
    """Choose a way of dispatch from shapes alone.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    x : Tensor of shape (n, d)
    share : float
        Share of the n·K answers that are needed.
    work : int
        What `work_per_row` says, once and for all: walking over parameters takes longer than a small product.

    Returns
    -------
    str
        "dense", "segments" or "grouped".

    Examples
    --------
    >>> experts = MLPExperts(8, 32, 64, 32)
    >>> choose(experts, torch.zeros(64, 32), 0.25, work_per_row(experts))
    'dense'
    >>> choose(experts, torch.zeros(8192, 32), 0.25, work_per_row(experts))
    'segments'
    """
    saved = x.shape[0] * (1 - share) * work
    if share > DENSE_SHARE or saved < SLICE_WORK * count_experts(experts):
        return "dense"
    if x.is_cuda and isinstance(experts, MLPExperts) and experts.can_group(x) and _grouped_is_fast(x):
        return "grouped"
    return "segments"


def _grouped_is_fast(x: Tensor) -> bool:
    # Other number types go through a loop, and cannot be compiled.
    major, _ = torch.cuda.get_device_capability(x.device)
    return major >= 8 and product_dtype(x) == torch.bfloat16


def mix(
    experts: Experts,
    streams: Sequence[Tensor],
    weights: Tensor,
    kept: Tensor | None,
    *,
    reads: Sequence[int] | None = None,
    how: str = "auto",
    share: float = 1.0,
    work: int = 0,
) -> Tensor:
    """Weighted sums of the experts' answers, each expert asked once for the rows that need it.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    streams : sequence of Tensor, shape (n, d)
        What experts read.
    weights : Tensor of shape (n, T, K)
        One set of weights per task.
    kept : Tensor of bool, shape (n, K), or None
        Answers that any task needs; None: all.
    reads : sequence of int, length K, or None
        Stream that each expert reads; None: the first.
    how : str
        auto, dense, segments or grouped.
    share : float
        Share of ``kept`` that is true, as far as shapes tell; used by "auto".
    work : int
        See `choose`.

    Returns
    -------
    Tensor of shape (n, T, o)
        Summed in float32 at least, then of the number type that the experts gave.

    Raises
    ------
    ValueError
        If experts cannot take the rows or differ in width, or grouped products cannot take them.

    Examples
    --------
    >>> weights = torch.ones(5, 1, 4) / 4
    >>> mix(MLPExperts(4, 3, 8, 2), [torch.zeros(5, 3)], weights, None).shape
    torch.Size([5, 1, 2])
    """
    x = streams[0]
    if how == "auto":
        how = choose(experts, x, share, work)
    if how == "dense" or not x.shape[0]:
        return _dense(experts, x if reads is None else [streams[s] for s in reads], weights, kept)
    if kept is None:
        kept = (weights != 0).any(1)
    if how == "grouped":
        return _grouped(experts, x, weights, kept, reads)
    if torch.compiler.is_compiling():
        # Slices differ in length from batch to batch; traced, each batch would be compiled anew.
        return untraced(_segments, experts, streams, weights, kept, reads)
    return _segments(experts, streams, weights, kept, reads)


def untraced(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Call a function that torch.compile shall not follow: the graph ends before it and goes on behind it.

    Examples
    --------
    >>> untraced(torch.neg, torch.ones(1))
    tensor([-1.])
    """
    disable: Any = torch.compiler.disable  # as a decorator it would load the compiler with the package
    return disable(function)(*arguments)


def mix_one(experts: Experts, x: Tensor, routing: Routing, how: str = "auto", work: int = 0) -> Tensor:
    """Weighted sums (n, o) of the experts' answers to rows x (n, d), for one gate.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    x : Tensor of shape (n, d)
    routing : Routing
    how, work
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
    if how == "auto":
        how = choose(experts, x, routing.share(), work)
    if how == "dense" and len(x) <= FEW_ROWS and isinstance(routing, ChosenRouting):
        # Of few rows the answers chosen are picked sooner than all the others are masked.
        answers = answers_to_all(experts, x)
        at = routing.indices.unsqueeze(2).expand(-1, -1, answers.shape[2])
        picked = at_least_float32(answers.gather(1, at))
        return (picked * routing.factors.unsqueeze(2)).sum(1).to(answers.dtype)
    if how == "segments" and isinstance(routing, ChosenRouting) and len(x) and x.is_cpu and not _followed(x):
        if x.dtype == routing.factors.dtype and x.dtype in (torch.float32, torch.float64):
            return _bags(experts, x, routing)
    return mix(experts, [x], routing.weights.unsqueeze(1), routing.mask(), how=how).squeeze(1)


def _followed(x: Tensor) -> bool:
    """Whether somebody records or rewrites what is done: gradients, forward too, the compiler, autocast."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or has_autocast(x.device.type):
        return True
    return _unpack(x).tangent is not None


def _bags(experts: Experts, x: Tensor, routing: ChosenRouting) -> Tensor:
    """Segments without gradients: answers lie side by side, and each row sums up its own in one pass."""
    kept = torch.zeros_like(routing.scores, dtype=torch.bool).scatter(1, routing.indices, True).t().contiguous()
    counts = kept.sum(1).tolist()
    per_expert = torch.split_with_sizes(kept.nonzero()[:, 1], counts)
    pieces = (x.index_select(0, at) for at in per_expert)
    # Sorted by expert, then by row, an answer lies where so many that are kept come before it.
    place = kept.flatten().cumsum(0).sub_(1).view(kept.shape).t().gather(1, routing.indices)
    answers, dtype = answers_in_one(experts, pieces, counts, x)
    return embedding_bag(place, answers, per_sample_weights=routing.factors.to(answers.dtype), mode="sum").to(dtype)


def _dense(experts: Experts, inputs: Tensor | list[Tensor], weights: Tensor, kept: Tensor | None) -> Tensor:
    answers = answers_to_all(experts, inputs)
    if kept is not None:
        # An answer that nobody asked for may be infinite, and zero times it is not zero.
        answers = answers.masked_fill_(~kept.unsqueeze(-1), 0)
    with full_precision(weights):
        raised = at_least_float32(answers)
        if weights.shape[1] == 1 and len(weights) <= FEW_ROWS:
            return (raised * weights.transpose(1, 2)).sum(1, keepdim=True).to(answers.dtype)
        return torch.bmm(weights.to(raised.dtype), raised).to(answers.dtype)


def _segments(
    experts: Experts, streams: Sequence[Tensor], weights: Tensor, kept: Tensor, reads: Sequence[int] | None
) -> Tensor:
    n, T, K = weights.shape
    # Sorted by expert, then by row: as a stable sort of expert numbers, and cheaper.
    owner, rows = kept.t().nonzero().unbind(1)
    counts = kept.sum(0).tolist()
    per_expert = torch.split_with_sizes(rows, counts)
    # (n, K) are laid flat, so that one selection finds every weight, of all tasks.
    factors = weights.transpose(1, 2).reshape(n * K, T).index_select(0, rows * K + owner)
    answers = answers_to_pieces(experts, _pieces(streams, per_expert, reads))
    total, dtype = None, weights.dtype
    for answer, factor, at in zip(answers, torch.split_with_sizes(factors, counts), per_expert, strict=True):
        if answer is None:
            continue
        dtype = answer.dtype
        part = answer if T == 1 else answer.unsqueeze(1)
        part = (part * (factor if T == 1 else factor.unsqueeze(2))).flatten(1)
        if total is None:
            total = part.new_zeros(n, part.shape[1])
        # A row comes to an expert once, so nothing is added twice here and the order of sums is fixed.
        total.index_add_(0, at, part)
    if total is None:  # no weight at all: every row is owed a zero as wide as an answer
        return _dense(experts, streams[0] if reads is None else [streams[s] for s in reads], weights, kept)
    return total.view(n, T, -1).to(dtype)


def _pieces(streams: Sequence[Tensor], rows: Sequence[Tensor], reads: Sequence[int] | None) -> Iterable[Tensor]:
    reads = reads or [0] * len(rows)
    if not torch.is_grad_enabled():
        # One at a time, so that each is still in the cache when it is read, and its memory serves the next.
        return (streams[s].index_select(0, at) for s, at in zip(reads, rows, strict=True))
    pieces: dict[int, Tensor] = {}
    for s, stream in enumerate(streams):
        mine = [e for e, read in enumerate(reads) if read == s]
        if mine:
            pieces.update(zip(mine, gather(stream, *(rows[e] for e in mine)), strict=True))
    return [pieces[e] for e in range(len(rows))]


class Gather(torch.autograd.Function):
    """Rows x[rows_e] of one tensor for each expert; backward adds them up in one tensor, expert after expert.

    Torch's own gradient of a selection is a full-size tensor per expert, or, for one selection of all rows,
    a sum whose order is not fixed on a GPU.

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
        """Select."""
        return tuple(x.index_select(0, at) for at in rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        """Keep where rows came from."""
        x, *rows = inputs
        ctx.save_for_backward(*rows)
        ctx.save_for_forward(*rows)
        ctx.shape = x.shape
        ctx.set_materialize_grads(False)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        """Select of the tangent."""
        return tuple(None if tangent is None else tangent.index_select(0, at) for at in ctx.saved_tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Add up."""
        total: Tensor | None = None
        for at, gradient in zip(ctx.saved_tensors, gradients, strict=True):
            if gradient is not None:
                total = gradient.new_zeros(ctx.shape) if total is None else total
                total.index_add_(0, at, gradient)
        return total, *[None] * len(gradients)


#: x (n, d) and the rows of each expert in, a piece (n_e, d) for each out.
gather: Callable[..., tuple[Tensor, ...]] = Gather.apply


def _grouped(experts: Experts, x: Tensor, weights: Tensor, kept: Tensor, reads: Sequence[int] | None) -> Tensor:
    if not isinstance(experts, MLPExperts) or reads is not None or not experts.can_group(x):
        raise ValueError(
            f"dispatch='grouped' needs MLPExperts on one input, no float64, and every width a multiple of 16 bytes; "
            f"got {type(experts).__name__} on {x.dtype}: use 'segments' or 'auto'."
        )
    owner, rows = kept.t().nonzero().unbind(1)
    ends = kept.sum(0).cumsum(0).to(torch.int32)
    answers = experts.grouped(x.index_select(0, rows), ends, owner)
    place = torch.zeros(kept.shape, dtype=torch.int64, device=x.device)
    place[rows, owner] = torch.arange(len(rows), device=x.device)
    # Each row's experts first; rows that have fewer than the most repeat their first, with weight zero.
    most = int(kept.sum(1).max())
    order = kept.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :most]
    there = kept.gather(1, order)
    place = place.gather(1, torch.where(there, order, order[:, :1]))
    factors = weights.gather(2, order.unsqueeze(1).expand(-1, weights.shape[1], -1)) * there.unsqueeze(1)
    with full_precision(x):
        back = at_least_float32(answers.index_select(0, place.flatten())).reshape(*place.shape, answers.shape[-1])
        return torch.bmm(factors.to(back.dtype), back).to(answers.dtype)
