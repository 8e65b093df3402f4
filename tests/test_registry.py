"""The registry on folders of distributions: parts are found without import, broken ones are reported."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metamix import registry
from metamix.registry import PartError, UnknownPartError

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a distribution as an installer does: metadata, entry points and a module."""

    def add(name: str, entries: dict[str, list[str]], module: str = "", source: str = "") -> Path:
        info = tmp_path / f"{name.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        lines = [line for group, points in entries.items() for line in (f"[metamix.{group}]", *points, "")]
        (info / "entry_points.txt").write_text("\n".join(lines))
        if module:
            (tmp_path / f"{module}.py").write_text(source)
        registry.refresh()
        return info

    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield add
    for name in set(sys.modules) - before:
        if name.startswith("planted_"):
            del sys.modules[name]
    monkeypatch.undo()
    registry.refresh()


def test_parts_of_metamix_are_registered_as_entry_points() -> None:
    assert {"linear", "ridge", "lightgbm", "xgboost"} <= set(registry.regressors)
    assert {"logistic", "naive_bayes", "lightgbm"} <= set(registry.classifiers)
    assert {"constant", "softmax", "gmm"} <= set(registry.gates)
    assert {"gaussian", "categorical"} <= set(registry.likelihoods)
    expert = registry.regressors["ridge"](alpha=2.0)
    assert expert[-1].alpha == 2.0


@pytest.mark.parametrize("kind", ["regressors", "classifiers", "gates", "likelihoods"])
def test_every_part_of_metamix_can_be_loaded(kind: str) -> None:
    for row in registry.describe():
        if row.kind == kind and row.distribution == "metamix":
            assert hasattr(getattr(registry, kind)[row.name](), "fit")


def test_listing_parts_imports_none() -> None:
    code = (
        "import sys; from metamix import registry as r; "
        "rows = r.describe(); n = len(r.regressors); names = list(r.gates); found = 'ridge' in r.regressors; "
        "text = repr(r.classifiers); r.regressors == r.classifiers; "
        "bad = [m for m in sys.modules if m.startswith(('metamix.experts', 'metamix.gates', 'numpy'))]; "
        "sys.exit(str(bad) if bad or not rows or not found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_plugin_is_found_after_refresh(install: Install) -> None:
    assert "planted" not in registry.regressors
    install("my-plugin", {"regressors": ["planted = planted_ok:make"]}, "planted_ok", "def make(a=1): return a")
    assert "planted" in registry.regressors
    assert "planted_ok" not in sys.modules
    assert registry.regressors["planted"](a=5) == 5
    row = next(row for row in registry.describe() if row.name == "planted")
    assert row == ("regressors", "planted", "my-plugin", "1.5", "planted_ok:make")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("raise RuntimeError('no licence')", "no licence"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def other(): pass", "make"),
        ("make = 7", "must be a callable"),
    ],
)
def test_a_broken_plugin_is_reported_when_looked_up(install: Install, source: str, cause: str) -> None:
    install("bad-plugin", {"gates": ["broken = planted_bad:make"]}, "planted_bad", source)
    assert "broken" in registry.gates
    assert "softmax" in list(registry.gates)
    assert any(row.name == "broken" for row in registry.describe())
    with pytest.raises(PartError, match="bad-plugin") as caught:
        registry.gates["broken"]
    assert cause in str(caught.value)
    assert "planted_bad:make" in str(caught.value)
    with pytest.raises(PartError):  # `get` returns the default for unknown names only, not for broken parts
        registry.gates.get("broken")


def test_a_name_registered_by_two_distributions_needs_the_distribution(install: Install) -> None:
    install("plugin-a", {"regressors": ["twin = planted_a:make"]}, "planted_a", "def make(): return 'a'")
    install("plugin-b", {"regressors": ["twin = planted_b:make"]}, "planted_b", "def make(): return 'b'")
    assert list(registry.regressors).count("twin") == 1
    with pytest.raises(PartError, match=r"plugin-a and plugin-b; ask for plugin-a:twin or plugin-b:twin"):
        registry.regressors["twin"]
    assert registry.regressors["plugin-b:twin"]() == "b"
    assert registry.regressors["plugin_a:twin"]() == "a"


def test_a_plugin_with_the_name_of_a_metamix_part_gives_a_warning(install: Install) -> None:
    install("impostor", {"regressors": ["ridge = planted_i:make"]}, "planted_i", "def make(): return 'i'")
    with pytest.warns(UserWarning, match="impostor and metamix; metamix's own is used"):
        part = registry.regressors["ridge"]
    assert part.__module__ == "metamix.experts.regressors"
    assert registry.regressors["impostor:ridge"]() == "i"
    assert registry.regressors["metamix:ridge"] is part


def test_damaged_metadata_does_not_prevent_listing(install: Install) -> None:
    info = install("damaged", {"likelihoods": ["odd = planted_none:make"]})
    (info / "METADATA").unlink()
    registry.refresh()
    row = next(row for row in registry.describe() if row.name == "odd")
    assert row.value == "planted_none:make"
    assert "gaussian" in registry.likelihoods


def test_an_unknown_name_gives_suggestions() -> None:
    with pytest.raises(UnknownPartError) as caught:
        registry.regressors["rigde"]
    text = str(caught.value)
    assert "no regressor named 'rigde'. Did you mean 'ridge'?" in text
    assert "lightgbm" in text
    assert "'metamix.regressors'" in text
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


@pytest.mark.parametrize(
    ("key", "sentence"), [("logistic", "the name of a classifier"), ("RIDGE", "'ridge'"), (3, "got int 3")]
)
def test_names_of_other_kinds_and_types_are_errors(key: object, sentence: str) -> None:
    with pytest.raises(UnknownPartError, match=sentence):
        registry.regressors[key]  # type: ignore[index]
    assert key not in registry.regressors
    assert registry.regressors.get(key, "absent") == "absent"  # type: ignore[call-overload]
