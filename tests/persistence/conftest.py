"""A small table, and a saved mixture fitted to it."""

import zipfile

import numpy as np
import pytest

from metamix import MixtureRegressor
from metamix.persistence import save


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


@pytest.fixture
def rewrite(file):
    """Change one member of the file with a function and write the file again."""

    def rewrite(change, member="model.json"):
        with zipfile.ZipFile(file) as old:
            members = {name: old.read(name) for name in old.namelist()}
        members[member] = change(members[member])
        with zipfile.ZipFile(file, "w") as new:
            for name, content in members.items():
                new.writestr(name, content)

    return rewrite
