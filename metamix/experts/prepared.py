"""A model for numbers as an expert by name: columns of any kind are encoded before it, and the target is scaled."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from metamix.data.columns import giving_arrays
from metamix.data.feature_encoder import FeatureEncoder
from metamix.experts.curves import DenseColumns
from metamix.experts.models import ScaledTarget
from metamix.experts.pipelines import OrderedPipeline

__all__ = ["prepared_pipeline"]


def prepared_pipeline(model: Any) -> Pipeline:
    """A pipeline around a model for numbers, for factories of plugins.

    The model gets a dense array of standardised columns without missing values, categories one-hot encoded; a
    regressor gets a target of mean zero and standard deviation one. Rows are in an order that depends on their
    content only, weights have mean one, and rows of weight zero are left out.

    Parameters
    ----------
    model : estimator
        An unfitted regressor or classifier in the style of scikit-learn.

    Returns
    -------
    Pipeline
        With the model as step ``model``, of a regressor as ``model__regressor``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import HuberRegressor
    >>> houses = pd.DataFrame({"size": [50.0, None, 80.0, 70.0], "city": ["Rome", "Bonn", "Bonn", None]})
    >>> prepared_pipeline(HuberRegressor()).fit(houses, [1.0, 2.0, 3.0, 4.0]).predict(houses).shape
    (4,)
    """
    classes = is_classifier(model)
    last = model if classes else ScaledTarget(model)
    steps = [("columns", FeatureEncoder(classes=classes)), ("dense", DenseColumns()), ("model", last)]
    return giving_arrays(OrderedPipeline(steps))
