"""Named regressors: pipelines with column preprocessing, and scaling of the target where units matter."""

from __future__ import annotations

from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LassoCV, LinearRegression
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.validation import has_fit_parameter

from metamix.data.columns import giving_arrays
from metamix.data.feature_encoder import FeatureEncoder
from metamix.experts.curves import DenseColumns, NaturalSplines, PolynomialColumns
from metamix.experts.kriging import Kriging
from metamix.experts.models import RidgeByGcv, ScaledTarget
from metamix.experts.neighbours import NeighboursRegressor
from metamix.experts.on_cluster import OnCluster
from metamix.experts.pipelines import MergedPipeline, OrderedPipeline, PenalisedRidge
from metamix.experts.radial import RadialBasis

__all__ = [
    "boosting",
    "cubic",
    "extra_trees",
    "forest",
    "kriging",
    "lasso",
    "lightgbm",
    "lightgbm_dask",
    "linear",
    "mlp",
    "neighbours",
    "quadratic",
    "rbf",
    "ridge",
    "splines",
    "svm",
    "xgboost",
    "xgboost_dask",
]


def linear(**parameters: Any) -> Pipeline:
    """Least squares; parameters are those of LinearRegression.

    Examples
    --------
    >>> linear().fit([[0.0], [1.0]], [1.0, 3.0]).predict([[2.0]]).round(6)
    array([5.])
    """
    return _scaled_pipeline(LinearRegression(**parameters))


def quadratic(**parameters: Any) -> Pipeline:
    """Polynomial of degree two with a ridge penalty; parameters as for `ridge`.

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [0.0, 1.0, 4.0, 9.0, 16.0]
    >>> quadratic().fit(X, y).predict([[2.5]]).round(2)
    array([6.25])
    """
    return _scaled_pipeline(_ridge(**parameters), terms=PolynomialColumns(degree=2))


def cubic(**parameters: Any) -> Pipeline:
    """Polynomial of degree three with a ridge penalty; parameters as for `ridge`.

    Examples
    --------
    >>> cubic(alpha=1e-8).named_steps["terms"].degree
    3
    """
    return _scaled_pipeline(_ridge(**parameters), terms=PolynomialColumns(degree=3))


def ridge(**parameters: Any) -> Pipeline:
    """Ridge regression with the penalty selected by generalised cross-validation.

    Parameters
    ----------
    **parameters
        Of `metamix.experts.models.RidgeByGcv`; with ``alpha``, those of scikit-learn's Ridge, which is used
        then, with the penalty per unit of total weight: ``alpha`` is that of 1,000 rows.

    Examples
    --------
    >>> ridge(alpha=2.0).named_steps["model"]
    PenalisedRidge(alpha=2.0)
    """
    return _scaled_pipeline(_ridge(**parameters))


def lasso(**parameters: Any) -> Pipeline:
    """Lasso with the penalty selected by five-fold cross-validation; parameters of LassoCV.

    Examples
    --------
    >>> lasso(eps=0.01).named_steps["model"].regressor.eps
    0.01
    """
    # Shuffled, since rows may be sorted; with a fixed seed, so that every fit uses the same folds.
    folds = KFold(5, shuffle=True, random_state=0)
    return _scaled_pipeline(
        _with_scaled_target(LassoCV(**{"cv": folds, "max_iter": 5000, "tol": 1e-3, "n_jobs": 1} | parameters))
    )


def splines(*, n_knots: int = 8, **parameters: Any) -> Pipeline:
    """Additive natural cubic splines with a ridge penalty; other parameters as for `ridge`.

    Examples
    --------
    >>> splines(n_knots=5).named_steps["terms"]
    NaturalSplines(n_knots=5)
    """
    return _scaled_pipeline(_ridge(**parameters), terms=NaturalSplines(n_knots=n_knots))


def rbf(**parameters: Any) -> Pipeline:
    """Radial basis functions with a polynomial tail; parameters of `metamix.experts.radial.RadialBasis`.

    With more than 600 distinct rows, 300 of them serve as centres.

    Examples
    --------
    >>> rbf().fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0]).predict([[1.5]]).round(6)
    array([2.5])
    """
    return _scaled_pipeline(RadialBasis(**parameters), DenseColumns())


def kriging(**parameters: Any) -> Pipeline:
    """Gaussian process with one length scale per column; parameters of `metamix.experts.kriging.Kriging`.

    ``predict(X, return_std=True)`` also returns the predictive standard deviation. With more than 1500 distinct
    rows, a sparse approximation with 500 centres is used; 10,000 rows take a few seconds.

    Examples
    --------
    >>> mean, deviation = kriging().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0]).predict([[1.0]], return_std=True)
    >>> mean.shape, deviation.shape
    ((1,), (1,))
    """
    return _scaled_pipeline(Kriging(**parameters), DenseColumns())


def neighbours(**parameters: Any) -> Pipeline:
    """k-nearest neighbours, weighted by distance; parameters of KNeighborsRegressor.

    Examples
    --------
    >>> neighbours(n_neighbors=1).fit([[0.0], [1.0]], [5.0, 7.0]).predict([[0.9]])
    array([7.])
    """
    return _scaled_pipeline(NeighboursRegressor(**{"n_neighbors": 8, "weights": "distance", "n_jobs": 1} | parameters))


def svm(**parameters: Any) -> Pipeline:
    """Support vector regression with an RBF kernel; parameters of SVR.

    The time grows as n²: minutes for 50,000 rows.

    Examples
    --------
    >>> svm(C=10.0).named_steps["model"].regressor.C
    10.0
    """
    return _scaled_pipeline(_with_scaled_target(SVR(**{"cache_size": 500} | parameters)))


def forest(**parameters: Any) -> Pipeline:
    """Random forest; parameters of RandomForestRegressor.

    Examples
    --------
    >>> forest(n_estimators=10).named_steps["model"].regressor.n_estimators
    10
    """
    settings = {"n_estimators": 100, "max_features": 0.4, "min_samples_leaf": 2, "n_jobs": 1}
    return _ordinal_pipeline(_with_scaled_target(RandomForestRegressor(**settings | parameters)))


def extra_trees(**parameters: Any) -> Pipeline:
    """Extremely randomised trees; parameters of ExtraTreesRegressor.

    Examples
    --------
    >>> extra_trees(n_estimators=10).named_steps["model"].regressor.n_estimators
    10
    """
    settings = {"n_estimators": 100, "max_features": 0.7, "min_samples_leaf": 2, "n_jobs": 1}
    return _ordinal_pipeline(_with_scaled_target(ExtraTreesRegressor(**settings | parameters)))


def boosting(**parameters: Any) -> Pipeline:
    """scikit-learn's histogram gradient boosting; parameters of HistGradientBoostingRegressor.

    Examples
    --------
    >>> boosting(max_iter=20).named_steps["model"].regressor.max_iter
    20
    """
    leaf = None if "min_samples_leaf" in parameters else "min_samples_leaf"
    return _ordinal_pipeline(_with_scaled_target(HistGradientBoostingRegressor(**parameters), leaf), DenseColumns())


def xgboost(**parameters: Any) -> Pipeline:
    """XGBoost's boosted trees; parameters of XGBRegressor.

    Raises
    ------
    ImportError
        If XGBoost is not installed.

    Examples
    --------
    >>> xgboost(n_estimators=20).named_steps["model"].regressor.n_estimators
    20
    """
    try:
        from xgboost import XGBRegressor
    except ImportError as error:
        raise ImportError("The expert 'xgboost' needs XGBoost: pip install metamix[xgboost]") from error
    settings = {
        "n_estimators": 400,
        "learning_rate": 0.05,
        "max_depth": 5,
        "subsample": 0.7,
        "colsample_bytree": 0.5,
    }
    settings |= {"n_jobs": 1, "verbosity": 0} | parameters
    return _ordinal_pipeline(_with_scaled_target(XGBRegressor(**settings)))


def xgboost_dask(*, time_limit: float = 3600.0, n_restarts: int = 2, **parameters: Any) -> Pipeline:
    """XGBoost's boosted trees, of large tables by all workers of a cluster (`OnCluster`); parameters as `xgboost`.

    Examples
    --------
    >>> xgboost_dask(n_estimators=20, time_limit=600.0).time_limit
    600.0
    """
    return OnCluster(xgboost(**parameters).steps, time_limit=time_limit, n_restarts=n_restarts)


def lightgbm(**parameters: Any) -> Pipeline:
    """LightGBM's boosted trees; parameters of LGBMRegressor.

    It runs on the CPU whatever the mixture's device, since its wheels are built without CUDA. With a CUDA build,
    pass ``device_type="cuda"``.

    Raises
    ------
    ImportError
        If LightGBM is not installed.

    Examples
    --------
    >>> lightgbm(n_estimators=20).named_steps["model"].regressor.n_estimators
    20
    """
    try:
        from lightgbm import LGBMRegressor
    except ImportError as error:
        raise ImportError("The expert 'lightgbm' needs LightGBM: pip install metamix[lightgbm]") from error
    settings: dict[str, Any] = {
        "n_estimators": 400,
        "learning_rate": 0.05,
        "subsample": 0.7,
        "subsample_freq": 1,
    }
    # force_row_wise: by default LightGBM times two layouts and uses the faster one, which is not reproducible.
    settings |= {"min_child_samples": 10, "deterministic": True, "force_row_wise": True}
    settings |= {"n_jobs": 1, "verbosity": -1} | parameters
    return _ordinal_pipeline(
        _with_scaled_target(
            LGBMRegressor(**settings), None if "min_child_samples" in parameters else "min_child_samples"
        )
    )


def lightgbm_dask(*, time_limit: float = 3600.0, n_restarts: int = 2, **parameters: Any) -> Pipeline:
    """LightGBM's boosted trees, of large tables by all workers of a cluster (`OnCluster`).

    Examples
    --------
    >>> lightgbm_dask(n_estimators=20, time_limit=600.0).time_limit
    600.0
    """
    return OnCluster(lightgbm(**parameters).steps, time_limit=time_limit, n_restarts=n_restarts)


def mlp(**parameters: Any) -> Pipeline:
    """A multilayer perceptron with two hidden layers and early stopping; parameters of MLPRegressor.

    Examples
    --------
    >>> mlp(alpha=0.1).named_steps["model"].regressor.alpha
    0.1
    """
    settings = {
        "hidden_layer_sizes": (64, 32),
        "early_stopping": True,
        "n_iter_no_change": 20,
        "max_iter": 500,
    }
    settings |= {"learning_rate_init": 0.003} | parameters
    return _scaled_pipeline(_with_scaled_target(MLPRegressor(**settings)), kind=OrderedPipeline)


def _ridge(**parameters: Any) -> Any:
    return PenalisedRidge(**parameters) if "alpha" in parameters else RidgeByGcv(**parameters)


def _with_scaled_target(regressor: Any, leaf: str | None = None) -> Any:
    """The regressor, fitted to a standardised target."""
    # ScaledTarget accepts sample_weight, so it must not wrap a model that does not (MLPRegressor before 1.7).
    if has_fit_parameter(regressor, "sample_weight"):
        return ScaledTarget(regressor, leaf)
    return TransformedTargetRegressor(regressor, transformer=StandardScaler())


def _scaled_pipeline(model: Any, terms: Any = None, kind: type[Pipeline] = MergedPipeline) -> Any:
    """One-hot encoded and standardised columns, optional terms made of them, and the model."""
    name = "dense" if isinstance(terms, DenseColumns) else "terms"
    steps = [] if terms is None else [(name, terms)]
    return giving_arrays(kind([("columns", FeatureEncoder()), *steps, ("model", model)]))


def _ordinal_pipeline(model: Any, step: Any = None) -> Any:
    """Ordinally encoded, unscaled columns with missing values, for trees; an optional dense step; the model."""
    columns = FeatureEncoder(categories="ordinal", scale=False, missing="keep")
    steps = [] if step is None else [("dense", step)]
    return giving_arrays(OrderedPipeline([("columns", columns), *steps, ("model", model)]))
