"""A driver that is killed leaves neither workers nor data; what another process left behind is removed."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from metamix.engines import LocalEngine
from metamix.engines.driver import shared_folder
from metamix.engines.pool import close_pool

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes of Windows keep the number of their parent")

SCRIPT = """
import os, sys, time
import numpy as np
from metamix.engines import LocalEngine

def work(shared, task):
    open(os.path.join(shared[0], str(os.getpid())), "w").close()
    time.sleep(300)

with LocalEngine(2).open((sys.argv[1], np.zeros(100_000))) as session:
    list(session.run(work, range(2)))
"""


def processes_of(pid):
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_killed_leaves_nothing(tmp_path, which):
    marks, temp = tmp_path / "marks", tmp_path / "temp"
    marks.mkdir()
    temp.mkdir()
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "JOBLIB_TEMP_FOLDER": str(temp)}
    driver = subprocess.Popen([sys.executable, "-c", SCRIPT, str(marks)], env=environment)
    try:
        while len(list(marks.iterdir())) < 2:
            assert driver.poll() is None
            time.sleep(0.05)
        children = processes_of(driver.pid)
        assert len(list(temp.iterdir())) == 1
        driver.send_signal(which)
        driver.wait(timeout=60)
    finally:
        driver.kill()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert list(temp.iterdir()) == []


def abandoned(temp, name):
    folder = temp / name
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "buffers").write_bytes(b"data")
    return folder


def test_only_folders_that_nobody_holds_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    left, held = abandoned(tmp_path, "metamix-left"), abandoned(tmp_path, "metamix-held")
    other = tmp_path / "metamix-results"  # of the user's: it has no lock
    other.mkdir()
    with open(held / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with shared_folder() as first, shared_folder() as second:
            assert first.is_dir()
            assert second.is_dir()
            assert not left.exists()
            assert (held / "buffers").exists()
        assert sorted(tmp_path.iterdir()) == [held, other]


def test_a_full_disk_names_the_folder(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=str(tmp_path)), LocalEngine(2).open(np.zeros(10_000)):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_an_outcome_for_which_there_is_no_room_is_an_error_that_names_the_folder(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))

    def fill_the_disk(_, task):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        return np.zeros(task)

    with LocalEngine(1).open(None) as session:
        outcomes = sorted(session.run(fill_the_disk, [10_000, 1]), key=lambda one: one.index)
        close_pool(session.pool)  # whose worker has the limit
    assert isinstance(outcomes[0].error, OSError)
    assert str(tmp_path) in str(outcomes[0].error)
    assert outcomes[1].error is None
    assert list(tmp_path.iterdir()) == []
