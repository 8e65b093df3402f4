"""Local processes: killed workers lose no finished task, and no worker survives an interrupted session."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest

from metamix.engines import LocalEngine, ThreadsEngine, WorkerKilledError, pool
from metamix.progress import listen

# Classes and functions of this module are pickled by value, as those of a notebook are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# A pool that is shut down while it submits a task may raise a KeyError in loky's own thread, which is ending
# anyway. These tests check that workers are gone and that results are complete.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

LOCAL = LocalEngine(2, threads_per_task=2)


def count(folder, task):
    """Record a run of a task in a file; return the number of runs so far."""
    path = Path(folder) / str(task)
    with open(path, "a") as file:
        file.write("x")
    return len(path.read_text())


def test_a_worker_killed_once_loses_no_finished_task(values, tmp_path):
    def work(folder, task):
        runs = count(folder, task)
        if task == 12 and runs == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task

    events = []
    with listen(events.append):
        assert values(LOCAL, work, range(16), str(tmp_path)) == [task * task for task in range(16)]
    runs = {task: len((tmp_path / str(task)).read_text()) for task in range(16)}
    # At most six tasks were in flight (four, and two that may have finished meanwhile). On a busy machine
    # the pool may break once more while it starts, which repeats as many again.
    assert sum(runs.values()) <= 16 + 2 * 6
    assert sum(times == 1 for times in runs.values()) >= 6, "finished tasks were run again"
    assert {event.kind for event in events} == {"retry"}


def test_a_task_that_always_kills_its_worker_is_named_and_the_others_finish(run, tmp_path):
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
            # Alone five times, and before that once or, where the other one broke the pool, twice.
            assert 5 <= len((tmp_path / str(outcome.index)).read_text()) <= 7
        else:
            assert (outcome.value, outcome.error) == (outcome.index, None)


def kill_while_sending(size):
    """Kill this process if its main thread begins a system call with so many bytes soon, such as to write them."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        call = Path(f"/proc/self/task/{os.getpid()}/syscall").read_text().split()
        if len(call) > 3 and int(call[3], 16) >= size:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not os.path.exists("/proc/self/syscall"), reason="Linux says what a process is doing")
def test_a_worker_killed_while_it_sends_its_result_is_not_waited_for(tmp_path):
    def work(folder, task):
        if count(folder, task) == 1 and task == 1:
            threading.Thread(target=kill_while_sending, args=(10**7,)).start()
        return np.full(5_000_000, task)

    with LOCAL.open(str(tmp_path)) as session:
        for outcome in session.run(work, range(3)):
            assert outcome.value[0] == outcome.value[-1] == outcome.index


@pytest.mark.slow
def test_a_worker_whose_memory_grew_is_replaced_without_loss(values):
    def grow(kept, task):
        kept.append(np.ones(45_000_000))
        time.sleep(1.1)  # the pool checks memory once a second
        return os.getpid()

    # Warnings are errors in these tests; loky's own warning would end its manager thread.
    pids = values(LOCAL, grow, range(6), [])
    assert len(set(pids)) > 2


@pytest.mark.slow
def test_a_worker_that_has_read_a_large_table_is_not_replaced(values):
    def read(table, _):
        time.sleep(0.6)
        return os.getpid(), float(table.sum())

    with LocalEngine(1, threads_per_task=1).open(None) as session:
        (before,) = {outcome.value for outcome in session.run(lambda *_: os.getpid(), range(2))}
    found = values(LocalEngine(1, threads_per_task=1), read, range(4), np.ones(45_000_000))
    assert set(found) == {(before, 45_000_000.0)}


def workers_of(pid):
    """Worker processes of the pool started by `pid`, without the tracker of its semaphores."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended, and waits for its parent to notice
            if "popen_loky" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_workers_killed_while_they_are_idle_are_replaced(values):
    def square(_, task):
        return task**2

    assert values(LOCAL, square, range(4), None) == [0, 1, 4, 9]
    for worker in workers_of(os.getpid()):
        worker.kill()
    deadline = time.monotonic() + 60
    while pool._is_alive(pool._kept[1]):  # until the pool has noticed
        assert time.monotonic() < deadline
        time.sleep(0.05)
    events = []
    with listen(events.append):
        assert values(LOCAL, square, range(4), None) == [0, 1, 4, 9]
    assert not [event for event in events if event.kind == "retry"]


def test_a_session_left_early_leaves_no_task_running(run, tmp_path):
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
    root = str(Path(__file__).resolve().parents[2])
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
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert len(gone) >= 2
    assert list(temp.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_pools_of_joblib_are_left_alone(first):
    """In a process of its own: which pool is made first decides what joblib finds."""
    steps = [
        "MixtureRegressor(['ridge', 'neighbours'], specialize=False, cv=2, n_jobs=2).fit(X, y)",
        "print(len(cross_val_score(Ridge(), X, y, n_jobs=2)))",
    ]
    code = "\n".join(
        [
            "from metamix import MixtureRegressor, make_regimes",
            "from sklearn.linear_model import Ridge",
            "from sklearn.model_selection import cross_val_score",
            "X, y = make_regimes(60, random_state=0)",
            *(steps if first == "ours" else steps[::-1]),
            *steps,
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["5", "5"], done.stderr[-2000:]
