"""Named experts: factories of pipelines that accept columns of any type, with defaults for most tables.

Every factory takes keyword parameters of its model and returns an unfitted estimator that uses one thread.
"""

from metamix.experts import classifiers, regressors
from metamix.experts.on_cluster import OnCluster
from metamix.experts.prepared import prepared_pipeline

__all__ = ["OnCluster", "classifiers", "prepared_pipeline", "regressors"]
