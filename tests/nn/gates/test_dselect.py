"""DSelectKGate against the published formulas."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import DSelectKGate, MoE, smooth_step  # noqa: E402
from metamix.nn.gates.dselect import selection  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0])
def test_smooth_step_is_the_published_cubic(gamma):
    t = np.linspace(-gamma, gamma, 41)
    inside = -2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5
    expected = np.where(t <= -gamma / 2, 0, np.where(t >= gamma / 2, 1, inside))
    np.testing.assert_allclose(smooth_step(torch.tensor(t), gamma), expected, atol=1e-12)
    edge = torch.tensor([-gamma / 2, gamma / 2], dtype=torch.float64, requires_grad=True)
    smooth_step(edge, gamma).sum().backward()
    assert edge.grad.abs().max() < 1e-12


@pytest.mark.parametrize("K", [1, 2, 3, 4, 5, 8, 13])
def test_selection_multiplies_the_bits_of_each_code(K):
    m = math.ceil(math.log2(K))
    bits = torch.rand(m, dtype=torch.float64)
    expected = [0.0] * K
    for code in range(2**m):
        text = format(code, "b").zfill(m)[::-1] if m else ""
        product = math.prod(float(b) if c == "1" else 1 - float(b) for b, c in zip(bits, text, strict=True))
        expected[code % K] += product
    np.testing.assert_allclose(selection(bits, K), expected, rtol=1e-12)
    assert math.isclose(sum(expected), 1.0)


@pytest.mark.parametrize("static", [False, True])
def test_weights_sum_to_one_and_have_correct_gradients(static):
    gate = DSelectKGate(3, 5, top_k=2, static=static).double()
    for parameter in gate.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = torch.randn(4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *_: gate(x).weights, tuple(gate.parameters()))
    weights = gate(x).weights
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))
    assert torch.equal(weights[0], weights[1]) == static


class Counter(nn.Module):
    """A linear expert that counts the rows it is called with."""

    def __init__(self, d):
        super().__init__()
        self.linear, self.rows = nn.Linear(d, d), 0

    def forward(self, x):
        self.rows += len(x)
        return self.linear(x)


def test_experts_with_zero_weight_are_not_evaluated():
    experts = [Counter(3) for _ in range(8)]
    layer = MoE(3, experts, gate="dselect_k", top_k=2, dispatch="segments")
    nn.init.normal_(layer.gate.map.layers[0].weight, std=50.0)
    x = torch.randn(40, 3)
    dense = MoE(3, experts, gate=layer.gate, dispatch="dense").eval()(x)
    before = sum(expert.rows for expert in experts)
    y, info = layer.eval()(x, return_info=True)
    asked = sum(expert.rows for expert in experts) - before
    # Some bits lie in the smooth part, so a few rows have more.
    assert asked == int((info.weights > 0).sum())
    assert asked < 2.5 * 40
    torch.testing.assert_close(y, dense)
