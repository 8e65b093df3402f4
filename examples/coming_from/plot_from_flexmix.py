"""
Coming from flexmix or mixtools
===============================

R's flexmix and mixtools fit mixtures of regressions by EM on all rows. With ``cv=None`` a mixture does the same, and
reaches the same likelihood. The numbers of R below were computed once, with flexmix 2.3.18 and mixtools 2.0.0 under R
4.2.2, as the best of twenty starts, on the rows that the first cell simulates.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.dummy import DummyRegressor
from sklearn.mixture import GaussianMixture

from metamix import MixtureRegressor

rng = np.random.default_rng(0)
x = rng.uniform(0, 10, 200)
first = rng.random(200) < 0.5
y = np.where(first, 5 * x, 40 - (x - 5) ** 2) + 3 * rng.standard_normal(200)
X = pd.DataFrame({"x": x, "x^2": x**2})

# %%
# A mixture of two regressions
# ----------------------------
#
# The two components overlap everywhere in x, so the weights are constant. In R:
#
# .. code-block:: r
#
#     flexmix(y ~ x + I(x^2), data = d, k = 2)
#     regmixEM(d$y, cbind(d$x, d$x^2), k = 2)
mixture = MixtureRegressor(["linear"] * 2, gate="constant", specialize=True, cv=None, random_state=0).fit(X, y)

mixtools = pd.DataFrame({"curve": [16.0505, 9.7061, -0.9762], "line": [-0.1036, 4.8661, 0.0152]})
mixtools.index = ["intercept", "x", "x^2"]
mine = mixture.coefficients().pivot(index="column", columns="expert", values="coefficient").loc[mixtools.index]
mine = mine[mine.loc["intercept"].sort_values(ascending=False).index]  # components come in any order
print("metamix")
print(mine.round(4).to_string())
print("mixtools")
print(mixtools.to_string())
np.testing.assert_allclose(mine, mixtools, atol=2e-3)

# %%
# The likelihood
# --------------
#
# mixtools and metamix maximise the likelihood. flexmix divides the variance of a component by n - p instead of n, and
# so ends slightly below the maximum.
log_likelihood = mixture.log_prob(X, y).sum()
print(f"metamix   {log_likelihood:.4f}")
print("mixtools  -620.2742")
print("flexmix   -620.2868")
np.testing.assert_allclose(log_likelihood, -620.2742, atol=1e-3)
print("proportions", mixture.gate_weights(X)[0].round(4), "deviations", mixture.likelihood_.scale_.round(4))
print("mixtools:    0.4688, 0.5312             3.2727, 2.6846")

# %%
# Posterior probabilities, in flexmix ``posterior(m)`` and ``clusters(m)``, are ``responsibilities``:
posterior = mixture.responsibilities(X, y)
figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
points = ax.scatter(x, y, c=posterior[:, 0], cmap="coolwarm", s=20, vmin=0, vmax=1)
order = np.argsort(x)
for prediction in mixture.predict_experts(X).T:
    ax.plot(x[order], prediction[order], color="0.3")
figure.colorbar(points, label="probability of the first component")
ax.set(xlabel="x", ylabel="y")
plt.show()

# %%
# Weights that depend on x
# ------------------------
#
# flexmix calls them a concomitant model. Here they are a gate, without a penalty where nothing is held out:
#
# .. code-block:: r
#
#     flexmix(y ~ x, data = d, k = 2, concomitant = FLXPmultinom(~ x))
gated = MixtureRegressor(["linear"] * 2, gate="softmax", specialize=True, cv=None, random_state=0).fit(x[:, None], y)
log_likelihood = gated.log_prob(x[:, None], y).sum()
print(f"metamix  {log_likelihood:.4f}")
print("flexmix  -716.6502")
slope = np.abs(np.diff(gated.gate_.coef_).item())
print(f"slope of the log odds in x: {slope:.3f}; flexmix has 0.771")
np.testing.assert_allclose([log_likelihood, slope], [-716.6502, 0.7706], rtol=5e-3)

# %%
# The same in Python
# ------------------
#
# Experts that predict a constant make a Gaussian mixture of y, which scikit-learn has too. Both reach the same
# maximum.
constants = [("one", DummyRegressor()), ("two", DummyRegressor())]
density = MixtureRegressor(constants, gate="constant", specialize=True, cv=None, random_state=0).fit(X, y)
reference = GaussianMixture(2, tol=1e-9, max_iter=2000, n_init=5, random_state=0).fit(y[:, None])
both = density.log_prob(X, y).sum(), reference.score_samples(y[:, None]).sum()
print(f"metamix {both[0]:.3f}, scikit-learn {both[1]:.3f}")
np.testing.assert_allclose(*both, atol=1e-2)

# %%
# What else has a counterpart
# ---------------------------
#
# - ``k``: the number of experts, or ``n_experts=K`` with one in the list
# - ``stepFlexmix``, several starts: several starts are tried, see ``starts_``
# - ``FLXMRglm(family = "poisson")``: ``likelihood="poisson"``
# - ``posterior``, ``clusters``: ``responsibilities(X, y)``, and its ``argmax(axis=1)``
# - ``parameters``, ``prior``: ``coefficients()``, ``gate_weights(X)``
# - ``logLik``: ``log_prob(X, y).sum()``
# - ``refit`` (standard errors): intervals of ``ExpertsDisplay.from_estimator(..., n_bootstrap=200)``
#
# For prediction leave ``cv`` at its default: then the gate and the number of components are judged on held-out rows.
