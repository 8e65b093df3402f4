"""metamix predict: bounds and weights beside the predictions, under names that say what they are."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureClassifier, MixtureRegressor, fit_predictions, load, save


def frame(result):
    code, out, err = result
    assert code == 0, err
    return pd.read_csv(io.StringIO(out))


def test_bounds_and_weights_stand_beside_predictions(run, patients, progression):
    found = frame(run("predict", progression, patients, "--interval", "0.9", "--weights", "--id", "patient"))
    mixture = load(progression)
    X = pd.read_csv(patients)[list(mixture.feature_names_in_)]
    names = list(mixture.named_experts_)
    assert list(found) == ["patient", "prediction", "lower_90", "upper_90", *(f"weight_{name}" for name in names)]
    assert found["patient"].tolist() == pd.read_csv(patients)["patient"].tolist()
    np.testing.assert_allclose(found["prediction"], mixture.predict(X))
    np.testing.assert_allclose(found[["lower_90", "upper_90"]], mixture.predict_interval(X, 0.9))
    np.testing.assert_allclose(found.filter(like="weight_"), mixture.gate_weights(X))
    np.testing.assert_allclose(found.filter(like="weight_").sum(axis=1), 1)
    covered = pd.read_csv(patients)["target"].between(found["lower_90"], found["upper_90"]).mean()
    assert 0.8 < covered < 1, "of the rows of the fit"
    assert "lower_97.5" in frame(run("predict", progression, patients, "--interval", "0.975"))


def test_classes_have_probabilities_and_weights_and_no_interval(rejected, run, flowers, species):
    found = frame(run("predict", species, flowers, "--weights"))
    labels = ["setosa", "versicolor", "virginica"]
    assert list(found)[:4] == ["class", *(f"probability_{label}" for label in labels)]
    assert list(found)[4:] == [f"weight_{name}" for name in load(species).named_experts_]
    np.testing.assert_allclose(found.filter(like="weight_").sum(axis=1), 1)
    assert (found["class"] == pd.read_csv(flowers)["species"]).mean() > 0.9
    done = run("predict", species, flowers, "--interval", "0.9")
    rejected(done, "--interval is for numbers", "predicts classes")
    assert done[0] == 2


@pytest.fixture
def rows(tmp_path):
    X = np.random.default_rng(0).normal(size=(80, 2))
    path = tmp_path / "rows.csv"
    pd.DataFrame(X).assign(prediction_0=range(80), key=range(80)).to_csv(path, index=False)
    return path, X


def test_several_targets_and_labels_have_columns_of_their_own(run, rows, tmp_path):
    path, X = rows
    words = ["--drop", "prediction_0,key"]
    numbers = MixtureRegressor(["ridge", "neighbours"], specialize=False, cv=2).fit(X, X @ [[1.0, 0.0], [2.0, 1.0]])
    save(numbers, tmp_path / "two.mix")
    found = frame(run("predict", tmp_path / "two.mix", path, *words, "--interval", "0.5", "--weights"))
    assert list(found)[:6] == ["prediction_0", "prediction_1", "lower_50_0", "lower_50_1", "upper_50_0", "upper_50_1"]
    bounds = numbers.predict_interval(X, 0.5)
    np.testing.assert_allclose(found[["lower_50_1", "upper_50_1"]], bounds[:, :, 1])
    np.testing.assert_allclose(found["weight_neighbours_1"], numbers.gate_weights(X)[:, 1, 1])

    y = pd.DataFrame({"warm": X[:, 0] > 0, "dry": X[:, 1] > 0})
    labels = MixtureClassifier(["logistic", "tree"], specialize=False, cv=2).fit(X, y)
    save(labels, tmp_path / "labels.mix")
    found = frame(run("predict", tmp_path / "labels.mix", path, *words, "--weights"))
    assert list(found)[:6] == ["warm", "dry", "probability_warm", "probability_dry", "weight_logistic_warm",
                               "weight_logistic_dry"]  # fmt: skip
    np.testing.assert_allclose(found["weight_tree_dry"], labels.gate_weights(X)[:, 1, 1])


def test_an_identifier_with_the_name_of_a_prediction_is_refused(rejected, run, rows, tmp_path):
    path, X = rows
    save(MixtureRegressor(["ridge"], specialize=False, cv=2).fit(X, X @ [[1.0, 0.0], [2.0, 1.0]]), tmp_path / "m.mix")
    done = run("predict", tmp_path / "m.mix", path, "--drop", "key", "--id", "prediction_0")
    rejected(done, "--id 'prediction_0' is also a column of the predictions", "rename it")


@pytest.mark.parametrize("share", ["0", "1", "90", "-0.1", "nan"])
def test_shares_that_are_none_are_refused(rejected, run, patients, progression, share):
    assert rejected(run("predict", progression, patients, "--interval", share), "--interval") == ""


def test_a_mixture_without_models_says_where_it_can_predict(rejected, run, rows, tmp_path):
    path, X = rows
    save(fit_predictions({"a": X[:, 0], "b": X[:, 1]}, X, X[:, 0] + X[:, 1], random_state=0), tmp_path / "given.mix")
    rejected(run("predict", tmp_path / "given.mix", path, "--drop", "prediction_0,key"), "fitted elsewhere",
             "metamix.load")  # fmt: skip


def test_rows_that_are_written_otherwise_are_read_as_options_say(run, patients, progression, tmp_path):
    """The same rows with decimal commas, which the mixture was not fitted to."""
    other = tmp_path / "commas.csv"
    pd.read_csv(patients).to_csv(other, sep=";", decimal=",", index=False)
    plain = frame(run("predict", progression, patients))
    read = frame(run("predict", progression, other, "--decimal", ","))
    np.testing.assert_allclose(read, plain)


def test_json_has_the_same_columns_and_nothing_else_is_printed(run, patients, progression, tmp_path):
    plain = frame(run("predict", progression, patients, "--weights", "--id", "patient"))
    code, out, err = run("predict", progression, patients, "--weights", "--id", "patient", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["rows"], found["columns"], found["out"]) == (150, list(plain), None)
    pd.testing.assert_frame_equal(pd.DataFrame(found["predictions"]), plain)
    target = tmp_path / "p.csv"
    code, out, err = run("predict", progression, patients, "--out", target, "--json")
    found = json.loads(out)
    assert found["out"] == str(target)
    assert "predictions" not in found
    assert "150 predictions written" in err
