"""What an expert must keep to. Every check makes its own expert and fits it to a small table."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from metamix.testing.demands import Make, demand

__all__ = ["EXPERT_CHECKS", "NAMED_CHECKS"]

Array = NDArray[Any]
THREADS = ("n_jobs", "nthread", "thread_count", "num_threads")
N = 120  # rows of the small tables; the second half repeats the columns of the first


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


def _answer(expert: Any, X: Any, classes: bool) -> Array:
    return np.asarray(expert.predict_proba(X) if classes else expert.predict(X))


def clones_and_keeps_parameters(make: Make, classes: bool) -> None:
    """A clone has the same parameters, and fit changes none."""
    expert = make()
    demand(sorted(clone(expert).get_params()) == sorted(expert.get_params()), "a clone has other parameters")
    settings = {name: repr(value) for name, value in _seeded(expert).get_params().items()}
    _fit(expert, *_table(classes))
    after = {name: repr(value) for name, value in expert.get_params().items()}
    changed = [name for name in settings if after.get(name) != settings[name]]
    demand(not changed, f"fit changes the parameters {changed}; what is learned belongs in names that end in _")


def answers_have_shape_and_are_finite(make: Make, classes: bool) -> None:
    """Answers are (n,) or (n, C), finite, and better than nothing."""
    X, y = _table(classes)
    expert = _fit(make(), X, y)
    answer = _answer(expert, X[:50], classes)
    shape = (50, 2) if classes else (50,)
    demand(answer.shape == shape, f"50 rows are answered in the shape {answer.shape}; {shape} would do")
    demand(np.isfinite(answer).all(), "an answer is NaN or infinite")
    if classes:
        demand(
            (answer >= 0).all() and np.allclose(answer.sum(axis=1), 1, atol=1e-5),
            "probabilities do not add to 1",
        )
        demand(np.array_equal(expert.classes_, [0, 1]), "classes_ are not the sorted labels")
        demand((answer.argmax(axis=1) == y[:50]).mean() > 0.6, "it does not learn a linear boundary at all")
    else:
        demand(np.mean((answer - y[:50]) ** 2) < np.var(y[:50]), "it does worse than the mean of y")


def same_seed_same_answer(make: Make, classes: bool) -> None:
    """Equal seeds give equal answers, to the last bit."""
    X, y = _table(classes)
    first, second = (_answer(_fit(make(), X, y), X, classes) for _ in range(2))
    demand(np.array_equal(first, second), "two fits with one seed answer differently")


def refitting_forgets(make: Make, classes: bool) -> None:
    """A second fit starts afresh."""
    X, y = _table(classes)
    expert = _fit(make(), -3 * X, 1 - y)
    demand(
        np.array_equal(_answer(_fit(expert, X, y), X, classes), _answer(_fit(make(), X, y), X, classes)),
        "a second fit remembers the first",
    )


def weights_count_where_taken(make: Make, classes: bool) -> None:
    """Where fit takes sample_weight, it matters."""
    if _weight_keyword(make()) is None:
        return  # rows will be drawn in proportion instead
    X, y = _table(classes)
    first = np.arange(N) < N // 2
    y = np.where(first, y, 1 - y) if classes else np.where(first, y, y + 10)
    answers = [_answer(_fit(make(), X, y, np.where(w, 1.0, 0.01)), X, classes) for w in (first, ~first)]
    if classes:
        truth = y[: N // 2]
        shares = [float(np.mean(answer[: N // 2].argmax(axis=1) == truth)) for answer in answers]
        demand(shares[0] > shares[1], "sample_weight is taken but does not change what is learned")
    else:
        gap = float(np.mean(answers[1] - answers[0]))
        demand(gap > 5, f"weights of 1 and 0.01 on targets 10 apart move the answers by {gap:.3g} only")


def leaves_its_input_alone(make: Make, classes: bool) -> None:
    """Arrays that cannot be written are enough."""
    X, y = _table(classes)
    weight = np.linspace(0.5, 1.0, N)
    for array in (X, y, weight):
        array.setflags(write=False)  # as memory-mapped arrays arrive in a worker
    copy = X.copy()
    _answer(_fit(make(), X, y, weight), X, classes)
    demand(np.array_equal(X, copy), "fit or predict changes X")


def rows_are_answered_alone(make: Make, classes: bool) -> None:
    """Only the rows where an expert counts are put to it."""
    X, y = _table(classes)
    expert = _fit(make(), X, y)
    together, alone = _answer(expert, X[:3], classes), _answer(expert, X[1:2], classes)
    demand(
        np.allclose(together[1], alone[0], rtol=1e-4, atol=1e-6),
        "an answer depends on the other rows asked about",
    )


def pickles_when_fitted(make: Make, classes: bool) -> None:
    """Fitted experts travel between processes."""
    X, y = _table(classes)
    expert = _fit(make(), X, y)
    again = pickle.loads(pickle.dumps(expert))
    demand(
        np.array_equal(_answer(again, X, classes), _answer(expert, X, classes)),
        "a pickled copy answers otherwise",
    )


def one_thread_by_default(make: Make, classes: bool) -> None:
    """Threads are given out by the mixture."""
    threads = {k: v for k, v in make().get_params().items() if k.rpartition("__")[2] in THREADS and v not in (None, 1)}
    demand(not threads, f"more than one thread by default: {threads}")


def mixed_columns_and_missing_values(make: Make, classes: bool) -> None:
    """Numbers, text, booleans, categories, dates, holes and unseen values do."""
    import pandas as pd

    X, y = _table(classes)
    frame = pd.DataFrame({"number": X[:, 0], "text": np.where(X[:, 1] > 0, "up", "down"), "flag": X[:, 2] > 0})
    frame["kind"] = pd.Categorical(np.where(X[:, 2] > 0.5, "a", "b"))
    frame["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N), unit="D")
    frame.loc[3:7, "number"], frame.loc[5:9, "text"], frame.loc[1:2, "kind"] = np.nan, None, None
    expert = _fit(make(), frame, y)
    frame.loc[:4, "text"], frame.loc[11:12, "when"] = "never seen", pd.NaT
    answer = _answer(expert, frame, classes)
    demand(len(answer) == N and np.isfinite(answer).all(), "an answer about mixed columns is NaN or infinite")


def labels_or_units_of_any_kind(make: Make, classes: bool) -> None:
    """Labels of text, or targets in any unit, make no difference."""
    X, y = _table(classes, offset=2.0)
    plain = _answer(_fit(make(), X, y), X, classes)
    if classes:
        expert = _fit(make(), X, np.array(["no", "yes"])[y])
        demand(list(expert.classes_) == ["no", "yes"], "classes_ are not the sorted labels of text")
        demand(np.allclose(_answer(expert, X, True), plain, atol=1e-6), "labels of text change the probabilities")
        return
    for unit in (1e-6, 1e6):
        scaled = _answer(_fit(make(), X, y * unit), X, False) / unit
        error = float(np.mean(np.abs(scaled - plain)) / np.std(plain))
        demand(
            error < 0.01,
            f"a target {unit:g} times as large changes the scaled answers by {error:.2g} of their spread",
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
