"""A cluster of Dask: the same results, lost workers are replaced, and nothing waits for a scheduler that is gone."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from metamix import MixtureRegressor, make_regimes, use_engine
from metamix.engines import DaskEngine, TaskTimeoutError, WorkerKilledError, at_most, current_engine
from metamix.engines.mapped import MappedData, mapped_data

distributed = pytest.importorskip("distributed", reason='distributed is not installed: pip install "metamix[dask]"')

# Classes and functions of this module are pickled by value, as those of a notebook are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def count(folder, task):
    """Record a run of a task in a file; return the number of runs so far."""
    path = Path(folder) / str(task)
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().split())


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Fragile(RegressorMixin, BaseEstimator):
    """Least squares; the first fit of all kills its worker."""

    def __init__(self, folder=""):
        self.folder = folder

    def fit(self, X, y, sample_weight=None):
        if count(self.folder, "fit") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.line_.predict(X)


def test_a_mixture_is_the_same_to_the_bit_though_a_worker_is_killed(cluster, dask_engine, tmp_path):
    X, y = make_regimes(120, random_state=0)
    experts = [("line", LinearRegression()), ("knn", KNeighborsRegressor())]
    mixture = MixtureRegressor(experts, specialize=True, gate="softmax", cv=2, max_rounds=2, random_state=0)
    expected = mixture.fit(X, y).predict(X)
    mixture.set_params(line=Fragile(str(tmp_path)))
    with use_engine("dask", address=cluster.address):
        found = mixture.fit(X, y).predict(X)
    np.testing.assert_array_equal(found, expected)
    assert mixture.failures_.empty
    assert str(os.getpid()) not in (tmp_path / "fit").read_text().split()


@pytest.mark.heavy
@pytest.mark.parametrize("killers", [(3,), (3, 9)], ids=["one", "two"])
def test_a_task_that_always_kills_its_worker_is_named_and_the_others_finish(run, dask_engine, tmp_path, killers):
    def work(folder, task):
        if task in killers:
            count(folder, task)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        return task

    names = [f"expert {i}" for i in range(12)]
    for outcome in run(dask_engine, work, range(12), str(tmp_path), names):
        if outcome.index in killers:
            assert isinstance(outcome.error, WorkerKilledError)
            assert outcome.error.name == names[outcome.index]
            assert len((tmp_path / str(outcome.index)).read_text().split()) >= 2
        else:
            assert (outcome.value, outcome.error) == (outcome.index, None)


class Loaded:
    """Writes a line to a file each time it is unpickled."""

    def __init__(self, path):
        self.path = path
        self.array = np.arange(100_000.0).reshape(1000, 100, order="F")

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()}\n")


@pytest.fixture(params=["mapped", "sent"])
def way(request, monkeypatch):
    """How data comes to the workers: from a file on this machine, or, where it cannot be written, through sockets."""
    if request.param == "sent":
        monkeypatch.setenv("JOBLIB_TEMP_FOLDER", "/nonexistent")
    return request.param


def test_data_arrives_once_in_each_worker_aligned_read_only_and_is_dropped_after(dask_engine, tmp_path, way):
    def look(shared, task):
        time.sleep(0.05)
        a = shared.array
        return os.getpid(), a.ctypes.data % 64, a.flags.writeable, a.flags.f_contiguous, float(a.sum())

    def held():
        from metamix.engines import dask

        return len(dask._held)

    wait_until(lambda: not any(dask_engine.client.run(held).values()))  # data of other tests
    shared = Loaded(tmp_path / "loads")
    with dask_engine.open(shared) as session:
        assert dask_engine.client.run(mapped_bytes) == dict.fromkeys(session_workers(dask_engine), way == "mapped")
        first = [outcome.value for outcome in session.run(look, range(10))]
        time.sleep(1)  # the scheduler drops copies that nobody needs, here three times a second
        second = [outcome.value for outcome in session.run(look, range(10))]
        assert list(dask_engine.client.run(held).values()) == [1, 1]
    assert {value[1:] for value in first + second} == {(0, False, True, float(shared.array.sum()))}
    loads = (tmp_path / "loads").read_text().split()
    assert len(loads) == len(set(loads)) == len({value[0] for value in first + second}) == 2
    wait_until(lambda: not any(dask_engine.client.run(held).values()))


def mapped_bytes():
    """Whether a worker has mapped a file that has no name."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return any(line.endswith("(deleted)") and os.sep + "#" in line for line in maps)


def session_workers(engine):
    return engine.client.scheduler_info(n_workers=-1)["workers"]


def test_a_worker_that_sees_another_file_under_the_path_is_sent_the_data(dask_engine, monkeypatch):
    @contextmanager
    def in_another_container(shared):
        with mapped_data(shared) as data:
            yield MappedData(data.stream, data.spans, sys.executable, data.token)

    monkeypatch.setattr("metamix.engines.dask.mapped_data", in_another_container)
    array = np.arange(300_000.0)
    with dask_engine.open(array) as session:
        found = sorted(outcome.value for outcome in session.run(lambda array, i: float(array[i]), range(6)))
    assert found == list(array[:6])


def test_large_data_whose_only_holder_is_killed_is_made_again(dask_engine, tmp_path, way):
    def work(shared, task):
        folder, array = shared
        if task < 2 and count(folder, task) == 1:  # both workers, one after the other
            os.kill(os.getpid(), signal.SIGKILL)
        return float(array[task])

    array = np.arange(300_000.0)
    with dask_engine.open((str(tmp_path), array)) as session:
        for _ in range(2):
            assert sorted(outcome.value for outcome in session.run(work, range(6))) == list(array[:6])


def test_the_current_client_is_found_and_its_absence_is_explained(cluster):
    with pytest.raises(ValueError, match=r"found no client: give the address .* distributed.Client\(n_workers"):
        use_engine("dask").__enter__()
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1' .*`dask scheduler`"):
        DaskEngine("tcp://127.0.0.1:1", wait_seconds=1)
    with pytest.raises(TypeError, match="DaskEngine got 8786; expected"):
        DaskEngine(8786)
    with pytest.raises(ValueError, match="security is for a connection that is made here"):
        use_engine("dask", security=distributed.Security()).__enter__()
    with pytest.raises(TypeError, match="asynchronous client"):
        asyncio.run(_engine_of_an_asynchronous_client(cluster.address))
    with distributed.Client(cluster.address) as client:
        with use_engine("dask"):
            assert current_engine(2).client is client
        assert client.status == "running"
    with use_engine("dask", address=cluster.address):
        client = current_engine().client
    assert client.status == "closed"


async def _engine_of_an_asynchronous_client(address):
    async with distributed.Client(address, asynchronous=True, set_as_default=False) as client:
        DaskEngine(client)


def test_a_session_left_early_cancels_what_has_not_begun(dask_engine, tmp_path):
    def work(folder, task):
        time.sleep(0.2 if task else 0)
        return count(folder, task)

    def leave():
        with dask_engine.open(str(tmp_path)) as session:
            for _ in session.run(work, range(50)):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    wait_until(lambda: not any(dask_engine.client.processing().values()))
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 4


def sleep_long(folder, task):
    count(folder, task)
    time.sleep(60)


@pytest.mark.heavy
@pytest.mark.parametrize("nanny", [True, False], ids=["nanny", "no nanny"])
def test_a_task_that_hangs_is_stopped_and_named_and_the_others_finish(run, start_cluster, tmp_path, nanny):
    def work(folder, task):
        with at_most(1.0 if task == 3 else 60.0):
            count(folder, task)
            while task == 3:
                time.sleep(0.05)
        return task

    cluster = start_cluster(nanny=nanny)
    engine = DaskEngine(cluster.address)
    engine.client.wait_for_workers(2, timeout=60)
    outcomes = run(engine, work, range(8), str(tmp_path), [f"expert {i}" for i in range(8)])
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, None, 4, 5, 6, 7]
    assert type(outcomes[3].error) is TaskTimeoutError
    assert outcomes[3].error.name == "expert 3"
    (pid,) = (tmp_path / "3").read_text().split()
    wait_until(lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie")
    wait_until(lambda: len(engine.client.scheduler_info(n_workers=-1)["workers"]) == 1 + nanny)
    assert [outcome.value for outcome in run(engine, work, range(3), str(tmp_path))] == [0, 1, 2]
    engine.close()


@pytest.mark.heavy
def test_a_worker_that_stands_still_is_given_up_by_the_scheduler(run, start_cluster, tmp_path):
    """After worker-ttl, five minutes by default, but no less than ten heartbeats, of half a second here."""

    def work(folder, task):
        if task == 1 and count(folder, task) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return task

    cluster = start_cluster(worker_ttl="1s")
    engine = DaskEngine(cluster.address)
    engine.client.wait_for_workers(2, timeout=60)
    assert [outcome.value for outcome in run(engine, work, range(6), str(tmp_path))] == list(range(6))
    engine.close()


def when_tasks_run(folder, number, act):
    """Do something as soon as so many tasks run."""
    threading.Thread(target=lambda: (wait_until(lambda: len(list(folder.iterdir())) == number), act())).start()


def test_a_scheduler_without_workers_or_that_is_gone_is_an_error(start_cluster):
    cluster = start_cluster(workers=0)
    engine = DaskEngine(cluster.address, wait_seconds=1)
    with pytest.raises(ConnectionError, match=r"has had no worker for 1 s; start some, as with: dask worker tcp"):
        engine.open(None).__enter__()
    cluster.stop()
    with pytest.raises(ConnectionError, match="the connection to the Dask scheduler tcp://127"):
        engine.open(None).__enter__()
    engine.close()


def test_a_scheduler_that_is_killed_in_the_middle_is_an_error(start_cluster, tmp_path):
    cluster = start_cluster(workers=1, nanny=False)
    engine = DaskEngine(cluster.address, wait_seconds=5)
    with engine.open(str(tmp_path)) as session:
        when_tasks_run(tmp_path, 1, cluster.scheduler.kill)
        with pytest.raises(ConnectionError, match="was lost, and its tasks with it"):
            list(session.run(sleep_long, range(4)))
    engine.close()


@pytest.mark.heavy
def test_workers_that_are_killed_and_do_not_come_back_are_an_error(start_cluster, tmp_path):
    cluster = start_cluster(nanny=False)
    engine = DaskEngine(cluster.address, wait_seconds=2)
    engine.client.wait_for_workers(2, timeout=60)
    with engine.open(str(tmp_path)) as session:
        when_tasks_run(tmp_path, 2, lambda: [worker.kill() for worker in cluster.workers])
        with pytest.raises(ConnectionError, match="has had no worker for 2 s"):
            list(session.run(sleep_long, range(4)))
    engine.close()


class OnGPU(RegressorMixin, BaseEstimator):
    """Least squares that says it needs a GPU, and notes the process that fits it."""

    def __init__(self, device=None, folder=""):
        self.device = device
        self.folder = folder

    def __metamix_device__(self, device):
        return "cuda:0", ""

    def fit(self, X, y, sample_weight=None):
        count(self.folder, "fit")
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.line_.predict(X)


@pytest.mark.parametrize("offered", [False, pytest.param(True, marks=pytest.mark.heavy)])
def test_fits_on_a_gpu_take_a_worker_that_offers_one_else_the_driver(cluster, start_cluster, tmp_path, offered):
    X, y = make_regimes(60, random_state=0)
    mixture = MixtureRegressor([OnGPU(folder=str(tmp_path)), LinearRegression()], specialize=False, cv=2)
    address = start_cluster("--resources", "GPU=1").address if offered else cluster.address
    with use_engine("dask", address=address):
        current_engine().client.wait_for_workers(2, timeout=60)
        mixture.fit(X, y)
    pids = set((tmp_path / "fit").read_text().split())
    assert (str(os.getpid()) in pids) is not offered


SCRIPT = """
import os, sys, time
from metamix.engines import DaskEngine

def work(folder, task):
    open(os.path.join(folder, f"{task}-{os.getpid()}"), "w").close()
    time.sleep(2)

with DaskEngine(sys.argv[1]).open(sys.argv[2]) as session:
    list(session.run(work, range(50)))
"""


@pytest.mark.parametrize("which", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.heavy)])
def test_an_interrupted_driver_leaves_no_task_no_process_and_no_data(cluster, dask_engine, tmp_path, which):
    from metamix.engines import dask

    marks, temp = tmp_path / "marks", tmp_path / "temp"
    marks.mkdir()
    temp.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TMPDIR": str(temp)}
    driver = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, cluster.address, str(marks)], env=environment, stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: len(list(marks.iterdir())) >= 2)
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(which)
        _, err = driver.communicate(timeout=60)
    finally:
        driver.kill()
    assert (b"KeyboardInterrupt" in err) is (which == signal.SIGINT)
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(temp.iterdir()) == []

    def held():
        return len(dask._held)

    client = dask_engine.client
    wait_until(lambda: not any(client.processing().values()) and not any(client.run(held).values()))
    assert len(list(marks.iterdir())) <= 8
