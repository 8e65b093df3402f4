"""How long experts take, and what ends with a time limit."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from metamix import make_regimes
from metamix.deadline import Deadline
from metamix.engines import LocalEngine, SerialEngine
from metamix.fitting import Problem
from metamix.training.expert_seconds import affordable, seconds_of_fits
from metamix.training.mixture import fit_mixture

AGES, MOMENT = 1e6, 1e-3


def test_the_time_of_a_fit_is_extrapolated_by_a_power_of_the_number_of_rows(open_session, Slow):
    X, y = make_regimes(3200, random_state=0)
    with open_session(Problem(X, y), Slow(1e-6), LinearRegression(), deadline=Deadline(AGES)) as session:
        slow, line = seconds_of_fits(session)  # 0.04 s for 200 rows, 0.64 s for 800, 10.24 s for all
    assert slow > max(5, 10 * line)
    problem = Problem(np.vstack([X, X]), np.append(y, y))
    with open_session(problem, Slow(1e-5), LinearRegression(), deadline=Deadline(20)) as session:
        assert affordable(session, 1) == [1]
        assert list(session.deadline.refused) == ["the expert e0"]


class Loud(LinearRegression):
    """Notes in a file how often a warning of its fit would be shown."""

    def __init__(self, path=None):
        super().__init__()
        self.path = path

    def fit(self, X, y, sample_weight=None):
        with warnings.catch_warnings(record=True) as shown:
            warnings.warn("so few rows", UserWarning, stacklevel=1)
        with Path(self.path).open("a") as file:
            file.write("shown\n" if shown else "held back\n")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("engine", [SerialEngine(), LocalEngine(2)], ids=["serial", "local"])
def test_warnings_of_trial_fits_are_held_back(open_session, engine, tmp_path):
    X, y = make_regimes(120, random_state=0)
    opened = open_session(Problem(X, y), Loud(str(tmp_path / "log")), deadline=Deadline(AGES))
    with warnings.catch_warnings(action="always"), replace(opened, engine=engine) as session:
        assert np.isfinite(seconds_of_fits(session)).all()
        assert set((tmp_path / "log").read_text().split("\n")) == {"held back", ""}
        session.fit_all()
        assert "shown" in (tmp_path / "log").read_text()


def test_the_cheapest_expert_is_kept_and_is_not_said_to_be_left_out(open_session):
    X, y = make_regimes(120, random_state=0)
    with open_session(Problem(X, y), LinearRegression(), Ridge(), deadline=Deadline(MOMENT)) as session:
        (kept,) = affordable(session, 2)
        assert list(session.deadline.refused) == [f"the expert e{1 - kept}"]


def test_rounds_end_with_the_limit(two_lines, open_session, mixture_settings):
    X, y, _ = two_lines()
    problem = Problem(X, y)
    settings = mixture_settings(problem, 2, n_experts=2, start="proxy", rounds=4)
    start = np.tile([0.6, 0.4], (len(y), 1)) + 0.1 * np.sign(X[:, :1]) * [1, -1]
    rounds = {}
    for limit in (None, MOMENT):
        with open_session(problem, Ridge(), Ridge(2.0), deadline=Deadline(limit)) as session:
            rounds[limit] = len(fit_mixture(session, settings, start).history)
            assert ("further rounds of the mixture" in session.deadline.refused) is (limit is not None)
    assert rounds[None] > 1
    assert rounds[MOMENT] == 1
