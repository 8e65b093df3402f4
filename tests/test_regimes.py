"""Where regimes lie: how cheap mixtures count and find them, and gates that draw their borders."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureRegressor
from metamix.data.folds import make_folds
from metamix.fitting import Problem
from metamix.gates import ConstantGate, SoftmaxGate
from metamix.training.bending import bend_of
from metamix.training.cheap import CURVES, FREELY, LINES
from metamix.training.gating import learn_gate
from metamix.training.objectives import LogScore
from metamix.training.proxies import proxy_responsibilities
from metamix.training.sharpening import bend_gate, sharpen_gate


def _regimes(n=160, seed=0, noise=0.1):
    """Two lines that cross where x0 = 0, and the regime of each row."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    regime = (X[:, 0] > 0).astype(int)
    return X, np.where(regime, 4 * X[:, 1], -4 * X[:, 1]) + noise * rng.standard_normal(n), regime


def _agreement(found, regime):
    hard = found.argmax(axis=1)
    return max(np.mean(hard == regime), np.mean(hard != regime))


def test_a_curve_is_no_second_regime():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (900, 3))
    y = 3 * np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(900)
    found, _ = proxy_responsibilities(X, y[:, None], np.ones(900), SoftmaxGate(penalty=0.01), None, seed=0)
    assert found.shape == (900, 1)


def test_noise_that_grows_is_no_second_regime_unless_densities_are_asked_for():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (900, 3))
    y = X[:, [0]] + np.exp(X[:, [1]]) * rng.standard_normal((900, 1))
    given = X, y, np.ones(900), SoftmaxGate(penalty=0.01), None, 0
    assert proxy_responsibilities(*given)[0].shape == (900, 1)
    assert proxy_responsibilities(*given, by_error=False)[0].shape[1] > 1


@pytest.mark.parametrize(
    ("pool", "law", "bend"),
    [
        (Ridge(1e-6), np.abs, LINES),
        (Ridge(1e-6), np.square, LINES),
        (Ridge(1e-6), np.negative, FREELY),
        (make_pipeline(PolynomialFeatures(2), Ridge(1e-6)), np.square, FREELY),
        (make_pipeline(PolynomialFeatures(2), Ridge(1e-6)), lambda x: np.sin(3 * x), CURVES),
        (KNeighborsRegressor(10), lambda x: np.sin(3 * x), FREELY),
    ],
)
def test_cheap_experts_bend_as_far_as_the_pool_does(pool, law, bend):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (200, 1))
    y = law(X[:, 0]) + 0.05 * rng.normal(size=200)
    folds = make_folds(5, X, y, random_state=0)
    losses = np.square(y - cross_val_predict(pool, X, y, cv=list(folds.pairs)))
    assert bend_of(X, Problem(X, y), folds, np.arange(200), losses, seed=0) == bend
    assert bend_of(X, Problem(X, y), folds, np.arange(60), losses[:60], seed=0) == bend, "some rows do"


def test_logistic_experts_bend_as_far_as_the_pool_does():
    """A ring: a plane cannot tell it from what it surrounds, its squares can."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = (np.square(X).sum(axis=1) > 1.5).astype(int)
    folds = make_folds(5, X, y, stratify=True, random_state=0)
    for pool, straight in [(LogisticRegression(), True), (RandomForestClassifier(random_state=0), False)]:
        asked = cross_val_predict(pool, X, y, cv=list(folds.pairs), method="predict_proba")
        losses = -np.log(np.clip(asked[np.arange(400), y], 1e-6, 1))
        found = bend_of(X, Problem(X, y, n_classes=2), folds, np.arange(400), losses, seed=0)
        assert (found == LINES) == straight


@pytest.mark.parametrize("how", [{"specialize": True}, {}])
@pytest.mark.parametrize(("pool", "K"), [("linear", 2), ("quadratic", 1)])
def test_regimes_are_counted_for_the_experts_at_hand(how, pool, K):
    """Two lines make a hinge; a parabola is two lines to linear experts, and one regime to quadratic ones."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (300, 1))
    truth = np.abs(X[:, 0]) if pool == "linear" else X[:, 0] ** 2
    mixture = MixtureRegressor([pool], n_experts="auto", random_state=0, **how)
    mixture.fit(X, truth + 0.05 * rng.normal(size=300))
    assert mixture.n_experts_ == K
    assert np.mean(np.square(mixture.predict(X) - truth)) < 0.01 * truth.var()


@pytest.mark.parametrize(("K", "n", "seed"), [(2, 600, 1), (3, 600, 0), (2, 60, 0), (3, 200, 1)])
def test_regimes_stay_unless_one_expert_is_better_on_all_folds(K, n, seed):
    """Planes that jump: a few rows next to a border, in the first fold or two, may speak for a single tree."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    regime = (X[:, 0] > 0).astype(int) if K == 2 else np.digitize(X[:, 0], [-0.33, 0.33])
    slopes, levels = np.array([[3.0, 0.0], [-3.0, 1.0], [0.0, 2.0]]), np.array([0.0, 4.0, -4.0])
    y = (X * slopes[regime]).sum(axis=1) + levels[regime] + 0.1 * rng.normal(size=n)
    pool = ["linear", ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    assert MixtureRegressor(pool, n_experts="auto", specialize=True, random_state=seed).fit(X, y).n_experts_ == K


def test_cheap_mixtures_tell_regimes_of_classes_apart():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 4))
    regime = (X[:, 0] > 0.2).astype(int)
    logit = np.where(regime, 4 * X[:, 1], -4 * X[:, 1] + 2 * X[:, 2])
    labels = np.eye(2)[(logit + 0.3 * rng.logistic(size=1500) > 0).astype(int)]
    gate = SoftmaxGate(penalty=0.01)
    found, _ = proxy_responsibilities(X, labels, np.ones(1500), gate, None, seed=0, classes=True)
    assert found.shape == (1500, 2)
    assert _agreement(found, regime) > 0.95


def test_other_starts_are_ranked_with_the_random_ones():
    X, y, regime = _regimes(300)

    def told(K, rows):
        return {"truth": np.eye(K)[regime[rows].astype(int)], "even": np.full((len(rows), K), 1 / K)}

    found, ranking = proxy_responsibilities(X, y[:, None], np.ones(300), SoftmaxGate(penalty=0.01), 2, 0, told)
    scores = {row["start"]: row["score"] for row in ranking}
    assert set(scores) == {
        "truth",
        "even",
        "proxy, 2 regimes",
        "partition by lines, 2 regimes",
        "partition by curves, 2 regimes",
    }
    assert scores["truth"] < scores["even"]
    assert _agreement(found, regime) > 0.9


def test_gates_are_sharpened_and_bent_only_where_that_pays():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((800, 4))
    inside = np.square(X[:, :2]).sum(axis=1) < 1.2
    answers = np.column_stack([np.full(800, 5.0), np.full(800, -5.0)])
    folds = make_folds(4, X, X[:, 0], random_state=0)
    for truth, degree in ((X[:, 0] + X[:, 1] > 0, 1), (inside, 2), (rng.random(800) < 0.5, 1)):
        y = np.where(truth, 5.0, -5.0) + rng.standard_normal(800)
        log_prob = -0.5 * (y[:, None] - answers) ** 2
        given = SoftmaxGate(), ConstantGate(), X, folds, LogScore(log_prob), log_prob, np.ones(800)
        learned = learn_gate(*given)

        def judge(weights, y=y):
            return ((weights * answers).sum(axis=1) - y) ** 2

        sharp = bend_gate(sharpen_gate(learned, *given, judge), *given, judge)
        assert getattr(sharp.gate, "degree", 1) == degree
        assert judge(sharp.weights).mean() <= judge(learned.weights).mean()
        if degree == 1 and np.ptp(learned.weights) < 0.1:
            assert sharp is learned, "nothing to be sharp about"
        else:
            assert judge(sharp.weights).mean() < 1.3, "with the true gate it is 1"
