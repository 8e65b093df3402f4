"""One function on all workers at once: what each gets, lost and hanging workers, and that nothing is left."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import cloudpickle
import psutil
import pytest

from metamix.engines import DaskEngine
from metamix.engines.together import Shares, run_together
from metamix.progress import listen

pytest.importorskip("distributed", reason='distributed is not installed: pip install "metamix[dask]"')

# Functions of this module are pickled by value, as those of a notebook are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def talk(pieces, place):
    """The first sends its pieces to the second, which answers with both: as long as both run, at their addresses."""
    mine = ",".join(pieces).encode()
    with socket.socket() as one:
        if place.rank == 1:
            one.bind(place.addresses[1])
            one.listen()
            other, _ = one.accept()
            with other:
                other.sendall(other.recv(1000) + b" and " + mine)
            return None
        while one.connect_ex(place.addresses[1]):
            one.close()
            time.sleep(0.05)
            one = socket.socket()
        one.sendall(mine)
        return one.recv(1000).decode()


def letters(n_workers):
    yield [f"a{rank}" for rank in range(n_workers)]
    yield [f"b{rank}" for rank in range(n_workers)]


SHARES = Shares(letters, 100, 2)
ANSWER = "a0,b0 and a1,b1"


def first_time(folder):
    """Whether nobody has been here before; notes the process."""
    first = not list(Path(folder).iterdir())
    (Path(folder) / str(os.getpid())).touch()
    return first


def workers(engine):
    return engine.client.scheduler_info(n_workers=-1)["workers"]


def is_empty(engine):
    return not any(engine.client.run(lambda dask_worker: len(dask_worker.data)).values())


@pytest.mark.slow
def test_each_worker_gets_its_pieces_and_can_talk_to_the_others(dask_engine):
    wait_until(lambda: len(workers(dask_engine)) == 2)
    assert run_together(dask_engine, talk, SHARES, "one", 60, 0) == ANSWER
    wait_until(lambda: is_empty(dask_engine))


def test_no_more_workers_than_there_are_rows_for(dask_engine):
    shares = Shares(letters, 100, 1)
    found = run_together(dask_engine, lambda pieces, place: (pieces, len(place.addresses)), shares, "one", 60, 0)
    assert found == (["a0", "b0"], 1)


@pytest.mark.heavy
@pytest.mark.parametrize("rank", [0, 1])
def test_it_begins_again_when_a_worker_is_killed(dask_engine, tmp_path, rank):
    wait_until(lambda: len(workers(dask_engine)) == 2)
    events = []

    def work(pieces, place):
        if place.rank == rank and first_time(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)
        return talk(pieces, place)

    with listen(events.append):
        assert run_together(dask_engine, work, SHARES, "one", 120, 1) == ANSWER
    assert [(event.kind, event.label) for event in events] == [("retry", "one")]
    wait_until(lambda: is_empty(dask_engine) and len(workers(dask_engine)) == 2)


@pytest.mark.heavy
@pytest.mark.parametrize("error", [MemoryError, TimeoutError, ConnectionResetError])
def test_it_begins_again_when_the_function_fails_by_whatever_error(dask_engine, tmp_path, error):
    wait_until(lambda: len(workers(dask_engine)) == 2)

    def work(pieces, place):
        if place.rank == 0 and first_time(tmp_path):
            raise error("of the function")
        return talk(pieces, place)

    assert run_together(dask_engine, work, SHARES, "one", 120, 1) == ANSWER


@pytest.mark.heavy
def test_what_fails_each_time_is_named_with_its_error(dask_engine):
    def work(pieces, place):
        if place.rank == 1:
            raise ValueError("no luck")
        time.sleep(600)

    with pytest.raises(RuntimeError, match=r"one failed on 2 workers of the cluster, 2 times in all.*ValueError: no l"):
        run_together(dask_engine, work, SHARES, "one", 120, 1)
    wait_until(lambda: len(workers(dask_engine)) == 2 and not any(dask_engine.client.processing().values()))


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGSTOP")
@pytest.mark.parametrize(
    "hang",
    [
        pytest.param(time.sleep, marks=pytest.mark.slow, id="busy"),
        pytest.param(lambda seconds: os.kill(os.getpid(), signal.SIGSTOP), marks=pytest.mark.heavy, id="stopped"),
    ],
)
def test_the_time_limit_ends_what_hangs_with_its_worker(dask_engine, tmp_path, hang):
    def work(pieces, place):
        first_time(tmp_path)
        if place.rank == 1:
            hang(600)
        return talk(pieces, place)

    with pytest.raises(TimeoutError, match=r"one took longer on 2 workers .* its limit of 3 s.*set its time_limit"):
        run_together(dask_engine, work, SHARES, "one", 3, 5)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids))
    wait_until(lambda: len(workers(dask_engine)) == 2)
    assert run_together(dask_engine, talk, SHARES, "one", 60, 0) == ANSWER


@pytest.mark.heavy
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGSTOP")
def test_a_worker_that_stands_still_is_replaced_when_the_scheduler_gives_it_up(start_cluster, tmp_path):
    engine = DaskEngine(start_cluster(worker_ttl="10s").address)
    engine.client.wait_for_workers(2, timeout=60)

    def work(pieces, place):
        if place.rank == 1 and first_time(tmp_path):
            os.kill(os.getpid(), signal.SIGSTOP)
        return talk(pieces, place)

    assert run_together(engine, work, SHARES, "one", 240, 3) == ANSWER
    engine.close()


@pytest.mark.slow
def test_memory_that_no_worker_may_take_is_an_error(start_cluster):
    engine = DaskEngine(start_cluster("--memory-limit", "1GB").address)
    engine.client.wait_for_workers(2, timeout=60)
    with pytest.raises(MemoryError, match=r"one needs about 5 GB in each of 2 workers .* may take 1 GB: start more"):
        run_together(engine, talk, Shares(letters, int(4e9), 2), "one", 60, 0)
    engine.close()
