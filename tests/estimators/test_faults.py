"""Fits in worker processes that are killed, or short of memory: the same bits, or a name and a remedy."""

import os
import signal
import sys

import cloudpickle
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LinearRegression, Ridge

from metamix import MixtureRegressor, make_regimes

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="there is no SIGKILL, or RLIMIT_AS is not enforced"),
    # Of loky's thread, whose pool is killed while it submits a task.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
X, y = make_regimes(120, n_regimes=2, random_state=0)


class Faulty(RegressorMixin, BaseEstimator):
    """Least squares, which kills its process in the first fit or in each, or asks for more memory than it may have."""

    def __init__(self, fault=None, notes=None):
        self.fault = fault
        self.notes = notes

    def fit(self, X, y, sample_weight=None):
        if self.fault == "memory":
            exceed_limit()
        elif self.fault is not None:
            with open(self.notes, "a") as file:
                file.write("x")
            if self.fault == "always" or os.stat(self.notes).st_size == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.line_.predict(X)


def exceed_limit():
    """Ask for a gigabyte, of which the system gives this process 100 MB."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 10**8, before[1]))
    try:
        np.ones(10**9, dtype=np.int8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _mixture(fault=None, notes=None, **more):
    experts = [("faulty", Faulty(fault, notes)), ("line", LinearRegression()), ("ridge", Ridge(10.0))]
    given = dict(gate="constant", cv=2, specialize=False, random_state=0) | more
    return MixtureRegressor(experts, **given)


@pytest.mark.slow
def test_of_a_worker_that_is_killed_once_nothing_is_to_be_seen(tmp_path):
    given = dict(specialize="auto", n_experts=2, start="kmeans", max_rounds=2)
    expected = _mixture(**given).fit(X, y)
    found = _mixture("once", str(tmp_path / "notes"), n_jobs=2, **given).fit(X, y)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    np.testing.assert_array_equal(found.oof_predictions_, expected.oof_predictions_)
    assert found.failures_.empty
    assert (tmp_path / "notes").stat().st_size >= 2


@pytest.mark.slow
def test_an_expert_that_always_kills_its_worker_is_left_out_with_a_remedy(tmp_path):
    said = r"faulty .*'faulty, fold 0' was killed each time it was tried.*use fewer rows"
    with pytest.warns(FitFailedWarning, match=said):
        found = _mixture("always", str(tmp_path / "notes"), n_jobs=2).fit(X, y)
    assert list(found.named_experts_)[:2] == ["line", "ridge"]
    assert "faulty" in str(found.verdict_)
    expected = _mixture().fit(X, y)
    np.testing.assert_array_equal(found.predict_experts(X)[:, :2], expected.predict_experts(X)[:, 1:3])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_expert_that_is_short_of_memory_is_left_out(n_jobs):
    with pytest.warns(FitFailedWarning, match=r"faulty \(\w*MemoryError: Unable to allocate"):
        found = _mixture("memory", n_jobs=n_jobs).fit(X, y)
    assert list(found.named_experts_)[:2] == ["line", "ridge"]
    assert set(found.failures_["expert"]) == {"faulty"}
    with pytest.raises(MemoryError):
        _mixture("memory", n_jobs=n_jobs, on_error="raise").fit(X, y)
