"""Every engine gives the same outcomes; names, n_jobs and joblib choose among them."""

import pickle
import sys
import time
import warnings

import cloudpickle
import joblib
import numpy as np
import pytest
import sklearn
from threadpoolctl import threadpool_info

from metamix.engines import (
    LocalEngine,
    SerialEngine,
    ThreadsEngine,
    current_engine,
    use_engine,
)
from metamix.progress import Event, emit, listen

# What is defined here travels as what is defined in a notebook: by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# One pool of processes serves them all: another number of threads would be another pool.
LOCAL = LocalEngine(2, threads_per_task=2)
ENGINES = [SerialEngine(threads_per_task=2), ThreadsEngine(2, threads_per_task=2), LOCAL]
engines = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)


def run(engine, function, tasks, shared=None, names=None):
    """All outcomes, in the order of their tasks; each task must have exactly one."""
    with engine.open(shared) as session:
        outcomes = sorted(session.run(function, tasks, names), key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in outcomes] == list(range(len(tasks)))
    return outcomes


def values(engine, function, tasks, shared=None):
    outcomes = run(engine, function, tasks, shared)
    assert [outcome.error for outcome in outcomes] == [None] * len(tasks)
    return [outcome.value for outcome in outcomes]


# --- the same everywhere ----------------------------------------------------------------------


@engines
def test_outcomes_are_those_of_a_plain_loop(engine):
    X = np.random.default_rng(0).normal(size=(300, 5))
    got = values(engine, lambda X, rows: X[rows].T @ X[rows], [slice(i, None, 7) for i in range(7)], X)
    for i, product in enumerate(got):
        np.testing.assert_array_equal(product, X[i::7].T @ X[i::7])


@engines
def test_no_task_no_outcome_and_names_must_match(engine):
    assert run(engine, max, []) == []
    with engine.open(None) as session, pytest.raises(ValueError, match="2 tasks came with 1 names"):
        session.run(max, [1, 2], ["only one"])


@engines
def test_what_a_task_raises_is_its_outcome(engine):
    class Foreign(Exception):
        """Pickles, but cannot be built again."""

        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    def work(_, task):
        if task == 1:
            raise LookupError("no such row")
        if task == 2:
            raise Foreign("bread", "butter")
        if task == 3:
            raise OSError(lambda: None, "cannot be pickled by all")
        if task == 4:
            raise SystemExit(3)
        return task

    good, lookup, foreign, _, left, last = run(engine, work, range(6))
    assert (good.value, last.value) == (0, 5)
    assert isinstance(lookup.error, LookupError)
    assert str(lookup.error) == "'no such row'" or str(lookup.error) == "no such row"
    assert type(foreign.error) is RuntimeError
    assert str(foreign.error) == "Foreign: bread and butter"
    assert isinstance(left.error, SystemExit)
    for outcome in (lookup, foreign, left):
        pickle.loads(pickle.dumps(outcome))


@engines
def test_seconds_are_those_inside_the_function(engine):
    (outcome,) = run(engine, lambda _, seconds: time.sleep(seconds), [0.2])
    assert 0.2 <= outcome.seconds < 2


@engines
def test_native_threads_are_limited_inside_and_restored_after(engine):
    def threads(*_):
        np.ones((2, 2)) @ np.ones((2, 2))
        return {pool["num_threads"] for pool in threadpool_info()}

    before = threads()
    for inside in values(engine, threads, range(4)):
        assert inside == {2}
    assert threads() == before


@engines
def test_configuration_of_the_driver_holds_in_tasks(engine):
    assert not sklearn.get_config()["enable_metadata_routing"]
    with sklearn.config_context(enable_metadata_routing=True):
        inside = values(engine, lambda *_: sklearn.get_config()["enable_metadata_routing"], [0, 1])
    assert inside == [True, True]


@engines
def test_warning_filters_of_the_driver_hold_in_tasks(engine):
    def warn(*_):
        warnings.warn("a worker says", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        (outcome,) = run(engine, warn, [0])
    assert isinstance(outcome.error, UserWarning)


@engines
def test_inner_work_is_serial_in_workers_and_silent_everywhere(engine):
    def inner(*_):
        emit(Event("task", "inner"))
        return type(current_engine(4)).__name__

    heard = []
    with use_engine(engine), listen(heard.append):
        names = values(current_engine(), inner, range(4))
    assert heard == []
    assert names == ["SerialEngine"] * 4


def test_serial_overhead_is_small():
    with SerialEngine().open(1) as session:
        list(session.run(pow, [1]))
        began = time.process_time()
        list(session.run(pow, range(2000)))
        assert (time.process_time() - began) / 2000 < 2e-4


# --- which engine -----------------------------------------------------------------------------


def kind(engine):
    return type(engine).__name__, getattr(engine, "n_jobs", 1), engine.threads_per_task


def test_n_jobs_and_joblib_configuration_choose():
    assert kind(current_engine()) == ("SerialEngine", 1, 1)
    assert kind(current_engine(1)) == ("SerialEngine", 1, 1)
    assert kind(current_engine(3)) == ("LocalEngine", 3, 1)
    with joblib.parallel_config(n_jobs=3):
        assert kind(current_engine()) == ("LocalEngine", 3, 1)
        assert kind(current_engine(1)) == ("SerialEngine", 1, 1)
    with joblib.parallel_config("threading", n_jobs=3):
        assert kind(current_engine()) == ("ThreadsEngine", 3, 1)
        assert kind(current_engine(2)) == ("ThreadsEngine", 2, 1)
    with joblib.parallel_config("loky", n_jobs=3, inner_max_num_threads=2):
        assert kind(current_engine()) == ("LocalEngine", 3, 2)
    with joblib.parallel_config("sequential"):
        assert kind(current_engine(4)) == ("SerialEngine", 1, 1)


def test_use_engine_comes_first_and_ends_with_its_block():
    with joblib.parallel_config("threading", n_jobs=3):
        with use_engine("local"):
            assert kind(current_engine()) == ("LocalEngine", 3, 1)
            assert kind(current_engine(2)) == ("LocalEngine", 2, 1)
            with use_engine("threads", n_jobs=5, threads_per_task=2):
                assert kind(current_engine(2)) == ("ThreadsEngine", 5, 2)
            with use_engine("serial"):
                assert kind(current_engine(2)) == ("SerialEngine", 1, 1)
            assert kind(current_engine(-1)) == ("LocalEngine", joblib.cpu_count(), 1)
        mine = ThreadsEngine(4)
        with use_engine(mine):
            assert current_engine(2) is mine
        assert kind(current_engine()) == ("ThreadsEngine", 3, 1)
    with use_engine("local"):
        assert kind(current_engine()) == ("LocalEngine", joblib.cpu_count(), 1)


@pytest.mark.parametrize(
    ("engine", "error", "message"),
    [
        (
            "thread",
            ValueError,
            "unknown engine 'thread'; did you mean 'threads'?.*'serial', 'threads', 'local'",
        ),
        ("zzz", ValueError, "unknown engine 'zzz'; there are 'serial', 'threads', 'local'"),
        ("dask", ValueError, "no engine 'dask' yet; there are 'serial', 'threads', 'local'"),
        (4, TypeError, "use_engine got 4"),
        (LocalEngine, TypeError, "or an object with open"),
    ],
)
def test_a_wrong_engine_is_refused(engine, error, message):
    with pytest.raises(error, match=message), use_engine(engine):
        pass


def test_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="n_jobs=0"):
        LocalEngine(0)
    with pytest.raises(ValueError, match="threads_per_task=0"):
        ThreadsEngine(2, threads_per_task=0)
    assert LocalEngine(-10_000).n_jobs == 1
