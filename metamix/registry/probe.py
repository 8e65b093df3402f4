"""Which parts can be imported: tried in a process of its own, since an import may end the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from metamix import registry
from metamix.registry import PartRow

__all__ = ["find_broken"]


def find_broken(rows: Sequence[PartRow] | None = None) -> dict[PartRow, str]:
    """Import parts in a process of its own, and tell which of them cannot be imported.

    Parts that were registered in this session are left out.

    Parameters
    ----------
    rows : sequence of PartRow, optional
        Parts to import; all registered ones if not given.

    Returns
    -------
    dict of PartRow to str
        The parts that raise an error, or end the process, and why.

    Examples
    --------
    >>> from metamix.registry import describe
    >>> find_broken([row for row in describe() if row.value == "metamix.gates:ConstantGate"])
    {}
    """
    chosen = registry.describe() if rows is None else rows
    waiting = [row for row in chosen if row.distribution != registry.SESSION]
    broken: dict[PartRow, str] = {}
    while waiting:  # a process for all parts, and another for the rest after one that ended it
        tried, code = _import_all(waiting)
        broken |= {row: reason for row, reason in zip(waiting, tried, strict=False) if reason}
        if len(tried) < len(waiting):
            broken[waiting[len(tried)]] = f"its import ends the process (exit code {code})"
        waiting = waiting[len(tried) + 1 :]
    return broken


def _import_all(rows: Sequence[PartRow]) -> tuple[list[str], int]:
    """For each part, in order, why it cannot be imported ("" if it can), as far as the process came; its exit code."""
    names = json.dumps([(row.kind, f"{row.distribution}:{row.name}") for row in rows])
    command = [sys.executable, "-m", "metamix.registry.probe"]
    done = subprocess.run(command, input=names, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def _main() -> None:
    """In the other process: import the parts that standard input names, and write a line for each."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what parts print when they are imported is no answer
        for kind, name in json.load(sys.stdin):
            try:
                getattr(registry, kind)[name]
                reason = ""
            except registry.PartError as error:
                reason = " ".join(str(error).split())
            answers.write(json.dumps(reason) + "\n")
            answers.flush()


if __name__ == "__main__":
    _main()
