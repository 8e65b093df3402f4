"""
Regimes as rules
================

A mixture can be read as a handful of sentences: *if* these conditions hold, *then* this formula. Here the truth is
known: the consumption of a simulated heating has one formula on cold days, and another one on mild days in which the
number of guests counts. We look for the number of regimes, their conditions and their formulas, and compare with what
was simulated.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.linear_model import LinearRegression

from metamix import MixtureRegressor
from metamix.inspection import ExpertsDisplay, RegionDisplay

rng = np.random.default_rng(0)
n = 800
X = pd.DataFrame(
    {
        "outside": rng.uniform(-10, 25, n).round(1),
        "guests": rng.integers(0, 40, n),
        "wind": rng.gamma(2.0, 2.0, n).round(1),
    }
)
cold = X["outside"] < 12
y = np.where(cold, 90 - 5 * X["outside"] + 2 * X["wind"], 10 + 1.5 * X["guests"]) + 3 * rng.standard_normal(n)
train, test = X.index[:600], X.index[600:]

# %%
# Fit
# ---
#
# Linear experts have formulas, and a tree as gate has conditions. ``n_experts="auto"`` counts the regimes.
mixture = MixtureRegressor(["linear"], specialize=True, n_experts="auto", gate="tree", random_state=0)
mixture.fit(X.loc[train], y[train])
print("regimes found:", mixture.n_experts_)

# %%
# Conditions
# ----------
#
# The accuracy says how often the words name the leading regime in held-out rows.
regions = RegionDisplay.from_estimator(mixture, X.loc[train], y[train])
print("\n".join(regions.rules()))
print(f"accuracy {regions.accuracy:.2f}, p = {regions.p_value:.2f}")

# %%
# Which columns do the conditions need? The accuracy that is lost when a column is shuffled:
regions.importances.round(3)

# %%
# Formulas
# --------
#
# ``coefficients`` is a frame in the units of X and y.
formulas = mixture.coefficients().pivot(index="column", columns="expert", values="coefficient")
print(formulas.round(2).to_string())
print("\nsimulated: 90 - 5 outside + 2 wind where outside < 12, and 10 + 1.5 guests elsewhere")

# %%
# With intervals from a bootstrap over rows, the regimes held fixed. Colour is the effect of one standard deviation of
# the column.
ExpertsDisplay.from_estimator(mixture, X.loc[train], y[train], n_bootstrap=50).plot()
plt.show()

# %%
# All of it as text
# -----------------
#
# Rules and formulas are data, so a few lines write them in any form you like.
rules = regions.regions.rules
for rule in rules:
    terms = formulas[rule.leader]
    formula = " ".join(f"{value:+.2f} {name}" for name, value in terms.drop("intercept").items())
    print(f"if {' and '.join(map(str, rule.conditions)) or 'always'}:")
    print(f"    y = {terms['intercept']:.1f} {formula}")

# %%
# What one formula for all rows costs
# -----------------------------------
#
# The noise in y has a standard deviation of 3.
one = LinearRegression().fit(X.loc[train], y[train])
for name, model in (("one formula", one), (f"{mixture.n_experts_} regimes", mixture)):
    print(f"{name:12} error on new rows {np.sqrt(np.mean((model.predict(X.loc[test]) - y[test]) ** 2)):6.2f}")

figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
leader = mixture.assign(X.loc[test])
for k, name in enumerate(mixture.named_experts_):
    rows = test[leader == k]
    ax.scatter(X.loc[rows, "outside"], y[rows], s=14, marker="o^sD"[k % 4], label=name)
ax.axvline(12, color="0.5", linewidth=1, linestyle="--")
ax.set(xlabel="outside (dashed: simulated border)", ylabel="y")
ax.legend(frameon=False, title="leader")
plt.show()
