"""
Incremental learning
====================

A stream of rows has no end at which a model could be fitted. Where every expert has ``partial_fit``, so has the
mixture: each batch is predicted first, and then learned from. Here a machine has two modes of operation, which a
setting tells, and is repaired in the middle of the stream, after which one of its responses is another.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.linear_model import SGDRegressor

from metamix import MixtureRegressor

rng = np.random.default_rng(0)
n = 4000
X = pd.DataFrame(rng.uniform(-1, 1, (n, 2)), columns=["setting", "load"])
high, repaired = X["setting"] > 0, np.arange(n) >= n // 2
y = np.where(high, 3 * X["load"], 1 - 2 * X["load"] + 2 * repaired * X["load"]) + 0.1 * rng.normal(size=n)

# %%
# Two experts, fast and slow
# --------------------------
#
# Both are straight lines. The mixture keeps a copy of an expert for each regime, as soon as there are rows enough to
# find regimes, and lets the copies learn the rows of theirs.
experts = [
    ("fast", SGDRegressor(learning_rate="constant", eta0=0.05)),
    ("slow", SGDRegressor(learning_rate="constant", eta0=0.005)),
]
mixture = MixtureRegressor(experts, n_experts=2, random_state=0)
weights = []
for begin in range(0, n, 50):
    batch = slice(begin, begin + 50)
    mixture.partial_fit(X[batch], y[batch])
    weights.append(mixture.gate_weights(X[:1])[0])

# %%
# What was predicted before it was learned
# ----------------------------------------
#
# ``prequential_`` has a row for each batch: the loss of each column, of what ``predict`` answered, and of constant
# weights that were learned from the batches before. None of them has seen the batch.
losses = mixture.prequential_
halves = pd.DataFrame({"before": losses[10:39].mean(), "after": losses[-30:].mean()}).drop(["rows", "weight"])
print(halves.round(3).to_string())

# %%
columns = list(mixture.named_experts_)
colors = dict(zip(columns, ["tab:blue", "tab:cyan", "tab:orange", "0.7"], strict=True))
figure, (above, below) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
end = losses["rows"].cumsum()
for name in ("fast", "mixture"):
    above.plot(end, losses[name], label=name, color=colors[name])
above.plot(end, losses["prediction"], label="prediction", color="black", linestyle="--")
above.set_yscale("log")
above.set_ylabel("squared error of a batch")
above.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
shares = np.transpose(weights)
below.stackplot(50 * np.arange(1, len(weights) + 1), shares, labels=columns, colors=list(colors.values()))
below.set_ylabel("weight")
below.set_xlabel("rows")
below.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
for ax in (above, below):
    ax.axvline(n // 2, color="0.2", linestyle=":")
plt.show()

# %%
# Regimes are looked for after 200 rows, from where on the mixture has nearly all weight. After the repair its
# components learn the new response, and gate and scales follow. The lines of all rows cannot tell the modes apart.
mean, deviation = mixture.predict(X[-3:], return_std=True)
print(pd.DataFrame({"y": y[-3:], "predict": mean, "deviation": deviation}).round(2).to_string(index=False))
