"""Layers, learners and the neural gate give the same results on every device.

Each test runs on the CPU, which checks the test itself, and on a GPU too if torch finds one.
"""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from torch import nn  # noqa: E402

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
from metamix.training.losses import SquaredError  # noqa: E402

GPU = pytest.param(
    "cuda:0",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine"),
    ],
)
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])
SETTINGS = {"hidden": 16, "max_epochs": 5, "random_state": 0}


def table(n=150):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1]) + 0.1 * rng.normal(size=n)


def output_and_gradients(layer, x, device):
    """Output of a copy on a device, and gradients with respect to its parameters and its input, moved to the CPU."""
    layer, x = copy.deepcopy(layer).to(device), x.to(device, copy=True).requires_grad_()
    output = layer(x)
    output = torch.cat(output, 1) if isinstance(output, list) else output
    output.square().mean().backward()
    gradients = [p.grad for p in layer.parameters() if p.grad is not None]
    return [tensor.detach().cpu() for tensor in (output, x.grad, *gradients)]


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
    on_cpu, on_device = (output_and_gradients(layer, x, where) for where in ("cpu", device))
    assert len(on_cpu) == len(on_device) > 3
    for a, b in zip(on_cpu, on_device, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@DEVICES
def test_grouped_products_in_bfloat16_equal_products_per_segment(device):
    # Same gate and device, so both kinds of dispatch send the same rows to the same experts.
    layer = make_layer("grouped").to(device, torch.bfloat16)
    x = torch.randn(200, 16, device=device, dtype=torch.bfloat16)
    grouped = layer(x)
    layer.dispatch = "segments"
    torch.testing.assert_close(grouped, layer(x), rtol=0.05, atol=0.02)


LEARNERS = {
    "regressor": lambda device: NeuralMixtureRegressor(2, device=device, **SETTINGS),
    "classifier": lambda device: NeuralMixtureClassifier(2, device=device, **SETTINGS),
    "tasks": lambda device: MultiTaskNeuralMixture(n_experts=3, device=device, **SETTINGS),
    "torch_mlp": lambda device: torch_mlp_regressor(device=device, **SETTINGS),
    "torch_mlp of classes": lambda device: torch_mlp_classifier(device=device, **SETTINGS),
}


@DEVICES
@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner(kind, device):
    X, y = table()
    target = (y > 0).astype(int) if "class" in kind else np.column_stack([y, X[:, 2]]) if kind == "tasks" else y
    learner = LEARNERS[kind](device).fit(X, target)
    assert learner.device_ == device
    assert all(tensor.device.type == "cpu" for tensor in learner.network_.state_dict().values())
    predict = learner.predict_proba if "class" in kind else learner.predict
    predictions = predict(X)
    np.testing.assert_array_equal(predict(X), predictions)
    if device != "cpu":
        reference = LEARNERS[kind]("cpu").fit(X, target)
        # The order of summation differs between devices, which changes every training step a little.
        assert abs(learner.score(X, target) - reference.score(X, target)) < 0.05
        learner.device_ = "cpu"  # the same network, evaluated on the CPU
        np.testing.assert_allclose(predict(X), predictions, rtol=1e-3, atol=1e-3)


def test_a_learner_trained_on_a_gpu_predicts_on_the_cpu_where_there_is_none():
    X, y = table(100)
    learner = NeuralMixtureRegressor(2, device="cpu", **SETTINGS).fit(X, y)
    expected = learner.predict(X)
    learner.device_ = "cuda:99"  # as in a file from another machine
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(learner)).predict(X), expected)


@DEVICES
@pytest.mark.parametrize("target", ["labels", "objective"])
def test_the_neural_gate(target, device):
    X, y = table()
    gates = [NeuralGate(hidden=8, penalty=0.01, device=where) for where in ("cpu", device)]
    right = X[:, 0] > 0
    if target == "labels":
        on_cpu, on_device = (gate.fit(X, np.column_stack([right, ~right]).astype(float)) for gate in gates)
    else:
        loss = SquaredError(y, np.column_stack([3 * X[:, 1], -3 * X[:, 1]]))
        on_cpu, on_device = (gate.fit_objective(X, loss, start=[0.5, 0.5]) for gate in gates)
    assert on_device.device_ == device
    assert all(p.device.type == "cpu" for p in on_device.network_.parameters())
    weights = on_device.predict_proba(X)
    assert np.mean((weights[:, 0] > 0.5) == right) > 0.9
    np.testing.assert_allclose(on_cpu.predict_proba(X), weights, atol=1e-3)
