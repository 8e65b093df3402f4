"""Covariance functions of Gaussian processes; maximum likelihood of length scales and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, lapack
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.distance import cdist

from metamix.experts.weighting import MergedRows

__all__ = ["FAMILIES", "LEAST_NOISE", "best_noise", "correlation", "negative_likelihood", "search"]

Array = NDArray[np.float64]

# Squared exponential, and Matérn with 5/2 and 3/2 (Rasmussen & Williams 2006, section 4.2).
FAMILIES = ("smooth", "matern52", "matern32")
# Added to the diagonal of every covariance matrix, to keep it positive definite in floating point.
JITTER = 1e-12
LEAST_NOISE, MOST_NOISE = 1e-11, 1e3
LENGTH_BOUNDS = (1e-2, 1e3)
# Log-normal prior of the length scales of standardised columns: median LENGTH_CENTRE √d, standard deviation of the
# logarithm LENGTH_WIDTH. It is weak, but bounds the length scales of irrelevant columns (Hvarfner, Hellsten &
# Nardi 2024).
LENGTH_CENTRE, LENGTH_WIDTH = 2.0, np.sqrt(3.0)
# Grid of initial values: length scales in units of √d, and noise variances relative to that of the process.
START_LENGTHS, START_NOISES = (0.25, 0.7, 2.0, 5.0), (1e-6, 1e-3, 0.1, 1.0)
MAX_ITER = 100
# The search ends where an iteration gains less than this share of the objective, which is some hundredths of a log
# likelihood at most: smaller gains took a third of its time and moved no error by more than 0.2 % (eight tables).
SMALLEST_GAIN = 1e-5
# Value of an objective where the covariance matrix is not positive definite.
INFEASIBLE = 1e25


def correlation(family: str, squares: Array) -> tuple[Array, Array]:
    """Correlation at scaled squared distances, and its derivative with respect to them, both of their shape.

    Parameters
    ----------
    family : {"smooth", "matern52", "matern32"}
    squares : ndarray

    Raises
    ------
    ValueError
        If the family is unknown.

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
        raise ValueError(f"kernel={family!r} must be one of {', '.join(FAMILIES)}, or 'auto'.")
    distance = np.sqrt((5.0 if family == "matern52" else 3.0) * squares)
    fall = np.exp(-distance)
    if family == "matern32":
        return (1.0 + distance) * fall, -1.5 * fall
    return (1.0 + distance + distance**2 / 3.0) * fall, -5.0 / 6.0 * (1.0 + distance) * fall


def negative_likelihood(family: str, rows: MergedRows, logs: Array) -> tuple[float, Array]:
    """Negative log restricted likelihood, with the mean integrated out and the amplitude at its optimum.

    A row of weight w counts as w equal rows: the noise variance of their mean is noise / w. Rasmussen & Williams
    (2006), equations 2.45 and 5.9.

    Parameters
    ----------
    family : str
    rows : MergedRows
    logs : ndarray of shape (d + 1,)
        Logarithms of the length scales, and of the noise variance relative to that of the process.

    Returns
    -------
    value : float
        Up to a constant; 1e25 if the covariance matrix is not positive definite in floating point.
    gradient : ndarray of shape (d + 1,)

    Examples
    --------
    >>> import numpy as np
    >>> from metamix.experts.weighting import merge_equal_rows
    >>> rows = merge_equal_rows(np.arange(4.0)[:, None], np.array([[0.0], [1.0], [0.5], [2.0]]), np.ones(4))
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
        return INFEASIBLE, np.zeros_like(logs)
    inverse = lapack.dpotri(root, lower=1)[0]
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    ones = cho_solve((root, True), np.ones(n), check_finite=False)
    residual = rows.Y - ones @ rows.Y / ones.sum()
    solved = cho_solve((root, True), residual, check_finite=False)
    energy = (residual * solved).sum(axis=0) + rows.within / noise
    if not (energy > 0).all():
        return INFEASIBLE, np.zeros_like(logs)
    logdet = 2.0 * np.log(np.diag(root)).sum() + np.log(ones.sum()) - (n - rows.count) * logs[-1]
    value = 0.5 * (T * logdet + freedom * np.log(energy).sum())
    by_covariance = T * (inverse - np.outer(ones, ones) / ones.sum()) - freedom * (solved / energy) @ solved.T
    by_noise = 0.5 * (
        noise * (np.diag(by_covariance) / rows.weight).sum()
        - T * (n - rows.count)
        - freedom * (rows.within / (noise * energy)).sum()
    )
    by_square = by_covariance * slope
    by_length = -2.0 * (by_square.sum(axis=1) @ Z**2 - (Z * (by_square @ Z)).sum(axis=0))
    return float(value), np.append(by_length, by_noise)


def search(
    family: str, rows: MergedRows, start: Array | None = None, tied: bool = False, least_noise: float = LEAST_NOISE
) -> tuple[Array, float]:
    """Maximise the posterior density of length scales and noise.

    Parameters
    ----------
    family : str
    rows : MergedRows
    start : ndarray of shape (d + 1,), optional
        Initial value; by default the best of a grid with one length scale for all columns.
    tied : bool
        Whether all columns share one length scale.
    least_noise : float
        Smallest noise variance relative to that of the process.

    Returns
    -------
    logs : ndarray of shape (d + 1,)
        Logarithms of length scales and noise, as for `negative_likelihood`.
    value : float
        Negative log posterior density, up to a constant.

    Examples
    --------
    >>> import numpy as np
    >>> from metamix.experts.weighting import merge_equal_rows
    >>> x = np.linspace(0.0, 6.0, 25)[:, None]
    >>> logs, _ = search("smooth", merge_equal_rows(x, np.sin(x), np.ones(25)))
    >>> bool(np.exp(logs[-1]) < 1e-8)
    True
    """
    d = rows.X.shape[1]
    lengths = 1 if tied else d
    centre = np.log(LENGTH_CENTRE * np.sqrt(d))

    def expand(point: Array) -> Array:
        return np.append(np.full(d, point[0]) if tied else point[:-1], point[-1])

    def objective(point: Array) -> tuple[float, Array]:
        value, gradient = negative_likelihood(family, rows, expand(point))
        by_length = gradient[:-1].sum(keepdims=True) if tied else gradient[:-1]
        away = (point[:-1] - centre) / LENGTH_WIDTH
        return value + 0.5 * float(away @ away), np.append(by_length + away / LENGTH_WIDTH, gradient[-1])

    if start is None:
        grid = [
            np.append(np.full(lengths, np.log(length * np.sqrt(d))), np.log(max(noise, least_noise)))
            for length in START_LENGTHS
            for noise in START_NOISES
        ]
        start = min(grid, key=lambda point: objective(point)[0])
    else:
        start = start[-1 - lengths :]
    bounds = [tuple(np.log(LENGTH_BOUNDS))] * lengths + [(np.log(least_noise), np.log(MOST_NOISE))]
    options = {"maxiter": MAX_ITER, "ftol": SMALLEST_GAIN}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return expand(found.x), float(found.fun)


def best_noise(values: Array, moments: Array, squares: Array, count: float, start: float) -> float:
    """Maximum likelihood noise variance, relative to that of the process, in Bayesian linear regression.

    Parameters
    ----------
    values : ndarray of shape (m,)
        Eigenvalues of the weighted scatter matrix of the features, whose coefficients have unit prior variance.
    moments : ndarray of shape (m, T)
        Products of the targets with the features along the eigenvectors.
    squares : ndarray of shape (T,)
        Weighted sums of squares of the targets.
    count : float
        Sum of the weights.
    start : float
        The search runs from start / 20 to 3000 start.

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
            return INFEASIBLE
        return float(T * (count * log + np.log1p(values / noise).sum()) + count * np.log(energy).sum())

    bounds = (max(np.log(LEAST_NOISE), np.log(start) - 3.0), min(np.log(MOST_NOISE), np.log(start) + 8.0))
    return float(np.exp(minimize_scalar(objective, bounds=bounds, method="bounded").x))
