"""Coefficients in the units of X and y: predictions by hand are those of the expert."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from metamix import MixtureClassifier, MixtureRegressor

SCALED = make_pipeline(StandardScaler(), LinearRegression())
FAST = {"specialize": False, "gate": "constant", "cv": 2, "random_state": 0}


def table(n=80):
    rng = np.random.default_rng(0)
    X = rng.normal([5.0, -300.0, 0.01], [3.0, 40.0, 0.002], (n, 3))
    return X, 2.0 * X[:, 0] - 0.05 * X[:, 1] + 900 * X[:, 2] + rng.standard_normal(n)


def by_hand(frame, name, X):
    part = frame[frame["expert"] == name].set_index("column")["coefficient"]
    return X @ part.drop("intercept").to_numpy() + part["intercept"]


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("expert", ["linear", "ridge", "lasso", LinearRegression(), SCALED], ids=str)
def test_coefficients_give_the_predictions_of_numbers(expert, refit):
    X, y = table()
    mixture = MixtureRegressor([expert, "neighbours"], refit=refit, **FAST)
    frame = mixture.fit(X, y).coefficients()
    name = next(iter(mixture.named_experts_))
    assert set(frame["expert"]) == {name}
    np.testing.assert_allclose(by_hand(frame, name, X), mixture.predict_experts(X)[:, 0], rtol=1e-6)


def test_columns_are_named_and_categories_have_a_column_each():
    X, y = table()
    frame = pd.DataFrame({"size": X[:, 0], "city": np.where(X[:, 1] > -300, "Oslo", "Rome")})
    mixture = MixtureRegressor(["ridge"], **FAST).fit(frame, y)
    found = mixture.coefficients()
    assert found["column"].tolist() == ["size", "city=Oslo", "city=Rome", "intercept"]
    encoded = np.column_stack([frame["size"], frame["city"] == "Oslo", frame["city"] == "Rome"]).astype(float)
    np.testing.assert_allclose(by_hand(found, "ridge", encoded), mixture.predict_experts(frame)[:, 0], rtol=1e-6)


def test_several_targets():
    X, y = table()
    found = MixtureRegressor(["linear"], **FAST).fit(X, np.column_stack([y, 10 * y])).coefficients()
    parts = [part["coefficient"].to_numpy() for _, part in found.groupby("target")]
    np.testing.assert_allclose(parts[1], 10 * parts[0], rtol=1e-6)


@pytest.mark.parametrize("expert", ["logistic", ("own", LogisticRegression())], ids=str)
@pytest.mark.parametrize("C", [2, 3])
def test_coefficients_give_the_probabilities_of_classes(expert, C):
    X, y = table()
    X = X / [1, 100, 0.01]
    labels = np.array(["ant", "bee", "cow"])[np.digitize(y, np.quantile(y, [0.5] if C == 2 else [0.3, 0.6]))]
    mixture = MixtureClassifier([expert], **FAST).fit(X, labels)
    found = mixture.coefficients()
    logits = np.column_stack([by_hand(part, part["expert"].iloc[0], X) for _, part in found.groupby("class")])
    expected = mixture.predict_experts(X)[:, 0]
    assert found["class"].unique().tolist() == (["bee"] if C == 2 else ["ant", "bee", "cow"])
    shares = expit(logits[:, 0]) if C == 2 else softmax(logits, axis=1)
    np.testing.assert_allclose(shares, expected[:, 1] if C == 2 else expected, atol=1e-6)


def test_regimes_of_the_mixture_have_coefficients_too():
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 100, (80, 1))
    y = np.where(X[:, 0] > 50, 300 - 3 * X[:, 0], 2 * X[:, 0]) + 0.1 * rng.standard_normal(80)
    settings = {"gate": "softmax", "cv": 2, "random_state": 0, "n_experts": 2, "max_rounds": 1}
    start = (X[:, 0] > 50).astype(int)
    alone = MixtureRegressor(["linear"], specialize=True, start=start, **settings).fit(X, y).coefficients()
    slopes = alone[alone["column"] == "x0"]["coefficient"]
    np.testing.assert_allclose(sorted(slopes), [-3, 2], atol=0.05)
    joined = MixtureRegressor(["linear"], specialize="auto", start=start, **settings).fit(X, y).coefficients()
    assert joined["expert"].str.startswith("mixture: ").any()


POLYNOMIALS = {
    2: [
        "quadratic",
        ("own", make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), LinearRegression())),
    ],
    3: [
        "cubic",
        ("own", make_pipeline(StandardScaler(), PolynomialFeatures(3), LinearRegression())),
    ],
}


@pytest.mark.parametrize(("degree", "which"), [(2, 0), (2, 1), (3, 0), (3, 1)])
def test_coefficients_of_polynomials_are_those_of_polyfit(degree, which):
    x = np.linspace(100, 140, 60)
    y = np.polyval([0.003, -0.2, 5.0, 7.0][-degree - 1 :], x)
    found = MixtureRegressor([POLYNOMIALS[degree][which]], **FAST).fit(x[:, None], y).coefficients()
    names = ["x0", "x0^2", "x0^3"][:degree]
    assert found["column"].tolist() == [*names, "intercept"]
    known = found.set_index("column")["coefficient"][[*names[::-1], "intercept"]]
    np.testing.assert_allclose(np.polyval(known, x), np.polyval(np.polyfit(x, y, degree), x), rtol=1e-5)
    np.testing.assert_allclose(known.iloc[0], np.polyfit(x, y, degree)[0], rtol=1e-2)


def test_a_planted_polynomial_of_a_frame_with_a_category():
    X, _ = table(120)
    rome = X[:, 1] > -300
    frame = pd.DataFrame({"size": X[:, 0], "city": np.where(rome, "Rome", "Oslo")})
    y = 3.0 + 0.5 * X[:, 0] ** 2 - 2.0 * X[:, 0] * rome
    for refit in (True, False):
        found = MixtureRegressor(["quadratic"], refit=refit, **FAST).fit(frame, y).coefficients()
        slope = found.set_index("column")["coefficient"]
        assert slope["size^2"] == pytest.approx(0.5, abs=1e-3)
        assert slope["size city=Rome"] - slope["size city=Oslo"] == pytest.approx(-2.0, abs=1e-2)


def test_nothing_linear_is_an_empty_frame():
    X, y = table()
    found = MixtureRegressor(["neighbours"], **FAST).fit(X, y).coefficients()
    assert not len(found)
    assert list(found.columns) == ["expert", "column", "coefficient"]
