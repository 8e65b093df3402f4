"""Checks of likelihoods for numbers, counts and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import integrate
from sklearn.linear_model import Ridge
from sklearn.model_selection import TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor

from metamix.estimators import MixtureRegressor
from metamix.testing.assertions import Factory, require
from metamix.testing.common_checks import Trial

__all__ = ["LIKELIHOOD_CHECKS", "likelihood_trial"]

Array = NDArray[Any]
N, K, C = 60, 3, 4


class _Case(NamedTuple):
    y: Array
    predictions: Array
    responsibilities: Array
    classes: bool


def _case(make: Factory) -> _Case:
    """Targets and predictions valid for numbers and counts; for classes if the likelihood needs their axis."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(K), size=N)
    means = rng.uniform(2.0, 9.0, size=(N, K))
    y = rng.poisson(means[:, 0]).astype(float)
    try:
        make().fit(y, means, shares).log_prob(y, means)
    except (IndexError, ValueError, TypeError):  # it expects an axis of classes
        return _Case(rng.integers(0, C, N), rng.dirichlet(np.ones(C), size=(N, K)), shares, True)
    return _Case(y, means, shares, False)


def likelihood_trial(make: Factory) -> Trial:
    """How the common checks use a likelihood; those for classes are not a parameter of any mixture."""

    def fit(likelihood: Any) -> Any:
        return likelihood.fit(*_case(make)[:3])

    def answer(likelihood: Any) -> Array:
        case = _case(make)
        return _log_prob(likelihood, case.y, case.predictions)

    def mistakes(make: Factory) -> Iterator[tuple[str, Callable[[], Any]]]:
        case = _case(make)
        fitted = make().fit(*case[:3])
        yield "log_prob of a target too few", lambda: fitted.log_prob(case.y[:-1], case.predictions)

    def mixture(likelihood: Any) -> tuple[Any, Array, Array] | None:
        if _case(make).classes:
            return None
        rng = np.random.default_rng(0)
        X = rng.normal(size=(90, 2))
        y = rng.poisson(3 + np.abs(X[:, 0])).astype(float)
        settings: dict[str, Any] = {
            "specialize": True,
            "start": (X[:, 0] > 0).astype(int),
            "max_rounds": 1,
            "gate": "constant",
        }
        experts = [("line", Ridge()), ("near", KNeighborsRegressor())]
        cv = TimeSeriesSplit(2)
        return MixtureRegressor(experts, likelihood=likelihood, cv=cv, random_state=0, n_jobs=1, **settings), X, y

    return Trial(make, fit, answer, mistakes, mixture)


def _log_prob(likelihood: Any, y: Array, predictions: Array, scale: Array | None = None) -> Array:
    values = np.asarray(likelihood.log_prob(y, predictions, scale=scale))
    require(values.shape == (len(y), predictions.shape[1]), f"log_prob has shape {values.shape}; expected (n, K)")
    return values


def log_prob_is_finite(make: Factory) -> None:
    """log_prob is (n, K) and finite, far from the predictions too."""
    case = _case(make)
    fitted = make().fit(case.y, case.predictions, case.responsibilities)
    require(np.isfinite(_log_prob(fitted, case.y, case.predictions)).all(), "log_prob is NaN or infinite")
    if not case.classes:
        far = np.isfinite(_log_prob(fitted, case.y * 1000, case.predictions))
        require(far.all(), "log_prob is infinite far from the predictions")


def probabilities_add_to_one(make: Factory) -> None:
    """Densities integrate to one, or probabilities sum to one."""
    case = _case(make)
    fitted = make().fit(case.y, case.predictions, case.responsibilities)
    answers = case.predictions[:1]

    def total(points: Array, steps: Any = 1.0) -> Array:
        repeated = np.repeat(answers, len(points), axis=0)
        return np.asarray((np.exp(_log_prob(fitted, points, repeated)) * np.reshape(steps, (-1, 1))).sum(axis=0))

    def gap(values: Array) -> float:
        return float(np.abs(values - 1).max())

    # Counts first: a distribution that sums to one over 0, 1, 2, … has no density to integrate.
    worst = gap(total(np.arange(C) if case.classes else np.arange(500.0)))
    if worst >= 0.01 and not case.classes:
        # Substituting y = centre + 3 tan(angle) covers the tails with equal steps of the angle.
        angle = (np.arange(20_000) + 0.5) / 20_000 * np.pi - np.pi / 2
        points, steps = answers.mean() + 3 * np.tan(angle), 3 * np.pi / 20_000 / np.cos(angle) ** 2
        worst = gap(total(points, steps))
    require(worst < 0.01, f"the total probability differs from 1 by {worst:.2g}")


def better_answers_are_likelier(make: Factory) -> None:
    """A prediction close to y has a larger log_prob than one far from y."""
    case = _case(make)
    if case.classes:
        good = np.full((N, 2, C), 0.1)
        good[np.arange(N), 0, case.y] = 0.7
        shares = np.full((N, 2), 0.5)
    else:
        good = np.column_stack([case.y + 0.1, case.y + 5.0])
        shares = np.full((N, 2), 0.5)
        good[: N // 2] = good[: N // 2, ::-1]  # both experts have the same total error, so the same scale
    values = _log_prob(make().fit(case.y, good, shares), case.y, good)
    values[: N // 2] = values[: N // 2] if case.classes else values[: N // 2, ::-1]
    require((values[:, 0] > values[:, 1]).all(), "a prediction far from y has as large a log_prob as one close to y")


def experts_in_another_order(make: Factory) -> None:
    """Reordering the experts reorders log_prob."""
    case, order = _case(make), [2, 0, 1]
    values = _log_prob(make().fit(case.y, case.predictions, case.responsibilities), case.y, case.predictions)
    other = make().fit(case.y, case.predictions[:, order], case.responsibilities[:, order])
    permuted = _log_prob(other, case.y, case.predictions[:, order])
    require(np.allclose(values[:, order], permuted, rtol=1e-6), "reordering the experts changes their log_prob")


def rows_without_responsibility_do_not_count(make: Factory) -> None:
    """Predictions on rows with responsibility 0 do not affect the parameters of an expert."""
    case = _case(make)
    shares = case.responsibilities.copy()
    shares[:20, 0], shares[:20, 1] = 0.0, shares[:20, 0] + shares[:20, 1]
    spoilt = case.predictions.copy()
    spoilt[:20, 0] = np.roll(spoilt[:20, 0], 1, axis=-1) if case.classes else spoilt[:20, 0] + 1000.0
    original, other = (
        _log_prob(make().fit(case.y, answers, shares), case.y, case.predictions)
        for answers in (case.predictions, spoilt)
    )
    require(np.allclose(original, other, rtol=1e-6), "predictions on rows of responsibility 0 change the parameters")


def missing_answers_stay_missing(make: Factory) -> None:
    """log_prob is NaN exactly where the prediction is missing."""
    case = _case(make)
    incomplete = case.predictions.copy()
    incomplete[:5, 1] = np.nan
    values = _log_prob(make().fit(case.y, incomplete, case.responsibilities), case.y, incomplete)
    expected = np.zeros((N, K), dtype=bool)
    expected[:5, 1] = True
    require(np.array_equal(np.isnan(values), expected), "log_prob is not NaN exactly where predictions are")


def scales_of_experts_are_taken(make: Factory) -> None:
    """Standard deviations given by experts are accepted, NaN where there is none; input is not changed."""
    case = _case(make)
    scale = np.full((N, K), np.nan)
    scale[:, 0] = 2.0
    for array in (*case[:3], scale):
        array.setflags(write=False)
    fitted = make().fit(case.y, case.predictions, case.responsibilities, scale=scale)
    require(np.isfinite(_log_prob(fitted, case.y, case.predictions, scale)).all(), "scale makes log_prob NaN")


def weights_are_repeated_rows(make: Factory) -> None:
    """A row of weight 3 counts as three rows."""
    case = _case(make)
    times = np.random.default_rng(1).integers(0, 4, N)
    repeated = [np.repeat(array, times, axis=0) for array in case[:3]]
    weighted = make().fit(case.y, case.predictions, times[:, None] * case.responsibilities)
    values = _log_prob(weighted, case.y, case.predictions)
    other = _log_prob(make().fit(*repeated), case.y, case.predictions)
    require(np.allclose(values, other, rtol=1e-3, atol=1e-3), "a row of weight 3 does not count as three rows")


def units_of_y_do_not_matter(make: Factory) -> None:
    """With ``follows_units``, scaling y and predictions by c changes log_prob by -log c."""
    case = _case(make)
    if not getattr(make(), "follows_units", False):
        return
    plain = _log_prob(make().fit(*case[:3]), case.y, case.predictions)
    for factor, shift in ((1e6, 0.0), (1e-6, 0.0), (1.0, -50.0)):
        y, answers = factor * case.y + shift, factor * case.predictions + shift
        moved = _log_prob(make().fit(y, answers, case.responsibilities), y, answers)
        gap = float(np.abs(moved + np.log(factor) - plain).max())
        require(gap < 1e-3, f"for y times {factor:g} plus {shift:g}, log_prob is wrong by {gap:.2g}")


def standard_deviations_are_finite(make: Factory) -> None:
    """``standard_deviation``, if there is one, is (n, K), finite and positive."""
    case = _case(make)
    fitted = make().fit(*case[:3])
    if not hasattr(fitted, "standard_deviation"):
        return
    values = np.asarray(fitted.standard_deviation(case.predictions))
    require(values.shape == (N, K), f"standard_deviation has shape {values.shape}; expected (n, K)")
    require((np.isfinite(values) & (values > 0)).all(), "standard_deviation is not finite and positive")


def distribution_agrees_with_log_prob(make: Factory) -> None:
    """``distribution``, if there is one, has a cdf that agrees with log_prob, and samples that agree with the cdf."""
    case = _case(make)
    fitted = make().fit(*case[:3])
    if not hasattr(fitted, "distribution"):
        return
    components = fitted.distribution(case.predictions)
    for low, high in ((-4.0, 3.0), (2.0, 7.0), (6.0, 40.0)):
        below = np.asarray(components.cdf(high)) - np.asarray(components.cdf(low))
        require(below.shape == (N, K), f"cdf of the distribution has shape {below.shape}; expected (n, K)")
        gap = float(np.abs(below - _between(fitted, case.predictions, low, high)).max())
        require(gap < 2e-3, f"cdf and log_prob differ by {gap:.2g} between {low:g} and {high:g}")
    draws = np.asarray(components.rvs(size=(N, K), random_state=np.random.RandomState(0)))
    levels = np.sort(components.cdf(draws), axis=None)
    require(draws.shape == (N, K), f"samples have shape {draws.shape}; expected (n, K)")
    # The Kolmogorov-Smirnov distance of 180 samples exceeds 0.15 with probability 0.001. One-sided, since the cdf
    # of counts lies above the uniform level.
    require((levels - np.arange(N * K) / (N * K)).min() > -0.15, "samples do not follow the distribution")


def _between(fitted: Any, predictions: Array, low: float, high: float) -> Array:
    """Probability (n, K) of the interval (low, high], computed from log_prob."""
    if getattr(fitted, "discrete", False):
        counts = np.arange(max(low + 1, 0.0), high + 1)
        return np.asarray(sum(np.exp(_log_prob(fitted, np.full(N, y), predictions)) for y in counts))
    points = np.linspace(low, high, 401)
    densities = [np.exp(_log_prob(fitted, np.full(N, y), predictions)) for y in points]
    return np.asarray(integrate.simpson(densities, x=points, axis=0))


def trust_falls_with_the_error(make: Factory) -> None:
    """``trust``, if there is one, is finite and nonnegative, and does not increase with the error."""
    case = _case(make)
    fitted = make().fit(*case[:3])
    if not hasattr(fitted, "trust"):
        return
    incomplete = case.predictions.copy()
    incomplete[:5, 1] = np.nan
    for answers in (case.predictions, incomplete):
        values = np.asarray(fitted.trust(case.y, answers))
        require(values.shape == (N, K), f"trust has shape {values.shape}; expected (n, K)")
        require((np.isfinite(values) & (values >= 0)).all(), "trust is not finite and nonnegative")
    near, far = (np.asarray(fitted.trust(case.y, case.y[:, None] + np.full(K, gap))) for gap in (0.5, 50.0))
    require((far <= near).all(), "trust is larger for rows with a larger error")


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
