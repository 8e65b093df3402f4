"""What may come in: X, y, weights and groups, checked once, each refusal with its remedy."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from metamix.data.cells import is_pandas
from metamix.data.folds import Folds
from metamix.data.frames import check_size, is_frame, n_rows
from metamix.data.parquet import ParquetTable
from metamix.data.scalars import is_whole
from metamix.data.vectors import as_groups, as_weights, check_labels, check_mask, check_present
from metamix.fitting.fitted import LARGEST
from metamix.fitting.out_of_fold import Failure
from metamix.protocols import SequentialGate
from metamix.training.regime_search import fewest_rows

__all__ = [
    "check_X",
    "check_classes",
    "check_folds",
    "check_in_memory",
    "check_known_classes",
    "check_new_labels",
    "check_no_names",
    "check_numbers",
    "check_order",
    "check_rows",
    "check_target_number",
    "check_weights",
    "clean_X",
    "loaded",
    "warn_of_failures",
    "warn_of_lost_regimes",
]


def clean_X(estimator: Any, X: Any, *, reset: bool) -> Any:
    """A frame whose columns are read as the parameter `columns` says; anything else as it is.

    Sets `cleaner_` where `reset`; it is None where X is no frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from metamix import MixtureRegressor
    >>> clean_X(MixtureRegressor(), pd.DataFrame({"a": [1, 2]}), reset=True)["a"].tolist()
    [1, 2]
    """
    check_in_memory(X)
    if reset:
        estimator.cleaner_ = None
    if not is_frame(X):
        return X
    if reset:
        from metamix.data.cleaning import fit_cleaner  # needs pandas, which arrays do not

        estimator.cleaner_ = fit_cleaner(estimator.columns, X)
    return X if estimator.cleaner_ is None else estimator.cleaner_.transform(X)


def check_X(estimator: Any, X: Any, *, reset: bool) -> Any:
    """X as the experts will see it: frames untouched, arrays checked and in C order.

    Sets `n_features_in_` and `feature_names_in_` where `reset`, and compares with them where not.

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> check_X(MixtureRegressor(), [[1, 2]], reset=True)
    array([[1, 2]])
    """
    if not reset and (_is_plain(estimator, X) or _has_known_columns(estimator, X)):
        return X
    check_mask(X, "X")
    if is_frame(X):
        _check_readable(X)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        check_size(estimator, X)
        if reset:
            estimator._array_of_numbers = False
        if not getattr(estimator, "_array_of_numbers", False):
            return X
        X = X.to_numpy()
    tags = estimator.__sklearn_tags__().input_tags
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2 and (tags.string or tags.categorical):
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError):  # text among the columns: the experts know what to do with it
            validate_data(estimator, X, reset=reset, skip_check_array=True)
            check_size(estimator, X)
            if not reset and getattr(estimator, "_array_of_numbers", False):
                raise ValueError("X has text, and the mixture was fitted on numbers; give numbers.") from None
            return X
    X = validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr" if tags.sparse else False,
        ensure_all_finite="allow-nan" if tags.allow_nan else True,
        order="C",
        dtype="numeric",
    )
    numeric = X.dtype.kind in "fiub"
    if not reset and not numeric and getattr(estimator, "_array_of_numbers", False):
        raise ValueError(f"X has {X.dtype} values, and the mixture was fitted on numbers; give numbers.")
    if reset:
        estimator._array_of_numbers = numeric
    return X


def _is_plain(estimator: Any, X: Any) -> bool:
    """Whether new rows are an array of finite numbers as in fit, so that nothing is to be checked or converted.

    For one row the checks that follow take as long as a fast expert.
    """
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype.kind in "fiu"
        and X.shape == (len(X) or None, getattr(estimator, "n_features_in_", None))  # None where fitted without X
        and bool(X.flags.c_contiguous)
        and getattr(estimator, "_array_of_numbers", False)
        and not hasattr(estimator, "feature_names_in_")  # scikit-learn warns of their absence
        and bool(np.isfinite(X).all())
    )


def _has_known_columns(estimator: Any, X: Any) -> bool:
    """Whether new rows are a frame of pandas with the columns of fit in their order, where frames stay as they are."""
    known = getattr(estimator, "feature_names_in_", None)
    return (
        known is not None
        and is_pandas(X)
        and len(X) > 0
        and not getattr(estimator, "_array_of_numbers", False)
        and X.columns.tolist() == known.tolist()
    )


def _check_readable(X: Any) -> None:
    """ValueError where a frame cannot be read, most of all for two columns of one name."""
    if is_pandas(X) and X.columns.is_unique:
        return
    import narwhals as nw

    try:
        nw.from_native(X, eager_only=True)
    except Exception as error:  # of any library
        raise ValueError(
            f"X is a frame that cannot be read ({error}); collect it, and name each column once."
        ) from error


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
    check_present(estimator, y)
    check_mask(y, "y")
    y = np.asarray(_no_sparse(y))
    if y.ndim and not len(y):
        raise ValueError(f"Found array with 0 sample(s) (shape={y.shape}) in y, while a minimum of 1 is required.")
    if y.ndim == 2 and not y.shape[1]:
        raise ValueError(f"y has shape {y.shape}, no columns; give one column, ({len(y)},), or one for each target.")
    if y.ndim != 2 or y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.dtype.kind in "cMm":
        raise ValueError(f"y has {y.dtype} values; give real numbers, such as y.astype(float) where that makes sense.")
    if y.dtype.kind in "OUST":
        try:
            y = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite=False, input_name="y")
        except (TypeError, ValueError) as error:
            raise ValueError(f"y is not numbers ({error}); give numbers, or use a classifier for classes.") from error
    assert_all_finite(y, input_name="y")
    y = np.asarray(y, dtype=np.float64)
    if np.abs(y).max() > LARGEST:
        raise ValueError(f"y has numbers above {LARGEST:g}, whose squares overflow; give y in larger units.")
    found = y.shape[1] if y.ndim == 2 else None
    if n_targets not in (-1, found):
        raise ValueError(f"y has {found or 1} targets, the mixture was fitted on {n_targets or 1}.")
    return y


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
    check_present(estimator, y)
    check_mask(y, "y")
    shape = np.asarray(_no_sparse(y), dtype=object).shape
    if len(shape) == 2 and shape[1] > 1:
        raise ValueError(
            f"y has shape {shape}, {shape[1]} labels for each row, where one is expected. Give one column, such as "
            "y[:, 0], and take the labels in turn; MixtureClassifier takes several labels of zeros and ones at once."
        )
    check_labels(y)
    y = column_or_1d(_no_sparse(y), warn=True)
    _check_complete(y)
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
    check_labels(y)
    labels = column_or_1d(np.asarray(y))
    unknown = sorted({str(label) for label in labels[~np.isin(labels, classes)]})
    if unknown:
        raise ValueError(f"y has classes that were not seen in fit: {', '.join(unknown)}.")
    return np.searchsorted(classes, labels)


def _check_complete(labels: NDArray[Any]) -> None:
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    elif labels.dtype == object and any(label is None or label != label for label in labels):
        raise ValueError("y has missing labels (None or NaN); drop those rows or give them a class of their own.")


def check_new_labels(estimator: Any, y: Any) -> NDArray[Any]:
    """Labels (n,) of new rows, of any classes.

    Examples
    --------
    >>> check_new_labels(None, ["b", "a"])
    array(['b', 'a'], dtype='<U1')
    """
    check_present(estimator, y)
    check_mask(y, "y")
    check_labels(y)
    labels: NDArray[Any] = column_or_1d(_no_sparse(y))
    _check_complete(labels)
    return labels


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
    return None if sample_weight is None else as_weights(sample_weight, (n,))


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


def check_order(gates: Iterable[Any], folds: Folds) -> None:
    """ValueError where a gate follows the order of the rows, and folds do not.

    Examples
    --------
    >>> from metamix.gates import OnlineGate
    >>> check_order([OnlineGate()], Folds(2, ()))
    Traceback (most recent call last):
    ...
    ValueError: gate=OnlineGate() follows the order of the rows, and these folds do not; put the rows into the order \
of time and give cv=TimeSeriesSplit(5), of sklearn.model_selection.
    """
    sequential = [gate for gate in gates if isinstance(gate, SequentialGate)]
    if sequential and not folds.forward:
        raise ValueError(
            f"gate={sequential[0]!r} follows the order of the rows, and these folds do not; put the rows into the "
            "order of time and give cv=TimeSeriesSplit(5), of sklearn.model_selection."
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


def check_target_number(target: Any, n_targets: int | None) -> int:
    """The number of a target; ValueError where there is none such.

    Examples
    --------
    >>> check_target_number(1, 2)
    1
    """
    n = n_targets or 1
    if not is_whole(target, 0) or target >= n:
        given = f"y had {n} targets; give a number from 0 to {n - 1}" if n > 1 else "y had one target; leave it out"
        raise ValueError(f"target={target!r}, but {given}.")
    return int(target)


def check_in_memory(X: Any) -> None:
    """TypeError for a table of `metamix.scan`, which only `fit` reads in chunks, and a function, which it calls."""
    if isinstance(X, ParquetTable):
        raise TypeError(
            "a table of metamix.scan is for fit; predict the frames of table.batches() one by one, and give compare, "
            "report and all others a frame, such as table.sample(100_000)."
        )
    if callable(X):
        raise TypeError(f"X is the function {X!r}, which fit and compare would call; give the rows that it returns.")


def loaded(X: Any) -> Any:
    """Rows, which a function returns where X is one.

    Raises
    ------
    TypeError
        If the function needs arguments or returns no rows.

    Examples
    --------
    >>> loaded(lambda: [[1.0]]), loaded([[1.0]])
    ([[1.0]], [[1.0]])
    """
    if not callable(X):
        return X
    try:
        inspect.signature(X).bind()
    except TypeError as error:
        raise TypeError(
            f"X is the function {X!r}, which cannot be called without arguments ({error}); bind them, as in "
            "functools.partial(pandas.read_parquet, 's3://bucket/rows.parquet')."
        ) from None
    except ValueError:  # a builtin that does not tell
        pass
    rows = X()
    if callable(rows) or not (isinstance(rows, list | tuple) or hasattr(rows, "shape")):
        raise TypeError(
            f"X is the function {X!r}, which returned a {type(rows).__name__}; an array, a sparse matrix or a data "
            "frame would do."
        )
    return rows


def check_no_names(**given: Any) -> None:
    """TypeError where what should be values of the rows is a name, as of a column of X.

    Examples
    --------
    >>> check_no_names(y="price")
    Traceback (most recent call last):
    ...
    TypeError: y='price' is the name of a column, which goes with a table of metamix.scan; give the values, as in \
X['price'], and X without them.
    """
    for what, value in given.items():
        if isinstance(value, str):
            raise TypeError(
                f"{what}={value!r} is the name of a column, which goes with a table of metamix.scan; give the values, "
                f"as in X[{value!r}], and X without them."
            )


def check_rows(X: Any, y: Any, groups: Any = None) -> NDArray[Any] | None:
    """Groups as an array (n,); ValueError where X, y and groups differ in length, or groups have gaps.

    Examples
    --------
    >>> check_rows([[1.0], [2.0]], [0, 1], ["a", "b"])
    array(['a', 'b'], dtype='<U1')
    """
    check_consistent_length(X, y, groups)
    return None if groups is None else as_groups(groups, n_rows(X))
