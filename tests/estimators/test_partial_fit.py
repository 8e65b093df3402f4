"""Learning on: from nothing and after fit, planted truths, losses that do not look ahead, files, checks."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
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


def test_weights_scale_and_rows_of_weight_zero_do_not_count():
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


# Refusals


def test_it_is_there_if_every_expert_has_it():
    assert hasattr(MixtureRegressor(LINES), "partial_fit")
    for experts in (None, "fast", ["ridge"], [*LINES, Ridge()], []):
        assert not hasattr(MixtureRegressor(experts), "partial_fit")
    assert not hasattr(MixtureClassifier([*CLASSES, "logistic"]), "partial_fit")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gate": "forest"}, "needs all rows at once"),
        ({"gate": ["constant", "gmm", "softmax"]}, "list of candidates"),
        ({"start": np.zeros(30)}, "start"),
        ({"gate_features": "both"}, "gate_features"),
        ({"max_rounds": 0}, "max_rounds"),
    ],
)
def test_what_needs_all_rows_is_refused(parameters, message):
    X, y = two_regimes(30)
    with pytest.raises(ValueError, match=message):
        MixtureRegressor(LINES, **parameters).partial_fit(X, y)


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


@pytest.mark.parametrize("n", [60, 700])
def test_copies_and_files_learn_on_alike(n, tmp_path):
    """Before regimes are looked for, and after."""
    X, y = two_regimes(n + 300)
    mixture = fed(MixtureRegressor(LINES, n_experts=2, **SETTINGS), X[:n], y[:n])
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
