"""
Time order
==========

In a time series, folds that are drawn at random let every model look into the future. With a splitter for series each
row is predicted by models that saw earlier rows only. Here the demand for electricity, simulated, follows the
temperature and drifts; one column of X is the number of the day. We compare what both kinds of folds promise with
what came.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from scipy.signal import lfilter
from sklearn.model_selection import TimeSeriesSplit

from metamix import MixtureRegressor
from metamix.inspection import CandidatesDisplay

rng = np.random.default_rng(0)
n = 1000
days = pd.date_range("2022-01-01", periods=n, freq="D")
temperature = 12 - 10 * np.cos(2 * np.pi * np.arange(n) / 365.25) + rng.normal(0, 3, n)
weekend = np.asarray(days.day_of_week >= 5)
drift = lfilter([1], [1, -0.92], rng.normal(0, 1.2, n))  # moves slowly around 0, and no column of X knows it
y = 60 - 1.5 * temperature - 6 * weekend + drift + rng.normal(0, 1, n)
X = pd.DataFrame({"temperature": temperature, "weekend": weekend, "day": np.arange(n)})
past, future = slice(0, 850), slice(850, None)

# %%
# Two ways to hold rows out
# -------------------------
#
# ``cv`` takes any splitter of scikit-learn. The first block of a series is never held out: its out-of-fold
# predictions are missing, and it takes no part in comparisons.
EXPERTS = ["ridge", "neighbours", "boosting"]
random = MixtureRegressor(EXPERTS, specialize=False, cv=5, random_state=0).fit(X[past], y[past])
ordered = MixtureRegressor(EXPERTS, specialize=False, cv=TimeSeriesSplit(6), random_state=0).fit(X[past], y[past])
never = np.isnan(ordered.oof_predictions_).all(axis=1)
print(
    f"rows that were never held out: {never.sum()} of {len(never)}, all at the beginning: {never[: never.sum()].all()}"
)

# %%
# What was promised, and what came
# --------------------------------
rows = []
for name, model in (("random folds", random), ("in order of time", ordered)):
    promised = model.candidates_.set_index("candidate").loc["blend", "loss"]
    came = np.mean((model.predict(X[future]) - y[future]) ** 2)
    rows.append({"folds": name, "promised": promised, "came": came, "named": model.verdict_.winner})
print(pd.DataFrame(rows).round(2).to_string(index=False))

# %%
# Random folds promise far less error than came: the days before and after a held-out day were in training, so models
# read the drift off the number of the day, which they cannot do for days to come. The combination that is best at
# this is worse in the future. Folds in order of time name another one that comes out better. Their promise is on the
# careful side, since the first of them learn from few days; so are the intervals.
#
# The candidates, judged in order of time:
CandidatesDisplay.from_estimator(ordered).plot()
plt.show()

# %%
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.plot(days[future], y[future], color="0.6", label="y")
ax.plot(days[future], ordered.predict(X[future]), label="predict")
low, high = ordered.predict_interval(X[future], 0.9).T
ax.fill_between(days[future], low, high, alpha=0.2, label="90 % interval")
ax.legend(frameon=False, ncols=3)
ax.set_ylabel("demand")
plt.show()
inside = (low <= y[future]) & (y[future] <= high)
print(f"share of the next {len(inside)} days in the 90 % interval: {inside.mean():.2f}")
