"""Incremental learning: from nothing and after fit, planted truths, losses that do not look ahead, files, checks."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import LinearRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.utils import estimator_checks

from metamix import MixtureClassifier, MixtureRegressor, load, save

LINES = [("one", SGDRegressor(eta0=0.05, learning_rate="constant")), ("other", SGDRegressor(alpha=0.01))]
SETTINGS = {"random_state": 0}
CLASSES = [("bayes", GaussianNB()), ("line", SGDClassifier(loss="log_loss"))]


def two_regimes(n, seed=0):
    """One line where column 0 is positive, another elsewhere; noise of variance 0.01."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)


def fed(mixture, X, y, size=50, **arguments):
    for begin in range(0, len(y), size):
        mixture.partial_fit(X[begin : begin + size], y[begin : begin + size], **arguments)
    return mixture


def later(mixture, share=0.5):
    """Mean losses of the later batches."""
    table = mixture.prequential_
    return table.iloc[int(share * len(table)) :].mean()


# Planted truths


@pytest.mark.parametrize("gate", ["softmax", "forest", "neighbours"])
def test_other_gates_begin_from_nothing_too(gate):
    X, y = two_regimes(2000)
    new, truth = two_regimes(1000, seed=1)
    found, without = (
        fed(MixtureRegressor(LINES, specialize=True, n_experts=2, gate=one, **SETTINGS), X, y, 100)
        for one in (gate, "constant")
    )
    assert np.mean((found.predict(new) - truth) ** 2) < 0.5 * np.mean((without.predict(new) - truth) ** 2)


@pytest.mark.parametrize("size", [50, 500])
@pytest.mark.parametrize("specialize", [True, "auto"])
def test_regimes_are_found_and_halve_the_loss_of_the_best_expert(size, specialize):
    X, y = two_regimes(2000)
    mixture = fed(MixtureRegressor(LINES, specialize=specialize, n_experts=2, **SETTINGS), X, y, size)
    alone = fed(MixtureRegressor(LINES, specialize=False, **SETTINGS), X, y, size)
    assert later(mixture, 0.7)["prediction"] < 0.45 * later(alone, 0.7)[["one", "other"]].min()
    new, truth = two_regimes(1000, seed=1)
    assert np.mean((mixture.predict(new) - truth) ** 2) < 0.4 * np.mean((alone.predict(new) - truth) ** 2)
    mean, deviation = mixture.predict(new, return_std=True)
    assert np.mean(np.abs(truth - mean) < 2 * deviation) > 0.9
    assert mixture.n_experts_ == 2


def test_weights_follow_within_100_rows_where_the_best_expert_changes():
    """The slow learner is better on a line that stays; the fast one knows a new line much sooner."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2100, 2))
    y = np.where(np.arange(2100) < 2000, 1, -3) * X[:, 0] + 0.5 * rng.standard_normal(2100)
    slow = SGDRegressor(learning_rate="constant", eta0=0.005)
    fast = SGDRegressor(learning_rate="constant", eta0=0.15)
    mixture = MixtureRegressor([("slow", slow), ("fast", fast)], specialize=False, **SETTINGS)
    fed(mixture, X[:2000], y[:2000])
    assert mixture.gate_weights(X[:1])[0, 0] > 0.8
    assert mixture.gate_.weights_[0] == mixture.gate_weights(X[:1])[0, 0]
    fed(mixture, X[2000:], y[2000:], 10)
    assert mixture.gate_weights(X[:1])[0, 1] > 0.8
    losses = mixture.prequential_.iloc[-5:].mean()
    assert losses["prediction"] < 0.5 * losses["slow"]


def test_classes_with_regimes():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (3000, 2))
    y = np.where((X[:, 0] > 0) == (X[:, 1] > 0), "same", "other")
    lines = [("one", SGDClassifier(loss="log_loss")), ("two", SGDClassifier(loss="log_loss", alpha=0.01))]
    mixture = fed(MixtureClassifier(lines, n_experts=2, **SETTINGS), X, y, 100, classes=["same", "other"])
    assert later(mixture)["prediction"] < 0.5 * later(mixture)[["one", "two"]].min()
    assert mixture.score(X, y) > 0.9


# Losses that do not look ahead


@pytest.mark.parametrize("specialize", [True, False, "auto"])
def test_losses_are_those_of_predictions_before_the_batch(specialize):
    X, y = two_regimes(700)
    mixture = MixtureRegressor(LINES, specialize=specialize, n_experts=2, **SETTINGS)
    mixture.partial_fit(X[:10], y[:10])
    assert not len(mixture.prequential_)
    for begin in range(10, 700, 30):
        batch = slice(begin, begin + 30)
        before, columns = mixture.predict(X[batch]), mixture.predict_experts(X[batch])
        mixture.partial_fit(X[batch], y[batch])
        row = mixture.prequential_.iloc[-1]
        assert row["prediction"] == pytest.approx(np.mean((before - y[batch]) ** 2))
        for k, name in enumerate(["one", "other"] if begin < 200 or specialize is not True else []):
            assert row[name] == pytest.approx(np.mean((columns[:, k] - y[batch]) ** 2))


def test_constant_weights_come_close_to_the_best_of_all_rows():
    X, y = two_regimes(4000)
    mixture = fed(MixtureRegressor(LINES, specialize=False, **SETTINGS), X, y, 20)
    losses = mixture.prequential_
    assert losses["constant weights"].mean() < 1.03 * losses[["one", "other", "mean"]].mean().min()


# Batches


def test_batches_of_one_row():
    X, y = two_regimes(260)
    mixture = fed(MixtureRegressor(LINES, n_experts=2, **SETTINGS), X, y, 1)
    assert len(mixture.prequential_) == 259
    assert np.isfinite(mixture.prequential_.to_numpy()).all()
    np.testing.assert_allclose(mixture.gate_weights(X).sum(axis=1), 1)
    values = (mixture.gate_weights(X) * mixture.predict_experts(X)).sum(axis=1)
    np.testing.assert_allclose(mixture.predict(X), values)


@pytest.mark.parametrize("specialize", [True, "auto"])
def test_the_same_batches_give_the_same_bits(specialize):
    X, y = two_regimes(500)
    experts = [*LINES, ("exact", Exact())]  # the last takes no sample weights
    parameters = {"specialize": specialize, "n_experts": 2, **SETTINGS}
    first, second = (fed(MixtureRegressor(experts, **parameters), X, y, 100) for _ in range(2))
    np.testing.assert_array_equal(first.predict(X), second.predict(X))
    assert first.prequential_.equals(second.prequential_)


@pytest.mark.parametrize("factor", [1000, 1e-4])
@pytest.mark.parametrize("specialize", [False, "auto"])
def test_the_scale_of_the_weights_does_not_count(specialize, factor):
    X, y = two_regimes(600)
    weight = np.random.default_rng(1).uniform(0.5, 2, 600)
    experts = [*LINES, ("exact", Exact())]  # the last takes no sample weights
    one, other = (
        MixtureRegressor(experts, specialize=specialize, n_experts=2 if specialize else None, **SETTINGS)
        for _ in range(2)
    )
    for begin in range(0, 600, 60):
        batch = slice(begin, begin + 60)
        one.partial_fit(X[batch], y[batch], sample_weight=weight[batch])
        other.partial_fit(X[batch], y[batch], sample_weight=factor * weight[batch])
    np.testing.assert_allclose(other.predict_experts(X), one.predict_experts(X), atol=1e-8)
    np.testing.assert_allclose(other.predict(X), one.predict(X), atol=1e-8)


@pytest.mark.parametrize("factor", [1000, 1e-4])
def test_the_scale_of_the_weights_does_not_count_after_fit(factor):
    """Experts that take weights count further rows in the units of those before, others in units of their mean."""
    X, y = two_regimes(400)
    weight = np.random.default_rng(1).uniform(0.5, 2, 400)
    for expert, tolerance in ((Exact(), 1e-8), (Weighted(), 1e-6)):
        one, other = (MixtureRegressor([("one", expert)], specialize=False, cv=2, **SETTINGS) for _ in range(2))
        one.fit(X[:300], y[:300], weight[:300]).partial_fit(X[300:], y[300:], weight[300:])
        scaled = factor * weight
        other.fit(X[:300], y[:300], scaled[:300]).partial_fit(X[300:], y[300:], scaled[300:])
        np.testing.assert_allclose(other.predict_experts(X), one.predict_experts(X), atol=tolerance)
    whole = np.average(y, weights=weight)
    np.testing.assert_allclose(other.predict_experts(X)[:, 0], whole)


def test_rows_of_weight_zero_do_not_count_and_ones_are_none():
    X, y = two_regimes(600)
    weight = np.tile([1.0, 2.0, 0.0], 200)
    spoiled = np.where(weight > 0, y, 1e6)
    one, other, plain = (MixtureRegressor(LINES[:1] * 1, specialize=False, **SETTINGS) for _ in range(3))
    for begin in range(0, 600, 60):
        batch = slice(begin, begin + 60)
        one.partial_fit(X[batch], y[batch], sample_weight=weight[batch])
        other.partial_fit(X[batch], spoiled[batch], sample_weight=weight[batch])
        plain.partial_fit(X[batch], y[batch], sample_weight=np.ones(60))
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    unweighted = fed(MixtureRegressor(LINES[:1], specialize=False, **SETTINGS), X, y, 60)
    np.testing.assert_allclose(plain.predict(X), unweighted.predict(X))
    with pytest.raises(ValueError, match="zero"):
        one.partial_fit(X, y, sample_weight=np.zeros(600))


@pytest.mark.filterwarnings("ignore:divide by zero")  # of GaussianNB, for the class without rows
def test_a_class_that_the_first_batches_lack():
    X, y = two_regimes(400)
    kinds = np.where(y > 1.5, "high", np.where(y > 0, "middle", "low"))
    kinds[:50] = "low"
    mixture = MixtureClassifier(CLASSES, specialize=False, **SETTINGS)
    mixture.partial_fit(X[:50], kinds[:50], classes=["high", "low", "middle"])
    assert mixture.predict_proba(X).shape == (400, 3)
    fed(mixture, X[50:], kinds[50:])
    assert mixture.classes_.tolist() == ["high", "low", "middle"]
    assert mixture.score(X[50:], kinds[50:]) > 0.6


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_frames_are_arrays_with_names(library):
    X, y = two_regimes(300)
    names = {"schema": ["a", "b"]} if library is pl.DataFrame else {"columns": ["a", "b"]}
    frame, other = library(X, **names), library(X, **{key: ["a", "c"] for key in names})
    plain, framed = (MixtureRegressor(LINES, specialize=False, **SETTINGS) for _ in range(2))
    for begin in range(0, 300, 100):
        plain.partial_fit(X[begin : begin + 100], y[begin : begin + 100])
        framed.partial_fit(frame[begin : begin + 100], y[begin : begin + 100])
    np.testing.assert_allclose(framed.predict(frame), plain.predict(X), rtol=1e-6)
    assert framed.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        framed.partial_fit(other, y)


# After fit


@pytest.mark.parametrize("specialize", [True, False, "auto"])
def test_a_fitted_mixture_goes_on_from_what_it_predicts(specialize):
    X, y = two_regimes(900)
    settings = {"specialize": specialize, "cv": 3, "gate": "gmm", **SETTINGS}
    mixture = MixtureRegressor(LINES, n_experts=2 if specialize else None, **settings).fit(X[:500], y[:500])
    still = pickle.loads(pickle.dumps(mixture))
    assert not hasattr(mixture, "prequential_")
    names, before = list(mixture.named_experts_), mixture.predict(X[500:550])
    mixture.partial_fit(X[500:550], y[500:550])
    assert list(mixture.named_experts_) == names
    assert mixture.prequential_["prediction"].item() == pytest.approx(np.mean((before - y[500:550]) ** 2))
    fed(mixture, X[550:], y[550:])
    assert mixture.prequential_["rows"].sum() == 400
    new, truth = two_regimes(1000, seed=1)
    assert np.mean((mixture.predict(new) - truth) ** 2) < 1.3 * np.mean((still.predict(new) - truth) ** 2)


def test_weights_of_a_fitted_blend_follow_when_the_law_changes():
    X, y = two_regimes(1200)
    mixture = MixtureRegressor(LINES, n_experts=2, cv=3, **SETTINGS).fit(X[:400], y[:400])
    still = pickle.loads(pickle.dumps(mixture))
    fed(mixture, X[400:], -y[400:])
    new, truth = two_regimes(500, seed=1)
    assert np.mean((mixture.predict(new) + truth) ** 2) < 0.3 * np.mean((still.predict(new) + truth) ** 2)


@pytest.mark.parametrize("gate", ["softmax", "forest", "gmm", "neighbours"])
def test_a_border_between_regimes_that_moves_is_followed(gate):
    """The laws stay, and border and gate are where they were for the mixture that is left alone."""
    X, y = two_regimes(600)
    mixture = MixtureRegressor(LINES, specialize=True, n_experts=2, gate=gate, cv=3, **SETTINGS).fit(X, y)
    still = pickle.loads(pickle.dumps(mixture))

    def moved(n, seed):
        X, _ = two_regimes(n, seed)
        noise = 0.1 * np.random.default_rng(seed + 100).standard_normal(n)
        return X, np.where(X[:, 0] > 0.5, 3 * X[:, 1], 1 - 2 * X[:, 1]) + noise

    fed(mixture, *moved(1200, 1))
    X, y = moved(1000, 2)
    assert np.mean((mixture.predict(X) - y) ** 2) < 0.15 * np.mean((still.predict(X) - y) ** 2)


# Refusals


def test_it_is_there_if_every_expert_has_it():
    assert hasattr(MixtureRegressor(LINES), "partial_fit")
    for experts in (None, "fast", ["ridge"], [*LINES, Ridge()], []):
        assert not hasattr(MixtureRegressor(experts), "partial_fit")
    assert not hasattr(MixtureClassifier([*CLASSES, "logistic"]), "partial_fit")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gate": "tree"}, "needs all rows at once"),
        ({"gate": ["constant", "gmm", "softmax"]}, "list of candidates"),
        ({"start": np.zeros(30)}, "start"),
        ({"gate_features": "both"}, "gate_features"),
        ({"max_rounds": 0}, "max_rounds"),
        ({"top_k": 1}, "top_k=1 is of no use"),
        ({"final": "simplest"}, "final='simplest' is of no use"),
    ],
)
def test_what_needs_all_rows_is_refused(parameters, message):
    X, y = two_regimes(30)
    with pytest.raises(ValueError, match=message):
        MixtureRegressor(LINES, **parameters).partial_fit(X, y)


@pytest.mark.parametrize("specialize", [True, False, "auto"])
@pytest.mark.parametrize("fitted", [True, False])
def test_an_expert_that_fails_changes_nothing_and_a_batch_can_be_repeated(specialize, fitted):
    X, y = two_regimes(700)
    experts = [*LINES, ("fails", Fails())]
    parameters = {"specialize": specialize, "cv": 2, "gate": "gmm", **SETTINGS}
    one, other = (
        MixtureRegressor(experts, n_experts=2 if specialize == "auto" else None, **parameters) for _ in range(2)
    )
    for mixture in (one, other):
        if fitted:
            mixture.fit(X[:400], y[:400])
        else:
            fed(mixture, X[:400], y[:400])
    bad = X[400:450].copy()
    bad[-1, 0] = 99.0
    before, weights, rows = one.predict(X), one.gate_weights(X), len(getattr(one, "prequential_", ()))
    n_rows = None if fitted else one._online.n_rows
    with pytest.raises(ValueError, match="99"):
        one.partial_fit(bad, y[400:450])
    np.testing.assert_array_equal(one.predict(X), before)
    np.testing.assert_array_equal(one.gate_weights(X), weights)
    if fitted:
        assert not hasattr(one, "prequential_")
    else:
        assert (len(one.prequential_), one._online.n_rows) == (rows, n_rows)
    for mixture in (one, other):
        fed(mixture, X[400:], y[400:])
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    assert one.prequential_.equals(other.prequential_)


def test_models_of_the_folds_are_refused_and_nothing_changes():
    X, y = two_regimes(200)
    mixture = MixtureRegressor(LINES, specialize=False, refit=False, cv=2, **SETTINGS).fit(X, y)
    before = mixture.predict(X)
    with pytest.raises(ValueError, match="refit=True"):
        mixture.partial_fit(X, y)
    assert not hasattr(mixture, "prequential_")
    np.testing.assert_array_equal(mixture.predict(X), before)


def test_an_expert_that_learns_in_place_is_not_copied_and_learns_last():
    X, y = two_regimes(200)
    experts = [("place", InPlace()), ("fails", Fails()), *LINES]
    mixture = fed(MixtureRegressor(experts, specialize=False, **SETTINGS), X[:100], y[:100])
    model, sums = mixture.named_experts_["place"], mixture.named_experts_["place"].sums_
    with pytest.raises(ValueError, match="99"):
        mixture.partial_fit(np.full((50, 2), 99.0), y[:50])
    assert model.sums_ is sums
    mixture.partial_fit(X[100:], y[100:])
    assert mixture.named_experts_["place"] is model


def test_one_regime_follows_the_expert_that_it_is():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 2))
    y = X[:, 0] + 0.1 * rng.standard_normal(400)
    mixture = MixtureRegressor([("exact", Exact())], n_experts=1, cv=2, **SETTINGS).fit(X[:200], y[:200])
    assert mixture._fitted.n_regimes == 1
    fed(mixture, X[200:], 5 - y[200:])
    values = mixture.predict_experts(X)
    np.testing.assert_array_equal(values[:, 1], values[:, 0])
    np.testing.assert_array_equal(mixture.mixture_.predict(X), values[:, 0])


def test_rows_are_not_kept_once_the_search_for_regimes_is_over():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8000, 2))
    y = X[:, 0] + 0.1 * rng.standard_normal(8000)
    mixture = MixtureRegressor([("exact", Exact())], n_experts="auto", max_regimes=1, **SETTINGS)
    kept = []
    for begin in range(0, 8000, 400):
        mixture.partial_fit(X[begin : begin + 400], y[begin : begin + 400])
        kept.append(sum(len(part[1]) for part in mixture._online.waiting.parts))
    assert max(kept) <= 3200
    assert kept[-1] == 0


def test_after_fit_rows_count_as_in_fit():
    """Rows of weight zero do not; those of a fit do, whatever the weights of the batches."""
    X, y = two_regimes(300)
    weight = np.tile([3.0, 0.0], 150)
    mixture = MixtureRegressor(LINES, specialize=False, cv=2, **SETTINGS).fit(X[:200], y[:200], weight[:200])
    mixture.partial_fit(X[200:], y[200:], 2 * weight[200:])
    assert (mixture._online.n_rows, mixture._online.total_weight) == (150, 600.0)


@pytest.mark.parametrize("specialize", [True, "auto"])
def test_devices_have_the_names_of_the_columns(specialize):
    X, y = two_regimes(400)
    mixture = fed(MixtureRegressor(LINES, specialize=specialize, n_experts=2, **SETTINGS), X, y)
    assert list(mixture.devices_) == list(mixture.named_experts_)
    assert (mixture._online.weights is None) == (specialize is True)


def test_wrong_batches_are_refused_and_change_nothing():
    X, y = two_regimes(100)
    mixture = fed(MixtureRegressor(LINES, **SETTINGS), X, y)
    before = mixture.predict(X)
    for bad_X, bad_y in ((X[:, :1], y), (X, y[:-1]), (np.full_like(X, np.nan), y), (X, np.full(100, np.inf))):
        with pytest.raises(ValueError):  # noqa: PT011 - the messages are those of fit
            mixture.partial_fit(bad_X, bad_y)
    with pytest.raises(ValueError, match="one target"):
        MixtureRegressor(LINES).partial_fit(X, np.column_stack([y, y]))
    np.testing.assert_array_equal(mixture.predict(X), before)
    classes = MixtureClassifier(CLASSES, **SETTINGS)
    with pytest.raises(ValueError, match="first call"):
        classes.partial_fit(X, y > 0)
    classes.partial_fit(X, y > 0, classes=[False, True])
    with pytest.raises(ValueError, match="not what the mixture knows"):
        classes.partial_fit(X, y > 0, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not seen"):
        classes.partial_fit(X, np.full(100, 7))


# Copies, files, scikit-learn


@pytest.mark.parametrize(("n", "gate"), [(60, "gmm"), (700, "gmm"), (700, "softmax"), (700, "forest")])
def test_copies_and_files_learn_alike(n, gate, tmp_path):
    """Before regimes are looked for, and after."""
    X, y = two_regimes(n + 300)
    mixture = fed(MixtureRegressor(LINES, n_experts=2, gate=gate, **SETTINGS), X[:n], y[:n])
    assert not hasattr(clone(mixture), "prequential_")
    save(mixture, tmp_path / "mixture.mix")
    others = [pickle.loads(pickle.dumps(mixture)), load(tmp_path / "mixture.mix")]
    fed(mixture, X[n:], y[n:])
    for other in others:
        fed(other, X[n:], y[n:])
        np.testing.assert_array_equal(other.predict(X), mixture.predict(X))
        assert other.prequential_.equals(mixture.prequential_)


@pytest.mark.parametrize("specialize", [True, False, "auto"])
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimators_partial_fit_n_features,
        estimator_checks.check_n_features_in_after_fitting,
        estimator_checks.check_dataframe_column_names_consistency,
    ],
)
def test_checks_of_scikit_learn(check, specialize):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in (MixtureRegressor(LINES, max_regimes=2), MixtureClassifier(CLASSES, max_regimes=2)):
            one.set_params(specialize=specialize, cv=2, gate="constant", start="uniform", max_rounds=1)
            check(type(one).__name__, one)


def test_what_is_shown_of_a_mixture_that_was_never_fitted():
    X, y = two_regimes(400)
    mixture = fed(MixtureRegressor(LINES, n_experts=2, **SETTINGS), X, y)
    assert mixture.verdict_ is None
    assert "one" in mixture._repr_html_()
    explained = mixture.explain(X[:5])
    np.testing.assert_allclose(explained.contributions.sum(axis=1), mixture.predict(X[:5]))
    assert mixture.predict_interval(X[:5]).shape == (5, 2)
    assert mixture.responsibilities(X, y).shape == (400, 4)
    assert np.isfinite(mixture.log_prob(X, y)).all()


def test_one_batch_of_linear_regressions_by_recursion_is_the_fit():
    """An expert whose partial_fit is exact learns the same from batches as from all rows."""
    X, y = two_regimes(200)
    mixture = fed(MixtureRegressor([("bayes", Exact())], specialize=False, **SETTINGS), X, y, 25)
    expected = LinearRegression().fit(X, y).predict(X)
    np.testing.assert_allclose(mixture.predict_experts(X)[:, 0], expected, atol=1e-6)


class Exact(LinearRegression):
    """Least squares by its normal equations, added up over batches."""

    def partial_fit(self, X, y):
        rows = np.column_stack([X, np.ones(len(X))])
        gram, right = getattr(self, "sums_", (1e-12 * np.eye(rows.shape[1]), 0.0))
        self.sums_ = gram + rows.T @ rows, right + rows.T @ y
        found = np.linalg.solve(*self.sums_)
        self.coef_, self.intercept_, self.n_features_in_ = found[:-1], found[-1], X.shape[1]
        return self


class InPlace(Exact):
    learns_in_place = True


class Weighted(RegressorMixin, BaseEstimator):
    """Weighted mean of all rows so far."""

    def fit(self, X, y, sample_weight=None):
        self.sums_ = np.zeros(2)
        return self.partial_fit(X, y, sample_weight)

    def partial_fit(self, X, y, sample_weight=None):
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        self.sums_ = getattr(self, "sums_", np.zeros(2)) + np.array([weight @ y, weight.sum()])
        return self

    def predict(self, X):
        return np.full(len(X), self.sums_[0] / self.sums_[1])


class Fails(SGDRegressor):
    """Fails after it has learned, where a value is 99."""

    def partial_fit(self, X, y, sample_weight=None):
        super().partial_fit(X, y, sample_weight)
        if (X == 99).any():
            raise ValueError("there is a 99")
        return self
