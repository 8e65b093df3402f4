"""Gates by name: modules that route rows (n, d) to experts; any module that returns weights (n, K) is one too."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metamix.nn.gates.dselect import DSelectKGate, smooth_step
from metamix.nn.gates.logits import check_top_k
from metamix.nn.gates.noisy import GumbelGate, NoisyTopKGate, expected_load
from metamix.nn.gates.softmax import SoftmaxGate, StaticGate
from metamix.nn.routing import ChosenRouting, Routing, at_least_float32, from_weights, full_precision

__all__ = [
    "GATES", "DSelectKGate", "GumbelGate", "NoisyTopKGate", "SoftmaxGate", "StaticGate", "check_losses",
    "default_losses", "expected_load", "make_gate", "route", "smooth_step",
]  # fmt: skip

GATES: dict[str, Callable[..., nn.Module]] = {
    "softmax": SoftmaxGate,
    "top_k": SoftmaxGate,
    "noisy_top_k": NoisyTopKGate,
    "dselect_k": DSelectKGate,
    "gumbel": GumbelGate,
    "static": StaticGate,
}
#: These keep two experts where top_k is not given.
_NEED_TOP_K = {"top_k", "noisy_top_k", "dselect_k"}


def make_gate(
    gate: str | nn.Module,
    in_features: int,
    n_experts: int,
    top_k: int | None = None,
    options: Mapping[str, Any] | None = None,
    who: str = "gate",
) -> nn.Module:
    """Return the gate of a name, unfitted, or a module as it is.

    Parameters
    ----------
    gate : str or torch.nn.Module
    in_features, n_experts : int
    top_k : int or None
        Experts kept; None: two for gates that must choose, all for the others.
    options : mapping or None
        Further parameters of the gate's class.
    who : str
        What an error calls it.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If there is no gate of that name, top_k does not fit, or options are unknown or go with a module.

    Examples
    --------
    >>> type(make_gate("top_k", 3, 4)).__name__
    'SoftmaxGate'
    """
    check_top_k(top_k, n_experts, who)
    if isinstance(gate, nn.Module):
        if options:
            raise ValueError(f"gate_options={dict(options)} go with a gate's name; set them on the module itself.")
        return gate
    if gate not in GATES:
        near = difflib.get_close_matches(str(gate), GATES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"There is no gate {gate!r}.{hint} Give a module or one of {', '.join(GATES)}.")
    if gate in _NEED_TOP_K and top_k is None:
        top_k = min(2, n_experts)
    try:
        return GATES[gate](in_features, n_experts, top_k, **(options or {}))
    except TypeError as error:
        known = ", ".join(list(inspect.signature(GATES[gate]).parameters)[3:])
        raise ValueError(
            f"gate={gate!r} does not take gate_options={dict(options or {})}, but {known}: {error}"
        ) from error


def default_losses(gate: str | nn.Module, top_k: int | None) -> dict[str, float]:
    """Auxiliary losses of a gate where none are asked for: none for soft gates.

    Examples
    --------
    >>> default_losses("softmax", None), default_losses("softmax", 2)
    ({}, {'balance': 0.01})
    """
    if gate == "noisy_top_k":
        return {"importance": 0.1, "load": 0.1}
    return {"balance": 0.01} if isinstance(gate, str) and _counts(gate, top_k) else {}


def check_losses(losses: Mapping[str, float], gate: str | nn.Module, top_k: int | None) -> None:
    """Refuse losses that a named gate cannot have: of chosen experts where all are kept, of noise without any.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_losses({"balance": 0.01}, "softmax", top_k=1)
    """
    if not isinstance(gate, str):
        return
    if "balance" in losses and not _counts(gate, top_k):
        raise ValueError(
            f"The loss 'balance' counts the experts chosen, and gate={gate!r} without top_k keeps all of them: "
            "use 'mutual_information' or 'entropy', or a sparse gate."
        )
    if "load" in losses and gate != "noisy_top_k":
        raise ValueError(f"The loss 'load' is of noise, which gate={gate!r} has not: use 'balance', or noisy_top_k.")
    if "z" in losses and gate == "dselect_k":
        raise ValueError("The loss 'z' is of logits over experts, which gate='dselect_k' has not: use 'entropy'.")


def _counts(gate: str, top_k: int | None) -> bool:
    return gate != "dselect_k" and (top_k is not None or gate in _NEED_TOP_K)


def route(gate: nn.Module, x: Tensor, n_experts: int, top_k: int | None = None) -> Routing:
    """Ask a gate, also one that returns bare weights.

    Parameters
    ----------
    gate : torch.nn.Module
    x : Tensor of shape (n, d)
    n_experts : int
    top_k : int or None
        Weights kept where the gate returns bare weights.

    Returns
    -------
    Routing

    Raises
    ------
    ValueError
        If the weights are not of shape (n, K).

    Examples
    --------
    >>> gate = nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1))
    >>> route(gate, torch.zeros(5, 3), n_experts=2).weights.shape
    torch.Size([5, 2])
    """
    # Autocast would make the choice in few bits.
    with full_precision(x):
        said = gate(_as_it_likes(gate, x))
    if isinstance(said, ChosenRouting) and said.scores.shape == (x.shape[0], n_experts):
        return said
    weights = said.weights if isinstance(said, Routing) else said
    if not isinstance(weights, Tensor) or weights.shape != (x.shape[0], n_experts):
        what = tuple(weights.shape) if isinstance(weights, Tensor) else type(said).__name__
        raise ValueError(
            f"The gate {type(gate).__name__} got {x.shape[0]} rows and gave {what}; "
            f"weights of shape ({x.shape[0]}, {n_experts}) would do, one column per expert that it sees."
        )
    return said if isinstance(said, Routing) else from_weights(at_least_float32(weights), top_k)


def _as_it_likes(gate: nn.Module, x: Tensor) -> Tensor:
    """Rows in float32 at least, unless a foreign gate has been lowered with its whole network."""
    if x.dtype not in (torch.bfloat16, torch.float16):
        return x
    first = next(gate.parameters(), None)
    return x if first is not None and first.dtype == x.dtype else x.float()
