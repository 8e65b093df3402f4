"""Write a small file of the current format, and its predictions beside it: python tests/persistence/files/write.py.

For a new format only: files of old formats must not be written again, since they stand for those that people have.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from metamix import MixtureRegressor, save
from metamix.persistence import FORMAT

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 2]) + rng.normal(scale=0.1, size=60)
experts = ["ridge", "neighbours", ("forest", RandomForestRegressor(3, max_depth=4, random_state=0))]
mixture = MixtureRegressor(experts, gate="softmax", final="blend", cv=3, n_experts=2, random_state=0).fit(X, y)
here = Path(__file__).parent
save(mixture, here / f"format_{FORMAT}.mix")
mean, deviation = mixture.predict(X[:5], return_std=True)
expected = {
    "X": X[:5].tolist(),
    "predict": mean.tolist(),
    "deviation": deviation.tolist(),
    "gate_weights": mixture.gate_weights(X[:5]).tolist(),
}
(here / f"format_{FORMAT}.json").write_text(json.dumps(expected, indent=1) + "\n")
