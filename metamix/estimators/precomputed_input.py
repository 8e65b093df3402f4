"""What other people's models answered, handed in: read with its names, checked, and looked at for leaks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.cells import is_pandas
from metamix.data.tables import is_frame
from metamix.data.vectors import check_mask
from metamix.estimators.resolution import RESERVED
from metamix.fitting.fitted import LARGEST

__all__ = ["check_answers", "known_rows", "read_answers", "warn_of_hits"]

Array = NDArray[np.float64]

# A model that hits so large a share of the rows this closely (in standard deviations of y, or of a probability
# from one) has most likely seen them.
HIT, MOST_HITS = 1e-6, 0.99


def read_answers(
    predictions: Any, names: Sequence[str] | None, classes: NDArray[Any] | None = None
) -> tuple[list[str], Array]:
    """Names and answers (n, K) or (n, K, C) from an array, or from a frame or mapping, which has names.

    Parameters
    ----------
    predictions : array-like, data frame or mapping
        As of `fit_predictions`.
    names : sequence of K str, optional
    classes : ndarray of shape (C,), optional
        Probabilities whose columns are named are put in this order.

    Raises
    ------
    ValueError
        If there are no columns, not numbers, or names that do not fit models or classes.

    Examples
    --------
    >>> read_answers({"b": [1.0, 2.0], "a": [3.0, 4.0]}, names=["a", "b"])
    (['a', 'b'], array([[3., 1.],
           [4., 2.]]))
    """
    check_mask(predictions, "predictions")
    found, values = _read(predictions, names, classes)
    if not values.size:
        what = "columns; give one for each model" if len(values) else "rows; give those of at least one"
        raise ValueError(f"predictions have no {what}.")
    return found, values


def _read(predictions: Any, names: Sequence[str] | None, classes: NDArray[Any] | None) -> tuple[list[str], Array]:
    if isinstance(predictions, Mapping) or is_frame(predictions):
        return _read_by_name(predictions, names, classes)
    values = _numbers(predictions, "predictions")
    if values.ndim < 2:
        raise ValueError(f"predictions have shape {values.shape}; give (n, K), a column for each model.")
    found = _listed(names, values.shape[1])
    if len(found) != values.shape[1]:
        raise ValueError(
            f"predictions have {values.shape[1]} columns, and there are {len(found)} names "
            f"({', '.join(map(str, found))}); give one column for each, in this order."
        )
    _check_names(found)
    return found, values


def _read_by_name(
    predictions: Any, names: Sequence[str] | None, classes: NDArray[Any] | None
) -> tuple[list[str], Array]:
    models = _models(predictions, classes)
    wanted = list(models) if names is None else [str(name) for name in _listed(names, len(models))]
    absent = [name for name in wanted if name not in models]
    if absent or not wanted:
        raise ValueError(f"predictions lack {absent or 'columns'}; they have {list(models)}.")
    read = [_answers_of_model(models[name], f"predictions of {name!r}", classes) for name in wanted]
    shapes = {one.shape for one in read}
    if len(shapes) > 1:
        raise ValueError(f"the models' predictions have different shapes, {sorted(shapes)}; give one for all.")
    _check_names(wanted)
    flat = [name for name, values in zip(wanted, read, strict=True) if values.ndim == 0]
    if flat:
        raise ValueError(f"the predictions of {flat[0]!r} are no column; give one for each row.")
    return wanted, np.stack(read, axis=1)


def _models(predictions: Any, classes: NDArray[Any] | None) -> dict[str, Any]:
    """The answers of each model, by its name."""
    columns = predictions
    if not isinstance(predictions, Mapping):
        if getattr(predictions.columns, "nlevels", 1) == 2:  # model and class, as `pd.concat` of a mapping makes them
            columns = {name: predictions[name] for name in predictions.columns.unique(0)}
        else:
            columns, named = _columns_of(predictions, "the frame of predictions")
            if classes is not None and named and any(_class_of(name, classes) is not None for name in columns):
                raise ValueError(
                    f"predictions have the columns {list(columns)}, among which are classes; a frame has a column for "
                    "each model. Give the probabilities of one model as predictions={'name of the model': frame}."
                )
    models = {str(name): column for name, column in columns.items()}
    if len(models) < len(columns):
        raise ValueError(f"two models are called alike, among {list(columns)}; give each a name of its own.")
    return models


def _columns_of(frame: Any, what: str) -> tuple[dict[Any, Any], bool]:
    """Columns of a frame as arrays, and whether they have names of their own."""
    import narwhals as nw

    try:
        read = nw.from_native(frame, eager_only=True)
        labels = list(frame.columns) if is_pandas(frame) else list(read.columns)
        if len(set(labels)) < len(labels):
            raise ValueError(f"its columns are {labels}")
    except Exception as error:  # of any library: two columns of one name, most of all
        raise ValueError(f"{what} cannot be read ({error}); name each column once.") from error
    # pandas counts columns without names as a range, polars in words.
    counted = type(frame.columns).__name__ == "RangeIndex" or labels == [f"column_{i}" for i in range(len(labels))]
    return {label: read[:, i].to_numpy() for i, label in enumerate(labels)}, not counted


def _answers_of_model(answers: Any, what: str, classes: NDArray[Any] | None) -> Array:
    """Answers of one model as (n,), or probabilities (n, C) in the order of the classes."""
    if classes is None:
        return _numbers(answers, what)
    if is_frame(answers):
        columns, named = _columns_of(answers, f"the frame with {what}")
        if named:
            return _by_class(columns, what, classes)
    values = _numbers(answers, what)
    if values.ndim == 1 and len(classes) == 2:
        # A number as the name of a column counts models as often as it is a class.
        name = getattr(answers, "name", None)
        place = _class_of(name, classes) if isinstance(name, str) else None
        return _by_class({classes[1 if place is None else place]: values}, what, classes)
    return values


def _by_class(columns: Mapping[Any, Any], what: str, classes: NDArray[Any]) -> Array:
    """Probabilities (n, C) from columns that are named after classes; zero for classes that a model does not know."""
    found = {name: _class_of(name, classes) for name in columns}
    unknown = [name for name, place in found.items() if place is None]
    places = [place for place in found.values() if place is not None]
    if unknown or not columns or len(set(places)) < len(places):
        wrong = f"of which {unknown} are no classes" if unknown else "which are not one for each class"
        raise ValueError(
            f"{what} have columns {list(columns)}, {wrong}; y has the classes {classes.tolist()}. Name the columns "
            "after the classes, or give an array in the order of the classes."
        )
    read = [_numbers(column, what) for column in columns.values()]
    values = np.zeros((len(read[0]), len(classes)))
    values[:, places] = np.column_stack(read)
    if len(classes) == 2 and len(read) == 1:
        values[:, 1 - places[0]] = 1 - read[0]
    return values


def _class_of(name: Any, classes: NDArray[Any]) -> int | None:
    """The class that a column is named after; text, as files have it, also names a number."""
    labels = classes.tolist()
    found = [i for i, label in enumerate(labels) if label == name] or [
        i for i, label in enumerate(labels) if str(label) == str(name)
    ]
    return found[0] if found else None


def _numbers(values: Any, what: str) -> Array:
    try:
        return np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} are not numbers ({error}); of classes, give probabilities.") from error


def check_answers(
    values: Array, names: Sequence[str], classes: NDArray[Any] | None, *, complete: bool = False
) -> Array:
    """Predictions (n, K), or probabilities (n, K, C) that sum to one; NaN where a model gave none.

    Parameters
    ----------
    values : ndarray of shape (n, K) or (n, K, C)
        Of two classes, (n, K) holds the probability of the second.
    names : list of K str
    classes : ndarray of shape (C,) or None
    complete : bool
        Whether every row needs every answer.

    Raises
    ------
    ValueError
        For another shape, infinity, no probability, or a gap where none may be.

    Examples
    --------
    >>> check_answers(np.array([[0.25]]), ["tree"], np.array(["no", "yes"]))
    array([[[0.75, 0.25]]])
    """
    if classes is not None:
        values = _probabilities(values, names, classes)
    elif values.ndim != 2:
        raise ValueError(f"predictions have shape {values.shape}; of numbers, give (n, K): a column for each model.")
    if np.isinf(values).any():
        raise ValueError(f"{_first(np.isinf(values), names)!r} answered infinity; give NaN where it has no answer.")
    large = np.abs(np.nan_to_num(values)) > LARGEST
    if large.any():
        raise ValueError(
            f"{_first(large, names)!r} answered numbers above {LARGEST:g}, whose squares overflow; give NaN there."
        )
    if complete and np.isnan(values).any():
        raise ValueError(
            f"{_first(np.isnan(values), names)!r} did not answer some rows (NaN); give every row's answer."
        )
    return values


def _listed(names: Any, n: int) -> list[str]:
    """Names of the models as a list of text."""
    if names is None:
        return [f"model-{k + 1}" for k in range(n)]
    if isinstance(names, str | Mapping | Set) or not isinstance(names, Iterable):
        raise ValueError(f"names={names!r} is not a list; give a name for each model, such as ['ridge', 'forest'].")
    return list(names)


def _check_names(names: Sequence[str]) -> None:
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong:
        raise ValueError(f"a model cannot be called {wrong[0]!r}; give each a name, as text that is not empty.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two models are called {twice[0]!r}; give each a name of its own.")
    if taken := sorted(RESERVED.intersection(names)):
        raise ValueError(
            f"a model cannot be called {taken[0]!r}: that is a column or candidate of the mixture; choose another name."
        )


def _first(wrong: NDArray[np.bool_], names: Sequence[str]) -> str:
    """Name of the first model with something wrong."""
    return names[int(np.flatnonzero(wrong.reshape(len(wrong), len(names), -1).any(axis=(0, 2)))[0])]


def _probabilities(values: Array, names: Sequence[str], classes: NDArray[Any]) -> Array:
    """Probabilities (n, K, C) that sum to one; of two classes, (n, K) is the second one's."""
    listed = ", ".join(map(str, classes.tolist()))
    if values.ndim == 2 and len(classes) == 2:
        values = np.stack([1 - values, values], axis=2)
    if values.shape[2:] != (len(classes),):
        raise ValueError(
            f"predictions have shape {values.shape}; give probabilities (n, K, {len(classes)}), the classes in the "
            f"order {listed}" + (", or (n, K) of the last." if len(classes) == 2 else ".")
        )
    total = values.sum(axis=2)
    wrong = (values < -1e-6).any(axis=2) | (np.abs(total - 1) > 1e-3)
    if wrong.any():
        raise ValueError(
            f"{_first(wrong, names)!r} gave something that is no probability, or that does not sum to one over the "
            f"classes {listed}; give what predict_proba answers, with NaN where there is none."
        )
    clipped = np.maximum(values, 0)
    return np.asarray(clipped / clipped.sum(axis=2, keepdims=True))


def known_rows(values: Array, names: Sequence[str]) -> NDArray[np.bool_]:
    """Rows that every model answered, (n,); the others take no part.

    Examples
    --------
    >>> known_rows(np.array([[1.0, 2.0], [np.nan, 3.0]]), ["a", "b"])
    array([ True, False])
    """
    known = np.asarray(np.isfinite(values).reshape(len(values), len(names), -1).all(axis=2))
    silent = [name for k, name in enumerate(names) if not known[:, k].any()]
    if silent:
        raise ValueError(f"{silent[0]!r} answered no row; leave it out, or give its out-of-fold answers.")
    if not known.all(axis=1).any():
        raise ValueError("no row was answered by every model, so they cannot be compared; give the same rows for all.")
    return np.asarray(known.all(axis=1))


def warn_of_hits(values: Array, target: NDArray[Any], names: Sequence[str]) -> None:
    """Warn of models that reproduce y: fitted on these rows, they would get all the trust.

    Examples
    --------
    >>> y = np.array([1.0, 2.0])
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_hits(y[:, None], y, ["tree"])
    >>> len(caught)
    1
    """
    if values.ndim == 2:
        missed = np.abs(values - target[:, None]) / (float(np.std(target)) or 1.0)
    else:
        missed = 1 - values[np.arange(len(target)), :, target]
    hits = (missed <= HIT).mean(axis=0)
    found = [f"{name} ({share:.0%})" for name, share in zip(names, hits, strict=True) if share >= MOST_HITS]
    if found and np.ptp(target):
        warnings.warn(
            f"answers that equal y in nearly every row: {', '.join(found)}. Either y follows exactly from X, or the "
            "model was trained on these rows; give out-of-fold answers, as of cross_val_predict.",
            UserWarning,
            stacklevel=4,
        )
