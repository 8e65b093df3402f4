"""MLPExperts against single networks, and errors that name an expert."""

import itertools

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import MLPExperts, MoE  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_experts_of_a_stack_are_initialised_independently():
    stack = MLPExperts(4, 3, (8, 5), 2)
    for weight in stack.weights:
        assert all(not torch.equal(weight[a], weight[b]) for a, b in itertools.combinations(range(4), 2))


@pytest.mark.parametrize("rows", [3, 300])
def test_a_stack_equals_single_networks(rows):
    stack = MLPExperts(3, 4, (8, 6), 2, activation="gelu")
    x, own = torch.randn(rows, 4), torch.randn(3, rows, 4)
    for e in range(3):
        network = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 2))
        with torch.no_grad():
            for linear, weight, bias in zip(network[::2], stack.weights, stack.biases, strict=True):
                linear.weight.copy_(weight[e].T)
                linear.bias.copy_(bias[e])
        torch.testing.assert_close(stack(x)[:, e], network(x))
        torch.testing.assert_close(stack(own)[:, e], network(own[e]))


@pytest.mark.parametrize("way", ["dense", "segments"])
def test_errors_name_the_expert(way):
    def layer(*experts):
        return MoE(4, experts, gate="static", top_k=2, dispatch=way)

    x = torch.zeros(6, 4)
    with pytest.raises(
        ValueError, match=r"Expert 1 \(Linear\) got rows of shape \(6, 4\) and returned width 2.*before it 3"
    ):
        layer(nn.Linear(4, 3), nn.Linear(4, 2))(x)
    with pytest.raises(ValueError, match=r"Expert 1 \(Linear\) failed on rows of shape \(6, 4\)"):
        layer(nn.Linear(4, 3), nn.Linear(5, 3))(x)
    with pytest.raises(ValueError, match=r"Expert 0 \(Flatten\) got rows.*returned \(24,\)"):
        layer(nn.Flatten(0), nn.Linear(4, 3))(x)
