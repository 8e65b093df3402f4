"""Gates: modules that map rows (n, d) to weights (n, K) of the experts, available by name."""

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
from metamix.nn.routing import Routing, SparseRouting, at_least_float32, full_precision, keep_largest

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
_CLASSES = (SoftmaxGate, NoisyTopKGate, DSelectKGate, GumbelGate, StaticGate)
#: How far the weights of a custom gate may be from a sum of one; a softmax in bfloat16 is within 0.004.
WEIGHT_TOLERANCE = 0.02
#: Gates for which top_k defaults to 2.
_NEED_TOP_K = {"top_k", "noisy_top_k", "dselect_k"}


def make_gate(
    gate: str | nn.Module,
    in_features: int,
    n_experts: int,
    top_k: int | None = None,
    options: Mapping[str, Any] | None = None,
    who: str = "gate",
) -> nn.Module:
    """Build the gate of that name; a module is returned as it is.

    Parameters
    ----------
    gate : str or torch.nn.Module
    in_features, n_experts : int
    top_k : int or None
        Experts kept per row; None: two for top_k, noisy_top_k and dselect_k, all for the others.
    options : mapping or None
        Further parameters of the gate's class.
    who : str
        Name used in error messages.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If the name is unknown, top_k is out of range or not that of a module, or options are unknown or given with a
        module.

    Examples
    --------
    >>> type(make_gate("top_k", 3, 4)).__name__
    'SoftmaxGate'
    """
    check_top_k(top_k, n_experts, who)
    if isinstance(gate, nn.Module):
        if options:
            raise ValueError(f"gate_options={dict(options)} need the name of a gate; set them on the module itself.")
        _check_same_top_k(gate, top_k, who)
        return gate
    if gate not in GATES:
        near = difflib.get_close_matches(str(gate), GATES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"gate={gate!r} is unknown.{hint} Give a module or one of {', '.join(GATES)}.")
    if gate in _NEED_TOP_K and top_k is None:
        top_k = min(2, n_experts)
    try:
        return GATES[gate](in_features, n_experts, top_k, **(options or {}))
    except TypeError as error:
        known = ", ".join(list(inspect.signature(GATES[gate]).parameters)[3:])
        raise ValueError(
            f"gate={gate!r} does not accept gate_options={dict(options or {})}; it accepts {known}: {error}"
        ) from error


def default_losses(gate: nn.Module, top_k: int | None) -> dict[str, float]:
    """Default auxiliary losses of a gate: none for soft gates.

    Examples
    --------
    >>> default_losses(SoftmaxGate(3, 4), None), default_losses(SoftmaxGate(3, 4), 2)
    ({}, {'balance': 0.01})
    """
    if isinstance(gate, NoisyTopKGate):
        return {"importance": 0.1, "load": 0.1}
    return {"balance": 0.01} if _is_sparse(gate, top_k) else {}


def check_losses(losses: Mapping[str, float], gate: nn.Module, top_k: int | None) -> None:
    """Check that the losses are defined for a gate of this package.

    Raises
    ------
    ValueError
        If 'balance' is given for a gate that keeps all experts, 'load' for a gate without noise, or 'z' for a gate
        without logits.

    Examples
    --------
    >>> check_losses({"balance": 0.01}, SoftmaxGate(3, 4), top_k=1)
    """
    if not isinstance(gate, _CLASSES):
        return
    name = type(gate).__name__
    if "balance" in losses and not _is_sparse(gate, top_k):
        raise ValueError(
            f"The loss 'balance' counts the selected experts, and {name} without top_k selects all: use "
            "'mutual_information', 'entropy' or a sparse gate."
        )
    if "load" in losses and not isinstance(gate, NoisyTopKGate):
        raise ValueError(f"The loss 'load' needs the noise of gate='noisy_top_k', got {name}: use 'balance'.")
    if "z" in losses and isinstance(gate, DSelectKGate):
        raise ValueError(f"The loss 'z' needs logits over experts, which {name} does not have: use 'entropy'.")


def _is_sparse(gate: nn.Module, top_k: int | None) -> bool:
    return not isinstance(gate, DSelectKGate) and (top_k or _own_top_k(gate)) is not None


def _own_top_k(gate: nn.Module) -> Any:
    """Number of experts that a gate selects by itself; None if it leaves the selection to the layer."""
    return getattr(gate, "top_k", None)


def _check_same_top_k(gate: nn.Module, top_k: int | None, who: str) -> None:
    own = _own_top_k(gate)
    if top_k is not None and own is not None and own != top_k:
        raise ValueError(
            f"{who}: the layer has top_k={top_k} and {type(gate).__name__} its own top_k={own}; build the gate with "
            f"top_k={top_k} or leave top_k of the layer None."
        )


def route(gate: nn.Module, x: Tensor, n_experts: int, top_k: int | None = None) -> Routing:
    """Evaluate a gate; weights returned by a custom gate are wrapped in a `Routing`.

    Parameters
    ----------
    gate : torch.nn.Module
    x : Tensor of shape (n, d)
    n_experts : int
    top_k : int or None
        Weights kept per row where the gate does not select experts itself.

    Returns
    -------
    Routing

    Raises
    ------
    ValueError
        If the weights are not of shape (n, K) or, returned as a tensor, no probabilities; or if the gate selects
        another number of experts than top_k.

    Examples
    --------
    >>> gate = nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1))
    >>> route(gate, torch.zeros(5, 3), n_experts=2).weights.shape
    torch.Size([5, 2])
    """
    _check_same_top_k(gate, top_k, "gate")
    # Under autocast the selection of experts would be made in reduced precision.
    with full_precision(x):
        output = gate(_cast_for_gate(gate, x))
    if isinstance(output, SparseRouting) and output.scores.shape == (x.shape[0], n_experts):
        return output
    weights = output.weights if isinstance(output, Routing) else output
    if not isinstance(weights, Tensor) or weights.shape != (x.shape[0], n_experts):
        what = tuple(weights.shape) if isinstance(weights, Tensor) else type(output).__name__
        raise ValueError(
            f"The gate {type(gate).__name__} returned {what} for {x.shape[0]} rows; "
            f"expected weights of shape ({x.shape[0]}, {n_experts}), one column per expert."
        )
    if not isinstance(output, Routing):
        weights = at_least_float32(weights)
        _check_probabilities(weights, gate)
        output = Routing(weights, weights)
    if top_k is None or _own_top_k(gate) is not None or output.indices is not None:
        return output
    return keep_largest(output, top_k, raw=getattr(gate, "raw", None))


def _check_probabilities(weights: Tensor, gate: nn.Module) -> None:
    if torch.compiler.is_compiling() or weights.is_meta:  # there are no values to check
        return
    # Comparisons with NaN are false: a row with NaN has NaN as its answer, as it has with other gates.
    wrong = (weights < 0).any(-1) | ((weights.sum(-1) - 1).abs() > WEIGHT_TOLERANCE)
    if wrong.any():
        row = ", ".join(f"{weight:.3g}" for weight in weights[wrong][0].tolist()[:5])
        raise ValueError(
            f"The gate {type(gate).__name__} returned rows such as ({row}{', ...' if weights.shape[1] > 5 else ''}); "
            "weights must be nonnegative and sum to one. If they are logits, end the gate with torch.nn.Softmax(-1); "
            "if they are meant to have another sum, return Routing(weights, probabilities)."
        )


def _cast_for_gate(gate: nn.Module, x: Tensor) -> Tensor:
    """Rows in float32 or higher, unless the parameters of a custom gate have the reduced precision of x."""
    if x.dtype not in (torch.bfloat16, torch.float16):
        return x
    first = next(gate.parameters(), None)
    return x if first is not None and first.dtype == x.dtype else x.float()
