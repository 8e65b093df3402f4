"""fit_predictions: candidates and blend over predictions of models that were fitted elsewhere."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, TimeSeriesSplit, cross_val_predict
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import (
    MixtureClassifier,
    MixtureOfPredictions,
    MixtureRegressor,
    TableWarning,
    fit_predictions,
    make_regimes,
)
from metamix.gates import SoftmaxGate

RIDGE, TREE = ("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))


def halves(n=600, seed=0, noise=0.3):
    """Return X, y and two models' predictions, each right on its side of x0 = 0 and three times as far off beyond."""
    rng = np.random.default_rng(seed)
    X, y = rng.uniform(-1, 1, (n, 2)), rng.normal(size=n)
    far = np.where(np.column_stack([X[:, 0] < 0, X[:, 0] >= 0]), noise, 1.5)
    return X, y, y[:, None] + far * rng.normal(size=(n, 2))


def numbers(n=200):
    X, y = make_regimes(n, random_state=0)
    given = np.column_stack([cross_val_predict(clone(model), X, y) for _, model in (RIDGE, TREE)])
    return X, y, given


# --- the same as the mixture, given the same predictions and folds ------------------------


@pytest.mark.parametrize("final", ["blend", "best", "simplest"])
@pytest.mark.parametrize("features", ["x", "both", "predictions"])
@pytest.mark.parametrize("gate", [SoftmaxGate(penalty=0.1), "gmm", DecisionTreeClassifier(max_depth=2, random_state=0)])
def test_regression_is_what_the_mixture_makes_of_the_same_predictions(gate, features, final):
    X, y = make_regimes(100, random_state=0)
    pairs = list(TimeSeriesSplit(4).split(X))  # no model has seen the rows of a later fold: nothing is nested
    settings = {"gate": gate, "gate_features": features, "final": final, "cv": pairs}
    mixture = MixtureRegressor([RIDGE, TREE], specialize=False, random_state=0, **settings).fit(X, y)
    given = fit_predictions(mixture.oof_predictions_[:, :2], X, y, names=["ridge", "tree"], **settings)
    new = mixture.predict_experts(X)[:, :2]
    np.testing.assert_allclose(given.oof_predictions_[20:], mixture.oof_predictions_[20:])
    np.testing.assert_allclose(given.gate_weights(X, new), mixture.gate_weights(X))
    np.testing.assert_allclose(given.predict(X, new), mixture.predict(X))
    assert given.names_ == list(mixture.named_experts_)
    values = mixture.predict_experts(X)
    np.testing.assert_allclose((given.gate_weights(X, new) * values).sum(axis=1), given.predict(X, new), rtol=1e-10)
    np.testing.assert_allclose(given.responsibilities(X, y, new), mixture.responsibilities(X, y))
    np.testing.assert_allclose(given.log_prob(X, y, new), mixture.log_prob(X, y))
    pd.testing.assert_frame_equal(given.candidates_, mixture.candidates_)
    assert str(replace(given.verdict_, not_nested="")) == str(replace(mixture.verdict_, not_nested=""))


def test_classification_is_what_the_mixture_makes_of_the_same_predictions():
    X, y = make_regimes(150, task="classification", random_state=0)
    labels = np.array(["c", "a", "b"])[y + (X[:, 0] > 0.7)]
    pool = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
    pairs = list(TimeSeriesSplit(3).split(X))
    mixture = MixtureClassifier(pool, specialize=False, gate="softmax", cv=pairs, random_state=0).fit(X, labels)
    given = fit_predictions(
        mixture.oof_predictions_[:, :2], X, labels, names=["logistic", "tree"], gate="softmax", cv=pairs
    )
    new = mixture.predict_experts(X)[:, :2]
    assert given.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(given.predict_proba(X, new), mixture.predict_proba(X))
    np.testing.assert_allclose(given.log_prob(X, labels, new), mixture.log_prob(X, labels))
    assert (given.predict(X, new) == mixture.predict(X)).all()
    assert str(replace(given.verdict_, not_nested="")) == str(replace(mixture.verdict_, not_nested=""))


def test_the_verdict_says_that_predictions_made_elsewhere_are_not_nested():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(80)
    X = rng.standard_normal((80, 1))
    noise = fit_predictions(rng.standard_normal((80, 2)), X, y, gate="constant", random_state=0)
    assert "was left out: the models were fitted elsewhere" in str(noise.verdict_)


# --- planted truth -------------------------------------------------------------------


def test_the_gate_finds_who_is_right_where():
    X, y, given = halves()
    mixture = fit_predictions(given, X, y, random_state=0)
    assert mixture.verdict_.winner == "gated"
    X_new, y_new, new = halves(seed=1)
    loss = np.mean((mixture.predict(X_new, new) - y_new) ** 2)
    # The true gate leaves 0.09 (0.0865 with the best weights), constant weights (0.09 + 2.25) / 4 = 0.585.
    assert loss < 0.2


def test_constant_weights_are_the_inverse_variances():
    rng = np.random.default_rng(0)
    y = 10 * rng.normal(size=3000)
    given = y[:, None] + rng.normal(size=(3000, 2)) * [1.0, 2.0]
    mixture = fit_predictions(given, rng.normal(size=(3000, 1)), y, gate="constant", random_state=0)
    loss = mixture.candidates_.set_index("candidate")["loss"]
    assert loss["best single"] == pytest.approx(1.0, rel=0.06)
    assert loss["convex"] == pytest.approx(0.8, rel=0.06), "1 / (1 + 1/4), with weights 0.8 and 0.2"


def test_noise_to_look_at_is_not_called_gated():
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    given = y[:, None] + rng.normal(size=(300, 3))
    assert fit_predictions(given, rng.normal(size=(300, 4)), y, random_state=0).verdict_.winner != "gated"


# --- rows, weights, folds ------------------------------------------------------------


@pytest.mark.parametrize("gate", ["softmax", "gmm"])
@pytest.mark.parametrize("gate_features", ["x", "both"])
def test_rows_without_a_prediction_take_no_part(gate, gate_features):
    X, y, given = halves(200)
    holes = given.copy()
    holes[[0, 3, 50], 0] = np.nan
    holes[[3, 150], 1] = np.nan
    left = np.isfinite(holes).all(axis=1)
    settings = {"gate": gate, "gate_features": gate_features, "random_state": 0}
    mixture = fit_predictions(holes, X, y, **settings)
    without = fit_predictions(given[left], X[left], y[left], **settings)
    np.testing.assert_allclose(mixture.predict(X, given), without.predict(X, given), rtol=1e-6)
    assert (mixture.fold_of_row_ < 0).tolist() == (~left).tolist()
    assert "4 of 200 rows" in str(mixture.verdict_)
    np.testing.assert_allclose(mixture.responsibilities_.sum(axis=1), 1)


def test_rows_of_weight_zero_do_not_matter():
    X, y, given = halves(200)
    weight = np.r_[np.zeros(40), np.ones(160)]
    spoiled = given.copy()
    spoiled[:40] += 5
    one, other = (
        fit_predictions(table, X, y, gate="constant", sample_weight=weight, random_state=0)
        for table in (given, spoiled)
    )
    np.testing.assert_allclose(one.predict(X, given), other.predict(X, given), rtol=1e-6)


def test_groups_and_time_are_kept():
    X, y, given = halves(120)
    groups = np.repeat(np.arange(12), 10)
    grouped = fit_predictions(given, X, y, groups=groups, gate="softmax", random_state=0).fold_of_row_
    assert all(len(set(grouped[groups == g])) == 1 for g in range(12))
    by_splitter = fit_predictions(given, X, y, groups=groups, cv=GroupKFold(4), random_state=0).fold_of_row_
    assert len(set(by_splitter)) == 4
    holes = given.copy()
    holes[:30] = np.nan
    ordered = fit_predictions(holes, X, y, cv=TimeSeriesSplit(3)).fold_of_row_
    assert (np.diff(ordered) >= 0).all()
    assert (ordered < 0).sum() == 30
    alone = fit_predictions(given, X, y, cv=[(np.arange(60), np.arange(60, 120))]).fold_of_row_
    assert (alone[:60] < 0).all()
    assert (alone[60:] >= 0).all()


# --- forms ---------------------------------------------------------------------------


def test_array_frame_and_mapping_say_the_same():
    X, y, given = halves(150)
    frame = pd.DataFrame(given, columns=["a", "b"])
    from_array, from_frame, from_mapping = (
        fit_predictions(one, X, y, names=["a", "b"], gate="softmax", random_state=0)
        for one in (given, frame.assign(more=0.0)[["more", "b", "a"]], {"b": given[:, 1], "a": given[:, 0].tolist()})
    )
    wanted = from_array.predict(X, given)
    assert from_frame.names_ == from_mapping.names_ == ["a", "b", "stack", "feature-weighted stack", "mean"]
    np.testing.assert_array_equal(from_frame.predict(X, frame[["b", "a"]]), wanted)
    np.testing.assert_array_equal(from_frame.predict(X, given), wanted)
    np.testing.assert_array_equal(from_mapping.predict(X, frame), wanted)


def test_polars_frames_have_names_too():
    pl = pytest.importorskip("polars", reason="polars is one of the kinds of frame, and optional")
    X, y, given = halves(100)
    mixture = fit_predictions(pl.DataFrame({"a": given[:, 0], "b": given[:, 1]}), X, y, random_state=0)
    assert mixture.names_ == ["a", "b", "stack", "feature-weighted stack", "mean"]


def test_of_two_classes_the_second_is_enough():
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.5
    second = np.clip(0.5 + 0.3 * (2 * y[:, None] - 1) + 0.2 * rng.normal(size=(200, 2)), 0, 1)
    X = rng.normal(size=(200, 1))
    both = np.stack([1 - second, second], axis=2)
    one, other = (fit_predictions(table, X, y, gate="softmax", random_state=0) for table in (second, both))
    assert one.classes_.tolist() == [False, True]
    np.testing.assert_allclose(one.predict_proba(X, second), other.predict_proba(X, both))
    np.testing.assert_allclose(one.predict_proba(X, second), one.predict_proba(X, both))
    assert one.oof_predictions_.shape == (200, 4, 2)
    assert np.mean(one.predict(X, second) == y) > 0.9


def test_whole_numbers_are_amounts_when_said_so():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    given = y[:, None] + rng.normal(size=(100, 2))
    mixture = fit_predictions(given, given, y, task="regression", gate="softmax", random_state=0)
    assert mixture.classes_ is None
    assert not hasattr(mixture, "predict_proba")


def test_x_is_not_needed_where_the_gate_looks_at_predictions():
    X, y, given = halves(150)
    mixture = fit_predictions(given, None, y, gate_features="predictions", gate="softmax", random_state=0)
    np.testing.assert_array_equal(mixture.predict(None, given), mixture.predict(X, given))
    with pytest.raises(ValueError, match="gate_features='predictions'"):
        fit_predictions(given, None, y)


def test_mixed_columns_are_fine_for_the_gate():
    X, y, given = halves(200)
    frame = pd.DataFrame({"side": np.where(X[:, 0] < 0, "left", "right"), "x": X[:, 1]})
    frame.loc[5, "x"] = np.nan
    mixture = fit_predictions(given, frame, y, gate="softmax", random_state=0)
    assert mixture.verdict_.winner in ("feature-weighted stack", "gated"), "the text column says who is right"
    assert np.mean((mixture.predict(frame, given) - y) ** 2) < 0.2


def test_weights_need_no_predictions_where_the_gate_looks_at_x():
    X, y, given = halves(150)
    mixture = fit_predictions(given, X, y, top_k=1, gate="softmax", final="best", random_state=0)
    np.testing.assert_array_equal(mixture.gate_weights(X), mixture.gate_weights(X, given))
    assert set(np.unique(mixture.gate_weights(X))) <= {0.0, 1.0}
    assert (mixture.assign(X) == mixture.gate_weights(X).argmax(axis=1)).all()


def test_it_is_an_estimator_that_can_be_copied_and_stored():
    X, y, given = halves(120)
    mixture = fit_predictions(given, X, y, gate="gmm", scoring="r2", random_state=0)
    again = clone(mixture).fit(X, y, given)
    np.testing.assert_array_equal(again.predict(X, given), mixture.predict(X, given))
    stored = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(stored.predict(X, given), mixture.predict(X, given))
    with pytest.raises(NotFittedError):
        MixtureOfPredictions().predict(X, given)


X, Y, GIVEN = halves(40)


# --- names of classes and models ------------------------------------------------------


def shares(classes, n=80):
    """X, y, and a model's out-of-fold probabilities in the order of the classes."""
    rng = np.random.default_rng(0)
    codes = rng.integers(len(classes), size=n)
    X = rng.standard_normal((n, 2)) + codes[:, None]
    return X, np.asarray(classes)[codes], cross_val_predict(LogisticRegression(), X, codes, method="predict_proba")


@pytest.mark.parametrize("library", ["pandas", "polars", "pandas in one frame"])
@pytest.mark.parametrize("classes", [["no", "yes"], ["a", "b", "c"], [1, 2], [3, 5, 7], [False, True]], ids=str)
def test_columns_named_after_classes_come_in_any_order(classes, library):
    X, y, given = shares(classes)
    expected = fit_predictions({"model": given}, X, y, gate="constant", random_state=0)
    for order in (np.arange(len(classes))[::-1], np.roll(np.arange(len(classes)), 1)):
        if library == "polars":
            frame = pytest.importorskip("polars").DataFrame({str(classes[c]): given[:, c] for c in order})
        else:
            frame = pd.DataFrame(given[:, order], columns=[classes[c] for c in order])
        several = {"model": frame}
        if library == "pandas in one frame":
            several = pd.concat(several, axis=1)
        mixture = fit_predictions(several, X, y, gate="constant", random_state=0)
        np.testing.assert_allclose(mixture.oof_predictions_, expected.oof_predictions_)
        np.testing.assert_allclose(mixture.predict_proba(X, several), expected.predict_proba(X, {"model": given}))
        np.testing.assert_allclose(mixture.predict_proba(X, {"model": given}), mixture.predict_proba(X, several))


def test_columns_without_names_are_in_the_order_of_the_classes():
    X, y, given = shares([1, 2])
    expected = fit_predictions({"model": given}, X, y, gate="constant", random_state=0).oof_predictions_
    for frame in (pd.DataFrame(given), pytest.importorskip("polars").DataFrame(given)):
        found = fit_predictions({"model": frame}, X, y, gate="constant", random_state=0)
        np.testing.assert_allclose(found.oof_predictions_, expected)


def test_one_named_column_is_the_probability_of_its_class():
    X, y, given = shares(["no", "yes"])
    expected = fit_predictions({"a": given, "b": given}, X, y, gate="constant", random_state=0).oof_predictions_
    frame = pd.DataFrame(given, columns=["no", "yes"])
    for one in ("no", "yes"):
        several = {"a": frame[[one]], "b": frame[one]}
        found = fit_predictions(several, X, y, gate="constant", random_state=0)
        np.testing.assert_allclose(found.oof_predictions_, expected)
    found = fit_predictions({"a": frame["no"], "b": given[:, 1]}, X, y, gate="constant", random_state=0)
    np.testing.assert_allclose(found.oof_predictions_, expected)


def test_a_class_that_a_model_does_not_know_has_probability_zero():
    X, y, _ = shares(["a", "b", "c"])
    frame = pd.DataFrame({"c": np.full(80, 0.75), "a": np.full(80, 0.25)})
    found = fit_predictions({"model": frame}, X, y, gate="constant", random_state=0)
    np.testing.assert_allclose(found.oof_predictions_[0, 0], [0.25, 0, 0.75])


@pytest.mark.parametrize("names", [["no", "maybe"], ["No", "Yes"], [0, 2], ["p_no", "p_yes"]])
def test_columns_named_after_no_class_are_refused(names):
    X, y, given = shares(["no", "yes"])
    frame = pd.DataFrame(given, columns=names)
    with pytest.raises(ValueError, match=rf"'model' have columns .*{names[1]!r}.* are no classes.*\['no', 'yes'\]"):
        fit_predictions({"model": frame}, X, y)
    mixture = fit_predictions({"model": given}, X, y, gate="constant", random_state=0)
    with pytest.raises(ValueError, match="are no classes"):
        mixture.predict(X, {"model": frame})


def test_a_frame_of_one_models_classes_is_not_taken_for_models():
    X, y, given = shares(["no", "yes"])
    with pytest.raises(ValueError, match=r"\['yes', 'no'\], among which are classes.*a column for each model"):
        fit_predictions(pd.DataFrame(given, columns=["yes", "no"]), X, y)
    X, y, given = shares([0, 1])  # two models whose columns are counted
    found = fit_predictions(pd.DataFrame({0: given[:, 1], 1: given[:, 1]}).set_axis(range(2), axis=1), X, y)
    np.testing.assert_allclose(found.oof_predictions_[:, 0], given)


def test_models_whose_names_are_numbers():
    for given in ({1: GIVEN[:, 0], 2: GIVEN[:, 1]}, pd.DataFrame(GIVEN)):
        mixture = fit_predictions(given, X, Y, gate="constant", random_state=0)
        assert mixture.names_[0] in ("0", "1")
        expected = fit_predictions(GIVEN, X, Y, gate="constant", random_state=0).predict(X, GIVEN)
        np.testing.assert_allclose(mixture.predict(X, given), expected)
        assert fit_predictions(given, X, Y, names=[1], gate="constant", random_state=0).names_[0] == "1"
    with pytest.raises(ValueError, match="two models are called alike"):
        fit_predictions({1: GIVEN[:, 0], "1": GIVEN[:, 1]}, X, Y)


# --- what is refused -----------------------------------------------------------------

LABELS = np.where(Y > 0, "yes", "no")
SHARES = np.full((40, 2), 0.5)


@pytest.mark.parametrize(
    ("predictions", "settings", "message"),
    [
        (GIVEN[:30], {}, "30 rows, y has 40"),
        (GIVEN[:, 0], {}, r"shape \(40,\)"),
        (np.stack([GIVEN, GIVEN], axis=2), {}, "a column for each model"),
        (GIVEN, {"names": ["a"]}, "2 columns, and there are 1 names"),
        (GIVEN, {"names": ["a", "a"]}, "two models are called 'a'"),
        (GIVEN, {"names": ["a", "stack"]}, "cannot be called 'stack'"),
        (GIVEN, {"final": "cascade"}, "final='cascade'"),
        (GIVEN, {"gate": []}, "empty list"),
        (pd.DataFrame(GIVEN, columns=["a", "b"]), {"names": ["a", "c"]}, "lack.*'c'"),
        (pd.DataFrame(GIVEN, columns=["a", "a"]), {}, "name each column once"),
        ({}, {}, "lack columns"),
        ({"a": GIVEN[:, 0], "b": SHARES}, {}, "different shapes"),
        ({"a": ["yes"] * 40}, {}, "predictions of 'a' are not numbers"),
        (np.where(GIVEN > 1, np.inf, GIVEN), {}, "infinity"),
        (GIVEN * [np.nan, 1], {}, "'model-1' answered no row"),
        (np.where(np.arange(40)[:, None] % 2 == [0, 1], np.nan, GIVEN), {}, "no row was answered by every model"),
        (GIVEN, {"cv": None}, "cv=None"),
        (GIVEN, {"objective": "loss"}, "objective='loss'"),
        (GIVEN, {"task": "ranking"}, "task='ranking'"),
        (GIVEN, {"top_k": 0}, "top_k=0"),
        (GIVEN, {"gate": 3}, "gate=3"),
        (GIVEN, {"y": LABELS}, "no probability"),
        (np.full((40, 2, 3), 1 / 3), {"y": LABELS}, r"probabilities \(n, K, 2\).*no, yes"),
        (np.full((40, 2, 2), 0.4), {"y": LABELS}, "does not sum to one"),
        (SHARES, {"y": LABELS, "sample_weight": np.ones(3)}, "sample_weight"),
        (GIVEN, {"X": X[:30]}, "X has 30 rows, y has 40"),
    ],
)
def test_what_will_not_do_is_named(predictions, settings, message):
    settings = {"X": X, "y": Y, **settings}
    with pytest.raises(ValueError, match=message):
        fit_predictions(predictions, **settings)


def test_predict_says_what_it_needs():
    mixture = fit_predictions(GIVEN, X, Y, names=["a", "b"], gate="softmax", random_state=0)
    for wrong, message in [
        (None, "a, b"),
        (GIVEN[:, :1], "1 columns, and there are 2 names"),
        (np.where(GIVEN > 1, np.nan, GIVEN), "did not answer some rows"),
        (GIVEN[:30], "X has 40 rows, the predictions have 30"),
        (pd.DataFrame({"a": GIVEN[:, 0]}), "lack.*'b'"),
    ]:
        with pytest.raises(ValueError, match=message):
            mixture.predict(X, wrong)


def test_predictions_that_equal_y_are_warned_of():
    X, y, given = numbers()
    seen = DecisionTreeRegressor(random_state=0).fit(X, y).predict(X)
    with pytest.warns(UserWarning, match=r"model-2 \(100%\).*cross_val_predict"):
        fit_predictions(np.column_stack([given[:, 0], seen]), X, y, random_state=0)
    fit_predictions(given, X, y, gate="softmax", random_state=0)  # without a warning, which would be an error here


def test_predict_resolves_no_names():
    mixture = fit_predictions(GIVEN, X, Y, gate="softmax", random_state=0)
    before = mixture.predict(X, GIVEN), mixture.gate_weights(X, GIVEN)
    mixture.set_params(gate="no such gate", likelihood="no such likelihood", gate_features=["no such column"])
    np.testing.assert_array_equal(mixture.predict(X, GIVEN), before[0])
    np.testing.assert_array_equal(mixture.gate_weights(X, GIVEN), before[1])


def test_columns_of_frames_are_read_as_mixtures_read_them():
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    X = pd.DataFrame({"user_id": np.arange(60) * 7, "x": y, "price": [f"${1000 + v:,.2f}" for v in 100 * y]})
    given = y[:, None] + rng.normal(size=(60, 2))
    with pytest.warns(TableWarning) as caught:
        mixture = fit_predictions(given, X, y, random_state=0)
    said = [str(one.message) for one in caught]
    assert len(said) == 2
    assert said[0].startswith("user_id: has another value in every row; it is left out.")
    assert said[1].startswith("price: numbers with")
    assert list(mixture.feature_names_in_) == ["x", "price"]
    numbers = X.assign(price=np.round(1000 + 100 * y, 2))
    np.testing.assert_allclose(mixture.gate_weights(numbers, given), mixture.gate_weights(X, given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = fit_predictions(given, X, y, columns={"user_id": "number"}, random_state=0)
    assert list(kept.feature_names_in_) == ["user_id", "x", "price"]


def test_intervals_cover_new_rows_as_often_as_they_say():
    rng = np.random.default_rng(0)

    def draw(n):
        X = rng.uniform(-1, 1, (n, 2))
        law = 3 * X[:, 0]
        return X, law + rng.standard_normal(n), {"right": law, "wrong": 0 * law}

    X, y, answers = draw(400)
    mixture = fit_predictions(answers, X, y, gate="constant", random_state=0)
    X, y, answers = draw(2000)
    low, high = mixture.predict_interval(X, 0.8, predictions=answers).T
    assert 0.76 < np.mean((low <= y) & (y <= high)) < 0.84
    # The noise is standard normal around a prediction that is right.
    np.testing.assert_allclose((high - low).mean(), 2 * norm.ppf(0.9), rtol=0.08)
    quantiles = mixture.predict_quantile(X, [0.1, 0.5, 0.9], predictions=answers)
    np.testing.assert_allclose(quantiles[:, [0, 2]], np.column_stack([low, high]))
    assert np.abs(quantiles[:, 1] - answers["right"]).mean() < 0.2
    half = np.full((len(y), 2), 0.5)
    labels = fit_predictions({"one": half, "two": half}, X, y > 0, gate="constant", cv=2, random_state=0)
    assert not hasattr(labels, "predict_interval"), "classes have none"
