"""The registry on folders of distributions: parts are found without import, broken ones are reported."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import HuberRegressor
from sklearn.model_selection import GridSearchCV

from metamix import MixtureRegressor, make_regimes, registry
from metamix.gates import ConstantGate
from metamix.likelihoods import Laplace
from metamix.registry import PartError, UnknownPartError
from metamix.registry.probe import find_broken

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
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
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
    assert row == ("regressors", "planted", "my-plugin", "1.5", "planted_ok:make", ())


def test_capabilities_are_read_from_the_entry_point_without_an_import(install: Install) -> None:
    slow = "import time; time.sleep(10); raise RuntimeError"
    entry = "planted = planted_slow:make [standard_deviation, text_columns]"
    install("slow-plugin", {"regressors": [entry]}, "planted_slow", slow)
    assert registry.regressors.capabilities("planted") == {"standard_deviation", "text_columns"}
    row = next(row for row in registry.describe() if row.name == "planted")
    assert (row.value, row.capabilities) == ("planted_slow:make", ("standard_deviation", "text_columns"))
    X, y = make_regimes(60, random_state=0)
    MixtureRegressor(["ridge", "linear"], cv=2, specialize=False, gate="constant", random_state=0).fit(X, y)
    assert "planted_slow" not in sys.modules
    assert registry.regressors.capabilities("ridge") >= {"weights", "gradient"}
    assert "standard_deviation" not in registry.regressors.capabilities("ridge")


def test_parts_that_end_the_process_are_found_and_harm_nobody(install: Install) -> None:
    install("good-plugin", {"gates": ["good = planted_good:make"]}, "planted_good", "print('loaded')\ndef make(): pass")
    install("exit-plugin", {"gates": ["exits = planted_exit:make"]}, "planted_exit", "import sys; sys.exit(3)")
    install("raise-plugin", {"gates": ["raises = planted_raise:make"]}, "planted_raise", "1 / 0")
    install("abort-plugin", {"gates": ["aborts = planted_abort:make"]}, "planted_abort", "import os; os.abort()")
    install("late-plugin", {"gates": ["zebra = planted_late:make"]}, "planted_late", "1 / 0")
    rows = [row for row in registry.describe() if row.kind == "gates"]
    assert {"good", "exits", "raises", "aborts", "zebra"} <= {row.name for row in rows}
    found = {row.name: reason for row, reason in find_broken(rows).items()}
    assert set(found) == {"exits", "raises", "aborts", "zebra"}
    assert "SystemExit: 3" in found["exits"]
    assert "ZeroDivisionError" in found["raises"]
    assert found["aborts"] == f"its import ends the process (exit code {-signal.SIGABRT})"
    assert not any(name.startswith("planted_") for name in sys.modules)


@pytest.fixture
def huber() -> Iterator[str]:
    registry.regressors.register("huber", lambda **parameters: HuberRegressor(**parameters), ["weights"])
    yield "huber"
    registry.regressors.unregister("huber")


def test_a_part_of_the_session_has_a_name(huber: str) -> None:
    assert registry.regressors[huber](epsilon=2.0).epsilon == 2.0
    assert registry.regressors.capabilities(huber) == {"weights"}
    row = next(row for row in registry.describe() if row.name == huber)
    assert (row.kind, row.distribution) == ("regressors", "session")
    registry.refresh()
    assert huber in registry.regressors
    registry.regressors.register(huber, HuberRegressor)  # as when a cell of a notebook is run again
    assert registry.regressors[huber] is HuberRegressor
    assert registry.regressors["session:huber"] is HuberRegressor


@pytest.mark.parametrize(
    ("name", "factory", "capabilities", "message"),
    [
        ("ridge", HuberRegressor, (), "is taken by metamix; choose another name"),
        ("a:b", HuberRegressor, (), "cannot be called 'a:b'"),
        ("", HuberRegressor, (), "cannot be called ''"),
        ("mine", HuberRegressor(), (), "no callable"),
        ("mine", HuberRegressor, ("speed",), "'speed' is no capability"),
    ],
)
def test_what_cannot_be_registered(name: str, factory: Any, capabilities: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.regressors.register(name, factory, capabilities)
    assert "mine" not in registry.regressors


@pytest.mark.slow
def test_worker_processes_know_parts_of_the_session(huber: str) -> None:
    """In a search the mixture is fitted in worker processes, and the inner one in those of the outer one."""
    X, y = make_regimes(80, random_state=0)
    fast: dict[str, Any] = {"gate": "constant", "specialize": False, "cv": 2, "random_state": 0}
    mixture = MixtureRegressor([huber, "ridge"], **fast)
    here = GridSearchCV(mixture, {"final": ["best"]}, cv=2, n_jobs=1).fit(X, y).cv_results_["mean_test_score"]
    there = GridSearchCV(mixture, {"final": ["best"]}, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    np.testing.assert_allclose(there.cv_results_["mean_test_score"], here)
    outer = MixtureRegressor([("inner", mixture), "linear"], n_jobs=2, on_error="raise", **fast).fit(X, y)
    assert list(outer.named_experts_)[:2] == ["inner", "linear"]


def test_a_mixture_is_pickled_with_the_parts_of_the_session(huber: str) -> None:
    registry.gates.register("mine", ConstantGate)
    registry.likelihoods.register("mine", Laplace)
    try:
        experts = [huber, "ridge", ("other", huber, [0]), huber]
        mixture = MixtureRegressor(experts, gate=["mine"], likelihood="mine")
        again = pickle.loads(pickle.dumps(mixture))
    finally:
        registry.gates.unregister("mine")
        registry.likelihoods.unregister("mine")
    assert [name for name, *_ in again.experts] == ["huber-1", "ridge", "other", "huber-2"]
    assert again.experts[2][2] == [0]
    assert isinstance(again.experts[0][1], HuberRegressor)
    assert again.experts[1][1] == "ridge"
    assert isinstance(again.gate[0], ConstantGate)
    assert isinstance(again.likelihood, Laplace)
    assert mixture.experts[0] == huber


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
    assert {row.distribution for row in registry.describe() if row.name == "twin"} == {"plugin-a", "plugin-b"}


def test_a_mixture_takes_the_part_of_one_distribution(install: Install) -> None:
    source = "from sklearn.linear_model import Ridge\ndef make(): return Ridge(alpha=%d)"
    install("plugin-a", {"regressors": ["twin = planted_a:make"]}, "planted_a", source % 3)
    install("plugin-b", {"regressors": ["twin = planted_b:make"]}, "planted_b", source % 5)
    X, y = make_regimes(60, random_state=0)
    fast: dict[str, Any] = {"gate": "constant", "specialize": False, "cv": 2, "random_state": 0}
    mixture = MixtureRegressor(["plugin-b:twin", "linear"], **fast).fit(X, y)
    assert mixture.named_experts_["plugin-b:twin"].alpha == 5


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
