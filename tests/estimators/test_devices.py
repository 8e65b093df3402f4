"""Devices of mixtures: which experts use them, what `devices_` reports, and errors for missing GPUs.

Tests of networks run on the CPU, and on a GPU too if torch finds one.
"""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor, compare
from metamix.devices import available_devices, device_for
from metamix.fitting import Placement, find_placements

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
xgboost = pytest.importorskip("xgboost")

from metamix.nn.parts import torch_mlp_classifier, torch_mlp_regressor  # noqa: E402

WITHOUT_GPU = pytest.mark.skipif(available_devices() != "cpu", reason="there is a GPU here")
GPU = pytest.param(
    "cuda:0",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine"),
    ],
)
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])
ON_GPU = pytest.mark.parametrize("device", [GPU])

# The second level is linear algebra on the CPU.
STACKS = dict.fromkeys(("stack", "feature-weighted stack", "mean"), "cpu")


class OnDevice(RegressorMixin, BaseEstimator):
    """A regressor as a plugin may define it: it has a device, and its library reports two GPUs."""

    def __init__(self, device=None):
        self.device = device

    def __metamix_device__(self, device):
        if device in ("auto", "cuda"):
            return "cuda:0", ""
        return (device, "") if device in ("cpu", "cuda:0", "cuda:1") else ("cpu", "its library finds two GPUs")

    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def placement(part, device):
    return find_placements([("part", part)], device)[0][0]


def table(n=60):
    """Rows with two regimes by the sign of the first column."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1]) + 0.1 * rng.normal(size=n)


# --- experts that stand for a library with two GPUs ----------------------------------


def test_an_unavailable_device_is_an_error_with_expert_and_reason_before_any_fit():
    X, y = table()
    mixture = MixtureRegressor([("near", OnDevice()), ("far", OnDevice())], device="cuda:7")
    message = r"'cuda:7' is not available for near \(its library finds two GPUs\), far \(its library finds two GPUs\)"
    with pytest.raises(ValueError, match=message):
        mixture.fit(X, y)


def test_devices_of_every_column():
    X, y = table()
    experts = ["ridge", ("near", OnDevice()), ("far", make_pipeline(OnDevice("cuda:1"))), ("own", OnDevice("cpu"))]
    flat = MixtureRegressor(experts, cv=2, specialize=False, random_state=0).fit(X, y)
    expected = {"ridge": "cpu", "near": "cuda:0", "far": "cuda:1", "own": "cpu"}
    assert flat.devices_ == expected | STACKS
    averaged = MixtureRegressor(experts, cv=2, specialize=False, refit=False, random_state=0).fit(X, y)
    assert averaged.devices_ == flat.devices_
    whole = MixtureRegressor(experts, cv=2, max_rounds=1, random_state=0).fit(X, y)
    assert whole.devices_ == expected | STACKS | {"stack with mixture": "cpu", "mixture": whole.devices_["mixture"]}
    assert set(whole.devices_["mixture"].split(", ")) >= set(whole.mixture_.devices_.values())
    two = MixtureRegressor([OnDevice()], n_experts=2, cv=2, specialize=True, start=X[:, 0] > 0, random_state=0)
    assert set(two.fit(X, y).devices_.values()) == {"cuda:0"}


def test_a_mixture_as_an_expert_passes_the_device_to_its_own_experts():
    X, y = table()
    inner = MixtureRegressor(["ridge", ("near", OnDevice())], cv=2, specialize=False)
    assert placement(inner, "auto") == Placement(("cpu, cuda:0",))
    assert placement(inner, "cpu") == Placement(("cpu",), {"device": "cpu"})
    outer = MixtureRegressor(["ridge", ("inner", make_pipeline(inner))], cv=2, device="cuda:1", specialize=False)
    outer.fit(X, y)
    assert outer.devices_ == {"ridge": "cpu", "inner": "cpu, cuda:1"} | STACKS
    assert outer.named_experts_["inner"][-1].devices_ == {"ridge": "cpu", "near": "cuda:1"} | STACKS
    assert inner.device == "auto"
    with pytest.raises(ValueError, match=r"for inner \(near \(its library finds two GPUs\)\)"):
        outer.set_params(device="cuda:2").fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_an_inner_mixture_that_cannot_be_fitted_is_a_failed_expert():
    X, y = table()
    broken = MixtureRegressor(["no such expert"])
    outer = MixtureRegressor(["ridge", ("inner", broken)], cv=2, specialize=False).fit(X, y)
    assert outer.failures_["expert"].unique().tolist() == ["inner"]


# --- a machine without a GPU ---------------------------------------------------------


@WITHOUT_GPU
@pytest.mark.parametrize("experts", [["ridge"], ["ridge", "torch_mlp"], ["ridge", "xgboost"], [xgboost.XGBRegressor()]])
def test_a_gpu_requested_by_name_is_an_error_where_there_is_none(experts):
    X, y = table()
    with pytest.raises(ValueError, match=r"'cuda' is not available.*Available.*: cpu"):
        MixtureRegressor(experts, device="cuda").fit(X, y)
    with pytest.raises(ValueError, match=r"'cuda' is not available.*Available.*: cpu"):
        compare(X, y, experts, cv=2, device="cuda")


@WITHOUT_GPU
def test_a_gate_on_a_gpu_is_an_error_where_there_is_none():
    X, y = table()
    with pytest.raises(ValueError, match=r"'cuda:1' is not available"):
        MixtureClassifier(["logistic"], gate="neural", device="cuda:1").fit(X, y > 0)


@WITHOUT_GPU
def test_xgboost_that_falls_back_to_the_cpu_is_reported_on_the_cpu():
    X, y = table()
    own = xgboost.XGBRegressor(n_estimators=3, device="cuda", verbosity=0)
    mixture = MixtureRegressor(["ridge", own], cv=2, specialize=False, random_state=0).fit(X, y)
    assert mixture.devices_ == {"ridge": "cpu", "xgbregressor": "cpu"} | STACKS


def test_torch_is_imported_only_where_it_is_needed():
    code = (
        "import sys, numpy as np; from metamix import MixtureRegressor; X = np.random.rand(60, 2);"
        "m = MixtureRegressor(['ridge', 'xgboost', 'neighbours'], cv=2, specialize=False).fit(X, X[:, 0]);"
        "print(m.devices_['ridge'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]


# --- networks, on every device of the machine ----------------------------------------


def experts_for(device):
    """Experts that use the device, XGBoost among them if it can."""
    with_xgboost = not device_for("xgboost", device)[1]
    net = torch_mlp_regressor(hidden=16, max_epochs=5)
    return ["ridge", *(["xgboost"] if with_xgboost else []), ("torch_mlp", make_pipeline(StandardScaler(), net))]


def all_on_cpu(model):
    """Whether no tensor inside is on a GPU and no fitted booster is set to one."""
    seen, stack, on_cpu = set(), [model], True
    while stack:
        part = stack.pop()
        if id(part) in seen or isinstance(part, type | str):
            continue
        seen.add(id(part))
        if isinstance(part, torch.Tensor):
            on_cpu = on_cpu and part.device.type == "cpu"
        elif type(part).__module__.startswith("xgboost") and hasattr(part, "save_config"):
            on_cpu = on_cpu and '"device":"cuda' not in part.save_config().replace(" ", "")
        elif isinstance(part, dict):
            stack += part.values()
        elif isinstance(part, list | tuple):
            stack += part
        else:
            stack += getattr(part, "__dict__", {}).values()
    return on_cpu


@DEVICES
@pytest.mark.parametrize("specialize", [False, True])
def test_a_mixture_of_networks(device, specialize):
    X, y = table(120)
    settings = {"gate": "neural", "cv": 2, "specialize": specialize, "max_rounds": 1, "random_state": 0}
    mixture = MixtureRegressor(experts_for(device), device=device, **settings).fit(X, y)
    names = [name if isinstance(name, str) else name[0] for name in experts_for(device)]
    expected = {name: "cpu" if name == "ridge" else device for name in names}
    assert mixture.devices_ == expected | ({} if specialize else STACKS)
    assert len(mixture.failures_) == 0
    assert getattr(mixture.gate_, "device_", device) == device  # a constant gate has no device
    assert all_on_cpu(mixture)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(mixture)).predict(X), mixture.predict(X), rtol=1e-5)
    if device != "cpu":
        reference = MixtureRegressor(experts_for(device), device="cpu", **settings).fit(X, y)
        assert abs(mixture.score(X, y) - reference.score(X, y)) < 0.05


@ON_GPU  # on the CPU, tests of the engines and of the estimators compare serial and parallel fits
def test_a_classifier_with_a_network_is_the_same_with_worker_processes(device):
    X, y = table(120)
    net = torch_mlp_classifier(hidden=8, max_epochs=3)
    settings = {"cv": 2, "device": device, "max_rounds": 1, "random_state": 0}
    serial, parallel = (
        MixtureClassifier(["logistic", ("net", net)], n_jobs=n_jobs, **settings).fit(X, y > 0) for n_jobs in (1, 2)
    )
    assert serial.devices_["net"] == device
    assert set(serial.devices_["mixture"].split(", ")) <= {"cpu", device}
    # On a GPU the order of summation may differ between runs.
    np.testing.assert_allclose(serial.predict_proba(X), parallel.predict_proba(X), rtol=1e-4, atol=1e-4)


@ON_GPU
def test_auto_uses_the_gpu(device):
    X, y = table(150)
    net = torch_mlp_regressor(hidden=8, max_epochs=5)
    mixture = MixtureRegressor(["ridge", ("net", net)], cv=2, specialize=False, random_state=0).fit(X, y)
    assert mixture.devices_ == {"ridge": "cpu", "net": device} | STACKS


@ON_GPU
def test_xgboost_built_without_cuda_is_an_error_by_name_and_on_the_cpu_with_auto(device):
    X, y = table(150)
    reason = device_for("xgboost", device)[1]
    mixture = MixtureRegressor(["ridge", "xgboost"], cv=2, specialize=False, random_state=0, device=device)
    if reason:
        with pytest.raises(ValueError, match="not available for xgboost"):
            mixture.fit(X, y)
        mixture.set_params(device="auto")
    assert mixture.fit(X, y).devices_["xgboost"] == ("cpu" if reason else device)
