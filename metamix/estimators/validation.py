"""What may come in: X, y, weights and groups, checked once, each refusal with its remedy."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import get_scorer_names
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from metamix.data.folds import Folds
from metamix.data.tables import is_frame
from metamix.fitting.out_of_fold import Failure
from metamix.training.regime_search import fewest_rows

__all__ = [
    "check_X",
    "check_classes",
    "check_folds",
    "check_known_classes",
    "check_numbers",
    "check_rows",
    "check_scoring",
    "check_weights",
    "warn_of_failures",
    "warn_of_lost_regimes",
]


def check_X(estimator: Any, X: Any, *, reset: bool) -> Any:
    """X as the experts will see it: frames untouched, arrays checked and in C order.

    Sets `n_features_in_` and `feature_names_in_` where `reset`, and compares with them where not.

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> check_X(MixtureRegressor(), [[1, 2]], reset=True)
    array([[1, 2]])
    """
    if is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    tags = estimator.__sklearn_tags__().input_tags
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2 and (tags.string or tags.categorical):
        try:
            X = X.astype(np.float64)
        except ValueError:  # text among the columns: the experts know what to do with it
            validate_data(estimator, X, reset=reset, skip_check_array=True)
            return X
    return validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr" if tags.sparse else False,
        ensure_all_finite="allow-nan" if tags.allow_nan else True,
        order="C",
        dtype="numeric",
    )


def check_numbers(estimator: Any, y: Any, n_targets: int | None = -1) -> NDArray[np.float64]:
    """Target of a regression, (n,) floats, or several, (n, T).

    Raises
    ------
    ValueError
        If y is missing, not numbers, holds NaN or infinity, or has not the number of targets that is expected
        (None: one; -1: any).

    Examples
    --------
    >>> check_numbers(None, [1, 2])
    array([1., 2.])
    """
    _there(estimator, y)
    y = np.asarray(_no_sparse(y))
    if y.ndim != 2 or y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.dtype.kind in "OUST":
        y = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite=False, input_name="y")
    assert_all_finite(y, input_name="y")
    found = y.shape[1] if y.ndim == 2 else None
    if n_targets not in (-1, found):
        raise ValueError(f"y has {found or 1} targets, the mixture was fitted on {n_targets or 1}.")
    return np.asarray(y, dtype=np.float64)


def check_classes(estimator: Any, y: Any) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Classes (C,) and integer codes (n,) of a classification target.

    Raises
    ------
    ValueError
        If y is missing, continuous, not one column, or has a single class, which is named.

    Examples
    --------
    >>> check_classes(None, ["b", "a"])
    (array(['a', 'b'], dtype='<U1'), array([1, 0]))
    """
    _there(estimator, y)
    y = column_or_1d(_no_sparse(y), warn=True)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    elif y.dtype == object and any(label is None or label != label for label in y):
        raise ValueError("y has missing labels (None or NaN); drop those rows or give them a class of their own.")
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) == 1:
        only = classes[:1].tolist()[0]
        raise ValueError(f"y has one class only, {only!r}; a classifier needs at least two to tell apart.")
    return classes, codes


def check_known_classes(y: Any, classes: NDArray[Any]) -> NDArray[np.intp]:
    """Codes (n,) of labels of new rows; ValueError for a class that was not seen in fit.

    Examples
    --------
    >>> check_known_classes(["b", "a"], np.array(["a", "b"]))
    array([1, 0])
    """
    labels = np.asarray(y).ravel()
    unknown = sorted({str(label) for label in labels[~np.isin(labels, classes)]})
    if unknown:
        raise ValueError(f"y has classes that were not seen in fit: {', '.join(unknown)}.")
    return np.searchsorted(classes, labels)


def _there(estimator: Any, y: Any) -> None:
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")


def _no_sparse(y: Any) -> Any:
    if sparse.issparse(y):
        raise ValueError("y is sparse; pass a dense column, for example y.toarray().ravel().")
    return y


def check_weights(sample_weight: Any, n: int) -> NDArray[np.float64] | None:
    """Sample weights (n,), or None where none were given.

    Raises
    ------
    ValueError
        If the length is not n, or a weight is negative or not finite, or all are zero.

    Examples
    --------
    >>> check_weights([1, 2], 2)
    array([1., 2.])
    """
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n, float(weight))
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has shape {weight.shape}, X has {n} rows; give one weight per row, ({n},).")
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError("sample_weight must be finite and not negative, and not zero everywhere.")
    return weight


def check_folds(folds: Folds, weight: NDArray[np.float64]) -> None:
    """ValueError where folds hold out no row, or none that counts: weight (n,) is zero in all of them.

    Examples
    --------
    >>> check_folds(Folds(2, ()), np.ones(2))
    Traceback (most recent call last):
    ...
    ValueError: no row is ever held out by these folds, so nothing could be judged; give others.
    """
    if not folds.held_out.any():
        raise ValueError("no row is ever held out by these folds, so nothing could be judged; give others.")
    if not weight[folds.held_out].any():
        raise ValueError(
            "every row that these folds hold out has sample_weight zero, so nothing could be judged; "
            "give other folds, or weights."
        )
    for f, (train, _) in enumerate(folds.pairs):
        if len(train) and not weight[train].any():
            raise ValueError(
                f"every row that fold {f} trains on has sample_weight zero, so no expert could be fitted; "
                "give other folds, or weights."
            )


def warn_of_failures(failures: Iterable[Failure]) -> None:
    """Warn once of the experts that were dropped, each with its first error.

    Warns
    -----
    FitFailedWarning
    """
    first: dict[str, Failure] = {}
    for one in failures:
        first.setdefault(one.expert, one)
    if first:
        listed = "; ".join(f"{name} ({one.error})" for name, one in first.items())
        warnings.warn(
            f"left out because a fit failed: {listed}. failures_ lists every failure; on_error='raise' shows the first "
            "where it happens.",
            FitFailedWarning,
            stacklevel=3,
        )


def warn_of_lost_regimes(asked: Any, left: int, n_rows: float, some_failed: bool) -> None:
    """Warn where fewer regimes are left than were asked for.

    Parameters
    ----------
    asked : int, "auto" or None
        The parameter `n_experts`.
    left : int
    n_rows : float
        Number of distinct rows with weight.
    some_failed : bool
        Whether a fit of an expert failed.

    Warns
    -----
    UserWarning
    """
    if not isinstance(asked, Integral) or left >= asked:
        return
    regimes = "regime is" if left == 1 else "regimes are"
    failed = ", or their experts failed (see failures_)" if some_failed else ""
    warnings.warn(
        f"n_experts={asked}, but {left} {regimes} left: the others explained fewer than {fewest_rows(n_rows):g} of "
        f"{n_rows:g} distinct rows each and were given up{failed}. Set n_experts={left}, bring more rows, or say with "
        "start=labels which rows belong together.",
        UserWarning,
        stacklevel=3,
    )


def check_rows(X: Any, y: Any, groups: Any = None) -> NDArray[Any] | None:
    """Groups as an array (n,); ValueError where X, y and groups differ in length.

    Examples
    --------
    >>> check_rows([[1.0], [2.0]], [0, 1], ["a", "b"])
    array(['a', 'b'], dtype='<U1')
    """
    check_consistent_length(X, y, groups)
    return None if groups is None else np.asarray(groups)


def check_scoring(scoring: Any) -> None:
    """ValueError where `scoring` is neither None, nor the name of a scorer of scikit-learn, nor a callable.

    Examples
    --------
    >>> check_scoring("acuracy")
    Traceback (most recent call last):
    ...
    ValueError: scoring='acuracy' is unknown; did you mean 'accuracy'? sklearn.metrics.get_scorer_names() lists them.
    """
    if scoring is None or callable(scoring):
        return
    names = get_scorer_names()
    if not isinstance(scoring, str) or scoring not in names:
        near = difflib.get_close_matches(str(scoring), names, n=1)
        meant = f"did you mean {near[0]!r}?" if near else "give a name, a callable or None."
        raise ValueError(f"scoring={scoring!r} is unknown; {meant} sklearn.metrics.get_scorer_names() lists them.")
