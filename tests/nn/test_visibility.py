"""CGC and PLE: task-specific and shared experts."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import MLPExperts, MMoE, owned_and_shared  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def enlarge_gate_weights(layer):
    """Draw gate weights large enough for the weights to differ by row."""
    for name, parameter in layer.gate.named_parameters():
        if "bias" not in name and "noise" not in name:
            nn.init.normal_(parameter)


def copy_weights(source, target):
    target.load_state_dict(source.state_dict())
    return target


def test_cgc_without_owned_experts_is_mmoe():
    visible, reads = owned_and_shared(3, owned=0, shared=4)
    stack = MLPExperts(4, 5, 8, 2)
    plain = MMoE(5, stack, 3)
    enlarge_gate_weights(plain)
    masked = copy_weights(plain, MMoE(5, copy.deepcopy(stack), 3, visible=visible, reads=reads))
    x = torch.randn(7, 5)
    for a, b in zip(plain(x), masked(x), strict=True):
        assert torch.equal(a, b)


def cgc_by_hand(layer, x, t, mine):
    """Mixture of task t over the experts ``mine``, as an explicit sum."""
    weights = layer.gate[t](x).weights
    return sum(weights[:, i : i + 1] * layer.experts[e](x) for i, e in enumerate(mine))


def test_cgc_and_ple_of_one_level():
    visible, reads = owned_and_shared(2, owned=2, shared=1)
    layer = MMoE(4, [nn.Linear(4, 3) for _ in range(5)], 2, visible=visible, reads=reads)
    enlarge_gate_weights(layer)
    x = torch.randn(6, 4)
    one = layer(x)
    for t, mine in enumerate([(0, 1, 4), (2, 3, 4)]):
        torch.testing.assert_close(one[t], cgc_by_hand(layer, x, t, mine))
    # The first level of PLE has the same input on every stream.
    for a, b in zip(one, layer([x, x, x]), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("top_k", "way"), [(None, "dense"), (2, "segments"), (None, "segments")])
def test_ple_of_two_levels(top_k, way, fused):
    below, reads = owned_and_shared(2, owned=1, shared=2, shared_stream=True)
    above, _ = owned_and_shared(2, owned=1, shared=2)

    def experts():
        return MLPExperts(4, 4, (), 4) if fused else [nn.Linear(4, 4) for _ in range(4)]

    first = MMoE(4, experts(), 3, visible=below, reads=reads, top_k=top_k, dispatch=way)
    second = MMoE(4, experts(), 2, visible=above, reads=reads, top_k=top_k, dispatch=way)
    enlarge_gate_weights(first)
    enlarge_gate_weights(second)
    x = torch.randn(6, 4)
    answers = nn.Sequential(first, second)(x)
    with torch.no_grad():
        torch.testing.assert_close(nn.Sequential(first, second)(x), answers)
    streams = first(x)
    assert len(streams) == 3
    for t, mine in enumerate([(0, 2, 3), (1, 2, 3)]):
        weights = second.gate[t](streams[t]).weights
        expected = 0
        for i, e in enumerate(mine):
            stream = streams[reads[e]]
            every = second.experts(stream)[:, e] if fused else second.experts[e](stream)
            expected = expected + weights[:, i : i + 1] * every
        torch.testing.assert_close(answers[t], expected)


@pytest.mark.parametrize("top_k", [None, 1])
@pytest.mark.parametrize("way", ["dense", "segments"])
def test_experts_of_other_tasks_have_no_gradient(way, top_k):
    visible = [[1, 1, 0], [0, 1, 1]]
    layer = MMoE(4, [nn.Linear(4, 3) for _ in range(3)], 2, visible=visible, dispatch=way, top_k=top_k)
    enlarge_gate_weights(layer)
    answers, infos = layer(torch.randn(30, 4), return_info=True)
    answers[0].square().sum().backward()
    size = [0.0 if e.weight.grad is None else e.weight.grad.abs().sum().item() for e in layer.experts]
    assert size[2] == 0
    assert min(size[:2]) > 0
    assert all(p.grad is None or not p.grad.any() for p in layer.gate[1].parameters())
    assert (infos[0].weights[:, 2] == 0).all()
    assert infos[1].load[0] == infos[1].importance[0] == 0
    if top_k:
        assert set(infos[1].indices.flatten().tolist()) <= {1, 2}
