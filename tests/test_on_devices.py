"""The same answers on every device: each test runs on the CPU, and where torch finds a GPU on that too."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is what finds a GPU")
pytest.importorskip("skorch", reason="learners are trained by skorch")

from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from torch import nn  # noqa: E402

from metamix import MixtureClassifier, MixtureRegressor  # noqa: E402
from metamix.devices import device_for  # noqa: E402
from metamix.nn import (  # noqa: E402
    MLPExperts,
    MMoE,
    MoE,
    MultiTaskNeuralMixture,
    NeuralGate,
    NeuralMixtureClassifier,
    NeuralMixtureRegressor,
)
from metamix.nn.parts import torch_mlp_classifier, torch_mlp_regressor  # noqa: E402
from metamix.training.objectives import SquaredError  # noqa: E402

GPU = pytest.param(
    "cuda:0",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine"),
    ],
)
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])
ON_GPU = pytest.mark.parametrize("device", [GPU])
BRIEF = {"hidden": 16, "max_epochs": 15, "random_state": 0}


def table(n=300):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1]) + 0.1 * rng.normal(size=n)


# --- layers --------------------------------------------------------------------------


def answers_and_gradients(layer, x, device):
    """Answers of a copy on a device, with the gradients of its parameters and of the rows, all on the CPU."""
    one, rows = copy.deepcopy(layer).to(device), x.to(device, copy=True).requires_grad_()
    said = one(rows)
    said = torch.cat(said, 1) if isinstance(said, list) else said
    said.square().mean().backward()
    grads = [p.grad for p in one.parameters() if p.grad is not None]
    return [tensor.detach().cpu() for tensor in (said, rows.grad, *grads)]


def make_layer(kind):
    torch.manual_seed(0)
    if kind == "tasks":
        return MMoE(16, MLPExperts(4, 16, 32, 8), 2, [nn.Linear(8, 1), nn.Linear(8, 1)], top_k=2, losses={})
    if kind == "modules":
        return MoE(16, [nn.Linear(16, 8), nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 8))], losses={})
    return MoE(16, MLPExperts(4, 16, 32, 8), top_k=2, dispatch=kind, losses={})


@DEVICES
@pytest.mark.parametrize("kind", ["dense", "segments", "tasks", "modules"])
def test_a_layer(kind, device):
    layer, x = make_layer(kind).double(), torch.randn(200, 16, dtype=torch.float64)
    here, there = (answers_and_gradients(layer, x, place) for place in ("cpu", device))
    assert len(here) == len(there) > 3
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@DEVICES
def test_grouped_products_in_bfloat16(device):
    # One gate on one device, so the same rows go to the same experts whichever way.
    layer = make_layer("grouped").to(device, torch.bfloat16)
    x = torch.randn(200, 16, device=device, dtype=torch.bfloat16)
    grouped = layer(x)
    layer.dispatch = "segments"
    torch.testing.assert_close(grouped, layer(x), rtol=0.05, atol=0.02)


# --- learners and gate ---------------------------------------------------------------


LEARNERS = {
    "regressor": lambda device: NeuralMixtureRegressor(2, device=device, **BRIEF),
    "classifier": lambda device: NeuralMixtureClassifier(2, device=device, **BRIEF),
    "tasks": lambda device: MultiTaskNeuralMixture(n_experts=3, device=device, **BRIEF),
    "torch_mlp": lambda device: torch_mlp_regressor(device=device, **BRIEF),
    "torch_mlp of classes": lambda device: torch_mlp_classifier(device=device, **BRIEF),
}


@DEVICES
@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner(kind, device):
    X, y = table()
    target = (y > 0).astype(int) if "class" in kind else np.column_stack([y, X[:, 2]]) if kind == "tasks" else y
    bare, one = (LEARNERS[kind](place).fit(X, target) for place in ("cpu", device))
    assert one.device_ == device
    assert all(tensor.device.type == "cpu" for tensor in one.network_.state_dict().values())
    # Sums in another order part ways a little in every step of training.
    assert abs(one.score(X, target) - bare.score(X, target)) < 0.05
    ask = one.predict_proba if "class" in kind else one.predict
    np.testing.assert_array_equal(ask(X), ask(X))
    one.device_ = "cpu"  # the same weights, asked on the CPU
    ask_here = ask(X)
    one.device_ = device
    np.testing.assert_allclose(ask(X), ask_here, rtol=1e-3, atol=1e-3)


def test_what_was_trained_on_a_gpu_answers_where_there_is_none():
    X, y = table(100)
    one = NeuralMixtureRegressor(2, device="cpu", **BRIEF).fit(X, y)
    expected = one.predict(X)
    one.device_ = "cuda:99"  # as in a file from another machine
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).predict(X), expected)


@DEVICES
@pytest.mark.parametrize("target", ["labels", "objective"])
def test_the_neural_gate(target, device):
    X, y = table()
    gates = [NeuralGate(hidden=8, penalty=0.01, device=place) for place in ("cpu", device)]
    if target == "labels":
        right = (X[:, :1] > 0).astype(float)
        here, there = (gate.fit(X, np.hstack([right, 1 - right])) for gate in gates)
    else:
        loss = SquaredError(y, np.column_stack([3 * X[:, 1], -3 * X[:, 1]]))
        here, there = (gate.fit_objective(X, loss, start=[0.5, 0.5]) for gate in gates)
    assert there.device_ == device
    assert all(p.device.type == "cpu" for p in there.network_.parameters())
    np.testing.assert_allclose(here.predict_proba(X), there.predict_proba(X), atol=1e-3)


# --- the generic mixture -------------------------------------------------------------


def experts(device):
    """A pool with everything that follows a device, as far as it can be had there."""
    can = not pytest.importorskip("xgboost") or not device_for("xgboost", device)[1]
    net = torch_mlp_regressor(hidden=16, max_epochs=15)
    return ["ridge", *(["xgboost"] if can else []), ("torch_mlp", make_pipeline(StandardScaler(), net))]


def all_home(one):
    """Whether no tensor inside is on a GPU and no fitted booster would look for one."""
    seen, waiting, home = set(), [one], True
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, type | str):
            continue
        seen.add(id(part))
        if isinstance(part, torch.Tensor):
            home = home and part.device.type == "cpu"
        elif type(part).__module__.startswith("xgboost") and hasattr(part, "save_config"):
            home = home and '"device":"cuda' not in part.save_config().replace(" ", "")
        elif isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        else:
            waiting += getattr(part, "__dict__", {}).values()
    return home


@DEVICES
@pytest.mark.parametrize("specialize", [False, True])
def test_a_mixture(device, specialize):
    X, y = table()
    settings = {"gate": "neural", "cv": 2, "specialize": specialize, "max_rounds": 1, "random_state": 0}
    bare, one = (MixtureRegressor(experts(device), device=place, **settings).fit(X, y) for place in ("cpu", device))
    names = [name if isinstance(name, str) else name[0] for name in experts(device)]
    expected = {name: "cpu" if name == "ridge" else device for name in names}
    assert one.devices_ == expected | ({} if specialize else {"stack": "cpu"})
    assert len(one.failures_) == 0
    assert getattr(one.gate_, "device_", device) == device  # constant weights, where those do as well, have none
    assert abs(one.score(X, y) - bare.score(X, y)) < 0.05
    assert all_home(one)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(one)).predict(X), one.predict(X), rtol=1e-5)


@DEVICES
def test_a_mixture_of_classes_and_processes(device):
    X, y = table(200)
    net = torch_mlp_classifier(hidden=8, max_epochs=5)
    settings = {"cv": 2, "device": device, "random_state": 0}
    one, spread = (
        MixtureClassifier(["logistic", ("net", net)], n_jobs=n_jobs, **settings).fit(X, y > 0) for n_jobs in (1, 2)
    )
    assert one.devices_["net"] == device
    assert set(one.devices_["mixture"].split(", ")) <= {"cpu", device}
    same = 1e-9 if device == "cpu" else 1e-4  # on a GPU sums may change their order from one run to the next
    np.testing.assert_allclose(one.predict_proba(X), spread.predict_proba(X), rtol=same, atol=same)


@ON_GPU
def test_auto_takes_the_gpu(device):
    X, y = table(150)
    net = torch_mlp_regressor(hidden=8, max_epochs=5)
    one = MixtureRegressor(["ridge", ("net", net)], cv=2, specialize=False, random_state=0).fit(X, y)
    assert one.devices_ == {"ridge": "cpu", "net": device, "stack": "cpu"}


@ON_GPU
def test_xgboost_is_told_apart_by_what_it_did(device):
    pytest.importorskip("xgboost")
    X, y = table(150)
    refusal = device_for("xgboost", device)[1]
    mixture = MixtureRegressor(["ridge", "xgboost"], cv=2, specialize=False, random_state=0, device=device)
    if refusal:
        with pytest.raises(ValueError, match="not there for xgboost"):
            mixture.fit(X, y)
        mixture.set_params(device="auto")
    assert mixture.fit(X, y).devices_["xgboost"] == ("cpu" if refusal else device)
