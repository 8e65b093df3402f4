"""Fixtures that run a list of tasks on an engine, and a cluster of Dask on this machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from metamix.engines import DaskEngine

ROOT = str(Path(__file__).resolve().parents[2])


def _run(engine, function, tasks, shared=None, names=None):
    with engine.open(shared) as session:
        outcomes = sorted(session.run(function, tasks, names), key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in outcomes] == list(range(len(tasks)))
    return outcomes


@pytest.fixture(scope="session")
def run():
    """All outcomes in the order of their tasks; each task must have exactly one."""
    return _run


@pytest.fixture(scope="session")
def values():
    """Values of all tasks; no task may fail."""

    def values(engine, function, tasks, shared=None):
        outcomes = _run(engine, function, tasks, shared)
        assert [outcome.error for outcome in outcomes] == [None] * len(tasks)
        return [outcome.value for outcome in outcomes]

    return values


class Cluster:
    """A scheduler and workers of one thread each, in processes of their own; workers that are killed come back."""

    def __init__(self, folder, *options, workers=2, nanny=True, **config):
        self.folder = folder
        self.config = {f"DASK_DISTRIBUTED__SCHEDULER__{name.upper()}": value for name, value in config.items()}
        self.file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        self._wait(lambda: self.file.exists() and self.file.stat().st_size, self.scheduler)
        nannies = [] if nanny else ["--no-nanny"]
        self.workers = [
            self._start("worker", "--nthreads", "1", "--memory-limit", "0", "--local-directory", str(folder / str(i)),
                        *nannies, *options)
            for i in range(workers)
        ]  # fmt: skip

    def _start(self, command, *options):
        main = [sys.executable, "-m", f"distributed.cli.dask_{command}", "--no-dashboard"]
        environment = {**os.environ, "PYTHONPATH": ROOT, **self.config}
        with open(self.folder / f"{command}.log", "ab") as log:
            return subprocess.Popen(
                [*main, "--scheduler-file", str(self.file), *options], stdout=log, stderr=log, env=environment
            )

    @staticmethod
    def _wait(condition, process, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert process.poll() is None, "a process of the cluster has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def address(self):
        import json

        return json.loads(self.file.read_text())["address"]

    def stop(self):
        """Kill all processes of the cluster."""
        processes = [self.scheduler, *self.workers]
        everyone = [child for one in processes if one.poll() is None for child in family(one.pid)]
        for process in everyone:
            process.kill()
        psutil.wait_procs(everyone, timeout=10)
        for one in processes:
            one.wait(timeout=10)


def family(pid):
    """A process and those below it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@pytest.fixture(scope="session")
def start_cluster(tmp_path_factory):
    """A function that starts a cluster, which ends with the tests at the latest."""
    pytest.importorskip("distributed", reason='distributed is not installed: pip install "metamix[dask]"')
    started = []

    def start(*options, **given):
        started.append(Cluster(tmp_path_factory.mktemp("cluster"), *options, **given))
        return started[-1]

    yield start
    for cluster in started:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster(start_cluster):
    """One cluster for all tests that leave it in order. It gives up and tidies up sooner, so that tests are short."""
    return start_cluster(allowed_failures="1", active_memory_manager__interval="300ms")


@pytest.fixture(scope="session")
def dask_engine(cluster):
    """An engine on that cluster, with two threads per task."""
    engine = DaskEngine(cluster.address, threads_per_task=2)
    engine.client.wait_for_workers(2, timeout=60)
    yield engine
    engine.close()
