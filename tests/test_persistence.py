"""Files of mixtures: the same answers to the last bit, no foreign code, nothing half written."""

import io
import json
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from metamix import MixtureClassifier, MixtureRegressor, load_example, persistence
from metamix.data.columns import ColumnEncoder
from metamix.persistence import ModelFileError, UntrustedTypesError, load, replacing, save, untrusted_types

RAN = []


class Trap(Ridge):
    """An expert whose restoration runs code of its author's choosing."""

    def __setstate__(self, state):
        RAN.append("code of the file")
        super().__setstate__(state)


@pytest.fixture(scope="module")
def flats():
    X, price = load_example("mixed")
    return X[:240], price[:240]


@pytest.fixture(scope="module")
def numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    return X, X[:, 0] + rng.normal(size=120)


@pytest.fixture(scope="module")
def written(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("written") / "model.mix"
    save(MixtureRegressor(["ridge", "neighbours"], specialize=False, cv=2, random_state=0).fit(*numbers), path)
    return path.read_bytes()


@pytest.fixture
def file(tmp_path, written):
    path = tmp_path / "model.mix"
    path.write_bytes(written)
    return path


def rewritten(path, change, member="model.skops"):
    """Change one member of the file and write it again."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


def forged(model, **node):
    """Return a skops file as this version writes it, whose root is a node of the forger's choosing."""
    with zipfile.ZipFile(io.BytesIO(model)) as file:
        schema = json.loads(file.read("schema.json"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        written = {key: schema[key] for key in ("protocol", "_skops_version")}
        file.writestr("schema.json", json.dumps({**node, **written, "__id__": 1}))
    return buffer.getvalue()


def number_of_format(manifest, value):
    return json.dumps({**json.loads(manifest), "format": value}).encode()


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_a_regressor_answers_the_same_to_the_last_bit(tmp_path, flats, specialize):
    X, y = flats
    experts = ["ridge", ("trees", make_pipeline(ColumnEncoder(), ExtraTreesRegressor(20))), "neighbours"]
    if specialize is False:
        experts.append("boosting")
    mixture = MixtureRegressor(experts, specialize=specialize, cv=2, random_state=0)
    save(mixture.fit(X, y), tmp_path / "a.mix")
    same = load(tmp_path / "a.mix")
    for given, expected in zip(same.predict(X, return_std=True), mixture.predict(X, return_std=True), strict=True):
        np.testing.assert_array_equal(given, expected)
    np.testing.assert_array_equal(same.gate_weights(X), mixture.gate_weights(X))
    np.testing.assert_array_equal(same.score_samples(X, y), mixture.score_samples(X, y))
    np.testing.assert_array_equal(same.oof_predictions_, mixture.oof_predictions_)
    assert same.get_params().keys() == mixture.get_params().keys()
    assert list(same.named_experts_) == list(mixture.named_experts_)
    assert str(same.verdict_) == str(mixture.verdict_)
    for name in ("history_", "failures_", "candidates_"):
        given, expected = getattr(same, name), getattr(mixture, name)
        if expected is None:
            assert given is None
        else:  # the columns of a frame without any are of no particular type
            pd.testing.assert_frame_equal(given, expected, check_column_type=bool(expected.shape[1]))


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_a_classifier_answers_the_same_to_the_last_bit(tmp_path, flats, specialize):
    X, price = flats
    y = np.where(price > price.median(), "dear", "cheap")
    mixture = MixtureClassifier(["logistic", "tree", "svm"], specialize=specialize, cv=KFold(2), random_state=0)
    save(mixture.fit(X, y), tmp_path / "a.mix")
    same = load(tmp_path / "a.mix")
    np.testing.assert_array_equal(same.predict_proba(X), mixture.predict_proba(X))
    np.testing.assert_array_equal(same.predict(X), mixture.predict(X))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_boosting_library_must_be_named(tmp_path, numbers, library):
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


def test_code_of_a_foreign_class_does_not_run_before_it_is_trusted(tmp_path, numbers):
    path = tmp_path / "trap.mix"
    save(MixtureRegressor([("trap", Trap()), "ridge"], specialize=False, cv=2, random_state=0).fit(*numbers), path)
    RAN.clear()
    types = untrusted_types(path)
    with pytest.raises(UntrustedTypesError, match="Trap"):
        load(path)
    with pytest.raises(UntrustedTypesError, match="Trap"):
        load(path, trusted=["numpy.ndarray"])
    assert not RAN
    load(path, trusted=types)
    assert RAN


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("metamix.data.tables", "read_table"),
        ("metamix.data.columns", "validate_data"),
        ("metamix.cli", "main"),
    ],
)
@pytest.mark.parametrize("loader", ["ConstructorFromReduceNode", "FunctionNode", "ObjectNode"])
def test_a_forged_file_cannot_call_a_function_not_even_through_us(file, module, name, loader):
    content = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [], "__id__": 2}
    node = {"__class__": name, "__module__": module, "__loader__": loader, "content": content}
    rewritten(file, lambda model: forged(model, **node))
    with pytest.raises(UntrustedTypesError) as caught:
        load(file)
    assert caught.value.types == [f"{module}.{name}"]


def test_a_trusted_class_that_is_no_mixture_is_refused(file):
    from skops.io import dumps

    rewritten(file, lambda _: dumps(Ridge()))
    with pytest.raises(ModelFileError, match="holds a Ridge, not a mixture"):
        load(file)


@pytest.mark.parametrize("which", ["forest", "child", "boosting", "neighbours"])
def test_trees_that_point_outside_their_arrays_are_refused(tmp_path, numbers, which):
    X, y = numbers
    experts = [("forest", RandomForestClassifier(3, random_state=0)), "boosting", ("near", KNeighborsClassifier())]
    mixture = MixtureClassifier(experts, specialize=False, cv=2, random_state=0).fit(X, y > 0)
    trees = mixture.named_experts_["forest"].estimators_
    if which == "forest":
        trees[1].tree_.feature[0] = 1000
    elif which == "child":
        trees[1].tree_.children_left[0] = 0  # itself: prediction would never end
    elif which == "neighbours":
        forge(mixture.named_experts_["near"], "idx_array", 10**6)
    else:
        forge(mixture.named_experts_["boosting"], "nodes", 1000)
    save(mixture, tmp_path / "a.mix")
    with pytest.raises(ModelFileError, match="must not be used"):
        load(tmp_path / "a.mix")


def forge(expert, name, value):
    """Write a wrong number into the first tree found in an expert: a column, or a row."""
    waiting = [expert]
    while waiting:
        one = waiting.pop()
        if hasattr(one, name):
            array = np.asarray(getattr(one, name))
            (array if array.dtype.names is None else array["feature_idx"])[0] = value
            return
        waiting += (
            one if isinstance(one, list | tuple) else list(vars(one).values()) if hasattr(one, "__dict__") else []
        )
    raise AssertionError("no tree found")


def test_a_newer_format_is_refused_with_both_numbers(file):
    rewritten(file, lambda manifest: number_of_format(manifest, 7), "manifest.json")
    with pytest.raises(ModelFileError, match=f"format 7.*up to {persistence.FORMAT}"):
        load(file)


def test_whatever_is_damaged_gives_one_clear_error_or_the_same_answers(file, numbers):
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
def test_a_file_of_something_else_is_named(tmp_path, content):
    path = tmp_path / "other.mix"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"other\.mix is not a file that metamix wrote"):
        load(path)
    with pytest.raises(ModelFileError, match="is a folder"):
        load(tmp_path)


def test_truncated_files_are_refused(file):
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelFileError):
        load(file)


def test_only_fitted_mixtures_that_can_be_read_again_are_saved(tmp_path, numbers):
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


def test_a_mixture_of_a_mixture_travels_too(tmp_path, numbers):
    X, y = numbers
    inner = MixtureRegressor(["ridge", "neighbours"], specialize=False, cv=2)
    mixture = MixtureRegressor([("inner", inner), "ridge"], specialize=False, cv=2, random_state=0).fit(X, y)
    save(mixture, tmp_path / "a.mix")
    same = load(tmp_path / "a.mix")
    np.testing.assert_array_equal(same.predict(X), mixture.predict(X))
    save(same, tmp_path / "b.mix")  # and a loaded one can be saved again
    np.testing.assert_array_equal(load(tmp_path / "b.mix").predict(X), mixture.predict(X))


@pytest.mark.parametrize("kind", ["NeuralMixtureRegressor", "NeuralMixtureClassifier", "MultiTaskNeuralMixture"])
def test_learners_of_the_torch_room_travel_alone(tmp_path, numbers, kind):
    pytest.importorskip("torch", reason="learners of the torch room need torch")
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


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        fail_while_writing(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def fail_while_writing(path, error):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_places_are_relative_replaced_and_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("one", "two"):
        with replacing("a.txt") as temporary:
            temporary.write_text(text)
    assert (tmp_path / "a.txt").read_text() == "two"
    with pytest.raises(ModelFileError, match="no folder"):
        persistence.place("absent/a.txt")
    with pytest.raises(ModelFileError, match="is a folder"):
        persistence.place(tmp_path)
    if hasattr(os, "umask") and os.name == "posix":
        assert (tmp_path / "a.txt").stat().st_mode & 0o400
