"""MLPExperts against single networks, and errors that name an expert."""

import copy
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


class Images(nn.Module):
    """An expert that normalises four pixels of each row."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        return self.norm(x.view(-1, 1, 2, 2)).flatten(1)


def with_norm(statistics=True):
    norm = nn.BatchNorm1d(4, track_running_stats=statistics)
    if statistics:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return nn.Sequential(nn.Linear(4, 4), norm)


@pytest.mark.parametrize("way", ["dense", "segments"])
def test_one_row_is_normalised_by_running_statistics(way):
    layer = MoE(4, [with_norm(), with_norm()], dispatch=way)
    before = copy.deepcopy(layer)
    x = torch.randn(1, 4)
    y, info = layer(x, return_info=True)
    expected = [expert.eval()(x) for expert in before.experts]
    torch.testing.assert_close(y, sum(w * e for w, e in zip(info.weights[0], expected, strict=True)))
    y.sum().backward()
    assert layer.experts[0][0].weight.grad.any()
    assert all(module.training for module in layer.modules())
    for name, value in layer.experts.named_buffers():
        assert torch.equal(value, before.experts.get_buffer(name))
    layer(torch.zeros(0, 4))  # a batch without rows changes no statistics either
    for name, value in layer.experts.named_buffers():
        assert torch.equal(value, before.experts.get_buffer(name))


@pytest.mark.parametrize("way", ["dense", "segments"])
def test_an_expert_with_one_of_many_rows_trains(way):
    layer = MoE(4, [with_norm(), with_norm()], top_k=1, dispatch=way)
    with torch.no_grad():
        layer.gate.map.layers[0].weight.copy_(torch.tensor([[9.0, 0, 0, 0], [-9.0, 0, 0, 0]]))
    x = torch.randn(6, 4)
    x[:, 0] = torch.tensor([1.0, 1, 1, -1, 1, 1])
    norm, alone = layer.experts[0][1], copy.deepcopy(layer.experts[0])
    layer(x).sum().backward()
    rows = x if way == "dense" else x[x[:, 0] > 0]
    alone(rows)
    torch.testing.assert_close(norm.running_mean, alone[1].running_mean)  # of a batch, as torch does it
    assert layer.experts[1][0].weight.grad.isfinite().all()


def test_one_row_with_several_values_per_channel_is_normalised_by_them():
    expert = Images()
    x = torch.randn(1, 4)
    y = MoE(4, [expert, Images()], top_k=1, dispatch="segments", gate_options={"raw": False})(x)
    torch.testing.assert_close(y, (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt())


def test_one_row_without_running_statistics_is_rejected_as_by_torch():
    layer = MoE(4, [with_norm(False), with_norm(False)])
    with pytest.raises(ValueError, match=r"Expert 0 .* more than 1 value per channel"):
        layer(torch.zeros(1, 4))
