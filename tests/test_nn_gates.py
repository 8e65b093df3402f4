"""Gates and losses of the torch room: closed forms, Monte Carlo, scipy and plain Python beside them."""

import math

import numpy as np
import pytest
import scipy.stats

torch = pytest.importorskip("torch", reason="the torch room needs torch")

from torch import nn  # noqa: E402

from metamix.nn import (  # noqa: E402
    DSelectKGate,
    GumbelGate,
    MoE,
    NoisyTopKGate,
    Routing,
    SoftmaxGate,
    StaticGate,
    expected_load,
    smooth_step,
)
from metamix.nn.gates import make_gate, route  # noqa: E402
from metamix.nn.gates.dselect import selection  # noqa: E402
from metamix.nn.losses import AuxiliaryLosses, balance, entropy, importance, load, mutual_information, z  # noqa: E402
from metamix.nn.routing import from_logits, largest  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def decided(gate, scale=3.0):
    """The gate with logits far enough apart to see something."""
    for name, parameter in gate.named_parameters():
        if "weight" in name and "noise" not in name:
            nn.init.normal_(parameter, std=scale)
    return gate


# --- softmax and top-k ---------------------------------------------------------------


def test_softmax_gate_is_a_softmax_of_a_linear_map():
    gate = decided(SoftmaxGate(3, 4, temperature=0.5))
    x = torch.randn(6, 3)
    linear = gate.map.layers[0]
    logits = x.numpy() @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    np.testing.assert_allclose(gate(x).weights.detach(), scipy.special.softmax(logits / 0.5, axis=1), rtol=2e-4)
    np.testing.assert_allclose(gate(x).logits.detach(), logits, rtol=1e-4, atol=1e-5)


def test_a_new_gate_trusts_all_nearly_alike():
    assert (SoftmaxGate(8, 4, hidden=(16,))(torch.randn(50, 8)).weights - 0.25).abs().max() < 0.05


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
def test_the_largest_with_ties_in_order(k):
    scores = torch.randint(0, 3, (200, 6)).float()
    scores[:20, 2] = -torch.inf
    expected = [sorted(range(6), key=lambda e: (-row[e], e))[:k] for row in scores.tolist()]
    assert largest(scores, k).tolist() == expected


def test_minus_infinity_is_never_chosen_twice():
    assert sorted(largest(torch.full((1, 4), -torch.inf), 3)[0].tolist()) == [0, 1, 2]


def test_top_k_weights():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    p = scipy.special.softmax(logits[0].numpy())
    renormalised, raw = from_logits(logits, 2), from_logits(logits, 2, raw=True)
    np.testing.assert_allclose(raw.weights[0], [0, p[1], p[2], 0], rtol=1e-6)
    np.testing.assert_allclose(renormalised.weights[0], [0, p[1] / (p[1] + p[2]), p[2] / (p[1] + p[2]), 0], rtol=1e-6)
    assert renormalised.indices.tolist() == [[1, 2]]
    np.testing.assert_allclose(from_logits(logits, 1).weights[0], [0, p[1], 0, 0], rtol=1e-6)


@pytest.mark.parametrize(("raw", "learns"), [(None, True), (False, False)])
def test_one_expert_kept_learns_only_with_its_raw_probability(raw, learns):
    gate = decided(SoftmaxGate(3, 4, top_k=1, raw=raw))
    (gate(torch.randn(8, 3)).weights * torch.arange(4.0)).sum().backward()
    assert (gate.map.layers[0].weight.grad.abs().max() > 1e-6) == learns


def test_gate_dropout_leaves_k_experts_and_drops_as_often_as_asked():
    gate = SoftmaxGate(3, 6, top_k=2, dropout=0.3, raw=True)
    p = gate(torch.zeros(20000, 3)).probabilities
    assert ((p > 0).sum(1) >= 2).all()
    # Drawn independently and two kept at least, so a little less than 0.3 is lost.
    numbers = scipy.stats.binom(6, 0.3)
    lost = sum(min(i, 4) * numbers.pmf(i) for i in range(7)) / 6
    assert abs(float((p == 0).float().mean()) - lost) < 0.01
    assert (gate.eval()(torch.zeros(10, 3)).probabilities > 0).all()


def test_bias_controller_evens_out_the_choice_and_no_weight():
    gate = SoftmaxGate(3, 4, top_k=1, bias_rate=0.02)
    with torch.no_grad():
        gate.map.layers[0].weight.normal_()
        gate.map.layers[0].bias.copy_(torch.tensor([2.0, 0.0, 0.0, -1.0]))
    x = torch.randn(1000, 3)
    before = gate(x).counts()
    for _ in range(300):
        routing = gate(x)
    after = routing.counts()
    assert before.max() > 500
    assert after.max() < 280
    assert after.sum() == 1000
    p = torch.softmax(gate.map(x), -1)
    torch.testing.assert_close(routing.weights, p * (routing.weights > 0))
    bias = gate.bias.clone()
    gate.eval()(x)
    assert torch.equal(gate.bias, bias)


def test_static_gate_is_one_softmax_for_all_rows():
    gate = StaticGate(3, 4, temperature=2.0)
    nn.init.normal_(gate.logits)
    expected = scipy.special.softmax(gate.logits.detach().numpy() / 2)
    np.testing.assert_allclose(gate(torch.randn(5, 3)).weights.detach(), np.tile(expected, (5, 1)), rtol=1e-5)


# --- noise ---------------------------------------------------------------------------


def test_load_is_the_chance_of_being_kept_when_ones_own_noise_is_drawn_anew():
    clean, spread = torch.randn(1, 5), torch.rand(1, 5) + 0.3
    noisy = clean + torch.randn(1, 5) * spread
    for k in (1, 2, 4):
        said = expected_load(clean, noisy, spread, k)
        draws = 40000
        for e in range(5):
            anew = noisy.repeat(draws, 1)
            anew[:, e] = clean[0, e] + torch.randn(draws) * spread[0, e]
            kept = (anew.argsort(dim=1, descending=True)[:, :k] == e).any(1).float().mean()
            assert abs(float(said[e] - kept)) < 0.012


@pytest.mark.parametrize("k", [1, 2, 3])
def test_load_sums_to_k_times_the_rows_over_all_noise(k):
    gate = decided(NoisyTopKGate(3, 3, top_k=k), 0.5)
    x = torch.randn(20, 3).repeat(1000, 1)
    assert abs(gate(x).load.sum().item() / len(x) - k) < 0.01


def test_load_agrees_with_the_counts_on_average():
    gate = decided(NoisyTopKGate(3, 6, top_k=2), 0.5)
    routing = gate(torch.randn(1, 3).repeat(40000, 1))
    torch.testing.assert_close(routing.load / 40000, routing.counts() / 40000, atol=0.01, rtol=0)


def test_noise_is_of_the_trained_spread_and_gone_in_evaluation():
    gate = decided(NoisyTopKGate(3, 4, top_k=4))
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


def test_gumbel_noise_makes_each_expert_the_largest_as_often_as_its_probability():
    gate = decided(GumbelGate(3, 4, temperature=0.7), 0.5)
    x = torch.randn(1, 3)
    first = gate(x.repeat(40000, 1)).weights.argmax(1)
    shares = torch.bincount(first, minlength=4) / 40000
    torch.testing.assert_close(shares, torch.softmax(gate.map(x)[0], 0), atol=0.01, rtol=0)


def test_gumbel_in_evaluation_is_the_mean_over_its_draws():
    gate = decided(GumbelGate(3, 4, temperature=0.7, draws=3)).eval()
    x = torch.randn(5, 3)
    each = [torch.softmax((gate.map(x) + draw) / 0.7, -1) for draw in gate.draws]
    torch.testing.assert_close(gate(x).weights, sum(each) / 3)
    none = decided(GumbelGate(3, 4, temperature=0.7, draws=0)).eval()
    torch.testing.assert_close(none(x).weights, torch.softmax(none.map(x) / 0.7, -1))


# --- DSelect-k -----------------------------------------------------------------------


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
def test_dselect_gradients_and_shape(static):
    gate = DSelectKGate(3, 5, top_k=2, static=static).double()
    for parameter in gate.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = torch.randn(4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *_: gate(x).weights, tuple(gate.parameters()))
    weights = gate(x).weights
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))
    assert torch.equal(weights[0], weights[1]) == static


class Counter(nn.Module):
    """A linear expert that counts the rows it was asked about."""

    def __init__(self, d):
        super().__init__()
        self.linear, self.rows = nn.Linear(d, d), 0

    def forward(self, x):
        self.rows += len(x)
        return self.linear(x)


def test_decided_bits_ask_k_experts_at_most():
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


# --- losses --------------------------------------------------------------------------


def test_balance_is_one_when_balanced_and_K_over_k_at_collapse():
    K = 6
    shifted = torch.stack([torch.eye(K)[[e % K, (e + 1) % K]].sum(0) * 40 for e in range(12)])
    assert balance(from_logits(shifted, 2)).item() == pytest.approx(1.0)
    collapsed = shifted[:1].repeat(12, 1)
    assert balance(from_logits(collapsed, 2)).item() == pytest.approx(K / 2)
    assert balance(from_logits(collapsed * torch.linspace(1, 4, K), 1)).item() == pytest.approx(K)


def test_losses_are_their_formulae():
    logits = 2 * torch.randn(50, 4, dtype=torch.float64)
    routing = from_logits(logits, 2)
    p = scipy.special.softmax(logits.numpy(), axis=1)
    weights, counts = routing.weights.numpy(), np.bincount(routing.indices.flatten().numpy(), minlength=4)
    assert importance(routing).item() == pytest.approx((weights.sum(0).std() / weights.sum(0).mean()) ** 2)
    assert load(routing).item() == pytest.approx((counts.std() / counts.mean()) ** 2)
    assert z(routing).item() == pytest.approx((scipy.special.logsumexp(logits.numpy(), axis=1) ** 2).mean())
    rows = scipy.stats.entropy(p, axis=1).mean()
    assert entropy(routing).item() == pytest.approx(rows)
    assert mutual_information(routing).item() == pytest.approx(rows - scipy.stats.entropy(p.mean(0)))
    assert balance(routing).item() == pytest.approx(4 * (counts / 100 * p.mean(0)).sum())


@pytest.mark.parametrize("loss", [balance, importance, z, entropy, mutual_information])
def test_loss_gradients(loss):
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logits: loss(from_logits(logits, 2)), logits)


def test_load_descends_through_the_noisy_gate():
    noisy = torch.randn(6, 4, dtype=torch.float64)
    spread = torch.rand(6, 4, dtype=torch.float64) + 0.2
    clean = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda clean: expected_load(clean, noisy, spread, 2), clean)


def test_entropy_has_a_finite_slope_where_a_probability_is_zero():
    logits = torch.tensor([[0.0, -300.0]], requires_grad=True)
    entropy(from_logits(logits)).backward()
    assert logits.grad.isfinite().all()


def test_a_batch_without_rows_costs_nothing():
    routing = from_logits(torch.zeros(0, 3), 2)
    for loss in (balance, importance, load, z, entropy, mutual_information):
        assert loss(routing) == 0


# --- names and errors ----------------------------------------------------------------


def test_errors_name_what_would_do():
    with pytest.raises(ValueError, match=r"'sofmax'.*Did you mean 'softmax'"):
        make_gate("sofmax", 3, 4)
    with pytest.raises(ValueError, match=r"top_k=5 with 4 experts.*from 1 to 4"):
        make_gate("softmax", 3, 4, top_k=5)
    with pytest.raises(ValueError, match="top_k=0"):
        NoisyTopKGate(3, 4, top_k=0)
    with pytest.raises(ValueError, match=r"not take gate_options=.*, but temperature, raw: .*'hidden'"):
        make_gate("static", 3, 4, options={"hidden": 3})
    with pytest.raises(ValueError, match="set them on the module itself"):
        make_gate(nn.Linear(3, 4), 3, 4, options={"hidden": 3})
    with pytest.raises(ValueError, match="set top_k"):
        SoftmaxGate(3, 4, bias_rate=0.1)
    with pytest.raises(ValueError, match=r"'balanced'.*Did you mean 'balance'"):
        AuxiliaryLosses({"balanced": 1.0})
    with pytest.raises(ValueError, match="weights of shape \\(5, 4\\)"):
        route(nn.Linear(3, 2), torch.zeros(5, 3), 4)
    with pytest.raises(ValueError, match="gives weights only"):
        z(Routing(torch.ones(1, 1), torch.ones(1, 1)))


@pytest.mark.parametrize(
    ("gate", "losses", "words"),
    [
        ("softmax", {"balance": 1.0}, "mutual_information"),
        ("softmax", {"load": 1.0}, "noisy_top_k"),
        ("dselect_k", {"z": 1.0}, "'entropy'"),
    ],
)
def test_losses_that_a_gate_cannot_have(gate, losses, words):
    with pytest.raises(ValueError, match=words):
        MoE(3, [nn.Linear(3, 1), nn.Linear(3, 1)], gate=gate, losses=losses)
