"""The plugin passes metamix's checks and does what Cubist does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import metamix_cubist
import numpy as np

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-cubist"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_cubist; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_rule_with_a_line_on_each_side_of_a_border_is_found() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(400, 2))
    y = np.where(X[:, 0] > 0, 3 + 2 * X[:, 1], -3 - 2 * X[:, 1])
    model = metamix_cubist.regressor().fit(X[:300], y[:300])
    far = np.abs(X[300:, 0]) > 0.1
    assert np.sqrt(np.mean((model.predict(X[300:]) - y[300:])[far] ** 2)) < 0.3
