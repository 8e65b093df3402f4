"""
A mixture of mixtures
=====================

A mixture is an estimator, so it can be an expert of another mixture. This gives a hierarchical mixture of experts:
the outer gate selects a branch, and the gate of the branch selects a linear model (Jordan & Jacobs 1994). Below, the
border between two planes differs from branch to branch, which a single gate with straight borders cannot describe.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score

from metamix import MixtureRegressor

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (900, 4))
branch = (X[:, 0] > 0).astype(int)
leaf = (X[:, 1] > np.where(branch == 1, 0.3, -0.3)).astype(int)
slopes = np.array([[[3, 0], [-3, 1]], [[0, 3], [1, -3]]])[branch, leaf]
y = 10 * branch + (X[:, 2:] * slopes).sum(axis=1) + 0.1 * rng.standard_normal(900)
train, test = np.arange(600), np.arange(600, 900)

# %%
# Two levels
# ----------
#
# ``specialize=True`` fits the specialised mixture only: its experts are refitted on the rows of their regime. The
# branches are visible in a histogram of y, so they are given as the start; the planes within a branch are found by
# the inner mixtures.


def branch_mixture():
    """Two planes and a gate."""
    planes = [("plane one", Ridge(1e-3)), ("plane two", Ridge(1e-3))]
    return MixtureRegressor(planes, specialize=True, cv=3, max_rounds=4)


nested = MixtureRegressor(
    [("low", branch_mixture()), ("high", branch_mixture())],
    specialize=True,
    start=(y[train] > 5).astype(int),
    cv=3,
    max_rounds=2,
    random_state=0,
)
nested.fit(X[train], y[train])

# %%
# Regimes found at each level
# ---------------------------
#
# Agreement is the adjusted Rand index on new rows: 1 is perfect, 0 is chance.
outer = nested.assign(X[test])
print(f"branches: {adjusted_rand_score(branch[test], outer):.2f}")
inner = np.zeros(len(test), dtype=int)
for k, (name, expert) in enumerate(nested.named_experts_.items()):
    rows = outer == k
    inner[rows] = expert.assign(X[test][rows])
    print(f"planes of {name}: {adjusted_rand_score(leaf[test][rows], inner[rows]):.2f}")

# %%
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
names = [f"{name}, {plane}" for name, expert in nested.named_experts_.items() for plane in expert.named_experts_]
for number, name in enumerate(names):
    rows = 2 * outer + inner == number
    ax.scatter(*X[test][rows, :2].T, s=18, color=f"C{number}", marker="os^D"[number], label=name)
ax.plot([-1, 0, 0, 0, 0, 1], [-0.3, -0.3, -1, 1, 0.3, 0.3], color="0.3", linewidth=1, label="true borders")
ax.set(xlabel="column 0", ylabel="column 1", title="Expert with the largest weight")
figure.legend(loc="outside right upper", frameon=False)
plt.show()

# %%
# Comparison with one level
# -------------------------
#
# The noise in y has a standard deviation of 0.1. Under straight borders four planes on one level are much worse than
# two levels. A tree as gate is a hierarchy in itself, and does even better here, where the borders run along the
# columns.


def flat(gate):
    """Four planes under one gate."""
    planes = [(f"plane {i}", Ridge(1e-3)) for i in range(4)]
    mixture = MixtureRegressor(planes, specialize=True, gate=gate, cv=3, max_rounds=6, random_state=0)
    return mixture.fit(X[train], y[train])


models = {
    "one plane": Ridge().fit(X[train], y[train]),
    "four planes, softmax": flat("softmax"),
    "four planes, tree": flat("tree"),
    "two levels": nested,
}
for name, model in models.items():
    print(f"{name:22} {np.sqrt(np.mean((model.predict(X[test]) - y[test]) ** 2)):.2f}")

# %%
# Uncertainty through both levels
# -------------------------------
#
# Near the border the outer gate gives weight to both branches, whose predictions differ, so the standard deviation is
# large there. Shown are the two test rows closest to the border, and the two farthest from it.
order = np.argsort(np.abs(X[test][:, 0]))
rows = test[order[[0, 1, -2, -1]]]
mean, std = nested.predict(X[rows], return_std=True)
print("column 0  prediction  deviation")
for x, m, s in zip(X[rows, 0], mean, std, strict=True):
    print(f"{x:8.3f}{m:12.2f}{s:11.2f}")
