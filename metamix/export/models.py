"""Fitted experts as ONNX: what scikit-learn, XGBoost, LightGBM and CatBoost can, and the named experts around them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from metamix.estimators.coefficients import linear_terms
from metamix.experts.kriging import Kriging
from metamix.experts.models import EncodedLabels, ScaledTarget
from metamix.experts.neighbours import NeighboursClassifier, NeighboursRegressor
from metamix.experts.radial import RadialBasis
from metamix.export.columns import transformed
from metamix.export.distances import kriging, neighbours, radial_basis
from metamix.export.errors import ExportError
from metamix.export.forests import forest, is_forest
from metamix.export.graph import ML, ML_OPSET, OPSET, Graph

__all__ = ["by_hook", "probabilities", "regression"]

# Converters of skl2onnx that were compared with the models; others differ, such as that of neighbours by distance.
BY_SKL2ONNX = (GaussianNB, MLPClassifier, MLPRegressor, SVR)
#: Method by which networks and parts of plugins are written: returns an `onnx.ModelProto` with one input (n, d), whose
#: last output are predictions (n, 1), probabilities (n, C) or, of a gate, weights (n, K).
HOOK = "__metamix_onnx__"
# What the converters for XGBoost and LightGBM know at most.
OLDEST_OPSET = 15


def regression(graph: Graph, what: str, model: Any, x: str) -> str:
    """Predictions (n, 1) of a fitted regressor.

    Parameters
    ----------
    graph : Graph
    what : str
        The part, for errors.
    model : fitted regressor
    x : str
        Name of the columns (n, d).

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    if isinstance(model, Pipeline):
        return regression(graph, what, model.steps[-1][1], _before(graph, what, model, x))
    if isinstance(model, ScaledTarget):
        return _rescaled(graph, regression(graph, what, model.regressor_, x), model.scale_, model.mean_)
    if isinstance(model, TransformedTargetRegressor) and isinstance(model.transformer_, StandardScaler):
        inner = regression(graph, what, model.regressor_, x)
        return _rescaled(graph, inner, model.transformer_.scale_, model.transformer_.mean_)
    if isinstance(model, Kriging):
        return kriging(graph, model, x)
    if isinstance(model, RadialBasis):
        return radial_basis(graph, model, x)
    if isinstance(model, NeighboursRegressor):
        return neighbours(graph, what, model, x)
    if is_forest(model):
        return forest(graph, model, x)
    terms = linear_terms(model)
    if terms is not None:
        return graph.affine(x, terms.slopes.T, terms.intercept)
    return _foreign(graph, what, model, x)


def probabilities(graph: Graph, what: str, model: Any, x: str) -> str:
    """Probabilities (n, C) of a fitted classifier; parameters and errors as for `regression`."""
    if isinstance(model, Pipeline):
        return probabilities(graph, what, model.steps[-1][1], _before(graph, what, model, x))
    if isinstance(model, EncodedLabels):
        return probabilities(graph, what, model.classifier_, x)
    if is_forest(model):
        return forest(graph, model, x)
    if isinstance(model, NeighboursClassifier):
        return neighbours(graph, what, model, x)
    if isinstance(model, LogisticRegression):
        return _of_scores(graph, graph.affine(x, model.coef_.T, model.intercept_), len(model.classes_))
    return _foreign(graph, what, model, x)


def _before(graph: Graph, what: str, model: Pipeline, x: str) -> str:
    for _, step in model.steps[:-1]:
        x = transformed(graph, what, step, x)
    return x


def _rescaled(graph: Graph, y: str, scale: Any, mean: Any) -> str:
    return str(graph.add("Add", graph.add("Mul", y, graph.constant(scale)), graph.constant(mean)))


def _of_scores(graph: Graph, scores: str, n_classes: int) -> str:
    """Probabilities of scores (n, C), or of those of the second of two classes (n, 1)."""
    if n_classes > 2:
        return str(graph.add("Softmax", scores, axis=1))
    second = graph.add("Sigmoid", scores)
    return graph.joined([graph.add("Sub", graph.constant(1.0), second), second])


def _foreign(graph: Graph, what: str, model: Any, x: str) -> str:
    """Predictions (n, 1) or probabilities (n, C) of a model of another library: its last output."""
    library, d = type(model).__module__.partition(".")[0], getattr(model, "n_features_in_", 0)
    if hasattr(model, HOOK):
        return by_hook(graph, what, model, x)
    try:
        if isinstance(model, BY_SKL2ONNX):
            converted = _by_skl2onnx(model, d)
        elif library in ("xgboost", "lightgbm"):
            converted = _by_onnxmltools(library, model, d)
        elif library == "catboost":
            converted = _by_catboost(model)
        else:
            raise ExportError(
                f"{what} ({type(model).__name__}) cannot be written as ONNX; linear models, splines, trees, boosted "
                "trees of LightGBM, XGBoost and CatBoost, neighbours by name, kriging, rbf, multilayer perceptrons, "
                "networks of metamix.nn, naive Bayes and SVR can"
            )
    except ExportError:
        raise
    except Exception as error:  # a converter of another library may raise anything
        raise _refused(what, model, error) from error
    return graph.embed(converted, x)[-1]


def by_hook(graph: Graph, what: str, part: Any, x: str) -> str:
    """What a part computes that writes itself; ExportError if it cannot."""
    try:
        converted = getattr(part, HOOK)()
    except Exception as error:  # a part of a plugin may raise anything
        raise _refused(what, part, error) from error
    return graph.embed(converted, x)[-1]


def _refused(what: str, part: Any, error: Exception) -> ExportError:
    if isinstance(error, ImportError):
        return ExportError(f"{what} needs {error.name or error} to be written as ONNX: pip install 'metamix[onnx]'")
    return ExportError(f"{what} ({type(part).__name__}) cannot be written as ONNX: {error}")


def _by_skl2onnx(model: Any, d: int) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    return convert_sklearn(
        model,
        initial_types=[("X", FloatTensorType([None, d]))],
        options=options,
        target_opset={"": OPSET, ML: ML_OPSET},
    )


def _by_onnxmltools(library: str, model: Any, d: int) -> Any:
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("X", FloatTensorType([None, d]))]
    if library == "xgboost":
        return convert_xgboost(model, initial_types=types, target_opset=OLDEST_OPSET)
    return convert_lightgbm(model, initial_types=types, target_opset=OLDEST_OPSET, zipmap=False)


def _by_catboost(model: Any) -> Any:
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        model.save_model(str(path), format="onnx")
        return onnx.load(path)
