"""
Coming from scikit-learn's stacking
===================================

``StackingRegressor`` is one of the candidates of a mixture. With the same experts, folds and final estimator its
predictions are found again, exactly, in the column "stack". Beside it are the combinations that stacking does not
compare itself with.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, StackingClassifier, StackingRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor, load_example
from metamix.inspection import CandidatesDisplay

X, y = load_example("diabetes")
train, test = X.index[:300], X.index[300:]

# %%
# The same model
# --------------
#
# Parameters of the same meaning: ``estimators`` are ``experts``, and ``final_estimator`` and ``cv`` have the same
# name. ``specialize=False`` leaves the search for regimes out.
estimators = [
    ("ridge", make_pipeline(StandardScaler(), Ridge())),
    ("trees", ExtraTreesRegressor(100, min_samples_leaf=5, random_state=0)),
    ("near", make_pipeline(StandardScaler(), KNeighborsRegressor(10))),
]
folds = KFold(5, shuffle=True, random_state=0)

stacking = StackingRegressor(estimators, final_estimator=RidgeCV(), cv=folds)
stacking.fit(X.loc[train], y[train])

mixture = MixtureRegressor(estimators, final_estimator=RidgeCV(), cv=folds, specialize=False, random_state=0)
mixture.fit(X.loc[train], y[train])

columns = list(mixture.named_experts_)
predicted = mixture.predict_experts(X.loc[test])
difference = np.abs(predicted[:, columns.index("stack")] - stacking.predict(X.loc[test])).max()
print("columns:", ", ".join(columns))
print("largest difference between both stacks:", difference)
np.testing.assert_allclose(difference, 0, atol=1e-8)

# %%
# What comes with it
# ------------------
#
# Is the stack better than the best expert, or than an average? The verdict answers with standard errors.
print(mixture.verdict_)
CandidatesDisplay.from_estimator(mixture).plot()
plt.show()

# %%
# ``predict`` answers with a blend of the candidates; ``final="simplest"`` with the one that the verdict names.
for name, one in (("stacking", stacking.predict(X.loc[test])), ("mixture", mixture.predict(X.loc[test]))):
    print(f"{name:10}{np.sqrt(np.mean((one - y[test]) ** 2)):.2f}")

# %%
# Where the rest of stacking's parameters went
# --------------------------------------------
#
# - ``estimators``: ``experts``, which may also be names such as "ridge", or estimators without names
# - ``final_estimator``: the same; a ridge regression with bounded predictions if it is None
# - ``passthrough=True``: the candidates "feature-weighted stack" and "gated", whose weights depend on x
# - ``cv``: the same; also splitters for time series, and groups
# - ``n_jobs``: the same
# - ``transform``: the same, and ``oof_predictions_`` for the training rows
# - ``named_estimators_``: ``named_experts_``
#
# An expert that fails is left out with a warning and recorded in ``failures_``; ``on_error="raise"`` stops instead,
# as stacking does.
#
# Classes
# -------
X, y = load_example("breast_cancer")
train, test = X.index[:400], X.index[400:]
estimators = [
    ("logistic", make_pipeline(StandardScaler(), LogisticRegression())),
    ("trees", ExtraTreesClassifier(100, min_samples_leaf=3, random_state=0)),
]
folds = StratifiedKFold(5, shuffle=True, random_state=0)
final = LogisticRegression()
stacking = StackingClassifier(estimators, final_estimator=final, cv=folds).fit(X.loc[train], y[train])
mixture = MixtureClassifier(estimators, final_estimator=final, cv=folds, specialize=False, random_state=0)
mixture.fit(X.loc[train], y[train])
stack = mixture.predict_experts(X.loc[test])[:, list(mixture.named_experts_).index("stack")]
difference = np.abs(stack - stacking.predict_proba(X.loc[test])).max()
print(f"largest difference between the probabilities of both stacks: {difference:.0e}")
np.testing.assert_allclose(difference, 0, atol=1e-8)
print(mixture.verdict_)
