"""Experts that split their rows once more get the groups; pipelines that resample rows."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFECV
from sklearn.linear_model import LassoCV, LinearRegression, LogisticRegression, LogisticRegressionCV, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    HalvingGridSearchCV,
    LeaveOneGroupOut,
    RandomizedSearchCV,
    StratifiedGroupKFold,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor, fit_predictions
from metamix.fitting import NamedExpert, Problem, fit_expert

pytestmark = pytest.mark.filterwarnings("error:The groups parameter is ignored")
NEAR, SIZES = KNeighborsRegressor(weights="distance"), {"n_neighbors": [1, 4, 20]}
GROUPS = np.repeat(np.arange(12), 10)


def _table():
    """Groups of nearly equal rows: what a neighbour of the same group says is of no use elsewhere."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((12, 2)), 10, axis=0) + 0.01 * rng.standard_normal((120, 2))
    return X, np.repeat(rng.standard_normal(12), 10) + 0.1 * rng.standard_normal(120)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("cv", [GroupKFold(3), LeaveOneGroupOut(), GroupShuffleSplit(2, random_state=0)])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda cv: GridSearchCV(NEAR, SIZES, cv=cv),
        lambda cv: RandomizedSearchCV(NEAR, SIZES, n_iter=3, random_state=0, cv=cv),
        lambda cv: make_pipeline(StandardScaler(with_std=False), GridSearchCV(NEAR, SIZES, cv=cv)),
        lambda cv: TransformedTargetRegressor(GridSearchCV(NEAR, SIZES, cv=cv)),
    ],
)
def test_inner_searches_split_by_group(wrap, cv, routing):
    X, y = _table()
    rows = np.arange(20, 110)

    def best(model):
        while not hasattr(model, "best_params_"):
            model = model.steps[-1][1] if isinstance(model, Pipeline) else model.regressor_
        return model.best_params_["n_neighbors"]

    with config_context(enable_metadata_routing=routing):
        fitted = fit_expert(NamedExpert("one", wrap(cv)), Problem(X, y, groups=GROUPS), rows, None)
    expected = GridSearchCV(NEAR, SIZES, cv=cv).fit(X[rows], y[rows], groups=GROUPS[rows])
    assert best(fitted.model) == expected.best_params_["n_neighbors"] == 20
    np.testing.assert_allclose(
        fitted.predict(X), clone(NEAR).set_params(n_neighbors=20).fit(X[rows], y[rows]).predict(X)
    )
    splitters = [value for name, value in fitted.model.get_params().items() if name.rpartition("__")[2] == "cv"]
    assert splitters == [cv] or repr(splitters) == repr([cv]), "the parameter is as it was given"


@pytest.mark.parametrize(
    "model",
    [
        LassoCV(cv=GroupKFold(3)),
        RFECV(Ridge(), cv=GroupKFold(3)),
        StackingRegressor([("ridge", Ridge())], cv=GroupKFold(3)),
        HalvingGridSearchCV(NEAR, SIZES, cv=GroupKFold(3), random_state=0, min_resources=60),
        GridSearchCV(Ridge(), {"alpha": [1.0, 9.0]}, cv=3),
        RFECV(Ridge(), cv=3),
    ],
    ids=lambda one: type(one).__name__,
)
def test_whatever_has_a_splitter_is_fitted(model):
    X, y = _table()
    fitted = fit_expert(NamedExpert("one", model), Problem(X, y, groups=GROUPS), None, np.linspace(0.5, 1, 120))
    assert np.isfinite(fitted.predict(X)).all()


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegressionCV(
            Cs=3, scoring="neg_log_loss", cv=StratifiedGroupKFold(3), l1_ratios=(0.0,), use_legacy_attributes=False
        ),
        CalibratedClassifierCV(LogisticRegression(), cv=StratifiedGroupKFold(3)),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=StratifiedGroupKFold(3), error_score="raise"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_classifiers_that_split_by_group(model):
    X, y = _table()
    labels = np.array(["no", "yes"])
    data = Problem(X, (y > 0).astype(int), groups=GROUPS, n_classes=2, labels=labels)
    found = fit_expert(NamedExpert("one", model), data, None, None).predict(X)
    folds = list(StratifiedGroupKFold(3).split(X, labels[data.y], GROUPS))
    expected = clone(model).set_params(cv=folds).fit(X, labels[data.y]).predict_proba(X)
    np.testing.assert_allclose(found, expected)


class Spy(RegressorMixin, BaseEstimator):
    """Records its groups."""

    def fit(self, X, y, groups=None):
        self.X_, self.groups_ = X, groups
        return self

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: make_pipeline(StandardScaler(with_mean=False, with_std=False), one),
        lambda one: make_pipeline("passthrough", make_pipeline(one)),
    ],
)
def test_experts_that_name_groups_in_fit_get_those_of_their_rows(wrap, routing):
    X, y = _table()
    X[:, 0] = GROUPS
    with config_context(enable_metadata_routing=routing):
        for weight in (None, np.linspace(0.1, 1, 120)):  # rows are drawn for an expert that takes no weights
            model = fit_expert(NamedExpert("spy", wrap(Spy())), Problem(X, y, groups=GROUPS), None, weight).model
            while isinstance(model, Pipeline):
                model = model.steps[-1][1]
            np.testing.assert_array_equal(model.groups_, model.X_[:, 0])


def test_a_mixture_within_a_mixture_keeps_groups_together():
    X, y = _table()
    inner = MixtureRegressor([Ridge(), NEAR], cv=3, specialize=False, gate="constant", random_state=0)
    outer = MixtureRegressor([("inner", inner), ("line", LinearRegression())], cv=3, specialize=False, gate="constant")
    fold = outer.set_params(random_state=0).fit(X, y, groups=GROUPS).experts_[0].fold_of_row_
    assert all(len(set(fold[g == GROUPS])) == 1 for g in range(12))


def test_searches_in_mixtures():
    X, y = _table()
    pool = [("search", GridSearchCV(NEAR, SIZES, cv=GroupKFold(3))), ("line", LinearRegression())]
    settings = {"cv": 2, "gate": "constant", "random_state": 0, "specialize": False, "on_error": "raise"}
    mixture = MixtureRegressor(pool, **settings).fit(X, y, groups=GROUPS)
    expected = GridSearchCV(NEAR, SIZES, cv=GroupKFold(3)).fit(X, y, groups=GROUPS)
    np.testing.assert_allclose(
        mixture.experts_[0].cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("model", [GridSearchCV(Ridge(), {"alpha": [1.0, 9.0]}, cv=GroupKFold(2)), Spy()])
def test_final_estimators_get_the_groups(model):
    X, y = _table()
    pool = [("near", NEAR), ("line", LinearRegression())]
    settings = {"cv": 3, "gate": "constant", "random_state": 0}
    mixture = MixtureRegressor(pool, specialize=False, final_estimator=model, **settings).fit(X, y, groups=GROUPS)
    given = mixture.oof_predictions_[:, :2]
    for one in (mixture, fit_predictions(given, X, y, groups=GROUPS, final_estimator=model, **settings)):
        fitted = (one.stacks_ if one is not mixture else mixture.named_experts_)["stack"].fitted_.model
        if isinstance(model, Spy):
            np.testing.assert_array_equal(fitted.groups_, GROUPS)
        else:
            expected = clone(model).fit(given, y, groups=GROUPS).cv_results_["mean_test_score"]
            np.testing.assert_allclose(fitted.cv_results_["mean_test_score"], expected)


# --- pipelines that resample rows ------------------------------------------------------------------


class Repeat(BaseEstimator):
    """A sampler in the style of imbalanced-learn: every class as often as the most frequent one."""

    def __init__(self, sampling_strategy=None):
        self.sampling_strategy = sampling_strategy

    def fit_resample(self, X, y):
        classes, counts = np.unique(y, return_counts=True)
        sizes = dict(zip(classes.tolist(), [counts.max()] * len(classes), strict=True)) | (self.sampling_strategy or {})
        rows = np.concatenate([np.resize(np.flatnonzero(y == one), sizes[one]) for one in classes.tolist()])
        return X[rows], y[rows]


class Resampling(Pipeline):
    """A pipeline in the style of imbalanced-learn, of a sampler and an estimator."""

    def _validate_steps(self):
        pass

    def fit(self, X, y, **parameters):
        X, y = self.steps[0][1].fit_resample(X, y)
        inner = {name.partition("__")[2]: value for name, value in parameters.items()}
        self.steps[1][1].fit(X, y, **inner)
        return self

    def predict_proba(self, X):
        return self.steps[1][1].predict_proba(X)

    @property
    def classes_(self):
        return self.steps[1][1].classes_


@pytest.mark.parametrize("library", ["imblearn", "own"])
def test_rows_are_drawn_by_weight_before_a_pipeline_resamples_them(library):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [180, 20])
    X = rng.standard_normal((200, 1)) + y[:, None]
    weight = np.where(X[:, 0] > 0, 1.0, 0.2)
    if library == "imblearn":
        pytest.importorskip("imblearn")
        from imblearn.over_sampling import RandomOverSampler
        from imblearn.pipeline import Pipeline as Resampler

        steps = [("more", RandomOverSampler(random_state=0)), ("model", LogisticRegression())]
    else:
        Resampler, steps = Resampling, [("more", Repeat()), ("model", LogisticRegression())]
    data = Problem(X, y, n_classes=2, labels=np.array(["no", "yes"]), groups=np.arange(200) % 9)
    for sample_weight in (None, weight):
        found = fit_expert(NamedExpert("one", Resampler(steps)), data, None, sample_weight).predict(X)[:, 1]
        assert found.mean() == pytest.approx(0.5, abs=0.2), "balanced: without the sampler it is a tenth"
    names = {"no": 30, "yes": 300}
    if library == "own":
        model = Resampling([("more", Repeat(names)), ("model", LogisticRegression())])
        assert fit_expert(NamedExpert("one", model), data, None, weight).predict(X)[:, 1].mean() > 0.7


def test_pipelines_that_resample_in_mixtures_with_weights():
    rng = np.random.default_rng(0)
    y = np.repeat(["no", "yes"], [90, 30])
    X = rng.standard_normal((120, 2)) + (y == "yes")[:, None]
    pool = [("balanced", Resampling([("more", Repeat()), ("model", LogisticRegression())])), LogisticRegression()]
    settings = {"cv": 2, "gate": "constant", "random_state": 0, "specialize": False, "on_error": "raise"}
    mixture = MixtureClassifier(pool, **settings).fit(X, y, sample_weight=rng.uniform(0.1, 1, 120))
    assert not len(mixture.failures_)
