"""Running the command line in this process, and a small table of flats."""

import numpy as np
import pytest

from metamix import load_example
from metamix.cli import main


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
