"""
The models of AutoGluon
=======================

AutoGluon fits many models out of fold and combines them with constant weights, found by greedy ensemble selection
(Caruana et al., 2004). ``fit_predictions`` takes the same out-of-fold predictions and asks whether weights that depend
on the row do better; its verdict may be that they do not. AutoGluon is not needed here: what its models predict stands
in a file, and ``examples/data/make_autogluon_predictions.py`` wrote it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.preprocessing import StandardScaler

from metamix import fit_predictions

# %%
# What AutoGluon hands over
# -------------------------
#
# The table is the strength of 1,030 samples of concrete (Yeh, 1998; UCI Machine Learning Repository, CC BY 4.0). In
# training rows the columns of the models are ``predictor.predict_oof(name)``, with five bagged folds; in test rows
# ``predictor.predict(test, model=name)``.
try:
    data = Path(__file__).resolve().parents[1] / "data"
except NameError:  # in a notebook
    data = Path("../examples/data")
table = pd.read_csv(data / "autogluon_concrete.csv")
ensemble = "WeightedEnsemble_L2"
models = [name for name in table.columns if name.endswith("_BAG_L1")]
columns = list(table.columns[: table.columns.get_loc("target")])
train, test = table[table["part"] == "train"], table[table["part"] == "test"]
print(f"{len(train)} training rows, {len(test)} test rows, {len(models)} models")

# %%
# Candidates, blend and verdict
# -----------------------------
mixture = fit_predictions(train[models], train[columns], train["target"], random_state=0)
print(mixture.verdict_)
mixture.candidates_.round(2)

# %%
# New rows
# --------
#
# AutoGluon's own ensemble has seen the same out-of-fold predictions. The standard error is of the paired difference of
# squared errors on the test rows: a difference within two of them says little.
# deskit weighs the models of each row by their errors at the nearest training rows, of the same predictions (DEWS-U).
predicted = mixture.predict(test[columns], predictions=test[models])
best = (train[models].sub(train["target"], axis=0) ** 2).mean().idxmin()
new = {f"best model ({best})": test[best], "AutoGluon's ensemble": test[ensemble], "metamix": predicted}
try:
    from deskit.des.dewsu import DEWSU
except ImportError:
    print("For local competence: pip install deskit")
else:
    scale = StandardScaler().fit(train[columns])
    router = DEWSU("regression", metric="mae", mode="min", k=20, preset="exact")
    router.fit(scale.transform(train[columns]), train["target"].to_numpy(), dict(train[models].items()))
    new["deskit, by neighbours"] = router.predict(scale.transform(test[columns]), dict(test[models].items()))
squared = pd.DataFrame({name: (values - test["target"]) ** 2 for name, values in new.items()})
print(np.sqrt(squared.mean()).round(3).to_string())
paired = squared["metamix"] - squared["AutoGluon's ensemble"]
print(f"metamix minus ensemble, squared error: {paired.mean():.2f}, standard error {paired.sem():.2f}")

# %%
# ``gate_weights`` has a column for each model, and for each candidate that combines them, such as a stack.
weights = mixture.gate_weights(test[columns], predictions=test[models])
shares = pd.Series(weights.mean(axis=0), index=mixture.names_).sort_values()
ax = shares[shares > 0.005].plot.barh(figsize=(6, 2.5), xlabel="mean weight in test rows")
ax.figure.tight_layout()
plt.show()
