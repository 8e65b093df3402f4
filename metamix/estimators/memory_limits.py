"""What a fit takes of memory at its peak, said before anything is fitted: refused, or parts of a pool left out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse

from metamix.data.frames import frame_columns, is_frame, n_rows
from metamix.experts.memory import memory_of
from metamix.fitting import Problem
from metamix.memory import FreeMemory, InsufficientMemoryError, MemoryLimitWarning, free_memory, in_units

__all__ = ["FitEstimate", "estimate_fit", "sentence", "within_memory"]

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
    n_workers : int
    n_folds : int
    """

    rows: int
    columns: int
    driver: float
    tasks: tuple[float, ...]
    n_workers: int = 1
    n_folds: int = 5

    @property
    def each(self) -> float:
        """Bytes of the process that takes the most."""
        task = max(self.tasks)
        return self.driver + task if self.n_workers == 1 else max(self.driver, WORKER + task)

    @property
    def together(self) -> float:
        """Bytes of all processes; the most expensive fits, of one fold each, run at once."""
        if self.n_workers == 1:
            return self.each
        table = 8.0 * self.rows * self.columns  # in one file that all workers map
        at_once = sorted(self.tasks * self.n_folds)[-self.n_workers :]
        return self.driver + table + self.of_workers + sum(at_once)

    @property
    def of_workers(self) -> float:
        """Bytes of worker processes without data, of which there are no more than fits."""
        return WORKER * min(self.n_workers, len(self.tasks) * self.n_folds) if self.n_workers > 1 else 0.0

    def fits(self, free: FreeMemory) -> bool:
        """Whether there is so much memory."""
        return self.together <= free.together and self.each <= free.each


def estimate_fit(
    problem: Problem, kinds: Sequence[str | None], cv: Any, n_workers: int = 1, *, refit: bool = True
) -> FitEstimate:
    """What a fit takes, from rows, columns and the names of its experts.

    Parameters
    ----------
    problem : Problem
    kinds : sequence of str or None
        Names of experts; None is an estimator, of which only copies of its rows are counted.
    cv : int, splitter, list of (train, test) or None
        Those that are no number count as five folds.
    n_workers : int
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
    return FitEstimate(n, width, predictions + models + largest + gates, tasks, n_workers, n_folds)


def within_memory(
    problem: Problem, kinds: Mapping[str, str | None], cv: Any, n_workers: int, *, pool: bool, refit: bool = True
) -> tuple[list[str], list[str]]:
    """Names of experts for which there is memory, and what is left out.

    Only of a pool by name are experts left out: those that do not fit in, even one at a time.

    Parameters
    ----------
    problem : Problem
    kinds : mapping from str to str or None
        For each expert, by its name, the name that it was given by; None for an estimator.
    cv, n_workers
        As of `estimate_fit`.
    pool : bool
        Whether the experts are a pool.
    refit : bool

    Raises
    ------
    InsufficientMemoryError
        If there is not enough memory; the message says what takes less.

    Warns
    -----
    MemoryLimitWarning
        If experts are left out.
    """
    free = free_memory()
    names, left_out = list(kinds), []

    def estimated(workers: int) -> FitEstimate:
        return estimate_fit(problem, [kinds[name] for name in names], cv, workers, refit=refit)

    while pool and len(names) > 1 and not estimated(1).fits(free):
        costs = estimated(1).tasks
        worst = int(np.argmax(costs))
        left_out.append(f"the expert {names[worst]} (about {in_units(costs[worst])} of memory)")
        del names[worst]
    found = estimated(n_workers)
    if not found.fits(free):
        raise InsufficientMemoryError(_refusal(found, estimated(1), free, len(names)))
    if left_out:
        warnings.warn(sentence(left_out), MemoryLimitWarning, stacklevel=3)
    return names, left_out


def sentence(left_out: Sequence[str]) -> str:
    """What was left out; empty where nothing was.

    Examples
    --------
    >>> sentence(["the expert kriging (about 12 GB of memory)"])
    'Left out for want of memory: the expert kriging (about 12 GB of memory).'
    """
    return f"Left out for want of memory: {'; '.join(left_out)}." if left_out else ""


def _refusal(found: FitEstimate, alone: FitEstimate, free: FreeMemory, n_experts: int) -> str:
    short = found.each > free.each
    taken, available = (found.each, free.each) if short else (found.together, free.together)
    processes = f" in {found.n_workers} processes" if found.n_workers > 1 else ""
    less = []
    if found.n_workers > 1 and alone.together < found.together:
        less.append(f"n_jobs=1 takes about {in_units(alone.together)}")
    fixed = min(WORKER, found.of_workers) if short else found.of_workers
    rows = int(found.rows * max(available - fixed, 0.0) / (taken - fixed))
    rows = int(float(f"{rows:.2g}"))
    if rows >= 100:
        less.append(f"about {rows:,} rows would do: give a sample")
    less.append("experts='fast', or a shorter list, takes less")
    where = " in one process" if short and found.n_workers > 1 else ""
    return (
        f"{n_experts} experts on {found.rows:,} rows of {found.columns} columns{processes} are expected to take "
        f"{in_units(taken)} of memory{where} at the peak, of which {in_units(available)} are available: "
        f"{'; '.join(less)}."
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
