"""metamix new-plugin: what it writes can be installed, is found, and passes its own tests, untouched."""

import os
import subprocess
import sys
import tomllib

import pytest

from metamix.cli.new_plugin import render


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["expert", "gate", "likelihood"])
def test_a_plugin_is_installed_found_and_passes_its_tests(kind, here, run):
    pytest.importorskip("hatchling", reason="builds the plugin")
    code, out, err = run("new-plugin", "my-idea", "--kind", kind)
    assert code == 0, err
    assert "metamix check metamix-my-idea" in out
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", "site"]
    subprocess.run([*pip, "./metamix-my-idea"], check=True)
    path = os.pathsep.join([str(here / "site"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}

    def command(*words):
        return subprocess.run([sys.executable, "-m", *words], env=environment, capture_output=True, text=True)

    kinds = {line.split()[0]: line.split()[1] for line in command("metamix", "parts").stdout.splitlines()}
    assert kinds["my_idea"] == {"expert": "regressor"}.get(kind, kind)
    tests = command("pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "metamix-my-idea")
    assert tests.returncode == 0, tests.stdout
    assert "skipped" not in tests.stdout


@pytest.mark.parametrize("kind", ["expert", "gate", "likelihood"])
def test_nothing_of_the_templates_is_left_open(kind):
    texts = render("my_idea", kind)
    assert not any("$" in text for text in texts.values())
    project = tomllib.loads(texts["pyproject.toml"])
    ((group, parts),) = project["project"]["entry-points"].items()
    module, _, factory = parts["my_idea"].partition(" ")[0].partition(":")
    assert group == f"metamix.{ {'expert': 'regressors'}.get(kind, kind + 's') }"
    assert project["project"]["name"] == "metamix-my-idea"
    scope = {}
    exec(compile(texts[f"{module}/__init__.py"], module, "exec"), scope)
    assert callable(scope[factory])


def test_a_class_does_not_repeat_its_kind():
    assert "class MyGate(" in render("my_gate", "gate")["metamix_my_gate/__init__.py"]
    assert "class MineGate(" in render("mine", "gate")["metamix_mine/__init__.py"]


def test_plugins_that_are_installed_are_not_written_anew(here, run, rejected):
    pytest.importorskip("metamix_catboost")
    rejected(run("new-plugin", "catboost", "--kind", "gate"), "a plugin metamix-catboost is installed already")
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", ["My Idea", "../up", "1st", "", "a--b", "import os"])
def test_names_that_cannot_be_used(name, here, run, rejected):
    rejected(run("new-plugin", name), "cannot be the name of a plugin")
    assert not list(here.iterdir())


def test_nothing_is_overwritten(here, run, rejected):
    assert run("new-plugin", "mine")[0] == 0
    rejected(run("new-plugin", "metamix-mine"), "exists here already")
    rejected(run("new-plugin", "ridge"), "metamix already has the name 'ridge' for its expert")
    assert sorted(path.name for path in here.iterdir()) == ["metamix-mine"]
