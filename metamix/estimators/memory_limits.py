"""What a fit takes of memory at its peak, said before anything is fitted: refused, or parts of a pool left out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from metamix.data.frames import frame_columns, is_frame, n_rows
from metamix.engines import Engine, SerialEngine
from metamix.estimators.resolution import name_experts
from metamix.experts.memory import memory_of
from metamix.fitting import Problem
from metamix.memory import FreeMemory, InsufficientMemoryError, MemoryLimitWarning, free_memory, in_units

if TYPE_CHECKING:
    from metamix.estimators.mixture import Mixture

__all__ = ["FitEstimate", "estimate_fit", "kinds_of", "sentence", "within_memory"]

#: A worker process with its libraries and no data.
WORKER = 125e6
#: One-hot columns of a column of words at most, and rows that are looked at to count them.
MOST_LEVELS, COUNTED_ROWS = 20, 10_000
#: Folds where `cv` is no number.
FOLDS = 5
#: Copies of the table of predictions besides those within the folds, and columns besides those of the experts.
COPIES, MORE_COLUMNS = 3, 5
#: Tables of numbers that the search for regimes and the gates hold.
GATE_TABLES = 1.0
#: Estimates are within this factor of the peak: a fit is refused only where it is expected to take more than this times
#: what there is.
ACCURACY = 3.0


@dataclass(frozen=True)
class FitEstimate:
    """Bytes that a fit takes at its peak, above what is taken when it begins.

    Parameters
    ----------
    rows, columns : int
        Columns as experts by name see them, one-hot ones among them.
    driver : float
        What this process holds: predictions, fitted experts, gates.
    tasks : tuple of float
        What the fit of each expert takes.
    n_folds : int
    at_once : int
        How many fits run at once on this machine; 0 where other machines run them.
    in_process : bool
        Whether they run in this process, and not in processes of their own.
    """

    rows: int
    columns: int
    driver: float
    tasks: tuple[float, ...]
    n_folds: int = 5
    at_once: int = 1
    in_process: bool = True

    @property
    def n_processes(self) -> int:
        """Worker processes on this machine, of which no more than there are fits are started."""
        return 0 if self.in_process else min(self.at_once, len(self.tasks) * self.n_folds)

    @property
    def each(self) -> float:
        """Bytes of the process that takes the most."""
        if self.n_processes:
            return max(self.driver, WORKER + max(self.tasks))
        return self.together

    @property
    def together(self) -> float:
        """Bytes of all processes; the most expensive fits, of one fold each, run at once."""
        table = 8.0 * self.rows * self.columns if self.n_processes else 0.0  # in one file that all workers map
        largest = sorted(self.tasks * self.n_folds, reverse=True)[: self.at_once]
        return self.driver + table + self.of_workers + sum(largest)

    @property
    def of_workers(self) -> float:
        """Bytes of worker processes without data."""
        return WORKER * self.n_processes

    def fits(self, free: FreeMemory, times: float = 1.0) -> bool:
        """Whether there is so much memory, or so many times what is free would do."""
        return self.together <= times * free.together and self.each <= times * free.each


def estimate_fit(
    problem: Problem, kinds: Sequence[str | None], cv: Any, engine: Engine | None = None, *, refit: bool = True
) -> FitEstimate:
    """What a fit takes, from rows, columns and the names of its experts.

    Parameters
    ----------
    problem : Problem
    kinds : sequence of str or None
        Names of experts; None is an estimator, of which only copies of its rows are counted.
    cv : int, splitter, list of (train, test) or None
        Those that are no number count as five folds.
    engine : Engine, optional
        Of fits that do not run on this machine nothing is counted; by default they run one after the other.
    refit : bool
        Without it the models of the folds are kept.
    """
    n, width = problem.n, _width(problem.X)
    outputs = problem.n_classes or problem.n_targets or 1
    n_folds = 1 if cv is None else int(cv) if isinstance(cv, Integral) else FOLDS
    share = (n_folds - 1) / n_folds if n_folds > 1 else 1.0
    known = [memory_of(kind, classes=problem.n_classes is not None) for kind in kinds]
    tasks = tuple(one.task(n * (1.0 if refit else share), width, outputs) for one in known)
    predictions = 8.0 * n * (len(kinds) + MORE_COLUMNS) * outputs * (n_folds + COPIES)
    # Once for all rows or for each fold; the mixture's experts have all rows among them.
    models = sum(one.kept(n, outputs) for one in known) * (1 if refit else n_folds * share)
    largest = max(one.kept(n, outputs) for one in known)
    gates = GATE_TABLES * 8 * n * min(width, 40)
    engine = SerialEngine() if engine is None else engine
    at_once, in_process = getattr(engine, "n_jobs", 0), getattr(engine, "in_process", False)
    return FitEstimate(n, width, predictions + models + largest + gates, tasks, n_folds, at_once, in_process)


def kinds_of(mixture: Mixture, named: Sequence[tuple[str, Any]]) -> list[str | None]:
    """For each expert the name that it was given by, None for an estimator."""
    given = {one.name: one.expert for one in name_experts(mixture._given_experts())}
    return [kind if isinstance(kind := given.get(name), str) else None for name, _ in named]


def within_memory(
    mixture: Mixture, named: Sequence[tuple[str, Any]], problem: Problem, engine: Engine
) -> tuple[list[tuple[str, Any]], list[str]]:
    """Experts for which there is memory, and what is left out.

    Only of a pool by name are experts left out: those that do not fit in, even one at a time.

    Parameters
    ----------
    mixture : Mixture
        Its `experts`, `cv` and `refit` are read.
    named : sequence of (str, estimator)
        Its experts, with names resolved.
    problem : Problem
    engine : Engine

    Raises
    ------
    InsufficientMemoryError
        If the fit is expected to take more than `ACCURACY` times what is free; the message says what takes less.

    Warns
    -----
    MemoryLimitWarning
        If experts are left out, or the fit is expected to take more than is free, but may take less.
    """
    free, kept, left_out = free_memory(), list(named), []

    def estimated(on: Engine) -> FitEstimate:
        return estimate_fit(problem, kinds_of(mixture, kept), mixture.cv, on, refit=mixture.refit)

    alone = SerialEngine() if hasattr(engine, "n_jobs") else engine
    if mixture.experts is None or isinstance(mixture.experts, str):
        while len(kept) > 1 and not estimated(alone).fits(free):
            costs = estimated(alone).tasks
            worst = int(np.argmax(costs))
            left_out.append(f"the expert {kept[worst][0]} (about {in_units(costs[worst])} of memory)")
            del kept[worst]
    found = estimated(engine)
    if not found.fits(free, ACCURACY):
        raise InsufficientMemoryError(f"{_expected(found, estimated(alone), free)}.")
    if left_out:
        warnings.warn(sentence(left_out), MemoryLimitWarning, stacklevel=3)
    if not found.fits(free):
        warnings.warn(
            f"{_expected(found, estimated(alone), free)}. The fit goes on, since the estimate is within a factor of "
            f"{ACCURACY:g} only.",
            MemoryLimitWarning,
            stacklevel=3,
        )
    return kept, left_out


def sentence(left_out: Sequence[str]) -> str:
    """What was left out; empty where nothing was.

    Examples
    --------
    >>> sentence(["the expert kriging (about 12 GB of memory)"])
    'Left out for want of memory: the expert kriging (about 12 GB of memory).'
    """
    return f"Left out for want of memory: {'; '.join(left_out)}." if left_out else ""


def _expected(found: FitEstimate, alone: FitEstimate, free: FreeMemory) -> str:
    """What a fit is expected to take, what there is, and what takes less."""
    short = found.each * free.together > found.together * free.each  # of one process there is less than of all
    taken, available = (found.each, free.each) if short else (found.together, free.together)
    less = []
    if alone.together < found.together:
        less.append(f"n_jobs=1 takes about {in_units(alone.together)}")
    fixed = min(WORKER, found.of_workers) if short else found.of_workers
    rows = int(found.rows * max(available - fixed, 0.0) / (taken - fixed))
    rows = int(float(f"{rows:.2g}"))
    if rows >= 100:
        less.append(f"about {rows:,} rows would do: give a sample")
    less.append("experts='fast', or a shorter list, takes less")
    n = len(found.tasks)
    processes = f" in {found.n_processes} processes" if found.n_processes > 1 else ""
    where = " in one process" if short and found.n_processes > 1 else ""
    return (
        f"{n} expert{'s' if n > 1 else ''} on {found.rows:,} rows of {found.columns} columns{processes} may take "
        f"{in_units(taken)} of memory{where} at the peak, of which {in_units(available)} are available: "
        f"{'; '.join(less)}"
    )


def _width(X: Any) -> int:
    """Columns as experts by name see them: a column of words has one for each of its frequent values."""
    if sparse.issparse(X):
        return max(int(np.ceil(1.5 * X.nnz / max(X.shape[0], 1))), 1)  # numbers with their places
    if not is_frame(X):
        return int(np.prod(np.shape(X)[1:]))
    width, m = 0, min(n_rows(X), COUNTED_ROWS)
    for column in frame_columns(X):
        values = np.asarray(column)
        words = values.dtype.kind in "OUST"
        width += min(len(set(map(str, values[:m]))), MOST_LEVELS) + 1 if words else 1
    return width
