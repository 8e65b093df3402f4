"""Loaded mixtures predict exactly as the saved ones; damaged files give one clear error; writing is atomic."""

import json
import os
import stat
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from metamix import MixtureClassifier, MixtureRegressor, fit_predictions, load_example, persistence
from metamix.data.columns import ColumnEncoder
from metamix.persistence import ModelFileError, UntrustedTypesError, load, save, untrusted_types


@pytest.fixture(scope="module")
def flats():
    X, price = load_example("mixed")
    return X[:120], price[:120]


@pytest.mark.parametrize("specialize", [True, "auto"])
def test_a_loaded_regressor_gives_identical_results(tmp_path, flats, specialize):
    X, y = flats
    experts = ["ridge", ("trees", make_pipeline(ColumnEncoder(), ExtraTreesRegressor(5))), "neighbours"]
    mixture = MixtureRegressor(experts, specialize=specialize, cv=2, random_state=0)
    save(mixture.fit(X, y), tmp_path / "a.mix")
    same = load(tmp_path / "a.mix")
    for given, expected in zip(same.predict(X, return_std=True), mixture.predict(X, return_std=True), strict=True):
        np.testing.assert_array_equal(given, expected)
    np.testing.assert_array_equal(same.gate_weights(X), mixture.gate_weights(X))
    np.testing.assert_array_equal(same.log_prob(X, y), mixture.log_prob(X, y))
    np.testing.assert_array_equal(same.oof_predictions_, mixture.oof_predictions_)
    assert same.get_params().keys() == mixture.get_params().keys()
    assert list(same.named_experts_) == list(mixture.named_experts_)
    assert str(same.verdict_) == str(mixture.verdict_)
    for name in ("history_", "failures_", "candidates_"):
        given, expected = getattr(same, name), getattr(mixture, name)
        if expected is None:
            assert given is None
        else:  # the column type of an empty frame is not kept
            pd.testing.assert_frame_equal(given, expected, check_column_type=bool(expected.shape[1]))


def test_a_loaded_classifier_gives_identical_results(tmp_path, flats):
    X, price = flats
    y = np.where(price > price.median(), "dear", "cheap")
    mixture = MixtureClassifier(["logistic", "tree", "svm"], cv=KFold(2), random_state=0)
    save(mixture.fit(X, y), tmp_path / "a.mix")
    same = load(tmp_path / "a.mix")
    np.testing.assert_array_equal(same.predict_proba(X), mixture.predict_proba(X))
    np.testing.assert_array_equal(same.predict(X), mixture.predict(X))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_types_of_a_boosting_library_must_be_trusted_by_name(tmp_path, numbers, library):
    pytest.importorskip(library)
    X, y = numbers
    mixture = MixtureRegressor(["ridge", library], specialize=False, cv=2, random_state=0).fit(X, y)
    path = tmp_path / "a.mix"
    save(mixture, path)
    with pytest.raises(UntrustedTypesError, match=rf"{library}\.sklearn.*metamix\.load\(") as caught:
        load(path)
    assert caught.value.types == untrusted_types(path)
    assert all(name.startswith(f"{library}.") for name in caught.value.types)
    np.testing.assert_array_equal(load(path, trusted=caught.value.types).predict(X), mixture.predict(X))
    manifest = json.loads(zipfile.ZipFile(path).read("manifest.json"))
    assert any(name.startswith(library) for name in manifest["libraries"])


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, "has format 1, of metamix .* before its first release, which is not read any more: fit the mixture again"),
        (2, "has format 2, of metamix .* before its first release"),
        (7, "has format 7, and metamix .* reads formats up to 3: install metamix .* or newer"),
        ("3", "has format 3, and metamix"),
    ],
)
def test_other_formats_are_rejected(rewrite, file, number, message):
    rewrite(lambda manifest: json.dumps({**json.loads(manifest), "format": number}).encode(), "manifest.json")
    with pytest.raises(ModelFileError, match=message):
        load(file)


def test_files_are_written_in_format_3(file):
    with zipfile.ZipFile(file) as members:
        assert json.loads(members.read("manifest.json"))["format"] == persistence.FORMAT == 3


def test_a_damaged_file_gives_one_clear_error_or_the_same_predictions(file, numbers):
    X, _ = numbers
    good, expected = file.read_bytes(), load(file).predict(X)
    refused = []
    for place in np.random.default_rng(0).integers(0, len(good), 60):
        damaged = bytearray(good)
        damaged[place] ^= 0xFF
        file.write_bytes(bytes(damaged))
        try:
            np.testing.assert_array_equal(load(file).predict(X), expected)
        except ModelFileError as error:
            refused.append(str(error))
    assert len(refused) > 40
    assert all(str(file) in line and "\n" not in line for line in refused)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 half"])
def test_other_files_and_folders_are_rejected(tmp_path, content):
    path = tmp_path / "other.mix"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"other\.mix is not a file written by metamix"):
        load(path)
    with pytest.raises(ModelFileError, match="is a folder"):
        load(tmp_path)


def test_truncated_files_are_rejected(file):
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelFileError):
        load(file)


def test_only_fitted_mixtures_that_can_be_loaded_again_are_saved(tmp_path, numbers):
    X, y = numbers
    path = tmp_path / "a.mix"
    with pytest.raises(ModelFileError, match="got a Ridge"):
        save(Ridge().fit(X, y), path)
    with pytest.raises(NotFittedError):
        save(MixtureRegressor(["ridge"]), path)
    mixture = MixtureRegressor(
        ["ridge"], gate_features=FunctionTransformer(lambda X: X), specialize=False, cv=2, random_state=0
    )
    with pytest.raises(ModelFileError, match="lambda"):
        save(mixture.fit(X, y), path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("features", ["x", "predictions"])
def test_mixtures_of_given_predictions_can_be_saved(tmp_path, features):
    rng = np.random.default_rng(0)
    y = rng.standard_normal(60)
    answers, X = y[:, None] + rng.standard_normal((60, 2)), y[:, None] if features == "x" else None
    mixture = fit_predictions(answers, X, y, gate_features=features, random_state=0)
    save(mixture, tmp_path / "given")
    same = load(tmp_path / "given")
    np.testing.assert_array_equal(same.predict(X, predictions=answers), mixture.predict(X, predictions=answers))
    assert same.names_ == mixture.names_


def test_a_mixture_with_a_mixture_as_expert_can_be_saved(tmp_path, numbers):
    X, y = numbers
    inner = MixtureRegressor(["ridge", "neighbours"], specialize=False, cv=2)
    mixture = MixtureRegressor([("inner", inner), "ridge"], specialize=False, cv=2, random_state=0).fit(X, y)
    save(mixture, tmp_path / "a.mix")
    same = load(tmp_path / "a.mix")
    np.testing.assert_array_equal(same.predict(X), mixture.predict(X))
    save(same, tmp_path / "b.mix")  # and a loaded one can be saved again
    np.testing.assert_array_equal(load(tmp_path / "b.mix").predict(X), mixture.predict(X))


@pytest.mark.parametrize("kind", ["NeuralMixtureRegressor", "NeuralMixtureClassifier", "MultiTaskNeuralMixture"])
def test_neural_mixtures_can_be_saved(tmp_path, numbers, kind):
    pytest.importorskip("torch")
    from metamix import nn

    X, y = numbers
    target = {"NeuralMixtureRegressor": y, "NeuralMixtureClassifier": np.where(y > 0, "high", "low")}
    learner = getattr(nn, kind)(n_experts=2, hidden=8, max_epochs=3, random_state=0)
    learner.fit(X, target.get(kind, np.column_stack([y, -y])))
    save(learner, tmp_path / "one.mix")
    with zipfile.ZipFile(tmp_path / "one.mix") as held:
        manifest = json.loads(held.read("manifest.json"))
    assert {"torch", "skorch"} < set(manifest["libraries"])
    assert (manifest["class"], manifest["types"], manifest["verdict"]) == (kind, [], None)
    again = load(tmp_path / "one.mix")
    np.testing.assert_array_equal(again.predict(X), learner.predict(X))
    np.testing.assert_array_equal(again.gate_weights(X), learner.gate_weights(X))


@pytest.fixture(scope="module")
def mixture(numbers):
    return MixtureRegressor(["ridge"], specialize=False, cv=2, random_state=0).fit(*numbers)


@pytest.mark.parametrize("path", [None, 1, True, "", object()])
def test_what_is_no_path_is_refused(mixture, path):
    with pytest.raises(ModelFileError, match="is not the name of a file"):
        save(mixture, path)
    with pytest.raises(ModelFileError, match="is not the name of a file"):
        load(path)
    with pytest.raises(ModelFileError, match="is not the name of a file"):
        untrusted_types(path)


def test_a_device_is_written_to_and_never_replaced(mixture):
    save(mixture, "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(ModelFileError, match="/dev/full cannot be written: No space left"):
        save(mixture, "/dev/full")


def test_a_mixture_goes_through_a_pipe(mixture, tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    save(mixture, pipe)
    reader.join()
    (tmp_path / "copy.mix").write_bytes(found[0])
    assert load(tmp_path / "copy.mix").experts == mixture.experts


@pytest.mark.parametrize("trusted", ["all", True, 3, b"all", [3]])
def test_trusted_must_be_a_list_of_names(file, trusted):
    with pytest.raises(ModelFileError, match="trusted"):
        load(file, trusted=trusted)


@pytest.mark.parametrize("device", ["cuda:0", "cuda:7"])
def test_what_was_trained_on_another_device_predicts_on_the_cpu(tmp_path, numbers, device):
    pytest.importorskip("torch")
    from metamix import nn

    X, y = numbers
    learner = nn.NeuralMixtureRegressor(n_experts=2, hidden=8, max_epochs=2, random_state=0, device="cpu").fit(X, y)
    expected = learner.predict(X)
    learner.device_, learner.device = device, device  # as fitted there: the arrays are stored on the CPU
    save(learner, tmp_path / "a.mix")
    np.testing.assert_allclose(load(tmp_path / "a.mix").predict(X), expected, rtol=1e-5)


def test_boosted_trees_of_a_gpu_predict_on_the_cpu(tmp_path, numbers):
    xgboost = pytest.importorskip("xgboost")
    from metamix.fitting.device_placement import move_to_cpu

    X, y = numbers
    model = xgboost.XGBRegressor(n_estimators=3, device="cpu")
    mixture = MixtureRegressor([("trees", model)], specialize=False, cv=2, random_state=0).fit(X, y)
    expected = mixture.predict(X)
    mixture.named_experts_["trees"].set_params(device="cuda")
    move_to_cpu(mixture.named_experts_["trees"])  # as at the end of each fit
    save(mixture, tmp_path / "a.mix")
    again = load(tmp_path / "a.mix", trusted=untrusted_types(tmp_path / "a.mix"))
    np.testing.assert_array_equal(again.predict(X), expected)
    assert "cuda" not in json.dumps(again.named_experts_["trees"].get_booster().save_config())
