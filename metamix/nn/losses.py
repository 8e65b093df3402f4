"""Auxiliary losses of gates, by name with a coefficient; the value of the last training forward is stored."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metamix.data.scalars import is_number
from metamix.nn.routing import Routing, row_entropy


def balance(routing: Routing) -> Tensor:
    """K · Σ_e f_e · P_e: 1 if balanced, K/k if all rows select the same k experts.

    f_e is the share of the k·n assignments that go to expert e, so Σ_e f_e = 1; P_e is the mean of its full
    softmax. Other libraries omit the factors 1/k or K.

    Parameters
    ----------
    routing : Routing
        Of a gate that selects k of the K experts.

    Returns
    -------
    Tensor
        A scalar.

    References
    ----------
    Fedus, Zoph and Shazeer (2022), Switch transformers.

    Examples
    --------
    >>> from metamix.nn.routing import from_logits
    >>> balance(from_logits(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), top_k=1))
    tensor(1.)
    """
    counts = routing.counts()
    share = counts / counts.sum().clamp(min=1)
    return counts.numel() * (share * _mean(routing.probabilities)).sum()


def importance(routing: Routing) -> Tensor:
    """Squared coefficient of variation, over experts, of the sum of the weights (Shazeer et al. 2017).

    Examples
    --------
    >>> weights = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> importance(Routing(weights, weights))
    tensor(1.)
    """
    return _variation(routing.weights.sum(0))


def load(routing: Routing) -> Tensor:
    """Squared coefficient of variation, over experts, of the expected number of rows (Shazeer et al. 2017).

    The expectation is defined (and differentiable) for a noisy gate in training; otherwise rows are counted.

    Examples
    --------
    >>> weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> load(Routing(weights, weights, indices=torch.tensor([[0], [1]])))
    tensor(0.)
    """
    return _variation(routing.counts() if routing.load is None else routing.load)


def z(routing: Routing) -> Tensor:
    """Mean of (log Σ exp z)², a penalty on large logits (Zoph et al. 2022, ST-MoE).

    Raises
    ------
    ValueError
        If the gate has no logits.

    Examples
    --------
    >>> from metamix.nn.routing import from_logits
    >>> z(from_logits(torch.tensor([[0.0]])))
    tensor(0.)
    """
    if routing.logits is None:
        raise ValueError("The loss 'z' needs logits, and this gate returns weights only: remove it from losses.")
    return _mean(torch.logsumexp(routing.logits, -1).square())


def entropy(routing: Routing) -> Tensor:
    """Mean entropy of the rows' probabilities, in nats; 0 if one expert has probability one in every row.

    For DSelect-k it is the mean entropy of the selectors.

    Examples
    --------
    >>> weights = torch.full((3, 4), 0.25)
    >>> entropy(Routing(weights, weights))
    tensor(1.3863)
    """
    p = routing.probabilities if routing.selectors is None else routing.selectors.flatten(0, 1)
    return _mean(row_entropy(p))


def mutual_information(routing: Routing) -> Tensor:
    """Negative mutual information of row and expert, in nats.

    −I = mean over rows of H(p) − H(mean of p), between −log K and 0; smallest if every row uses one expert and all
    experts are used equally.

    Examples
    --------
    >>> weights = torch.eye(2)
    >>> mutual_information(Routing(weights, weights))
    tensor(-0.6931)
    """
    p = routing.probabilities
    return _mean(row_entropy(p)) - row_entropy(_mean(p))


LOSSES: dict[str, Callable[[Routing], Tensor]] = {
    "balance": balance,
    "importance": importance,
    "load": load,
    "z": z,
    "entropy": entropy,
    "mutual_information": mutual_information,
}


def _mean(values: Tensor) -> Tensor:
    # A batch without rows contributes zero.
    return values.sum(0) / max(values.shape[0], 1)


def _variation(values: Tensor) -> Tensor:
    return values.var(correction=0) / (values.mean().square() + 1e-10)


class AuxiliaryLosses(nn.Module):
    """Compute auxiliary losses; the weighted sum of the last training forward is stored.

    Parameters
    ----------
    coefficients : mapping of str to float
        Coefficient in the total by name of the loss (balance, importance, load, z, entropy, mutual_information);
        with 0 the loss is only reported.

    Attributes
    ----------
    total : Tensor or None
        Sum of coefficient times loss in the last training forward; None before.

    Raises
    ------
    ValueError
        If the name of a loss is unknown.

    Examples
    --------
    >>> AuxiliaryLosses({"balance": 0.01})
    AuxiliaryLosses(balance=0.01)
    """

    def __init__(self, coefficients: Mapping[str, float]) -> None:
        super().__init__()
        if not isinstance(coefficients, Mapping):
            raise ValueError(
                f"losses={coefficients!r} is no mapping; give coefficients by name, such as {{'load': 0.1}}."
            )
        for name, value in coefficients.items():
            if not is_number(value):
                raise ValueError(f"losses has the coefficient {value!r} of {name!r}; give a number.")
            if name not in LOSSES:
                near = difflib.get_close_matches(str(name), LOSSES, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"The auxiliary loss {name!r} is unknown.{hint} Give some of {', '.join(LOSSES)}.")
        self.coefficients = {name: float(value) for name, value in coefficients.items()}
        self.total: Tensor | None = None

    def forward(self, routings: Sequence[Routing]) -> list[dict[str, Tensor]]:
        """Losses by name of each routing; in training their weighted sum is stored as ``total``."""
        found = [{name: LOSSES[name](routing) for name in self.coefficients} for routing in routings]
        if self.training:
            terms = [self.coefficients[name] * value for losses in found for name, value in losses.items()]
            self.total = torch.stack(terms).sum() if terms else None
        return found

    def forget(self) -> None:
        """Clear the total of the last training forward."""
        self.total = None

    def extra_repr(self) -> str:
        """Text inside the parentheses of the repr."""
        return ", ".join(f"{name}={value:g}" for name, value in self.coefficients.items())

    def __getstate__(self) -> dict[str, Any]:
        # The total holds an autograd graph, which cannot be copied or pickled.
        return {**self.__dict__, "total": None}


def auxiliary_loss(network: nn.Module) -> Tensor:
    """Sum of the auxiliary losses of the last training forward of a network, nested layers included.

    Add it to your own loss before ``backward``. A module used in several places of the network counts once, with
    the value of its last call.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    Tensor
        A scalar; zero if no layer has an auxiliary loss.

    Examples
    --------
    >>> from torch import nn
    >>> from metamix.nn import MoE
    >>> layer = MoE(3, [nn.Linear(3, 1), nn.Linear(3, 1)], top_k=1, losses={"z": 1.0})
    >>> network = nn.Sequential(nn.Linear(4, 3), layer)
    >>> _ = network(torch.zeros(5, 4))
    >>> bool(auxiliary_loss(network) > 0)
    True
    """
    totals = [m.total for m in network.modules() if isinstance(m, AuxiliaryLosses) and m.total is not None]
    if totals:
        return torch.stack([total.to(totals[0].device) for total in totals]).sum()
    first = next(network.parameters(), None)
    return torch.zeros((), device=None if first is None else first.device)


def forget_losses(module: nn.Module) -> None:
    """Clear the stored auxiliary losses of a module and its submodules.

    Examples
    --------
    >>> forget_losses(AuxiliaryLosses({}))
    """
    for part in module.modules():
        if isinstance(part, AuxiliaryLosses):
            part.forget()
