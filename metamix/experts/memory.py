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


#: ``python benchmarks/memory.py --experts``: peaks for 40,000 rows of 5 and of 20 columns.
_LINEAR = FitMemory(row=85, cell=32)
_KRIGING = FitMemory(row=150, cell=28, square=29, most=65e6)
_LIGHTGBM, _XGBOOST = FitMemory(row=210, cell=14, model=30), FitMemory(row=95, cell=21, model=30)
_BOTH = {
    "neighbours": FitMemory(row=60, cell=24, model=100),
    "svm": FitMemory(row=50, cell=30, square=3.6, most=525e6),
    "lightgbm": _LIGHTGBM,
    "lightgbm_dask": _LIGHTGBM,
    "xgboost": _XGBOOST,
    "xgboost_dask": _XGBOOST,
    "boosting": FitMemory(row=65, cell=24, model=10),
    "mlp": FitMemory(row=60, cell=40),
}
REGRESSORS = _BOTH | {
    "linear": _LINEAR,
    "ridge": FitMemory(row=65, cell=39),
    "lasso": FitMemory(row=600, cell=22),
    "quadratic": FitMemory(cell=300),
    "cubic": FitMemory(cell=400),
    "splines": FitMemory(row=480, cell=160),
    "rbf": FitMemory(row=100, cell=32, square=83, most=30e6),
    "kriging": _KRIGING,
    "forest": FitMemory(row=4000, cell=30, model=4000),
    "extra_trees": FitMemory(row=5400, cell=66, model=5900),
}
CLASSIFIERS = _BOTH | {
    "logistic": _LINEAR,
    "naive_bayes": FitMemory(cell=24),
    "gaussian_process": _KRIGING,
    "tree": FitMemory(cell=16),
    "forest": FitMemory(row=5000, cell=30, model=5000),
    "extra_trees": FitMemory(row=5500, cell=66, model=5600),
}
#: An estimator that is not known: a copy of its rows, and one that it makes of them.
UNKNOWN = FitMemory(row=16, cell=12)


def memory_of(name: str | None, *, classes: bool) -> FitMemory:
    """What fits of an expert by name take; of another estimator, the least that any takes.

    Examples
    --------
    >>> memory_of("extra_trees", classes=False).kept(1000) > memory_of("ridge", classes=False).kept(1000)
    True
    """
    return (CLASSIFIERS if classes else REGRESSORS).get(name or "", UNKNOWN)
