"""Masks of the experts that each task uses, and the input that each expert reads (CGC and PLE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def owned_and_shared(
    n_tasks: int, owned: int, shared: int, shared_stream: bool = False
) -> tuple[Tensor, tuple[int, ...]]:
    """Masks for task-specific experts and experts shared by all tasks.

    The order of experts is: those of the first task, of the second, ..., the shared ones. One `MMoE` with this
    mask is customised gate control (CGC). For progressive layered extraction (PLE) put several such layers into
    `torch.nn.Sequential`, all with ``reads``; all but the last with ``shared_stream=True`` and T + 1 tasks (the
    last task is the shared stream, whose gate uses every expert).

    Parameters
    ----------
    n_tasks : int
        T, not counting the shared stream.
    owned : int
        Number of experts of each task.
    shared : int
        Number of shared experts.
    shared_stream : bool
        Whether to add a row for the shared stream.

    Returns
    -------
    visible : Tensor of bool, shape (T, K) or (T + 1, K)
    reads : tuple of int, length K
        Index of the stream of each expert: its task's, or T for shared experts.

    References
    ----------
    Tang et al. (2020), Progressive layered extraction.

    Examples
    --------
    >>> visible, reads = owned_and_shared(2, owned=1, shared=1)
    >>> visible.int().tolist(), reads
    ([[1, 0, 1], [0, 1, 1]], (0, 1, 2))
    """
    rows = [[t == owner for owner in range(n_tasks) for _ in range(owned)] + [True] * shared for t in range(n_tasks)]
    if shared_stream:
        rows.append([True] * (n_tasks * owned + shared))
    # On the CPU also where modules are built on the meta device, as the mask has to be read.
    visible = torch.tensor(rows, dtype=torch.bool, device="cpu")
    reads = [t for t in range(n_tasks) for _ in range(owned)] + [n_tasks] * shared
    return visible, tuple(reads)


def check_visible(visible: Any, n_tasks: int, n_experts: int) -> Tensor:
    """Validate the mask (T, K); None is a mask of ones.

    Raises
    ------
    ValueError
        If the shape differs, a task has no expert, or an expert has no task.

    Examples
    --------
    >>> check_visible([[1, 0], [1, 1]], 2, 2)
    tensor([[ True, False],
            [ True,  True]])
    """
    if visible is None:
        return torch.ones(n_tasks, n_experts, dtype=torch.bool, device="cpu")
    mask = torch.as_tensor(visible, device="cpu").bool()
    if mask.shape != (n_tasks, n_experts):
        raise ValueError(
            f"visible has shape {tuple(mask.shape)}; expected ({n_tasks}, {n_experts}), a row per task and a "
            "column per expert."
        )
    for axis, what in ((1, "task {} has no expert"), (0, "expert {} has no task")):
        none = (~mask.any(axis)).nonzero().flatten().tolist()
        if none:
            raise ValueError(f"visible: {what.format(none[0])}; set a 1 in its {'row' if axis else 'column'}.")
    return mask


def check_length(given: Sequence[Any] | None, length: int, what: str) -> None:
    """Check the length of a sequence.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_length([1, 2], 2, "towers, one per task")
    """
    if given is not None and len(given) != length:
        raise ValueError(f"Got {len(given)} {what}; expected {length}.")
