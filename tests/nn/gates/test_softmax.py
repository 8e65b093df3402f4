"""SoftmaxGate and StaticGate against scipy and closed forms."""

import numpy as np
import pytest
import scipy.stats

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import SoftmaxGate, StaticGate, update_balance  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def with_large_weights(gate, scale=3.0):
    """The gate with random weights large enough for its weights to differ by row."""
    for name, parameter in gate.named_parameters():
        if "weight" in name and "noise" not in name:
            nn.init.normal_(parameter, std=scale)
    return gate


def test_softmax_gate_is_a_softmax_of_a_linear_map():
    gate = with_large_weights(SoftmaxGate(3, 4, temperature=0.5))
    x = torch.randn(6, 3)
    linear = gate.map.layers[0]
    logits = x.numpy() @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    np.testing.assert_allclose(gate(x).weights.detach(), scipy.special.softmax(logits / 0.5, axis=1), rtol=2e-4)
    np.testing.assert_allclose(gate(x).logits.detach(), logits, rtol=1e-4, atol=1e-5)


def test_initial_weights_are_nearly_equal():
    assert (SoftmaxGate(8, 4, hidden=(16,))(torch.randn(50, 8)).weights - 0.25).abs().max() < 0.05


@pytest.mark.parametrize(("raw", "learns"), [(None, True), (False, False)])
def test_top_1_has_a_gradient_only_with_raw_probabilities(raw, learns):
    gate = with_large_weights(SoftmaxGate(3, 4, top_k=1, raw=raw))
    (gate(torch.randn(8, 3)).weights * torch.arange(4.0)).sum().backward()
    assert (gate.map.layers[0].weight.grad.abs().max() > 1e-6) == learns


def test_dropout_keeps_k_experts_and_has_the_given_rate():
    gate = SoftmaxGate(3, 6, top_k=2, dropout=0.3, raw=True)
    p = gate(torch.zeros(20000, 3)).probabilities
    assert ((p > 0).sum(1) >= 2).all()
    # Drawn independently and two kept at least, so a little less than 0.3 is lost.
    numbers = scipy.stats.binom(6, 0.3)
    lost = sum(min(i, 4) * numbers.pmf(i) for i in range(7)) / 6
    assert abs(float((p == 0).float().mean()) - lost) < 0.01
    assert (gate.eval()(torch.zeros(10, 3)).probabilities > 0).all()


def test_bias_controller_balances_the_load_without_changing_weights():
    gate = SoftmaxGate(3, 4, top_k=1, bias_rate=0.02)
    with torch.no_grad():
        gate.map.layers[0].weight.normal_()
        gate.map.layers[0].bias.copy_(torch.tensor([2.0, 0.0, 0.0, -1.0]))
    x = torch.randn(1000, 3)
    before = gate(x).counts()
    for _ in range(300):
        routing = gate(x)
        update_balance(gate)
    after = routing.counts()
    assert before.max() > 500
    assert after.max() < 280
    assert after.sum() == 1000
    p = torch.softmax(gate.map(x), -1)
    torch.testing.assert_close(routing.weights, p * (routing.weights > 0))


def test_static_gate_is_one_softmax_for_all_rows():
    gate = StaticGate(3, 4, temperature=2.0)
    nn.init.normal_(gate.logits)
    expected = scipy.special.softmax(gate.logits.detach().numpy() / 2)
    np.testing.assert_allclose(gate(torch.randn(5, 3)).weights.detach(), np.tile(expected, (5, 1)), rtol=1e-5)
