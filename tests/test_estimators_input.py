"""What may come in (weights, frames, sparse, gaps, rare classes), and what is refused with its remedy."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes

RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
QUICK = {"cv": 3, "random_state": 0}
PLAIN = {"n_experts": 2, "start": "kmeans", "max_rounds": 2, **QUICK}


def _rows(n=120, **more):
    return make_regimes(n, 4, random_state=2, **more)


# --- weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("specialize", [False, True])
def test_sample_weights_reach_experts(specialize, routing):
    X, y = _rows()
    weight = np.where(X[:, 3] > 0, 5.0, 0.1)
    with config_context(enable_metadata_routing=routing):
        pool = [("pipe", make_pipeline(StandardScaler(), Ridge())), ("near", KNeighborsRegressor(5))]
        weighted = MixtureRegressor(pool, specialize=specialize, **QUICK).fit(X, y, sample_weight=weight)
        plain = MixtureRegressor(pool, specialize=specialize, **QUICK).fit(X, y)
    assert not len(weighted.failures_)
    assert not np.allclose(weighted.predict(X), plain.predict(X))
    if not specialize:
        expected = Ridge().fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
        np.testing.assert_allclose(weighted.named_experts_["pipe"][-1].coef_, expected.coef_, rtol=1e-6)
        losses = np.average((weighted.oof_predictions_[:, :2] - y[:, None]) ** 2, axis=0, weights=weight)
        assert weighted.candidates_["loss"][0] == pytest.approx(losses.min())


class Column(RegressorMixin, BaseEstimator):
    """Answers a column of X, whatever it was fitted to."""

    def __init__(self, number=0):
        self.number = number

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, self.number]


def test_sample_weights_reach_stack_and_gate():
    """Experts that never learn: whatever changes, changes in the stack and the gate."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3))
    first = rng.random(120) > 0.5
    y = np.where(first, X[:, 0], X[:, 1])
    for rows in (first, ~first):
        weight = np.where(rows, 1.0, 1e-3)
        pool = [("zero", Column(0)), ("one", Column(1))]
        mixture = MixtureRegressor(pool, specialize=False, gate="constant", **QUICK).fit(X, y, sample_weight=weight)
        right = 0 if rows is first else 1
        np.testing.assert_allclose(mixture.predict_experts(X)[rows, 2], X[rows, right], atol=0.3)
        np.testing.assert_allclose(mixture.predict(X)[rows], X[rows, right], atol=0.3)


@pytest.mark.parametrize("routing", [False, True])
def test_routing_on_or_off_is_the_same_fit(routing):
    X, y = _rows()
    with config_context(enable_metadata_routing=routing):
        mixture = MixtureRegressor([RIDGE, TREE], specialize=False, **QUICK).fit(X, y, groups=np.arange(120) % 6)
    again = MixtureRegressor([RIDGE, TREE], specialize=False, **QUICK).fit(X, y, groups=np.arange(120) % 6)
    np.testing.assert_array_equal(mixture.predict(X), again.predict(X))


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_a_row_of_weight_zero_is_a_row_removed(specialize):
    X, y = _rows()
    junk_X, junk_y = X[:30] + 0.5, y[:30] - 40
    folds = list(KFold(3).split(X))
    more = np.arange(120, 150)
    longer = [(np.r_[train, more], np.r_[test, more[f::3]]) for f, (train, test) in enumerate(folds)]
    longer = [(np.setdiff1d(train, test), test) for train, test in longer]
    labels = (X[:, 0] > 0).astype(int)
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    pool = [("ridge", RIDGE), ("near", KNeighborsRegressor(5))]
    short = MixtureRegressor(pool, **{**parameters, "cv": folds, "start": labels})
    short.fit(X, y, sample_weight=np.ones(120))
    weight = np.repeat([1.0, 0.0], [120, 30])
    long = MixtureRegressor(pool, **{**parameters, "cv": longer, "start": np.r_[labels, np.arange(30) % 2]})
    long.fit(np.vstack([X, junk_X]), np.r_[y, junk_y], sample_weight=weight)
    np.testing.assert_allclose(long.predict(X), short.predict(X), rtol=1e-4, atol=1e-4)


def test_whole_weights_are_repeated_rows():
    X, y = _rows(90)
    times = np.random.default_rng(0).integers(1, 4, 90)
    row = np.repeat(np.arange(90), times)
    folds = list(KFold(3).split(X))
    repeated = [tuple(np.flatnonzero(np.isin(row, part)) for part in pair) for pair in folds]
    pool = [("ridge", Ridge(1e-3)), ("steep", Ridge(300.0))]
    one = MixtureRegressor(pool, specialize=False, cv=folds, gate="constant").fit(X, y, sample_weight=times)
    other = MixtureRegressor(pool, specialize=False, cv=repeated, gate="constant").fit(X[row], y[row])
    np.testing.assert_allclose(one.predict_experts(X)[:, :2], other.predict_experts(X)[:, :2], rtol=1e-6)
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-3, atol=1e-3)


def test_a_mixture_takes_one_of_each_kind():
    X, y, regime = _rows(200, return_regimes=True)
    start = np.where(np.eye(2)[regime] == 1, 0.95, 0.05)
    pool = [("takes", RIDGE), ("takes none", KNeighborsRegressor(5))]
    mixture = MixtureRegressor(pool, specialize=True, start=start, **QUICK).fit(X, y, sample_weight=np.full(200, 2.0))
    assert not len(mixture.failures_)
    assert np.isfinite(mixture.predict(X)).all()


@pytest.mark.parametrize("weight", [-np.ones(120), np.zeros(120), np.full(120, np.nan), np.ones(7), np.ones((120, 2))])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match="sample_weight"):
        MixtureRegressor([RIDGE, TREE], **PLAIN).fit(*_rows(), sample_weight=weight)


# --- kinds of tables ------------------------------------------------------------------------------------


class Witness(RegressorMixin, BaseEstimator):
    """Remembers the kind of table it was given in fit, and answers only to the same kind."""

    def fit(self, X, y):
        self.kind_, self.columns_, self.types_ = type(X), list(X.columns), [str(one) for one in X.dtypes]
        return self

    def predict(self, X):
        assert (type(X), list(X.columns), [str(one) for one in X.dtypes]) == (self.kind_, self.columns_, self.types_)
        return np.asarray(X["a"], dtype=float)


def _mixed(n=120):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.standard_normal(n),
            "word": rng.choice(["red", "green", None], n),
            "kind": pd.Categorical(rng.choice(list("xyz"), n)),
            "flag": rng.random(n) > 0.5,
            "when": pd.date_range("2026-01-01", periods=n),
            "gaps": np.where(rng.random(n) > 0.8, np.nan, rng.standard_normal(n)),
        },
        index=rng.permutation(n) + 1000,
    )
    return frame, 2 * frame["a"].to_numpy() + (frame["word"] == "red").to_numpy() + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("specialize", [False, "auto"])
def test_mixed_frames_reach_experts_untouched(specialize):
    frame, y = _mixed()
    parameters = PLAIN if specialize == "auto" else QUICK
    mixture = MixtureRegressor([("witness", Witness()), "ridge"], specialize=specialize, on_error="raise", **parameters)
    mixture.fit(frame, pd.Series(y, index=frame.index))
    witness = mixture.named_experts_["witness"]
    assert witness.kind_ is pd.DataFrame
    assert witness.columns_ == list(frame.columns)
    assert witness.types_ == [str(one) for one in frame.dtypes]
    assert mixture.feature_names_in_.tolist() == list(frame.columns)
    assert mixture.predict(frame).shape == (120,)
    assert ((mixture.predict(frame) - y) ** 2).mean() < 0.5 * y.var()
    with pytest.raises(ValueError, match="feature names"):
        mixture.predict(frame.rename(columns={"a": "b"}))


def test_polars_frames_reach_experts_untouched():
    polars = pytest.importorskip("polars")
    frame, y = _mixed()
    table = polars.from_pandas(frame.drop(columns="kind").reset_index(drop=True))
    mixture = MixtureRegressor([("witness", Witness()), "ridge"], specialize=False, on_error="raise", **QUICK)
    mixture.fit(table, y)
    assert mixture.named_experts_["witness"].kind_ is polars.DataFrame
    pandas = MixtureRegressor(["ridge"], specialize=False, **QUICK).fit(frame.drop(columns="kind"), y)
    alone = MixtureRegressor(["ridge"], specialize=False, **QUICK).fit(table, y)
    np.testing.assert_allclose(alone.predict(table), pandas.predict(frame.drop(columns="kind")), rtol=1e-6)


def test_a_frame_of_numbers_is_the_array():
    X, y = _rows()
    array = MixtureRegressor([("ridge", RIDGE), ("tree", TREE)], specialize=False, **QUICK).fit(X, y)
    frame = pd.DataFrame(X, columns=list("abcd"))
    framed = MixtureRegressor([("ridge", RIDGE), ("tree", TREE)], specialize=False, **QUICK).fit(frame, y)
    np.testing.assert_allclose(framed.predict(frame), array.predict(X), rtol=1e-8)


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_sparse_rows(specialize):
    X, y = _rows()
    X = np.where(np.abs(X) > 0.7, X, 0)
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    pool = [("ridge", Ridge(solver="sparse_cg", tol=1e-10)), ("tree", TREE)]
    for kind in (sparse.csr_matrix, sparse.csc_array):
        thin = MixtureRegressor(pool, on_error="raise", **parameters).fit(kind(X), y)
        assert np.isfinite(thin.predict(kind(X))).all()
        if specialize is not False:
            break
        dense = MixtureRegressor(pool, on_error="raise", **parameters).fit(X, y)
        np.testing.assert_allclose(
            thin.predict_experts(kind(X))[:, :2], dense.predict_experts(X)[:, :2], rtol=1e-4, atol=1e-4
        )


def test_lists_and_single_precision():
    X, y = _rows()
    expected = MixtureRegressor([("ridge", RIDGE), ("near", KNeighborsRegressor())], specialize=False, **QUICK)
    expected = expected.fit(X, y).predict(X)
    for X_other, y_other in (
        (X.tolist(), y.tolist()),
        (X.astype(np.float32), y.astype(np.float32)),
        (np.asfortranarray(X), y),
    ):
        mixture = MixtureRegressor([("ridge", RIDGE), ("near", KNeighborsRegressor())], specialize=False, **QUICK)
        mixture.fit(X_other, y_other)
        np.testing.assert_allclose(mixture.predict(X_other), expected, rtol=1e-3, atol=1e-3)


def test_gaps_are_prepared_by_named_experts_and_refused_by_others():
    X, y = _rows()
    X[::7, 1] = np.nan
    mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, on_error="raise", **QUICK).fit(X, y)
    assert np.isfinite(mixture.predict(X)).all()
    with pytest.raises(ValueError, match="NaN"):
        MixtureRegressor([RIDGE, KNeighborsRegressor()], specialize=False, **QUICK).fit(X, y)


def test_experts_do_not_write_into_x():
    X, y = _rows()
    X.setflags(write=False)
    before = X.copy()
    MixtureRegressor([RIDGE, TREE], **PLAIN).fit(X, y).predict(X)
    np.testing.assert_array_equal(X, before)


# --- failures -------------------------------------------------------------------------------------------


class Broken(RegressorMixin, BaseEstimator):
    def __init__(self, how="raises"):
        self.how = how

    def fit(self, X, y):
        if self.how == "raises":
            raise MemoryError("the table is too big")
        return self

    def predict(self, X):
        return np.full(len(X), np.nan)


@pytest.mark.parametrize("how", ["raises", "answers NaN"])
@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_a_failing_expert_is_dropped_and_recorded(specialize, how):
    X, y = _rows()
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    mixture = MixtureRegressor([("bad", Broken(how)), ("ridge", RIDGE), ("tree", TREE)], **parameters).fit(X, y)
    assert "bad" not in mixture.named_experts_
    assert set(mixture.failures_["expert"]) == {"bad"}
    assert mixture.failures_["error"].str.contains("too big|NaN").all()
    alone = MixtureRegressor([("ridge", RIDGE), ("tree", TREE)], **parameters).fit(X, y)
    assert list(alone.named_experts_) == list(mixture.named_experts_)
    assert np.isfinite(mixture.predict(X)).all()
    if specialize is not True:
        assert "bad" in str(mixture.verdict_)


def test_an_expert_that_fails_only_on_all_rows_is_dropped_too():
    class Big(Ridge):
        def fit(self, X, y, sample_weight=None):
            if len(X) > 100:
                raise MemoryError("too big")
            return super().fit(X, y, sample_weight)

    X, y = _rows()
    for specialize in (False, True):
        pool = [("big", Big()), ("ridge", RIDGE), ("tree", TREE)]
        mixture = MixtureRegressor(pool, specialize=specialize, **QUICK).fit(X, y)
        assert "big" not in mixture.named_experts_
        assert mixture.failures_["fold"].tolist() == [-1]
        assert mixture.gate_weights(X).shape == (120, 2 + (specialize is False))


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_raise_means_raise(specialize):
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    with pytest.raises(MemoryError, match="too big") as caught:
        MixtureRegressor([("bad", Broken()), ("ridge", RIDGE)], on_error="raise", **parameters).fit(*_rows())
    assert any("bad" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_if_all_fail_one_error_says_why_each_did(specialize):
    parameters = {**(PLAIN if specialize == "auto" else QUICK), "specialize": specialize}
    with pytest.raises(ValueError, match=r"every expert failed.*one: MemoryError.*two: ValueError.*NaN"):
        MixtureRegressor([("one", Broken()), ("two", Broken("answers NaN"))], **parameters).fit(*_rows())


# --- refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"experts": ["rigde", "tree"]}, "ridge"),
        ({"experts": []}, "at least one"),
        ({"experts": "ridge"}, "not a list"),
        ({"experts": [("a", RIDGE), ("a", TREE)]}, "two experts are called 'a'"),
        ({"experts": [("cv", RIDGE)]}, "cannot be called 'cv'"),
        ({"experts": [("stack", RIDGE)]}, "cannot be called 'stack'"),
        ({"experts": [("a__b", RIDGE)]}, "a__b"),
        ({"experts": [("a", 3)]}, "no estimator"),
        ({"experts": [Ridge]}, "no estimator"),
        ({"experts": [("a", RIDGE, 2)]}, "pair"),
        ({"gate": "sofmax"}, "softmax"),
        ({"gate": 3}, "no gate"),
        ({"gate_features": "z"}, "gate_features"),
        ({"likelihood": "gausian"}, "gaussian"),
        ({"objective": "loss"}, "prediction"),
        ({"specialize": "yes"}, "auto"),
        ({"specialize": 1}, "auto"),
        ({"on_error": "ignore"}, "drop"),
        ({"start": "k-means", "specialize": True}, "kmeans"),
        ({"start": np.zeros(7, int), "specialize": True}, "7 rows, X has 120"),
        ({"n_experts": 0}, "n_experts=0"),
        ({"n_experts": "many"}, "n_experts"),
        ({"n_experts": 500, "specialize": True}, "500 experts.*120"),
        ({"top_k": 0}, "top_k"),
        ({"cv": 1}, "2 or more"),
        ({"cv": 999}, "120"),
        ({"scoring": "no_such"}, "no_such"),
        ({"max_rounds": 0, "specialize": True}, "max_rounds"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_parameters_that_will_not_do(parameters, says):
    with pytest.raises(ValueError, match=says):
        MixtureRegressor(**{"experts": [RIDGE, TREE], "specialize": False, **QUICK, **parameters}).fit(*_rows())


def test_an_unknown_name_lists_what_is_installed():
    with pytest.raises(ValueError, match="Did you mean 'ridge'") as caught:
        MixtureRegressor(["rigde"]).fit(*_rows())
    assert "neighbours" in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gaps_in_y_are_refused(bad):
    X, y = _rows()
    y[3] = bad
    with pytest.raises(ValueError, match="y contains (NaN|infinity)"):
        MixtureRegressor([RIDGE, TREE]).fit(X, y)
    labels = np.where(y > 0, "up", "down").astype(object)
    labels[3] = None
    with pytest.raises(ValueError, match="missing labels"):
        MixtureClassifier(CLASSES).fit(X, labels)


def test_lengths_that_differ_are_refused():
    X, y = _rows()
    for arguments in ({"y": y[:-1]}, {"y": y, "groups": np.zeros(3)}):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            MixtureRegressor([RIDGE, TREE]).fit(X, **arguments)
    mixture = MixtureRegressor([RIDGE, TREE], specialize=False, **QUICK).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        mixture.score_samples(X, y[:-1])
    with pytest.raises(ValueError, match="3 features"):
        mixture.predict(X[:, :3])
    with pytest.raises(ValueError, match="several targets"):
        mixture.fit(X, np.column_stack([y, y]))


def test_more_experts_than_rows_is_refused():
    with pytest.raises(ValueError, match="3 experts need at least as many rows, got n_samples = 2"):
        MixtureRegressor([RIDGE, TREE, KNeighborsClassifier()], specialize=True, cv=2).fit([[0.0], [1.0]], [0.0, 1.0])
