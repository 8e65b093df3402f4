"""Experts of which a fit takes too long: left out, not called again, and in worker processes stopped."""

import os
import sys
import time

import cloudpickle
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LinearRegression, Ridge

from metamix import MixtureRegressor, TimeLimitWarning, compare, make_regimes, use_engine
from metamix.engines import TaskTimeoutError
from metamix.training.candidates import MIXTURE

cloudpickle.register_pickle_by_value(sys.modules[__name__])
X, y = make_regimes(120, n_regimes=2, random_state=0)
AGES = 1e6


class Lingers(RegressorMixin, BaseEstimator):
    """Least squares that takes some seconds more, or only with weights and less than some rows; notes such fits."""

    def __init__(self, seconds=0.0, notes=None, weighted_below=None):
        self.seconds = seconds
        self.notes = notes
        self.weighted_below = weighted_below

    def fit(self, X, y, sample_weight=None):
        if self.weighted_below is None or (sample_weight is not None and len(y) < self.weighted_below):
            with open(self.notes, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(self.seconds)
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.line_.predict(X)


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes"


def _mixture(*experts, **more):
    given = dict(specialize=False, gate="constant", cv=3, random_state=0) | more
    return MixtureRegressor([*experts, ("line", LinearRegression()), ("ridge", Ridge(10.0))], **given)


def test_a_limit_that_no_fit_reaches_changes_nothing(notes):
    mixture = _mixture(("quick", Lingers(0, str(notes))))
    expected = mixture.fit(X, y).predict(X)
    mixture.set_params(expert_time_limit=AGES).fit(X, y)
    np.testing.assert_array_equal(mixture.predict(X), expected)
    assert mixture.failures_.empty


def test_in_this_process_a_fit_that_took_too_long_is_finished_and_none_follows(notes):
    mixture = _mixture(("slow", Lingers(0.3, str(notes))), expert_time_limit=0.2)
    with pytest.warns(FitFailedWarning, match="slow .*'slow, fold 0' took longer than its limit of 0.2 s"):
        mixture.fit(X, y)
    assert list(mixture.named_experts_)[:2] == ["line", "ridge"]
    assert mixture.failures_["expert"].tolist() == 3 * ["slow"]
    assert mixture.failures_["fold"].tolist() == [0, 1, 2]
    assert mixture.failures_["error"].str.contains("not begun, since an earlier fit took too long").sum() == 2
    assert "experts that failed (slow)" in str(mixture.verdict_)
    assert len(notes.read_text().split()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", pytest.param("dask", marks=pytest.mark.heavy)])
def test_in_a_worker_a_fit_that_never_ends_is_stopped(notes, engine):
    mixture = _mixture(("slow", Lingers(AGES, str(notes))), expert_time_limit=5.0, n_jobs=2)
    if engine == "local":
        with pytest.warns(FitFailedWarning, match=r"slow .* took longer than its limit of 5 s"):
            mixture.fit(X, y)
    else:
        distributed = pytest.importorskip("distributed")
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            distributed.Client(cluster),
            use_engine("dask"),
            pytest.warns(FitFailedWarning, match=r"slow .* took longer than its limit of 5 s"),
        ):
            mixture.fit(X, y)
    assert list(mixture.named_experts_)[:2] == ["line", "ridge"]
    assert set(mixture.failures_["expert"]) == {"slow"}
    without = _mixture().fit(X, y)
    np.testing.assert_array_equal(mixture.predict_experts(X)[:, :2], without.predict_experts(X)[:, :2])
    assert str(os.getpid()) not in notes.read_text().split()


def test_if_all_take_too_long_the_error_names_them_and_raise_means_raise(notes):
    slow = ("slow", Lingers(0.2, str(notes)))
    with pytest.raises(ValueError, match=r"every expert failed.*slow: TaskTimeoutError: 'slow, fold 0' took longer"):
        MixtureRegressor([slow], specialize=False, cv=2, expert_time_limit=0.1).fit(X, y)
    with pytest.raises(TaskTimeoutError, match=r"'slow, fold 0' took longer than its limit of 0\.1 s"):
        _mixture(slow, expert_time_limit=0.1, on_error="raise").fit(X, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    "below",
    [pytest.param(1000, id="in every regime"), pytest.param(65, id="inside the folds", marks=pytest.mark.heavy)],
)
def test_an_expert_that_hangs_in_regimes_only_costs_the_mixture_at_most(notes, below):
    """Fits of the outer folds have 80 rows, those inside them 60."""
    lingers = Lingers(AGES, str(notes), below)
    mixture = MixtureRegressor(
        [("slow", lingers), ("line", LinearRegression())], gate="constant", n_experts=2, start="kmeans", cv=3,
        expert_time_limit=2.0, n_jobs=2, random_state=0,
    )  # fmt: skip
    if below == 65:
        with pytest.warns(FitFailedWarning, match=rf"{MIXTURE} \(TaskTimeoutError: 'slow, fold 0' took longer"):
            mixture.fit(X, y)
    else:
        mixture.fit(X, y)
    assert list(mixture.named_experts_)[:2] == ["slow", "line"]
    assert (MIXTURE in mixture.named_experts_) is (below == 1000)
    assert mixture.failures_["error"].str.contains("'slow, fold 0' took longer than its limit of 2 s").any()
    assert np.isfinite(mixture.predict(X)).all()
    assert str(os.getpid()) not in notes.read_text().split()


@pytest.mark.slow
def test_with_a_time_limit_alone_a_fit_that_never_ends_is_stopped_in_a_worker(notes):
    mixture = _mixture(("slow", Lingers(AGES, str(notes))), time_limit=60.0, n_jobs=2)
    with pytest.warns(TimeLimitWarning, match="the expert slow"):
        mixture.fit(X, y)
    assert list(mixture.named_experts_)[:2] == ["line", "ridge"]
    assert "the expert slow" in " ".join(mixture.left_out_)
    assert str(os.getpid()) not in notes.read_text().split()


def test_compare_takes_the_limit_too(notes):
    experts = [("slow", Lingers(0.3, str(notes))), ("line", LinearRegression())]
    found = compare(X, y, experts, cv=2, gate="constant", random_state=0, expert_time_limit=0.2)
    assert "slow" not in set(found.frame()["name"])
    assert {failure.expert for failure in found.failures} == {"slow"}
    assert len(notes.read_text().split()) == 1, "it is in no later fold"


@pytest.mark.parametrize("limit", [0, -1, "5", True, np.nan, np.inf])
def test_limits_that_are_none(limit):
    with pytest.raises(ValueError, match=r"expert_time_limit=.* is no number of seconds; give one above zero"):
        MixtureRegressor(["ridge"], expert_time_limit=limit).fit(X, y)
