"""
Coming from a neural framework
==============================

Mixture-of-experts layers in torch code are usually a page of one's own: a linear router, a softmax, experts, a
weighted sum. ``metamix.nn.MoE`` is that layer. Below both are given the same weights and return the same numbers, for
all experts and for the two with the largest weights.
"""

import torch
from torch import nn

from metamix.nn import MLPExperts, MoE, collect_losses

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(256, 8)

# %%
# All experts
# -----------
#
# By hand: every expert sees every row.


class ByHand(nn.Module):
    """Linear router, small networks as experts, and optionally the two with the largest weights."""

    def __init__(self, top_k=None):
        super().__init__()
        self.router = nn.Linear(8, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)) for _ in range(4))
        self.top_k = top_k

    def forward(self, x):
        weights = self.router(x).softmax(dim=1)
        if self.top_k is not None:
            values, chosen = weights.topk(self.top_k, dim=1)
            weights = torch.zeros_like(weights).scatter(1, chosen, values / values.sum(dim=1, keepdim=True))
        outputs = torch.stack([expert(x) for expert in self.experts], dim=1)
        return (weights[:, :, None] * outputs).sum(dim=1)


by_hand = ByHand()

# %%
# The layer takes the same modules, and its gate has the parameters of the router.
layer = MoE(8, by_hand.experts, gate="softmax")
print({name: tuple(values.shape) for name, values in layer.gate.state_dict().items()})
layer.gate.load_state_dict(dict(zip(layer.gate.state_dict(), by_hand.router.state_dict().values(), strict=True)))
torch.testing.assert_close(layer(x), by_hand(x))
print(f"largest difference of the outputs: {(layer(x) - by_hand(x)).abs().max():.0e}")

# %%
# Gradients agree as well, so both train in the same way.
target = torch.randn(256, 3)
gradients = {}
for name, module, router in (("by hand", by_hand, by_hand.router), ("layer", layer, layer.gate)):
    module.zero_grad()
    (module(x) - target).square().mean().backward()
    gradients[name] = [parameter.grad.clone() for parameter in router.parameters()]
for one, other in zip(*gradients.values(), strict=True):
    torch.testing.assert_close(one, other)
print("gradients of the router agree")

# %%
# The two with the largest weights
# --------------------------------
#
# By hand all experts are still computed. The layer computes only those that are chosen, row by row, and reports how
# many rows each got.
sparse_by_hand = ByHand(top_k=2)
sparse_by_hand.load_state_dict(by_hand.state_dict())
sparse = MoE(8, sparse_by_hand.experts, gate="softmax", top_k=2)
sparse.gate.load_state_dict(layer.gate.state_dict())
output, info = sparse(x, return_info=True)
torch.testing.assert_close(output, sparse_by_hand(x))
print(f"largest difference of the outputs: {(output - sparse_by_hand(x)).abs().max():.0e}")
print("rows of each expert:", info.load.long().tolist(), "of", len(x))

# %%
# The balance loss
# ----------------
#
# Sparse layers need a loss that keeps experts in use. That of Switch Transformers (Fedus et al. 2022) is the number
# of experts times the sum over them of share of rows times mean probability; by hand:
shares = info.load / info.load.sum()
probability = layer(x, return_info=True)[1].weights.mean(dim=0)
print(f"by hand {4 * (shares * probability).sum():.4f}, layer {info.losses['balance']:.4f}")
torch.testing.assert_close(4 * (shares * probability).sum(), info.losses["balance"])

# %%
# In training, ``collect_losses`` adds up those of all layers, times their coefficients:
network = nn.Sequential(sparse, nn.ReLU(), nn.Linear(3, 1))
with collect_losses(network) as losses:
    loss = network(x).square().mean()
(loss + losses.total()).backward()
print(f"loss {loss:.4f}, auxiliary {losses.total():.4f}")

# %%
# A fused stack
# -------------
#
# Experts of one shape are faster as a single stack of tensors. The weights of a list can be copied into it.
stack = MLPExperts(4, 8, 16, 3)
with torch.no_grad():
    for number, expert in enumerate(by_hand.experts):
        for level, linear in enumerate((expert[0], expert[2])):
            stack.weights[level][number] = linear.weight.T
            stack.biases[level][number] = linear.bias
fused = MoE(8, stack, gate="softmax")
fused.gate.load_state_dict(layer.gate.state_dict())
torch.testing.assert_close(fused(x), by_hand(x))
print(f"largest difference of the outputs: {(fused(x) - by_hand(x)).abs().max():.0e}")

# %%
# For tables there are learners around these layers that need no training loop: ``NeuralMixtureRegressor``,
# ``NeuralMixtureClassifier`` and ``MultiTaskNeuralMixture``.
