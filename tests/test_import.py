"""Public names are imported on first access, and `import metamix` imports no large library."""

import json
import subprocess
import sys
import zipfile
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
    "jinja2",
    "click",
    "dask",
]


def modules_after(statement: str) -> set[str]:
    """Names of the modules in a new interpreter after one statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).resolve().parents[1]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_import_loads_no_large_library():
    assert modules_after("import metamix").isdisjoint(HEAVY)


def test_modules_after_reports_imported_modules():
    # Otherwise the test above could pass although large libraries are imported.
    assert "json.tool" in modules_after("import json.tool")


def test_public_names_import_no_expert_library():
    brought = modules_after(
        "import metamix\nfor name in ('MixtureRegressor', 'MixtureClassifier', 'compare', 'registry', 'use_engine'):\n"
        "    getattr(metamix, name)"
    )
    assert "metamix.comparison" in brought
    assert brought.isdisjoint(["torch", "xgboost", "lightgbm", "catboost", "matplotlib"])


@pytest.mark.parametrize("words", [["--help"], ["compare", "--help"], ["parts"], ["show", "saved.mix"]], ids=" ".join)
def test_commands_that_compute_nothing_import_no_library_to_compute_with(words, tmp_path):
    manifest = json.dumps({"format": 4, "experts": ["ridge"], "notes": {"target": "price"}})
    path = tmp_path / "saved.mix"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", manifest)
    words = [str(path) if word == "saved.mix" else word for word in words]
    brought = modules_after(
        "import contextlib, io\nfrom metamix.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):\n"
        f"    main({words!r})\nassert len(said.getvalue()) > 100, said.getvalue()"
    )
    assert "metamix.cli.show" in brought
    assert brought.isdisjoint([*HEAVY[:6], "numpy", "scipy", "sklearn", "joblib", "matplotlib", "jinja2"])


@pytest.mark.parametrize("name", [*metamix.__all__, "registry", "gates", "inspection", "testing"])
def test_every_public_name_can_be_imported(name):
    assert getattr(metamix, name) is getattr(metamix, name)
    assert name in dir(metamix)


def test_lazy_imports_and_imports_for_type_checkers_agree():
    source = Path(metamix.__file__).read_text(encoding="utf-8")
    for name, room in metamix._HOME.items():
        lines = [line for line in source.splitlines() if line.startswith(f"    from metamix.{room} import ")]
        assert any(name in line.split("import")[1].replace(",", " ").split() for line in lines)
    assert sorted(metamix._HOME) == sorted(metamix.__all__)


def test_version_is_the_installed_one():
    assert metamix.__version__ == version("metamix")


def test_an_unknown_name_lists_the_public_names():
    with pytest.raises(AttributeError, match=r"no attribute 'MixtureRegresor'.*MixtureRegressor"):
        _ = metamix.MixtureRegresor


@pytest.mark.parametrize(
    ("absent", "line"),
    [("torch", "import metamix.nn"), ("skorch", "from metamix.nn import MoE, NeuralMixtureRegressor")],
)
def test_without_torch_or_skorch_the_error_names_the_extra(absent, line):
    code = f"import sys; sys.modules[{absent!r}] = None; {line}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip install metamix[torch]" in done.stderr.splitlines()[-1]


def test_displays_import_matplotlib_only_to_draw():
    assert "matplotlib" not in modules_after("from metamix.inspection import RegionDisplay, GateDisplay")


def test_a_report_imports_jinja2_only_when_it_is_made():
    assert "jinja2" not in modules_after("from metamix import report")
    assert "matplotlib" not in modules_after("from metamix import report")
