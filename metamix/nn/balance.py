"""Step of the bias controllers of a network, which balance the load of the experts without a loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn

from metamix.nn.gates import SoftmaxGate


@torch.no_grad()
def update_balance(network: nn.Module, group: Any = None) -> None:
    """Move the selection biases of all gates with a ``bias_rate``; call it after each step of the optimiser.

    The bias of an expert that was selected for fewer rows than the mean is increased by ``bias_rate``, that of one
    selected for more decreased. Rows are counted in training since the last call, over several forward passes if
    gradients are accumulated, and over all processes if `torch.distributed` is initialised; all of them must call
    this function.

    Parameters
    ----------
    network : torch.nn.Module
    group : torch.distributed.ProcessGroup or None
        Processes whose rows are counted; None: all.

    References
    ----------
    Wang et al. (2024), Auxiliary-loss-free load balancing strategy for mixture-of-experts.

    Examples
    --------
    >>> gate = SoftmaxGate(3, 2, top_k=1, bias_rate=0.25)
    >>> _ = gate(torch.zeros(5, 3))  # ties go to the first expert
    >>> update_balance(gate)
    >>> gate.bias
    tensor([-0.2500,  0.2500])
    """
    for gate in network.modules():
        if not isinstance(gate, SoftmaxGate) or gate.bias is None:
            continue
        counts = gate.take_counts()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(counts, group=group)
        # In integers, so that equal counts are exactly equal to their mean.
        direction = torch.sign(counts.sum() - counts.numel() * counts)
        gate.bias.add_(direction.to(gate.bias.dtype), alpha=gate.bias_rate)
