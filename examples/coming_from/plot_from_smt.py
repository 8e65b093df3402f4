"""
Coming from SMT
===============

The mixture of experts of SMT (``smt.applications.moe.MOE``) clusters the points (x, y) by a Gaussian mixture, fits a
surrogate to each cluster, and weighs them by the Gaussians over x. A mixture with a Gaussian gate and the start
"joint_gmm" is the same model. It differs in how it is fitted: experts and gate are adapted to each other in rounds,
and judged on held-out points.
"""

import contextlib
import io
from importlib.util import find_spec

import numpy as np
from matplotlib import pyplot as plt

from metamix import MixtureRegressor

rng = np.random.default_rng(0)


def function(x):
    """Three pieces."""
    return np.select([x < 0.4, x < 0.8], [x**2, 3 * x + 1], np.sin(10 * x))


x = np.sort(rng.uniform(0, 1, 60))
X, y = x[:, None], function(x)
line = np.linspace(0, 1, 1001)
truth = function(line)

# %%
# The same model on both sides
# ----------------------------
#
# .. code-block:: python
#
#     moe = MOE(n_clusters=3, smooth_recombination=True, xt=X, yt=y, allow=["QP"])
#     moe.train()
#
# A parabola for each of three clusters, and smooth weights:
options = {"specialize": True, "start": "joint_gmm", "random_state": 0}
smooth = MixtureRegressor(["quadratic"], n_experts=3, gate="gmm", **options).fit(X, y)

# %%
# ``smooth_recombination=False`` takes the expert with the largest weight, which is ``top_k=1``:
hard = MixtureRegressor(["quadratic"], n_experts=3, gate="gmm", top_k=1, **options).fit(X, y)

# %%
# Gaussians overlap, while the pieces of this function do not. Any other gate can take their place, here a tree:
tree = MixtureRegressor(["quadratic"], n_experts=3, gate="tree", **options).fit(X, y)

models = {"smooth": smooth.predict, "hard": hard.predict, "tree": tree.predict}
if find_spec("smt"):
    from smt.applications.moe import MOE

    for name, recombination in (("SMT, smooth", True), ("SMT, hard", False)):
        moe = MOE(n_clusters=3, smooth_recombination=recombination, xt=X, yt=y, allow=["QP"])
        with contextlib.redirect_stdout(io.StringIO()):  # it reports on every expert
            moe.train()
        models[name] = lambda X, moe=moe: moe.predict_values(X).ravel()
else:
    print("SMT is not installed: pip install smt")

for name, predict in models.items():
    error = np.linalg.norm(predict(line[:, None]) - truth) / np.linalg.norm(truth)
    print(f"{name:12} relative error {error:.3f}")

# %%
figure, axes = plt.subplots(1, len(models), figsize=(2.6 * len(models), 2.8), layout="constrained", sharey=True)
for ax, (name, predict) in zip(axes, models.items(), strict=True):
    ax.plot(line, truth, color="0.7", linewidth=3)
    ax.plot(line, predict(line[:, None]), linewidth=1)
    ax.plot(x, y, ".", color="0.3", markersize=3)
    ax.set(title=name, xlabel="x")
plt.show()

# %%
# What else has a counterpart
# ---------------------------
#
# - ``n_clusters``: ``n_experts``; "auto" counts
# - ``allow``, ``deny``: the list of experts; each regime takes the one that fits it best
# - LS, QP, KRG, RBF, IDW, ...: "linear", "quadratic", "kriging", "rbf", ..., and any estimator
# - ``smooth_recombination``: ``top_k=None`` or 1, of the same fitted gate
# - ``heaviside_optimization``: ``GaussianGate(sharpness=...)``, or another gate
# - ``predict_values``: ``predict(X)``
# - ``predict_derivatives``: ``predict_gradient(X)``, all columns at once
# - ``predict_variances``: ``predict_variance(X)``, within experts and between them
