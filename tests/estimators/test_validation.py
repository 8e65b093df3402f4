"""What may come in (frames, sparse rows, gaps, failing experts), and what is refused with its remedy."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes

RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
QUICK = {"cv": 3, "random_state": 0}
PLAIN = {"n_experts": 2, "start": "kmeans", "max_rounds": 1, "cv": 2, "random_state": 0}


def _rows(n=120, **more):
    return make_regimes(n, 4, random_state=2, **more)


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
        mixture = MixtureRegressor(pool, specialize=specialize, start="uniform", **QUICK).fit(X, y)
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
    with pytest.raises(ValueError, match=r"y contains (NaN|infinity)"):
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
    with pytest.raises(ValueError, match="2 targets, the mixture was fitted on 1"):
        mixture.score_samples(X, np.column_stack([y, y]))


def test_more_experts_than_rows_is_refused():
    with pytest.raises(ValueError, match="3 experts need at least as many rows, got n_samples = 2"):
        MixtureRegressor([RIDGE, TREE, KNeighborsClassifier()], specialize=True, cv=2).fit([[0.0], [1.0]], [0.0, 1.0])
