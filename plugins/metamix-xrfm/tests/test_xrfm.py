"""The plugin passes metamix's checks, and finds the column that matters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import metamix_xrfm
import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-xrfm"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_xrfm; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_column_of_ten_matters() -> None:
    X = np.random.default_rng(0).normal(size=(500, 10))
    y = np.sin(2 * X[:, 0])
    model = metamix_xrfm.XRFMRegressor(random_state=0).fit(X[:400], y[:400])
    assert np.mean((model.predict(X[400:]) - y[400:]) ** 2) < 0.2 * np.var(y)


def test_three_classes() -> None:
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model = metamix_xrfm.XRFMClassifier(random_state=0).fit(X[::2], y[::2])
    assert log_loss(y[1::2], model.predict_proba(X[1::2])) < 0.4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
def test_fitted_on_a_gpu_it_predicts_on_the_cpu() -> None:
    X = np.random.default_rng(0).normal(size=(200, 2))
    model = metamix_xrfm.XRFMRegressor(random_state=0, device="cuda").fit(X, X[:, 0])
    assert model.score(X, X[:, 0]) > 0.9
