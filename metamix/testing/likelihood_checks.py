"""What a likelihood must keep to, for numbers, counts and classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import integrate

from metamix.testing.demands import Make, demand

__all__ = ["LIKELIHOOD_CHECKS"]

Array = NDArray[Any]
N, K, C = 60, 3, 4


class _Case(NamedTuple):
    y: Array
    predictions: Array
    responsibilities: Array
    classes: bool


def _case(make: Make) -> _Case:
    """Targets that numbers, counts and, with another axis, classes can have."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(K), size=N)
    means = rng.uniform(2.0, 9.0, size=(N, K))
    y = rng.poisson(means[:, 0]).astype(float)
    try:
        make().fit(y, means, shares).log_prob(y, means)
    except (IndexError, ValueError, TypeError):  # it wants the axis of classes
        return _Case(rng.integers(0, C, N), rng.dirichlet(np.ones(C), size=(N, K)), shares, True)
    return _Case(y, means, shares, False)


def _log_prob(likelihood: Any, y: Array, predictions: Array, scale: Array | None = None) -> Array:
    values = np.asarray(likelihood.log_prob(y, predictions, scale=scale))
    demand(values.shape == (len(y), predictions.shape[1]), f"log_prob has the shape {values.shape}, not (n, K)")
    return values


def log_prob_is_finite(make: Make) -> None:
    """log_prob is (n, K) and finite, far from the answers too."""
    case = _case(make)
    fitted = make().fit(case.y, case.predictions, case.responsibilities)
    demand(np.isfinite(_log_prob(fitted, case.y, case.predictions)).all(), "log_prob is NaN or infinite")
    if not case.classes:
        far = np.isfinite(_log_prob(fitted, case.y * 1000, case.predictions))
        demand(far.all(), "log_prob is infinite far from the answers")


def probabilities_add_to_one(make: Make) -> None:
    """Densities integrate, or probabilities sum, to one."""
    case = _case(make)
    fitted = make().fit(case.y, case.predictions, case.responsibilities)
    answers = case.predictions[:1]

    def total(points: Array, steps: Any = 1.0) -> Array:
        repeated = np.repeat(answers, len(points), axis=0)
        return np.asarray((np.exp(_log_prob(fitted, points, repeated)) * np.reshape(steps, (-1, 1))).sum(axis=0))

    def gap(values: Array) -> float:
        return float(np.abs(values - 1).max())

    # Counts first: what sums to one over 0, 1, 2, … has no density between them to integrate.
    worst = gap(total(np.arange(C) if case.classes else np.arange(500.0)))
    if worst >= 0.01 and not case.classes:
        # y = centre + tan(angle) reaches far tails with equal steps of the angle.
        angle = (np.arange(20_000) + 0.5) / 20_000 * np.pi - np.pi / 2
        points, steps = answers.mean() + 3 * np.tan(angle), 3 * np.pi / 20_000 / np.cos(angle) ** 2
        worst = gap(total(points, steps))
    demand(worst < 0.01, f"probabilities add up to one only within {worst:.2g}")


def better_answers_are_likelier(make: Make) -> None:
    """An answer that hits y is likelier than one that misses."""
    case = _case(make)
    if case.classes:
        good = np.full((N, 2, C), 0.1)
        good[np.arange(N), 0, case.y] = 0.7
        shares = np.full((N, 2), 0.5)
    else:
        good = np.column_stack([case.y + 0.1, case.y + 5.0])
        shares = np.full((N, 2), 0.5)
        good[: N // 2] = good[: N // 2, ::-1]  # both experts equally good overall, so equally sharp
    values = _log_prob(make().fit(case.y, good, shares), case.y, good)
    values[: N // 2] = values[: N // 2] if case.classes else values[: N // 2, ::-1]
    demand((values[:, 0] > values[:, 1]).all(), "an answer that misses is as likely as one that hits")


def experts_in_another_order(make: Make) -> None:
    """Reordering the experts reorders log_prob."""
    case, order = _case(make), [2, 0, 1]
    values = _log_prob(make().fit(case.y, case.predictions, case.responsibilities), case.y, case.predictions)
    other = make().fit(case.y, case.predictions[:, order], case.responsibilities[:, order])
    permuted = _log_prob(other, case.y, case.predictions[:, order])
    demand(np.allclose(values[:, order], permuted, rtol=1e-6), "experts in another order are judged otherwise")


def rows_without_responsibility_do_not_count(make: Make) -> None:
    """What an expert answers on rows that it does not explain is none of its parameters' business."""
    case = _case(make)
    shares = case.responsibilities.copy()
    shares[:20, 0], shares[:20, 1] = 0.0, shares[:20, 0] + shares[:20, 1]
    spoilt = case.predictions.copy()
    spoilt[:20, 0] = np.roll(spoilt[:20, 0], 1, axis=-1) if case.classes else spoilt[:20, 0] + 1000.0
    honest, other = (
        _log_prob(make().fit(case.y, answers, shares), case.y, case.predictions)
        for answers in (case.predictions, spoilt)
    )
    demand(np.allclose(honest, other, rtol=1e-6), "answers on rows of no responsibility change the parameters")


def missing_answers_stay_missing(make: Make) -> None:
    """NaN where an expert gave no answer, and nowhere else."""
    case = _case(make)
    holes = case.predictions.copy()
    holes[:5, 1] = np.nan
    values = _log_prob(make().fit(case.y, holes, case.responsibilities), case.y, holes)
    expected = np.zeros((N, K), dtype=bool)
    expected[:5, 1] = True
    demand(np.array_equal(np.isnan(values), expected), "log_prob is not NaN exactly where answers are")


def scales_of_experts_are_taken(make: Make) -> None:
    """Experts' own standard deviations may be given, with NaN where there is none; input is left alone."""
    case = _case(make)
    scale = np.full((N, K), np.nan)
    scale[:, 0] = 2.0
    for array in (*case[:3], scale):
        array.setflags(write=False)
    fitted = make().fit(case.y, case.predictions, case.responsibilities, scale=scale)
    demand(np.isfinite(_log_prob(fitted, case.y, case.predictions, scale)).all(), "scale makes log_prob NaN")


def weights_are_repeated_rows(make: Make) -> None:
    """A row of weight three counts like three rows."""
    case = _case(make)
    times = np.random.default_rng(1).integers(0, 4, N)
    repeated = [np.repeat(array, times, axis=0) for array in case[:3]]
    weighted = make().fit(case.y, case.predictions, times[:, None] * case.responsibilities)
    values = _log_prob(weighted, case.y, case.predictions)
    other = _log_prob(make().fit(*repeated), case.y, case.predictions)
    demand(np.allclose(values, other, rtol=1e-3, atol=1e-3), "a row of weight three is not three rows")


def units_of_y_do_not_matter(make: Make) -> None:
    """One with ``follows_units`` shifts its log density by a constant when y and answers change their unit."""
    case = _case(make)
    if not getattr(make(), "follows_units", False):
        return
    plain = _log_prob(make().fit(*case[:3]), case.y, case.predictions)
    for factor, shift in ((1e6, 0.0), (1e-6, 0.0), (1.0, -50.0)):
        y, answers = factor * case.y + shift, factor * case.predictions + shift
        moved = _log_prob(make().fit(y, answers, case.responsibilities), y, answers)
        gap = float(np.abs(moved + np.log(factor) - plain).max())
        demand(gap < 1e-3, f"y times {factor:g} plus {shift:g} changes log_prob by {gap:.2g} too much")


def standard_deviations_are_finite(make: Make) -> None:
    """``standard_deviation``, where there is one, is (n, K), finite and positive, and NaN only with the answer."""
    case = _case(make)
    fitted = make().fit(*case[:3])
    if not hasattr(fitted, "standard_deviation"):
        return
    values = np.asarray(fitted.standard_deviation(case.predictions))
    demand(values.shape == (N, K), f"standard_deviation has the shape {values.shape}, not (n, K)")
    demand((np.isfinite(values) & (values > 0)).all(), "standard_deviation is not finite and positive")


def distribution_agrees_with_log_prob(make: Make) -> None:
    """``distribution``, where there is one, has the cdf of log_prob's density and draws that follow it."""
    case = _case(make)
    fitted = make().fit(*case[:3])
    if not hasattr(fitted, "distribution"):
        return
    components = fitted.distribution(case.predictions)
    for low, high in ((-4.0, 3.0), (2.0, 7.0), (6.0, 40.0)):
        below = np.asarray(components.cdf(high)) - np.asarray(components.cdf(low))
        demand(below.shape == (N, K), f"cdf of the distribution has the shape {below.shape}, not (n, K)")
        gap = float(np.abs(below - _between(fitted, case.predictions, low, high)).max())
        demand(gap < 2e-3, f"cdf and log_prob differ by {gap:.2g} between {low:g} and {high:g}")
    draws = np.asarray(components.rvs(size=(N, K), random_state=np.random.RandomState(0)))
    levels = np.sort(components.cdf(draws), axis=None)
    demand(draws.shape == (N, K), f"draws have the shape {draws.shape}, not (n, K)")
    # Kolmogorov's distance of 180 draws is below 0.15 but once in a thousand; of counts, cdf is above its level.
    demand((levels - np.arange(N * K) / (N * K)).min() > -0.15, "draws do not follow the distribution")


def _between(fitted: Any, predictions: Array, low: float, high: float) -> Array:
    """Probability (n, K) of more than low and at most high, by log_prob."""
    if getattr(fitted, "discrete", False):
        counts = np.arange(max(low + 1, 0.0), high + 1)
        return np.asarray(sum(np.exp(_log_prob(fitted, np.full(N, y), predictions)) for y in counts))
    points = np.linspace(low, high, 401)
    densities = [np.exp(_log_prob(fitted, np.full(N, y), predictions)) for y in points]
    return np.asarray(integrate.simpson(densities, x=points, axis=0))


def trust_falls_with_the_error(make: Make) -> None:
    """``trust``, where there is one, is finite, at least 0, and no larger where the answer is farther off."""
    case = _case(make)
    fitted = make().fit(*case[:3])
    if not hasattr(fitted, "trust"):
        return
    holes = case.predictions.copy()
    holes[:5, 1] = np.nan
    for answers in (case.predictions, holes):
        values = np.asarray(fitted.trust(case.y, answers))
        demand(values.shape == (N, K), f"trust has the shape {values.shape}, not (n, K)")
        demand((np.isfinite(values) & (values >= 0)).all(), "trust is not a finite number of at least 0")
    near, far = (np.asarray(fitted.trust(case.y, case.y[:, None] + np.full(K, gap))) for gap in (0.5, 50.0))
    demand((far <= near).all(), "rows far from the answer are trusted more than those near it")


LIKELIHOOD_CHECKS = (
    log_prob_is_finite,
    probabilities_add_to_one,
    better_answers_are_likelier,
    experts_in_another_order,
    rows_without_responsibility_do_not_count,
    missing_answers_stay_missing,
    scales_of_experts_are_taken,
    weights_are_repeated_rows,
    units_of_y_do_not_matter,
    standard_deviations_are_finite,
    distribution_agrees_with_log_prob,
    trust_falls_with_the_error,
)
