"""Kinds of X and y that are accepted, and data that are refused."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import TargetEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate

RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
QUICK = {"cv": 2, "random_state": 0, "gate": SoftmaxGate(penalty=0.1)}
REGIMES = {"n_experts": 2, "start": "kmeans", "max_rounds": 1, **QUICK}
EVERY = pytest.mark.parametrize("specialize", [False, True, "auto"])


def settings(specialize):
    return {**(QUICK if specialize is False else REGIMES), "specialize": specialize}


def table(n=120):
    return make_regimes(n, 4, random_state=2)


# --- kinds of tables ------------------------------------------------------------------------------------


class TableRecorder(RegressorMixin, BaseEstimator):
    """Records the kind of table it was fitted to, and predicts only for the same kind."""

    def fit(self, X, y):
        self.kind_, self.columns_, self.types_ = type(X), list(X.columns), [str(one) for one in X.dtypes]
        return self

    def predict(self, X):
        assert (type(X), list(X.columns), [str(one) for one in X.dtypes]) == (self.kind_, self.columns_, self.types_)
        return np.asarray(X["a"], dtype=float)


def mixed(n=120):
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
    frame, y = mixed()
    pool = [("recorder", TableRecorder()), "ridge"]
    mixture = MixtureRegressor(pool, on_error="raise", **{**settings(specialize), "gate": "softmax"})
    mixture.fit(frame, pd.Series(y, index=frame.index))
    recorder = mixture.named_experts_["recorder"]
    assert recorder.kind_ is pd.DataFrame
    assert recorder.columns_ == list(frame.columns)
    assert recorder.types_ == [str(one) for one in frame.dtypes]
    assert mixture.feature_names_in_.tolist() == list(frame.columns)
    assert mixture.predict(frame).shape == (120,)
    assert ((mixture.predict(frame) - y) ** 2).mean() < 0.5 * y.var()
    with pytest.raises(ValueError, match="feature names"):
        mixture.predict(frame.rename(columns={"a": "b"}))


def test_polars_frames_reach_experts_untouched():
    polars = pytest.importorskip("polars")
    frame, y = mixed()
    table = polars.from_pandas(frame.drop(columns="kind").reset_index(drop=True))
    mixture = MixtureRegressor([("recorder", TableRecorder()), "ridge"], specialize=False, on_error="raise", **QUICK)
    mixture.fit(table, y)
    assert mixture.named_experts_["recorder"].kind_ is polars.DataFrame
    pandas = MixtureRegressor(["ridge"], specialize=False, **QUICK).fit(frame.drop(columns="kind"), y)
    alone = MixtureRegressor(["ridge"], specialize=False, **QUICK).fit(table, y)
    np.testing.assert_allclose(alone.predict(table), pandas.predict(frame.drop(columns="kind")), rtol=1e-6)


def test_a_frame_of_numbers_is_the_array():
    X, y = table()
    array = MixtureRegressor([("ridge", RIDGE), ("tree", TREE)], specialize=False, **QUICK).fit(X, y)
    frame = pd.DataFrame(X, columns=list("abcd"))
    framed = MixtureRegressor([("ridge", RIDGE), ("tree", TREE)], specialize=False, **QUICK).fit(frame, y)
    np.testing.assert_allclose(framed.predict(frame), array.predict(X), rtol=1e-6)


@EVERY
def test_sparse_rows(specialize):
    X, y = table()
    X = np.where(np.abs(X) > 0.7, X, 0)
    parameters = settings(specialize)
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
    X, y = table()
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


def test_missing_values_are_prepared_by_named_experts_and_refused_by_others():
    X, y = table()
    X[::7, 1] = np.nan
    mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, on_error="raise", **QUICK).fit(X, y)
    assert np.isfinite(mixture.predict(X)).all()
    with pytest.raises(ValueError, match="NaN"):
        MixtureRegressor([RIDGE, KNeighborsRegressor()], specialize=False, **QUICK).fit(X, y)


def test_experts_do_not_write_into_x():
    X, y = table()
    X.setflags(write=False)
    before = X.copy()
    MixtureRegressor([RIDGE, TREE], **settings("auto")).fit(X, y).predict(X)
    np.testing.assert_array_equal(X, before)


# --- missing values at prediction ------------------------------------------------------------------------


@EVERY
def test_missing_values_at_prediction_only(specialize):
    """Experts by name prepare missing values, and so must gate and stack, though the training rows had none."""
    X, y = table()
    mixture = MixtureRegressor(["neighbours", "ridge"], on_error="raise", **settings(specialize)).fit(X, y)
    holes = X.copy()
    holes[::5, 1] = np.nan
    holes[3] = np.nan
    predicted = mixture.predict(holes)
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(mixture.gate_weights(holes).sum(axis=1), 1)
    whole = np.isfinite(holes).all(axis=1)
    np.testing.assert_allclose(predicted[whole], mixture.predict(X)[whole], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("gate_features", ["predictions", "both", [0, 1]], ids=str)
def test_missing_values_at_prediction_for_other_gate_features(gate_features):
    X, y = table()
    pool = ["ridge", "neighbours"]
    mixture = MixtureRegressor(pool, specialize=False, gate="softmax", gate_features=gate_features, cv=2).fit(X, y)
    holes = X.copy()
    holes[::5, 1] = np.nan
    assert np.isfinite(mixture.predict(holes)).all()


# --- refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_targets_are_refused(bad):
    X, y = table()
    y[3] = bad
    with pytest.raises(ValueError, match=r"y contains (NaN|infinity)"):
        MixtureRegressor([RIDGE, TREE]).fit(X, y)
    labels = np.where(y > 0, "up", "down").astype(object)
    labels[3] = None
    with pytest.raises(ValueError, match="missing labels"):
        MixtureClassifier(CLASSES).fit(X, labels)


def test_lengths_that_differ_are_refused():
    X, y = table()
    for arguments in ({"y": y[:-1]}, {"y": y, "groups": np.zeros(3)}):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            MixtureRegressor([RIDGE, TREE]).fit(X, **arguments)
    mixture = MixtureRegressor([RIDGE, TREE], specialize=False, **QUICK).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        mixture.log_prob(X, y[:-1])
    with pytest.raises(ValueError, match="3 features"):
        mixture.predict(X[:, :3])
    with pytest.raises(ValueError, match="2 targets, the mixture was fitted on 1"):
        mixture.log_prob(X, np.column_stack([y, y]))


@EVERY
def test_gate_features_that_look_at_y_are_refused(specialize):
    """Such columns are in sample; those of new rows would differ."""
    X, y = table()
    kinds = np.random.default_rng(0).integers(5, size=(120, 1)).astype(float)
    mixture = MixtureRegressor([RIDGE, TREE], gate_features=TargetEncoder(), **settings(specialize))
    with pytest.raises(ValueError, match=r"gate_features.*TargetEncoder|TargetEncoder.*gate_features"):
        mixture.fit(np.hstack([X, kinds]), y)


# --- extreme data ---------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("value", [0.0, 3.5, 1e9])
def test_a_constant_target_fits(specialize, value):
    X, _ = table(60)
    parameters = settings(specialize)
    mixture = MixtureRegressor([("ridge", Ridge()), ("tree", TREE)], **parameters).fit(X, np.full(60, value))
    mean, deviation = mixture.predict(X, return_std=True)
    np.testing.assert_allclose(mean, value, rtol=1e-6, atol=1e-9)
    assert np.isfinite(deviation).all()


@EVERY
@pytest.mark.parametrize("gate", ["softmax", "gmm"])
def test_duplicated_and_constant_columns(specialize, gate):
    X, y = table(100)
    X = np.column_stack([X, X[:, 0], np.full(100, 7.0), np.zeros(100)])
    parameters = settings(specialize)
    mixture = MixtureRegressor([("ridge", Ridge()), ("tree", TREE)], **{**parameters, "gate": gate}).fit(X, y)
    assert np.isfinite(mixture.predict(X)).all()
    assert not len(mixture.failures_)
    far = mixture.gate_weights(1e6 * X)
    np.testing.assert_allclose(far.sum(axis=1), 1)


@EVERY
def test_one_expert_is_enough(specialize):
    X, y = table(100)
    mixture = MixtureRegressor([("ridge", Ridge())], **settings(specialize)).fit(X, y)
    np.testing.assert_allclose(mixture.gate_weights(X).sum(axis=1), 1)
    assert np.isfinite(mixture.predict(X)).all()


def test_numbers_of_regimes_repeat_a_type(halves):
    X, y = halves()
    mixture = MixtureRegressor([("line", Ridge(1e-6))], **{**settings(True), "gate": "softmax", "max_rounds": 4}).fit(
        X, y
    )
    assert list(mixture.named_experts_) == ["line-1", "line-2"]
    assert mixture.n_experts_ == 2
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.1 * y.var()


def test_a_fold_that_trains_on_no_weight_is_refused():
    X, y = np.arange(12.0)[:, None], np.arange(12.0)
    weight = np.r_[np.zeros(8), np.ones(4)]
    with pytest.raises(ValueError, match="every row that fold 2 trains on has sample_weight zero"):
        MixtureRegressor(["ridge"], cv=KFold(3), specialize=False).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize(
    ("mixture", "final", "message"),
    [
        (MixtureRegressor, LogisticRegression(), "is no regressor"),
        (MixtureClassifier, Ridge(), "is no classifier"),
    ],
)
def test_a_final_estimator_of_the_wrong_kind_is_refused(mixture, final, message):
    with pytest.raises(ValueError, match=message):
        mixture(final_estimator=final).fit(np.zeros((4, 1)), [0, 1, 0, 1])


def test_folds_that_train_on_what_they_hold_out_are_refused():
    X, y = np.arange(8.0)[:, None], np.arange(8.0)
    folds = [(np.arange(6), np.arange(5, 8)), (np.arange(2, 8), np.arange(2))]
    with pytest.raises(ValueError, match=r"fold 0 trains on 1 of the rows that it holds out, such as row 5"):
        MixtureRegressor(["ridge"], cv=folds).fit(X, y)


def test_an_unknown_scorer_is_refused_before_anything_is_fitted():
    with pytest.raises(ValueError, match="did you mean 'neg_mean_absolute_error'"):
        MixtureRegressor(["ridge"], scoring="neg_mean_absolut_error").fit(np.zeros((4, 1)), [0.0, 1.0, 0.0, 1.0])
