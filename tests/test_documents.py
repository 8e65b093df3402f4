"""What is written is true: README blocks, doctests and notebooks run, as a reader would run them."""

import doctest
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "metamix").rglob("*.py")
    if path.name != "__main__.py"
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "plugins").glob("*/README.md")])

# A fenced block and, right before it, the comment that says why it is not run.
BLOCK = re.compile(r"(?:<!-- skip: (?P<skip>[^>]+) -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    language: str
    text: str
    line: int
    skip: str | None


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document in order."""
    return [
        Block(found["language"], found["text"], text.count("\n", 0, found.start("text")), found["skip"])
        for found in BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """Return the words of each command in a block of shell, continued lines joined and comments left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Give an empty folder to work in, from which this package is found and nothing of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / ".runtime"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / ".jupyter"))
    return tmp_path


def run_command(words: list[str], task_names: str) -> None:
    """Run one command line of metamix, and see that a task of tasks.py is one; others are not ours to run."""
    if words[:2] == ["python3", "tasks.py"]:
        assert f"python3 tasks.py {words[2]}" in task_names, f"tasks.py has no task {words[2]!r}"
    if words[0] != "metamix":
        return
    if words[1:2] == ["demo"]:  # two minutes, and a test of its own
        words = ["metamix", "demo", "--help"]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run_in_order(path, desk):
    """Python blocks share one namespace, shell blocks the folder: one may read what the other wrote."""
    space = {"__name__": "__document__"}
    task_names = (ROOT / "tasks.py").read_text(encoding="utf-8")
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.skip:
            continue
        if block.language == "python":
            # Newlines in front, so that a traceback names the line of the document.
            exec(compile("\n" * block.line + block.text, str(path), "exec"), space)
        elif block.language in ("bash", "console", "sh"):
            for words in commands(block):
                run_command(words, task_names)


def test_blocks_are_found_and_skipped():
    text = "# T\n\n```python\na = 1\n```\n\n<!-- skip: needs a GPU -->\n```bash\nmetamix \\\n  demo  # x\n```\n"
    found = blocks(text)
    assert [(block.language, block.skip) for block in found] == [("python", None), ("bash", "needs a GPU")]
    assert found[0].line == 3
    assert commands(found[1]) == [["metamix", "demo"]]
    with pytest.raises(AssertionError, match="no task 'dance'"):
        run_command(["python3", "tasks.py", "dance"], "python3 tasks.py demo")


def test_readme_begins_with_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = [
        words for block in blocks(text) if block.language in ("bash", "console", "sh") for words in commands(block)
    ]
    assert first[:2] == [["python3", "tasks.py", "demo"], ["python3", "tasks.py", "test"]]


@pytest.mark.parametrize("name", MODULES)
def test_doctests_run(name, desk, capsys):
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.testmod(module, optionflags=flags)
    assert not failed, capsys.readouterr().out


def kernel_of_this_interpreter(folder: Path) -> str:
    """Describe a kernel that is this interpreter in a folder of the test: the machine learns of none."""
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "the interpreter of the tests",
        "language": "python",
    }
    place = folder / ".jupyter" / "kernels" / "metamix-documents"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec))
    return place.name


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run every cell; an error in one is an error here."""
    kernel = kernel_of_this_interpreter(folder)
    client = NotebookClient(notebook, timeout=240, kernel_name=kernel, resources={"metadata": {"path": str(folder)}})
    return client.execute()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, desk):
    done = execute(nbformat.read(path, as_version=4), desk)
    assert any(cell.get("outputs") for cell in done.cells)


@pytest.mark.slow
def test_notebook_runs_on_this_interpreter_and_errors_are_seen(desk):
    cells = ["import sys; print(sys.executable)", "import metamix; print(metamix.__file__)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    first, second = execute(notebook, desk).cells
    assert first.outputs[0].text.strip() == sys.executable
    assert Path(second.outputs[0].text.strip()).parent == ROOT / "metamix"


def test_notebooks_are_there_and_stored_without_results():
    assert {"first_mixture", "compare_with_stacking"} <= {path.stem for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert not [cell for cell in code if cell.outputs or cell.execution_count], f"clear the results of {path.name}"
        assert notebook.cells[0].cell_type == "markdown"
