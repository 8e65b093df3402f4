"""The public face: names load when they are asked for, and `import metamix` brings in nothing heavy."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import metamix

HEAVY = [
    "torch",
    "xgboost",
    "lightgbm",
    "catboost",
    "pandas",
    "pyarrow",
    "matplotlib",
    "click",
    "skops",
    "dask",
]


def modules_after(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter holds after one statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).resolve().parents[1]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_import_brings_in_nothing_heavy():
    assert modules_after("import metamix").isdisjoint(HEAVY)


def test_the_probe_sees_what_is_imported():
    # Otherwise the test above could pass for a reason of its own.
    assert "json.tool" in modules_after("import json.tool")


@pytest.mark.parametrize("name", ["MixtureRegressor", "MixtureClassifier", "compare", "registry", "use_engine"])
def test_asking_for_a_name_brings_in_no_expert_library(name):
    brought = modules_after(f"import metamix; metamix.{name}")
    assert brought.isdisjoint(["torch", "xgboost", "lightgbm", "catboost", "matplotlib"])


@pytest.mark.parametrize("name", [*metamix.__all__, "registry", "gates", "testing"])
def test_every_public_name_is_there(name):
    assert getattr(metamix, name) is getattr(metamix, name)
    assert name in dir(metamix)


def test_types_and_loader_name_the_same_homes():
    # The lazy table and the imports for type checkers are two lists of one thing.
    source = Path(metamix.__file__).read_text(encoding="utf-8")
    for name, room in metamix._HOME.items():
        lines = [line for line in source.splitlines() if line.startswith(f"    from metamix.{room} import ")]
        assert any(name in line.split("import")[1].replace(",", " ").split() for line in lines)
    assert sorted(metamix._HOME) == sorted(metamix.__all__)


def test_version_is_the_installed_one():
    assert metamix.__version__ == version("metamix")


def test_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'MixtureRegresor'.*MixtureRegressor"):
        _ = metamix.MixtureRegresor


@pytest.mark.parametrize(
    ("absent", "line"),
    [("torch", "import metamix.nn"), ("skorch", "from metamix.nn import MoE, NeuralMixtureRegressor")],
)
def test_without_torch_or_skorch_the_extra_is_named(absent, line):
    code = f"import sys; sys.modules[{absent!r}] = None; {line}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip install metamix[torch]" in done.stderr.splitlines()[-1]
