"""Selection of the k largest scores and the weights from logits, against sorting and scipy."""

import numpy as np
import pytest
import scipy.special

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from metamix.nn.gates import make_gate  # noqa: E402
from metamix.nn.routing import MANY_ROWS, SHORT_ROW, from_logits, largest, softmax  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
def test_largest_is_a_stable_sort(k):
    scores = torch.randint(0, 3, (200, 6)).float()
    scores[:20, 2] = -torch.inf
    expected = [sorted(range(6), key=lambda e: (-row[e], e))[:k] for row in scores.tolist()]
    assert largest(scores, k).tolist() == expected


def test_minus_infinity_is_not_selected_twice():
    assert sorted(largest(torch.full((1, 4), -torch.inf), 3)[0].tolist()) == [0, 1, 2]


def test_top_k_weights():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    p = scipy.special.softmax(logits[0].numpy())
    renormalised, raw = from_logits(logits, 2), from_logits(logits, 2, raw=True)
    np.testing.assert_allclose(raw.weights[0], [0, p[1], p[2], 0], rtol=1e-6)
    np.testing.assert_allclose(renormalised.weights[0], [0, p[1] / (p[1] + p[2]), p[2] / (p[1] + p[2]), 0], rtol=1e-6)
    assert renormalised.indices.tolist() == [[1, 2]]
    np.testing.assert_allclose(from_logits(logits, 1).weights[0], [0, p[1], 0, 0], rtol=1e-6)


@pytest.mark.parametrize("n", [3, MANY_ROWS + 1])
def test_softmax_of_short_and_long_rows(n):
    scores = 3 * torch.randn(n, SHORT_ROW - 1)
    np.testing.assert_allclose(softmax(scores), scipy.special.softmax(scores.numpy(), axis=1), rtol=1e-5)


@pytest.mark.parametrize("n", [3, MANY_ROWS, 2 * MANY_ROWS])
@pytest.mark.parametrize("K", [2, 4, SHORT_ROW, 8, 16])
def test_softmax_is_stored_by_rows(n, K):
    # Products with weights that are stored by columns take about twice as long.
    weights = softmax(torch.randn(n, K))
    assert weights.stride() == (K, 1)
    for gate in ("softmax", "static", "gumbel"):
        assert make_gate(gate, 3, K)(torch.randn(n, 3)).weights.is_contiguous()
