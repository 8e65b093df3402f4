"""Local processes: data travels once, workers may die, and nothing finished is lost."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import psutil
import pytest
import scipy.sparse

from metamix.engines import (
    LocalEngine,
    ThreadsEngine,
    WorkerKilledError,
)
from metamix.progress import listen

# What is defined here travels as what is defined in a notebook: by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# A pool that is shut down in the middle may trip over a task it was about to send (a KeyError in loky's own
# thread, which is ending anyway): what these tests ask is whether workers are gone and results are whole.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

LOCAL = LocalEngine(2, threads_per_task=2)


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


# --- the journey of shared data ---------------------------------------------------------------


class Traveller:
    """Leaves a line in a file each time that it is loaded."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()}\n")


def test_shared_data_travels_once_per_worker(tmp_path):
    def who(*_):
        time.sleep(0.02)
        return os.getpid()

    with LOCAL.open(Traveller(tmp_path / "loads")) as session:
        workers = {outcome.value for _ in range(2) for outcome in session.run(who, range(20))}
    loads = (tmp_path / "loads").read_text().split()
    assert len(loads) == len(set(loads))
    assert {int(pid) for pid in loads} == workers
    assert os.getpid() not in workers


def test_workers_keep_the_data_of_one_session_only():
    def loaded(*_):
        from metamix.engines import travel

        return [value[0] for value in travel._loaded.values()]

    for number in range(3):
        assert values(LOCAL, loaded, [0], np.full(3, number)) == [[number]]


def test_arrays_keep_order_and_bits_and_are_read_only_maps():
    rng = np.random.default_rng(1)
    arrays = [
        rng.normal(size=(500, 4)),
        np.asfortranarray(rng.normal(size=(7, 3))),
        rng.integers(0, 9, 11).astype(np.int16),
        np.empty((0, 4)),
    ]

    def look(arrays, i):
        with pytest.raises(ValueError, match="read-only"):
            arrays[i][0] = 0
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            arrays[i].setflags(write=True)
        aligned = arrays[i].ctypes.data % 64 == 0
        return arrays[i], arrays[i].flags.c_contiguous, arrays[i].flags.f_contiguous, aligned

    # What cannot be made writable is a map of a file that was opened for reading.
    for array, (copy, c_order, f_order, aligned) in zip(
        arrays[:3], values(LOCAL, look, [0, 1, 2], arrays), strict=True
    ):
        np.testing.assert_array_equal(copy, array)
        assert copy.dtype == array.dtype
        assert (c_order, f_order) == (array.flags.c_contiguous, array.flags.f_contiguous)
        assert aligned
    assert values(LOCAL, lambda a, i: a[i].shape, [3], arrays) == [(0, 4)]


def test_frames_and_sparse_matrices_arrive_whole():
    columns = {"x": [1.5, None, 3.0], "word": ["one", "two", None], "n": [1, 2, 3]}
    frame = pd.DataFrame(columns).astype({"word": "category"})
    frame["when"] = pd.date_range("2026-01-01", periods=3)
    frame["text"] = ["a", "b", "c"]
    shared = {
        "pandas": frame,
        "polars": pl.DataFrame(columns),
        "sparse": scipy.sparse.random(50, 6, density=0.2, format="csr", rng=0),
        "array": scipy.sparse.csc_array(np.eye(4)),
    }
    got = dict(zip(shared, values(LOCAL, lambda shared, key: shared[key], list(shared), shared), strict=True))
    pd.testing.assert_frame_equal(got["pandas"], shared["pandas"])
    assert got["polars"].equals(shared["polars"])
    for key in ("sparse", "array"):
        assert type(got[key]) is type(shared[key])
        assert (got[key] != shared[key]).nnz == 0


def test_what_cannot_travel_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    with pytest.raises(TypeError, match="use_engine"), LOCAL.open(threading.Lock()):
        pass
    task, value, good = run(
        LOCAL,
        lambda _, task: (x for x in [1]) if task == "generator" else task,
        [threading.Lock(), "generator", 1],
    )
    assert isinstance(task.error, TypeError)
    assert "generator that cannot be sent back" in str(value.error)
    assert good.value == 1
    assert list(tmp_path.iterdir()) == []


def test_the_folder_goes_also_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))

    def leave():
        with LOCAL.open(np.ones(10)) as session:
            assert len(list(tmp_path.iterdir())) == 1
            next(session.run(lambda *_: None, [0]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert list(tmp_path.iterdir()) == []


# --- workers that die -------------------------------------------------------------------------


def count(folder, task):
    """Leave a mark for each run of a task; give how many there are now."""
    path = Path(folder) / str(task)
    with open(path, "a") as file:
        file.write("x")
    return len(path.read_text())


def test_a_worker_killed_once_costs_nothing_that_finished(tmp_path):
    def work(folder, task):
        runs = count(folder, task)
        if task == 12 and runs == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task

    heard = []
    with listen(heard.append):
        assert values(LOCAL, work, range(16), str(tmp_path)) == [task * task for task in range(16)]
    runs = {task: len((tmp_path / str(task)).read_text()) for task in range(16)}
    # Six tasks at most were in flight (four, and the two that may have landed meanwhile); on a starved machine
    # the pool may break once more while it starts, which costs as many again.
    assert sum(runs.values()) <= 16 + 2 * 6
    assert sum(times == 1 for times in runs.values()) >= 6, "most of what had finished stays finished"
    assert {event.kind for event in heard} == {"retry"}


def test_a_task_that_always_kills_its_worker_is_named_and_the_others_finish(tmp_path):
    def work(folder, task):
        count(folder, task)
        if task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 9:
            os._exit(1)
        return task

    outcomes = run(LOCAL, work, range(12), str(tmp_path), [f"expert {i}" for i in range(12)])
    for outcome in outcomes:
        if outcome.index in (3, 9):
            assert isinstance(outcome.error, WorkerKilledError)
            assert outcome.error.name == f"expert {outcome.index}"
            assert f"'expert {outcome.index}'" in str(outcome.error)
            assert pickle.loads(pickle.dumps(outcome.error)).name == outcome.error.name
            assert 1 <= len((tmp_path / str(outcome.index)).read_text()) <= 3
        else:
            assert (outcome.value, outcome.error) == (outcome.index, None)


@pytest.mark.slow
def test_a_worker_that_grew_is_replaced_and_nothing_is_lost():
    def grow(kept, task):
        kept.append(np.ones(45_000_000))
        time.sleep(1.1)  # the pool looks once a second
        return os.getpid()

    # Warnings are errors here, and the pool's own would end its managing thread.
    pids = values(LOCAL, grow, range(6), [])
    assert len(set(pids)) > 2


def workers_of(pid):
    """Processes of the pool below `pid`; the tracker of its semaphores is not one."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if "popen_loky" in " ".join(child.cmdline())]


def test_a_session_left_early_leaves_no_task_running(tmp_path):
    def work(folder, task):
        if task:
            time.sleep(0.5)
        return count(folder, task)

    def leave(engine, folder):
        with engine.open(str(folder)) as session:
            for _ in session.run(work, range(50)):
                raise KeyboardInterrupt

    for engine in (LOCAL, ThreadsEngine(2)):
        folder = tmp_path / type(engine).__name__
        folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            leave(engine, folder)
        left = len(list(folder.iterdir()))
        time.sleep(0.8)
        assert len(list(folder.iterdir())) == left <= 4
    assert workers_of(os.getpid()) == []


SCRIPT = """
import os, sys, time
import psutil
from metamix.engines import LocalEngine

def work(shared, task):
    open(os.path.join(shared, f"{task}-{os.getpid()}"), "w").close()
    time.sleep(60)

try:
    with LocalEngine(2).open(sys.argv[1]) as session:
        list(session.run(work, range(8)))
except KeyboardInterrupt:
    left = psutil.Process().children(recursive=True)
    print(sum("popen_loky" in " ".join(child.cmdline()) for child in left), flush=True)
    raise
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process on Windows")
def test_ctrl_c_leaves_no_worker_behind(tmp_path):
    marks, temp = tmp_path / "marks", tmp_path / "temp"
    marks.mkdir()
    temp.mkdir()
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "JOBLIB_TEMP_FOLDER": str(temp)}
    driver = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(marks)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 120
        while len(list(marks.iterdir())) < 2:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(driver.pid).children(recursive=True)
        assert len(workers_of(driver.pid)) == 2
        driver.send_signal(signal.SIGINT)
        out, err = driver.communicate(timeout=60)
    finally:
        driver.kill()
    assert b"KeyboardInterrupt" in err
    assert out.split() == [b"0"]
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert len(gone) >= 2
    assert list(temp.iterdir()) == []
