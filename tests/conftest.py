"""What every test relies on: one thread per library, no window, the same examples each time."""

import os

# Before numpy is imported: some libraries read these once. Two threads on a busy machine are slower
# than one, and change the last bit of some learners.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import shutil
import time
from pathlib import Path

import hypothesis
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression

# The same examples in every run, and no clock: the machine may be busy.
hypothesis.settings.register_profile("metamix", deadline=None, derandomize=True, max_examples=50, database=None)
hypothesis.settings.load_profile("metamix")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that differ from process to process: with xdist nothing would run."""
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"names with addresses, give ids to parametrize: {unstable}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of tables and acceptance cases that lies beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/ with its tables does not lie beside this repository")
    return SHARED


@pytest.fixture(scope="session")
def browser():
    """Chromium of the system, by playwright."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        # Chromium refuses its sandbox to root, as whom containers run.
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        running = started.chromium.launch(executable_path=executable, args=["--no-sandbox"] if root else [])
        yield running
        running.close()


@pytest.fixture
def Slow() -> type:
    """A class of experts whose time grows as n²."""

    class Slow(RegressorMixin, BaseEstimator):
        """Least squares whose fit sleeps for a time that grows as n²."""

        def __init__(self, seconds=1e-6):
            self.seconds = seconds

        def fit(self, X, y):
            time.sleep(self.seconds * len(y) ** 2)
            self.line_ = LinearRegression().fit(X, y)
            return self

        def predict(self, X):
            return self.line_.predict(X)

    return Slow
