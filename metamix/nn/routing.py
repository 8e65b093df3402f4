"""What a gate decides: weights, the experts kept, and what a layer tells about it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

#: Of so many rows, each shorter than that, a softmax is taken column by column.
MANY_ROWS, SHORT_ROW = 512, 16


@dataclass(frozen=True)
class Routing:
    """What a gate says about n rows and K experts.

    Parameters
    ----------
    weights : Tensor of shape (n, K)
        What the answers are multiplied by; zero where an expert was not kept.
    probabilities : Tensor of shape (n, K)
        The full softmax, before any expert was left out: what the losses look at.
    logits : Tensor of shape (n, K) or None
    indices : Tensor of shape (n, k) or None
        Experts kept, best first; None for a gate that keeps all.
    kept : Tensor of bool, shape (n, K), or None
        The same as a mask, where ``indices`` is None and some weights are zero all the same.
    load : Tensor of shape (K,) or None
        Rows that each expert expects, differentiable; None: they are counted.
    selectors : Tensor of shape (n, S, K) or None
        The distributions that the weights were mixed from; their entropy is the gate's.

    Examples
    --------
    >>> Routing(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.8]]), indices=torch.tensor([[1]])).mask()
    tensor([[False,  True]])
    """

    weights: Tensor
    probabilities: Tensor
    logits: Tensor | None = None
    indices: Tensor | None = None
    kept: Tensor | None = None
    load: Tensor | None = None
    selectors: Tensor | None = None

    def mask(self) -> Tensor | None:
        """Mask (n, K) of the experts that must answer, or None where all must."""
        if self.indices is None:
            return self.kept
        return torch.zeros_like(self.weights, dtype=torch.bool).scatter(-1, self.indices, True)

    def share(self) -> float:
        """Share of the n·K answers that are needed."""
        if self.indices is not None:
            return self.indices.shape[-1] / self.weights.shape[-1]
        if self.kept is None or torch.compiler.is_compiling():  # counting would break the compiled graph
            return 1.0
        return float(self.kept.float().mean())

    def counts(self) -> Tensor:
        """Rows (K,) that each expert was sent."""
        mask = self.mask()
        return (self.weights != 0 if mask is None else mask).sum(0).to(self.weights.dtype)


class ChosenRouting(Routing):
    """A routing of k experts per row that works out weights and probabilities of all K where somebody asks for them.

    Of few rows a layer needs neither, and they cost as much as the choice itself.

    Parameters
    ----------
    scores : Tensor of shape (n, K)
        What the full softmax is taken of.
    factors : Tensor of shape (n, k)
        Weights of the experts kept.
    indices, logits, load
        As of `Routing`.
    probabilities : Tensor of shape (n, K) or None
        The full softmax where it is there already.
    """

    scores: Tensor
    factors: Tensor
    indices: Tensor

    _weights: Tensor
    _probabilities: Tensor

    def __init__(
        self,
        scores: Tensor,
        factors: Tensor,
        indices: Tensor,
        logits: Tensor | None = None,
        load: Tensor | None = None,
        probabilities: Tensor | None = None,
    ) -> None:
        given = {"scores": scores, "factors": factors, "indices": indices, "logits": logits, "load": load}
        self.__dict__.update(given, kept=None, selectors=None, _weights=None, _probabilities=probabilities)

    # No cached_property: it takes a lock, which torch.compile cannot follow.
    @property
    def weights(self) -> Tensor:
        """Weights (n, K), zero where an expert was not kept."""
        if self._weights is None:
            self.__dict__["_weights"] = torch.zeros_like(self.scores).scatter(-1, self.indices, self.factors)
        return self._weights

    @property
    def probabilities(self) -> Tensor:
        """Full softmax (n, K)."""
        if self._probabilities is None:
            self.__dict__["_probabilities"] = softmax(self.scores)
        return self._probabilities

    def share(self) -> float:
        """Share of the n·K answers that are needed."""
        return self.indices.shape[-1] / self.scores.shape[-1]


@dataclass(frozen=True)
class RoutingInfo:
    """What a layer tells with ``return_info=True``; (...) are the leading dimensions of x, n rows in all.

    Parameters
    ----------
    weights : Tensor of shape (..., K)
        What the answers were multiplied by.
    indices : Tensor of shape (..., k) or None
        Experts kept, best first; None for a soft gate.
    logits : Tensor of shape (..., K) or None
        None where a custom gate gave weights only.
    losses : dict of str to Tensor
        Auxiliary losses by name, before their coefficients.
    load : Tensor of shape (K,)
        Rows that each expert was sent, or expects where the gate is noisy and trains.
    importance : Tensor of shape (K,)
        Sum of the weights over the rows.
    entropy : Tensor, a scalar
        Mean entropy of the gate's full softmax, in nats.
    """

    weights: Tensor
    indices: Tensor | None
    logits: Tensor | None
    losses: dict[str, Tensor]
    load: Tensor
    importance: Tensor
    entropy: Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which autocast leaves the tensors of x's device alone.

    Examples
    --------
    >>> with torch.autocast("cpu"), full_precision(torch.zeros(1)):
    ...     (torch.zeros(1, 1) @ torch.zeros(1, 1)).dtype
    torch.float32
    """
    kind = x.device.type
    # Asked first: entering torch's own context costs more than a small product.
    return torch.autocast(kind, enabled=False) if has_autocast(kind) else nullcontext()


def has_autocast(kind: str) -> bool:
    """Say whether autocast is on for a kind of device; some kinds, such as meta, know none.

    Examples
    --------
    >>> has_autocast("cpu"), has_autocast("meta")
    (False, False)
    """
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def at_least_float32(x: Tensor) -> Tensor:
    """Return x, or x in float32 where it has less precision.

    Examples
    --------
    >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension; of many short rows on a CPU by columns, which takes an eighth of the time.

    Examples
    --------
    >>> softmax(torch.zeros(1, 4))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    short = scores.ndim == 2 and scores.shape[1] < SHORT_ROW and scores.is_cpu
    if short and not torch.compiler.is_compiling() and scores.shape[0] > MANY_ROWS:
        return torch.softmax(scores.t().contiguous(), 0).t()
    return torch.softmax(scores, -1)


def largest(scores: Tensor, k: int) -> Tensor:
    """Indices of the k largest scores of each row, best first; of equal scores the first expert's.

    ``torch.topk`` promises nothing about ties, and a sort of every row costs more than a few maxima.

    Parameters
    ----------
    scores : Tensor of shape (..., K)
    k : int, at most K

    Returns
    -------
    Tensor of int64, shape (..., k)

    Examples
    --------
    >>> largest(torch.tensor([[1.0, 3.0, 3.0]]), 2)
    tensor([[1, 2]])
    """
    if k == 1:
        return scores.detach().argmax(-1, keepdim=True)
    if k > 4 or scores.numel() < 4096:  # few numbers: one call costs more than the sort in it
        return torch.sort(scores, dim=-1, descending=True, stable=True).indices[..., :k]
    # Minus infinity marks what is taken, so a score must not be that low itself.
    left = scores.detach().clamp(min=torch.finfo(scores.dtype).min)
    chosen: list[Tensor] = []
    for _ in range(k):
        left = left.scatter(-1, chosen[-1], -torch.inf) if chosen else left
        chosen.append(left.argmax(-1, keepdim=True))
    return torch.cat(chosen, -1)


def from_logits(
    logits: Tensor,
    top_k: int | None = None,
    *,
    raw: bool | None = None,
    scores: Tensor | None = None,
    choice: Tensor | None = None,
    load: Tensor | None = None,
) -> Routing:
    """Turn logits into weights: a softmax over all experts, or over the k largest.

    With one expert kept, renormalising would give the weight 1 and no gradient to the gate, so k = 1 keeps
    the raw probability.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
    top_k : int or None
        Experts kept per row; None keeps all.
    raw : bool or None
        True keeps the probabilities of the full softmax as weights, False renormalises; None is raw for k = 1.
    scores : Tensor of shape (n, K) or None
        Logits after noise or dropout, what the softmax is taken of; None: the logits themselves.
    choice : Tensor of shape (n, K) or None
        What the k largest are taken of; None: the scores.
    load : Tensor of shape (K,) or None
        Handed on.

    Returns
    -------
    Routing

    Examples
    --------
    >>> from_logits(torch.tensor([[0.0, 1.0, 1.0]]), top_k=2).weights
    tensor([[0.0000, 0.5000, 0.5000]])
    >>> from_logits(torch.zeros(1, 4), top_k=1).weights
    tensor([[0.2500, 0.0000, 0.0000, 0.0000]])
    """
    scores = logits if scores is None else scores
    if top_k is None:
        probabilities = softmax(scores)
        return Routing(probabilities, probabilities, logits, load=load)
    indices = largest(scores if choice is None else choice, top_k)
    is_raw = top_k == 1 if raw is None else raw
    if is_raw:
        full = softmax(scores)
        return ChosenRouting(scores, full.gather(-1, indices), indices, logits, load, full)
    return ChosenRouting(scores, softmax(scores.gather(-1, indices)), indices, logits, load)


def from_weights(weights: Tensor, top_k: int | None = None) -> Routing:
    """Take the weights of a custom gate, and keep the k largest where that is asked for.

    Parameters
    ----------
    weights : Tensor of shape (n, K)
    top_k : int or None
        The weights kept are rescaled to sum to one, except for k = 1 (see `from_logits`).

    Returns
    -------
    Routing

    Examples
    --------
    >>> from_weights(torch.tensor([[0.5, 0.3, 0.2]]), top_k=2).weights
    tensor([[0.6250, 0.3750, 0.0000]])
    """
    if top_k is None:
        return Routing(weights, weights)
    indices = largest(weights, top_k)
    kept = weights.gather(-1, indices)
    if top_k > 1:
        kept = kept / kept.sum(-1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)
    return Routing(torch.zeros_like(weights).scatter(-1, indices, kept), weights, indices=indices)


def row_entropy(p: Tensor) -> Tensor:
    """Entropy of each row of probabilities, in nats.

    Parameters
    ----------
    p : Tensor of shape (..., K)

    Returns
    -------
    Tensor of shape (...)

    Examples
    --------
    >>> row_entropy(torch.full((2, 4), 0.25))
    tensor([1.3863, 1.3863])
    """
    # Clamped inside the logarithm only, so that p = 0 has a finite slope.
    return -(p * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum(-1)


def with_lead(values: Tensor, lead: torch.Size) -> Tensor:
    """Give rows their leading dimensions back: (n, o) to (..., o).

    Examples
    --------
    >>> with_lead(torch.zeros(6, 4), torch.Size([2, 3])).shape
    torch.Size([2, 3, 4])
    """
    return values.reshape(*lead, values.shape[-1])


def tell(
    routing: Routing,
    losses: dict[str, Tensor],
    lead: torch.Size,
    columns: Tensor | None = None,
    n_experts: int = 0,
) -> RoutingInfo:
    """Say what a gate decided, in the leading dimensions of the input.

    Parameters
    ----------
    routing : Routing
    losses : dict of str to Tensor
    lead : torch.Size
    columns : Tensor of int64, shape (K_t,), or None
        The experts that the gate sees, of all ``n_experts``; None: all.
    n_experts : int

    Returns
    -------
    RoutingInfo
        An expert that is not seen has weight, load and importance 0 and the logit minus infinity.

    Examples
    --------
    >>> tell(from_logits(torch.zeros(6, 2)), {}, torch.Size([2, 3])).weights.shape
    torch.Size([2, 3, 2])
    """

    def spread(values: Tensor, rest: float = 0.0) -> Tensor:
        if columns is None:
            return values
        return values.new_full((*values.shape[:-1], n_experts), rest).index_copy(-1, columns, values)

    indices = routing.indices if routing.indices is None or columns is None else columns[routing.indices]
    load = routing.counts() if routing.load is None else routing.load
    p = routing.probabilities
    return RoutingInfo(
        weights=with_lead(spread(routing.weights), lead),
        indices=None if indices is None else with_lead(indices, lead),
        logits=None if routing.logits is None else with_lead(spread(routing.logits, -torch.inf), lead),
        losses=losses,
        load=spread(load),
        importance=spread(routing.weights.sum(0)),
        entropy=row_entropy(p).sum() / max(p.shape[0], 1),
    )
