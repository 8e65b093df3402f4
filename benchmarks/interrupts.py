"""How soon Ctrl-C ends a fit, and what it leaves.

    python benchmarks/interrupts.py [--times 10] [--quick]

``metamix fit`` of 361 rows of the table concrete with everything at its default gets SIGINT at moments drawn uniformly
from its first seconds, as all processes of a terminal do; once with a process for each core, once with ``--jobs 1``.
Printed are seconds until it has ended, exit codes, files and processes that are left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
from silence import example

#: Seconds from which moments are drawn.
FIRST, LAST = 2.0, 40.0


def interrupted(command: list[str], folder: Path, after: float) -> tuple[float, int, list[str], int] | None:
    """Seconds until it has ended, exit code, new files, processes that are left; None if it was done before."""
    before = {path.name for path in folder.iterdir()}
    child = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        child.wait(after)
        return None
    except subprocess.TimeoutExpired:
        pass
    others = psutil.Process(child.pid).children(recursive=True)
    began = time.monotonic()
    os.killpg(child.pid, signal.SIGINT)
    code = child.wait()
    seconds = time.monotonic() - began
    _, alive = psutil.wait_procs(others, timeout=2)
    return seconds, code, [path.name for path in folder.iterdir() if path.name not in before], len(alive)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="twice, within the first five seconds")
    options = parser.parse_args()
    times, last = (2, 5.0) if options.quick else (options.times, LAST)
    draw = random.Random(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background shells have it ignored
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit = example(name)
        for what, more in (("a process for each core", []), ("--jobs 1", ["--jobs", "1"])):
            found = [interrupted([*fit, "--force", *more], folder, draw.uniform(FIRST, last)) for _ in range(times)]
            ended = [one for one in found if one is not None]
            if not ended:
                print(f"{what}: all were done before")
                continue
            seconds = sorted(one[0] for one in ended)
            print(
                f"{what}: {len(ended)} interruptions, seconds median {statistics.median(seconds):.2f}, most "
                f"{seconds[-1]:.2f}; exit codes {sorted({one[1] for one in ended})}, files left "
                f"{sum(len(one[2]) for one in ended)}, processes left {sum(one[3] for one in ended)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
