"""Execution of a list of tasks over shared data: serially, in threads or in local processes.

The engine does not affect results: each outcome carries the index of its task, so the order in which
tasks finish does not matter.
"""

from metamix.engines.choice import current_engine, use_engine
from metamix.engines.contract import Engine, Outcome, Session, WorkerKilledError
from metamix.engines.in_process import SerialEngine, ThreadsEngine
from metamix.engines.local import LocalEngine

__all__ = [
    "Engine",
    "LocalEngine",
    "Outcome",
    "SerialEngine",
    "Session",
    "ThreadsEngine",
    "WorkerKilledError",
    "current_engine",
    "use_engine",
]
