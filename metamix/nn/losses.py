"""Auxiliary losses of gates, by name with a coefficient."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from metamix.data.scalars import is_number
from metamix.nn.collection import LossSource
from metamix.nn.routing import Routing, mean_over_rows, row_entropy


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
    return counts.numel() * (share * mean_over_rows(routing.probabilities)).sum()


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
    return mean_over_rows(torch.logsumexp(routing.logits, -1).square())


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
    return mean_over_rows(row_entropy(p))


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
    return mean_over_rows(row_entropy(p)) - row_entropy(mean_over_rows(p))


LOSSES: dict[str, Callable[[Routing], Tensor]] = {
    "balance": balance,
    "importance": importance,
    "load": load,
    "z": z,
    "entropy": entropy,
    "mutual_information": mutual_information,
}


def _variation(values: Tensor) -> Tensor:
    return values.var(correction=0) / (values.mean().square() + 1e-10)


class AuxiliaryLosses(LossSource):
    """Compute the auxiliary losses of a gate; in training `collect_losses` collects their weighted sum.

    Parameters
    ----------
    coefficients : mapping of str to float
        Coefficient in the sum by name of the loss (balance, importance, load, z, entropy, mutual_information);
        with 0 the loss is only reported.

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

    def forward(self, routing: Routing, output: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Losses by name of a routing, and the output of the layer, to be used instead (see `LossSource`)."""
        found = {name: LOSSES[name](routing) for name in self.coefficients}
        if self.training and found:
            output = self.contribute(
                torch.stack([self.coefficients[name] * found[name] for name in found]).sum(), output
            )
        return found, output

    def extra_repr(self) -> str:
        """Text inside the parentheses of the repr."""
        return ", ".join(f"{name}={value:g}" for name, value in self.coefficients.items())
