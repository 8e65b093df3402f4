"""
Your own expert and gate
========================

An expert is anything with ``fit`` and ``predict``. A gate is anything with ``fit(X, responsibilities)`` and
``predict_proba``. Neither has to know metamix. Below each is written in about ten lines, used beside the experts of
the package, and tested with the checks that every part of the package passes.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix import MixtureRegressor
from metamix.testing import check_expert, check_gate

# %%
# An expert
# ---------
#
# Suppose it is known that y swings once a week. An expert for that is a regression on a sine and a cosine of the
# first column. ``sample_weight`` is optional: for an expert without it, rows are drawn in proportion to their weight.


class Weekly(RegressorMixin, BaseEstimator):
    """Mean, sine and cosine of period 7 in the first column."""

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y)
        root = np.ones(len(y)) if sample_weight is None else np.sqrt(sample_weight)
        self.coef_ = np.linalg.lstsq(self._waves(X) * root[:, None], y * root)[0]
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self._waves(validate_data(self, X, reset=False)) @ self.coef_

    def _waves(self, X):
        turn = 2 * np.pi * X[:, 0] / 7
        return np.column_stack([np.ones(len(X)), np.sin(turn), np.cos(turn)])


# %%
# A gate
# ------
#
# Suppose that the regime changes once, at an unknown day. The gate looks for the day that divides the
# responsibilities best. They have shape (n, K): the probability, given y, that a row belongs to component k. (An
# estimator that says that it is a classifier, by ``ClassifierMixin``, is taken for a plain one and gets labels
# instead.)


class OneChange(BaseEstimator):
    """Constant weights before a day and others from then on."""

    def fit(self, X, responsibilities, sample_weight=None):
        X = validate_data(self, X)
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        parts = weight[:, None] * responsibilities
        least = np.inf
        for day in np.quantile(X[:, 0], np.linspace(0, 0.95, 96)):
            late = X[:, 0] >= day
            shares = np.stack([parts[~late].sum(axis=0), parts[late].sum(axis=0)]) + 1e-3
            shares /= shares.sum(axis=1, keepdims=True)
            loss = -(parts * np.log(shares[late.astype(int)])).sum()
            if loss < least:
                least, self.day_, self.shares_ = loss, day, shares
        return self

    def predict_proba(self, X):
        check_is_fitted(self)
        return self.shares_[(validate_data(self, X, reset=False)[:, 0] >= self.day_).astype(int)]


# %%
# Both pass the checks for authors of parts.
for name, check in [*check_expert(Weekly()), *check_gate(OneChange())]:
    check()
    print("passed:", name)

# %%
# Together
# --------
#
# Half a year of days: y swings weekly until day 110, then it follows a trend.
rng = np.random.default_rng(0)
days = np.arange(182.0)
truth = np.where(days < 110, 20 + 4 * np.sin(2 * np.pi * days / 7), 35 - 0.12 * days)
y = truth + 0.8 * rng.standard_normal(len(days))
X = days[:, None]
mixture = MixtureRegressor(
    [("weekly", Weekly()), ("trend", "linear")], gate=OneChange(), specialize=True, random_state=0
).fit(X, y)
print(f"the gate changes at day {mixture.gate_.day_:.0f}, simulated is 110")

# %%
figure, (ax, below) = plt.subplots(2, 1, figsize=(8, 4.4), height_ratios=[3, 1], sharex=True, layout="constrained")
ax.plot(days, y, ".", color="0.6", label="y")
ax.plot(days, mixture.predict(X), label="mixture")
ax.plot(days, MixtureRegressor([Weekly(), "linear"], specialize=False, random_state=0).fit(X, y).predict(X),
        linewidth=1, label="the same experts on all rows")  # fmt: skip
ax.legend(frameon=False, ncols=3, loc="upper left")
ax.set_ylabel("y")
below.stackplot(days, mixture.gate_weights(X).T, labels=list(mixture.named_experts_))
below.legend(loc="lower left", fontsize=8)
below.set(xlabel="day", ylabel="weight", ylim=(0, 1))
plt.show()

# %%
# To give a part a name that everybody can use, ``metamix new-plugin NAME --kind gate`` writes a plugin to put it into:
# see ``docs/plugins.md`` and the folder ``plugins``.
