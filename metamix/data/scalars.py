"""What counts as a number in a parameter."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

#: More workers than any machine has cores.
MOST_JOBS = 100_000
__all__ = ["check_jobs", "check_seed", "is_number", "is_whole"]


def is_number(value: Any) -> bool:
    """Whether it is a real number that is neither a boolean nor NaN.

    Examples
    --------
    >>> is_number(0.5), is_number(True), is_number("0.5"), is_number(float("nan"))
    (True, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and bool(value == value)


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether it is a whole number of at least `least`.

    Examples
    --------
    >>> is_whole(2), is_whole(0), is_whole(2.0), is_whole("2")
    (True, False, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def check_seed(random_state: Any) -> None:
    """ValueError where `random_state` is no seed.

    Examples
    --------
    >>> check_seed(-1)
    Traceback (most recent call last):
    ...
    ValueError: random_state=-1 is no seed; give a whole number from 0 to 4294967295, a numpy RandomState, or None.
    """
    if random_state is None or random_state is np.random or isinstance(random_state, np.random.RandomState):
        return
    if not (is_whole(random_state, least=0) and random_state < 2**32):
        raise ValueError(
            f"random_state={random_state!r} is no seed; give a whole number from 0 to {2**32 - 1}, a numpy "
            "RandomState, or None."
        )


def check_jobs(n_jobs: Any) -> None:
    """ValueError where `n_jobs` is no number of jobs.

    Examples
    --------
    >>> check_jobs("2")
    Traceback (most recent call last):
    ...
    ValueError: n_jobs='2' is no number of jobs; give 1, 2, ..., -1 for all cores, or None.
    """
    whole = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool)
    if n_jobs is None or (whole and 0 < abs(int(n_jobs)) <= MOST_JOBS):
        return
    raise ValueError(f"n_jobs={n_jobs!r} is no number of jobs; give 1, 2, ..., -1 for all cores, or None.")
