"""Outputs of a gate: weights, selected experts, and the summary that a layer returns."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: With more rows than the first and fewer columns than the second, a softmax is computed over the transpose.
MANY_ROWS, SHORT_ROW = 512, 8


@dataclass(frozen=True)
class Routing:
    """Output of a gate for n rows and K experts.

    Parameters
    ----------
    weights : Tensor of shape (n, K)
        Weights of the experts' outputs; zero where an expert is not selected.
    probabilities : Tensor of shape (n, K)
        The full softmax, before selection; used by the losses.
    logits : Tensor of shape (n, K) or None
    indices : Tensor of shape (n, k) or None
        Selected experts, largest weight first; None for a gate that selects all.
    kept : Tensor of bool, shape (n, K), or None
        Mask of the selected experts where ``indices`` is None and their number varies by row.
    load : Tensor of shape (K,) or None
        Expected number of rows of each expert, differentiable; None: rows are counted.
    selectors : Tensor of shape (n, S, K) or None
        Distributions of which the weights are a mixture; the loss "entropy" is theirs.

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
        """Mask (n, K) of the experts to evaluate, or None for all."""
        if self.indices is None:
            return self.kept
        return torch.zeros_like(self.weights, dtype=torch.bool).scatter(-1, self.indices, True)

    def share(self) -> float:
        """Share of the n·K outputs that are needed."""
        if self.indices is not None:
            return self.indices.shape[-1] / self.weights.shape[-1]
        if self.kept is None or torch.compiler.is_compiling() or self.kept.is_meta:  # a count breaks compiled graphs
            return 1.0
        return float(self.kept.float().mean())

    def counts(self) -> Tensor:
        """Number of rows (K,) of each expert."""
        mask = self.mask()
        return (self.weights != 0 if mask is None else mask).sum(0).to(self.weights.dtype)


class SparseRouting(Routing):
    """Routing with k experts per row; the (n, K) weights and probabilities are computed on first access.

    With few rows a layer uses neither, and computing them costs as much as the selection.

    Parameters
    ----------
    scores : Tensor of shape (n, K)
        Argument of the full softmax.
    factors : Tensor of shape (n, k)
        Weights of the selected experts.
    indices, logits, load
        As in `Routing`.
    probabilities : Tensor of shape (n, K) or None
        The full softmax, if already computed.
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

    # Not cached_property: it uses a lock, which torch.compile cannot trace.
    @property
    def weights(self) -> Tensor:
        """Weights (n, K), zero where an expert is not selected."""
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
        """Share of the n·K outputs that are needed."""
        return self.indices.shape[-1] / self.scores.shape[-1]


@dataclass(frozen=True)
class RoutingInfo:
    """Summary returned by a layer with ``return_info=True``; (...) are the leading dimensions of x.

    Parameters
    ----------
    weights : Tensor of shape (..., K)
        Weights of the experts' outputs.
    indices : Tensor of shape (..., k) or None
        Selected experts, largest weight first; None for a soft gate.
    logits : Tensor of shape (..., K) or None
        None if a custom gate returned weights only.
    losses : dict of str to Tensor
        Auxiliary losses by name, before their coefficients.
    load : Tensor of shape (K,)
        Number of rows of each expert, or its expectation for a noisy gate in training.
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
    """Return a context that disables autocast for the device of x.

    Examples
    --------
    >>> with torch.autocast("cpu"), full_precision(torch.zeros(1)):
    ...     (torch.zeros(1, 1) @ torch.zeros(1, 1)).dtype
    torch.float32
    """
    kind = x.device.type
    # Checked first, because entering the autocast context costs more than a small product.
    return torch.autocast(kind, enabled=False) if has_autocast(kind) else nullcontext()


def has_autocast(kind: str) -> bool:
    """Return whether autocast is enabled for a device type; False for types without it, such as meta.

    Examples
    --------
    >>> has_autocast("cpu"), has_autocast("meta")
    (False, False)
    """
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def rows_unknown(x: Tensor) -> bool:
    """Whether the number of rows is not to be looked at: in `torch.export`, and on the meta device without values.

    A branch on the number of rows would freeze it in an exported program.

    Examples
    --------
    >>> rows_unknown(torch.zeros(1)), rows_unknown(torch.zeros(1, device="meta"))
    (False, True)
    """
    return torch.compiler.is_exporting() or x.is_meta


def mean_over_rows(values: Tensor) -> Tensor:
    """Mean over the first dimension; zero if it is empty.

    Examples
    --------
    >>> mean_over_rows(torch.zeros(0))
    tensor(0.)
    """
    return values.sum(0) / torch.sym_max(values.shape[0], 1)  # type: ignore[no-untyped-call]


def at_least_float32(x: Tensor) -> Tensor:
    """Return x, converted to float32 if it has lower precision.

    Examples
    --------
    >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension; for many short rows on a CPU over the transpose, in a third of the time.

    Examples
    --------
    >>> softmax(torch.zeros(1, 4))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    short = scores.ndim == 2 and scores.shape[1] < SHORT_ROW and scores.is_cpu
    if short and not torch.compiler.is_compiling() and scores.shape[0] > MANY_ROWS:
        # Stored by rows again, as products with weights stored by columns take about twice as long.
        return torch.softmax(scores.t().contiguous(), 0).t().contiguous()
    return torch.softmax(scores, -1)


def largest(scores: Tensor, k: int) -> Tensor:
    """Indices of the k largest scores of each row in descending order; ties go to the lower index.

    ``torch.topk`` does not specify the order of ties, and sorting every row is slower than k maxima for k ≤ 4.

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
    if k > 4 or rows_unknown(scores) or scores.numel() < 4096:  # for small tensors one sort is faster than k calls
        return torch.sort(scores, dim=-1, descending=True, stable=True).indices[..., :k]
    # Minus infinity marks selected entries, so scores are clamped to finite values.
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
    """Turn logits into weights: a softmax over all experts, or over the k largest logits.

    For k = 1 the weight is the probability of the full softmax: renormalised it would be 1, with no gradient for
    the gate.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
    top_k : int or None
        Experts selected per row; None: all.
    raw : bool or None
        True: weights are the probabilities of the full softmax; False: renormalised to sum to one; None: True for
        k = 1.
    scores : Tensor of shape (n, K) or None
        Argument of the softmax, such as logits with noise or dropout; None: the logits.
    choice : Tensor of shape (n, K) or None
        Scores by which the k experts are selected; None: ``scores``.
    load : Tensor of shape (K,) or None
        Stored in the result.

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
        return SparseRouting(scores, full.gather(-1, indices), indices, logits, load, full)
    return SparseRouting(scores, softmax(scores.gather(-1, indices)), indices, logits, load)


def keep_largest(routing: Routing, top_k: int | None, *, raw: bool | None = None) -> Routing:
    """Keep the k largest weights of a gate that selects all experts.

    Parameters
    ----------
    routing : Routing
    top_k : int or None
        Weights kept per row; None: all.
    raw : bool or None
        True: the weights are kept as they are; False: rescaled to sum to one; None: True for k = 1 (see
        `from_logits`).

    Returns
    -------
    Routing

    Examples
    --------
    >>> weights = torch.tensor([[0.5, 0.3, 0.2]])
    >>> keep_largest(Routing(weights, weights), top_k=2).weights
    tensor([[0.6250, 0.3750, 0.0000]])
    """
    if top_k is None:
        return routing
    indices = largest(routing.weights, top_k)
    kept = routing.weights.gather(-1, indices)
    if not (top_k == 1 if raw is None else raw):
        kept = kept / kept.sum(-1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)
    weights = torch.zeros_like(routing.weights).scatter(-1, indices, kept)
    return replace(routing, weights=weights, indices=indices)


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
    # Clamped inside the logarithm only, so that the gradient at p = 0 is finite.
    return -(p * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum(-1)


def restore_leading_dims(values: Tensor, leading: torch.Size) -> Tensor:
    """Reshape rows (n, o) to the leading dimensions of the input, (..., o).

    Examples
    --------
    >>> restore_leading_dims(torch.zeros(6, 4), torch.Size([2, 3])).shape
    torch.Size([2, 3, 4])
    """
    return values.reshape(*leading, values.shape[-1])


def routing_info(
    routing: Routing,
    losses: dict[str, Tensor],
    leading: torch.Size,
    columns: Tensor | None = None,
    n_experts: int = 0,
) -> RoutingInfo:
    """Summarise a routing, in the leading dimensions of the input.

    Parameters
    ----------
    routing : Routing
    losses : dict of str to Tensor
    lead : torch.Size
    columns : Tensor of int64, shape (K_t,), or None
        Indices of the experts of this gate among all ``n_experts``; None: all.
    n_experts : int

    Returns
    -------
    RoutingInfo
        Experts that the gate does not use have weight, load and importance 0 and logit minus infinity.

    Examples
    --------
    >>> routing_info(from_logits(torch.zeros(6, 2)), {}, torch.Size([2, 3])).weights.shape
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
        weights=restore_leading_dims(spread(routing.weights), leading),
        indices=None if indices is None else restore_leading_dims(indices, leading),
        logits=None if routing.logits is None else restore_leading_dims(spread(routing.logits, -torch.inf), leading),
        losses=losses,
        load=spread(load),
        importance=spread(routing.weights.sum(0)),
        entropy=mean_over_rows(row_entropy(p)),
    )
