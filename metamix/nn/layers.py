"""Layers: `MoE`, a mixture of experts, and `MMoE`, shared experts with one gate and tower per task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from metamix.nn.dispatch import check_dispatch, mix, mix_one, work_per_row
from metamix.nn.experts import MLPExperts, check_count, count_experts, make_experts
from metamix.nn.gates import check_losses, default_losses, make_gate, route
from metamix.nn.losses import AuxiliaryLosses
from metamix.nn.routing import Routing, RoutingInfo, restore_leading_dims, routing_info
from metamix.nn.visibility import check_length, check_visible


class MoE(nn.Module):
    """Mixture of experts: maps rows x (..., d) to Σ_k g_k(x) · f_k(x) of shape (..., o).

    In evaluation the output of a row is deterministic and does not depend on the other rows.

    Parameters
    ----------
    in_features : int
        Width d of a row.
    experts : list of torch.nn.Module, or MLPExperts
        Modules of any kind that map rows (n, d) to (n, o). Initialise each independently: copies of one module get
        the same gradients and stay copies.
    gate : str or torch.nn.Module
        softmax, top_k, noisy_top_k, dselect_k, gumbel, static; or a module that maps rows (n, d) to a `Routing` or to
        weights (n, K) that are nonnegative and sum to one.
    top_k : int or None
        Experts selected per row; None: all, or two for top_k, noisy_top_k and dselect_k. A gate module with a
        ``top_k`` of its own selects by that.
    gate_options : mapping or None
        Further parameters of the named gate, such as ``hidden``, ``temperature``, ``dropout`` or ``static``.
    losses : mapping of str to float, or None
        Auxiliary losses by name with their coefficients; None: none for soft gates, balance 0.01 for top-k,
        importance and load 0.1 for noisy top-k. They have no effect until you collect them with `collect_losses`
        and add them to your loss.
    dispatch : str
        auto, dense (every expert on every row), segments (each expert on its selected rows) or grouped
        (one grouped product; `MLPExperts` only). Programs of `torch.export` are dense.

    Attributes
    ----------
    experts : torch.nn.ModuleList or MLPExperts
    gate : torch.nn.Module

    Raises
    ------
    ValueError
        If a name is unknown, top_k is not from 1 to K or not that of the gate, or there are no experts.

    References
    ----------
    Jacobs et al. (1991), Adaptive mixtures of local experts; Shazeer et al. (2017).

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(4, 8), MoE(8, MLPExperts(4, 8, 16, 8), top_k=2), nn.Linear(8, 1))
    >>> network(torch.zeros(5, 4)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        in_features: int,
        experts: Iterable[nn.Module] | MLPExperts,
        gate: str | nn.Module = "softmax",
        top_k: int | None = None,
        *,
        gate_options: Mapping[str, Any] | None = None,
        losses: Mapping[str, float] | None = None,
        dispatch: str = "auto",
    ) -> None:
        super().__init__()
        self.in_features, self.top_k, self.dispatch = in_features, top_k, check_dispatch(dispatch)
        self.experts = make_experts(experts, in_features)
        self.n_experts, self.work = count_experts(self.experts), work_per_row(self.experts)
        self.gate = make_gate(gate, in_features, self.n_experts, top_k, gate_options)
        losses = default_losses(self.gate, top_k) if losses is None else losses
        check_losses(losses, self.gate, top_k)
        self.losses = AuxiliaryLosses(losses)

    def reset_parameters(self) -> None:
        """Initialise the gate and the experts: all modules in them that have a `reset_parameters` of their own."""
        reset_parts(self)

    @overload
    def forward(self, x: Tensor, return_info: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, return_info: Literal[True]) -> tuple[Tensor, RoutingInfo]: ...
    def forward(self, x: Tensor, return_info: bool = False) -> Tensor | tuple[Tensor, RoutingInfo]:
        """Weighted sum of the experts' outputs.

        Parameters
        ----------
        x : Tensor of shape (..., d)
        return_info : bool
            Whether to return a `RoutingInfo` too.

        Returns
        -------
        Tensor of shape (..., o); with ``return_info`` also a `RoutingInfo`

        Raises
        ------
        ValueError
            If input or output widths are invalid.
        """
        rows = as_rows(x, self.in_features, "MoE")
        check_count(self.experts, self.n_experts)
        routing = route(self.gate, rows, self.n_experts, self.top_k)
        mixed = mix_one(self.experts, rows, routing, self.dispatch, self.work)
        losses: dict[str, Tensor] = {}
        if self.training or return_info:
            losses, mixed = self.losses(routing, mixed)
        y = restore_leading_dims(mixed, x.shape[:-1])
        return (y, routing_info(routing, losses, x.shape[:-1])) if return_info else y


class MMoE(nn.Module):
    """Multi-gate mixture of experts: several tasks over shared experts, one gate and tower per task (Ma et al. 2018).

    ``visible`` restricts experts to some tasks: customised gate control (CGC, Tang et al. 2020); a sequence of
    such layers is progressive layered extraction (PLE), see `owned_and_shared`. A single gate module is shared by
    all tasks (OMoE). With sparse gates each expert is called once, on the union of the rows of all tasks.

    Parameters
    ----------
    in_features : int
    experts : list of torch.nn.Module, or MLPExperts
        See `MoE`.
    n_tasks : int
        T.
    towers : list of T torch.nn.Module, or None
        Applied to each task's mixture; None: identity.
    visible : array-like of bool, shape (T, K), or None
        Which experts each task uses; None: all.
    gate : str, torch.nn.Module, or list of T of them
        See `MoE`; a task's gate has one column per expert of that task.
    top_k, gate_options, losses, dispatch
        See `MoE`; top_k is per task, losses are summed over the gates.
    reads : sequence of int, length K, or None
        With a list of inputs, the index of the input of each expert; gate t reads the t-th.

    Raises
    ------
    ValueError
        As in `MoE`, and if towers, visible or reads have the wrong length or shape.

    Examples
    --------
    >>> layer = MMoE(4, MLPExperts(3, 4, 16, 8), 2, towers=[nn.Linear(8, 1), nn.Linear(8, 3)])
    >>> [y.shape for y in layer(torch.zeros(5, 4))]
    [torch.Size([5, 1]), torch.Size([5, 3])]
    """

    def __init__(
        self,
        in_features: int,
        experts: Iterable[nn.Module] | MLPExperts,
        n_tasks: int,
        towers: Sequence[nn.Module] | None = None,
        visible: Any = None,
        *,
        gate: str | nn.Module | Sequence[str | nn.Module] = "softmax",
        top_k: int | None = None,
        gate_options: Mapping[str, Any] | None = None,
        losses: Mapping[str, float] | None = None,
        dispatch: str = "auto",
        reads: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.n_tasks, self.top_k = in_features, n_tasks, top_k
        self.dispatch = check_dispatch(dispatch)
        self.experts = make_experts(experts, in_features)
        self.n_experts, self.work = count_experts(self.experts), work_per_row(self.experts)
        mask = check_visible(visible, n_tasks, self.n_experts).tolist()
        # Lists and not a buffer, which would be empty on the meta device.
        self.visible_experts = [[e for e, seen in enumerate(row) if seen] for row in mask]
        gates = list(gate) if isinstance(gate, Sequence) and not isinstance(gate, str) else [gate] * n_tasks
        check_length(gates, n_tasks, "gates, one per task")
        counts = [len(visible_experts) for visible_experts in self.visible_experts]
        self.gate = nn.ModuleList(
            make_gate(g, in_features, K, top_k, gate_options, f"the gate of task {t}")
            for t, (g, K) in enumerate(zip(gates, counts, strict=True))
        )
        # For each task the first task with the same gate module.
        self.first = [next(s for s in range(t + 1) if self.gate[s] is self.gate[t]) for t in range(n_tasks)]
        wanted = [default_losses(g, top_k) if losses is None else losses for g in self.gate]
        for g, of_gate in zip(self.gate, wanted, strict=True):
            check_losses(of_gate, g, top_k)
        self.losses = nn.ModuleList(AuxiliaryLosses(of_gate) for of_gate in wanted)
        check_length(towers, n_tasks, "towers, one per task")
        self.towers = None if towers is None else nn.ModuleList(towers)
        check_length(reads, self.n_experts, "reads, one per expert")
        self.reads = None if reads is None else [int(read) for read in reads]

    def reset_parameters(self) -> None:
        """Initialise gates, experts and towers: all modules in them that have a `reset_parameters` of their own."""
        reset_parts(self)

    @overload
    def forward(self, x: Tensor | Sequence[Tensor], return_info: Literal[False] = False) -> list[Tensor]: ...
    @overload
    def forward(
        self, x: Tensor | Sequence[Tensor], return_info: Literal[True]
    ) -> tuple[list[Tensor], list[RoutingInfo]]: ...
    def forward(
        self, x: Tensor | Sequence[Tensor], return_info: bool = False
    ) -> list[Tensor] | tuple[list[Tensor], list[RoutingInfo]]:
        """Outputs of each task.

        Parameters
        ----------
        x : Tensor of shape (..., d), or a list of them
            One input for all tasks, or one per task (and further ones, which only experts read).
        return_info : bool
            Whether to return a `RoutingInfo` per task too.

        Returns
        -------
        list of T Tensor, shape (..., o) or the output shapes of the towers; with ``return_info`` also a list of T
        `RoutingInfo`

        Raises
        ------
        ValueError
            If widths are invalid, or there are too few inputs.
        """
        streams = [x] if isinstance(x, Tensor) else list(x)
        leading = streams[0].shape[:-1]
        rows = [as_rows(stream, self.in_features, "MMoE") for stream in streams]
        self._check_streams(rows)
        check_count(self.experts, self.n_experts)
        first = self.first if len(rows) == 1 else list(range(self.n_tasks))
        routings = self._route(rows, first)
        weights = torch.stack([self._expand_columns(r.weights, t) for t, r in enumerate(routings)], 1)
        kept, share = self._needed_answers(routings)
        reads = self.reads if len(rows) > 1 else None
        mixed = mix(self.experts, rows, weights, kept, reads=reads, dispatch=self.dispatch, share=share, work=self.work)
        losses: dict[int, dict[str, Tensor]] = {}
        if self.training or return_info:
            for t in sorted(set(first)):
                losses[t], mixed = self.losses[t](routings[t], mixed)
        outputs = [restore_leading_dims(y, leading) for y in mixed.unbind(1)]
        if self.towers is not None:
            outputs = [tower(y) for tower, y in zip(self.towers, outputs, strict=True)]
        if not return_info:
            return outputs
        return outputs, [self._routing_info(t, routings[t], losses[first[t]], leading) for t in range(self.n_tasks)]

    def _check_streams(self, rows: list[Tensor]) -> None:
        if len(rows) == 1:
            return
        needed = max(self.n_tasks, 1 + max(self.reads or [0]))
        if self.reads is None or len(rows) < needed:
            raise ValueError(
                f"MMoE got {len(rows)} inputs; give one, or at least {needed} together with reads, the index of the "
                "input of each expert (owned_and_shared returns visible and reads)."
            )

    def _route(self, rows: list[Tensor], first: list[int]) -> list[Routing]:
        # A gate shared by tasks is evaluated once per input, so that its noise is the same for all of them.
        routings: list[Routing] = []
        for t, gate in enumerate(self.gate):
            new = first[t] == t
            stream = rows[t if len(rows) > 1 else 0]
            routings.append(
                route(gate, stream, len(self.visible_experts[t]), self.top_k) if new else routings[first[t]]
            )
        return routings

    def _columns(self, t: int, device: torch.device) -> Tensor | None:
        """Indices (K_t,) of the experts of a task; None if these are all."""
        mine = self.visible_experts[t]
        return None if len(mine) == self.n_experts else torch.tensor(mine, device=device)

    def _expand_columns(self, values: Tensor, t: int) -> Tensor:
        """Expand the columns (n, K_t) of a task's experts to all experts (n, K)."""
        columns = self._columns(t, values.device)
        if columns is None:
            return values
        return values.new_zeros(values.shape[0], self.n_experts).index_copy(1, columns, values)

    def _needed_answers(self, routings: list[Routing]) -> tuple[Tensor | None, float]:
        """Mask (n, K) of the outputs that any task needs, and an estimate of its share from shapes."""
        masks = [routing.mask() for routing in routings]
        if all(mask is None for mask in masks):
            return None, 1.0
        weights = routings[0].weights
        needed = torch.zeros(weights.shape[0], self.n_experts, dtype=torch.bool, device=weights.device)
        unneeded = 1.0
        for t, (routing, mask) in enumerate(zip(routings, masks, strict=True)):
            whole = torch.ones_like(routing.weights, dtype=torch.bool) if mask is None else mask
            needed = needed | self._expand_columns(whole, t)
            # Assumes independent selections; a count would synchronise with the GPU.
            unneeded *= 1 - routing.share() * len(self.visible_experts[t]) / self.n_experts
        return needed, 1 - unneeded

    def _routing_info(self, t: int, routing: Routing, losses: dict[str, Tensor], leading: torch.Size) -> RoutingInfo:
        columns = self._columns(t, routing.weights.device)
        return routing_info(routing, losses, leading, columns, self.n_experts)


def as_rows(x: Tensor, in_features: int, who: str) -> Tensor:
    """Flatten the leading dimensions: (..., d) to (n, d).

    Raises
    ------
    ValueError
        If the last dimension is not d.

    Examples
    --------
    >>> as_rows(torch.zeros(2, 3, 4), 4, "MoE").shape
    torch.Size([6, 4])
    """
    if x.ndim == 0 or x.shape[-1] != in_features:
        raise ValueError(f"{who} expects x of shape (..., {in_features}), in_features last; got {tuple(x.shape)}.")
    return x.flatten(0, -2) if x.ndim > 1 else x.unsqueeze(0)


def reset_parts(module: nn.Module) -> None:
    """Call `reset_parameters` of each child of a module, or of its children where it has none.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> _ = nn.init.zeros_(network[0].weight)
    >>> reset_parts(network)
    >>> bool(network[0].weight.any())
    True
    """
    for child in module.children():
        reset = getattr(child, "reset_parameters", None)
        if callable(reset):
            reset()
        else:
            reset_parts(child)
