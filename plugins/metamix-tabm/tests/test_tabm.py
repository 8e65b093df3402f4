"""The plugin passes metamix's checks, and learns what bends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import metamix_tabm
import numpy as np
import pytest
import torch

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-tabm"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_tabm; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_product_of_columns_is_learned_and_other_random_numbers_are_left_alone() -> None:
    X = np.random.default_rng(0).normal(size=(600, 3))
    y = X[:, 0] * X[:, 1]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model = metamix_tabm.TabMRegressor(random_state=0).fit(X[:500], y[:500])
    assert torch.equal(torch.rand(3), expected)
    assert np.mean((model.predict(X[500:]) - y[500:]) ** 2) < 0.3 * np.var(y)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
def test_trained_on_a_gpu_it_predicts_on_the_cpu() -> None:
    X = np.random.default_rng(0).normal(size=(300, 2))
    model = metamix_tabm.TabMRegressor(random_state=0, device="cuda").fit(X, X[:, 0])
    assert model.score(X, X[:, 0]) > 0.9
