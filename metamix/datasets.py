"""Example data: simulated regimes with a known gate, and real tables that need no download."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm
from sklearn.utils import check_random_state

from metamix.data.scalars import check_seed, is_number, is_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_example", "make_regimes"]

_DRAWS = 1000  # largest number of attempts to draw a sample in which every regime is frequent enough


def make_regimes(
    n_samples: int = 1000,
    n_features: int = 6,
    n_regimes: int = 2,
    noise: float = 0.3,
    *,
    task: str = "regression",
    random_state: Any = None,
    return_regimes: bool = False,
) -> tuple[np.ndarray, ...]:
    """Simulate data whose regression function depends on the region of X.

    X is standard normal. The regime of a row is the one with the largest of K linear scores in the first two
    columns (one column if d = 1). The regression function of a regime depends on the third and fourth column, or
    on the last columns if d < 4; all other columns are irrelevant. Regime 0 is linear, regime 1 has the opposite
    slope in one column and a sine in the other, regime 2 is a product, regime 3 quadratic; further regimes repeat
    these with the opposite sign and the two columns swapped. For classification, y is 1 if the regression function
    plus noise is positive.

    Parameters
    ----------
    n_samples : int
        n, at least 5 K.
    n_features : int
        d.
    n_regimes : int
        K; each regime has at least n / (3 K) rows.
    noise : float
        Standard deviation of the normal noise, in units of y; that of the regression function is about 3.
    task : {"regression", "classification"}
        Type of y.
    random_state : int, RandomState or None
        The seed.
    return_regimes : bool
        Whether to return the regime of each row as well.

    Returns
    -------
    X : ndarray
        (n, d).
    y : ndarray
        (n,) floats, or 0 and 1 as integers.
    regimes : ndarray
        (n,) integers from 0 to K - 1, with `return_regimes`.

    Raises
    ------
    ValueError
        If a parameter is out of range, or n < 5 K.

    Examples
    --------
    >>> X, y, regimes = make_regimes(200, n_regimes=3, random_state=0, return_regimes=True)
    >>> X.shape, y.shape, sorted(set(regimes.tolist()))
    ((200, 6), (200,), [0, 1, 2])
    """
    _check(n_samples, n_features, n_regimes, noise, task)
    check_seed(random_state)
    rng = check_random_state(random_state)
    slopes, intercepts = _boundaries(n_features, n_regimes, rng)
    strengths = rng.uniform(0.8, 1.2, (n_regimes, 2))
    for _ in range(_DRAWS):
        X = rng.standard_normal((n_samples, n_features))
        regimes = np.argmax(X[:, : slopes.shape[0]] @ slopes + intercepts, axis=1)
        if np.bincount(regimes, minlength=n_regimes).min() * 3 * n_regimes >= n_samples:
            break
    else:
        raise ValueError(f"n_samples={n_samples} is too few for n_regimes={n_regimes}; use twice as many.")
    y = np.empty(n_samples)
    for k in range(n_regimes):
        rows = regimes == k
        y[rows] = _regression_function(k, *_relevant_columns(X[rows]), *strengths[k])
    y += noise * rng.standard_normal(n_samples)
    if task == "classification":
        y = (y > 0).astype(np.int64)
    return (X, y, regimes) if return_regimes else (X, y)


def _check(n_samples: int, n_features: int, n_regimes: int, noise: float, task: str) -> None:
    for name, value in (("n_features", n_features), ("n_regimes", n_regimes)):
        if not is_whole(value):
            raise ValueError(f"{name}={value!r} must be an integer of at least 1.")
    if not is_whole(n_samples):
        raise ValueError(f"n_samples={n_samples!r} must be an integer of at least 1.")
    if n_samples < 5 * n_regimes:
        raise ValueError(
            f"n_samples={n_samples} is too few for n_regimes={n_regimes}; at least {5 * n_regimes} are needed."
        )
    if not (is_number(noise) and noise >= 0):
        raise ValueError(f"noise={noise!r} must be a non-negative standard deviation.")
    if not isinstance(task, str) or task not in ("regression", "classification"):
        raise ValueError(f"task={task!r} must be 'regression' or 'classification'.")


def _boundaries(d: int, K: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (1 or 2, K) and intercepts (K,) of scores for which every regime has probability of about 1 / K."""
    if d == 1:
        # With increasing slopes the regimes are consecutive intervals; their bounds are quantiles of the normal.
        ends = norm.ppf(np.arange(1, K) / K)
        return np.arange(K, dtype=float)[None, :], -np.concatenate([[0.0], np.cumsum(ends)])
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(K) / K
    jitter = 0.2 * np.sin(np.pi / K) * rng.uniform(-1, 1, K) if K > 1 else np.zeros(K)
    return np.vstack([np.cos(angles), np.sin(angles)]), jitter


def _relevant_columns(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = X.shape[1]
    first, second = (2, 3) if d >= 4 else (d - 1, max(d - 2, 0))
    return X[:, first], X[:, second]


def _regression_function(k: int, a: np.ndarray, b: np.ndarray, s: float, t: float) -> np.ndarray:
    forms: list[Callable[[np.ndarray, np.ndarray], np.ndarray]] = [
        lambda a, b: 3 * s * a - 2 * t * b,
        lambda a, b: -3 * s * a + 2 * t * np.sin(3 * b),
        lambda a, b: 3 * s * a * b,
        lambda a, b: 2 * s * (b**2 - 1) + 2 * t * b,
    ]
    cycle, form = divmod(k, len(forms))
    return forms[form](a, b) if cycle % 2 == 0 else -forms[form](b, a)


def load_example(name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Load a small example table, from scikit-learn or simulated; nothing is downloaded.

    Parameters
    ----------
    name : {"diabetes", "breast_cancer", "regimes", "mixed"}
        "diabetes" (regression, unscaled columns) and "breast_cancer" (classification) are scikit-learn's data
        sets; "regimes" is a regression table from `make_regimes`; "mixed" is a simulated regression table of
        flats with text, a category, a boolean, dates and missing values.

    Returns
    -------
    X : pandas.DataFrame
        (n, d).
    y : pandas.Series
        (n,).

    Raises
    ------
    ValueError
        If there is no example of this name.

    Examples
    --------
    >>> X, y = load_example("diabetes")
    >>> X.shape, y.name
    ((442, 10), 'progression')
    """
    known = {"diabetes": _diabetes, "breast_cancer": _breast_cancer, "regimes": _regimes, "mixed": _mixed}
    if not isinstance(name, str) or name not in known:
        near = get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f" did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no example {name!r}:{hint} the examples are {', '.join(known)}")
    return known[name]()


def _diabetes() -> tuple[pd.DataFrame, pd.Series]:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    return X, y.rename("progression")


def _breast_cancer() -> tuple[pd.DataFrame, pd.Series]:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return X, y.rename("benign")


def _regimes() -> tuple[pd.DataFrame, pd.Series]:
    import pandas as pd

    X, y = make_regimes(random_state=0)
    return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]), pd.Series(y, name="y")


def _mixed() -> tuple[pd.DataFrame, pd.Series]:
    import pandas as pd

    rng = np.random.default_rng(0)
    n = 600
    size, rooms = rng.gamma(9.0, 9.0, n), rng.integers(1, 6, n)
    city = rng.choice(["Bergen", "Lyon", "Porto", "Turin"], n)
    state = rng.choice(["poor", "fair", "good"], n, p=[0.2, 0.5, 0.3])
    garden = rng.random(n) < 0.3
    days = rng.integers(0, 3 * 365, n)
    fee = rng.gamma(4.0, 30.0, n)
    # Two regimes: in the south the price depends on the size, in the north on rooms and fees.
    south = 2.0 * size + 10 * (state == "good") + 0.02 * days
    north = 60.0 + 35 * rooms - 0.4 * fee + 25 * garden
    price = np.where(np.isin(city, ["Porto", "Turin"]), south, north) + rng.normal(0, 8, n)
    X = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.08, np.nan, size).round(1),
            "rooms": rooms,
            "city": pd.Series(city).mask(rng.random(n) < 0.03),
            "state": pd.Categorical(state, categories=["poor", "fair", "good"], ordered=True),
            "garden": garden,
            "listed": pd.Timestamp("2021-01-01") + pd.to_timedelta(days, unit="D"),
            "fee": np.where(rng.random(n) < 0.1, np.nan, fee).round(2),
        }
    )
    return X, pd.Series(price.round(2), name="price")
