"""Where work runs: a list of tasks over shared data, serially, in threads or in local processes.

An engine never changes a result: outcomes carry the index of their task, whatever the order in
which they finish.
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
