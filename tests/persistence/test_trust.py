"""Files run no code before their types are trusted, and forged trees are rejected."""

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from metamix import MixtureClassifier, MixtureRegressor
from metamix.persistence import ModelFileError, UntrustedTypesError, load, save, untrusted_types

EXECUTED = []


def replace_document(model, **parts):
    """The document of a file with other parts."""
    return json.dumps({**json.loads(model), **parts}).encode()


class Trap(Ridge):
    """An expert that runs code when it is unpickled."""

    def __setstate__(self, state):
        EXECUTED.append("code of the file")
        super().__setstate__(state)


def test_code_of_an_untrusted_class_does_not_run(tmp_path, numbers):
    path = tmp_path / "trap.mix"
    save(MixtureRegressor([("trap", Trap()), "ridge"], specialize=False, cv=2, random_state=0).fit(*numbers), path)
    EXECUTED.clear()
    types = untrusted_types(path)
    with pytest.raises(UntrustedTypesError, match="Trap"):
        load(path)
    with pytest.raises(UntrustedTypesError, match="Trap"):
        load(path, trusted=["numpy.ndarray"])
    assert not EXECUTED
    load(path, trusted=types)
    assert EXECUTED


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("metamix.data.files", "read_file"),
        ("metamix.data.columns", "validate_data"),
        ("metamix.cli", "main"),
    ],
)
@pytest.mark.parametrize("node", [["call", 0, []], ["new", 0, []], ["name", 0]])
def test_a_forged_file_cannot_call_a_function_even_one_imported_by_metamix(rewrite, file, module, name, node):
    rewrite(lambda model: replace_document(model, names=[f"{module}.{name}"], root=node))
    with pytest.raises(UntrustedTypesError) as caught:
        load(file)
    assert caught.value.types == [f"{module}.{name}"]


@pytest.mark.parametrize(
    ("name", "node", "message"),
    [
        ("sklearn.linear_model._ridge.Ridge", ["call", 0, [1.0]], "is called, which no file of metamix does"),
        ("sklearn.tree._tree.Tree", ["new", 0, []], "is not made in this way"),
        ("sklearn.neighbors._kd_tree.newObj", ["call", 0, [["name", 0]], None], "damaged"),
        ("numpy.log1p", ["new", 0, []], "is not made in this way"),
        ("sklearn.linear_model._ridge.Ridge", ["new", 0, []], "contains a Ridge, not a mixture"),
    ],
)
def test_known_names_do_only_what_a_file_of_metamix_does_with_them(rewrite, file, name, node, message):
    rewrite(lambda model: replace_document(model, names=[name], root=node))
    with pytest.raises(ModelFileError, match=message):
        load(file)


def forge(expert, name, value):
    """Write an invalid column or row index into the first tree found in an expert."""
    stack = [expert]
    while stack:
        one = stack.pop()
        if hasattr(one, name):
            array = np.asarray(getattr(one, name))
            (array if array.dtype.names is None else array["feature_idx"])[0] = value
            return
        stack += one if isinstance(one, list | tuple) else list(vars(one).values()) if hasattr(one, "__dict__") else []
    raise AssertionError("no tree found")


@pytest.mark.parametrize("which", ["forest", "child", "boosting", "neighbours"])
def test_trees_with_indices_outside_their_arrays_are_rejected(tmp_path, numbers, which):
    X, y = numbers
    experts = [("forest", RandomForestClassifier(3, random_state=0)), "boosting", ("near", KNeighborsClassifier())]
    mixture = MixtureClassifier(experts, specialize=False, cv=2, random_state=0).fit(X, y > 0)
    trees = mixture.named_experts_["forest"].estimators_
    if which == "forest":
        trees[1].tree_.feature[0] = 1000
    elif which == "child":
        trees[1].tree_.children_left[0] = 0  # its own child: prediction would never end
    elif which == "neighbours":
        forge(mixture.named_experts_["near"], "idx_array", 10**6)
    else:
        forge(mixture.named_experts_["boosting"], "nodes", 1000)
    save(mixture, tmp_path / "a.mix")
    with pytest.raises(ModelFileError, match=r"damaged .*(outside its|does not exist)"):
        load(tmp_path / "a.mix")
