"""Contributions add up to the prediction; conditions and borders are the planted ones."""

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import partial_dependence, permutation_importance

from metamix import MixtureClassifier, MixtureRegressor


def step_table(n=300):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(n, 3))
    y = np.where(X[:, 0] > 0.3, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)
    return X, y


@pytest.fixture(scope="module")
def default():
    X, y = step_table()
    return MixtureRegressor(["ridge", "splines"], gate="softmax", random_state=0).fit(X, y), X, y


def test_contributions_add_up_to_the_prediction(default):
    mixture, X, _ = default
    found = mixture.explain(X)
    assert np.abs(found.contributions.sum(axis=1) - mixture.predict(X)).max() < 1e-10
    assert np.array_equal(found.weights, mixture.gate_weights(X))
    assert np.array_equal(found.leading, np.array(list(mixture.mixture_.named_experts_))[mixture.mixture_.assign(X)])
    table = found.frame()
    assert len(table) == len(X) * len(mixture.named_experts_)
    assert np.allclose(table.groupby("row")["contribution"].sum(), mixture.predict(X))


def test_of_several_targets_one_is_explained():
    X, y = step_table(150)
    mixture = MixtureRegressor(["ridge"], specialize=False, gate="softmax", cv=3, random_state=0)
    mixture.fit(X, np.column_stack([y, -50 * y + X[:, 2]]))
    found = mixture.explain(X, target=1)
    assert np.abs(found.contributions.sum(axis=1) - mixture.predict(X)[:, 1]).max() < 1e-10
    with pytest.raises(ValueError, match="from 0 to 1"):
        mixture.explain(X, target=2)


def test_of_classes_probabilities_are_explained():
    X, y = step_table()
    labels = np.array(["low", "middle", "high"])[np.digitize(y, [0.5, 1.5])]
    mixture = MixtureClassifier(["logistic", "tree"], specialize=False, cv=3, random_state=0).fit(X, labels)
    found = mixture.explain(X)
    assert np.abs(found.contributions.sum(axis=1) - mixture.predict_proba(X)).max() < 1e-10
    assert found[5].label == mixture.predict(X[5:6])[0]
    assert "contribution_low" in found.frame()


def test_one_row_has_its_conditions_and_the_nearest_border(default):
    mixture, X, _ = default
    found = mixture.explain(X[:4], background=X)
    for i, row in enumerate(found[i] for i in range(4)):
        assert row.conditions == (["x0 > 0.3"] if X[i, 0] > 0.3 else ["x0 ≤ 0.3"])
        assert row.conditions_agree
        assert row.border.column == "x0"
        assert row.border.border == pytest.approx(0.3, abs=0.03)
        assert row.border.distance == pytest.approx(abs(X[i, 0] - row.border.border) / X[:, 0].std())
        assert row.border.other != row.regime
        crossed = X[[i]].copy()
        crossed[0, 0] = row.border.border
        assert list(mixture.mixture_.named_experts_)[mixture.mixture_.assign(crossed)[0]] == row.border.other
        assert row.frame()["contribution"].sum() == pytest.approx(row.prediction)
        assert "x0" in str(row)
        assert f"Row {i}" in str(row)
    assert str(found).count("\n") == 3
    assert str(found[-1]) == str(found[3])
    with pytest.raises(IndexError, match="no row 4"):
        _ = found[4]


def test_few_rows_have_no_conditions(default):
    mixture, X, _ = default
    found = mixture.explain(X[:1])
    assert found.rules is None
    assert found[0].conditions is None
    assert found[0].border is None
    assert str(found) == str(found[0])


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_with_categories_and_integers_are_explained(kind):
    X, _ = step_table()
    rng = np.random.default_rng(1)
    city = rng.choice(["Rome", "Oslo", "Bern"], len(X))
    table = pd.DataFrame({"size": (100 * X[:, 0]).astype(int), "b": X[:, 1], "city": city})
    y = np.where(city == "Rome", 3 * X[:, 1], 1 - 2 * X[:, 1])
    if kind == "polars":
        table = pytest.importorskip("polars").from_pandas(table)
    mixture = MixtureRegressor(["ridge"], n_experts=2, specialize=True, gate="softmax", random_state=0).fit(table, y)
    found = mixture.explain(table)
    assert np.abs(found.contributions.sum(axis=1) - mixture.predict(table)).max() < 1e-10
    conditions = {tuple(rule.conditions) for rule in found.rules.rules}
    assert conditions == {("city is Rome",), ("city is not Rome",)}
    for i in range(3):
        changes = [one for one in found[i].categories if one.column == "city"]
        elsewhere = {"Oslo", "Bern"} if city[i] == "Rome" else {"Rome"}
        assert {name for one in changes for name in one.categories} == elsewhere
        assert {one.value for one in changes} == {city[i]}
        assert {one.other for one in changes} == {*found.regimes} - {found[i].regime}
        assert f" instead of {city[i]}, " in str(found[i])


def test_sparse_tables_are_explained():
    from scipy import sparse

    X, y = step_table()
    X = sparse.csr_array(np.where(X > 0.2, X, 0))
    mixture = MixtureRegressor(["ridge"], n_experts=2, specialize=True, gate="softmax", random_state=0).fit(X, y)
    found = mixture.explain(X)
    assert np.abs(found.contributions.sum(axis=1) - mixture.predict(X)).max() < 1e-10
    assert found[0].border is not None


def test_tools_of_scikit_learn_work_on_mixtures(default):
    mixture, X, y = default
    importance = permutation_importance(mixture, X, y, n_repeats=2, random_state=0).importances_mean
    assert importance.argmin() == 2
    found = partial_dependence(mixture, X, [1], grid_resolution=5)
    assert found["average"].shape == (1, 5)
