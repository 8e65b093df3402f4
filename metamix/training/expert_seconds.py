"""How long an expert takes: fitted to more and more rows, as far as the time that is left allows."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from metamix.data.tables import take_rows
from metamix.engines import at_most
from metamix.fitting import FitSession, SharedInputs, fit_expert

__all__ = ["affordable", "seconds_of_fits"]

#: Rows of the first fit, and how many times as many the next one has; the last one has at most half of the rows.
FIRST_ROWS, FACTOR = 50, 4
#: Of the rows fitted so many are predicted, as in five folds.
PREDICTED = 5
#: Powers of the number of rows that the time grows with, at least and at most.
LEAST_POWER, MOST_POWER = 0.5, 3.0
#: Share of the limit for all these fits together: none is made that is expected to take more.
TRIAL_SHARE = 0.2


def seconds_of_fits(session: FitSession) -> list[float]:
    """Seconds that a fit of each expert to all rows is expected to take.

    Infinite for one that is not tried, since there is no time left. Each is fitted to more and more rows, as far as a
    share of the limit allows, and the time is extrapolated from the last two of these fits. Their warnings are held
    back: they concern so few rows, or come again with the fit proper. Engines give their workers these filters.
    """
    experts = range(len(session.experts))
    names = [f"{one.name}, how long it takes" for one in session.experts]
    with warnings.catch_warnings(action="ignore"):
        found = session.map(_seconds, experts, names)
    return [math.inf if isinstance(one, BaseException) else float(one) for one in found]


def affordable(session: FitSession, fits: float) -> list[int]:
    """Experts, in their order, of which so many fits each fit into the time that is left; at least the cheapest."""
    costs = np.array(seconds_of_fits(session)) * fits / session.n_workers
    kept: list[int] = []
    for e in np.argsort(costs, kind="stable"):
        name, seconds = session.experts[e].name, float(costs[[*kept, e]].sum())
        if not kept or session.deadline.allows(f"the expert {name}", seconds):
            kept.append(int(e))
    return sorted(kept)


def _seconds(inputs: SharedInputs, expert: int) -> float:
    """A task: expected seconds of one fit of an expert to all rows, and of the predictions of a fold."""
    deadline = inputs.deadline
    if deadline.left < 0:
        return math.inf
    with at_most(deadline.task_seconds(TRIAL_SHARE)):
        return _expected(inputs, expert)


def _expected(inputs: SharedInputs, expert: int) -> float:
    problem, deadline = inputs.problem, inputs.deadline
    order = np.random.default_rng(0).permutation(np.flatnonzero(problem.weight > 0))
    longest = TRIAL_SHARE * (deadline.limit or math.inf) / len(inputs.experts)
    m = min(FIRST_ROWS, len(order))
    seconds = _shortest(inputs, expert, order[:m], longest)
    known = [(m, seconds)]
    while FACTOR * m <= len(order) / 2:
        # So few rows take little time of their own, until the second fit shows how it grows.
        expected = _extrapolated(known, FACTOR * m) if len(known) > 1 else seconds * FACTOR**LEAST_POWER
        if expected > longest:
            break
        m = FACTOR * m
        known.append((m, _shortest(inputs, expert, order[:m], longest)))
    return _extrapolated(known, len(order))


def _extrapolated(known: Sequence[tuple[int, float]], n: int) -> float:
    """Seconds for n rows, from those for fewer rows: by the power that the last two show, or by a line between them.

    Examples
    --------
    >>> _extrapolated([(50, 0.1)], 200), _extrapolated([(50, 0.1), (200, 1.6)], 800)
    (0.4, 25.6)
    >>> round(_extrapolated([(50, 0.5), (200, 0.6)], 800), 9)  # most of it does not depend on the rows
    1.2
    """
    m, seconds = known[-1]
    if len(known) == 1:
        return seconds * n / m
    before, less = known[-2]
    power = math.log(seconds / less) / math.log(m / before)
    if power >= 1:
        return seconds * float(n / m) ** min(power, MOST_POWER)
    line = seconds + (seconds - less) / (m - before) * (n - m)
    return max(line, seconds * float(n / m) ** LEAST_POWER)


def _shortest(inputs: SharedInputs, expert: int, rows: Any, longest: float) -> float:
    """Seconds of a fit, the smaller of two where it is short: the first may import a library, or be interrupted."""
    seconds = _time(inputs, expert, rows)
    return seconds if 2 * seconds > longest else min(seconds, _time(inputs, expert, rows))


def _time(inputs: SharedInputs, expert: int, rows: Any) -> float:
    part = inputs.problem.take(np.sort(rows))
    began = time.perf_counter()
    try:
        with at_most(inputs.deadline.fit_seconds):
            fitted = fit_expert(inputs.experts[expert], part, None, None)
            fitted.predict(take_rows(part.X, np.arange(max(len(rows) // PREDICTED, 1))))
    except Exception:  # of a foreign estimator, which more rows may suit; if none do, it fails where it is reported
        pass
    return max(time.perf_counter() - began, 1e-9)
