"""
Uncertainty
===========

A mixture has a predictive distribution: a weighted sum of the distributions around its experts. From it come standard
deviations, quantiles, intervals and draws. In the data below the noise is four times as large on one side as on the
other, and in between y jumps; we check whether the intervals know, for all new rows and for each regime.
"""

import numpy as np
from matplotlib import pyplot as plt

from metamix import MixtureRegressor
from metamix.inspection import CalibrationDisplay

rng = np.random.default_rng(0)


def simulate(n):
    """The law jumps at 0.4, where the noise becomes four times as large."""
    x = rng.uniform(0, 1, n)
    y = np.where(x < 0.4, 2 + np.sin(6 * x) + 0.1 * rng.standard_normal(n), 5 * x - 3 + 0.4 * rng.standard_normal(n))
    return x[:, None], y


X, y = simulate(800)
X_new, y_new = simulate(1000)
mixture = MixtureRegressor(["splines"], n_experts=2, specialize=True, random_state=0).fit(X, y)

# %%
# Intervals and quantiles
# -----------------------
#
# The interval of 90 % has five per cent of the probability on each side. It comes from the distribution function of
# the mixture, so it may be lopsided: at the jump it holds both branches.
line = np.linspace(0, 1, 400)[:, None]
low, high = mixture.predict_interval(line, 0.9).T
quartiles = mixture.predict_quantile(line, [0.25, 0.75])
figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
ax.plot(X_new[:400], y_new[:400], ".", color="0.55", markersize=4, label="new rows")
ax.fill_between(line[:, 0], low, high, alpha=0.25, label="90 % interval")
ax.fill_between(line[:, 0], *quartiles.T, alpha=0.4, color="C0", label="50 % interval")
ax.plot(line, mixture.predict(line), color="C1", label="predict")
ax.set(xlabel="x", ylabel="y")
ax.legend(frameon=False)
plt.show()

# %%
# Where the variance comes from
# -----------------------------
#
# By the law of total variance it is the scatter within the experts plus the disagreement between them, which matters
# where the gate is undecided.
places = np.array([[0.1], [0.39], [0.4], [0.41], [0.9]])
within, between = mixture.predict_variance(places)
print("   x   within  between  deviation")
for x, w, b in zip(places[:, 0], within, between, strict=True):
    print(f"{x:.2f}  {w:7.3f}  {b:7.3f}  {np.sqrt(w + b):9.2f}")

# %%
# Do the intervals hold?
# ----------------------
#
# For each level, the share of new rows that lie in the central interval; the diagonal is right, and the band is two
# standard errors. The lines of the regimes show whether one is too wide at the cost of the other, which the line of
# all rows may hide.
CalibrationDisplay.from_estimator(mixture, X_new, y_new).plot()
plt.show()

# %%
# The same predictions with one deviation for all rows cover as many rows on the whole, but too many on one side and
# too few on the other:
left = X_new[:, 0] < 0.4
constant = 1.645 * np.std(y - (mixture.gate_weights(X) * mixture.oof_predictions_).sum(axis=1))
print("share of new rows in the 90 % interval")
print("                  all   x < 0.4  x > 0.4")
for name, (low, high) in {
    "mixture": mixture.predict_interval(X_new, 0.9).T,
    "one deviation": mixture.predict(X_new) + np.array([[-constant], [constant]]),
}.items():
    inside = (low <= y_new) & (y_new <= high)
    print(f"{name:16}{inside.mean():5.2f}{inside[left].mean():10.2f}{inside[~left].mean():9.2f}")

# %%
# Density and draws
# -----------------
#
# ``sample`` draws y; at the jump the draws come from both branches. ``log_prob`` is the log density of y, by which
# models can be compared.
print(f"mean log density of new rows {mixture.log_prob(X_new, y_new).mean():.2f}")
draws = mixture.sample(np.full((2000, 1), 0.4), random_state=0)
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
ax.hist(draws, bins=80)
ax.set(xlabel="y", ylabel="draws at x = 0.4")
plt.show()

# %%
# Noise that changes smoothly within a regime needs a likelihood that looks at x:
# ``likelihood=Gaussian(heteroscedastic=True)`` of ``metamix.likelihoods``. For outliers there are "student_t" and
# ``Outliers``.
