"""Small mixtures that several tests of displays look at, fitted once; nothing is drawn on a screen."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor

#: Names that HTML, matplotlib's formulas, its legends, its fonts or its layout could stumble over.
HOSTILE = ["<script>alert(1)</script>", "$a_b$ \"quoted\" 'too'", "🏠" + "y" * 300, "_city"]
CITIES = ["Rome", "Oslo", "$x_y$ " + "z" * 300, "🏠"]


def hostile_table(n=300):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            HOSTILE[0]: rng.uniform(size=n),
            HOSTILE[1]: rng.uniform(-100, 100, size=n),
            HOSTILE[2]: rng.integers(0, 5, n) * 1.0,
            HOSTILE[3]: rng.choice(CITIES, n),
        }
    )
    step = np.where(X[HOSTILE[0]] > 0.3, 3 * X[HOSTILE[1]], 50 - 2 * X[HOSTILE[1]]) / 50
    return X, step + 0.1 * rng.standard_normal(n)


def step_table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 3))
    y = np.where(X[:, 0] > 0.3, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)
    return X, y


@pytest.fixture(scope="session")
def step():
    """A function that makes X (n, 3) and y (n,): one line where column 0 is above 0.3, another below."""
    return step_table


@pytest.fixture(scope="session")
def two_regimes():
    """A mixture of two regimes, X and y, with a step at 0.3 in column 0."""
    X, y = step_table()
    return MixtureRegressor(["ridge"], n_experts=2, specialize=True, gate="softmax", random_state=0).fit(X, y), X, y


@pytest.fixture(scope="session")
def default():
    """A mixture with all candidates, X and y; columns with hostile names."""
    X, y = hostile_table()
    return MixtureRegressor(["ridge", "splines"], gate="softmax", random_state=0).fit(X, y), X, y


@pytest.fixture(scope="session")
def twelve():
    """A mixture of twelve regimes in bands of column 0, X and y: lines and trees by turns."""
    rng = np.random.default_rng(1)
    X = rng.uniform(size=(480, 2))
    band = np.floor(12 * X[:, 0]).astype(int)
    y = (band % 5 - 2.0) * 3 * X[:, 1] + band + 0.05 * rng.standard_normal(len(X))
    experts = [
        (f"expert number {k} $q_{k}$", Ridge(0.01) if k % 2 else DecisionTreeRegressor(max_depth=4)) for k in range(12)
    ]
    mixture = MixtureRegressor(experts, specialize=True, start=band, gate="forest", cv=3, max_rounds=1, random_state=0)
    return mixture.fit(X, y), X, y


@pytest.fixture(scope="session")
def twelve_experts():
    """Candidates over twelve experts, X and y."""
    X, y = step_table()
    experts = [(f"model {k}", Ridge(10.0 ** (k - 6))) for k in range(12)]
    return MixtureRegressor(experts, specialize=False, gate="softmax", cv=3, random_state=0).fit(X, y), X, y


@pytest.fixture(scope="session")
def classes():
    """A classifier of three classes with hostile labels, X and y."""
    X, y = hostile_table()
    labels = np.array(["<script>", "$a_b$ no", "maybe " + "z" * 300])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    mixture = MixtureClassifier(["logistic"], n_experts=2, specialize=True, gate="softmax", random_state=0)
    return mixture.fit(X, labels), X, labels


@pytest.fixture(scope="session")
def targets():
    """A mixture of two targets with all candidates, X and y (n, 2)."""
    X, y = step_table()
    Y = np.column_stack([y, X[:, 2] - 50 * y])
    return MixtureRegressor(["ridge", "splines"], gate="softmax", random_state=0).fit(X, Y), X, Y


@pytest.fixture
def plt():
    """pyplot, whose figures are closed after the test."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")
