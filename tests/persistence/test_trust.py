"""Files run no code before their types are trusted, and forged trees are rejected."""

import io
import json
import zipfile

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from metamix import MixtureClassifier, MixtureRegressor
from metamix.persistence import ModelFileError, UntrustedTypesError, load, save, untrusted_types

EXECUTED = []


class Trap(Ridge):
    """An expert that runs code when it is unpickled."""

    def __setstate__(self, state):
        EXECUTED.append("code of the file")
        super().__setstate__(state)


def forged(model, **node):
    """Return a skops file of the current version whose root node is given."""
    with zipfile.ZipFile(io.BytesIO(model)) as file:
        schema = json.loads(file.read("schema.json"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        written = {key: schema[key] for key in ("protocol", "_skops_version")}
        file.writestr("schema.json", json.dumps({**node, **written, "__id__": 1}))
    return buffer.getvalue()


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
@pytest.mark.parametrize("loader", ["ConstructorFromReduceNode", "FunctionNode", "ObjectNode"])
def test_a_forged_file_cannot_call_a_function_even_one_imported_by_metamix(rewrite, file, module, name, loader):
    content = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [], "__id__": 2}
    node = {"__class__": name, "__module__": module, "__loader__": loader, "content": content}
    rewrite(lambda model: forged(model, **node))
    with pytest.raises(UntrustedTypesError) as caught:
        load(file)
    assert caught.value.types == [f"{module}.{name}"]


def test_a_trusted_class_that_is_not_a_mixture_is_rejected(rewrite, file):
    from skops.io import dumps

    rewrite(lambda _: dumps(Ridge()))
    with pytest.raises(ModelFileError, match="contains a Ridge, not a mixture"):
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
    with pytest.raises(ModelFileError, match="must not be used"):
        load(tmp_path / "a.mix")
