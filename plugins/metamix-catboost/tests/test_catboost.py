"""The plugin passes metamix's checks, and does not import metamix."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import metamix_catboost
import numpy as np
import pandas as pd
import pytest
from catboost.utils import get_gpu_device_count
from sklearn.datasets import load_iris

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-catboost"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_metamix_is_not_imported() -> None:
    code = "import sys, metamix_catboost; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_categories_are_native_and_unknown_categories_are_accepted() -> None:
    rng = np.random.default_rng(0)
    city = rng.choice([f"city {i}" for i in range(30)], size=600)
    level = {name: i % 2 * 10.0 for i, name in enumerate(sorted(set(city)))}
    X = pd.DataFrame({"noise": rng.normal(size=600), "city": city})
    y = np.array([level[name] for name in city]) + rng.normal(size=600)
    model = metamix_catboost.regressor(iterations=200).fit(X[:400], y[:400])
    assert np.sqrt(np.mean((model.predict(X[400:]) - y[400:]) ** 2)) < 2.0
    assert np.isfinite(model.predict(pd.DataFrame({"noise": [0.0], "city": ["elsewhere"]}))).all()


def test_columns_are_known_by_their_names() -> None:
    X = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) % 3})
    model = metamix_catboost.regressor(iterations=50).fit(X, X["a"])
    assert (model.predict(X[["b", "a"]]) == model.predict(X)).all()
    with pytest.raises(ValueError, match="X lacks the column 'a'"):
        model.predict(X.rename(columns={"a": "c"}))


def test_three_classes_and_a_constant_target() -> None:
    X, y = load_iris(return_X_y=True)
    model = metamix_catboost.classifier(iterations=50).fit(X, np.array(["c", "a", "b"])[y])
    assert list(model.classes_) == ["a", "b", "c"]
    assert (model.predict(X) == np.array(["c", "a", "b"])[y]).mean() > 0.95
    assert metamix_catboost.regressor().fit(X, np.full(150, 3.5)).predict(X[:2]).tolist() == [3.5, 3.5]


def test_writes_no_files_and_prints_nothing(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(str(tmp_path))
    X, y = load_iris(return_X_y=True)
    metamix_catboost.classifier(iterations=20).fit(X, y)
    assert capfd.readouterr() == ("", "")
    assert not any(Path(str(tmp_path)).iterdir())


def test_an_unavailable_gpu_is_an_error_with_its_reason() -> None:
    count = get_gpu_device_count()
    expert = metamix_catboost.regressor(iterations=2)
    assert expert.device is None
    assert expert.__metamix_device__("cpu") == ("cpu", "")
    device, reason = expert.__metamix_device__(f"cuda:{count}")
    assert device == "cpu"
    assert f"finds {count} usable GPUs" in reason
    with pytest.raises(ValueError, match="give 'cpu', or None"):
        expert.set_params(device=f"cuda:{count}").fit([[0.0], [1.0]], [0.0, 1.0])


@pytest.mark.gpu
@pytest.mark.skipif(not get_gpu_device_count(), reason="CatBoost finds no GPU on this machine")
def test_on_a_gpu() -> None:
    X = np.random.default_rng(0).normal(size=(300, 2))
    expert = metamix_catboost.regressor(iterations=50, device="cuda:0").fit(X, X[:, 0])
    assert expert.score(X, X[:, 0]) > 0.8
