"""Boosted trees that stop early do so on rows held out within the rows of the fit."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor
from metamix.experts import classifiers, regressors
from metamix.fitting import NamedExpert, Problem, fit_expert, prepare
from metamix.fitting.early_stopping import EarlyStopped, stops_early, validation_rows

MOST = 400
LIBRARIES = ["xgboost", "lightgbm", "catboost"]


def _model(library, classify=False, **parameters):
    module = pytest.importorskip(library)
    name = {"xgboost": "XGB", "lightgbm": "LGBM", "catboost": "CatBoost"}[library]
    fixed = {"xgboost": {"n_estimators": MOST}, "lightgbm": {"n_estimators": MOST, "verbose": -1, "n_jobs": 1},
             "catboost": {"iterations": MOST, "verbose": 0, "allow_writing_files": False}}[library]  # fmt: skip
    early = {"early_stopping_rounds": 5, "learning_rate": 0.3}
    return getattr(module, name + ("Classifier" if classify else "Regressor"))(**fixed | early | parameters)


def _trees(model):
    for name in ("best_iteration_", "best_iteration"):
        if getattr(model, name, None) is not None:
            return getattr(model, name)
    raise AssertionError("did not stop early")


def _table(n=150, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, X[:, 0] + rng.standard_normal(n)


@pytest.mark.parametrize("library", LIBRARIES)
def test_they_stop_and_predict_better_than_without(library):
    X_new, y_new = _table(2000, 100)
    ratios = []
    for seed in range(4):  # which rows are held out to stop by moves the error of a single fit by as much as is gained
        X, y = _table(seed=seed)
        model = prepare(_model(library), 0)
        assert stops_early(model)
        fitted = fit_expert(NamedExpert("one", model), Problem(X, y), None, None)
        assert _trees(fitted.model) < 100
        plain = _model(library, early_stopping_rounds=None, random_state=0).fit(X, y).predict(X_new)
        ratios.append(((fitted.predict(X_new) - y_new) ** 2).mean() / ((plain - y_new) ** 2).mean())
    assert np.mean(ratios) < 1


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("labels", [[0, 1, 2], ["ant", "bee", "cow"], [5, 7]], ids=str)
def test_classes_of_any_kind_and_weights(library, labels):
    X, y = _table()
    codes = np.digitize(y, [-0.5, 0.5][: len(labels) - 1])
    data = Problem(X, codes, np.linspace(0.5, 2, 150), None, len(labels), np.array(labels))
    fitted = fit_expert(NamedExpert("one", prepare(_model(library, True), 0)), data, None, None)
    assert _trees(fitted.model) < 100
    assert (fitted.predict(X).argmax(axis=1) == codes).mean() > 0.5
    alone = fit_expert(NamedExpert("one", prepare(_model(library, True), 0)), data, np.r_[0:150, 0], None)
    assert alone.predict(X).shape == (150, len(labels))


@pytest.mark.parametrize("library", LIBRARIES)
def test_rows_of_next_to_no_weight_do_not_decide_when_to_stop(library):
    """Half the rows are noise: with weight zero, or nearly, the number of trees is that without them."""
    X, y = _table(300)
    noise = np.arange(300) % 2 == 1
    y[noise] = 100 * np.random.default_rng(1).standard_normal(150)
    light = np.where(noise, 1e-9, 1.0)
    found = fit_expert(NamedExpert("one", prepare(_model(library), 0)), Problem(X, y), None, light).predict(X)
    assert np.abs(found).max() < 10, "the noise has a standard deviation of 100"
    assert np.corrcoef(found, X[:, 0])[0, 1] > 0.5


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("groups", [None, np.arange(150) // 3], ids=["rows", "groups"])
def test_inside_other_estimators(library, groups):
    X, y = _table()
    step = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), _model(library)))
    target = TransformedTargetRegressor(_model(library), transformer=StandardScaler())
    search = GridSearchCV(_model(library), {"max_depth": [2]}, scoring="r2", cv=2, error_score="raise")
    for model, inner in (
        (step, lambda one: one.steps[-1][1].steps[-1][1]),
        (target, lambda one: one.regressor_),
        (search, lambda one: one.best_estimator_),
    ):
        data = Problem(1000 * X + 5, y, np.linspace(0.5, 1, 150), groups)
        if groups is not None and model is search:
            if library == "catboost":
                continue  # which goes on to the last tree where it has nothing to stop on
            with pytest.raises(Exception, match=r"(?i)validation|early stopping|eval|did not stop"):
                fit_expert(NamedExpert("one", prepare(model, 0)), data, None, None)
            continue
        fitted = fit_expert(NamedExpert("one", prepare(model, 0)), data, None, None)
        assert _trees(inner(fitted.model)) < 100
        assert np.corrcoef(fitted.predict(1000 * X + 5), y)[0, 1] > 0.5
        assert not any(isinstance(value, EarlyStopped) for value in fitted.model.get_params().values())


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_named_experts(library):
    pytest.importorskip(library)
    X, y = _table()
    labels = np.array(["no", "yes"])
    for build, more in (
        (getattr(regressors, library), {}),
        (getattr(classifiers, library), {"n_classes": 2, "labels": labels}),
    ):
        data = Problem(X, (y > 0).astype(int) if more else y, groups=np.arange(150) // 3, **more)
        model = build(early_stopping_rounds=5, n_estimators=MOST, learning_rate=0.3)
        fitted = fit_expert(NamedExpert("one", prepare(model, 0)), data, None, None)
        inner = fitted.model.steps[-1][1]
        assert _trees(inner.classifier_ if more else inner.regressor_) < 100


def test_callbacks_and_aliases_are_recognised():
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    assert stops_early(xgboost.XGBRegressor(callbacks=[xgboost.callback.EarlyStopping(rounds=3)]))
    assert stops_early(lightgbm.LGBMRegressor(early_stopping_round=3))
    assert stops_early(pytest.importorskip("catboost").CatBoostRegressor(od_type="Iter", od_wait=3))
    assert not stops_early(xgboost.XGBRegressor())
    assert not stops_early(lightgbm.LGBMRegressor())


def test_validation_rows_keep_groups_together_and_know_their_classes():
    rng = np.random.default_rng(0)
    groups, y = np.repeat(np.arange(20), 5), rng.integers(3, size=100)
    y[7] = 3
    for seed in range(5):
        fit, stop = validation_rows(y, groups, True, seed)
        assert sorted([*fit, *stop]) == list(range(100))
        assert not set(groups[fit]) & set(groups[stop]) or 7 in fit
        assert set(y[stop]) <= set(y[fit])
        assert 10 <= len(stop) <= 30
    fit, stop = validation_rows(rng.standard_normal(10), np.zeros(10), False, 0)
    assert len(stop) == 2, "of one group some rows"
    with pytest.raises(ValueError, match="1 rows are too few"):
        validation_rows(np.zeros(1), None, False, 0)


@pytest.mark.parametrize("library", LIBRARIES)
def test_in_mixtures(library):
    X, y = _table(120)
    settings = {"cv": 2, "gate": "constant", "random_state": 0, "specialize": False, "on_error": "raise"}
    groups = np.arange(120) // 4
    mixture = MixtureRegressor([("boosted", _model(library))], **settings).fit(X, y, np.linspace(0.5, 1, 120), groups)
    assert _trees(mixture.experts_[0]) < 100
    labels = np.array(["no", "yes"])[(y > 0).astype(int)]
    pool = [("boosted", _model(library, True))]
    assert (MixtureClassifier(pool, **settings).fit(X, labels).predict(X) == labels).mean() > 0.6
