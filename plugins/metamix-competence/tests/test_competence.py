"""The plugin passes metamix's checks, and routes where experts differ beyond chance only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
from metamix_competence import CompetenceGate

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-competence"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_competence; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_planted_border_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(600, 2))
    left = X[:, :1] < 0
    noisy = np.clip(np.where(left, 0.8, 0.2) + 0.1 * rng.normal(size=(600, 1)), 0, 1)
    planted = CompetenceGate().fit(X, np.hstack([noisy, 1 - noisy])).predict_proba([[-0.7, 0.0], [0.7, 0.0]])
    np.testing.assert_allclose(planted[:, 0], [0.8, 0.2], atol=0.06)

    chance = rng.uniform(size=(600, 1))
    shares = np.hstack([chance, 1 - chance])
    few = CompetenceGate().fit(X, shares).predict_proba(X)[:, 0]
    near = CompetenceGate()
    near.fit(X, shares)
    plain = shares[near.search_.kneighbors(near._standardised(X), return_distance=False)].mean(axis=1)[:, 0]
    assert few.std() < 0.8 * plain.std()
