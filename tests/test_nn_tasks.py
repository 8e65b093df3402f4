"""Several tasks in the torch room: one gate per task, owned and shared experts, levels."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch", reason="the torch room needs torch")

from torch import nn  # noqa: E402

from metamix.nn import MLPExperts, MMoE, MoE, owned_and_shared  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def different(d=4, o=3):
    """Experts of three different makes."""
    return [
        nn.Linear(d, o),
        nn.Sequential(nn.Linear(d, 7), nn.Tanh(), nn.Linear(7, o)),
        nn.Sequential(nn.LayerNorm(d), nn.Linear(d, o, bias=False)),
    ]


def decide(layer):
    """Draw gate weights large enough for rows to differ."""
    for name, parameter in layer.gate.named_parameters():
        if "bias" not in name and "noise" not in name:
            nn.init.normal_(parameter)


def copy_weights(source, target):
    target.load_state_dict(source.state_dict())
    return target


def test_multi_gate_is_one_mixture_per_task():
    layer = MMoE(4, different(), 2, towers=[nn.Linear(3, 1), nn.Linear(3, 2)], top_k=2)
    decide(layer)
    x = torch.randn(8, 4)
    answers, infos = layer(x, return_info=True)
    every = torch.stack([expert(x) for expert in layer.experts], 1)
    for y, tower, info in zip(answers, layer.towers, infos, strict=True):
        torch.testing.assert_close(y, tower((info.weights.unsqueeze(-1) * every).sum(1)))


def test_cgc_without_owned_experts_is_mmoe():
    visible, reads = owned_and_shared(3, owned=0, shared=4)
    stack = MLPExperts(4, 5, 8, 2)
    plain = MMoE(5, stack, 3)
    decide(plain)
    masked = copy_weights(plain, MMoE(5, copy.deepcopy(stack), 3, visible=visible, reads=reads))
    x = torch.randn(7, 5)
    for a, b in zip(plain(x), masked(x), strict=True):
        assert torch.equal(a, b)


def cgc_by_hand(layer, x, t, mine):
    """Task t's mixture over its own and the shared experts, in the plainest words."""
    weights = layer.gate[t](x).weights
    return sum(weights[:, i : i + 1] * layer.experts[e](x) for i, e in enumerate(mine))


def test_cgc_and_ple_of_one_level():
    visible, reads = owned_and_shared(2, owned=2, shared=1)
    layer = MMoE(4, [nn.Linear(4, 3) for _ in range(5)], 2, visible=visible, reads=reads)
    decide(layer)
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
    decide(first)
    decide(second)
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
def test_the_mask_lets_no_gradient_cross(way, top_k):
    visible = [[1, 1, 0], [0, 1, 1]]
    layer = MMoE(4, [nn.Linear(4, 3) for _ in range(3)], 2, visible=visible, dispatch=way, top_k=top_k)
    decide(layer)
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


def test_one_gate_for_all_tasks_decides_once():
    gate = MoE(4, different(), "noisy_top_k").gate
    layer = MMoE(4, different(), 3, gate=gate, losses={"load": 1.0})
    a, b, c = layer(torch.randn(20, 4))
    assert torch.equal(a, b)
    assert torch.equal(a, c)
    one = MoE(4, different(), "noisy_top_k", losses={"load": 1.0})
    one.gate = gate
    x = torch.randn(20, 4)
    torch.manual_seed(5)
    layer(x)
    torch.manual_seed(5)
    one(x)
    torch.testing.assert_close(layer.auxiliary_loss, one.auxiliary_loss)


def test_one_expert_is_the_shared_bottom():
    bottom = nn.Linear(4, 3)
    towers = [nn.Linear(3, 1), nn.Linear(3, 2)]
    x = torch.randn(6, 4)
    for y, tower in zip(MMoE(4, [bottom], 2, towers=towers)(x), towers, strict=True):
        torch.testing.assert_close(y, tower(bottom(x)))


def test_multi_task_survives_copies():
    layer = MMoE(4, different(), 2, top_k=1, visible=[[1, 1, 0], [0, 1, 1]])
    x = torch.randn(5, 4)
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for a, b in zip(other(x), expected, strict=True):
            assert torch.equal(a, b)


def test_bad_tasks_say_what_would_do():
    def layer(**more):
        return MMoE(4, different(), 2, **more)

    with pytest.raises(ValueError, match="1 towers, one per task; 2 are needed"):
        layer(towers=[nn.Linear(3, 1)])
    with pytest.raises(ValueError, match=r"shape \(2, 2\); \(2, 3\) would do"):
        layer(visible=[[1, 1], [1, 1]])
    with pytest.raises(ValueError, match="task 1 sees no expert"):
        layer(visible=[[1, 1, 1], [0, 0, 0]])
    with pytest.raises(ValueError, match="expert 2 is seen by no task"):
        layer(visible=[[1, 1, 0], [1, 1, 0]])
    with pytest.raises(ValueError, match="gate of task 1: top_k=2 with 1 experts"):
        layer(visible=[[1, 1, 0], [0, 0, 1]], top_k=2)
    with pytest.raises(ValueError, match="got 2 inputs"):
        layer()([torch.zeros(3, 4), torch.zeros(3, 4)])
