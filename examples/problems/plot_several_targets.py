"""
Several targets
===============

A machine is described by three columns, and both its yield and its energy use are to be predicted. With y of shape
(n, T) the experts are fitted once and shared, while each target has a gate, candidates and a verdict of its own. The
same holds for several labels (zeros and ones) with ``MixtureClassifier``.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from metamix import MixtureClassifier, MixtureRegressor

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.uniform(-1, 1, (700, 3)), columns=["load", "speed", "age"])
y = pd.DataFrame(
    {
        "yield": 3 * X["load"] - 2 * X["age"],  # a plane
        "energy": np.sin(4 * X["load"]) * np.where(X["speed"] > 0, 2, -2),  # no plane anywhere
    }
) + 0.2 * rng.standard_normal((700, 2))
train, test = X.index[:500], X.index[500:]

# %%
# Two numbers
# -----------
#
# The columns of a frame name the targets.
mixture = MixtureRegressor(["ridge", "boosting", "neighbours"], specialize=False, cv=3, random_state=0)
mixture.fit(X.loc[train], y.loc[train])
print(mixture.verdict_)

# %%
# Predictions and weights have a last axis for the targets.
weights = mixture.gate_weights(X.loc[test])
print("predictions", mixture.predict(X.loc[test]).shape, "weights", weights.shape)
error = np.sqrt(np.mean((mixture.predict(X.loc[test]) - y.loc[test].to_numpy()) ** 2, axis=0))
print("error on new rows:", dict(zip(y.columns, error.round(2).tolist(), strict=True)), "(the noise is 0.2)")

# %%
# The plane goes to ridge and the curve to boosted trees. Shown are the mean weights of the columns: the experts, the
# two stacks, and the mean of y.
names = list(mixture.named_experts_)
table = pd.DataFrame(weights.mean(axis=0), index=names, columns=y.columns)
table.plot.barh(figsize=(6.5, 3.2), xlabel="mean weight").invert_yaxis()
plt.tight_layout()
plt.show()

# %%
# ``candidates_`` has a column that says which target a row is about.
found = mixture.candidates_.pivot(index="candidate", columns="target", values="loss")
found.sort_values("energy").round(3)

# %%
# Intervals and displays know the targets, too: ``predict_interval`` gives (n, 2, T), and every display takes
# ``target``.
intervals = mixture.predict_interval(X.loc[test], 0.9)
inside = (intervals[:, 0] <= y.loc[test]) & (y.loc[test] <= intervals[:, 1])
print("share of new rows in the 90 % interval:", inside.mean().round(2).to_dict())

# %%
# Two labels
# ----------
#
# A frame of zeros and ones names the labels. Each has a verdict, and ``predict_proba`` gives the probability of 1.
labels = pd.DataFrame({"late": y["yield"] > 1, "broken": y["energy"] > 1}).astype(int)
classifier = MixtureClassifier(["logistic", "extra_trees"], specialize=False, cv=3, random_state=0)
classifier.fit(X.loc[train], labels.loc[train])
print(classifier.verdict_)
right = (classifier.predict(X.loc[test]) == labels.loc[test]).mean()
print("right on new rows:", right.round(2).to_dict())
