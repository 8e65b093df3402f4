"""Fit of the neural mixtures: initial responsibilities, sample weights, random state, few rows, tables."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from torch import nn  # noqa: E402

from metamix.nn import MultiTaskNeuralMixture, NeuralMixtureClassifier, NeuralMixtureRegressor  # noqa: E402

# Few, large steps: the tests need a fit, not the best one.
SMALL = {"hidden": 16, "max_epochs": 40, "patience": 10, "batch_size": 64, "learning_rate": 0.01, "random_state": 0}
BRIEF = {"hidden": 8, "max_epochs": 4, "batch_size": 64, "random_state": 0}


def test_labels_as_start_define_the_experts(two_lines):
    x, y = two_lines()
    labels = (x[:, 0] > 0).astype(int)
    model = NeuralMixtureRegressor(start=labels, **SMALL).fit(x, y)
    assert np.mean(model.assign(x) == labels) > 0.97, "the first label is the first expert"
    with pytest.raises(ValueError, match=r"start has shape \(239,\)"):
        NeuralMixtureRegressor(start=labels[1:], **SMALL).fit(x, y)


def test_auto_has_at_least_top_k_experts(three_columns):
    X, y = three_columns()
    assert NeuralMixtureRegressor(top_k=4, **BRIEF).fit(X, y).n_experts_ >= 4


def test_equal_seeds_give_equal_fits_and_the_global_random_state_is_unchanged(two_lines):
    x, y = two_lines(60)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = NeuralMixtureRegressor(2, **BRIEF).fit(x, y).predict(x)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first, NeuralMixtureRegressor(2, **BRIEF).fit(x, y).predict(x))
    other = NeuralMixtureRegressor(2, **{**BRIEF, "random_state": 1}).fit(x, y).predict(x)
    assert not np.array_equal(first, other)


def test_rows_are_predicted_independently(two_lines):
    x, y = two_lines(60)
    model = NeuralMixtureRegressor(2, **BRIEF).fit(x, y)
    for method in (model.predict, model.gate_weights, model.predict_experts):
        single = np.concatenate([method(row[None]) for row in x[:20]])
        np.testing.assert_allclose(method(x[:20]), single, rtol=1e-4, atol=1e-5)


def test_sample_weights_select_the_rows(two_lines):
    x, y = two_lines(100)
    X2, y2 = np.vstack([x, x]), np.concatenate([y, -y])
    for first in (True, False):
        weight = np.where((np.arange(200) < 100) == first, 1.0, 0.0)
        model = NeuralMixtureRegressor(2, **SMALL).fit(X2, y2, sample_weight=weight)
        assert model.score(x, y if first else -y) > 0.9


@pytest.mark.parametrize("numeric", ["standardise", "quantile", "piecewise"])
@pytest.mark.parametrize("n", [1, 20])
def test_few_rows(three_columns, numeric, n):
    X, y = three_columns(n)
    weight = np.eye(n)[0]
    only = NeuralMixtureRegressor(2, numeric=numeric, **BRIEF).fit(X, y, weight).predict(X)
    np.testing.assert_allclose(only, y[0], rtol=1e-4, atol=1e-5)


def test_the_default_fit_of_few_rows_is_finite(three_columns):
    X, y = three_columns(41)
    assert np.isfinite(NeuralMixtureRegressor(**BRIEF).fit(X, y).predict(X)).all()


def mixed_frame(n=200):
    """Columns of four types with missing values, and a target that depends on three of them."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], n),
            "open": rng.random(n) > 0.5,
            "sold": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, n), "D"),
        }
    )
    level = frame["city"].map({"Rome": 3.0, "Oslo": 0.0, "Bonn": -3.0})
    y = level + np.where(frame["open"], 1, -1) * frame["size"]
    frame.loc[::17, "size"] = np.nan
    frame.loc[5::31, "city"] = None
    return frame, y.to_numpy()


@pytest.mark.parametrize("numeric", ["standardise", "quantile", "piecewise"])
def test_frames_with_missing_values(numeric):
    frame, y = mixed_frame()
    model = NeuralMixtureRegressor(2, numeric=numeric, missing="impute", start="random", **SMALL).fit(frame, y)
    assert model.score(frame, y) > 0.75
    assert np.isfinite(model.predict(frame.head(3).assign(city="Paris"))).all(), "an unknown category"


def test_missing_values_raise_unless_imputed():
    frame, y = mixed_frame()
    with pytest.raises(ValueError, match=r"NaN or None in size, city; .* set missing='impute'"):
        NeuralMixtureRegressor(2, **BRIEF).fit(frame, y)
    complete = frame.assign(size=frame["size"].fillna(0), city=frame["city"].fillna("none"))
    model = NeuralMixtureRegressor(2, **BRIEF).fit(complete, y)
    for column, value in {"size": np.nan, "city": None, "sold": pd.NaT}.items():
        with pytest.raises(ValueError, match=f"NaN or None in {column};"):
            model.predict(complete.head(3).assign(**{column: [value] * 3}))
    with pytest.raises(ValueError, match="NaN or None in nothing"):
        NeuralMixtureRegressor(2, **BRIEF).fit(complete.assign(nothing=None), y)


@pytest.mark.parametrize("learner", [NeuralMixtureRegressor, NeuralMixtureClassifier])
def test_infinite_and_missing_numbers_are_rejected(two_lines, learner):
    x, y = two_lines(40)
    target = y if learner is NeuralMixtureRegressor else (y > 0).astype(float)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
            learner(2, **BRIEF).fit(x, np.where(np.arange(40) == 3, bad, target))
    with pytest.raises(ValueError, match="infinity"):
        learner(2, **BRIEF).fit(np.where(x > 0.9, np.inf, x), target)
    model = learner(2, start="random", **BRIEF).fit(x, target)
    with pytest.raises(ValueError, match="infinity"):
        model.predict([[np.inf]])
    with pytest.raises(ValueError, match="contains NaN or None in x0"):
        model.predict([[np.nan]])
    # An imputed value is the median of the training rows, all rows without early stopping.
    model = learner(2, start="random", missing="impute", early_stopping=False, **BRIEF).fit(x, target)
    np.testing.assert_allclose(model.predict([[np.nan]]), model.predict([[np.median(x)]]), rtol=1e-5)


def test_text_in_arrays_and_lists_is_a_column_of_categories(three_columns):
    X, y = three_columns()
    city = np.where(y > 0, "Rome", "Oslo")
    frame = pd.DataFrame({"city": city})
    expected = NeuralMixtureRegressor(2, start="random", **BRIEF).fit(frame, y).predict(frame)
    for same in (city[:, None], city[:, None].tolist(), city[:, None].astype(object)):
        model = NeuralMixtureRegressor(2, start="random", **BRIEF).fit(same, y)
        np.testing.assert_allclose(model.predict(same), expected)
        assert np.isfinite(model.predict([["Bonn"]])).all()
    mixed = [[a, b] for a, b in zip(city.tolist(), X[:, 0].tolist(), strict=True)]
    encoder = NeuralMixtureRegressor(2, start="random", **BRIEF).fit(mixed, y).encoder_
    assert (encoder.n_numbers, len(encoder.levels)) == (1, 1), "numbers beside text stay numbers"


def test_a_gate_module_is_not_changed_by_fit(three_columns):
    X, y = three_columns()
    gate = nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1))
    before = copy.deepcopy(gate.state_dict())
    for learner in (
        NeuralMixtureRegressor(2, gate=gate, start="random", **BRIEF),
        MultiTaskNeuralMixture(n_experts=2, gate=gate, expert_width=4, tower=4, **BRIEF),
    ):
        first = learner.fit(X, y).predict(X)
        assert all(torch.equal(values, before[name]) for name, values in gate.state_dict().items())
        np.testing.assert_array_equal(learner.fit(X, y).predict(X), first)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(learner)).predict(X), first)


def test_numpy_scalars_as_parameters(three_columns):
    X, y = three_columns()
    numpys = {**BRIEF, "hidden": np.int64(8), "max_epochs": np.int32(4), "learning_rate": np.float32(3e-3)}
    np.testing.assert_allclose(
        NeuralMixtureRegressor(np.int64(2), start="random", **numpys).fit(X, y).predict(X),
        NeuralMixtureRegressor(2, start="random", **BRIEF).fit(X, y).predict(X),
        rtol=1e-4,
    )
