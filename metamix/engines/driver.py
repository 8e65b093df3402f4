"""What is left behind when the driver is killed: its workers end, and its temporary data is removed."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["remember_folder", "shared_folder", "start_worker", "watch_driver"]

#: Workers look for their driver this often.
WATCH_SECONDS = 1.0
PREFIX, LOCK = "metamix-", "lock"

_open_folders: set[str] = set()


def start_worker(driver: int) -> None:
    """Prepare a worker process: a terminal's SIGINT is ignored, and the worker ends with its driver.

    A terminal sends SIGINT to workers too; the driver terminates them. A worker interrupted between two tasks would
    print a traceback.

    Parameters
    ----------
    driver : int
        Process number of the driver.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_driver(driver)


def watch_driver(driver: int) -> None:
    """End this process within seconds after its parent is gone, in a thread of its own.

    Does nothing on Windows, where a process keeps the number of its parent.

    Parameters
    ----------
    driver : int
        Process number of the parent.
    """
    if os.name == "nt":
        return
    threading.Thread(target=_watch, args=(driver,), name="metamix-watch", daemon=True).start()


def _watch(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(WATCH_SECONDS)
    for folder in list(_open_folders):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def remember_folder(folder: str) -> None:
    """Remember, in a worker, which folder to remove if the driver cannot."""
    if folder not in _open_folders:
        _open_folders.clear()
        _open_folders.add(folder)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A temporary folder of this process, removed at the end; those of processes that were killed are removed first.

    A process holds a lock on a file in its folder, which the operating system gives up when the process ends, however
    it ends. So no folder of a process that is running is taken for one that was left behind, whatever its number, and
    in whatever container it runs.
    """
    place = Path(os.environ.get("JOBLIB_TEMP_FOLDER") or tempfile.gettempdir())
    _remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        with open(folder / f"new-{LOCK}", "wb") as lock:
            _try_lock(lock.fileno())
            os.rename(lock.name, folder / LOCK)  # which others find only when it is locked
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(place: Path) -> None:
    """Remove folders in a place whose lock nobody holds."""
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), open(lock, "rb+") as file:  # of another user, or removed meanwhile
            if _try_lock(file.fileno()):
                shutil.rmtree(lock.parent, ignore_errors=True)


def _try_lock(descriptor: int) -> bool:
    """Lock a file until it is closed; False where another process holds the lock, or the system has no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
