"""Nothing depends on the order in which Python hashes text: another PYTHONHASHSEED gives the same answers and words."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import warnings
import numpy as np
from metamix import MixtureClassifier, MixtureRegressor, compare, load_example
from metamix.cli import main

warnings.simplefilter("ignore")
X, y = load_example("mixed")
X, y = X[:40], y[:40]
labels = np.array(["cheap", "fair", "dear"])[np.digitize(y, np.quantile(y, [0.3, 0.6]))]
groups = [f"house {i // 2}" for i in range(40)]
small = {"cv": 2, "random_state": 0}
# Of two experts that are equal, the first must be named.
twins = ["ridge", "linear", "ridge"]
for task, target, pool in (("regression", y, twins), ("classification", labels, ["naive_bayes", "logistic"])):
    if task == "regression":
        table = compare(X, target, pool, groups=groups, task=task, **small)
        print(table.verdict, table.frame().drop(columns=["fit_seconds", "predict_seconds"]).to_csv())
        mixture = MixtureRegressor(pool, n_experts=2, gate="softmax", **small)
    else:
        mixture = MixtureClassifier(pool, gate="softmax", specialize=False, **small)
    mixture.fit(X, target, groups=groups)
    print(mixture.verdict_, mixture.candidates_.to_csv(), mixture.gate_weights(X).tolist(), mixture.failures_.to_csv())
    print(mixture.predict(X).tolist(), mixture.starts_.to_csv())
X.assign(y=y).to_csv("table.csv", index=False)
main("fit table.csv --target y --experts linear --cv 2 --jobs 1 --out one.mix".split())
"""


@pytest.mark.heavy
def test_another_hash_seed_gives_the_same_answers_and_words(tmp_path):
    said = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    assert "simplest candidate" in said[0]
