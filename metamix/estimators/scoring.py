"""Scorers: whether there is one of that name, and whether it can judge this y, before anything is fitted."""

from __future__ import annotations

import difflib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer_names

from metamix.data.folds import Folds
from metamix.fitting import Problem
from metamix.training.selection import HeldOutLoss

__all__ = ["check_scoring", "try_scoring"]

EXAMPLES = {True: "'accuracy' or 'neg_brier_score'", False: "'neg_mean_absolute_error' or 'r2'"}


def check_scoring(scoring: Any) -> None:
    """ValueError where `scoring` is neither None, nor the name of a scorer of scikit-learn, nor a callable.

    Examples
    --------
    >>> check_scoring("acuracy")
    Traceback (most recent call last):
    ...
    ValueError: scoring='acuracy' is unknown; did you mean 'accuracy'? sklearn.metrics.get_scorer_names() lists them.
    """
    if scoring is None or (callable(scoring) and not isinstance(scoring, type)):
        return
    names = get_scorer_names()
    if not isinstance(scoring, str) or scoring not in names:
        near = difflib.get_close_matches(str(scoring), names, n=1)
        meant = f"did you mean {near[0]!r}?" if near else "give a name, a callable or None."
        raise ValueError(f"scoring={scoring!r} is unknown; {meant} sklearn.metrics.get_scorer_names() lists them.")


def try_scoring(scoring: Any, problem: Problem, folds: Folds, classes: NDArray[Any] | None) -> None:
    """Judge predictions halfway between y and its mean, on all rows and on each fold.

    These are in the domain of every score that takes this y, be it for counts or positive numbers, so that a scorer
    that fails on them is made for another task or for another y.

    Raises
    ------
    ValueError
        If the scorer fails on all rows, or on a fold.

    Examples
    --------
    >>> from metamix.data.folds import make_folds
    >>> y = np.arange(6.0)
    >>> try_scoring("accuracy", Problem(None, y / 3), make_folds(2, y[:, None], y), None)
    Traceback (most recent call last):
    ...
    ValueError: scoring='accuracy' cannot judge this y: continuous is not supported; give a score for numbers, such as \
'neg_mean_absolute_error' or 'r2', that takes these values, or None.
    """
    if scoring is None or folds.in_sample:
        return
    for t in range(problem.n_targets or 1):
        target = problem.target(t)
        truth = target.y.astype(np.float64) if classes is None else np.eye(len(classes))[target.y]
        halfway = 0.5 * (truth + truth.mean(axis=0))
        of_row = folds.partition
        whole = HeldOutLoss(target.y, target.weight, np.where(of_row >= 0, 0, -1), classes, scoring)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                whole.units(halfway)
            except ValueError as error:
                kind = "numbers" if classes is None else "classes"
                reason = str(error.__cause__ or "it answers NaN or infinity").strip().rstrip(".")
                raise ValueError(
                    f"scoring={scoring!r} cannot judge this y: {reason}; give a score for {kind}, such as "
                    f"{EXAMPLES[classes is not None]}, that takes these values, or None."
                ) from error
            HeldOutLoss(target.y, target.weight, of_row, classes, scoring).units(halfway)
