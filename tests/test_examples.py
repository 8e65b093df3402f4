"""Examples run, and the notebooks are what is written from them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "examples" / "data"  # tables that examples read, and the scripts that wrote them
SCRIPTS = sorted(path for path in (ROOT / "examples").glob("*/*.py") if path.parent != DATA)
#: Examples that are run by `tasks.py test`; the others by `tasks.py test all`.
FAST = {"plot_first_mixture", "plot_models_fitted_elsewhere", "plot_from_a_neural_framework"}
NEEDS = {
    "networks": ["torch", "skorch"],
    "plot_from_a_neural_framework": ["torch"],
    "plot_serving": ["polars"],
}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty working folder in which this package is imported and settings of the user have no effect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / ".runtime"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / ".jupyter"))
    return tmp_path


def need(script):
    """Skip where a library that the script is about is absent."""
    for name in [*NEEDS.get(script.parent.name, []), *NEEDS.get(script.stem, [])]:
        pytest.importorskip(name)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in FAST else pytest.mark.heavy)
        for path in SCRIPTS
    ],
)
def test_example_runs(script, desk):
    need(script)
    hidden = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, str(script)], env=hidden, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example prints something"
    assert "Warning" not in done.stderr, done.stderr


def test_tables_of_examples_are_small_and_read():
    text = "".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    for path in DATA.iterdir():
        assert path.suffix in (".csv", ".py"), path
        assert path.stat().st_size < 300_000, path
        assert path.name in text, f"no example names {path.name}"


def test_some_examples_are_fast():
    assert {path.stem for path in SCRIPTS} >= FAST


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_is_as_sphinx_gallery_reads_it(script):
    text = script.read_text(encoding="utf-8")
    title, underline = re.match(r'"""\n(.+)\n(=+)\n\n', text).groups()
    assert script.name.startswith("plot_"), "sphinx-gallery runs no others"
    assert len(underline) == len(title)
    for heading, line in re.findall(r"^# (.+)\n# (-+)$", text, re.M):
        assert len(heading) == len(line), heading
    assert not re.search(r"^#.*[^`]`[^`]", text.replace("``", ""), re.M), "single backticks are references in reST"


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in SCRIPTS} | {ROOT / "examples"}), ids=lambda f: f.name
)
def test_folder_has_a_header(folder):
    assert (folder / "GALLERY_HEADER.rst").is_file()


@pytest.fixture(scope="module")
def writer():
    """The script that writes the notebooks."""
    pytest.importorskip("sphinx_gallery", reason="sphinx-gallery writes the notebooks")
    spec = importlib.util.spec_from_file_location("notebooks_write", ROOT / "notebooks" / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_notebooks_are_those_of_the_examples(writer):
    """Run `python3 tasks.py notebooks` after a change of an example."""
    wanted = {writer.notebook_of(script): text for script, text in writer.converted(SCRIPTS).items()}
    assert len(wanted) == len(SCRIPTS), "two examples have the same name"
    assert set((ROOT / "notebooks").glob("*.ipynb")) == set(wanted)
    outdated = [path.name for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    assert not outdated


def test_notebooks_have_no_results():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert code
        assert not [cell for cell in code if cell.outputs or cell.execution_count]
        assert notebook.cells[0].cell_type == "markdown"
        assert notebook.cells[0].source.strip().startswith("# ")


@pytest.mark.heavy
def test_a_notebook_runs_and_shows_its_pictures(desk, monkeypatch):
    """One is enough: the code of the others was run as scripts."""
    monkeypatch.delenv("MPLBACKEND", raising=False)
    kernel = desk / ".jupyter" / "kernels" / "metamix-examples"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "this", "language": "python"}))
    notebook = nbformat.read(ROOT / "notebooks" / "first_mixture.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("import metamix; print(metamix.__file__)"))
    client = NotebookClient(notebook, timeout=240, kernel_name=kernel.name, resources={"metadata": {"path": str(desk)}})
    done = client.execute()
    assert [
        cell for cell in done.cells if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    ]
    assert Path(done.cells[-1].outputs[0].text.strip()).parent == ROOT / "metamix"
