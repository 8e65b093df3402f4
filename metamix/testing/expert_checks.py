"""Checks of experts. Every check makes its own expert and fits it to a small table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.model_selection import TimeSeriesSplit
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from metamix.estimators import MixtureClassifier, MixtureRegressor
from metamix.fitting.expert import takes_weights
from metamix.testing.assertions import Factory, require
from metamix.testing.common_checks import Trial, seeded

__all__ = ["CLASSIFIER_CHECKS", "EXPERT_CHECKS", "NAMED_CHECKS", "expert_trial"]

Array = NDArray[Any]
THREADS = ("n_jobs", "nthread", "thread_count", "num_threads")
N = 120  # number of rows; in the second half the columns of the first are repeated


def _table(classes: bool, offset: float = 0.0) -> tuple[Array, Array]:
    half = np.random.default_rng(0).normal(size=(N // 2, 3))
    X = np.ascontiguousarray(np.vstack([half, half]))
    y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(int) if classes else X[:, 0] - X[:, 1] + offset
    return X, y


def _fit(expert: Any, X: Any, y: Any, weight: Array | None = None) -> Any:
    keyword = None if weight is None else takes_weights(expert)
    with config_context(enable_metadata_routing=False):
        return seeded(expert).fit(X, y, **({keyword: weight} if keyword else {}))


def _predict(expert: Any, X: Any, classes: bool) -> Array:
    return np.asarray(expert.predict_proba(X) if classes else expert.predict(X))


def _mixture(expert: Any, classes: bool, **settings: Any) -> Any:
    """A mixture of the expert and nearest neighbours, unfitted; an error of the expert is raised."""
    kind, other = (MixtureClassifier, KNeighborsClassifier()) if classes else (MixtureRegressor, KNeighborsRegressor())
    experts = [("part", expert), ("other", other)]
    return kind(experts, gate="constant", specialize=False, on_error="raise", random_state=0, n_jobs=1, **settings)


def expert_trial(make: Factory, classes: bool) -> Trial:
    """How the common checks use an expert."""
    X, y = _table(classes)

    def mistakes(make: Factory) -> Iterator[tuple[str, Callable[[], Any]]]:
        yield "predicting before fit", lambda: _predict(make(), X, classes)
        yield "fitting with a target too few", lambda: _fit(make(), X, y[:-1])
        fitted = _fit(make(), X, y)
        yield "predicting with a column too many", lambda: _predict(fitted, np.hstack([X, X[:, :1]]), classes)

    return Trial(
        make,
        fit=lambda expert: _fit(expert, X, y),
        answer=lambda expert: _predict(expert, X, classes),
        mistakes=mistakes,
        mixture=lambda expert: (_mixture(expert, classes, cv=TimeSeriesSplit(2)), X, y),
    )


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
    if takes_weights(make()) is None:
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


def rows_of_weight_zero_do_not_count(make: Factory, classes: bool) -> None:
    """If fit takes sample_weight, the targets of rows without weight have no effect."""
    if takes_weights(make()) is None:
        return
    X, y = _table(classes)
    without = np.arange(N) % 4 == 3
    weight = np.where(without, 0.0, 1.0)
    far = (1 - y, y) if classes else (y + 1000, y - 1000)
    first, second = (_predict(_fit(make(), X, np.where(without, other, y), weight), X, classes) for other in far)
    gap = float(np.abs(first - second).max())
    require(gap < 1e-3, f"targets of rows with sample_weight 0 change predictions by {gap:.2g}")


def weight_of_two_is_two_rows(make: Factory, classes: bool) -> None:
    """If fit takes sample_weight, of two rows with equal columns the one of weight 2 counts twice.

    Their targets are 0 and 1, or differ by 10. Which of them counts twice moves the mean prediction, by weights as
    by repeated rows: by a third of the difference where the squared error is minimised. With weights that are squared
    it would be three fifths, and with their roots a sixth.
    """
    if takes_weights(make()) is None:
        return
    X, y = _table(classes)
    first = np.arange(N) < N // 2  # the second half has the same columns
    y = np.where(first, 0, 1) if classes else np.where(first, y, y + 10)
    moved = np.zeros(2)  # by weights, by repeated rows
    for twice, sign in ((first, -1), (~first, 1)):
        rows = np.repeat(np.arange(N), np.where(twice, 2, 1))
        weighted, repeated = _fit(make(), X, y, np.where(twice, 2.0, 1.0)), _fit(make(), X[rows], y[rows])
        for j, expert in enumerate((weighted, repeated)):
            prediction = _predict(expert, X, classes)
            moved[j] += sign * float(np.mean(prediction[:, 1] if classes else prediction / 10))
    gap = abs(moved[0] - moved[1])
    require(gap < 0.14, f"a weight of 2 moves the mean prediction by {moved[0]:.2g}, two rows by {moved[1]:.2g}")


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


def frames_and_column_order(make: Factory, classes: bool) -> None:
    """A frame of numbers is an array; a frame whose columns are in another order is put into order, or refused."""
    import pandas as pd

    X, y = _table(classes)
    frame = pd.DataFrame(X, columns=["c", "a", "b"])
    expert = _fit(make(), frame, y)
    framed = _predict(expert, frame, classes)
    same = np.allclose(framed, _predict(_fit(make(), X, y), X, classes), rtol=1e-4, atol=1e-6)
    require(same, "a frame and an array of the same numbers give different predictions")
    try:
        reordered = _predict(expert, frame[["a", "b", "c"]], classes)
    except Exception:  # refused
        return
    same = np.allclose(reordered, framed, rtol=1e-4, atol=1e-6)
    require(same, "columns in another order than in fit are taken for each other; compare their names")


def labels_not_codes(make: Factory, classes: bool) -> None:
    """`predict` and `classes_` have the labels that fit was given, unless it refuses labels other than 0, 1, ..."""
    X, y = _table(True)
    labels = np.array([7, 3])  # whose order is not that of the codes
    try:
        expert = _fit(make(), X, labels[y])
    except (ValueError, TypeError):
        return
    require(list(expert.classes_) == [3, 7], f"classes_ are {list(expert.classes_)}; expected the sorted labels [3, 7]")
    predicted = np.asarray(expert.predict(X))
    require(np.isin(predicted, labels).all(), "predict answers something that is no label")
    best = expert.classes_[_predict(expert, X, True).argmax(axis=1)]
    require((predicted == best).mean() > 0.9, "predict differs from the most probable of classes_")


def class_missing_from_a_fold(make: Factory, classes: bool) -> None:
    """Where the training rows of a fold lack a class, its probability there is 0, and nothing else changes."""
    X, _ = _table(True)
    fold = np.arange(N) % 3
    y = np.where(X[:, 0] > 0, 2, 0)
    y[(fold == 0) & (X[:, 1] > 0.3)] = 1  # in the first fold only
    cv = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)]
    known = _mixture(make(), True, cv=cv).fit(X, y).oof_predictions_[:, 0]
    require(np.allclose(known.sum(axis=1), 1, atol=1e-6), "probabilities do not sum to 1")
    require((known[fold == 0, 1] == 0).all(), "a class that training rows lack has a probability above 0")


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
    answers_have_shape_and_are_finite,
    refitting_forgets,
    weights_count_where_taken,
    rows_of_weight_zero_do_not_count,
    weight_of_two_is_two_rows,
    leaves_its_input_alone,
    rows_are_answered_alone,
    frames_and_column_order,
)
CLASSIFIER_CHECKS = (labels_not_codes, class_missing_from_a_fold)
NAMED_CHECKS = (one_thread_by_default, mixed_columns_and_missing_values, labels_or_units_of_any_kind)
