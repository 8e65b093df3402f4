"""
A mixture as a layer of a network
=================================

``metamix.nn.MoE`` is a ``torch.nn.Module`` that maps rows to rows, so it can replace a linear layer. We simulate
three regimes in a plane, train a network with and without such a layer, and inspect its routing.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn

from metamix.nn import MLPExperts, MoE, collect_losses

torch.manual_seed(0)
torch.set_num_threads(1)


def simulate(n):
    """Rows of 2 coordinates and 4 features; the coordinates determine the regime."""
    x = torch.cat([torch.rand(n, 2) * 2 - 1, torch.randn(n, 4)], 1)
    regime = (x[:, 0] > 0).long() + ((x[:, 0] > 0) & (x[:, 1] > 0)).long()
    slopes = torch.tensor([[2.0, -1, 0, 0], [-2, 0, 1, 0], [0, 2, 0, -2]])
    y = (slopes[regime] * x[:, 2:]).sum(1, keepdim=True) + 0.1 * torch.randn(n, 1)
    return x, y, regime


x, y, regime = simulate(2000)
x_test, y_test, regime_test = simulate(2000)

# %%
# Replacing a layer
# -----------------
#
# Two networks differ in their first layer. The mixture has four linear experts although there are three regimes,
# since the right number is unknown in practice, and each row uses two experts. Its gate is a small network, because
# the border between the regimes has a corner.
torch.manual_seed(0)
plain = nn.Sequential(nn.Linear(6, 75), nn.ReLU(), nn.Linear(75, 8), nn.ReLU(), nn.Linear(8, 1))


def with_mixture(**options):
    layer = MoE(6, MLPExperts(4, 6, (), 8), top_k=2, gate_options={"hidden": 32}, **options)
    return nn.Sequential(layer, nn.Linear(8, 1))


mixed = with_mixture()
layer = mixed[0]
layer.experts, layer.losses


# %%
# An auxiliary loss in the training loop
# --------------------------------------
#
# A sparse gate may send most rows to a few experts. The layer has a loss that balances the load (by default
# ``balance``, with coefficient 0.01), which has no effect until it is added to the training loss: within
# ``collect_losses(network)`` the losses of all layers that are called are collected, and their total is zero if there
# are none. This is the only change of the training loop.
def train(network, x, y, epochs=60):
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    rows = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=rows).split(100):
            with collect_losses(network) as losses:
                loss = (network(x[batch]) - y[batch]).square().mean()
            optimizer.zero_grad()
            (loss + losses.total()).backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def error(network):
    return float((network(x_test) - y_test).square().mean().sqrt())


for name, one in (("plain", plain), ("mixture", mixed)):
    train(one, x, y)
    print(f"{name:8} {sum(p.numel() for p in one.parameters()):5} weights, error {error(one):.2f}")

# %%
# Routing information
# -------------------
#
# ``return_info=True`` returns the routing with the output: weights, selected experts, number of rows per expert
# (``load``), total weight per expert (``importance``), entropy of the gate (``entropy``, in nats; log 4 is 1.39), and
# the auxiliary losses before multiplication with their coefficients.
with torch.no_grad():
    _, info = layer(x_test, return_info=True)
print("load       ", info.load.long().tolist(), "of", len(x_test), "rows, two experts each")
print("importance ", info.importance.round().long().tolist())
print("entropy    ", round(float(info.entropy), 2))
print("balance    ", round(float(info.losses["balance"]), 2), "(1 is even, 2 is two experts for everything)")

# %%
# Which expert has the largest weight in each regime? Rows of this table are the simulated regimes, columns the
# experts.
leader = info.weights.argmax(1)
table = np.zeros((3, 4), dtype=int)
np.add.at(table, (regime_test.numpy(), leader.numpy()), 1)
table

# %%
# Weights over the plane
# ----------------------
#
# The mean weight of each expert over the plane, with the other features drawn at random as in training. The lines are
# the borders of the regimes.
ticks = torch.linspace(-1, 1, 41)
place = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)
weights = torch.zeros(len(place), 4)
with torch.no_grad():
    for _ in range(20):
        rows = torch.cat([place, torch.randn(len(place), 4)], 1)
        weights += layer(rows, return_info=True)[1].weights / 20

figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained", sharex=True, sharey=True)
for e, axis in enumerate(axes):
    image = axis.imshow(
        weights[:, e].view(41, 41), origin="lower", extent=(-1, 1, -1, 1), vmin=0, vmax=1, cmap="viridis"
    )
    axis.plot([0, 0], [-1, 1], color="white", linewidth=1)
    axis.plot([0, 1], [0, 0], color="white", linewidth=1)
    axis.set_title(f"expert {e}")
    axis.set_xlabel("column 0")
axes[0].set_ylabel("column 1")
figure.colorbar(image, ax=axes, label="mean weight", shrink=0.75)
plt.show()

# %%
# Effect of the auxiliary loss
# ----------------------------
#
# The same network is trained twice more from the same initial weights: without the loss, and with a coefficient one
# hundred times as large. The loss balances the load; the test error shows whether a balanced load is better.
loads = {f"balance 0.01\nerror {error(mixed):.2f}": info.load}
for name, losses in (("no loss", {}), ("balance 1", {"balance": 1.0})):
    torch.manual_seed(0)
    nn.Linear(6, 75), nn.Linear(75, 8), nn.Linear(8, 1)  # so that the initial weights are those of the mixture above
    one = train(with_mixture(losses=losses), x, y)
    with torch.no_grad():
        loads[f"{name}\nerror {error(one):.2f}"] = one[0](x_test, return_info=True)[1].load

figure, axes = plt.subplots(1, 3, figsize=(8, 2.4), layout="constrained", sharey=True)
for axis, (name, load) in zip(axes, loads.items(), strict=True):
    axis.bar(range(4), load)
    axis.axhline(len(x_test) * 2 / 4, color="0.4", linewidth=1, linestyle="--")
    axis.set_title(name, fontsize=10)
    axis.set_xticks(range(4))
    axis.set_xlabel("expert")
axes[0].set_ylabel("rows (dashed: even)")
plt.show()

# %%
# Your own experts
# ----------------
#
# Experts can be any modules with the same input and output widths, different ones in one layer. A layer is a module,
# so mixtures can be nested. A fitted scikit-learn model can be used as a ``FrozenExpert``, which is not trained.
from sklearn.ensemble import ExtraTreesRegressor

from metamix.nn import FrozenExpert

trees = ExtraTreesRegressor(100, min_samples_leaf=5, random_state=0).fit(x[:1000].numpy(), y[:1000, 0].numpy())
inner = MoE(6, MLPExperts(3, 6, (), 1), gate_options={"hidden": 32})
outer = train(MoE(6, [FrozenExpert(trees), nn.Linear(6, 1), inner]), x[1000:], y[1000:], epochs=40)
with torch.no_grad():
    _, info = outer(x_test, return_info=True)
print(f"trees {error(FrozenExpert(trees)):.2f}, all {error(outer):.2f}")
print("mean weight of trees, line, inner mixture:", (info.importance / len(x_test)).numpy().round(2))

# %%
# The parameters are saved in an ordinary ``state_dict``.
copy = with_mixture().eval()
copy.load_state_dict(mixed.state_dict())
assert torch.equal(copy(x_test), mixed(x_test))
