"""Covariances of Gaussian processes, and the search for the lengths and the noise that suit a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, lapack
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.distance import cdist

from metamix.experts.weighting import Rows

__all__ = ["FAMILIES", "LEAST_NOISE", "best_noise", "correlation", "negative_likelihood", "search"]

Array = NDArray[np.float64]

# Squared exponential, and Matérn with 5/2 and 3/2 (Rasmussen & Williams 2006, section 4.2).
FAMILIES = ("smooth", "matern52", "matern32")
# Added to every diagonal: what rounding takes from the smallest eigenvalue of a thousand rows.
JITTER = 1e-12
LEAST_NOISE, MOST_NOISE = 1e-11, 1e3
LENGTH_BOUNDS = (1e-2, 1e3)
# Log-normal prior of the lengths, in standard deviations of a column, times the root of d: a width of
# ln 10 or so says little, but keeps the lengths of idle columns finite (Hvarfner, Hellsten & Nardi 2024).
LENGTH_CENTRE, LENGTH_WIDTH = 2.0, np.sqrt(3.0)
START_LENGTHS, START_NOISES = (0.25, 0.7, 2.0, 5.0), (1e-6, 1e-3, 0.1, 1.0)
ROUNDS = 100
REFUSED = 1e25


def correlation(family: str, squares: Array) -> tuple[Array, Array]:
    """Correlation at scaled squared distances, and its derivative by them: both of their shape.

    Parameters
    ----------
    family : {"smooth", "matern52", "matern32"}
    squares : ndarray

    Raises
    ------
    ValueError
        The family is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> value, slope = correlation("smooth", np.array([0.0, 2.0]))
    >>> value.round(3).tolist(), slope.round(3).tolist()
    ([1.0, 0.368], [-0.5, -0.184])
    """
    if family == "smooth":
        value = np.exp(-0.5 * squares)
        return value, -0.5 * value
    if family not in FAMILIES:
        raise ValueError(f"kernel={family!r}: one of {', '.join(FAMILIES)}, or 'auto', would do")
    distance = np.sqrt((5.0 if family == "matern52" else 3.0) * squares)
    fall = np.exp(-distance)
    if family == "matern32":
        return (1.0 + distance) * fall, -1.5 * fall
    return (1.0 + distance + distance**2 / 3.0) * fall, -5.0 / 6.0 * (1.0 + distance) * fall


def negative_likelihood(family: str, rows: Rows, logs: Array) -> tuple[float, Array]:
    """Minus the log of the restricted likelihood, amplitude and mean integrated out or at their best.

    A row of weight w has the density of its target raised to w, which is a row given w times; the noise of
    the mean of those rows is then noise / w. Rasmussen & Williams (2006), equations 2.45 and 5.9.

    Parameters
    ----------
    family : str
    rows : Rows
    logs : ndarray of shape (d + 1,)
        Logarithms of the lengths, and of the noise as a share of the amplitude.

    Returns
    -------
    value : float
        Up to a constant; very large where the covariance is not positive in floating point.
    gradient : ndarray of shape (d + 1,)

    Examples
    --------
    >>> import numpy as np
    >>> from metamix.experts.weighting import gather
    >>> rows = gather(np.arange(4.0)[:, None], np.array([[0.0], [1.0], [0.5], [2.0]]), np.ones(4))
    >>> round(negative_likelihood("smooth", rows, np.log([1.0, 0.1]))[0], 3)
    2.372
    """
    Z, noise, n = rows.X / np.exp(logs[:-1]), float(np.exp(logs[-1])), len(rows.X)
    T, freedom = rows.Y.shape[1], rows.count - 1.0
    R, slope = correlation(family, cdist(Z, Z, "sqeuclidean"))
    R[np.diag_indices(n)] += noise / rows.weight + JITTER
    try:
        root = cholesky(R, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return REFUSED, np.zeros_like(logs)
    inverse = lapack.dpotri(root, lower=1)[0]
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    ones = cho_solve((root, True), np.ones(n), check_finite=False)
    residual = rows.Y - ones @ rows.Y / ones.sum()
    solved = cho_solve((root, True), residual, check_finite=False)
    energy = (residual * solved).sum(axis=0) + rows.within / noise
    if not (energy > 0).all():
        return REFUSED, np.zeros_like(logs)
    logdet = 2.0 * np.log(np.diag(root)).sum() + np.log(ones.sum()) - (n - rows.count) * logs[-1]
    value = 0.5 * (T * logdet + freedom * np.log(energy).sum())
    moved = T * (inverse - np.outer(ones, ones) / ones.sum()) - freedom * (solved / energy) @ solved.T
    by_noise = 0.5 * (
        noise * (np.diag(moved) / rows.weight).sum()
        - T * (n - rows.count)
        - freedom * (rows.within / (noise * energy)).sum()
    )
    P = moved * slope
    by_length = -2.0 * (P.sum(axis=1) @ Z**2 - (Z * (P @ Z)).sum(axis=0))
    return float(value), np.append(by_length, by_noise)


def search(
    family: str, rows: Rows, start: Array | None = None, tied: bool = False, least_noise: float = LEAST_NOISE
) -> tuple[Array, float]:
    """Logs of lengths and noise (d + 1,) at the most probable place, and minus the log of it.

    Parameters
    ----------
    family : str
    rows : Rows
    start : ndarray of shape (d + 1,), optional
        Otherwise the best of a few with one length.
    tied : bool
        One length for all columns.
    least_noise : float

    Examples
    --------
    >>> import numpy as np
    >>> from metamix.experts.weighting import gather
    >>> x = np.linspace(0.0, 6.0, 25)[:, None]
    >>> logs, _ = search("smooth", gather(x, np.sin(x), np.ones(25)))
    >>> bool(np.exp(logs[-1]) < 1e-8)
    True
    """
    d = rows.X.shape[1]
    lengths = 1 if tied else d
    centre = np.log(LENGTH_CENTRE * np.sqrt(d))

    def whole(few: Array) -> Array:
        return np.append(np.full(d, few[0]) if tied else few[:-1], few[-1])

    def objective(few: Array) -> tuple[float, Array]:
        value, gradient = negative_likelihood(family, rows, whole(few))
        by_length = gradient[:-1].sum(keepdims=True) if tied else gradient[:-1]
        away = (few[:-1] - centre) / LENGTH_WIDTH
        return value + 0.5 * float(away @ away), np.append(by_length + away / LENGTH_WIDTH, gradient[-1])

    if start is None:
        places = [
            np.append(np.full(lengths, np.log(length * np.sqrt(d))), np.log(max(noise, least_noise)))
            for length in START_LENGTHS
            for noise in START_NOISES
        ]
        start = min(places, key=lambda few: objective(few)[0])
    else:
        start = start[-1 - lengths :]
    bounds = [tuple(np.log(LENGTH_BOUNDS))] * lengths + [(np.log(least_noise), np.log(MOST_NOISE))]
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ROUNDS})
    return whole(found.x), float(found.fun)


def best_noise(values: Array, moments: Array, squares: Array, count: float, start: float) -> float:
    """The most likely noise, as a share of the amplitude, of a regression on features of unit prior variance.

    Parameters
    ----------
    values : ndarray of shape (m,)
        Eigenvalues of the weighted scatter of the features.
    moments : ndarray of shape (m, T)
        Products of the targets with the features along those directions.
    squares : ndarray of shape (T,)
        Weighted squares of the targets.
    count : float
        Sum of the weights.
    start : float
        The answer is sought from a twentieth of this to three thousand times as much.

    Examples
    --------
    >>> import numpy as np
    >>> noise = best_noise(np.array([100.0]), np.array([[100.0]]), np.array([150.0]), 100.0, 0.1)
    >>> round(noise, 2)
    0.51
    """
    T = moments.shape[1]

    def objective(log: float) -> float:
        noise = np.exp(log)
        energy = (squares - (moments**2 / (values + noise)[:, None]).sum(axis=0)) / noise
        if not (energy > 0).all():
            return REFUSED
        return float(T * (count * log + np.log1p(values / noise).sum()) + count * np.log(energy).sum())

    near = (max(np.log(LEAST_NOISE), np.log(start) - 3.0), min(np.log(MOST_NOISE), np.log(start) + 8.0))
    return float(np.exp(minimize_scalar(objective, bounds=near, method="bounded").x))
