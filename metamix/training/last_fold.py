"""Whether the last fold of a time order is predicted worse than the earlier ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from metamix.data.folds import Folds
from metamix.training.selection import STANDARD_ERRORS, HeldOutLoss, paired
from metamix.training.wording import short_number, shown_loss

__all__ = ["worse_last_fold"]

Array = NDArray[np.float64]


def worse_last_fold(loss: HeldOutLoss, units: Array, folds: Folds) -> str:
    """A sentence if the last fold is predicted worse than the earlier ones, beyond noise; else nothing.

    The difference of the mean losses must be above 1.75 standard errors: of the rows, and of a new fold as
    the earlier ones scatter (with Student's t, since they are few): neighbouring rows of a series are not independent.

    Parameters
    ----------
    loss : HeldOutLoss
    units : ndarray of shape (u,)
        Loss of each unit: of each row, or of each fold where a scorer judges.
    folds : Folds
        If they are not in time order, there is no last one.

    Examples
    --------
    >>> pairs = [(np.arange(10 * f), np.arange(10 * f, 10 * f + 10)) for f in (1, 2, 3)]
    >>> folds = Folds(40, tuple(pairs))
    >>> loss = HeldOutLoss(np.zeros(40), np.ones(40), folds.partition)
    >>> worse_last_fold(loss, np.where(np.arange(40) < 30, 1.0, 4.0) + 0.1 * (np.arange(40) % 2), folds)
    'The last fold is predicted worse than the earlier ones: squared error 4.05 (RMSE 2.012), before that squared \
error 1.05 (RMSE 1.025) (± 0.02). The rows may have changed with time, and new rows may be predicted worse than the \
figures above say.'
    """
    if not folds.forward:
        return ""
    if loss.scoring is None:
        weight, fold, groups = loss.weight, loss.fold, loss.unit_groups
    else:
        weight, fold, groups = loss.weight, np.arange(len(units)), None
    judged = np.unique(fold[(fold >= 0) & (weight > 0)])
    if len(judged) < 2:
        return ""
    masks = [(fold == f) & (weight > 0) for f in judged]
    means = [float(np.average(units[mask], weights=weight[mask])) for mask in masks]
    last = masks[-1]
    earlier = np.logical_or.reduce(masks[:-1])
    before = float(np.average(units[earlier], weights=weight[earlier]))
    limits, k = [], len(means) - 1
    if loss.scoring is None:
        of_rows = [paired(units[m], weight[m], None if groups is None else groups[m]) for m in (last, earlier)]
        limits.append(STANDARD_ERRORS * math.hypot(*(one.standard_error for one in of_rows)))
    if k > 1:
        scatter = float(np.std(means[:-1], ddof=1)) * np.sqrt(1 + 1 / k)
        limits.append(float(t.ppf(norm.cdf(STANDARD_ERRORS), k - 1)) * scatter)
    if not limits or not means[-1] - before > max(limits):  # none of a scorer with a single earlier fold
        return ""
    error = max(limits) / STANDARD_ERRORS
    return (
        f"The last fold is predicted worse than the earlier ones: {shown_loss(loss.measure, means[-1])}, before that "
        f"{shown_loss(loss.measure, before)} (± {short_number(error)}). The rows may have changed with time, and new "
        "rows may be predicted worse than the figures above say."
    )
