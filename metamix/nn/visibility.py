"""Which experts each task sees, and which input each expert reads: CGC and PLE as masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def owned_and_shared(
    n_tasks: int, owned: int, shared: int, shared_stream: bool = False
) -> tuple[Tensor, tuple[int, ...]]:
    """Masks for experts owned by one task each, and experts shared by all.

    Experts come in the order: those of the first task, of the second, ..., the shared ones. One `MMoE` with
    this mask is customised gate control. For progressive layered extraction chain such layers: all but the
    last with ``shared_stream=True`` and T + 1 tasks (the last task is the shared stream, which sees every
    expert), all with ``reads``, and put them into `torch.nn.Sequential`.

    Parameters
    ----------
    n_tasks : int
        T, without the shared stream.
    owned : int
        Experts of each task.
    shared : int
        Experts of all.
    shared_stream : bool
        Whether to add a row for the shared stream.

    Returns
    -------
    visible : Tensor of bool, shape (T, K) or (T + 1, K)
    reads : tuple of int, length K
        Owned experts read their task's stream, shared ones the stream T.

    References
    ----------
    Tang et al. (2020), Progressive layered extraction.

    Examples
    --------
    >>> visible, reads = owned_and_shared(2, owned=1, shared=1)
    >>> visible.int().tolist(), reads
    ([[1, 0, 1], [0, 1, 1]], (0, 1, 2))
    """
    mine = torch.eye(n_tasks, dtype=torch.bool).repeat_interleave(owned, dim=1)
    visible = torch.cat([mine, torch.ones(n_tasks, shared, dtype=torch.bool)], dim=1)
    if shared_stream:
        visible = torch.cat([visible, torch.ones(1, visible.shape[1], dtype=torch.bool)])
    reads = [t for t in range(n_tasks) for _ in range(owned)] + [n_tasks] * shared
    return visible, tuple(reads)


def check_visible(visible: Any, n_tasks: int, n_experts: int) -> Tensor:
    """Return the mask (T, K), all true where there is none.

    Raises
    ------
    ValueError
        If its shape is another, a task sees no expert, or an expert is seen by no task.

    Examples
    --------
    >>> check_visible([[1, 0], [1, 1]], 2, 2)
    tensor([[ True, False],
            [ True,  True]])
    """
    if visible is None:
        return torch.ones(n_tasks, n_experts, dtype=torch.bool)
    mask = torch.as_tensor(visible).bool().cpu()
    if mask.shape != (n_tasks, n_experts):
        raise ValueError(
            f"visible has shape {tuple(mask.shape)}; ({n_tasks}, {n_experts}) would do, a row per task and a "
            "column per expert."
        )
    for axis, what in ((1, "task {} sees no expert"), (0, "expert {} is seen by no task")):
        none = (~mask.any(axis)).nonzero().flatten().tolist()
        if none:
            raise ValueError(f"visible: {what.format(none[0])}; its {'row' if axis else 'column'} needs a 1.")
    return mask


def check_length(given: Sequence[Any] | None, length: int, what: str) -> None:
    """Refuse a list of another length.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_length([1, 2], 2, "towers, one per task")
    """
    if given is not None and len(given) != length:
        raise ValueError(f"There are {len(given)} {what}; {length} are needed.")
