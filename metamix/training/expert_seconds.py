"""How long an expert takes: fitted to more and more rows, as far as the time that is left allows."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from metamix.data.tables import take_rows
from metamix.fitting import FitSession, SharedInputs, fit_expert

__all__ = ["affordable", "seconds_of_fits"]

#: Rows of the first fit, and how many times as many the next one has; the last one has at most half of the rows.
FIRST_ROWS, FACTOR = 50, 4
#: Of the rows fitted so many are predicted, as in five folds.
PREDICTED = 5
#: Powers of the number of rows that the time is taken to grow with; until it is known, the second serves to say whether
#: the next fit may be tried, for which all experts together have a share of the limit.
LEAST_POWER, UNKNOWN_POWER, MOST_POWER = 1.0, 2.0, 3.0
TRIAL_SHARE = 0.2


def seconds_of_fits(session: FitSession) -> list[float]:
    """Seconds that a fit of each expert to all rows is expected to take.

    Infinite for one that is not tried, since there is no time left. The time grows with a power of the number of rows,
    which is read off the last two fits to more and more rows.
    """
    experts = range(len(session.experts))
    names = [f"{one.name}, how long it takes" for one in session.experts]
    found = session.map(_seconds, experts, names)
    return [math.inf if isinstance(one, BaseException) else float(one) for one in found]


def affordable(session: FitSession, fits: float) -> list[int]:
    """Experts, in their order, of which so many fits each fit into the time that is left; at least the cheapest."""
    costs = np.array(seconds_of_fits(session)) * fits / session.n_workers
    kept: list[int] = []
    for e in np.argsort(costs, kind="stable"):
        if session.deadline.allows(f"the expert {session.experts[e].name}", float(costs[[*kept, e]].sum())) or not kept:
            kept.append(int(e))
    return sorted(kept)


def _seconds(inputs: SharedInputs, expert: int) -> float:
    """A task: expected seconds of one fit of an expert to all rows, and of the predictions of a fold."""
    problem, deadline = inputs.problem, inputs.deadline
    if deadline.left < 0:
        return math.inf
    order = np.random.default_rng(0).permutation(np.flatnonzero(problem.weight > 0))
    longest = TRIAL_SHARE * (deadline.limit or math.inf) / len(inputs.experts)
    m, power = min(FIRST_ROWS, len(order)), LEAST_POWER
    seconds = _time(inputs, expert, order[:m])
    if seconds < longest:  # once more: the first fit may have imported a library
        seconds = _time(inputs, expert, order[:m])
    while FACTOR * m <= len(order) / 2:
        next_power = UNKNOWN_POWER if m == FIRST_ROWS else power
        if seconds * FACTOR**next_power > longest:
            break
        before, m = seconds, FACTOR * m
        seconds = _time(inputs, expert, order[:m])
        power = math.log(seconds / before) / math.log(FACTOR)
        power = min(max(power, LEAST_POWER), MOST_POWER)
    return seconds * (len(order) / m) ** power


def _time(inputs: SharedInputs, expert: int, rows: Any) -> float:
    part = inputs.problem.take(np.sort(rows))
    began = time.perf_counter()
    try:
        fitted = fit_expert(inputs.experts[expert], part, None, None)
        fitted.predict(take_rows(part.X, np.arange(max(len(rows) // PREDICTED, 1))))
    except Exception:  # of a foreign estimator, which more rows may suit; if none do, it fails where it is reported
        pass
    return max(time.perf_counter() - began, 1e-9)
