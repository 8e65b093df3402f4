"""Execution of a list of tasks over shared data: serially, in threads, in local processes or on a cluster.

The engine does not affect results: each outcome carries the index of its task, so the order in which
tasks finish does not matter.
"""

from metamix.engines.choice import current_engine, use_engine
from metamix.engines.contract import (
    DifferentDataError,
    Engine,
    Outcome,
    Reloadable,
    Session,
    TaskTimeoutError,
    WorkerKilledError,
)
from metamix.engines.dask import DaskEngine
from metamix.engines.in_process import SerialEngine, ThreadsEngine
from metamix.engines.local import LocalEngine
from metamix.engines.task import at_most

__all__ = [
    "DaskEngine",
    "DifferentDataError",
    "Engine",
    "LocalEngine",
    "Outcome",
    "Reloadable",
    "SerialEngine",
    "Session",
    "TaskTimeoutError",
    "ThreadsEngine",
    "WorkerKilledError",
    "at_most",
    "current_engine",
    "use_engine",
]
