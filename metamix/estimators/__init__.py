"""Mixtures as scikit-learn estimators."""

from metamix.estimators.classification import MixtureClassifier
from metamix.estimators.precomputed import MixtureOfPredictions, fit_predictions
from metamix.estimators.regression import MixtureRegressor

__all__ = ["MixtureClassifier", "MixtureOfPredictions", "MixtureRegressor", "fit_predictions"]
