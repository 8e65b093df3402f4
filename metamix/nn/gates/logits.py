"""Map from rows to gate logits: linear or a small network, in float32 or higher, small at initialisation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metamix.data.scalars import is_whole
from metamix.nn.experts import widths_of
from metamix.nn.routing import at_least_float32, full_precision, largest

#: Standard deviation of the initial weights of the last layer: nearly equal gate weights without ties.
INITIAL_STD = 0.01


def check_top_k(top_k: int | None, n_experts: int, who: str) -> None:
    """Check that top_k is None or an integer from 1 to K.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_top_k(2, 3, "MoE")
    """
    if top_k is None:
        return
    if not is_whole(top_k) or top_k > n_experts:
        raise ValueError(
            f"{who}: top_k={top_k!r} with {n_experts} experts; give an integer from 1 to {n_experts}, or None."
        )


class SmallLinear(nn.Linear):
    """Linear map that is initialised with normal weights of a given standard deviation and zero biases.

    Parameters
    ----------
    in_features, out_features : int
    std : float

    Examples
    --------
    >>> SmallLinear(3, 2, std=0.0)(torch.ones(1, 3)).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, in_features: int, out_features: int, std: float) -> None:
        self.std = std  # first, since the base class initialises the weights
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        """Initialise the weights and biases."""
        super().reset_parameters()
        nn.init.normal_(self.weight, std=self.std)
        nn.init.zeros_(self.bias)


class LogitMap(nn.Module):
    """Logits of rows: a linear map, or a network with ReLU if ``hidden`` lists widths.

    Computed in float32 or higher, also under autocast and with bfloat16 or float16 parameters, because the
    selection of experts is sensitive to rounding.

    Parameters
    ----------
    in_features, out_features : int
    hidden : int or sequence of int
        Widths of hidden layers; () is linear.
    std : float
        Standard deviation of the initial weights of the last layer.

    Examples
    --------
    >>> LogitMap(3, 2, hidden=8)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, in_features: int, out_features: int, hidden: int | Sequence[int] = (), std: float = INITIAL_STD
    ) -> None:
        super().__init__()
        widths = [in_features, *widths_of(hidden)]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, SmallLinear(widths[-1], out_features, std))

    def reset_parameters(self) -> None:
        """Initialise the last layer with small weights, the others as torch does."""
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of rows x (n, d)."""
        with full_precision(x):
            if next(iter(self.layers)).weight.dtype in (torch.bfloat16, torch.float16):
                raised = {name: at_least_float32(value) for name, value in self.layers.named_parameters()}
                return functional_call(self.layers, raised, (at_least_float32(x),))
            return self.layers(at_least_float32(x))


def drop_experts(logits: Tensor, probability: float, keep: int) -> Tensor:
    """Set logits to minus infinity with a given probability (gate dropout); at least ``keep`` per row remain.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
    probability : float
    keep : int

    Returns
    -------
    Tensor of shape (n, K)

    References
    ----------
    Zhao et al. (2019), Recommending what video to watch next.

    Examples
    --------
    >>> drop_experts(torch.zeros(2, 3), 1.0, keep=1).isfinite().sum(1)
    tensor([1, 1])
    """
    drawn = torch.rand_like(logits)
    gone = (drawn < probability).scatter(-1, largest(drawn, keep), False)
    return logits.masked_fill(gone, -torch.inf)
