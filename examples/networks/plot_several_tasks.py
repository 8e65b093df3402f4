"""
Several tasks with shared experts
=================================

Two binary tasks for the same people: income over 50,000 dollars, and never married. ``MultiTaskNeuralMixture`` uses
shared experts and a gate per task (Ma et al. 2018), so that tasks share experts where this helps and use different
ones where they conflict. The data are simulated below, so the true probabilities are known. To use the real table
instead (census income of 1994 and 1995), set the environment variable ``CENSUS_INCOME`` to its path (Parquet); the
published test rows are read from the file ``.splits.npz`` next to it. That takes a minute or two.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.metrics import log_loss

from metamix.nn import MultiTaskNeuralMixture

PATH = os.environ.get("CENSUS_INCOME", "")

# %%
# Simulated data
# --------------
#
# Income is largest at middle age and increases with education and hours. Never married is most likely for young
# people, and the effects of education and hours have opposite signs for the young and the old, so the two tasks use
# the same columns differently.
SCHOOLS = ["none", "school", "college", "bachelor", "master", "doctor"]
JOBS = {"farm": -1.0, "service": -0.5, "office": 0.3, "craft": 0.0, "manager": 1.2}


def people(n, seed=0):
    """Columns, labels and the true probabilities (n, 2) of both tasks."""
    rng = np.random.default_rng(seed)
    age, school = rng.uniform(16, 80, n).round(), rng.integers(0, 6, n)
    hours, job = rng.normal(38, 10, n).clip(0, 80).round(), rng.choice(list(JOBS), n)
    late, work = (age - 45) / 18, (hours - 38) / 10
    rank = (school - 2.5) / 1.7
    salary = -1 - 1.5 * late**2 + 1.5 * rank + work + pd.Series(job).map(JOBS).to_numpy()
    single = -1 - 3 * late + np.where(late < -0.5, 1.5, -1.5) * (rank + 0.7 * work)
    p = 1 / (1 + np.exp(-np.column_stack([salary, single])))
    X = pd.DataFrame({"age": age, "education": np.array(SCHOOLS)[school], "hours": hours, "job": job})
    y = pd.DataFrame(np.where(rng.random((n, 2)) < p, "yes", "no"), columns=["over 50,000", "never married"])
    return X, y, p


if PATH:
    table = pd.read_parquet(PATH)
    test = np.load(Path(PATH).with_suffix(".splits.npz"))["test_0"]
    y = table[["target_1", "target_2"]].astype(int).replace({0: "no", 1: "yes"})
    y.columns = ["over 50,000", "never married"]
    X, truth = table.drop(columns=["target_1", "target_2", "instance_weight"]), None
else:
    X, y, truth = people(5000)
    test = np.arange(2500, 5000)
train = np.setdiff1d(np.arange(len(X)), test)
X.head(3)

# %%
# Fit
# ---
#
# ``tasks`` gives the columns of y and their kinds; regression, binary and multiclass tasks can be mixed. Text and
# categories are embedded, numbers can be encoded piecewise linearly, missing values in X can be imputed, and missing
# values in y are unknown labels: here 40 % of the incomes.
TASKS = {"over 50,000": "binary", "never married": "binary"}
labels = y.iloc[train].astype(object)
labels.loc[np.random.default_rng(1).random(len(train)) < 0.4, "over 50,000"] = None

OPTIONS = {"numeric": "piecewise", "max_epochs": 40, "random_state": 0}
if PATH:  # fifty times the rows
    OPTIONS |= {"missing": "impute", "max_epochs": 6, "batch_size": 1024, "schedule": "cosine"}
models = {
    "one expert": MultiTaskNeuralMixture(TASKS, 1, 32, expert_width=16, **OPTIONS),
    "a gate per task": MultiTaskNeuralMixture(TASKS, 6, 8, expert_width=8, **OPTIONS),
}


def losses(probabilities):
    """Log-loss of each task on the test rows."""
    return [log_loss(y.iloc[test][task] == "yes", p) for task, p in zip(TASKS, probabilities, strict=True)]


print(f"log-loss              {'  '.join(TASKS)}   weights")
for name, model in models.items():
    model.fit(X.iloc[train], labels)
    found = losses([p[:, 1] for p in model.predict_proba(X.iloc[test])])
    size = sum(p.numel() for p in model.network_.parameters())
    print(f"{name:22}{found[0]:11.3f}  {found[1]:13.3f}   {size}")
if truth is not None:
    found = losses(truth[test].T)
    print(f"{'true probabilities':22}{found[0]:11.3f}  {found[1]:13.3f}")

# %%
# On tasks this easy a single network of the same size is as good; the gates additionally show which experts each task
# uses, see below. The last line, for simulated data, is the smallest achievable loss. Use several seeds before you
# rank models by such a table: on the real census data seeds differ by as much as models do.

# %%
# Experts used by each task
# -------------------------
#
# ``gate_weights`` has shape (rows, experts, tasks). The mean weights by age show which experts the tasks share.
mixture = models["a gate per task"]
weights = mixture.gate_weights(X.iloc[test])
age = X["age"].iloc[test].to_numpy()
bins = np.arange(16, 85, 8)
inside = np.digitize(age, bins) - 1
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for t, (axis, task) in enumerate(zip(axes, TASKS, strict=True)):
    shares = np.array([weights[inside == b, :, t].mean(0) for b in range(len(bins) - 1)])
    axis.stackplot(bins[:-1] + 4, shares.T, labels=[f"expert {k}" for k in range(6)], colors=plt.cm.tab10.colors)
    axis.set_title(task)
    axis.set_xlabel("age")
    axis.set_xlim(bins[0] + 4, bins[-2] + 4)
    axis.set_ylim(0, 1)
axes[0].set_ylabel("mean weight")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
plt.show()
mean = weights.mean(0)
print("mean weight of each expert, by task")
print(pd.DataFrame(mean.T.round(2), index=list(TASKS), columns=[f"expert {k}" for k in range(len(mean))]).to_string())
apart = np.abs(weights[:, :, 0] - weights[:, :, 1]).sum(1).mean() / 2
print(f"the tasks' weights differ by {apart:.2f} (0: equal, 1: disjoint)")

# %%
# Task-specific experts
# ---------------------
#
# A mask determines which experts a task can use. ``owned_and_shared`` gives each task experts of its own in addition
# to shared ones (customised gate control, Tang et al. 2020), and task weights can be learned from the uncertainty of
# each task (Kendall et al. 2018).
from metamix.nn import owned_and_shared

visible, _ = owned_and_shared(2, owned=2, shared=2)
owned = MultiTaskNeuralMixture(TASKS, 6, 8, expert_width=8, visible=visible, task_weights="uncertainty", **OPTIONS).fit(
    X.iloc[train], labels
)
found = losses([p[:, 1] for p in owned.predict_proba(X.iloc[test])])
print({task: round(loss, 3) for task, loss in zip(TASKS, found, strict=True)})
print("task weights", owned.task_weights_.round(2))
assert (owned.gate_weights(X.iloc[test])[:, :2, 1] == 0).all(), "the second task does not use the experts of the first"

# %%
# Training history
# ----------------
#
# ``history_`` has a row per epoch. Training stopped when the loss on held-out rows no longer decreased, and the best
# epoch was kept.
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
mixture.history_.plot(x="epoch", y=["train_loss", "valid_loss"], ax=axes)
axes.axvline(mixture.best_epoch_, color="0.5", linestyle="--", linewidth=1, label="kept")
axes.set_ylabel("loss")
axes.legend(frameon=False)
plt.show()
