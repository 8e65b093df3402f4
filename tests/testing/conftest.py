"""What the tests of the checks share."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest


@pytest.fixture
def failing() -> Callable[..., dict[str, BaseException]]:
    """Run checks; the names of those that fail, with the errors."""

    def run(checks):
        found = {}
        for name, check in checks:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    check()
            except (Exception, SystemExit) as error:  # what a broken part raises
                found[name] = error
        return found

    return run
