"""Formulas are computed from their JSON alone, and agree with predict."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import HuberRegressor
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor, make_regimes, to_formula
from metamix.export import ExportError
from metamix.gates import SoftmaxGate


def compute(formula, row):
    """A reader of the JSON, as somebody without the library would write it."""

    def base(term):
        if "product" in term:
            return math.prod((base(one) - one["centre"]) / one["scale"] for one in term["product"])
        x = row[term["column"]]
        missing = x is None or (isinstance(x, float) and math.isnan(x))
        if "is" not in term:
            return term["if_missing"] if missing else x
        kind = term["is"]
        if kind == "missing" or missing:
            return float(missing and kind == "missing")
        return float(x == kind["equals"] if "equals" in kind else x not in kind["none_of"])

    def total(part):
        return part["intercept"] + sum(one["coefficient"] * base(one) for one in part["terms"])

    def mixture(parts):
        values = {}
        for name, part in parts["values"].items():
            if "weights" in part:
                value = mixture(part)
            elif "mean_of" in part:
                value = sum(map(total, part["mean_of"])) / len(part["mean_of"])
            elif "coefficients" in part:
                seen = [values[one] for one in part["coefficients"]]
                value = part["intercept"] + sum(c * values[one] for one, c in part["coefficients"].items())
                value = min(max(value, min(seen) - part["margin"]), max(seen) + part["margin"])
            else:
                value = total(part)
            values[name] = value if formula["at_least"] is None else max(value, formula["at_least"])
        weights = dict(parts["weights"])
        if parts["gate"] is not None:
            scores = {name: total(part) for name, part in parts["gate"]["scores"].items()}
            highest = max(scores.values())
            powers = {name: math.exp(score - highest) for name, score in scores.items()}
            kept = sorted(powers, key=lambda name: -powers[name])[: parts["gate"]["top_k"]]
            for name in kept:
                share = parts["gate"]["share"] * powers[name] / sum(powers[one] for one in kept)
                weights[name] = weights.get(name, 0.0) + share
        return sum(weight * values[name] for name, weight in weights.items())

    return mixture(formula)


def agrees(mixture, X):
    formula = json.loads(to_formula(mixture).to_json())
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    found = np.array([compute(formula, row) for row in rows])
    expected = mixture.predict(X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * max(1.0, np.abs(expected).max()))
    return formula


@pytest.fixture(scope="module")
def regimes():
    return make_regimes(150, n_regimes=2, random_state=0)


@pytest.mark.parametrize(
    "parameters",
    [
        {"specialize": True, "gate": "softmax"},
        {"specialize": True, "gate": "constant", "cv": None},
        {"specialize": True, "gate": "online", "cv": TimeSeriesSplit(3)},
        {"specialize": True, "gate": SoftmaxGate(degree=2, penalty=0.01)},
        {"specialize": True, "gate": "softmax", "top_k": 1},
        {"specialize": False, "gate": "softmax", "final": "simplest", "refit": False},
        {"specialize": "auto", "gate": "softmax", "final": "simplest", "n_experts": 2},
        {"specialize": True, "gate": SoftmaxGate(penalty=0.01), "gate_features": [0, 2]},
        {"specialize": True, "gate": "constant", "likelihood": "poisson", "cv": None},
    ],
    ids=str,
)
def test_formulas_of_numbers_agree_with_predict(regimes, parameters):
    X, y = regimes
    y = np.round(np.abs(y)) if "likelihood" in parameters else y
    experts = ["linear", ("own", make_pipeline(StandardScaler(), HuberRegressor(max_iter=1000)))]
    mixture = MixtureRegressor(experts, **{"cv": 3, "random_state": 0, **parameters}).fit(X, y)
    formula = agrees(mixture, X[:40])
    if parameters.get("gate") == "softmax":
        assert formula["gate"] is not None or parameters["specialize"] is not True


def test_stacks_are_written(regimes):
    X, _ = regimes
    y = X[:, 0] + np.random.default_rng(1).normal(size=len(X))
    mixture = MixtureRegressor(["ridge", "lasso"], specialize=False, gate="softmax", cv=3, random_state=0).fit(X, y)
    target = mixture._fitted.targets[0]
    weights = np.zeros_like(target.constant_weights)
    weights[mixture._fitted.names.index("stack")] = 1.0
    object.__setattr__(target, "constant_weights", weights)  # as a blend that is the stack alone
    object.__setattr__(target, "gate_share", 0.0)
    formula = agrees(mixture, 3 * X[:40])
    assert list(formula["weights"]) == ["stack"]


@pytest.mark.filterwarnings("ignore::metamix.TableWarning")  # of the value that training had not
def test_categories_and_missing_values_are_written():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.normal(50, 9, 200), "city": rng.choice(["Rome", "Oslo", None], 200), "new": 1.0})
    X.loc[rng.choice(200, 30), "size"] = np.nan
    X["new"] = (rng.random(200) > 0.5).astype(float)
    y = X["size"].fillna(40) + 5 * (X["city"] == "Rome") + rng.normal(size=200)
    mixture = MixtureRegressor(
        ["ridge", "linear"], specialize=True, gate="softmax", n_experts=None, cv=3, random_state=0
    )
    mixture.fit(X, y)
    other = X.copy()
    other.loc[:5, "city"] = "Paris"
    agrees(mixture, other[:60])
    text = str(to_formula(mixture))
    assert "[city = Rome]" in text
    assert "[size is missing]" in text


def test_the_text_has_the_coefficients_that_were_planted():
    X = np.random.default_rng(0).normal(size=(60, 2))
    mixture = MixtureRegressor([("line", "linear")], specialize=True, cv=None).fit(X, 3 + 2 * X[:, 0] - 0.5 * X[:, 1])
    assert str(to_formula(mixture)) == "prediction = line\nline = 3 + 2 x0 - 0.5 x1"


@pytest.mark.parametrize(
    ("experts", "parameters", "message"),
    [
        (["linear", "extra_trees"], {}, "the expert 'extra_trees' .* is not linear"),
        (["linear", "ridge"], {"gate": "forest"}, r"the gate \(ForestGate\) has no formula"),
        (["linear", "ridge"], {"gate_features": "both"}, "gate_features='both'"),
    ],
)
def test_what_has_no_formula_is_named(regimes, experts, parameters, message):
    X, y = regimes
    given = {"gate": "softmax", "specialize": True, "start": np.arange(len(y)) % 2, "cv": 2, "random_state": 0}
    mixture = MixtureRegressor(experts, **{**given, **parameters}).fit(X, y)
    with pytest.raises(ExportError, match=message):
        to_formula(mixture)


def test_dates_classes_and_several_targets_are_named(regimes):
    X, y = regimes
    frame = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=len(y)), "x": X[:, 0]})
    dated = MixtureRegressor(["linear"], specialize=True, cv=None).fit(frame, y)
    with pytest.raises(ExportError, match="looks at 'when', made of a date"):
        to_formula(dated)
    with pytest.raises(ExportError, match="3 targets"):
        to_formula(MixtureRegressor(["linear"], specialize=True, cv=None).fit(X, np.column_stack([y, y, -y])))
    with pytest.raises(ExportError, match="this is a MixtureClassifier"):
        to_formula(MixtureClassifier(["logistic"], specialize=True, cv=None).fit(X, y > 0))
