"""The numbers behind the pictures, against those counted by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.inspection import (
    CalibrationDisplay,
    CandidatesDisplay,
    ConvergenceDisplay,
    ErrorCorrelationDisplay,
    ExpertsDisplay,
    GateDisplay,
    RegionDisplay,
)


def test_candidates_are_those_of_the_mixture(default, targets):
    assert CandidatesDisplay.from_estimator(default[0]).frame().equals(default[0].candidates_)
    mixture = targets[0]
    own = mixture.candidates_[mixture.candidates_["target"] == 1].drop(columns="target").reset_index(drop=True)
    assert CandidatesDisplay.from_estimator(mixture, target=1).frame().equals(own)


def test_labels_are_judged_as_two_classes(step):
    X, y = step(200)
    labels = pd.DataFrame({"high": y > 1, "wide": X[:, 2] > 0.5}).astype(int)
    mixture = MixtureClassifier(["logistic", "naive_bayes"], specialize=False, gate="softmax", cv=3, random_state=0)
    mixture.fit(X, labels)
    own = mixture.candidates_[mixture.candidates_["target"] == "wide"].drop(columns="target").reset_index(drop=True)
    assert CandidatesDisplay.from_estimator(mixture, target=1).frame().equals(own)

    truth = labels["wide"].to_numpy()
    regions = RegionDisplay.from_estimator(mixture, X, labels, target=1, n_permutations=0).frame().set_index("regime")
    leading = mixture.gate_weights(X)[..., 1].argmax(axis=1)
    k = int(np.bincount(leading).argmax())
    inside = leading == k
    loss = log_loss(truth[inside], mixture.oof_predictions_[inside, k, 1])
    assert regions["loss_inside"].iloc[k] == pytest.approx(loss)

    found = CalibrationDisplay.from_estimator(mixture, X, labels, target=1, n_bins=4).frame()
    observed, predicted = calibration_curve(truth, mixture.predict_proba(X)[:, 1], n_bins=4, strategy="quantile")
    assert found["class"].unique().tolist() == [1]
    np.testing.assert_allclose(found[["observed", "predicted"]], np.column_stack([observed, predicted]))

    laws = ExpertsDisplay.from_estimator(mixture, X, labels, target=1).frame()
    coefficients = mixture.coefficients()
    own = coefficients[(coefficients["expert"] == "logistic") & (coefficients["target"] == "wide")]
    np.testing.assert_allclose(laws["value"][laws["regime"] == "logistic"], own["coefficient"])


def test_error_correlations_are_those_of_numpy(default, targets, two_regimes):
    mixture, X, y = default
    expected = np.corrcoef((mixture.oof_predictions_[:, :2] - np.asarray(y)[:, None]).T)
    for found in (
        ErrorCorrelationDisplay.from_estimator(mixture),
        ErrorCorrelationDisplay.from_estimator(mixture, X, y),
    ):
        assert list(found.frame()) == ["ridge", "splines"]
        assert np.allclose(found.frame(), expected)
        assert found.headroom.oracle_loss <= found.headroom.best_loss
    mixture, X, y = targets
    expected = np.corrcoef((mixture.oof_predictions_[:, :2, 1] - y[:, [1]]).T)
    assert np.allclose(ErrorCorrelationDisplay.from_estimator(mixture, target=1).frame(), expected)
    mixture, X, y = two_regimes
    expected = np.corrcoef((mixture.oof_predictions_ - y[:, None]).T)
    assert np.allclose(ErrorCorrelationDisplay.from_estimator(mixture, X, y).frame(), expected)
    with pytest.raises(ValueError, match="give X"):
        ErrorCorrelationDisplay.from_estimator(mixture)


def test_predictions_of_any_models_are_compared():
    rng = np.random.default_rng(0)
    y = rng.normal(size=80)
    models = {"near": y + rng.normal(size=80), "far": y + 1 + rng.normal(size=80)}
    found = ErrorCorrelationDisplay.from_predictions(pd.Series(y), models)
    assert list(found.frame()) == ["near", "far"]
    centred = [one - y - (one - y).mean() for one in models.values()]
    assert found.frame().loc["near", "far"] == pytest.approx(np.corrcoef(centred)[0, 1])
    labels = np.where(y > 0, "yes", "no")
    sure = np.column_stack([y <= 0, y > 0]) * 0.8 + 0.1
    same = ErrorCorrelationDisplay.from_predictions(labels, {"a": sure, "b": sure})
    assert same.frame().to_numpy() == pytest.approx(np.ones((2, 2)))
    assert same.headroom.best_loss == pytest.approx(log_loss(labels, sure))
    with pytest.raises(ValueError, match="y has 2 classes, and predictions 3"):
        ErrorCorrelationDisplay.from_predictions(labels, {"a": np.ones((80, 3)) / 3})
    with pytest.raises(ValueError, match="y has 79 rows, and predictions 80"):
        ErrorCorrelationDisplay.from_predictions(y[1:], models)


def test_probabilities_of_any_classifier_are_compared(plt):
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([1, 1, 1], size=400)
    labels = np.array(["a", "b", "c"])[[rng.choice(3, p=one) for one in probability]]
    found = CalibrationDisplay.from_predictions(labels, probability, n_bins=5)
    table = found.frame()
    for c, name in enumerate("abc"):
        observed, predicted = calibration_curve(labels == name, probability[:, c], n_bins=5, strategy="quantile")
        mine = table[table["class"] == name]
        assert mine["observed"].to_numpy() == pytest.approx(observed)
        assert mine["predicted"].to_numpy() == pytest.approx(predicted)
    assert found.plot().ax_.get_title(loc="left") == ""
    with pytest.raises(ValueError, match=r"shape \(400, 2\), and y has 400 rows of 3 classes"):
        CalibrationDisplay.from_predictions(labels, probability[:, :2])


def test_coverage_is_counted(two_regimes, step):
    mixture = two_regimes[0]
    X, y = step(seed=2)
    found = CalibrationDisplay.from_estimator(mixture, X, y)
    assert not found.of_fit
    for level in (0.5, 0.9):
        low, high = mixture.predict_interval(X, level).T
        inside = (low <= y) & (y <= high)
        rows = found.frame()[np.isclose(found.frame()["nominal"], level)].set_index("regime")
        assert rows.loc["all rows", "observed"] == pytest.approx(inside.mean())
        for k, name in enumerate(mixture.named_experts_):
            mine = mixture.assign(X) == k
            assert rows.loc[name, "observed"] == pytest.approx(inside[mine].mean())
            assert rows.loc[name, "rows"] == mine.sum()


def test_reliability_is_that_of_scikit_learn(classes):
    from sklearn.calibration import calibration_curve

    mixture, X, y = classes
    found = CalibrationDisplay.from_estimator(mixture, X, y, n_bins=5)
    assert found.of_fit
    label = mixture.classes_[1]
    observed, predicted = calibration_curve(y == label, mixture.predict_proba(X)[:, 1], n_bins=5, strategy="quantile")
    mine = found.frame()[found.frame()["class"] == label]
    assert np.allclose(mine["observed"], observed)
    assert np.allclose(mine["predicted"], predicted)


def test_weights_along_a_column_are_means_of_bins(two_regimes):
    mixture, X, _ = two_regimes
    table = GateDisplay.from_estimator(mixture, X, features="x0", n_bins=5).frame()
    weights = mixture.gate_weights(X)
    inside = (X[:, 0] >= table["x0 from"][1]) & (X[:, 0] < table["x0 to"][1])
    assert table["rows"].tolist() == [60] * 5
    assert np.allclose(table.filter(like="weight of").to_numpy()[1], weights[inside].mean(axis=0))
    assert np.allclose(table.filter(like="weight of").sum(axis=1), 1)


def test_the_column_is_by_default_the_one_that_moves_the_weights(two_regimes):
    mixture, X, _ = two_regimes
    assert GateDisplay.from_estimator(mixture, X).bins[0].name == "x0"
    with pytest.raises(ValueError, match="did you mean 'x0'"):
        GateDisplay.from_estimator(mixture, X, features="x00")
    with pytest.raises(ValueError, match="give one, or a pair"):
        GateDisplay.from_estimator(mixture, X, features=["x0", "x1", "x2"])


def test_over_two_columns_it_says_who_leads(two_regimes):
    mixture, X, _ = two_regimes
    table = GateDisplay.from_estimator(mixture, X, features=["x0", "x1"]).frame()
    low = table[table["x0 to"] < 0.29]
    assert set(low["leading"]) == {list(mixture.named_experts_)[mixture.assign([[0.1, 0.5, 0.5]])[0]]}
    assert table["rows"].sum() == len(X)


def test_categories_and_missing_values_have_bins_of_their_own(default):
    mixture, X, _ = default
    gaps = X.copy()
    gaps.iloc[:7, 3] = None
    gaps.iloc[:5, 0] = np.nan
    table = GateDisplay.from_estimator(mixture, gaps, features="_city").frame()
    assert table["_city"].tolist() == ["$x_y$ " + "z" * 300, "Oslo", "Rome", "🏠", "missing"]
    assert table["rows"].tolist()[-1] == 7
    assert GateDisplay.from_estimator(mixture, gaps, features=0).frame()["rows"].sum() == len(X) - 5


def test_coefficients_are_those_of_the_regimes_and_intervals_hold_the_truth(two_regimes):
    mixture, X, y = two_regimes
    table = ExpertsDisplay.from_estimator(mixture, X, y, n_bootstrap=60).frame()
    own = mixture.coefficients()
    assert np.allclose(table["value"], own["coefficient"])
    assert (table["low"] <= table["high"]).all()
    slopes = table[table["column"] == "x1"].sort_values("value")
    for (_, one), truth in zip(slopes.iterrows(), (-2, 3), strict=True):
        width = one["high"] - one["low"]
        assert 0.01 < width < 0.4
        assert abs(one["value"] - truth) < width


def test_importance_is_that_of_the_column_that_matters(twelve):
    mixture, X, y = twelve
    table = ExpertsDisplay.from_estimator(mixture, X, y).frame()
    trees = table[table["kind"] == "importance"].pivot(index="regime", columns="column", values="value")
    assert len(trees) == 6
    slopes = [k % 5 - 2 for k in range(0, 12, 2)]
    for name, slope in zip([f"expert number {k} $q_{k}$" for k in range(0, 12, 2)], slopes, strict=True):
        if slope:
            assert trees.loc[name, "x1"] > 10 * trees.loc[name, "x0"]
    with pytest.raises(ValueError, match="give y"):
        ExpertsDisplay.from_estimator(mixture, X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_importance_in_frames_is_that_of_the_column_that_matters(kind):
    import pandas as pd

    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.uniform(size=150), "city": rng.choice(["Rome", "Oslo"], 150)})
    y = np.where(X["city"] == "Rome", 1.0, -1.0) + 0.1 * rng.standard_normal(150)
    X = X if kind == "pandas" else pytest.importorskip("polars").from_pandas(X)
    mixture = MixtureRegressor(["extra_trees"], specialize=False, gate="constant", cv=3, random_state=0).fit(X, y)
    table = ExpertsDisplay.from_estimator(mixture, X, y).frame().set_index("column")
    assert table.loc["city", "value"] > 1
    assert abs(table.loc["a", "value"]) < 0.1


def test_the_round_that_was_kept_is_marked(two_regimes, step):
    mixture = two_regimes[0]
    table = ConvergenceDisplay.from_estimator(mixture).frame()
    assert table["loss"][table["chosen"]].item() == table["loss"].min()
    X, y = step(120)
    in_sample = MixtureRegressor(["linear"] * 2, gate="constant", cv=None, specialize=True, random_state=0).fit(X, y)
    table = ConvergenceDisplay.from_estimator(in_sample).frame()
    assert table["chosen"].tolist() == [False] * (len(table) - 1) + [True]
    by_fold = MixtureRegressor(["ridge"], n_experts=2, gate="softmax", refit=False, cv=3, random_state=0).fit(X, y)
    table = ConvergenceDisplay.from_estimator(by_fold).frame()
    assert table.groupby("fold")["chosen"].sum().tolist() == [1, 1, 1]


def test_the_specialised_mixture_has_the_starts_of_the_search(default):
    mixture = default[0]
    assert len(mixture.starts_) > 1
    pd.testing.assert_frame_equal(ConvergenceDisplay.from_estimator(mixture.mixture_).starts, mixture.starts_)


def test_each_fold_has_the_starts_of_its_own_search(step):
    X, y = step(150)
    mixture = MixtureRegressor(["linear"], n_experts=2, refit=False, gate="softmax", cv=2, random_state=0).fit(X, y)
    one, other = (ConvergenceDisplay.from_estimator(face).starts for face in mixture.named_experts_["mixture"])
    assert len(one)
    assert len(other)
    assert one["score"].tolist() != other["score"].tolist()


def test_text_that_is_numbers_is_read_as_in_fit():
    import pandas as pd

    rng = np.random.default_rng(0)
    x = rng.integers(1000, 9000, 120)
    X = pd.DataFrame({"price": [f"${value:,}" for value in x], "other": rng.uniform(size=120)})
    with pytest.warns(UserWarning, match="price"):
        mixture = MixtureRegressor(["ridge"], specialize=False, gate="softmax", cv=3, random_state=0).fit(X, x * 2.0)
    table = GateDisplay.from_estimator(mixture, X, features="price").frame()
    assert table["price from"].min() == x.min()
    assert ErrorCorrelationDisplay.from_estimator(mixture, X, x * 2.0).frame().shape == (1, 1)
    explanation = mixture.explain(X)
    assert np.allclose(explanation.prediction, mixture.predict(X))
    assert str(explanation[0])


def test_gates_of_regimes_and_of_columns():
    X, y = make_regimes(200, random_state=0)
    mixture = MixtureRegressor(["ridge"], n_experts=2, cv=2, gate="softmax", random_state=0).fit(X, y)
    regimes = GateDisplay.from_estimator(mixture, X)
    assert regimes.names == list(mixture.mixture_.named_experts_)
    assert GateDisplay.from_estimator(mixture, X, of="columns").names == list(mixture.named_experts_)
    with pytest.raises(ValueError, match="of='experts' is unknown"):
        GateDisplay.from_estimator(mixture, X, of="experts")


def test_coverage_of_many_rows_is_that_of_a_sample_of_them(step):
    X, y = step(150)
    mixture = MixtureRegressor(["linear"], specialize=False, gate="constant", cv=3, random_state=0).fit(X, y)
    X, y = step(8000, seed=1)
    table = CalibrationDisplay.from_estimator(mixture, X, y).frame()
    half = table[np.isclose(table["nominal"], 0.5)].iloc[0]
    low, high = mixture.predict_interval(X, 0.5).T
    assert half["rows"] == 5000
    assert half["observed"] == pytest.approx(np.mean((low <= y) & (y <= high)), abs=4 * half["standard_error"])
