"""
Models fitted elsewhere
=======================

Models that exist already, from an AutoML system or another team, need not be fitted again. ``fit_predictions`` takes
their out-of-fold predictions and makes the same candidates, blend and verdict as a mixture does, except the
specialised mixture, for which experts would have to be refitted.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import fit_predictions, load_example

# %%
# What the others hand over
# -------------------------
#
# Three models stand for theirs. All that is needed of them are predictions: of the training rows, each by a model
# that has not seen it, and later of new rows.
X, y = load_example("diabetes")
train, test = X.index[:300], X.index[300:]
theirs = {
    "trees": ExtraTreesRegressor(200, min_samples_leaf=3, random_state=0),
    "line": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 20))),
    "near": make_pipeline(StandardScaler(), KNeighborsRegressor(15)),
}
folds = KFold(5, shuffle=True, random_state=0)
out_of_fold = {name: cross_val_predict(model, X.loc[train], y[train], cv=folds) for name, model in theirs.items()}
new = {name: model.fit(X.loc[train], y[train]).predict(X.loc[test]) for name, model in theirs.items()}

# %%
# Candidates, blend and verdict
# -----------------------------
#
# ``cv`` are folds in which weights are learned and judged. They need not be those of the models.
mixture = fit_predictions(out_of_fold, X.loc[train], y[train], random_state=0)
print(mixture.verdict_)
mixture.candidates_.round(1)

# %%
# New rows
# --------
#
# ``predict`` takes the predictions of the models for these rows, and so do weights and intervals.
predicted = mixture.predict(X.loc[test], predictions=new)
errors = {name: np.sqrt(np.mean((one - y[test]) ** 2)) for name, one in {**new, "predict": predicted}.items()}
for name, one in errors.items():
    print(f"{name:8}{one:6.1f}")
low, high = mixture.predict_interval(X.loc[test], 0.9, predictions=new).T
print(f"share of new rows in the 90 % interval: {np.mean((low <= y[test]) & (y[test] <= high)):.2f}")
weights = mixture.gate_weights(X.loc[test], predictions=new)
print(
    "mean weights:", {name: round(w, 2) for name, w in zip(mixture.names_, weights.mean(axis=0).tolist(), strict=True)}
)

# %%
# Three models that err alike leave little to combine, and the verdict says so. Differences to the best candidate,
# with two standard errors:
table = mixture.candidates_.set_index("candidate").drop("mean of y").iloc[::-1]
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.errorbar(table["difference"], table.index, xerr=2 * table["standard_error"], fmt="o", capsize=3)
ax.axvline(0, color="0.8", zorder=0)
ax.set_xlabel("out-of-fold squared error, difference to the best")
plt.show()

# %%
# A warning that is worth reading
# -------------------------------
#
# Predictions of rows that a model has seen look too good, and get a weight that they do not deserve. No program can
# tell from predictions alone where they come from; but exact hits are suspicious, and ``fit_predictions`` says so.
import warnings

forest = ExtraTreesRegressor(50, random_state=0).fit(X.loc[train], y[train])  # remembers every row
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fit_predictions({**out_of_fold, "seen": forest.predict(X.loc[train])}, X.loc[train], y[train], random_state=0)
for one in caught:
    print(f"{one.category.__name__}: {one.message}")
