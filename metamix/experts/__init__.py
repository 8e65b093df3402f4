"""Named experts: factories of pipelines that take columns of any kind, with defaults that do on most tables.

Every factory takes keyword parameters for its model and returns an unfitted estimator of one thread.
"""

from metamix.experts import classifiers, regressors

__all__ = ["classifiers", "regressors"]
