"""Gates with noise in training: noisy top-k and Gumbel softmax; evaluation is deterministic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from metamix.nn.gates.logits import LogitMap, check_top_k
from metamix.nn.routing import Routing, from_logits, keep_largest


def expected_load(clean: Tensor, noisy: Tensor, spread: Tensor, top_k: int) -> Tensor:
    """Expected number of rows of each expert when its own noise is redrawn.

    P(kept) = Φ((z_e − t_e) / sd_e) with t_e the k-th largest noisy logit *without* e, summed over the rows.
    Its expectation over all noise sums to k·n.

    Parameters
    ----------
    clean, noisy, spread : Tensor of shape (n, K)
        Logits, logits with noise, and the standard deviation of the noise.
    top_k : int

    Returns
    -------
    Tensor of shape (K,)

    References
    ----------
    Shazeer et al. (2017), Outrageously large neural networks, appendix A.

    Examples
    --------
    >>> clean = torch.zeros(1, 2)
    >>> expected_load(clean, clean, torch.ones(1, 2), top_k=1)
    tensor([0.5000, 0.5000])
    """
    if top_k == clean.shape[-1]:
        return torch.ones_like(clean).sum(0)
    order = noisy.topk(top_k + 1, dim=-1).values
    last_in, first_out = order[..., -2:-1], order[..., -1:]
    # Without e, the k-th largest is the same if e is below it, and the (k+1)-th if e is among the k largest.
    threshold = torch.where(noisy >= last_in, first_out, last_in)
    return torch.special.ndtr((clean - threshold) / spread).sum(0)


class NoisyTopKGate(nn.Module):
    """Top-k of logits with normal noise of learned standard deviation; noise in training only.

    H = z + ε · (softplus(W x) + 0.01) with ε ~ N(0, 1); the weights are the softmax over the k largest H.

    Parameters
    ----------
    in_features : int
    n_experts : int
    top_k : int
        Experts kept per row.
    hidden : int or sequence of int
        Widths of hidden layers of the map from x to z; () is linear.
    temperature : float
        Divisor of z.
    raw : bool or None
        See `SoftmaxGate`.

    Raises
    ------
    ValueError
        If top_k is not from 1 to K.

    References
    ----------
    Shazeer et al. (2017), Outrageously large neural networks.

    Examples
    --------
    >>> gate = NoisyTopKGate(3, 4, top_k=2)
    >>> gate(torch.zeros(5, 3)).indices.shape, gate(torch.zeros(5, 3)).load.shape
    (torch.Size([5, 2]), torch.Size([4]))
    """

    def __init__(
        self,
        in_features: int,
        n_experts: int,
        top_k: int = 2,
        *,
        hidden: int | Sequence[int] = (),
        temperature: float = 1.0,
        raw: bool | None = None,
    ) -> None:
        super().__init__()
        check_top_k(top_k, n_experts, "NoisyTopKGate")
        self.map = LogitMap(in_features, n_experts, hidden)
        self.noise = LogitMap(in_features, n_experts, std=0.0)
        self.top_k, self.temperature, self.raw = top_k, temperature, raw

    def reset_parameters(self) -> None:
        """Initialise both maps, that of the noise with zeros."""
        self.map.reset_parameters()
        self.noise.reset_parameters()

    def forward(self, x: Tensor) -> Routing:
        """Route rows x (n, d)."""
        logits = self.map(x)
        clean = logits / self.temperature
        if not self.training:
            return from_logits(logits, self.top_k, raw=self.raw, scores=clean)
        spread = softplus(self.noise(x)) + 0.01
        noisy = clean + torch.randn_like(clean) * spread
        load = expected_load(clean, noisy, spread, self.top_k)
        return from_logits(logits, self.top_k, raw=self.raw, scores=noisy, load=load)


class GumbelGate(nn.Module):
    """Softmax of (z + G) / τ with Gumbel noise G, drawn for every row in training.

    In evaluation the weights are the mean over draws made once at construction and shared by all rows and calls,
    so that outputs are deterministic and independent of the other rows; ``draws=0`` uses no noise.

    Parameters
    ----------
    in_features : int
    n_experts : int
    top_k : int or None
    hidden : int or sequence of int
        Widths of hidden layers of the map from x to z; () is linear.
    temperature : float
        τ.
    draws : int
        Number of draws that the weights are averaged over in evaluation.

    Raises
    ------
    ValueError
        If top_k is not from 1 to K.

    References
    ----------
    Jang, Gu and Poole (2017), Categorical reparameterization with Gumbel-softmax.

    Examples
    --------
    >>> gate = GumbelGate(3, 4).eval()
    >>> bool((gate(torch.zeros(1, 3)).weights == gate(torch.zeros(1, 3)).weights).all())
    True
    """

    draws: Tensor

    def __init__(
        self,
        in_features: int,
        n_experts: int,
        top_k: int | None = None,
        *,
        hidden: int | Sequence[int] = (),
        temperature: float = 1.0,
        draws: int = 10,
    ) -> None:
        super().__init__()
        check_top_k(top_k, n_experts, "GumbelGate")
        self.map = LogitMap(in_features, n_experts, hidden)
        self.top_k, self.temperature = top_k, temperature
        # A buffer: saved in the state_dict and moved with the module.
        self.register_buffer("draws", gumbel(torch.empty(draws, n_experts)))

    def reset_parameters(self) -> None:
        """Initialise the map, and draw the noise of evaluation again."""
        self.map.reset_parameters()
        self.draws.copy_(gumbel(torch.empty_like(self.draws)))

    def forward(self, x: Tensor) -> Routing:
        """Route rows x (n, d)."""
        logits = self.map(x)
        if self.training:
            scores = (logits + gumbel(torch.empty_like(logits))) / self.temperature
            return from_logits(logits, self.top_k, scores=scores)
        if not len(self.draws):
            return from_logits(logits, self.top_k, scores=logits / self.temperature)
        noise = self.draws.to(logits.dtype)
        mean = torch.softmax((logits.unsqueeze(-2) + noise) / self.temperature, -1).mean(-2)
        return keep_largest(Routing(mean, mean, logits), self.top_k)


def gumbel(like: Tensor) -> Tensor:
    """Fill a tensor with draws from the standard Gumbel distribution.

    Examples
    --------
    >>> gumbel(torch.empty(2, 3)).shape
    torch.Size([2, 3])
    """
    return like.exponential_().log().neg()
