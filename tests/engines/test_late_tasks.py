"""Tasks that take longer than they may: their workers are ended, however they hang, and the others finish."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time

import cloudpickle
import psutil
import pytest

from metamix.engines import LocalEngine, SerialEngine, TaskTimeoutError, ThreadsEngine, at_most
from metamix.engines.late_tasks import LateTasks, note_part
from metamix.engines.task import telling
from metamix.progress import listen

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def sleep(folder=None):
    while True:
        time.sleep(0.05)


def hold_the_lock(folder):
    """Python's lock, for ever: matching of regular expressions does not give it up."""
    re.match("(a+)+$", 60 * "a" + "b")


def stand_still(folder):
    os.kill(os.getpid(), signal.SIGSTOP)


def wait_for_a_process(folder):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        (folder / str(child.pid)).touch()
        child.wait()


HANGS = [sleep, *(pytest.param(hang, marks=pytest.mark.slow) for hang in (hold_the_lock, stand_still))]


def runs(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("hang", [*HANGS, pytest.param(wait_for_a_process, marks=pytest.mark.slow)])
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGSTOP")
def test_a_task_that_hangs_is_stopped_and_named_and_the_others_finish(run, tmp_path, hang):
    def work(folder, task):
        with at_most(60 if task != 3 else 0.5):
            if task == 3:
                (folder / str(os.getpid())).touch()
                hang(folder)
            return task

    events = []
    with listen(events.append):
        outcomes = run(LocalEngine(2), work, range(8), tmp_path, [f"expert {i}" for i in range(8)])
    for outcome in outcomes:
        if outcome.index == 3:
            assert type(outcome.error) is TaskTimeoutError
            assert str(outcome.error) == "'expert 3' took longer than its limit of 0.5 s"
        else:
            assert (outcome.value, outcome.error) == (outcome.index, None)
    assert {event.kind for event in events} <= {"retry"}
    started = [int(path.name) for path in tmp_path.iterdir()]
    assert len(started) == (2 if hang is wait_for_a_process else 1)
    assert not any(map(runs, started))


@pytest.mark.slow
def test_of_parts_within_parts_that_which_ends_first_counts_and_what_has_ended_does_not(run):
    def work(_, task):
        with at_most(60, "whole"):
            with at_most(0.2, "over"):
                pass
            time.sleep(2.5)  # a late task is noticed within a second
            if task == 1:
                with at_most(0.5, "first"), at_most(60, "second"):
                    sleep()
            return task

    outcomes = run(LocalEngine(2), work, range(3))
    assert [outcome.value for outcome in outcomes] == [0, None, 2]
    assert (outcomes[1].error.name, outcomes[1].error.seconds) == ("first", 0.5)


@pytest.mark.slow
def test_a_task_is_stopped_too_that_runs_alone_since_a_worker_was_killed(run, tmp_path):
    def work(folder, task):
        first = not (folder / str(task)).exists()
        (folder / str(task)).touch()
        if task == 2 and first:
            os.kill(os.getpid(), signal.SIGKILL)
        with at_most(0.5 if task == 2 else None):
            if task == 2:
                sleep()
        return task

    outcomes = run(LocalEngine(2), work, range(5), tmp_path)
    assert [outcome.value for outcome in outcomes] == [0, 1, None, 3, 4]
    assert outcomes[2].error.name == "task 2"


@pytest.mark.parametrize("engine", [SerialEngine(), ThreadsEngine(2)], ids=["serial", "threads"])
def test_in_this_process_nothing_is_stopped(values, engine):
    def work(_, task):
        with at_most(0.01):
            time.sleep(0.1)
        return task

    assert values(engine, work, range(3)) == [0, 1, 2]


def test_the_engine_is_told_what_runs_and_what_time_is_left():
    told = []
    with telling(told.append), at_most(10.0, "outer"):
        with at_most(1.0, "inner"), at_most(None, "no limit"):
            pass
        with at_most(99.0, "later than the outer"):
            pass
    assert [part and part.name for part in told] == ["outer", "inner", "outer", "outer", "outer", None]
    assert [part.seconds for part in told[:-1]] == [10.0, 1.0, 10.0, 10.0, 10.0]
    assert told[1].end < told[0].end == told[2].end
    with telling(told.append), pytest.raises(ZeroDivisionError), at_most(1.0):
        raise ZeroDivisionError
    assert told[-1] is None
    error = pickle.loads(pickle.dumps(TaskTimeoutError("forest, fold 3", 60)))
    assert (error.name, error.seconds) == ("forest, fold 3", 60)


def test_the_driver_measures_from_when_it_first_sees_a_note(tmp_path, monkeypatch):
    from metamix.engines import late_tasks

    clock = [100.0]
    monkeypatch.setattr(late_tasks.time, "monotonic", lambda: clock[0])
    late = LateTasks(str(tmp_path))

    def tell(index, seconds):
        from metamix.engines.task import TimedPart

        note_part(str(tmp_path), index, TimedPart("part", 9.0, clock[0] + seconds))

    tell(4, 5.0)
    (tmp_path / "runs-7").write_text("")  # just being written
    assert late.look() == {}
    clock[0] += 5.0
    assert late.look() == {}
    clock[0] += 0.1
    assert {index: (one.name, one.seconds) for index, one in late.look().items()} == {4: ("part", 9.0)}
    note_part(str(tmp_path), 4, None)
    assert late.look() == {}
    tell(4, 5.0)
    late.look()
    clock[0] += 6.0
    assert list(late.look()) == [4]
    late.forget()
    assert list(tmp_path.iterdir()) == []
