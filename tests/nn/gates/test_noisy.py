"""NoisyTopKGate, GumbelGate and the expected load against Monte Carlo and closed forms."""

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import GumbelGate, NoisyTopKGate, expected_load  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def with_large_weights(gate, scale=3.0):
    """The gate with random weights large enough for its weights to differ by row."""
    for name, parameter in gate.named_parameters():
        if "weight" in name and "noise" not in name:
            nn.init.normal_(parameter, std=scale)
    return gate


def test_expected_load_is_the_selection_probability_when_own_noise_is_redrawn():
    clean, spread = torch.randn(1, 5), torch.rand(1, 5) + 0.3
    noisy = clean + torch.randn(1, 5) * spread
    for k in (1, 2, 4):
        load = expected_load(clean, noisy, spread, k)
        draws = 20000
        for e in range(5):
            anew = noisy.repeat(draws, 1)
            anew[:, e] = clean[0, e] + torch.randn(draws) * spread[0, e]
            kept = (anew.argsort(dim=1, descending=True)[:, :k] == e).any(1).float().mean()
            assert abs(float(load[e] - kept)) < 0.015


@pytest.mark.parametrize("k", [1, 2, 3])
def test_expected_load_sums_to_k_times_n(k):
    gate = with_large_weights(NoisyTopKGate(3, 3, top_k=k), 0.5)
    x = torch.randn(20, 3).repeat(1000, 1)
    assert abs(gate(x).load.sum().item() / len(x) - k) < 0.01


def test_expected_load_is_the_mean_count():
    gate = with_large_weights(NoisyTopKGate(3, 6, top_k=2), 0.5)
    routing = gate(torch.randn(1, 3).repeat(40000, 1))
    torch.testing.assert_close(routing.load / 40000, routing.counts() / 40000, atol=0.01, rtol=0)


def test_noise_has_the_learned_standard_deviation_in_training_only():
    gate = with_large_weights(NoisyTopKGate(3, 4, top_k=4))
    nn.init.normal_(gate.noise.layers[0].weight)
    x = torch.randn(1, 3)
    spread = torch.nn.functional.softplus(gate.noise(x)) + 0.01
    p = gate(x.repeat(40000, 1)).probabilities.log()
    logits = p - p[:, :1]  # up to a constant per row
    expected = (spread[0, 1:] ** 2 + spread[0, 0] ** 2).sqrt()
    torch.testing.assert_close(logits[:, 1:].std(0), expected, rtol=0.03, atol=0)
    gate.eval()
    torch.testing.assert_close(gate(x).weights, torch.softmax(gate.map(x), -1))
    assert torch.equal(gate(x).weights, gate(x).weights)
    assert gate(x).load is None


def test_expected_load_gradient():
    noisy = torch.randn(6, 4, dtype=torch.float64)
    spread = torch.rand(6, 4, dtype=torch.float64) + 0.2
    clean = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda clean: expected_load(clean, noisy, spread, 2), clean)


def test_gumbel_argmax_has_the_softmax_distribution():
    gate = with_large_weights(GumbelGate(3, 4, temperature=0.7), 0.5)
    x = torch.randn(1, 3)
    first = gate(x.repeat(40000, 1)).weights.argmax(1)
    shares = torch.bincount(first, minlength=4) / 40000
    torch.testing.assert_close(shares, torch.softmax(gate.map(x)[0], 0), atol=0.01, rtol=0)


def test_gumbel_in_evaluation_is_the_mean_over_its_draws():
    gate = with_large_weights(GumbelGate(3, 4, temperature=0.7, draws=3)).eval()
    x = torch.randn(5, 3)
    each = [torch.softmax((gate.map(x) + draw) / 0.7, -1) for draw in gate.draws]
    torch.testing.assert_close(gate(x).weights, sum(each) / 3)
    none = with_large_weights(GumbelGate(3, 4, temperature=0.7, draws=0)).eval()
    torch.testing.assert_close(none(x).weights, torch.softmax(none.map(x) / 0.7, -1))
