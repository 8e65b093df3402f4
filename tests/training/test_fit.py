"""The way through a fit: what is cross-fitted does not see the rows that it predicts, and one regime is one expert."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold, TimeSeriesSplit, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor

FOLDS = list(KFold(3, shuffle=True, random_state=0).split(np.empty((120, 1))))
QUICK = {"gate": "softmax", "cv": FOLDS, "random_state": 0}
POOL = [("line", LinearRegression()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]


@pytest.fixture(scope="module")
def lines(two_lines):
    return two_lines(120)


@pytest.fixture(scope="module")
def fitted(lines):
    X, y, _ = lines
    return MixtureRegressor(POOL, max_regimes=3, **QUICK).fit(X, y)


def _column(mixture, name):
    return mixture.oof_predictions_[:, list(mixture.named_experts_).index(name)]


# --- out of fold ----------------------------------------------------------------------------------------


def test_experts_are_cross_validated_and_then_fitted_on_all_rows(fitted, lines):
    X, y, _ = lines
    for name, one in POOL:
        np.testing.assert_allclose(_column(fitted, name), cross_val_predict(one, X, y, cv=FOLDS))
        np.testing.assert_allclose(fitted.named_experts_[name].predict(X), one.fit(X, y).predict(X))


@pytest.mark.parametrize("start", ["proxy", "kmeans"])
def test_held_out_targets_do_not_reach_their_own_predictions(start, lines):
    """Search, responsibilities and gate are cross-fitted; which expert serves a regime is asked of all rows."""
    X, y, _ = lines
    settings = {"n_experts": 2, "start": start, **QUICK, "gate": "constant"}
    before = MixtureRegressor(POOL, **settings).fit(X, y)
    test = FOLDS[1][1]
    other = y.copy()
    other[test] += 0.3 * np.random.default_rng(0).standard_normal(len(test))
    after = MixtureRegressor(POOL, **settings).fit(X, other)
    rest = np.setdiff1d(np.arange(120), test)
    assert before.n_experts_ == after.n_experts_ == 2
    for name in ("line", "tree", "mixture", "mean"):
        np.testing.assert_allclose(_column(after, name)[test], _column(before, name)[test], atol=1e-9, err_msg=name)
        assert not np.allclose(_column(after, name)[rest], _column(before, name)[rest]), name


def test_the_mixture_of_a_fold_is_the_plain_mixture_of_its_training_rows(lines):
    """Where initial responsibilities are given, so that no number of regimes is asked of all rows."""
    X, y, regime = lines
    start = 0.8 * np.eye(2)[regime] + 0.1
    whole = MixtureRegressor([LinearRegression()], n_experts=2, start=start, **QUICK).fit(X, y)
    train, test = FOLDS[0]
    place = {row: i for i, row in enumerate(train)}
    inner = [([place[i] for i in a if i in place], [place[i] for i in b]) for a, b in FOLDS[1:]]
    alone = MixtureRegressor([LinearRegression()], n_experts=2, start=start[train], specialize=True,
                             **{**QUICK, "cv": inner}).fit(X[train], y[train])  # fmt: skip
    np.testing.assert_allclose(_column(whole, "mixture")[test], alone.predict(X[test]), rtol=1e-6)


@pytest.mark.slow
def test_losses_out_of_fold_are_those_of_new_rows(two_lines):
    """On average over a few tables; in sample they would be far smaller."""
    ratios = []
    for seed in range(6):
        X, y, _ = two_lines(120, seed, noise=1.0)
        new, truth, _ = two_lines(2000, seed + 50, noise=1.0)
        mixture = MixtureRegressor(POOL, n_experts=2, start="kmeans", **QUICK).fit(X, y)
        table = mixture.candidates_.set_index("candidate")
        ratios.append(table["loss"]["blend"] / np.mean((mixture.predict(new) - truth) ** 2))
    assert 0.75 < np.exp(np.mean(np.log(ratios))) < 1.4


# --- blend ----------------------------------------------------------------------------------------------


def test_weights_times_columns_is_the_prediction(fitted, two_lines):
    new = 1.5 * two_lines(40, seed=3)[0]
    weights = fitted.gate_weights(new)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose((weights * fitted.predict_experts(new)).sum(axis=1), fitted.predict(new))


def test_candidates_on_new_rows_make_the_blend(fitted, two_lines):
    """`predict` is the weighted sum of candidates, each of which is what its name says."""
    new = two_lines(40, seed=3)[0]
    found = fitted._fitted.candidate_predictions(new)
    weights = fitted.verdict_.weights
    np.testing.assert_allclose(sum(weights[name] * found[name] for name in weights), fitted.predict(new))
    np.testing.assert_allclose(found["blend"], fitted.predict(new))
    line, tree = (fitted.named_experts_[name].predict(new) for name, _ in POOL)
    np.testing.assert_allclose(found["average"], (line + tree) / 2)
    np.testing.assert_allclose(found["mixture"], fitted.mixture_.predict(new))
    assert min(np.abs(found["best single"] - one).max() for one in (line, tree)) == 0
    assert np.ptp(found["mean of y"]) == 0
    table = fitted.candidates_.set_index("candidate")
    assert set(found) == set(table.index)


def test_planted_regimes_are_found_and_used(fitted, lines):
    X, y, _ = lines
    assert fitted.n_experts_ >= 2
    assert fitted.verdict_.winner in ("mixture", "stack with mixture")
    table = fitted.candidates_.set_index("candidate")
    assert table["loss"]["blend"] < 0.5 * table["loss"]["stack"]
    assert np.mean((fitted.predict(X) - y) ** 2) < 0.2 * np.var(y)


# --- one regime -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("refit", [True, False])
def test_one_regime_is_the_best_single_expert(refit):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    y = X @ [1.0, 2.0] + 0.5 * rng.standard_normal(120)
    mixture = MixtureRegressor(POOL, refit=refit, max_regimes=2, **QUICK).fit(X, y)
    assert mixture.n_experts_ == 1
    np.testing.assert_array_equal(_column(mixture, "mixture"), _column(mixture, "line"))
    np.testing.assert_array_equal(_column(mixture, "stack with mixture"), _column(mixture, "stack"))
    columns = mixture.predict_experts(X)
    names = list(mixture.named_experts_)
    np.testing.assert_array_equal(columns[:, names.index("mixture")], columns[:, names.index("line")])
    np.testing.assert_allclose(mixture.mixture_.predict(X), columns[:, names.index("line")])
    table = mixture.candidates_.set_index("candidate")
    assert table["weight"][["mixture", "stack with mixture"]].tolist() == [0, 0]
    assert "No regimes (regions with an expert of their own) were found." in str(mixture.verdict_)


def test_fitting_costs_each_expert_one_fit_a_fold_one_for_each_pair_of_folds_and_one_on_all_rows():
    fits = []

    class Counted(LinearRegression):
        def fit(self, X, y, sample_weight=None):
            fits.append((len(X), sample_weight is None))
            return super().fit(X, y, sample_weight)

    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    MixtureRegressor([Counted()], specialize=False, **QUICK).fit(X, rng.standard_normal(120))  # no candidate stands out
    assert sorted(fits) == [(40, True)] * 3 + [(80, True)] * 3 + [(120, True)]


def test_experts_predict_only_the_rows_where_they_have_weight(lines):
    asked = []

    class Counted(LinearRegression):
        def predict(self, X):
            asked.append(len(X))
            return super().predict(X)

    X, y, regime = lines
    mixture = MixtureRegressor([Counted(), Counted()], specialize=True, top_k=1, start=regime, **QUICK).fit(X, y)
    asked.clear()
    found = mixture.predict(X)
    assert sum(asked) == 120
    assert sorted(asked) == sorted(np.bincount(mixture.assign(X)))
    leaders = mixture.predict_experts(X)[np.arange(120), mixture.assign(X)]
    np.testing.assert_allclose(found, leaders)


# --- failures, folds, classes ---------------------------------------------------------------------------


class Broken(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        raise OSError("no file")

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_an_expert_that_fails_changes_nothing_for_the_others(lines):
    X, y, _ = lines
    settings = {"specialize": False, **QUICK}
    mixture = MixtureRegressor([*POOL, ("bad", Broken())], **settings).fit(X, y)
    expected = MixtureRegressor(POOL, **settings).fit(X, y)
    np.testing.assert_allclose(mixture.predict(X), expected.predict(X))
    assert set(mixture.failures_["expert"]) == {"bad"}
    with pytest.raises(OSError, match="no file"):
        MixtureRegressor([*POOL, ("bad", Broken())], on_error="raise", **settings).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_a_mixture_that_fails_is_left_out(lines):
    """An expert that needs more rows than a fold of a fold has fails inside the mixture only."""
    X, y, _ = lines

    class Choosy(KNeighborsRegressor):
        def fit(self, X, y):
            if len(X) < 70:
                raise ValueError("too few rows")
            return super().fit(X, y)

    mixture = MixtureRegressor([Choosy()], n_experts=2, start="kmeans", **QUICK).fit(X, y)
    assert "mixture" not in mixture.named_experts_
    assert "mixture" in set(mixture.failures_["expert"])
    assert "mixture" not in set(mixture.candidates_["candidate"])


def test_kept_fold_models_tell_their_rounds(lines):
    X, y, _ = lines
    kept = MixtureRegressor([LinearRegression()], n_experts=2, refit=False, **QUICK).fit(X, y)
    assert set(kept.history_["fold"]) == {0, 1, 2}
    members = [member.predict(X) for member in kept.named_experts_["mixture"]]
    names = list(kept.named_experts_)
    np.testing.assert_allclose(kept.predict_experts(X)[:, names.index("mixture")], np.mean(members, axis=0))


def test_time_order_leaves_the_first_rows_out(lines):
    X, y, _ = lines
    mixture = MixtureRegressor(POOL, n_experts=2, **{**QUICK, "cv": TimeSeriesSplit(3)}).fit(X, y)
    assert np.isnan(_column(mixture, "mixture")[:30]).all()
    assert np.isfinite(_column(mixture, "mixture")[30:]).all()
    assert np.isfinite(mixture.predict(X)).all()


def test_classes_go_the_same_way():
    X, y = load_iris(return_X_y=True)
    pool = [
        ("logistic", LogisticRegression(max_iter=1000)),
        ("tree", DecisionTreeClassifier(max_depth=3, random_state=0)),
    ]
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    mixture = MixtureClassifier(pool, n_experts=2, start="kmeans", **{**QUICK, "cv": folds}).fit(X, y)
    np.testing.assert_allclose(
        _column(mixture, "logistic"), cross_val_predict(pool[0][1], X, y, cv=folds, method="predict_proba")
    )
    columns, weights = mixture.predict_experts(X), mixture.gate_weights(X)
    np.testing.assert_allclose(np.einsum("nk,nkc->nc", weights, columns), mixture.predict_proba(X), atol=1e-9)
    # With a single expert nothing but the number of regimes is asked of all rows.
    alone = MixtureClassifier(pool[:1], n_experts=2, start="kmeans", **{**QUICK, "cv": folds})
    test = folds[0][1]
    other = y.copy()
    other[test[:5]] = (y[test[:5]] + 1) % 3
    before, after = (_column(alone.fit(X, labels), "mixture") for labels in (y, other))
    np.testing.assert_allclose(after[test], before[test], atol=1e-6)
    assert not np.allclose(after, before, atol=1e-3)


def test_a_column_that_follows_the_mixture_has_its_deviation_whoever_is_asked(lines):
    """Rows where the mixture has no weight still need its deviation."""
    X, y, _ = lines
    mixture = MixtureRegressor(POOL, n_experts=2, top_k=1, **QUICK).fit(X, y)._fitted
    assert mixture.targets[0].variance is not None
    (few,) = mixture.predictions(X, scaled=True)
    (everything,) = mixture.predictions(X, scaled=True, everywhere=True)
    used = few.weights > 0
    np.testing.assert_allclose(few.deviation()[used], everything.deviation()[used])
    np.testing.assert_allclose(few.combined(), everything.combined())


@pytest.mark.parametrize("likelihood", ["laplace", "student_t"])
def test_other_likelihoods_keep_their_scales(likelihood, lines):
    X, y, _ = lines
    mixture = MixtureRegressor([Ridge()], n_experts=2, start="kmeans", likelihood=likelihood, **QUICK).fit(X, y)
    assert mixture._fitted.targets[0].variance is None
