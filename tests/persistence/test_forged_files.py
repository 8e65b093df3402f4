"""Files made to take memory or time, to end the process, or to act on the computer give one error and do none of it."""

import json
import resource
import socket
import sys
import warnings
import zipfile

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    StackingRegressor,
)
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import Ridge
from sklearn.neighbors import KDTree
from sklearn.pipeline import make_pipeline

from metamix import MixtureRegressor
from metamix.persistence import ModelFileError, UntrustedTypesError, load, save
from metamix.persistence.decoding import decode
from metamix.persistence.encoding import encode
from metamix.persistence.trees import check_models, check_state
from metamix.persistence.trust import is_known


@pytest.fixture
def forge(file):
    """Write a file of the given document and arrays."""

    def forge(root, names=(), arrays=(), table=None):
        if table is None:
            table = [[one.dtype.str, list(one.shape), False] for one in arrays]
        with zipfile.ZipFile(file) as old:
            manifest = old.read("manifest.json")
        with zipfile.ZipFile(file, "w") as new:
            new.writestr("manifest.json", manifest)
            new.writestr("model.json", json.dumps({"names": list(names), "arrays": table, "root": root}))
            new.writestr("arrays.bin", b"".join(one.tobytes() for one in arrays))
        return file

    return forge


def tuples(depth, width):
    """Node of a list, whose entry i is a tuple of entry i - 1, so many times; entry i is node i + 1."""
    return ["list", ["tuple"], *(["tuple", *[["ref", i]] * width] for i in range(1, depth))]


@pytest.mark.parametrize(("depth", "width"), [(300_000, 1), (60, 2)])
@pytest.mark.parametrize("key", [["set", 0], ["frozenset", 0], ["dict", 0, None]])
def test_keys_whose_hash_would_never_end_or_end_the_process_are_refused(forge, depth, width, key):
    key = [key[0], ["ref", depth], *key[2:]]
    with pytest.raises(ModelFileError, match="a key consists of more than"):
        load(forge([*tuples(depth, width), key]))


def test_keys_of_fitted_models_come_back():
    keys = {("a", 1): 1, (("b", 2.5), None): 2, frozenset({"c", ("d",)}): 3, np.float64: 4}
    assert decode(*encode(keys)) == keys


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "text", "array"])
def test_an_array_of_a_file_belongs_to_one_node(forge, kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFileError, match="an array belongs to several nodes"):
        load(forge(["list", *[[kind, 0]] * 200], arrays=[np.zeros(5_000_000, np.uint8)]))
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert taken < 200e6  # 200 copies are 1,000 MB


@pytest.mark.parametrize("mask", [True, ["array", 1]])
def test_a_mask_is_not_made_larger(forge, mask):
    root = ["list", ["array", 0], ["masked", ["ref", 1], mask, 0]]
    with pytest.raises(ModelFileError, match="a masked array has"):
        load(forge(root, arrays=[np.zeros(100), np.ones(1, bool)]))


@pytest.mark.parametrize("shape", [[10**9] * 200_000, [0, 2**70], [-1]])
def test_impossible_shapes_are_refused(forge, shape):
    with pytest.raises(ModelFileError, match="no array has this shape"):
        load(forge(1, table=[["|u1", shape, False]]))


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox])
def test_random_numbers_go_on_inside_their_buffer(kind):
    document, arrays = encode(np.random.Generator(kind(0)))
    state = document["root"][1]
    (state["state"] if "pos" in state["state"] else state)["pos" if "pos" in state["state"] else "buffer_pos"] = 10**9
    with pytest.raises(ValueError, match="outside their buffer"):
        decode(document, arrays)


@pytest.mark.parametrize(
    "wrong", [{"libraries": 5}, {"libraries": {"numpy": 2}}, {"python": None}, {"types": "numpy"}, {"metamix": ["1"]}]
)
def test_a_manifest_with_invalid_entries_is_damage(rewrite, file, wrong):
    rewrite(lambda manifest: json.dumps({**json.loads(manifest), **wrong}).encode(), "manifest.json")
    with pytest.raises(ModelFileError, match=f"its manifest has no valid {next(iter(wrong))}"):
        load(file)


def test_a_manifest_is_not_read_at_any_size(rewrite, file):
    rewrite(lambda manifest: json.dumps({**json.loads(manifest), "more": [[]] * 5_000_000}).encode(), "manifest.json")
    with pytest.raises(ModelFileError, match="its manifest has more than"):
        load(file)


@pytest.mark.parametrize("name", ["a\nAll is well: trust b.c", "a.b'], c=['", "a. b", ""])
def test_what_is_no_name_of_python_stands_in_no_message(forge, name):
    with pytest.raises(ModelFileError, match="its types have no names") as caught:
        load(forge(1, names=[name]))
    assert not isinstance(caught.value, UntrustedTypesError)


def test_an_object_without_what_it_delegates_to_is_damage(forge):
    with pytest.raises(ModelFileError, match="RecursionError"):
        load(forge(["new", 0, []], names=["sklearn.frozen._frozen.FrozenEstimator"]))


def test_loading_connects_to_no_address_of_the_file(forge):
    callbacks = pytest.importorskip("sklearn.callback._scoring_monitor")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = ["tuple", *server.getsockname()]
        state = {"_log": ["list"], "_listener_handle": ["new", 1, [address, ["bytes", 0]]]}
        names = [f"{callbacks.__name__}.ScoringMonitor", "sklearn.callback._transport.ListenerHandle"]
        with pytest.raises(UntrustedTypesError):
            load(forge(["new", 0, [], state], names=names, arrays=[np.zeros(32, np.uint8)]))
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("name", ["memmap", "matrix", "recarray"])
def test_calling_a_type_of_numpy_opens_no_file(name):
    assert not is_known(f"numpy.{name}")
    assert is_known("numpy.ndarray")
    assert is_known("numpy.float32")


def test_importing_to_look_for_a_class_runs_no_tests_of_scipy():
    assert not is_known("scipy.sparse.tests.test_base.csr_matrix")
    assert "scipy.sparse.tests.test_base" not in sys.modules
    assert is_known("scipy.sparse._csr.csr_matrix")


def test_a_stack_calls_no_other_methods_than_those_that_predict(tmp_path, numbers):
    """An array where an estimator is expected, and "tofile" as the name of the method, would write a file."""
    X, y = numbers
    stack = StackingRegressor([("a", Ridge())], Ridge(), cv=2)
    mixture = MixtureRegressor([("pair", stack)], specialize=False, cv=2, random_state=0).fit(X, y)
    save(mixture, tmp_path / "a.mix")
    np.testing.assert_array_equal(load(tmp_path / "a.mix").predict(X), mixture.predict(X))
    fitted = mixture.named_experts_["pair"]
    fitted = fitted if hasattr(fitted, "stack_method_") else fitted[-1]
    fitted.stack_method_, fitted.estimators_ = ["tofile"], [np.array([b"text"])]
    save(mixture, tmp_path / "a.mix")
    with pytest.raises(ModelFileError, match="stack_method_ has no name of a method that predicts"):
        load(tmp_path / "a.mix")


@pytest.mark.parametrize("hide", [lambda one: {one: 1}, lambda one: frozenset({one}), lambda one: [[{"a": (one,)}]]])
def test_models_are_checked_wherever_they_are(hide):
    stack = DummyRegressor()
    stack.stack_method_ = ["tofile"]
    with pytest.raises(ValueError, match="stack_method_"):
        check_models(hide(stack))


def test_importances_are_not_read_from_private_attributes():
    check_models(make_pipeline(SelectFromModel(Ridge(), importance_getter="regressor_.coef_")))
    with pytest.raises(ValueError, match="importance_getter"):
        check_models(make_pipeline(SelectFromModel(Ridge(), importance_getter="__init__.__globals__")))


def test_a_box_of_a_search_tree_has_two_corners():
    function, arguments, state = KDTree(np.random.default_rng(0).normal(size=(20, 2))).__reduce__()
    state = (*state[:3], state[3][:1], *state[4:])
    with pytest.raises(ValueError, match="outside its nodes"):
        check_state(f"{function.__module__}.newObj", [*arguments], state)


@pytest.mark.parametrize("make", [BaggingRegressor, IsolationForest])
@pytest.mark.parametrize("max_features", [0.5, 1.0])
def test_ensembles_whose_members_see_some_columns_are_loaded(make, max_features):
    X = np.random.default_rng(0).normal(size=(40, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make(n_estimators=3, max_features=max_features, random_state=0).fit(X, X[:, 0])
    check_models(model)
    model.estimators_features_[1] = model.estimators_features_[1][:1]
    with pytest.raises(ValueError, match="different numbers of columns"):
        check_models(model)


def test_boosted_trees_write_to_no_column_that_does_not_exist():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    many = GradientBoostingClassifier(n_estimators=2).fit(X, y)
    two = GradientBoostingClassifier(n_estimators=2).fit(X, y > 0)
    one = GradientBoostingRegressor(n_estimators=2).fit(X, X[:, 0])
    check_models([many, two, one])
    one.estimators_, one.n_trees_per_iteration_ = many.estimators_, 3
    with pytest.raises(ValueError, match="another number of classes"):
        check_models(one)
    many.init_ = two.init_
    with pytest.raises(ValueError, match="another number of classes"):
        check_models(many)
