"""Auxiliary losses against their formulas, scipy and numerical gradients."""

import numpy as np
import pytest
import scipy.stats

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from metamix.nn.losses import balance, entropy, importance, load, mutual_information, z  # noqa: E402
from metamix.nn.routing import from_logits  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_balance_is_one_when_balanced_and_K_over_k_at_collapse():
    K = 6
    shifted = torch.stack([torch.eye(K)[[e % K, (e + 1) % K]].sum(0) * 40 for e in range(12)])
    assert balance(from_logits(shifted, 2)).item() == pytest.approx(1.0)
    collapsed = shifted[:1].repeat(12, 1)
    assert balance(from_logits(collapsed, 2)).item() == pytest.approx(K / 2)
    assert balance(from_logits(collapsed * torch.linspace(1, 4, K), 1)).item() == pytest.approx(K)


def test_losses_are_their_formulas():
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


def test_entropy_gradient_is_finite_at_probability_zero():
    logits = torch.tensor([[0.0, -300.0]], requires_grad=True)
    entropy(from_logits(logits)).backward()
    assert logits.grad.isfinite().all()


def test_an_empty_batch_has_loss_zero():
    routing = from_logits(torch.zeros(0, 3), 2)
    for loss in (balance, importance, load, z, entropy, mutual_information):
        assert loss(routing) == 0
