"""How much memory this process may still take: of the machine, of its control groups, and of its own limit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FreeMemory", "InsufficientMemoryError", "MemoryLimitWarning", "bytes_of", "free_memory", "in_units"]

_GROUPS, _PROC = Path("/sys/fs/cgroup"), Path("/proc")
#: Limits of control groups of version 1 above this are none.
_NO_LIMIT = 2**60


class InsufficientMemoryError(MemoryError):
    """A fit is expected to take more memory than there is; the message says what takes less."""


class MemoryLimitWarning(UserWarning):
    """A fit may take more memory than there is, or experts of a pool were left out for want of it."""


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that may still be taken by all processes of a fit together, and by each of them."""

    together: float
    each: float


def free_memory(groups: Path = _GROUPS, proc: Path = _PROC) -> FreeMemory:
    """What may still be taken; infinite where the system does not say.

    The least of what the machine has available, and of what is left of the limits of the control groups that this
    process is in (versions 1 and 2), as in a container; for each process also what is left of RLIMIT_AS.

    Parameters
    ----------
    groups, proc : path
        Where the system shows them.

    Examples
    --------
    >>> free_memory().each <= free_memory().together * 1.1
    True
    """
    together = min([_of_machine(proc), *_left_in_groups(groups, proc)])
    return FreeMemory(together, min(together, _left_of_own_limit(proc)))


def _of_machine(proc: Path) -> float:
    with suppress(OSError, ValueError, IndexError):
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024.0
    with suppress(OSError, ValueError, AttributeError):  # Windows has no sysconf
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def _left_in_groups(groups: Path, proc: Path) -> Iterator[float]:
    """What is left in each group that this process is in, and in those above it."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, cache = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        place = root / path.lstrip("/")
        for folder in (place, *place.parents):
            if folder != root and root not in folder.parents:
                break
            with suppress(OSError, ValueError):  # "max" is no number, and the root has no limit
                most = int((folder / limit).read_text())
                if most < _NO_LIMIT:
                    used = int((folder / usage).read_text()) - _counted(folder / "memory.stat", cache)
                    yield float(max(most - used, 0))


def _counted(path: Path, name: str) -> int:
    """A number of memory.stat: files in the cache are given up where memory is needed."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            if line.split(" ")[0] == name:
                return int(line.split(" ")[1])
    return 0


def _left_of_own_limit(proc: Path) -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    taken = 0
    with suppress(OSError, ValueError, IndexError):
        taken = int((proc / "self" / "statm").read_text().split()[0]) * resource.getpagesize()
    return float(max(limit - taken, 0))


def in_units(size: float) -> str:
    """Bytes in words.

    Examples
    --------
    >>> in_units(123_456_789), in_units(12_345_678_901)
    ('123 MB', '12.3 GB')
    """
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def bytes_of(size: int | str) -> int:
    """Bytes of a size such as "2GB".

    Raises
    ------
    ValueError
        If it is no size.

    Examples
    --------
    >>> bytes_of("2GB"), bytes_of("500 MiB"), bytes_of(1000)
    (2000000000, 524288000, 1000)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", str(size).upper())
    if isinstance(size, bool) or found is None or (found[3] and not found[2]) or float(found[1]) == 0:
        raise ValueError("a number of bytes would do, such as 2_000_000_000, '2GB' or '500MB'")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** " KMGT".index(found[2] or " "))
