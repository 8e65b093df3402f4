"""Which experts use the mixture's device, and that fits on a GPU do not run in parallel."""

import itertools
import os
import time

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix.data.folds import make_folds
from metamix.engines import LocalEngine, SerialEngine, ThreadsEngine
from metamix.fitting import (
    FitSession,
    NamedExpert,
    Placement,
    Problem,
    find_placements,
    fit_expert,
    name_and_prepare,
    place_experts,
)


class OnDevice(RegressorMixin, BaseEstimator):
    """A regressor as a plugin may define it: it has a device, and its library reports two GPUs."""

    def __init__(self, device=None, inner=None):
        self.device = device
        self.inner = inner

    def __metamix_device__(self, device):
        if device in ("auto", "cuda"):
            return "cuda:0", ""
        return (device, "") if device in ("cpu", "cuda:0", "cuda:1") else ("cpu", "its library finds two GPUs")

    def fit(self, X, y):
        start = time.perf_counter()
        self.process_ = os.getpid()
        time.sleep(0.05)
        self.mean_, self.span_ = float(np.mean(y)), (start, time.perf_counter())
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class OtherDevice(Ridge):
    """A regressor whose device has a name unknown to metamix."""

    def __init__(self, device="tpu"):
        super().__init__()
        self.device = device


def placement(part, device):
    return find_placements([("part", part)], device)[0][0]


def table(n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    return X, X[:, 0] + 0.1 * rng.normal(size=n)


def test_an_estimator_without_a_device_is_unchanged():
    for device in ("auto", "cpu", "cuda"):
        assert placement(make_pipeline(StandardScaler(), Ridge()), device) == Placement()


@pytest.mark.parametrize(
    ("wrap", "parameter"),
    [
        (lambda part: part, "device"),
        (lambda part: make_pipeline(StandardScaler(), part), "ondevice__device"),
        (lambda part: TransformedTargetRegressor(part), "regressor__device"),
        (lambda part: TransformedTargetRegressor(make_pipeline(part)), "regressor__ondevice__device"),
    ],
)
@pytest.mark.parametrize(
    ("requested", "device", "value"),
    [
        ("auto", "cuda:0", "cuda:0"),
        ("cuda", "cuda:0", "cuda"),
        ("cuda:1", "cuda:1", "cuda:1"),
        ("cpu", "cpu", "cpu"),
    ],
)
def test_an_unset_device_is_set_at_any_depth(wrap, parameter, requested, device, value):
    found = placement(wrap(OnDevice()), requested)
    assert found.device == device
    assert list(found.settings) == [parameter]
    (entry,) = name_and_prepare([("part", wrap(OnDevice()))], [0], [found])
    assert entry.estimator.get_params()[parameter] == value
    assert entry.device == device


@pytest.mark.parametrize("requested", ["auto", "cpu", "cuda"])
def test_a_device_set_by_the_user_is_kept(requested):
    assert placement(OnDevice("cuda:1"), requested) == Placement(("cuda:1",))
    assert placement(OnDevice("cpu"), requested) == Placement(("cpu",))
    assert placement(OtherDevice(), requested) == Placement(("tpu",))
    assert placement(make_pipeline(OnDevice("cpu"), OnDevice()), requested).devices[0] == "cpu"


def test_the_device_of_an_outer_estimator_decides_for_inner_ones():
    assert placement(OnDevice("cpu", inner=OnDevice()), "cuda") == Placement(("cpu",))
    assert placement(make_pipeline(OnDevice("cpu", inner=OnDevice())), "cuda") == Placement(("cpu",))


def test_unavailable_and_unknown_devices_are_errors():
    with pytest.raises(ValueError, match=r"'cuda:7' is not available for near \(its library finds two GPUs\)"):
        place_experts([("near", OnDevice()), ("ridge", Ridge())], "cuda:7")
    with pytest.raises(ValueError, match=r"give 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        place_experts([("near", OnDevice())], "gpu")


def test_device_names_of_lightgbm_are_kept():
    lightgbm = pytest.importorskip("lightgbm")
    assert placement(lightgbm.LGBMRegressor(), "auto") == Placement()
    assert placement(lightgbm.LGBMRegressor(device_type="gpu"), "auto") == Placement(("gpu",))
    assert placement(lightgbm.LGBMRegressor(device_type="cpu"), "cuda").device == "cpu"


def test_fitted_trees_of_xgboost_predict_on_the_cpu():
    xgboost = pytest.importorskip("xgboost")
    X, y = table()
    trees = xgboost.XGBRegressor(n_estimators=3, device="cuda:0", verbosity=0)
    pipeline = make_pipeline(StandardScaler(), TransformedTargetRegressor(trees))
    expected = pipeline.fit(X, y).predict(X)
    fitted = fit_expert(NamedExpert("trees", pipeline, device="cuda:0"), Problem(X, y), None, None)
    assert fitted.device == "cuda:0"
    regressor = fitted.model[-1].regressor_
    assert regressor.get_params()["device"] == "cpu"
    assert '"device":"cpu"' in regressor.get_booster().save_config()
    assert fitted.model[-1].regressor.get_params()["device"] == "cuda:0"  # the unfitted estimator is unchanged
    np.testing.assert_allclose(fitted.predict(X), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "engine", [SerialEngine(), ThreadsEngine(2), LocalEngine(2)], ids=["serial", "threads", "local"]
)
def test_fits_on_a_gpu_run_one_after_the_other_in_this_process(engine):
    X, y = table()
    named = [("a", OnDevice()), ("b", OnDevice("cpu")), ("c", OnDevice())]
    entries = name_and_prepare(named, [0, 1, 2], place_experts(named, "cuda"))
    with FitSession(entries, Problem(X, y), make_folds(3, X, y, random_state=0), engine) as session:
        _, answers = session.cross_fit(keep=True)
    assert answers.names == ["a", "b", "c"]
    models = {key: fitted.model for key, fitted in answers.models.items()}
    assert len(models) == 9
    spans = sorted(model.span_ for (name, _), model in models.items() if name != "b")
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert {model.process_ for (name, _), model in models.items() if name != "b"} == {os.getpid()}
    on_cpu = {model.process_ for (name, _), model in models.items() if name == "b"}
    assert (os.getpid() in on_cpu) != isinstance(engine, LocalEngine)
    for f, (train, _) in enumerate(session.folds.pairs):
        assert models["a", f].mean_ == models["b", f].mean_ == pytest.approx(y[train].mean())
