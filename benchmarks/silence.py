"""How long a command writes nothing on a terminal.

    python benchmarks/silence.py [COMMAND …]

By default ``metamix fit`` of 361 rows of the table concrete with everything at its default. The command runs on a
pseudo-terminal; printed are the longest times between two things that it wrote, and what these were.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHOWN = 5
ROWS = 361


def pauses(command: list[str]) -> list[tuple[float, float, str]]:
    """Seconds of each pause, when it began, and what was written before it."""
    terminal, screen = pty.openpty()
    began = last = time.monotonic()
    child = subprocess.Popen(command, stdout=screen, stderr=screen, stdin=screen)
    os.close(screen)
    found, said = [], ""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side has gone
            break
        now = time.monotonic()
        found.append((now - last, last - began, said))
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece.decode("utf-8", "replace"))
        last, said = now, (text.split() and " ".join(text.split())[-50:]) or said
    child.wait()
    found.append((time.monotonic() - last, last - began, said))
    return found


def example(folder: str) -> list[str]:
    """The default command, with its table in a folder."""
    from tables import SHARED, module

    X, y, _ = module(SHARED / "data" / "load.py").load("concrete")
    table, model = Path(folder, "concrete.csv"), Path(folder, "concrete.mix")
    X.assign(strength=y).sample(ROWS, random_state=0).to_csv(table, index=False)
    return [sys.executable, "-m", "metamix", "fit", str(table), "--target", "strength", "--out", str(model)]


def main() -> None:
    """Print the table."""
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        found = pauses(words or example(folder))
    print(f"{len(found)} pauses, in {sum(one[0] for one in found):.0f} s; the longest:\n")
    for seconds, at, said in sorted(found, reverse=True)[:SHOWN]:
        print(f"{seconds:5.1f} s at {at:5.0f} s, after {said!r}")


if __name__ == "__main__":
    main()
