"""Running the command line in this process, and a small table of flats."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from metamix import load_example
from metamix.cli import main

#: Two quick experts and two folds.
NUMBERS = ["--experts", "ridge,neighbours", "--cv", "2", "--jobs", "1"]
CLASSES = ["--experts", "logistic,neighbours", "--cv", "2", "--jobs", "1"]


@pytest.fixture
def run(capsys):
    """Run the command line; return exit code, standard output and standard error."""

    def call(*words):
        with pytest.raises(SystemExit) as exited:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return exited.value.code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def flats(tmp_path_factory):
    X, price = load_example("mixed")
    path = tmp_path_factory.mktemp("tables") / "flats.csv"
    frame = X.assign(price=price, sold=np.where(price > price.median(), "dear", "cheap"), house=np.arange(600) // 3)[
        :150
    ]
    frame.assign(weight=1.0).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def patients(tmp_path_factory):
    """Disease progression of 150 patients, with a column that identifies them."""
    frame = load_diabetes(as_frame=True, scaled=False).frame[:150]
    path = tmp_path_factory.mktemp("patients") / "patients.csv"
    frame.assign(patient=[f"p{i:03d}" for i in range(150)]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def flowers(tmp_path_factory):
    """Irises of three species."""
    data = load_iris(as_frame=True)
    path = tmp_path_factory.mktemp("flowers") / "flowers.csv"
    data.data.assign(species=data.target_names[data.target]).to_csv(path, index=False)
    return path


def _fit(*words):
    with pytest.raises(SystemExit) as exited:
        main(["fit", *(str(word) for word in words)])
    assert exited.value.code == 0


@pytest.fixture(scope="session")
def progression(patients):
    """A mixture of patients, saved by metamix fit."""
    path = patients.with_name("progression.mix")
    _fit(patients, "--target", "target", "--id", "patient", *NUMBERS, "--out", path)
    return path


@pytest.fixture(scope="session")
def species(flowers):
    """A mixture of flowers, saved by metamix fit."""
    path = flowers.with_name("species.mix")
    _fit(flowers, "--target", "species", *CLASSES, "--out", path)
    return path


@pytest.fixture(scope="session")
def rejected():
    """Check that a run failed with one line that contains the given words; return its standard output."""
    return _rejected


def _rejected(result, *words):
    code, out, err = result
    assert code not in (0, None)
    assert err.count("\n") == 1, err
    assert err.startswith("metamix: error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err, err
    return out
