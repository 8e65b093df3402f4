"""Several targets: one gate per target over shared experts."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureRegressor, compare
from metamix.gates import SoftmaxGate
from metamix.recombination import combine


def _two_targets(n=240, seed=0):
    """Both targets follow x1, with a sign that flips where x0 does; the second also has an offset and a large unit."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3))
    regime = X[:, 0] > 0
    law = np.where(regime, 3 * X[:, 1], -3 * X[:, 1])
    return X, np.column_stack([law, 1000 * (law + X[:, 2])]) + rng.standard_normal((n, 2)) * [0.1, 100]


POOL = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=6, min_samples_leaf=3, random_state=0))]
SINGLE = [("ridge", Ridge()), ("svm", SVR(C=10))]  # the second fits one target at a time
LINE = [("line", LinearRegression())]
REGIMES = {"n_experts": 2, "specialize": True, "gate": "softmax", "cv": 2, "random_state": 0}
FAST = {"cv": 2, "random_state": 0, "gate": SoftmaxGate(penalty=0.1), "start": "kmeans", "n_experts": 2}


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_every_prediction_has_its_target_on_the_last_axis(specialize):
    X, Y = _two_targets()
    mixture = MixtureRegressor(POOL, specialize=specialize, **FAST).fit(X, Y)
    K = {False: 5, True: 2, "auto": 7}[specialize]
    weights, answers = mixture.gate_weights(X), mixture.predict_experts(X)
    assert weights.shape == answers.shape == (240, K, 2)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert mixture.oof_predictions_.shape == mixture.responsibilities_.shape == (240, K, 2)
    predicted, deviation = mixture.predict(X, return_std=True)
    for t in range(2):
        np.testing.assert_allclose(predicted[:, t], combine(weights[:, :, t], answers[:, :, t]))
    assert deviation.shape == mixture.log_prob(X, Y).shape == mixture.assign(X).shape == (240, 2)
    assert mixture.responsibilities(X, Y).shape == (240, K, 2)
    assert mixture.predict_interval(X, 0.9).shape == (240, 2, 2)
    assert mixture.predict_quantile(X, [0.1, 0.5, 0.9]).shape == (240, 3, 2)
    assert mixture.sample(X, random_state=0).shape == (240, 2)
    assert mixture.score(X, Y) > 0.4, "ridge alone has 0.25"


def test_targets_of_the_table_do_not_see_each_other():
    """Experts that fit one target at a time, and a gate for each: the same as fitting the targets one by one."""
    X, Y = _two_targets()
    settings = dict(specialize=False, cv=3, random_state=0, gate=SoftmaxGate(penalty=0.1))
    together = MixtureRegressor(SINGLE, **settings).fit(X, Y)
    for t in range(2):
        alone = MixtureRegressor(SINGLE, **settings).fit(X, Y[:, t])
        np.testing.assert_allclose(together.predict_experts(X)[:, :, t], alone.predict_experts(X), rtol=1e-6)
        np.testing.assert_allclose(
            together.candidates_.query("target == @t")["loss"], alone.candidates_["loss"], rtol=1e-6
        )
    assert len(together.verdict_) == 2
    assert str(together.verdict_).startswith("Target 0: ")
    assert together.verdict_[1].measure == "squared error"


def test_a_regime_seen_in_both_targets_is_found_by_shared_experts():
    X, Y = _two_targets(400)
    mixture = MixtureRegressor(LINE, **REGIMES)
    mixture.fit(X, Y)
    test, truth = _two_targets(400, seed=1)
    assert mixture.score(test, truth) > 0.9, "one line has an R² near 0 for the first target"
    share = mixture.responsibilities_.mean(axis=2)
    regime = X[:, 0] > 0
    assert max(np.mean((share[:, 0] > 0.5) == regime), np.mean((share[:, 0] > 0.5) != regime)) > 0.95


def test_in_sample_the_likelihood_is_the_sum_over_targets():
    X, Y = _two_targets()
    mixture = MixtureRegressor([LinearRegression(), LinearRegression()], cv=None, random_state=0).fit(X, Y)
    total = 0.0
    for t in range(2):
        density = norm.pdf(Y[:, [t]], mixture.predict_experts(X)[:, :, t], mixture.likelihood_[t].scale_)
        total += np.log((mixture.gate_weights(X)[:, :, t] * density).sum(axis=1)).sum()
    assert mixture.log_prob(X, Y).sum() == pytest.approx(total)
    assert mixture.history_["log_likelihood"].iloc[-1] == pytest.approx(total, rel=1e-6)


def test_units_of_one_target_do_not_move_the_other():
    X, Y = _two_targets()

    def make():
        return MixtureRegressor(LINE, **REGIMES)

    one, other = make().fit(X, Y), make().fit(X, Y * [1.0, 1e-6])
    np.testing.assert_allclose(other.predict(X)[:, 0], one.predict(X)[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(1e6 * other.predict(X)[:, 1], one.predict(X)[:, 1], rtol=1e-6, atol=1e-3)


def test_an_experts_own_deviation_reaches_the_mixture():
    """A Gaussian process knows where it has no data; experts without a deviation keep one scale."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.uniform(-3, -1, 60), rng.uniform(1, 3, 60)][:, None]
    y = np.sin(2 * x[:, 0]) + 0.05 * rng.standard_normal(120)
    process = GaussianProcessRegressor(RBF(0.5, "fixed") + WhiteKernel(0.0025, "fixed"), random_state=0)
    mixture = MixtureRegressor([("process", process), ("line", Ridge())], specialize=True, cv=3, random_state=0)
    mixture.fit(x, y)
    deviation = mixture.predict([[0.0], [2.0]], return_std=True)[1]
    assert deviation[0] > 3 * deviation[1]
    expected = process.fit(x, y).predict([[0.0]], return_std=True)[1]
    assert deviation[0] == pytest.approx(float(mixture.likelihood_.factor_[0] * expected[0]), rel=0.2)


def test_comparison_takes_one_target_at_a_time():
    X, Y = _two_targets(60)
    with pytest.raises(ValueError, match="2 targets; give one column"):
        compare(X, Y, SINGLE, cv=2)


def test_experts_that_offer_deviations_may_answer_alone():
    """Where one expert answers for the mixture in a fold, its deviations have a column for each target."""
    X, Y = _two_targets(80)
    mixture = MixtureRegressor(["ridge", "kriging"], **{**FAST, "n_experts": 1})
    mixture.fit(X, np.column_stack([Y[:, 0], -Y[:, 0]]))
    mean, deviation = mixture.predict(X, return_std=True)
    assert mean.shape == deviation.shape == (80, 2)
    assert (deviation > 0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", [{"specialize": True, "n_experts": 2}, {"n_experts": 2, "max_rounds": 1}])
def test_a_constant_target_among_several_spoils_no_other(how):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (150, 2))
    y = np.where(X[:, 0] > 0, 3 * X[:, 1], 4 - 3 * X[:, 1]) + 0.1 * rng.normal(size=150)
    mixture = MixtureRegressor(["linear", "ridge"], gate=SoftmaxGate(penalty=0.1), cv=2, random_state=0, **how).fit(
        X, np.column_stack([y, np.ones(150)])
    )
    assert np.isfinite(mixture.history_["loss"]).all()
    np.testing.assert_allclose(mixture.predict(X)[:, 1], 1)
    assert np.mean(np.square(mixture.predict(X)[:, 0] - y)) < 0.3 * y.var()


def test_targets_of_a_frame_keep_their_names():
    X, Y = _two_targets(60)
    frame = pd.DataFrame(Y, columns=["small", "large"])
    settings = {"specialize": False, "gate": "constant", "cv": 3, "random_state": 0}
    named, numbered = MixtureRegressor(LINE, **settings).fit(X, frame), MixtureRegressor(LINE, **settings).fit(X, Y)
    assert named.target_names_ == ["small", "large"]
    assert numbered.target_names_ is None
    assert [line.split(":")[0] for line in str(named.verdict_).split("\n")] == ["Target small", "Target large"]
    assert [line.split(":")[0] for line in str(numbered.verdict_).split("\n")] == ["Target 0", "Target 1"]
    assert set(named.candidates_["target"]) == set(named.coefficients()["target"]) == {"small", "large"}
    assert list(named.get_feature_names_out()[:2]) == ["line_small", "line_large"]
    np.testing.assert_allclose(named.predict(X), numbered.predict(X))
    twice = MixtureRegressor(LINE, **settings).fit(X, frame.set_axis(["same", "same"], axis=1))
    assert set(twice.candidates_["target"]) == {0, 1}, "names that are not different name nothing"
    assert named.fit(X, Y).target_names_ is None, "of an earlier fit"
