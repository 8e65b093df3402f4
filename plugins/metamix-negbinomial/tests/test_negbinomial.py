"""The plugin passes metamix's checks, and its dispersion is that of simulated counts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from metamix_negbinomial import NegativeBinomial
from scipy import stats

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-negbinomial"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_negbinomial; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_dispersion_of_simulated_counts_is_found() -> None:
    rng = np.random.default_rng(0)
    rates = rng.uniform(2, 10, size=(4000, 1))
    y = rng.poisson(rates[:, 0] * rng.gamma(2.0, 0.5, size=4000))  # a gamma mixture with variance 1/2 of the rate
    fitted = NegativeBinomial().fit(y, rates, np.ones((4000, 1)))
    assert fitted.dispersion_[0] == pytest.approx(0.5, rel=0.1)
    np.testing.assert_allclose(
        fitted.log_prob(y, rates)[:, 0],
        stats.nbinom.logpmf(y, 1 / fitted.dispersion_[0], 1 / (1 + fitted.dispersion_[0] * rates[:, 0])),
    )


def test_counts_of_equal_mean_and_variance_are_those_of_poisson() -> None:
    y = np.random.default_rng(0).poisson(5.0, size=2000)
    rates = np.full((2000, 1), 5.0)
    fitted = NegativeBinomial().fit(y, rates, np.ones((2000, 1)))
    poisson = stats.poisson.logpmf(y, 5.0)
    assert abs(np.mean(fitted.log_prob(y, rates)[:, 0] - poisson)) < 1e-3


def test_other_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="for counts"):
        NegativeBinomial().fit([0.5], np.ones((1, 1)), np.ones((1, 1)))
