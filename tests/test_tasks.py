"""The two commands: tasks.py decides rightly when an environment is good, and passes on what it is told."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path):
    """Give a folder with what tasks.py looks at, so that no test touches the environment of this clone."""
    for name in ("tasks.py", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    plugin = tmp_path / "plugins" / "metamix-example"
    plugin.mkdir(parents=True)
    (plugin / "pyproject.toml").write_text("[project]\nname = 'metamix-example'\n")
    return tmp_path


def load(clone):
    """Import the clone's tasks.py under a name of its own."""
    spec = importlib.util.spec_from_file_location("tasks_of_clone", clone / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def installed(clone):
    """Import tasks.py of a clone whose environment is this interpreter, as if it had just been made."""
    tasks = load(clone)
    Path(tasks.VENV).mkdir()
    tasks.PYTHON = sys.executable
    Path(tasks.STAMP).write_text("\n".join(tasks.wanted_stamp()))
    return tasks


def test_it_parses_on_old_interpreters_and_stays_short():
    source = (ROOT / "tasks.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 4))
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(ast.parse(source)))
    assert len(source.splitlines()) <= 125


def test_it_uses_the_standard_library_only():
    tree = ast.parse((ROOT / "tasks.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


def test_an_environment_up_to_date_is_used_again(clone, capsys):
    assert installed(clone).install() == 0
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml", "plugins/metamix-example/pyproject.toml"])
def test_changed_requirements_make_another_stamp(clone, changed):
    tasks = installed(clone)
    before = tasks.wanted_stamp()
    with (clone / changed).open("a") as file:
        file.write("# changed\n")
    after = tasks.wanted_stamp()
    assert after[0] == before[0]  # renewed in place, not made from nothing
    assert after[1] != before[1]


def test_line_ends_do_not_change_the_stamp(clone):
    tasks = installed(clone)
    before = tasks.wanted_stamp()
    path = clone / "requirements.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert tasks.wanted_stamp() == before


def test_a_half_made_environment_does_not_count(clone):
    tasks = installed(clone)
    assert tasks.found_stamp() == tasks.wanted_stamp()
    Path(tasks.STAMP).unlink()
    assert tasks.found_stamp() == []


def test_an_environment_without_its_interpreter_does_not_count(clone):
    tasks = installed(clone)
    tasks.PYTHON = str(clone / ".venv" / "gone")
    assert tasks.found_stamp() == []


def test_a_clone_that_was_moved_gets_a_new_environment(clone, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "clone"
    tasks = installed(clone)
    shutil.copytree(clone, moved)
    assert load(moved).wanted_stamp()[0] != tasks.wanted_stamp()[0]


def test_every_command_runs_even_after_one_failed_and_the_exit_code_tells(clone, capfd):
    # "this" and "nonsense" stand in for the tools: real children of this interpreter.
    tasks = installed(clone)
    tasks.LINT, tasks.PYTEST = [["no_such_tool"]], ["this"]
    assert tasks.main("test", []) == 1
    printed = capfd.readouterr().out
    assert "Beautiful is better than ugly" in printed
    assert "FAILED: no_such_tool" in printed
    tasks.LINT = [["this"]]
    assert tasks.main("lint", []) == 0


def test_arguments_and_exit_code_pass_through(clone):
    run = subprocess.run([sys.executable, "tasks.py", "dance"], cwd=clone, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "python3 tasks.py demo" in run.stdout
    tasks = installed(clone)
    (clone / "test_one.py").write_text("def test_good():\n    pass\n\n\ndef test_bad():\n    assert False\n")
    (clone / "pytest.ini").write_text("[pytest]\n")
    tasks.PYTEST = ["pytest", "-q", "-p", "no:cacheprovider"]
    assert tasks.main("quick", ["test_one.py", "-k", "good"]) == 0
    assert tasks.main("quick", ["test_one.py"]) == 1


def test_requirements_pull_no_gpu_library():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert [line for line in wanted if line.startswith("torch")] == ["torch==2.13.0"]
    assert all("darwin" in line for line in wanted if line.startswith("xgboost>"))
    assert not any(line.startswith(("nvidia", "cupy", "triton", "-e", "metamix")) for line in wanted)


def test_ci_runs_the_second_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().splitlines()[-1] == "python3 tasks.py test"
