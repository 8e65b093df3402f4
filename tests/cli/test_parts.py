"""metamix parts and metamix check."""

import os
import subprocess
import sys

import pytest

from metamix import registry
from metamix.testing import check_plugin


def test_parts_lists_the_registered_parts(rejected, run):
    from metamix.registry import describe

    code, out, _ = run("parts")
    assert code == 0
    assert len(out.splitlines()) == 1 + len(describe())
    assert out.splitlines()[0].split()[:3] == ["name", "kind", "distribution"]
    code, out, _ = run("parts", "gates")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        [row.name, "gate", row.distribution] for row in describe() if row.kind == "gates"
    ]
    rejected(run("parts", "gaets"), "did you mean 'gates'?")


def test_check_runs_the_checks_of_a_part(rejected, run):
    code, out, err = run("parts", "check", "constant")
    assert code == 0, err
    n_checks = sum(name.startswith("gates/constant/") for name, _ in check_plugin("metamix"))
    assert out.strip() == f"constant: all {n_checks} checks passed"
    rejected(run("check", "constnat"), "did you mean 'constant'?")


def test_check_reports_failed_checks_and_crashed_processes(tmp_path, monkeypatch, run, rejected):
    """Parts of a distribution on the path of the child process: one fails its checks, the other ends its process."""
    info = tmp_path / "broken_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[metamix.gates]\nnot_a_gate = broken_parts:not_a_gate\ncrash = broken_parts:crash\n"
    )
    (tmp_path / "broken_parts.py").write_text(
        "import os\ndef not_a_gate():\n    return object()\ndef crash():\n    os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.refresh()
    try:
        out = rejected(run("check", "not_a_gate"), "not_a_gate: ", "checks failed")
        assert "gates/not_a_gate/is_a_part" in out
        assert "without fit or predict_proba" in out
        rejected(run("check", "crash"), "gates/crash/is_a_part crashed its process (exit code 3)")
    finally:
        monkeypatch.undo()
        registry.refresh()


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Put distributions on the path of this process and of its children."""

    def add(name, entries, module, source):
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[metamix.gates]\n{entries}\n")
        (tmp_path / f"{module}.py").write_text(source)
        registry.refresh()

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield add
    monkeypatch.undo()
    registry.refresh()


def test_parts_tells_which_are_broken_and_which_names_clash(plant, rejected, run):
    plant("one", "twin = planted_one:make\nends = planted_one:make", "planted_one", "import os; os._exit(4)")
    plant("two", "twin = planted_two:make", "planted_two", "import sys; sys.exit(3)")
    code, out, _ = run("parts", "gates")
    assert code == 0
    assert "twin (gate) is registered by one and two: ask for one:twin or two:twin." in out
    assert "broken" not in out
    out = rejected(run("parts", "gates", "--load"), "3 of", "parts cannot be imported")
    assert "broken  ends (gate) of one 1.0\n        its import ends the process (exit code 4)" in out
    assert "SystemExit: 3" in out
    assert "softmax (gate)" not in out
    rejected(run("check", "two:twin"), "checks failed")


def test_parts_of_a_capability(rejected, run):
    code, out, _ = run("parts", "gates", "--can", "gradient")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["constant", "gmm", "online", "softmax"]
    rejected(run("parts", "--can", "gradeint"), "did you mean 'gradient'?")


def test_what_a_part_needs_is_said_where_it_is_not_installed(tmp_path, monkeypatch, run):
    """A library that cannot be imported, and a distribution that requires one that nobody has."""
    info = tmp_path / "needy_parts-1.0.dist-info"
    info.mkdir()
    required = "Requires-Dist: no-such-library>=2\nRequires-Dist: other-library; extra == 'x'\nRequires-Dist: numpy\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: needy-parts\nVersion: 1.0\n{required}")
    (info / "entry_points.txt").write_text("[metamix.gates]\nneedy = needy_parts:needy\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    registry.refresh()
    try:
        code, out, err = run("parts")
        assert code == 0, err
        assert out.splitlines()[0].split()[-1] == "needs"
        needs = {tuple(line.split()[:2]): line.partition("pip install ")[2] for line in out.splitlines()[1:]}
        assert needs["lightgbm", "regressor"] == needs["lightgbm", "classifier"] == '"metamix[lightgbm]"'
        assert needs["needy", "gate"] == "'no-such-library>=2'"
        assert needs["ridge", "regressor"] == needs["constant", "gate"] == ""
    finally:
        monkeypatch.undo()
        registry.refresh()


def test_parts_imports_none_of_them():
    code = (
        "import sys\nfrom metamix.cli import main\ntry:\n    main(['parts'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('numpy', 'sklearn', 'torch', 'xgboost', 'lightgbm', 'catboost') if m in sys.modules])"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
