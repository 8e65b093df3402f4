"""Who follows a mixture's device, who keeps a wish of its own, and that fits on a GPU do not run side by side."""

import itertools
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor, compare
from metamix.data.folds import make_folds
from metamix.devices import device_for, there_is
from metamix.engines import LocalEngine, SerialEngine, ThreadsEngine
from metamix.fitting import (
    FitSession,
    NamedExpert,
    Placement,
    Problem,
    enter,
    find_placements,
    fit_expert,
    place_experts,
)

WITHOUT_GPU = pytest.mark.skipif(there_is() != "cpu", reason="there is a GPU here")
xgboost = pytest.importorskip("xgboost", reason="its device is what mixtures with trees ask for")


class Placed(RegressorMixin, BaseEstimator):
    """A regressor with a device, whose library has two GPUs: what a plugin may be like."""

    def __init__(self, device=None, inner=None):
        self.device = device
        self.inner = inner

    def __metamix_device__(self, device):
        if device in ("auto", "cuda"):
            return "cuda:0", ""
        return (device, "") if device in ("cpu", "cuda:0", "cuda:1") else ("cpu", "its library sees two GPUs")

    def fit(self, X, y):
        began = time.perf_counter()
        self.where_ = os.getpid()
        time.sleep(0.05)
        self.mean_, self.span_ = float(np.mean(y)), (began, time.perf_counter())
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class Named(Ridge):
    """A regressor whose device has a name that is none of ours."""

    def __init__(self, device="kitchen"):
        super().__init__()
        self.device = device


def settings(part, device):
    return find_placements([("part", part)], device)[0][0]


def table(n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    return X, X[:, 0] + 0.1 * rng.normal(size=n)


# --- who follows ---------------------------------------------------------------------


def test_what_has_no_device_is_left_alone():
    for device in ("auto", "cpu", "cuda"):
        assert settings(make_pipeline(StandardScaler(), Ridge()), device) == Placement()


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda part: part, "device"),
        (lambda part: make_pipeline(StandardScaler(), part), "placed__device"),
        (lambda part: TransformedTargetRegressor(part), "regressor__device"),
        (lambda part: TransformedTargetRegressor(make_pipeline(part)), "regressor__placed__device"),
    ],
)
@pytest.mark.parametrize(
    ("asked", "got"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]
)
def test_a_part_follows_at_any_depth(wrap, path, asked, got):
    place = settings(wrap(Placed()), asked)
    assert place.device == got
    assert list(place.settings) == [path]
    (entry,) = enter([("part", wrap(Placed()))], [0], [place])
    assert entry.estimator.get_params()[path] in (got, asked)
    assert entry.device == got


@pytest.mark.parametrize("asked", ["auto", "cpu", "cuda"])
def test_a_wish_of_its_own_stays(asked):
    assert settings(Placed("cuda:1"), asked) == Placement(("cuda:1",))
    assert settings(Placed("cpu"), asked) == Placement(("cpu",))
    assert settings(Named(), asked) == Placement(("kitchen",))
    assert settings(make_pipeline(Placed("cpu"), Placed()), asked).devices[0] == "cpu"


def test_whoever_is_outside_speaks_for_its_inside():
    assert settings(Placed("cpu", inner=Placed()), "cuda") == Placement(("cpu",))
    assert settings(make_pipeline(Placed("cpu", inner=Placed())), "cuda") == Placement(("cpu",))


def test_a_refusal_comes_before_any_fit_and_names_expert_and_reason():
    X, y = table()
    kept = Placed()
    mixture = MixtureRegressor([("fine", kept), ("far", Placed())], device="cuda:7")
    with pytest.raises(ValueError, match=r"'cuda:7' is not there for fine \(its library sees two GPUs\), far \(its"):
        mixture.fit(X, y)
    with pytest.raises(ValueError, match=r"give 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        place_experts([("fine", kept)], "gpu")


def test_libraries_that_know_other_words():
    lightgbm = pytest.importorskip("lightgbm")
    assert settings(lightgbm.LGBMRegressor(), "auto") == Placement()
    assert settings(lightgbm.LGBMRegressor(device_type="gpu"), "auto") == Placement(("gpu",))
    assert settings(lightgbm.LGBMRegressor(device_type="cpu"), "cuda").device == "cpu"


# --- mixtures ------------------------------------------------------------------------


def test_devices_of_every_column():
    X, y = table()
    experts = ["ridge", ("near", Placed()), ("far", make_pipeline(Placed("cuda:1"))), ("own", Placed("cpu"))]
    flat = MixtureRegressor(experts, cv=2, specialize=False, random_state=0).fit(X, y)
    expected = {"ridge": "cpu", "near": "cuda:0", "far": "cuda:1", "own": "cpu"}
    assert flat.devices_ == expected | {"stack": "cpu"}
    averaged = MixtureRegressor(experts, cv=2, specialize=False, refit=False, random_state=0).fit(X, y)
    assert averaged.devices_ == flat.devices_
    whole = MixtureRegressor(experts, cv=2, max_rounds=1, random_state=0).fit(X, y)
    assert whole.devices_ == expected | {"stack": "cpu", "mixture": whole.devices_["mixture"]}
    assert set(whole.devices_["mixture"].split(", ")) >= set(whole.mixture_.devices_.values())
    two = MixtureRegressor([Placed()], n_experts=2, cv=2, specialize=True, start=X[:, 0] > 0, random_state=0)
    assert set(two.fit(X, y).devices_.values()) == {"cuda:0"}


def test_a_mixture_within_a_mixture():
    X, y = table()
    inner = MixtureRegressor(["ridge", ("near", Placed())], cv=2, specialize=False)
    assert settings(inner, "auto") == Placement(("cpu, cuda:0",))  # it follows by itself
    assert settings(inner, "cpu") == Placement(("cpu",), {"device": "cpu"})
    outer = MixtureRegressor(["ridge", ("inner", make_pipeline(inner))], cv=2, device="cuda:1", specialize=False)
    outer.fit(X, y)
    assert outer.devices_ == {"ridge": "cpu", "inner": "cpu, cuda:1", "stack": "cpu"}
    assert outer.named_experts_["inner"][-1].devices_ == {"ridge": "cpu", "near": "cuda:1", "stack": "cpu"}
    assert inner.device == "auto"
    with pytest.raises(ValueError, match=r"for inner \(near \(its library sees two GPUs\)\)"):
        outer.set_params(device="cuda:2").fit(X, y)


def test_a_mixture_within_that_cannot_be_fitted_is_no_matter_of_devices():
    X, y = table()
    broken = MixtureRegressor(["no such expert"])
    outer = MixtureRegressor(["ridge", ("inner", broken)], cv=2, specialize=False).fit(X, y)
    assert outer.failures_["expert"].unique().tolist() == ["inner"]


@WITHOUT_GPU
@pytest.mark.parametrize("experts", [["ridge"], ["ridge", "torch_mlp"], ["ridge", "xgboost"], [xgboost.XGBRegressor()]])
def test_a_gpu_that_is_absent(experts):
    X, y = table()
    with pytest.raises(ValueError, match=r"'cuda' is not there.*here is: cpu"):
        MixtureRegressor(experts, device="cuda").fit(X, y)
    with pytest.raises(ValueError, match=r"'cuda' is not there.*here is: cpu"):
        compare(X, y, experts, cv=2, device="cuda")
    with pytest.raises(ValueError, match=r"'cuda:1' is not there"):
        MixtureClassifier(["logistic"], gate="neural", device="cuda:1").fit(X, y > 0)


@WITHOUT_GPU
def test_xgboost_that_fell_back_is_told_as_what_it_is():
    X, y = table()
    own = xgboost.XGBRegressor(n_estimators=3, device="cuda", verbosity=0)
    mixture = MixtureRegressor(["ridge", own], cv=2, specialize=False, random_state=0).fit(X, y)
    assert mixture.devices_ == {"ridge": "cpu", "xgbregressor": "cpu", "stack": "cpu"}


def test_the_probe_of_xgboost_agrees_with_what_a_fit_says():
    X, y = table()
    model = xgboost.XGBRegressor(n_estimators=1, device="cuda:0", verbosity=0).fit(X, y)
    took = json.loads(model.get_booster().save_config())["learner"]["generic_param"]["device"]
    assert device_for("xgboost", "cuda:0")[0] == took
    assert device_for("xgboost", "cuda:0") == device_for("xgboost", "cuda") == device_for("xgboost", "auto")


def test_fitted_trees_answer_on_the_cpu_wherever_they_grew():
    X, y = table()
    own = make_pipeline(StandardScaler(), TransformedTargetRegressor(xgboost.XGBRegressor(n_estimators=3)))
    own.set_params(transformedtargetregressor__regressor__device="cuda:0")
    own.set_params(transformedtargetregressor__regressor__verbosity=0)
    alone = own.fit(X, y).predict(X)
    fitted = fit_expert(NamedExpert("trees", own, device="cuda:0"), Problem(X, y), None, None)
    assert fitted.device == "cuda:0"
    trees = fitted.model[-1].regressor_
    assert trees.get_params()["device"] == "cpu"
    assert '"device":"cpu"' in trees.get_booster().save_config()
    assert fitted.model[-1].regressor.get_params()["device"] == "cuda:0"  # what it was made from is not touched
    np.testing.assert_allclose(fitted.predict(X), alone, rtol=1e-4)


def test_torch_is_not_loaded_for_what_does_not_need_it():
    code = (
        "import sys, numpy as np; from metamix import MixtureRegressor; X = np.random.rand(60, 2);"
        "m = MixtureRegressor(['ridge', 'xgboost', 'neighbours'], cv=2, specialize=False).fit(X, X[:, 0]);"
        "print(m.devices_['ridge'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]


# --- one at a time -------------------------------------------------------------------


@pytest.mark.parametrize(
    "engine", [SerialEngine(), ThreadsEngine(2), LocalEngine(2)], ids=["serial", "threads", "local"]
)
def test_fits_on_a_gpu_come_one_at_a_time(engine):
    X, y = table()
    named = [("a", Placed()), ("b", Placed("cpu")), ("c", Placed())]
    entries = enter(named, [0, 1, 2], place_experts(named, "cuda"))
    with FitSession(entries, Problem(X, y), make_folds(3, X, y, random_state=0), engine) as session:
        _, answers = session.cross_fit(keep=True)
    assert answers.names == ["a", "b", "c"]
    models = {key: fitted.model for key, fitted in answers.models.items()}
    assert len(models) == 9
    spans = sorted(model.span_ for (name, _), model in models.items() if name != "b")
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert {model.where_ for (name, _), model in models.items() if name != "b"} == {os.getpid()}
    elsewhere = {model.where_ for (name, _), model in models.items() if name == "b"}
    assert (os.getpid() in elsewhere) != isinstance(engine, LocalEngine)
    for f, (train, _) in enumerate(session.folds.pairs):
        assert models["a", f].mean_ == models["b", f].mean_ == pytest.approx(y[train].mean())
