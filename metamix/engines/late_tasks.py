"""Tasks of local processes that take longer than they may: workers note in a file what runs, the driver looks.

The driver measures the time, so that a worker is found late too whose process is stopped or holds Python's lock.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from metamix.engines.contract import TaskTimeoutError
from metamix.engines.task import TimedPart

__all__ = ["LateTasks", "note_part"]

PREFIX = "runs-"


def note_part(folder: str, index: int, part: TimedPart | None) -> None:
    """Note, in a worker, which part of a task begins, with the seconds that it has left; None after the last.

    Parameters
    ----------
    folder : str
    index : int
        Of the task.
    part : TimedPart or None
    """
    path = Path(folder) / f"{PREFIX}{index}"
    with suppress(OSError):  # a full disk: the task is not stopped then
        if part is None:
            path.write_text("")  # some systems cannot remove a file that the driver is just reading
            path.unlink()
        else:
            path.write_text(f"{part.end - time.monotonic()}\n{part.seconds}\n{part.name}", encoding="utf-8")


class LateTasks:
    """What the workers of a session note, seen from the driver.

    Parameters
    ----------
    folder : str
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._first_seen: dict[tuple[str, int], float] = {}

    def look(self) -> dict[int, TaskTimeoutError]:
        """Tasks that are late, by their index, each with the error that says in what."""
        now, seen = time.monotonic(), {}
        late: dict[int, TaskTimeoutError] = {}
        for path in self._folder.glob(f"{PREFIX}*"):
            with suppress(OSError, ValueError):  # it has ended meanwhile, or is just being written
                left, seconds, name = path.read_text(encoding="utf-8").split("\n", 2)
                note = path.name, path.stat().st_mtime_ns
                seen[note] = self._first_seen.get(note, now)
                if now - seen[note] > float(left):
                    late[int(path.name.removeprefix(PREFIX))] = TaskTimeoutError(name, float(seconds))
        self._first_seen = seen
        return late

    def forget(self) -> None:
        """Remove what workers noted that are gone."""
        for path in self._folder.glob(f"{PREFIX}*"):
            path.unlink(missing_ok=True)
