"""Code in documents runs: fenced blocks of Markdown files, and doctests."""

import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "metamix").rglob("*.py")
    if path.name != "__main__.py"
)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "plugins").glob("*/README.md")])
#: Documents whose code takes long.
LONG = re.compile(r"README\.md|docs/(start|from_\w+)\.md")

# A fenced block, and an optional comment before it with the reason why it is not run.
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
    """An empty working folder in which this package can be imported and settings of the user have no effect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def run_command(words: list[str], task_names: str) -> None:
    """Run a command line of metamix; check that a task of tasks.py exists; ignore other commands."""
    if words[:2] == ["python3", "tasks.py"]:
        assert f"python3 tasks.py {words[2]}" in task_names, f"tasks.py has no task {words[2]!r}"
    if words[0] != "metamix":
        return
    if words[1:2] == ["demo"]:  # takes two minutes
        words = ["metamix", "demo", "--help"]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=name, marks=[pytest.mark.heavy] if LONG.match(name) else [])
        for path in DOCUMENTS
        for name in [str(path.relative_to(ROOT))]
    ],
)
def test_blocks_run_in_order(path, desk):
    """Python blocks share a namespace and shell blocks a folder, so later blocks can use results of earlier ones."""
    namespace = {"__name__": "__document__"}
    task_names = (ROOT / "tasks.py").read_text(encoding="utf-8")
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.skip:
            continue
        if block.language == "python":
            # Leading newlines, so that tracebacks have the line numbers of the document.
            exec(compile("\n" * block.line + block.text, str(path), "exec"), namespace)
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


def anchors(path: Path) -> set[str]:
    """The names by which a forge links to the headings of a document."""
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path):
    text = re.sub(r"`[^`\n]+`", "", BLOCK.sub("", path.read_text(encoding="utf-8")))
    for link in re.findall(r"\]\(([^()\s]+)\)", text):
        place, _, anchor = link.partition("#")
        if place.startswith(("http:", "https:")):
            continue
        target = path.parent / place if place else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_begins_with_demo_and_test():
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
