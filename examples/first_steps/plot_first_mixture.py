"""
A first mixture
===============

One model is seldom right everywhere. In the table below two different functions generate y, and the first two columns
decide which one. We give three kinds of experts to a mixture, read its verdict, check it on new rows, and look at
what it found.
"""

import numpy as np
from matplotlib import pyplot as plt

from metamix import MixtureRegressor, make_regimes
from metamix.inspection import CandidatesDisplay, GateDisplay

X, y, regime = make_regimes(900, n_regimes=2, random_state=0, return_regimes=True)
train, test = np.arange(600), np.arange(600, 900)

# %%
# Fit
# ---
#
# Experts are given by name here; estimators of scikit-learn and compatible libraries are accepted too. The mixture
# fits each expert out of fold, looks for regimes, and compares combinations from simple to rich on held-out rows.
mixture = MixtureRegressor(["ridge", "boosting", "neighbours"], cv=3, random_state=0)
mixture.fit(X[train], y[train])
print(mixture.verdict_)

# %%
# The verdict names the simplest combination that does as well as the best. All of them are listed in ``candidates_``:
# out-of-fold loss (mean squared error here), difference to the best candidate, standard error of that paired
# difference, and weight in the blend, which is what ``predict`` answers with.
mixture.candidates_.round(3)

# %%
# The display draws the same numbers with two standard errors.
CandidatesDisplay.from_estimator(mixture).plot()
plt.show()

# %%
# Error on new rows
# -----------------
#
# The verdict was computed from the training rows. On the 300 rows that took no part in the fit the order should be
# the same. The noise in y has a standard deviation of 0.3, so no model can have a smaller error than that.


def error(predicted):
    """Root mean squared error on the test rows."""
    return np.sqrt(np.mean((predicted - y[test]) ** 2))


for name, predicted in zip(mixture.named_experts_, mixture.predict_experts(X[test]).T, strict=True):
    print(f"{name:24}{error(predicted):6.2f}")
print(f"{'predict (the blend)':24}{error(mixture.predict(X[test])):6.2f}")

# %%
# Which component leads where
# ---------------------------
#
# ``mixture_`` is the specialised mixture alone: its experts were fitted again to the rows of their regime, and its
# gate weighs them by x. Below, the plane of the first two columns is coloured by the component with the largest
# weight, and the points are the test rows with their simulated regimes. Colours and shapes should change along the
# same line.
specialised = mixture.mixture_
display = GateDisplay.from_estimator(specialised, X[train], features=[0, 1]).plot()
display.ax_.add_artist(display.ax_.get_legend())  # a second legend would replace it
for shape, r in zip("o^", (0, 1), strict=True):
    rows = test[regime[test] == r]
    display.ax_.scatter(*X[rows, :2].T, marker=shape, s=14, facecolor="white", edgecolor="0.2", label=f"regime {r}")
display.ax_.legend(loc="lower left", fontsize=8, title="simulated")
plt.show()

# %%
# How often do they agree?
table = np.zeros((2, specialised.n_experts_), dtype=int)
np.add.at(table, (regime[test], specialised.assign(X[test])), 1)
print("components:", ", ".join(specialised.named_experts_))
print("test rows, simulated regimes by components:")
print(table)

# %%
# How sure is a prediction
# ------------------------
#
# ``return_std`` gives the standard deviation of y given x: the variance within each component plus the variance
# between their predictions. On the left of the picture the linear expert is nearly exact, and the deviation is that
# of the noise
plt.show()
# on the right boosted trees have to learn a sine from 300 rows. It is largest close to the border, where the gate gives
# weight to both.
mean, std = mixture.predict(X[test], return_std=True)
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
points = ax.scatter(*X[test, :2].T, c=std, s=20, cmap="viridis")
ax.set(xlabel="x0", ylabel="x1")
figure.colorbar(points, label="standard deviation of y given x")
near = np.sort(specialised.gate_weights(X[test]), axis=1)[:, -1] < 0.97
print(f"median deviation: {np.median(std[~near]):.2f}")
print(f"where no component has 97 % of the weight: {np.median(std[near]):.2f}")
