"""Named classifiers: pipelines with column preprocessing and `predict_proba`."""

from __future__ import annotations

from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from metamix.data.columns import giving_arrays
from metamix.data.feature_encoder import FeatureEncoder
from metamix.experts.curves import DenseColumns
from metamix.experts.labels import ProcessClassifier
from metamix.experts.models import EncodedLabels
from metamix.experts.neighbours import NeighboursClassifier
from metamix.experts.on_cluster import OnCluster
from metamix.experts.pipelines import MergedPipeline, OrderedPipeline, PenalisedLogistic

__all__ = [
    "boosting",
    "extra_trees",
    "forest",
    "gaussian_process",
    "lightgbm",
    "lightgbm_dask",
    "logistic",
    "mlp",
    "naive_bayes",
    "neighbours",
    "svm",
    "tree",
    "xgboost",
    "xgboost_dask",
]


def logistic(**parameters: Any) -> Pipeline:
    """Logistic regression; parameters of LogisticRegression.

    The penalty is per unit of total weight: ``C`` is that of 1,000 rows.

    Examples
    --------
    >>> logistic().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]).predict([[2.9]])
    array([1])
    """
    return _scaled_pipeline(PenalisedLogistic(**{"max_iter": 1000} | parameters))


def naive_bayes(**parameters: Any) -> Pipeline:
    """Gaussian naive Bayes; parameters of GaussianNB.

    Examples
    --------
    >>> naive_bayes(var_smoothing=0.1).named_steps["model"]
    GaussianNB(var_smoothing=0.1)
    """
    # With the default of 1e-9, a binary column that is constant within a class gives the class probability zero.
    return _scaled_pipeline(GaussianNB(**{"var_smoothing": 1e-2} | parameters), DenseColumns())


def neighbours(**parameters: Any) -> Pipeline:
    """k-nearest neighbours; parameters of KNeighborsClassifier.

    Examples
    --------
    >>> neighbours(n_neighbors=1).fit([[0.0], [1.0]], [0, 1]).predict_proba([[0.9]])
    array([[0., 1.]])
    """
    # Uniform weights: with distance weights, a row equal to a training row would get probability one.
    return _scaled_pipeline(NeighboursClassifier(**{"n_neighbors": 15, "n_jobs": 1} | parameters))


def svm(**parameters: Any) -> Pipeline:
    """Support vector machine with an RBF kernel, calibrated on held-out rows (Platt 1999); parameters of SVC.

    The time grows as n²: minutes for 50,000 rows. Every class needs at least three rows.

    Examples
    --------
    >>> svm(C=10.0).named_steps["model"].classifier.estimator.C
    10.0
    """
    # SVC(probability=True) is deprecated in scikit-learn 1.9, and its folds depend on random_state.
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    calibrated = CalibratedClassifierCV(SVC(**{"cache_size": 500} | parameters), cv=folds, ensemble=False, n_jobs=1)
    return _scaled_pipeline(EncodedLabels(calibrated), kind=OrderedPipeline)


def gaussian_process(**parameters: Any) -> Pipeline:
    """Calibrated Gaussian process classifier; parameters of `metamix.experts.labels.ProcessClassifier`.

    Examples
    --------
    >>> gaussian_process().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]).predict([[2.9]])
    array([1])
    """
    return _scaled_pipeline(ProcessClassifier(**parameters), DenseColumns())


def tree(**parameters: Any) -> Pipeline:
    """A decision tree whose leaves are large enough to estimate probabilities; parameters of DecisionTreeClassifier.

    Examples
    --------
    >>> tree(max_depth=2).named_steps["model"].max_depth
    2
    """
    return _ordinal_pipeline(DecisionTreeClassifier(**{"min_samples_leaf": 15, "max_depth": 8} | parameters))


def forest(**parameters: Any) -> Pipeline:
    """Random forest; parameters of RandomForestClassifier.

    Examples
    --------
    >>> forest(n_estimators=10).named_steps["model"].n_estimators
    10
    """
    return _ordinal_pipeline(
        RandomForestClassifier(**{"n_estimators": 150, "min_samples_leaf": 2, "n_jobs": 1} | parameters)
    )


def extra_trees(**parameters: Any) -> Pipeline:
    """Extremely randomised trees; parameters of ExtraTreesClassifier.

    Examples
    --------
    >>> extra_trees(n_estimators=10).named_steps["model"].n_estimators
    10
    """
    return _ordinal_pipeline(
        ExtraTreesClassifier(**{"n_estimators": 150, "min_samples_leaf": 2, "n_jobs": 1} | parameters)
    )


def boosting(**parameters: Any) -> Pipeline:
    """scikit-learn's histogram gradient boosting; parameters of HistGradientBoostingClassifier.

    Examples
    --------
    >>> boosting(max_iter=20).named_steps["model"].max_iter
    20
    """
    return _ordinal_pipeline(HistGradientBoostingClassifier(**{"learning_rate": 0.05} | parameters), DenseColumns())


def xgboost(**parameters: Any) -> Pipeline:
    """XGBoost's boosted trees; parameters of XGBClassifier.

    Raises
    ------
    ImportError
        If XGBoost is not installed.

    Examples
    --------
    >>> xgboost(n_estimators=20).named_steps["model"].classifier.n_estimators
    20
    """
    try:
        from xgboost import XGBClassifier
    except ImportError as error:
        raise ImportError("The expert 'xgboost' needs XGBoost: pip install metamix[xgboost]") from error
    settings = {
        "n_estimators": 300,
        "learning_rate": 0.03,
        "max_depth": 4,
        "subsample": 0.7,
        "colsample_bytree": 0.5,
    }
    settings |= {"n_jobs": 1, "verbosity": 0} | parameters
    return _ordinal_pipeline(EncodedLabels(XGBClassifier(**settings)))


def xgboost_dask(*, time_limit: float = 3600.0, n_restarts: int = 2, **parameters: Any) -> Pipeline:
    """XGBoost's boosted trees, of large tables by all workers of a cluster (`OnCluster`); parameters as `xgboost`.

    Examples
    --------
    >>> xgboost_dask(n_estimators=20, time_limit=600.0).time_limit
    600.0
    """
    return OnCluster(xgboost(**parameters).steps, time_limit=time_limit, n_restarts=n_restarts)


def lightgbm(**parameters: Any) -> Pipeline:
    """LightGBM's boosted trees; parameters of LGBMClassifier.

    It runs on the CPU whatever the mixture's device, since its wheels are built without CUDA. With a CUDA build,
    pass ``device_type="cuda"``.

    Raises
    ------
    ImportError
        If LightGBM is not installed.

    Examples
    --------
    >>> lightgbm(n_estimators=20).named_steps["model"].classifier.n_estimators
    20
    """
    try:
        from lightgbm import LGBMClassifier
    except ImportError as error:
        raise ImportError("The expert 'lightgbm' needs LightGBM: pip install metamix[lightgbm]") from error
    settings: dict[str, Any] = {
        "n_estimators": 300,
        "learning_rate": 0.03,
        "subsample": 0.7,
        "subsample_freq": 1,
    }
    # force_row_wise: by default LightGBM times two layouts and uses the faster one, which is not reproducible.
    # reg_lambda: without it, leaves with a few rows of a rare class may have scores of any size.
    settings |= {"num_leaves": 20, "reg_lambda": 1.0, "deterministic": True, "force_row_wise": True}
    settings |= {"n_jobs": 1, "verbosity": -1} | parameters
    leaf = None if "min_child_samples" in parameters else "min_child_samples"
    return _ordinal_pipeline(EncodedLabels(LGBMClassifier(**settings), leaf))


def lightgbm_dask(*, time_limit: float = 3600.0, n_restarts: int = 2, **parameters: Any) -> Pipeline:
    """LightGBM's boosted trees, of large tables by all workers of a cluster (`OnCluster`).

    Examples
    --------
    >>> lightgbm_dask(n_estimators=20, time_limit=600.0).time_limit
    600.0
    """
    return OnCluster(lightgbm(**parameters).steps, time_limit=time_limit, n_restarts=n_restarts)


def mlp(**parameters: Any) -> Pipeline:
    """A multilayer perceptron with two hidden layers and early stopping; parameters of MLPClassifier.

    Examples
    --------
    >>> mlp(alpha=0.1).named_steps["model"].alpha
    0.1
    """
    settings = {
        "hidden_layer_sizes": (64, 32),
        "early_stopping": True,
        "n_iter_no_change": 20,
        "max_iter": 500,
    }
    settings |= {"learning_rate_init": 0.003} | parameters
    return _scaled_pipeline(MLPClassifier(**settings), kind=OrderedPipeline)


def _scaled_pipeline(model: Any, step: Any = None, kind: type[Pipeline] = MergedPipeline) -> Any:
    """One-hot encoded and standardised columns, an optional dense step, and the model."""
    steps = [] if step is None else [("dense", step)]
    return giving_arrays(kind([("columns", FeatureEncoder(classes=True)), *steps, ("model", model)]))


def _ordinal_pipeline(model: Any, step: Any = None) -> Any:
    """Ordinally encoded, unscaled columns with missing values, for trees; an optional dense step; the model."""
    columns = FeatureEncoder(classes=True, categories="ordinal", scale=False, missing="keep")
    steps = [] if step is None else [("dense", step)]
    return giving_arrays(OrderedPipeline([("columns", columns), *steps, ("model", model)]))
