"""Boosted trees that the workers of a cluster fit together, where a table does not fit into memory."""

from __future__ import annotations

import math
from typing import Any, Self

from metamix.data.scalars import is_number, is_whole
from metamix.experts.pipelines import OrderedPipeline
from metamix.fitting.early_stopping import library_of
from metamix.fitting.in_chunks import CONTINUED_FROM, last_learner

__all__ = ["OnCluster"]


class OnCluster(OrderedPipeline):
    """A pipeline that ends with a booster of XGBoost or LightGBM, which a cluster fits to all rows of a large table.

    In a fit to a table of `metamix.scan`, the boosters of other pipelines grow each tree on one chunk of the rows. This
    one grows each tree on all of them, which the workers of a cluster of Dask hold together: those of
    ``use_engine("dask", ...)``, or of the current client. Any other fit is that of an ordinary pipeline.

    Parameters
    ----------
    steps : list of (str, estimator)
    time_limit : float, default=3600
        Seconds that the workers may take for all rows, restarts included.
    n_restarts : int, default=2
        How often the workers begin again where one is lost, as by a machine that is short of memory.
    memory, verbose
        As in scikit-learn's Pipeline.

    Raises
    ------
    ValueError
        In `fit`, if `time_limit` or `n_restarts` cannot be used.
    TypeError
        In `fit`, if the last step is no such booster, or stops early.

    Examples
    --------
    >>> from metamix.experts.regressors import lightgbm
    >>> OnCluster(lightgbm(num_leaves=255).steps, time_limit=7200).n_restarts
    2
    """

    #: Asks a fit in chunks for the workers of a cluster.
    learns_on_cluster = True

    def __init__(
        self, steps: Any, *, time_limit: float = 3600.0, n_restarts: int = 2, memory: Any = None, verbose: bool = False
    ) -> None:
        super().__init__(steps, memory=memory, verbose=verbose)
        self.time_limit = time_limit
        self.n_restarts = n_restarts

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit to X (n, d), y (n,) and weights (n,): ``sample_weight`` or ``model__sample_weight``."""
        if not (is_number(self.time_limit) and 0 < self.time_limit < math.inf):
            raise ValueError(f"time_limit={self.time_limit!r} is no number of seconds; give one above 0, such as 3600.")
        if not is_whole(self.n_restarts, least=0):
            raise ValueError(f"n_restarts={self.n_restarts!r} is no number of restarts; give 0, 1, 2, ...")
        super().fit(X, y, **params)
        if library_of(last_learner(self), CONTINUED_FROM) is None:
            raise TypeError(
                f"OnCluster ends with {self.steps[-1][1]!r}; a cluster can train boosters of XGBoost and LightGBM "
                "without early stopping"
            )
        return self
