"""The plugin passes metamix's checks; predictions, deviations and gradients are those of a smooth function."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import metamix_gpytorch
import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-gpytorch"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_gpytorch; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def wave():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 6, 60)[:, None]
    return x, np.sin(x[:, 0]) + 0.1 * rng.normal(size=60)


def test_predictions_and_deviations_are_those_of_scikit_learn_with_the_same_kernel(wave) -> None:
    x, y = wave
    model = metamix_gpytorch.ExactRegressor(random_state=0).fit(x, y)
    process, _ = model._fitted(x)
    kernel, noise = process.covar_module, process.likelihood.noise.item()
    length = kernel.base_kernel.lengthscale.item()
    same = ConstantKernel(kernel.outputscale.item()) * RBF(length) + WhiteKernel(noise)
    constant = process.mean_module.constant.item()
    other = GaussianProcessRegressor(same, alpha=0, optimizer=None).fit(x, y - constant)
    new = np.array([[1.1], [4.3], [9.0]])
    mean, deviation = other.predict(new, return_std=True)
    found, spread = model.predict(new, return_std=True)
    np.testing.assert_allclose(found, mean + constant, atol=1e-6)
    np.testing.assert_allclose(spread, deviation, atol=1e-6)
    assert noise == pytest.approx(0.01, rel=0.5)


def test_the_gradient_is_the_slope(wave) -> None:
    model = metamix_gpytorch.ExactRegressor(max_rows=40, random_state=0).fit(*wave)
    assert len(model.X_) == 40
    new = np.array([[1.1], [4.3]])
    slope = (model.predict(new + 1e-5) - model.predict(new - 1e-5)) / 2e-5
    np.testing.assert_allclose(model.predict_gradient(new)[:, 0], slope, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
def test_fitted_on_a_gpu_it_predicts_on_the_cpu(wave) -> None:
    here, there = (metamix_gpytorch.ExactRegressor(random_state=0, device=one).fit(*wave) for one in ("cpu", "cuda"))
    np.testing.assert_allclose(here.predict(wave[0]), there.predict(wave[0]), atol=1e-3)
