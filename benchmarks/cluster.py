"""What a cluster would give, computed from measured task times of one fit.

python benchmarks/cluster.py [--rows 5000] [--machines 1,2,10,100] [--gigabits 1,10] [--table-megabytes 0] [--quick]

One fit is run serially, and what it gives to its engine is recorded: the processor time of each task, the bytes that a
task and its outcome take on a network, and the processor time of this process between two lists of tasks, which are
barriers. From that the time on m machines of one slot each is computed, not measured: every list is scheduled greedily
(the next task to the machine that is free first); the shared data spreads from machine to machine, so it is sent
ceil(log2(m + 1)) times over; tasks and outcomes pass through this process's link, one after the other, with a
millisecond of scheduler each; what this process computes is added. `--table-megabytes` replaces the size of the shared
data by that of a larger table with the same task times.

Printed for each number of machines: seconds, speed-up, and what the time consists of. "Longest tasks" is the sum over
lists of their longest task: no number of machines gets below that and the driver.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import heapq
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
from sklearn.datasets import make_friedman1

from metamix import MixtureRegressor, use_engine
from metamix.engines import Outcome, SerialEngine, Session

#: What the scheduler and this process take for one task, in seconds.
PER_TASK = 0.001


@dataclass
class Recording:
    """Lists of tasks of a fit, and what passed between them."""

    lists: list[list[float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    shared_bytes: int = 0
    task_bytes: int = 0
    driver: float = 0.0
    last: float = field(default_factory=time.process_time)


class RecordingSession:
    """Runs tasks serially and records them."""

    n_workers = 1
    threads_per_task = 1

    def __init__(self, session: Session, recording: Recording) -> None:
        self.session = session
        self.recording = recording

    def run(self, function: Any, tasks: Sequence[Any], names: Sequence[str] | None = None) -> Iterator[Outcome]:
        tape = self.recording
        tape.driver += time.process_time() - tape.last
        tape.lists.append([])
        tape.names.append("" if not names else names[0].split(",")[0])
        tape.last = time.process_time()
        for outcome in self.session.run(function, tasks, names):
            tape.lists[-1].append(time.process_time() - tape.last)
            tape.task_bytes += len(cloudpickle.dumps((tasks[outcome.index], outcome.value), protocol=5))
            tape.last = time.process_time()
            yield outcome
            tape.driver += time.process_time() - tape.last
            tape.last = time.process_time()


class RecordingEngine:
    """A serial engine that records."""

    def __init__(self) -> None:
        self.recording = Recording()

    @contextmanager
    def open(self, shared: Any) -> Iterator[Session]:
        self.recording.shared_bytes += len(cloudpickle.dumps(shared, protocol=5))
        with SerialEngine().open(shared) as session:
            yield RecordingSession(session, self.recording)


def record(rows: int, experts: list[str]) -> Recording:
    """A fit with the defaults of these experts."""
    X, y = make_friedman1(rows, n_features=10, noise=1.0, random_state=0)
    engine = RecordingEngine()
    with use_engine(engine):
        MixtureRegressor(experts, random_state=0).fit(X, y)
    engine.recording.driver += time.process_time() - engine.recording.last
    return engine.recording


def makespan(seconds: list[float], machines: int) -> float:
    """When the last task of a list ends."""
    free = [0.0] * min(machines, len(seconds))
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free, default=0.0)


def on(recording: Recording, machines: int, gigabits: float, shared_bytes: float) -> dict[str, float]:
    """Seconds of a fit by what they are spent on; one machine is this one, without a network."""
    tasks = sum(makespan(seconds, machines) for seconds in recording.lists)
    if machines == 1:
        return {"tasks": tasks, "driver": recording.driver, "data": 0.0, "messages": 0.0}
    per_byte = 8 / (gigabits * 1e9)
    number = sum(map(len, recording.lists))
    return {
        "tasks": tasks,
        "driver": recording.driver,
        "data": math.ceil(math.log2(machines + 1)) * shared_bytes * per_byte,
        "messages": recording.task_bytes * per_byte + number * PER_TASK,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--experts", default="ridge,splines,neighbours,boosting,extra_trees")
    parser.add_argument("--machines", default="1,2,10,100")
    parser.add_argument("--gigabits", default="1,10")
    parser.add_argument("--table-megabytes", type=float, default=0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows, experts = (300, ["ridge", "neighbours"]) if options.quick else (options.rows, options.experts.split(","))
    recording = record(rows, experts)
    shared = options.table_megabytes * 1e6 or recording.shared_bytes
    lists = [seconds for seconds in recording.lists if seconds]
    longest = sum(map(max, lists))
    print(
        f"{rows} rows, {','.join(experts)}: {sum(map(len, lists))} tasks in {len(lists)} lists, "
        f"{sum(map(sum, lists)):.1f} s; longest task of each list {longest:.1f} s; driver {recording.driver:.1f} s; "
        f"shared data {shared / 1e6:.1f} MB, tasks and outcomes {recording.task_bytes / 1e6:.1f} MB"
    )
    for name, seconds in sorted(zip(recording.names, recording.lists, strict=True), key=lambda pair: -sum(pair[1]))[:5]:
        print(f"  {len(seconds):3} tasks from {name!r}: {sum(seconds):.1f} s, the longest {max(seconds):.1f} s")
    for gigabits in map(float, options.gigabits.split(",")):
        alone = sum(on(recording, 1, gigabits, shared).values())
        for machines in map(int, options.machines.split(",")):
            parts = on(recording, machines, gigabits, shared)
            total = sum(parts.values())
            spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
            print(
                f"{gigabits:g} Gbit/s, {machines:3} machines: {total:7.1f} s, {alone / total:5.1f} × one  ({spent}); "
                f"most: {max(parts, key=parts.__getitem__)}"
            )


if __name__ == "__main__":
    main()
