"""What must not matter (units, order, engines, jobs), every kind of gate, and classes that are rare or missing."""

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes, use_engine
from metamix.gates import ClassifierGate, ConstantGate, GaussianGate, SoftmaxGate

TREE = DecisionTreeRegressor(max_depth=3, random_state=0)
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
QUICK = {"cv": 3, "random_state": 0}
PLAIN = {"n_experts": 2, "start": "kmeans", "max_rounds": 1, "cv": 2, "random_state": 0}


def _rows(n=150, **more):
    return make_regimes(n, 4, random_state=2, **more)


def _lines(n=150):
    """Two lines for two halves of the table: linear experts under a gate see it all."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)


class Half(RegressorMixin, BaseEstimator):
    """One of the two lines of `_lines`, and so right in one half of its table, whatever it was fitted to."""

    def __init__(self, right=True):
        self.right = right

    def fit(self, X, y):
        return self

    def predict(self, X):
        column = X["x"].to_numpy() if isinstance(X, pd.DataFrame) else X[:, 1]
        return 3 * column if self.right else 1 - 2 * column


class HalfClass(ClassifierMixin, BaseEstimator):
    """Names the class by the sign of column 1, right where column 0 is positive, or where it is not."""

    def __init__(self, right=True):
        self.right = right

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        share = np.where((X[:, 1] > 0) == self.right, 0.9, 0.1)
        return np.column_stack([1 - share, share])


HALVES = [("right", Half(True)), ("left", Half(False))]
HALF_CLASSES = [("right", HalfClass(True)), ("left", HalfClass(False))]


# --- units and order ------------------------------------------------------------------------------------


UNITS = {"x 1e6": (1e6, 0, 1, 0), "x 1e-6": (1e-6, 0, 1, 0), "x shifted": (1, 10, 1, 0), "y 1e6": (1, 0, 1e6, 0),
         "y 1e-6": (1, 0, 1e-6, 0), "y shifted": (1, 0, 1, 10)}  # fmt: skip


@pytest.mark.parametrize(
    ("specialize", "unit"),
    [*((specialize, unit) for specialize in (False, True) for unit in UNITS), ("auto", "x 1e6"), ("auto", "y 1e-6")],
)
def test_units_do_not_matter(specialize, unit):
    (a, b, c, d), (X, y) = UNITS[unit], _lines()
    pool = [
        ("line", LinearRegression()),
        ("level", make_pipeline(FunctionTransformer(np.zeros_like), LinearRegression())),
    ]
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    here = MixtureRegressor(pool, **parameters).fit(X, y)
    there = MixtureRegressor(pool, **parameters).fit(a * X + b, c * y + d * y.std())
    np.testing.assert_allclose(
        (there.predict(a * X + b) - d * y.std()) / c, here.predict(X), rtol=1e-6, atol=1e-6 * y.std()
    )
    np.testing.assert_allclose(there.gate_weights(a * X + b), here.gate_weights(X), atol=1e-5)
    assert there.n_experts_ == here.n_experts_
    if specialize is not True:
        assert there.verdict_.winner == here.verdict_.winner
    deviation = [one.predict(rows, return_std=True)[1] for one, rows in ((here, X), (there, a * X + b))]
    np.testing.assert_allclose(deviation[1] / c, deviation[0], rtol=1e-5)


def test_regimes_are_found_in_any_unit():
    X, y = _lines(120)
    found = [
        MixtureRegressor([("line", LinearRegression()), ("tree", TREE)], cv=2, random_state=0).fit(u * X, v * y)
        for u, v in ((1, 1), (1e6, 1e-6))
    ]
    assert len({one.n_experts_ for one in found}) == 1
    assert len({one.verdict_.winner for one in found}) == 1
    np.testing.assert_allclose(found[1].predict(1e6 * X) / 1e-6, found[0].predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gate", [SoftmaxGate(penalty=0.01), "softmax", "constant", "gmm"], ids=str)
def test_experts_permuted_are_weights_permuted(gate):
    X, y = _lines()
    y = (X[:, 0] > 0) == (X[:, 1] > 0)
    pool = [*HALF_CLASSES, ("near", LogisticRegression())]
    one = MixtureClassifier(pool, specialize=False, gate=gate, **QUICK).fit(X, y)
    other = MixtureClassifier([pool[2], pool[0], pool[1]], specialize=False, gate=gate, **QUICK).fit(X, y)
    assert list(other.named_experts_) == ["near", "right", "left", "stack"]
    weights = one.gate_weights(X)
    varies = np.ptp(weights, axis=0).max()
    assert varies < 1e-12 if gate == "constant" else varies > 0.2, "the gate is not thrown away"
    np.testing.assert_allclose(other.gate_weights(X)[:, [1, 2, 0, 3]], weights, atol=2e-3)
    np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X), atol=2e-3)
    assert other.verdict_.winner == one.verdict_.winner
    lines = [*HALVES, ("ridge", Ridge())]
    X, y = _lines()
    one, other = (
        MixtureRegressor(part, specialize=False, gate=gate, **QUICK).fit(X, y) for part in (lines, lines[::-1])
    )
    np.testing.assert_allclose(other.gate_weights(X)[:, [2, 1, 0, 3]], one.gate_weights(X), atol=2e-3)
    np.testing.assert_allclose(other.predict(X), one.predict(X), atol=2e-3 * y.std())


# --- the same bits --------------------------------------------------------------------------------------


def _unseeded(n_jobs=None, specialize="auto"):
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_features=2)), ("near", KNeighborsRegressor(5))]
    parameters = {**PLAIN, "random_state": 5} if specialize == "auto" else {**QUICK, "random_state": 5}
    return MixtureRegressor(pool, specialize=specialize, n_jobs=n_jobs, **parameters)


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_the_same_seed_is_the_same_to_the_last_bit(specialize):
    X, y = _rows()
    first = _unseeded(1, specialize).fit(X, y)
    with use_engine("threads", n_jobs=2):
        threads = _unseeded(None, specialize).fit(X, y)
    with use_engine("serial"):
        serial = _unseeded(2, specialize).fit(X, y)
    for other in (threads, serial):
        np.testing.assert_array_equal(other.predict(X), first.predict(X))
        np.testing.assert_array_equal(other.oof_predictions_, first.oof_predictions_)
        np.testing.assert_array_equal(other.gate_weights(X), first.gate_weights(X))


def test_the_seed_matters():
    X, y = _rows()
    answers = [_unseeded(1, False).set_params(random_state=seed).fit(X, y).predict(X) for seed in (5, 6, 5)]
    np.testing.assert_array_equal(answers[0], answers[2])
    assert not np.array_equal(answers[0], answers[1])


def test_processes_give_the_same_bits():
    X, y = _rows()
    first = _unseeded(1, False).fit(X, y)
    processes = _unseeded(2, False).fit(X, y)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        configured = _unseeded(None, False).fit(X, y)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        threading = _unseeded(None, False).fit(X, y)
    for other in (processes, configured, threading):
        np.testing.assert_array_equal(other.predict(X), first.predict(X))


def test_a_random_state_object_is_drawn_from():
    X, y = _rows()
    one = _unseeded(1, False).set_params(random_state=np.random.RandomState(5)).fit(X, y)
    np.testing.assert_array_equal(one.predict(X), _unseeded(1, False).fit(X, y).predict(X))


# --- gates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, True])
@pytest.mark.parametrize(
    "gate",
    ["constant", "softmax", "gmm", ConstantGate(), SoftmaxGate(penalty=0.01), GaussianGate(),
     DecisionTreeClassifier(min_samples_leaf=15, random_state=0), LogisticRegression(),
     make_pipeline(StandardScaler(), KNeighborsClassifier(15)), ClassifierGate(LogisticRegression())],
    ids=lambda gate: gate if isinstance(gate, str) else type(gate).__name__,
)  # fmt: skip
def test_every_kind_of_gate(gate, specialize):
    """Regimes given as a start, or an expert that is right in each half: the gate must tell the halves apart."""
    X, y = _lines()
    if specialize:
        pool, start = [("line", LinearRegression()), ("other", LinearRegression())], (X[:, 0] > 0).astype(int)
        mixture = MixtureRegressor(pool, gate=gate, specialize=True, start=start, max_rounds=3, **QUICK).fit(X, y)
        good = ((mixture.predict(X) - y) ** 2).mean() < 0.3 * y.var()
    else:
        y = (X[:, 0] > 0) == (X[:, 1] > 0)
        mixture = MixtureClassifier(HALF_CLASSES, gate=gate, specialize=False, **QUICK).fit(X, y)
        good = mixture.score(X, y) > 0.75
    weights = mixture.gate_weights(X)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights, mixture.gate_.predict_proba(X), atol=1e-12)
    kinds = {"constant": ConstantGate, "softmax": SoftmaxGate, "gmm": GaussianGate}
    kind = kinds[gate] if isinstance(gate, str) else ClassifierGate if is_classifier(gate) else type(gate)
    assert isinstance(mixture.gate_, kind), "the gate that was asked for is there"
    if kind is ConstantGate:
        assert np.ptp(weights, axis=0).max() < 1e-12
    else:
        assert np.ptp(weights, axis=0).max() > 0.2, "it trusts different experts in different rows"
        assert good


@pytest.mark.parametrize(
    "gate", ["softmax", "gmm", DecisionTreeClassifier(min_samples_leaf=15, random_state=0)], ids=str
)
def test_a_gate_sees_past_a_stack_that_is_nearly_right(gate):
    """Each expert is exact in half the rows and far off in the others; its scatter must not be taken over both."""
    X, y = _lines()
    mixture = MixtureRegressor(HALVES, gate=gate, specialize=False, **QUICK).fit(X, y)
    stack = ((mixture.predict_experts(X)[:, 2] - y) ** 2).mean()
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.7 * stack


def test_lightgbm_as_a_gate():
    lightgbm = pytest.importorskip("lightgbm")
    X, y = _lines()
    gate = lightgbm.LGBMClassifier(n_estimators=10, min_child_samples=10, verbose=-1, n_jobs=1)
    mixture = MixtureRegressor([("a", LinearRegression()), ("b", LinearRegression())], gate=gate, specialize=True,
                               start=(X[:, 0] > 0).astype(int), max_rounds=2, **QUICK).fit(X, y)  # fmt: skip
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.3 * y.var()


def test_a_pipeline_as_gate_sees_the_frame_as_it_came():
    X, y = _lines()
    frame = pd.DataFrame({"side": np.where(X[:, 0] > 0, "right", "left"), "x": X[:, 1]})
    gate = make_pipeline(make_column_transformer((OneHotEncoder(), ["side"])), LogisticRegression())
    only_x = make_column_transformer(("passthrough", ["x"]))
    pool = [(name, make_pipeline(only_x, LinearRegression())) for name in ("a", "b")]
    mixture = MixtureRegressor(pool, gate=gate, specialize=True, start=frame["side"].to_numpy(), **QUICK).fit(frame, y)
    assert ((mixture.predict(frame) - y) ** 2).mean() < 0.1 * y.var()
    named = MixtureRegressor(pool, specialize=True, start=frame["side"].to_numpy(), **QUICK).fit(frame, y)
    assert ((named.predict(frame) - y) ** 2).mean() < 0.1 * y.var(), "a gate by name prepares text for itself"


@pytest.mark.parametrize(
    "features",
    ["x", "predictions", "both", [0], FunctionTransformer(lambda X: X[:, :1] > 0)],
    ids=["x", "predictions", "both", "column", "transformer"],
)
def test_what_the_gate_looks_at(features):
    X, y = _lines()
    pool = [("right", Ridge()), ("tree", TREE)]
    for specialize in (False, True):
        mixture = MixtureRegressor(pool, gate_features=features, gate=SoftmaxGate(penalty=0.01), specialize=specialize,
                                   start=(X[:, 0] > 0).astype(int), max_rounds=2, **QUICK).fit(X, y)  # fmt: skip
        moved = X.copy()
        moved[:, 1] += 1
        weights, after = mixture.gate_weights(X), mixture.gate_weights(moved)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        if isinstance(features, list | FunctionTransformer):
            np.testing.assert_array_equal(weights, after)  # column 1 is none of the gate's
        else:
            assert not np.allclose(weights, after)
    classes = MixtureClassifier(CLASSES, gate_features=features, specialize=False, **QUICK).fit(X, y > y.mean())
    np.testing.assert_allclose(classes.predict_proba(X).sum(axis=1), 1)


def test_gate_features_by_the_name_of_a_column():
    X, y = _lines()
    frame = pd.DataFrame(X, columns=["side", "x"])
    parameters = {"gate": SoftmaxGate(penalty=0.01), "specialize": False, **QUICK}
    one, two, other = (
        MixtureRegressor(HALVES, gate_features=columns, **parameters).fit(frame, y).gate_weights(frame)
        for columns in (["side"], [0], ["x"])
    )
    np.testing.assert_array_equal(one, two)
    assert np.ptp(one, axis=0).max() > 0.5
    assert np.abs(one - other).max() > 0.3, "another column says something else"
    order = np.argsort(X[:, 0])
    assert (np.diff(one[order], axis=0) >= -1e-12).all(axis=0).any(), "weights follow the column that was named"
    with pytest.raises(ValueError, match="sides"):
        MixtureRegressor(["ridge"], gate_features=["sides"], specialize=False, **QUICK).fit(frame, y)


# --- classes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_labels_of_any_kind_and_a_class_with_two_rows(specialize):
    rng = np.random.default_rng(0)
    codes = np.r_[np.zeros(100, int), np.ones(38, int), [2, 2]]
    X = rng.standard_normal((140, 3)) + 2 * codes[:, None]
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    expected = MixtureClassifier(CLASSES, **parameters).fit(X, codes)
    kinds = np.array(["low", "mid", "top"], object), np.array([-3, 5, 90]), np.array(["low", "mid", "top"])
    for labels in kinds[: 1 if specialize == "auto" else 3]:
        mixture = MixtureClassifier(CLASSES, **parameters).fit(X, labels[codes])
        assert mixture.classes_.tolist() == labels.tolist()
        assert mixture.classes_.dtype == labels.dtype
        np.testing.assert_array_equal(mixture.predict_proba(X), expected.predict_proba(X))
        np.testing.assert_array_equal(mixture.predict(X), labels[expected.predict(X)])
    assert not len(expected.failures_)
    assert (expected.predict(X) == codes).mean() > 0.9
    with pytest.raises(ValueError, match="not seen in fit: other"):
        mixture.score_samples(X[:1], ["other"])


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_class_missing_from_a_fold(library):
    module = pytest.importorskip(library)
    booster = (
        module.XGBClassifier(n_estimators=5, max_depth=2)
        if library == "xgboost"
        else module.LGBMClassifier(n_estimators=5, verbose=-1)
    )
    codes = np.repeat([0, 1, 2], [50, 50, 20])
    X = np.random.default_rng(0).standard_normal((120, 2)) + codes[:, None]
    half = np.r_[0:25, 50:75], np.r_[25:50, 75:120]  # class 2 lies in the second half only
    mixture = MixtureClassifier([("boosted", booster), ("near", KNeighborsClassifier(5))], specialize=False,
                                cv=[half, half[::-1]], random_state=0, on_error="raise").fit(X, codes)  # fmt: skip
    assert (mixture.oof_predictions_[half[1], :2, 2] == 0).all(), "a model that never saw the class cannot name it"
    np.testing.assert_allclose(mixture.predict_proba(X).sum(axis=1), 1)
    assert (mixture.predict(X)[100:] == 2).any()


def test_a_single_class_is_named():
    with pytest.raises(ValueError, match="one class only, 'yes'"):
        MixtureClassifier(CLASSES).fit(np.zeros((10, 1)), np.repeat("yes", 10))
    with pytest.raises(ValueError, match=r"Unknown label type|continuous"):
        MixtureClassifier(CLASSES).fit(np.zeros((10, 1)), np.linspace(0, 1, 10))


# --- edges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, True, "auto"])
@pytest.mark.parametrize("value", [0.0, 3.5, 1e9])
def test_a_constant_target_fits(specialize, value):
    X, _ = _rows(60)
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    mixture = MixtureRegressor([("ridge", Ridge()), ("tree", TREE)], **parameters).fit(X, np.full(60, value))
    mean, deviation = mixture.predict(X, return_std=True)
    np.testing.assert_allclose(mean, value, rtol=1e-6, atol=1e-9)
    assert np.isfinite(deviation).all()


@pytest.mark.parametrize("specialize", [False, True, "auto"])
@pytest.mark.parametrize("gate", ["softmax", "gmm"])
def test_duplicated_and_constant_columns(specialize, gate):
    X, y = _rows(100)
    X = np.column_stack([X, X[:, 0], np.full(100, 7.0), np.zeros(100)])
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    mixture = MixtureRegressor([("ridge", Ridge()), ("tree", TREE)], gate=gate, **parameters).fit(X, y)
    assert np.isfinite(mixture.predict(X)).all()
    assert not len(mixture.failures_)
    far = mixture.gate_weights(1e6 * X)
    np.testing.assert_allclose(far.sum(axis=1), 1)


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_one_expert_is_enough(specialize):
    X, y = _rows(100)
    mixture = MixtureRegressor([("ridge", Ridge())], specialize=specialize, **PLAIN).fit(X, y)
    np.testing.assert_allclose(mixture.gate_weights(X).sum(axis=1), 1)
    assert np.isfinite(mixture.predict(X)).all()


def test_numbers_of_regimes_repeat_a_type():
    X, y = _lines()
    mixture = MixtureRegressor([("line", LinearRegression())], n_experts=2, specialize=True, **QUICK).fit(X, y)
    assert list(mixture.named_experts_) == ["line-1", "line-2"]
    assert mixture.n_experts_ == 2
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.1 * y.var()
