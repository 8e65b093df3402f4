"""DSelect-k: differentiable selection of k experts by smooth binary codes, sparse at the end of training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metamix.nn.gates.logits import INITIAL_STD, LogitMap, check_top_k
from metamix.nn.routing import Routing, at_least_float32


def smooth_step(t: Tensor, gamma: float = 1.0) -> Tensor:
    """Smooth step S(t): 0 below −γ/2, 1 above γ/2, −2t³/γ³ + 3t/(2γ) + ½ between them.

    Parameters
    ----------
    t : Tensor
    gamma : float
        Width of the step.

    Returns
    -------
    Tensor
        Same shape as t.

    References
    ----------
    Hazimeh et al. (2021), DSelect-k.

    Examples
    --------
    >>> smooth_step(torch.tensor([-0.6, 0.0, 0.25, 0.6]))
    tensor([0.0000, 0.5000, 0.8438, 1.0000])
    """
    t = t.clamp(-gamma / 2, gamma / 2)
    return -2 * (t / gamma) ** 3 + 1.5 * t / gamma + 0.5


def selection(bits: Tensor, n_experts: int) -> Tensor:
    """Distribution of a selector over experts: the probability of expert e is the product over the bits of its code.

    Bit j of e is (e >> j) & 1. If K is not a power of two, the 2^m − K unused codes are assigned to the first
    experts, so that the weights sum to one (the published code leaves them unassigned and penalises them).

    Parameters
    ----------
    bits : Tensor of shape (..., m)
        Probability that each bit is set, m = ⌈log₂ K⌉.
    n_experts : int

    Returns
    -------
    Tensor of shape (..., K)

    Examples
    --------
    >>> selection(torch.tensor([1.0, 0.0]), 4)
    tensor([0., 1., 0., 0.])
    """
    m = bits.shape[-1]
    codes = torch.arange(2**m, device=bits.device)
    is_set = (codes.unsqueeze(-1) >> torch.arange(m, device=bits.device)) & 1
    each = torch.where(is_set.bool(), bits.unsqueeze(-2), 1 - bits.unsqueeze(-2)).prod(-1)
    more = 2**m - n_experts
    return torch.cat([each[..., :more] + each[..., n_experts:], each[..., more:n_experts]], -1) if more else each


class DSelectKGate(nn.Module):
    """k selectors of ⌈log₂ K⌉ smooth bits each, mixed by a softmax: at most k experts once all bits are 0 or 1.

    Weights are dense at first; in evaluation experts with weight exactly zero are not evaluated. The loss
    "entropy" (per selector) speeds up the convergence of the bits.

    Parameters
    ----------
    in_features : int
    n_experts : int
    top_k : int
        Number of selectors, and of experts per row after convergence.
    static : bool
        One selection for all rows (one per task in `MMoE`) instead of one per row.
    gamma : float
        Width of the smooth step.

    Raises
    ------
    ValueError
        If top_k is not from 1 to K.

    References
    ----------
    Hazimeh et al. (2021), DSelect-k: differentiable selection in the mixture of experts.

    Examples
    --------
    >>> DSelectKGate(3, 5, top_k=2)(torch.zeros(4, 3)).selectors.shape
    torch.Size([4, 2, 5])
    """

    def __init__(
        self, in_features: int, n_experts: int, top_k: int = 2, *, static: bool = False, gamma: float = 1.0
    ) -> None:
        super().__init__()
        check_top_k(top_k, n_experts, "DSelectKGate")
        self.n_experts, self.top_k, self.gamma = n_experts, top_k, gamma
        m = (n_experts - 1).bit_length()
        self.map = None if static else LogitMap(in_features, top_k * (m + 1))
        self.logits = nn.Parameter(torch.empty(top_k * (m + 1))) if static else None
        if static:  # a map has initialised itself
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the map or the logits with small numbers."""
        if self.map is not None:
            self.map.reset_parameters()
        if self.logits is not None:
            nn.init.normal_(self.logits, std=INITIAL_STD)

    def forward(self, x: Tensor) -> Routing:
        """Route rows x (n, d)."""
        if self.logits is not None:
            numbers = at_least_float32(self.logits).expand(x.shape[0], -1)
        else:
            assert self.map is not None
            numbers = self.map(x)
        numbers = numbers.reshape(x.shape[0], self.top_k, numbers.shape[-1] // self.top_k)
        # The first number of each selector is its mixing logit, the others are its bits.
        share = torch.softmax(numbers[..., 0], -1).unsqueeze(-1)
        selectors = selection(smooth_step(numbers[..., 1:], self.gamma), self.n_experts)
        weights = (share * selectors).sum(-2)
        kept = None if self.training else weights != 0
        return Routing(weights, weights, kept=kept, selectors=selectors)
