"""tasks.py: when the environment is up to date, which tests each task runs, and exit codes."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path):
    """A folder with the files that tasks.py reads, so that no test changes the environment of this clone."""
    for name in ("tasks.py", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    plugin = tmp_path / "plugins" / "metamix-catboost"
    plugin.mkdir(parents=True)
    (plugin / "pyproject.toml").write_text("[project]\nname = 'metamix-catboost'\n")
    return tmp_path


def load(clone):
    """Import the clone's tasks.py under a name of its own."""
    spec = importlib.util.spec_from_file_location("tasks_of_clone", clone / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def installed(clone):
    """Import tasks.py of a clone whose environment is this interpreter, as if it were newly created."""
    tasks = load(clone)
    Path(tasks.MAIN.folder).mkdir()
    tasks.MAIN.python = sys.executable
    Path(tasks.MAIN.stamp).write_text("\n".join(tasks.MAIN.wanted_stamp()))
    return tasks


def test_old_interpreters_can_parse_it():
    source = (ROOT / "tasks.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 4))
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(ast.parse(source)))


def test_it_imports_the_standard_library_only():
    tree = ast.parse((ROOT / "tasks.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


def test_an_up_to_date_environment_is_reused(clone, capsys):
    assert installed(clone).MAIN.install() == 0
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml", "plugins/metamix-catboost/pyproject.toml"])
def test_changed_requirements_change_the_stamp(clone, changed):
    tasks = installed(clone)
    before = tasks.MAIN.wanted_stamp()
    with (clone / changed).open("a") as file:
        file.write("# changed\n")
    after = tasks.MAIN.wanted_stamp()
    assert after[0] == before[0]  # the environment is updated, not created anew
    assert after[1] != before[1]


def test_line_ends_do_not_change_the_stamp(clone):
    tasks = installed(clone)
    before = tasks.MAIN.wanted_stamp()
    path = clone / "requirements.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert tasks.MAIN.wanted_stamp() == before


def test_an_incomplete_environment_is_not_used(clone):
    tasks = installed(clone)
    Path(tasks.MAIN.stamp).unlink()
    assert tasks.MAIN.found_stamp() == []


def test_an_environment_without_its_interpreter_is_not_used(clone):
    tasks = installed(clone)
    tasks.MAIN.python = str(clone / ".venv" / "gone")
    assert tasks.MAIN.found_stamp() == []


def test_a_moved_clone_gets_a_new_environment(clone, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "clone"
    tasks = installed(clone)
    shutil.copytree(clone, moved)
    assert load(moved).MAIN.wanted_stamp()[0] != tasks.MAIN.wanted_stamp()[0]


@pytest.fixture
def ready(clone, monkeypatch):
    """tasks.py of a clone whose environment needs no installation; pytest loads no plugins, to start faster."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    tasks = installed(clone)
    tasks.MAIN.install = lambda: 0  # installation has its own tests; it imports metamix each time
    return tasks


def test_all_commands_run_after_a_failure_and_the_exit_code_reports_it(ready, capfd):
    # The modules "this" and "no_such_tool" take the place of the tools and are run by this interpreter.
    ready.LINT, ready.PYTEST = [["no_such_tool"]], ["this"]
    assert ready.main("test", []) == 1
    printed = capfd.readouterr().out
    assert "Beautiful is better than ugly" in printed
    assert "FAILED: no_such_tool" in printed
    ready.LINT = [["this"]]
    assert ready.main("lint", []) == 0


def test_other_plugins_are_tested_in_an_environment_of_their_own(clone, monkeypatch, capfd):
    plugin = clone / "plugins" / "metamix-example"
    (plugin / "tests").mkdir(parents=True)
    (plugin / "pyproject.toml").write_text("[project]\nname = 'metamix-example'\n")
    (plugin / "tests" / "test_example.py").write_text("def test_example():\n    pass\n")
    tasks = installed(clone)
    assert [Path(project).name for project in tasks.MAIN.projects[1:]] == ["metamix-catboost"]
    assert [Path(project).name for project in tasks.OF_PLUGINS.projects[1:]] == ["metamix-catboost", "metamix-example"]
    tasks.MAIN.install = tasks.OF_PLUGINS.install = lambda: 0
    tasks.OF_PLUGINS.python = sys.executable
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (clone / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    heavy\n")
    tasks.PYTEST = ["pytest", "-v", "-p", "no:cacheprovider"]
    assert tasks.main("test", ["all"]) == 0
    assert "test_example PASSED" in capfd.readouterr().out
    tasks.OF_PLUGINS.install = lambda: 1
    assert tasks.main("test", ["all"]) == 1
    assert "FAILED: pytest plugins" in capfd.readouterr().out


def test_an_unknown_task_prints_the_tasks(clone):
    run = subprocess.run([sys.executable, "tasks.py", "dance"], cwd=clone, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "python3 tasks.py test all" in run.stdout


TESTS = """
import pytest

@pytest.mark.heavy
def test_heavy():
    pass

@pytest.mark.slow
def test_slow():
    pass

def test_fast():
    pass

def test_other():
    pass
"""


@pytest.mark.parametrize(
    ("task", "arguments", "names"),
    [
        ("test", [], ["slow", "fast", "other"]),
        ("test", ["all"], ["heavy"]),
        ("quick", [], ["fast", "other"]),
        ("test", ["-k", "fast or heavy"], ["fast"]),
        ("test", ["all", "-k", "not heavy"], []),
        ("test", ["-m", "slow"], ["slow"]),  # a later -m replaces the one of the task
    ],
)
def test_which_tests_a_task_runs(clone, ready, capfd, task, arguments, names):
    (clone / "test_one.py").write_text(TESTS)
    (clone / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    heavy\n")
    ready.LINT = []
    ready.PYTEST = ["pytest", "-v", "-p", "no:cacheprovider", "test_one.py"]
    assert ready.main(task, arguments) == 0
    printed = capfd.readouterr().out
    assert re.findall(r"^test_one\.py::test_(\w+) PASSED", printed, re.M) == names


def test_failed_tests_and_missing_tests_are_reported(clone, ready):
    (clone / "test_one.py").write_text("import pytest\n@pytest.mark.heavy\ndef test_bad():\n    assert False\n")
    (clone / "pytest.ini").write_text("[pytest]\nmarkers =\n    heavy\n")
    ready.LINT = []
    ready.PYTEST = ["pytest", "-q", "-p", "no:cacheprovider", "test_one.py"]
    assert ready.main("test", ["all"]) == 1
    assert ready.main("test", []) == 1  # no test selected is an error except with "all"


def test_markers_of_the_tasks_are_registered():
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert {line.partition(":")[0] for line in markers["markers"]} >= {"slow", "heavy", "gpu"}


def test_requirements_install_no_gpu_library():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert [line for line in wanted if line.startswith("torch")] == ["torch==2.13.0"]
    assert all("darwin" in line for line in wanted if line.startswith("xgboost>"))
    assert not any(line.startswith(("nvidia", "cupy", "triton", "-e", "metamix")) for line in wanted)


def test_ci_runs_all_tests_and_builds_the_site():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    tasks = ["test", "docs -t unexecuted", "test all"]
    assert [line for line in lines if "tasks.py" in line] == [f"python3 tasks.py {task}" for task in tasks]


def test_nothing_but_the_site_needs_sphinx():
    common = (ROOT / "requirements.txt").read_text(encoding="utf-8") + (ROOT / "pyproject.toml").read_text("utf-8")
    assert "sphinx-theme" not in common.lower()  # sphinx-gallery writes the notebooks
    assert "sphinx>=" in (ROOT / "docs" / "requirements.txt").read_text(encoding="utf-8")
