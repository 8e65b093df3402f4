"""Checks of experts. Every check makes its own expert and fits it to a small table."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from metamix.testing.assertions import Factory, require

__all__ = ["EXPERT_CHECKS", "NAMED_CHECKS"]

Array = NDArray[Any]
THREADS = ("n_jobs", "nthread", "thread_count", "num_threads")
N = 120  # number of rows; in the second half the columns of the first are repeated


def _table(classes: bool, offset: float = 0.0) -> tuple[Array, Array]:
    half = np.random.default_rng(0).normal(size=(N // 2, 3))
    X = np.ascontiguousarray(np.vstack([half, half]))
    y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(int) if classes else X[:, 0] - X[:, 1] + offset
    return X, y


def _seeded(expert: Any) -> Any:
    seeds = {name: 0 for name in expert.get_params() if name.rpartition("__")[2] == "random_state"}
    return expert.set_params(**seeds)


def _weight_keyword(expert: Any) -> str | None:
    if isinstance(expert, Pipeline):
        name, last = expert.steps[-1]
        return f"{name}__sample_weight" if has_fit_parameter(last, "sample_weight") else None
    return "sample_weight" if has_fit_parameter(expert, "sample_weight") else None


def _fit(expert: Any, X: Any, y: Any, weight: Array | None = None) -> Any:
    keyword = None if weight is None else _weight_keyword(expert)
    with config_context(enable_metadata_routing=False):
        return _seeded(expert).fit(X, y, **({keyword: weight} if keyword else {}))


def _predict(expert: Any, X: Any, classes: bool) -> Array:
    return np.asarray(expert.predict_proba(X) if classes else expert.predict(X))


def clones_and_keeps_parameters(make: Factory, classes: bool) -> None:
    """A clone has the same parameters, and fit changes none."""
    expert = make()
    require(sorted(clone(expert).get_params()) == sorted(expert.get_params()), "a clone has different parameters")
    settings = {name: repr(value) for name, value in _seeded(expert).get_params().items()}
    _fit(expert, *_table(classes))
    after = {name: repr(value) for name, value in expert.get_params().items()}
    changed = [name for name in settings if after.get(name) != settings[name]]
    require(not changed, f"fit changes the parameters {changed}; fitted attributes must have names ending in _")


def answers_have_shape_and_are_finite(make: Factory, classes: bool) -> None:
    """Predictions are (n,) or (n, C), finite, and better than a constant."""
    X, y = _table(classes)
    expert = _fit(make(), X, y)
    prediction = _predict(expert, X[:50], classes)
    shape = (50, 2) if classes else (50,)
    require(prediction.shape == shape, f"predictions for 50 rows have shape {prediction.shape}; expected {shape}")
    require(np.isfinite(prediction).all(), "a prediction is NaN or infinite")
    if classes:
        require(
            (prediction >= 0).all() and np.allclose(prediction.sum(axis=1), 1, atol=1e-5),
            "probabilities are negative or do not sum to 1",
        )
        require(np.array_equal(expert.classes_, [0, 1]), "classes_ are not the sorted labels")
        require((prediction.argmax(axis=1) == y[:50]).mean() > 0.6, "accuracy for a linear boundary is below 0.6")
    else:
        require(
            np.mean((prediction - y[:50]) ** 2) < np.var(y[:50]), "the squared error is larger than that of the mean"
        )


def same_seed_same_answer(make: Factory, classes: bool) -> None:
    """Equal seeds give identical predictions."""
    X, y = _table(classes)
    first, second = (_predict(_fit(make(), X, y), X, classes) for _ in range(2))
    require(np.array_equal(first, second), "two fits with the same seed give different predictions")


def refitting_forgets(make: Factory, classes: bool) -> None:
    """A second fit does not depend on the first."""
    X, y = _table(classes)
    expert = _fit(make(), -3 * X, 1 - y)
    require(
        np.array_equal(_predict(_fit(expert, X, y), X, classes), _predict(_fit(make(), X, y), X, classes)),
        "a second fit depends on the first",
    )


def weights_count_where_taken(make: Factory, classes: bool) -> None:
    """If fit takes sample_weight, the weights change the predictions."""
    if _weight_keyword(make()) is None:
        return  # a mixture resamples rows in proportion to their weights instead
    X, y = _table(classes)
    first = np.arange(N) < N // 2
    y = np.where(first, y, 1 - y) if classes else np.where(first, y, y + 10)
    predictions = [_predict(_fit(make(), X, y, np.where(w, 1.0, 0.01)), X, classes) for w in (first, ~first)]
    if classes:
        truth = y[: N // 2]
        shares = [float(np.mean(prediction[: N // 2].argmax(axis=1) == truth)) for prediction in predictions]
        require(shares[0] > shares[1], "sample_weight is accepted but has no effect")
    else:
        gap = float(np.mean(predictions[1] - predictions[0]))
        require(gap > 5, f"weights of 1 and 0.01 on targets that differ by 10 change predictions by {gap:.3g} only")


def leaves_its_input_alone(make: Factory, classes: bool) -> None:
    """Read-only arrays are accepted, and fit and predict do not change X."""
    X, y = _table(classes)
    weight = np.linspace(0.5, 1.0, N)
    for array in (X, y, weight):
        array.setflags(write=False)  # like the memory-mapped arrays in a worker process
    copy = X.copy()
    _predict(_fit(make(), X, y, weight), X, classes)
    require(np.array_equal(X, copy), "fit or predict changes X")


def rows_are_answered_alone(make: Factory, classes: bool) -> None:
    """The prediction for a row does not depend on the other rows; a mixture predicts subsets of rows."""
    X, y = _table(classes)
    expert = _fit(make(), X, y)
    together, alone = _predict(expert, X[:3], classes), _predict(expert, X[1:2], classes)
    require(
        np.allclose(together[1], alone[0], rtol=1e-4, atol=1e-6),
        "the prediction for a row depends on the other rows",
    )


def pickles_when_fitted(make: Factory, classes: bool) -> None:
    """Fitted experts can be pickled, to be sent between processes."""
    X, y = _table(classes)
    expert = _fit(make(), X, y)
    again = pickle.loads(pickle.dumps(expert))
    require(
        np.array_equal(_predict(again, X, classes), _predict(expert, X, classes)),
        "a pickled copy gives different predictions",
    )


def one_thread_by_default(make: Factory, classes: bool) -> None:
    """The number of threads defaults to 1; the mixture runs experts in parallel."""
    threads = {k: v for k, v in make().get_params().items() if k.rpartition("__")[2] in THREADS and v not in (None, 1)}
    require(not threads, f"more than one thread by default: {threads}")


def mixed_columns_and_missing_values(make: Factory, classes: bool) -> None:
    """Numbers, strings, booleans, categories, dates, missing values and unknown categories are accepted."""
    import pandas as pd

    X, y = _table(classes)
    frame = pd.DataFrame({"number": X[:, 0], "text": np.where(X[:, 1] > 0, "up", "down"), "flag": X[:, 2] > 0})
    frame["kind"] = pd.Categorical(np.where(X[:, 2] > 0.5, "a", "b"))
    frame["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N), unit="D")
    frame.loc[3:7, "number"], frame.loc[5:9, "text"], frame.loc[1:2, "kind"] = np.nan, None, None
    expert = _fit(make(), frame, y)
    frame.loc[:4, "text"], frame.loc[11:12, "when"] = "never seen", pd.NaT
    prediction = _predict(expert, frame, classes)
    require(len(prediction) == N and np.isfinite(prediction).all(), "a prediction for mixed columns is NaN or infinite")


def labels_or_units_of_any_kind(make: Factory, classes: bool) -> None:
    """String labels, or the scale of the target, do not change the predictions."""
    X, y = _table(classes, offset=2.0)
    plain = _predict(_fit(make(), X, y), X, classes)
    if classes:
        expert = _fit(make(), X, np.array(["no", "yes"])[y])
        require(list(expert.classes_) == ["no", "yes"], "classes_ are not the sorted string labels")
        require(np.allclose(_predict(expert, X, True), plain, atol=1e-6), "string labels change the probabilities")
        return
    for unit in (1e-6, 1e6):
        scaled = _predict(_fit(make(), X, y * unit), X, False) / unit
        error = float(np.mean(np.abs(scaled - plain)) / np.std(plain))
        require(
            error < 0.01,
            f"a target times {unit:g} changes the rescaled predictions by {error:.2g} of their standard deviation",
        )


EXPERT_CHECKS = (
    clones_and_keeps_parameters,
    answers_have_shape_and_are_finite,
    same_seed_same_answer,
    refitting_forgets,
    weights_count_where_taken,
    leaves_its_input_alone,
    rows_are_answered_alone,
    pickles_when_fitted,
)
NAMED_CHECKS = (one_thread_by_default, mixed_columns_and_missing_values, labels_or_units_of_any_kind)
