"""
A surrogate with a jump
=======================

A simulation that takes hours is replaced by a model of some hundred runs. Where the response jumps, a single smooth
model rings around the jump, and its uncertainty is wrong there. A mixture of smooth experts has a border instead. The
function below has one; we look at the error, the uncertainty near the border and the gradient, and run the mixtures
of SMT and egobox on the same points where these packages are installed.
"""

import contextlib
import io
import time
from importlib.util import find_spec

import numpy as np
from matplotlib import pyplot as plt
from scipy.stats import qmc

from metamix import MixtureRegressor
from metamix.gates import SoftmaxGate


def simulation(X):
    """A paraboloid that jumps by ten at the borders of the first quadrant."""
    return (X**2).sum(axis=1) + np.where((X >= 0).all(axis=1), 5.0, -5.0)


X = qmc.scale(qmc.LatinHypercube(2, seed=0).random(120), -1, 1)
y = simulation(X)
X_new = qmc.scale(qmc.Sobol(2, seed=1).random(1024), -1, 1)
truth = simulation(X_new)


def relative_error(predicted):
    """Norm of the errors over the norm of the truth, on new points."""
    return np.linalg.norm(np.ravel(predicted) - truth) / np.linalg.norm(truth)


# %%
# Regimes of smooth functions
# ---------------------------
#
# We ask for two regimes; each takes the expert of the pool that fits it best. The gate is a forest, since the border
# has a corner. A single model of each kind stands for the usual surrogate.
POOL = ["quadratic", "kriging"]


def fit():
    """Two regimes."""
    return MixtureRegressor(POOL, n_experts=2, specialize=True, gate="forest", random_state=0).fit(X, y)


mixture = fit()
print("experts:", ", ".join(mixture.named_experts_))
for name in POOL:
    single = MixtureRegressor([name], n_experts=1, specialize=True, random_state=0).fit(X, y)
    print(f"{name:10}{relative_error(single.predict(X_new)):6.3f}")
print(f"{'mixture':10}{relative_error(mixture.predict(X_new)):6.3f}")

# %%
# What is left is the position of the border: between two runs on either side nobody can know where the jump is. The
# standard deviation is large there and small inside, where the parabolas are exact.
mean, std = mixture.predict(X_new, return_std=True)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for ax, shade, title in ((axes[0], np.abs(mean - truth), "absolute error"), (axes[1], std, "standard deviation")):
    points = ax.scatter(*X_new.T, c=shade, s=10, cmap="viridis", vmin=0, vmax=10)
    ax.plot(*X.T, ".", color="white", markeredgecolor="0.3", markersize=5)
    ax.set(title=title, xlabel="x0")
axes[0].set_ylabel("x1")
figure.colorbar(points, ax=axes, label="(white: the runs)")
plt.show()

# %%
# Gradient
# --------
#
# Mixtures of smooth experts under a smooth gate have gradients, by the chain rule through experts and gate: for
# optimisers and sensitivity analysis. Far from the border the gradient of this function is 2 x.
softmax = SoftmaxGate(degree=2)
smooth = MixtureRegressor(["quadratic"], n_experts=2, specialize=True, gate=softmax, random_state=0).fit(X, y)
places = np.array([[-0.7, -0.6], [0.6, 0.7]])
print("gradient\n", smooth.predict_gradient(places).round(2))
print("2 x\n", 2 * places)

# %%
# Beside SMT and egobox
# ---------------------
#
# Both have mixtures of surrogates: clusters of (x, y), the best surrogate for each cluster, Gaussians as gate. egobox
# chooses the number of clusters here, and SMT gets two.
if find_spec("smt"):
    from smt.applications.moe import MOE

    begin = time.perf_counter()
    theirs = MOE(n_clusters=2, smooth_recombination=True, xt=X, yt=y, deny=["RMTB", "RMTC"])
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on every surrogate
        theirs.train()
    print(f"SMT     {relative_error(theirs.predict_values(X_new)):.3f}  {time.perf_counter() - begin:.1f} s")
else:
    print("SMT is not installed: pip install smt")
if find_spec("egobox"):
    import egobox

    begin = time.perf_counter()
    theirs = egobox.Gpx.builder(n_clusters=0, recombination=egobox.Recombination.SMOOTH, seed=0).fit(X, y)
    print(f"egobox  {relative_error(theirs.predict(X_new)):.3f}  {time.perf_counter() - begin:.1f} s")
else:
    print("egobox is not installed: pip install egobox")
begin = time.perf_counter()
print(f"metamix {relative_error(fit().predict(X_new)):.3f}  {time.perf_counter() - begin:.1f} s")

# %%
# One function and one design are an illustration and no ranking.
