"""What fits of experts by name take of memory, as measured: bytes for each row, and for each row and column."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FitMemory", "memory_of"]


@dataclass(frozen=True)
class FitMemory:
    """Growth of the memory of an expert.

    Parameters
    ----------
    square, most : float
        Bytes at the peak of a fit for each pair of rows, and all of these at most, since experts whose matrices grow as
        n² take centres, or a cache of one size.
    row : float
        Bytes at the peak for each row.
    cell : float
        Bytes at the peak for each row and column.
    model : float
        Of these, bytes for each row that the fitted expert keeps.
    """

    row: float = 0.0
    cell: float = 0.0
    model: float = 0.0
    square: float = 0.0
    most: float = 0.0

    def task(self, n: float, width: int, outputs: int = 1) -> float:
        """Bytes at the peak of a fit to n rows, the copy of these rows included."""
        matrices = min(self.square * n * n, self.most)
        return matrices + n * (self.row * _of_outputs(outputs) + (self.cell + 8.0) * width)

    def kept(self, n: float, outputs: int = 1) -> float:
        """Bytes of the expert that was fitted to n rows."""
        return n * self.model * _of_outputs(outputs)


def _of_outputs(outputs: int) -> float:
    """A node of a tree has 64 bytes, and 8 for each class or target."""
    return (64.0 + 8.0 * outputs) / 72.0


#: ``python benchmarks/memory.py --experts``: least squares over two numbers of rows and two of columns.
REGRESSORS: dict[str, FitMemory] = {
    "ridge": FitMemory(0, 60, 40),
    "linear": FitMemory(0, 60, 40),
    "lasso": FitMemory(0, 60, 40),
    "splines": FitMemory(0, 480, 160),
    "quadratic": FitMemory(0, 500, 400),
    "kriging": FitMemory(65e6, 150, 28, 100),
    "rbf": FitMemory(20e6, 100, 28),
    "extra_trees": FitMemory(0, 5300, 65, 5900),
    "forest": FitMemory(0, 3000, 65, 3000),
}
CLASSIFIERS: dict[str, FitMemory] = {
    "logistic": FitMemory(0, 60, 40),
    "extra_trees": FitMemory(0, 5300, 65, 5900),
    "forest": FitMemory(0, 3000, 65, 3000),
}
#: An estimator that is not known: a copy of its rows, and one that it makes of them.
UNKNOWN = FitMemory(0, 16, 12)


def memory_of(name: str | None, *, classes: bool) -> FitMemory:
    """What fits of an expert by name take; of another estimator, the least that any takes.

    Examples
    --------
    >>> memory_of("extra_trees", classes=False).kept(1000) > memory_of("ridge", classes=False).kept(1000)
    True
    """
    return (CLASSIFIERS if classes else REGRESSORS).get(name or "", UNKNOWN)
