"""Final estimators: predictions of the experts in, one prediction out, and that one out of fold too."""

from metamix.training.stacking.base import BoundedStack, Stack, StackData
from metamix.training.stacking.estimator import EstimatorStack
from metamix.training.stacking.feature_weighted import FeatureWeightedStack
from metamix.training.stacking.linear import LinearStack
from metamix.training.stacking.pool import LogOpinionPool

__all__ = [
    "BoundedStack", "EstimatorStack", "FeatureWeightedStack", "LinearStack", "LogOpinionPool", "Stack", "StackData",
]  # fmt: skip
