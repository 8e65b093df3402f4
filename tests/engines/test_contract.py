"""Every engine returns the same outcomes as a plain loop."""

import pickle
import sys
import time
import warnings

import cloudpickle
import numpy as np
import pytest
import sklearn
from threadpoolctl import ThreadpoolController, threadpool_info

from metamix.engines import (
    LocalEngine,
    SerialEngine,
    ThreadsEngine,
    current_engine,
    use_engine,
)
from metamix.progress import Event, emit, listen

# Classes and functions of this module are pickled by value, as those of a notebook are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# All tests use the same pool of processes; another number of threads would start another pool.
LOCAL = LocalEngine(2, threads_per_task=2)
ENGINES = {"serial": SerialEngine(threads_per_task=2), "threads": ThreadsEngine(2, threads_per_task=2), "local": LOCAL}


@pytest.fixture(params=[*ENGINES, "dask"])
def engine(request):
    """Each engine, with two threads per task."""
    return ENGINES[request.param] if request.param in ENGINES else request.getfixturevalue("dask_engine")


def test_outcomes_equal_those_of_a_plain_loop(values, engine):
    X = np.random.default_rng(0).normal(size=(300, 5))
    got = values(engine, lambda X, rows: X[rows].T @ X[rows], [slice(i, None, 7) for i in range(7)], X)
    for i, product in enumerate(got):
        np.testing.assert_array_equal(product, X[i::7].T @ X[i::7])


def test_no_task_gives_no_outcome_and_names_must_match(run, engine):
    assert run(engine, max, []) == []
    with engine.open(None) as session, pytest.raises(ValueError, match="got 2 tasks and 1 names"):
        session.run(max, [1, 2], ["only one"])


def test_an_exception_of_a_task_is_part_of_its_outcome(run, engine):
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
    assert str(lookup.error) == "no such row"
    assert type(foreign.error) is RuntimeError
    assert str(foreign.error) == "Foreign: bread and butter"
    assert isinstance(left.error, SystemExit)
    for outcome in (lookup, foreign, left):
        pickle.loads(pickle.dumps(outcome))


def test_seconds_measure_the_function_alone(run, engine):
    def sleep(_, seconds):
        start = time.perf_counter()
        time.sleep(seconds)
        return time.perf_counter() - start

    start = time.perf_counter()
    (outcome,) = run(engine, sleep, [0.05])
    assert outcome.value <= outcome.seconds <= time.perf_counter() - start


def test_native_threads_are_limited_in_tasks_and_restored_after(values, engine):
    def threads(*_):
        np.ones((2, 2)) @ np.ones((2, 2))
        return {pool["num_threads"] for pool in threadpool_info()}

    before = threads()
    for inside in values(engine, threads, range(4)):
        assert inside == {2}
    assert threads() == before


def test_sklearn_configuration_of_the_driver_applies_in_tasks(values, engine):
    assert not sklearn.get_config()["enable_metadata_routing"]
    with sklearn.config_context(enable_metadata_routing=True):
        inside = values(engine, lambda *_: sklearn.get_config()["enable_metadata_routing"], [0, 1])
    assert inside == [True, True]


def test_warning_filters_of_the_driver_apply_in_tasks(run, engine):
    def warn(*_):
        warnings.warn("a worker says", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        (outcome,) = run(engine, warn, [0])
    assert isinstance(outcome.error, UserWarning)


def test_nested_work_is_serial_and_emits_no_events(values, engine):
    def inner(*_):
        emit(Event("task", "inner"))
        return type(current_engine(4)).__name__

    events = []
    with use_engine(engine), listen(events.append):
        names = values(current_engine(), inner, range(4))
    assert events == []
    assert names == ["SerialEngine"] * 4


def test_loaded_libraries_are_searched_once_and_not_for_every_task(run):
    # Processor time of 50 tasks against 50 searches, so that other work on the machine does not matter.
    with SerialEngine().open(1) as session:
        list(session.run(pow, [1]))
        start = time.process_time()
        list(session.run(pow, range(50)))
        tasks = time.process_time() - start
    start = time.process_time()
    for _ in range(50):
        ThreadpoolController()
    assert tasks < 0.5 * (time.process_time() - start)


def test_memory_that_is_not_there_is_an_error_of_the_task_alone(run, engine):
    too_much, good = run(engine, lambda _, size: len(np.ones(size, dtype=np.int8)), [1 << 60, 3])
    assert isinstance(too_much.error, MemoryError)
    assert good.value == 3
