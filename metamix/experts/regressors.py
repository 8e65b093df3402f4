"""Named regressors. Each prepares columns for itself, and the target where its unit would matter."""

from __future__ import annotations

from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LassoCV, LinearRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.validation import has_fit_parameter

from metamix.data.columns import ColumnEncoder
from metamix.experts.curves import DenseColumns, NaturalSplines, PolynomialColumns
from metamix.experts.kriging import Kriging
from metamix.experts.models import RidgeByGcv, ScaledTarget
from metamix.experts.radial import RadialBasis

__all__ = [
    "boosting",
    "cubic",
    "extra_trees",
    "forest",
    "kriging",
    "lasso",
    "lightgbm",
    "linear",
    "mlp",
    "neighbours",
    "quadratic",
    "rbf",
    "ridge",
    "splines",
    "svm",
    "xgboost",
]


def linear(**parameters: Any) -> Pipeline:
    """Least squares; parameters are those of LinearRegression.

    Examples
    --------
    >>> linear().fit([[0.0], [1.0]], [1.0, 3.0]).predict([[2.0]]).round(6)
    array([5.])
    """
    return _numbers(LinearRegression(**parameters))


def quadratic(**parameters: Any) -> Pipeline:
    """Squares and products of columns under a weak ridge; parameters as for `ridge`.

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [0.0, 1.0, 4.0, 9.0, 16.0]
    >>> quadratic().fit(X, y).predict([[2.5]]).round(2)
    array([6.25])
    """
    return _numbers(_ridge(**parameters), terms=PolynomialColumns(degree=2))


def cubic(**parameters: Any) -> Pipeline:
    """Products of up to three columns under a weak ridge; parameters as for `ridge`.

    Examples
    --------
    >>> cubic(alpha=1e-8).named_steps["terms"].degree
    3
    """
    return _numbers(_ridge(**parameters), terms=PolynomialColumns(degree=3))


def ridge(**parameters: Any) -> Pipeline:
    """Ridge regression that chooses its penalty by generalised cross-validation.

    Parameters
    ----------
    **parameters
        Of `metamix.experts.models.RidgeByGcv`; or with ``alpha``, of scikit-learn's Ridge, which is then
        used.

    Examples
    --------
    >>> ridge(alpha=2.0).named_steps["model"]
    Ridge(alpha=2.0)
    """
    return _numbers(_ridge(**parameters))


def lasso(**parameters: Any) -> Pipeline:
    """Lasso with its penalty by five-fold cross-validation on fixed folds; parameters of LassoCV.

    Examples
    --------
    >>> lasso(eps=0.01).named_steps["model"].regressor.eps
    0.01
    """
    # Shuffled, because rows may come sorted; a fixed seed, because the folds must not change between rounds.
    folds = KFold(5, shuffle=True, random_state=0)
    return _numbers(_scaled(LassoCV(**{"cv": folds, "max_iter": 5000, "tol": 1e-3, "n_jobs": 1} | parameters)))


def splines(*, n_knots: int = 8, **parameters: Any) -> Pipeline:
    """A natural cubic spline of each column, added up under a weak ridge; other parameters as for `ridge`.

    Examples
    --------
    >>> splines(n_knots=5).named_steps["terms"]
    NaturalSplines(n_knots=5)
    """
    return _numbers(_ridge(**parameters), terms=NaturalSplines(n_knots=n_knots))


def rbf(**parameters: Any) -> Pipeline:
    """Radial basis functions with a polynomial tail; parameters of `metamix.experts.radial.RadialBasis`.

    Above 600 different rows the functions sit on 300 of them.

    Examples
    --------
    >>> rbf().fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0]).predict([[1.5]]).round(6)
    array([2.5])
    """
    return _numbers(RadialBasis(**parameters), DenseColumns())


def kriging(**parameters: Any) -> Pipeline:
    """Gaussian process, one length per column; parameters of `metamix.experts.kriging.Kriging`.

    ``predict(X, return_std=True)`` gives the predictive standard deviation too. Above 1500 different rows
    the answer rests on 500 of them; 10,000 rows take a few seconds.

    Examples
    --------
    >>> mean, deviation = kriging().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0]).predict([[1.0]], return_std=True)
    >>> mean.shape, deviation.shape
    ((1,), (1,))
    """
    return _numbers(Kriging(**parameters), DenseColumns())


def neighbours(**parameters: Any) -> Pipeline:
    """Distance-weighted mean of the nearest rows; parameters of KNeighborsRegressor.

    Examples
    --------
    >>> neighbours(n_neighbors=1).fit([[0.0], [1.0]], [5.0, 7.0]).predict([[0.9]])
    array([7.])
    """
    return _numbers(KNeighborsRegressor(**{"n_neighbors": 8, "weights": "distance", "n_jobs": 1} | parameters))


def svm(**parameters: Any) -> Pipeline:
    """Support vector regression with a radial kernel; parameters of SVR.

    Its time grows as n²: minutes at 50,000 rows.

    Examples
    --------
    >>> svm(C=10.0).named_steps["model"].regressor.C
    10.0
    """
    return _numbers(_scaled(SVR(**{"cache_size": 500} | parameters)))


def forest(**parameters: Any) -> Pipeline:
    """Random forest; parameters of RandomForestRegressor.

    Examples
    --------
    >>> forest(n_estimators=10).named_steps["model"].regressor.n_estimators
    10
    """
    settings = {"n_estimators": 100, "max_features": 0.4, "min_samples_leaf": 2, "n_jobs": 1}
    return _ranks(_scaled(RandomForestRegressor(**settings | parameters)))


def extra_trees(**parameters: Any) -> Pipeline:
    """Extremely randomised trees; parameters of ExtraTreesRegressor.

    Examples
    --------
    >>> extra_trees(n_estimators=10).named_steps["model"].regressor.n_estimators
    10
    """
    settings = {"n_estimators": 100, "max_features": 0.7, "min_samples_leaf": 2, "n_jobs": 1}
    return _ranks(_scaled(ExtraTreesRegressor(**settings | parameters)))


def boosting(**parameters: Any) -> Pipeline:
    """scikit-learn's histogram gradient boosting; parameters of HistGradientBoostingRegressor.

    Examples
    --------
    >>> boosting(max_iter=20).named_steps["model"].regressor.max_iter
    20
    """
    leaf = None if "min_samples_leaf" in parameters else "min_samples_leaf"
    return _ranks(_scaled(HistGradientBoostingRegressor(**parameters), leaf), DenseColumns())


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
        "n_estimators": 200,
        "learning_rate": 0.06,
        "max_depth": 5,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
    }
    settings |= {"n_jobs": 1, "verbosity": 0} | parameters
    return _ranks(_scaled(XGBRegressor(**settings)))


def lightgbm(**parameters: Any) -> Pipeline:
    """LightGBM's boosted trees; parameters of LGBMRegressor.

    It stays on the CPU whatever the mixture's device: its wheels are built without CUDA. With a build that has
    it, ``device_type="cuda"`` is yours to give.

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
        "n_estimators": 200,
        "learning_rate": 0.06,
        "subsample": 0.8,
        "subsample_freq": 1,
    }
    # Row-wise always: left alone, LightGBM times both layouts and takes the faster, which need not be the
    # same twice.
    settings |= {
        "colsample_bytree": 0.8,
        "min_child_samples": 10,
        "deterministic": True,
        "force_row_wise": True,
    }
    settings |= {"n_jobs": 1, "verbosity": -1} | parameters
    return _ranks(
        _scaled(LGBMRegressor(**settings), None if "min_child_samples" in parameters else "min_child_samples")
    )


def mlp(**parameters: Any) -> Pipeline:
    """A small network of two hidden layers that stops early; parameters of MLPRegressor.

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
    return _numbers(_scaled(MLPRegressor(**settings)))


def _ridge(**parameters: Any) -> Any:
    return Ridge(**parameters) if "alpha" in parameters else RidgeByGcv(**parameters)


def _scaled(regressor: Any, leaf: str | None = None) -> Any:
    # A wrapper that took weights for a model that takes none (scikit-learn 1.6's network) would promise too
    # much.
    if has_fit_parameter(regressor, "sample_weight"):
        return ScaledTarget(regressor, leaf)
    return TransformedTargetRegressor(regressor, transformer=StandardScaler())


def _numbers(model: Any, terms: Any = None) -> Pipeline:
    name = "dense" if isinstance(terms, DenseColumns) else "terms"
    between = [] if terms is None else [(name, terms)]
    return Pipeline([("columns", ColumnEncoder()), *between, ("model", model)])


def _ranks(model: Any, between: Any = None) -> Pipeline:
    columns = ColumnEncoder(categories="ordinal", scale=False, missing="keep")
    steps = [] if between is None else [("dense", between)]
    return Pipeline([("columns", columns), *steps, ("model", model)])
