"""MoE and MMoE as modules: shapes, gradients, copies, autocast, torch.compile, errors."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import MLPExperts, MMoE, MoE, collect_losses  # noqa: E402

GATES = [
    ("softmax", None),
    ("softmax", 1),
    ("softmax", 2),
    ("noisy_top_k", 2),
    ("dselect_k", 2),
    ("gumbel", None),
    ("gumbel", 2),
    ("static", None),
    ("static", 2),
    ("module", None),
    ("module", 2),
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def different_experts(d=4, o=3):
    """Experts of three different architectures."""
    return [
        nn.Linear(d, o),
        nn.Sequential(nn.Linear(d, 7), nn.Tanh(), nn.Linear(7, o)),
        nn.Sequential(nn.LayerNorm(d), nn.Linear(d, o, bias=False)),
    ]


def enlarge_gate_weights(layer):
    """Draw gate weights large enough for the weights to differ by row."""
    for name, parameter in layer.gate.named_parameters():
        if "bias" not in name and "noise" not in name:
            nn.init.normal_(parameter)


def make_layer(gate="softmax", top_k=None, experts=None, d=4, **more):
    experts = different_experts(d) if experts is None else experts
    if gate == "module":
        gate = nn.Sequential(nn.Linear(d, len(experts)), nn.Softmax(-1))
    layer = MoE(d, experts, gate, top_k, **more)
    enlarge_gate_weights(layer)
    return layer


# --- MoE -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4), (0, 4), (2, 0, 4)])
def test_shapes_are_those_of_linear(shape):
    x = torch.randn(shape)
    y, info = make_layer(top_k=2)(x, return_info=True)
    assert y.shape == nn.Linear(4, 3)(x).shape
    assert info.weights.shape == (*shape[:-1], 3)
    assert info.indices.shape == (*shape[:-1], 2)
    assert [t.shape[0] for t in MMoE(4, different_experts(), 2)(x)] == [y.shape[0]] * 2


@pytest.mark.parametrize("way", ["dense", "segments"])
@pytest.mark.parametrize(("gate", "top_k"), GATES)
def test_in_evaluation_a_row_does_not_depend_on_the_others(gate, top_k, way):
    layer = make_layer(gate, top_k, dispatch=way).double().eval()
    x = torch.randn(9, 4, dtype=torch.float64)
    together = layer(x)
    for i in range(9):
        torch.testing.assert_close(together[i : i + 1], layer(x[i : i + 1]), rtol=1e-12, atol=1e-12)
    assert torch.equal(together, layer(x))


@pytest.mark.parametrize("way", ["dense", "segments"])
@pytest.mark.parametrize(("gate", "top_k"), [g for g in GATES if g[0] != "module"])
def test_gradients_of_every_gate(gate, top_k, way):
    layer = make_layer(gate, top_k, dispatch=way).double()

    def run(x, *_):
        torch.manual_seed(1)  # the same noise each time
        return layer(x)

    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


def test_one_expert_is_that_expert():
    expert = nn.Linear(4, 3)
    x = torch.randn(6, 4)
    for gate in ("softmax", "gumbel", "dselect_k", "static"):
        torch.testing.assert_close(MoE(4, [expert], gate)(x), expert(x))


def test_equal_experts_give_the_output_of_one():
    expert = nn.Linear(4, 3)
    x = torch.randn(6, 4)
    torch.testing.assert_close(make_layer("softmax", 2, [copy.deepcopy(expert) for _ in range(5)])(x), expert(x))


@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_training_separates_two_regimes(top_k):
    x = torch.randn(200, 2)
    y = torch.where(x[:, :1] > 0, 3 * x[:, 1:], -3 * x[:, 1:])
    layer = MoE(2, MLPExperts(4, 2, (), 1), top_k=top_k)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        with collect_losses(layer) as losses:
            loss = (layer(x) - y).square().mean()
        (loss + losses.total()).backward()
        optimiser.step()
    # A single linear expert explains almost none of the variance.
    assert (layer(x) - y).square().mean().item() < 0.15 * y.var().item()


def test_info_is_consistent():
    layer = make_layer("softmax", 2, losses={"balance": 1.0, "z": 0.0})
    x = torch.randn(7, 4)
    with collect_losses(layer) as losses:
        _, info = layer(x, return_info=True)
    assert set(info.losses) == {"balance", "z"}
    assert info.load.sum() == 14
    torch.testing.assert_close(info.importance, info.weights.sum(0))
    assert torch.equal((info.weights > 0).nonzero()[:, 1].view(7, 2), info.indices.sort(1).values)
    p = torch.distributions.Categorical(logits=info.logits)
    torch.testing.assert_close(info.entropy, p.entropy().mean())
    torch.testing.assert_close(losses.total(), info.losses["balance"])


def test_losses_default_to_none_on_soft_gates():
    x = torch.randn(5, 4)
    for gate in ("softmax", "gumbel", "dselect_k", "static"):
        layer = make_layer(gate)
        with collect_losses(layer) as losses:
            layer(x)
        assert losses.total() == 0
    for gate in ("top_k", "noisy_top_k"):
        layer = make_layer(gate)
        with collect_losses(layer) as losses:
            layer(x)
        assert losses.total() > 0


@pytest.mark.parametrize(("gate", "top_k"), GATES)
def test_copies_pickles_and_state_dicts_give_the_same_outputs(gate, top_k):
    layer = make_layer(gate, top_k)
    x = torch.randn(5, 4)
    layer(x).sum().backward()
    expected = layer.eval()(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), expected)
    fresh = make_layer(gate, top_k).eval()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), expected)


@pytest.mark.parametrize("way", ["dense", "segments", "grouped"])
def test_autocast_leaves_the_gate_in_float32(way):
    layer = MoE(16, MLPExperts(4, 16, 32, 8), top_k=2, dispatch=way)
    enlarge_gate_weights(layer)
    x = torch.randn(10, 16)
    exact, plain = layer(x, return_info=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, info = layer(x, return_info=True)
    assert y.dtype == torch.bfloat16
    assert torch.equal(info.logits, plain.logits)
    assert torch.equal(info.weights, plain.weights)
    torch.testing.assert_close(y.float(), exact, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("gate", ["softmax", "noisy_top_k", "dselect_k", "gumbel", "static"])
def test_a_network_in_bfloat16_still_routes_in_float32(gate):
    layer = make_layer(gate, 2).bfloat16()
    y, info = layer(torch.randn(6, 4).bfloat16(), return_info=True)
    assert y.dtype == torch.bfloat16
    assert info.weights.dtype == torch.float32
    y.sum().backward()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, at a graph break
@pytest.mark.parametrize("way", ["auto", "segments"])
def test_compiled_gives_the_same_outputs_and_gradients(way):
    torch.compiler.reset()
    layer = MoE(4, MLPExperts(4, 4, 8, 3), top_k=2, dispatch=way)
    network = nn.Sequential(nn.Linear(4, 4), layer)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=way == "auto")
    for rows in (20, 11):
        x = torch.randn(rows, 4)
        found = []
        for call in (network, compiled):
            with collect_losses(network) as losses:
                y = call(x)
            total = losses.total()
            assert total > 0
            found.append((y, total, torch.autograd.grad(y.sum() + total, network.parameters(), allow_unused=True)))
        (expected, total, wanted), (y, again, got) = found
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(again, total)
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b)


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"expects x of shape \(\.\.\., 4\).*got \(6, 5\)"):
        make_layer()(torch.zeros(6, 5))
    with pytest.raises(ValueError, match=r"top_k=4 with 3 experts"):
        make_layer(top_k=4)
    with pytest.raises(ValueError, match="experts is empty"):
        MoE(4, [])
    with pytest.raises(ValueError, match="Expert 1 is int"):
        MoE(4, [nn.Linear(4, 1), 3])
    with pytest.raises(ValueError, match="in_features=5, the layer 4"):
        MoE(4, MLPExperts(2, 5, 8, 1))
    with pytest.raises(ValueError, match="activation='relo' is unknown"):
        MLPExperts(2, 5, 8, 1, activation="relo")
    with pytest.raises(ValueError, match="hidden=0 is invalid"):
        MLPExperts(2, 5, 0, 1)


# --- MMoE ----------------------------------------------------------------------------


def test_multi_gate_is_one_mixture_per_task():
    layer = MMoE(4, different_experts(), 2, towers=[nn.Linear(3, 1), nn.Linear(3, 2)], top_k=2)
    enlarge_gate_weights(layer)
    x = torch.randn(8, 4)
    answers, infos = layer(x, return_info=True)
    every = torch.stack([expert(x) for expert in layer.experts], 1)
    for y, tower, info in zip(answers, layer.towers, infos, strict=True):
        torch.testing.assert_close(y, tower((info.weights.unsqueeze(-1) * every).sum(1)))


def test_a_shared_gate_is_evaluated_once():
    gate = MoE(4, different_experts(), "noisy_top_k").gate
    layer = MMoE(4, different_experts(), 3, gate=gate, losses={"load": 1.0})
    a, b, c = layer(torch.randn(20, 4))
    assert torch.equal(a, b)
    assert torch.equal(a, c)
    one = MoE(4, different_experts(), "noisy_top_k", losses={"load": 1.0})
    one.gate = gate
    x = torch.randn(20, 4)
    found = []
    for each in (layer, one):
        torch.manual_seed(5)
        with collect_losses(each) as losses:
            each(x)
        found.append(losses.total())
    torch.testing.assert_close(*found)


def test_one_expert_is_the_shared_bottom():
    bottom = nn.Linear(4, 3)
    towers = [nn.Linear(3, 1), nn.Linear(3, 2)]
    x = torch.randn(6, 4)
    for y, tower in zip(MMoE(4, [bottom], 2, towers=towers)(x), towers, strict=True):
        torch.testing.assert_close(y, tower(bottom(x)))


def test_copies_of_multi_task_layers_give_the_same_outputs():
    layer = MMoE(4, different_experts(), 2, top_k=1, visible=[[1, 1, 0], [0, 1, 1]])
    x = torch.randn(5, 4)
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for a, b in zip(other(x), expected, strict=True):
            assert torch.equal(a, b)


def test_invalid_arguments_of_tasks_are_rejected():
    def layer(**more):
        return MMoE(4, different_experts(), 2, **more)

    with pytest.raises(ValueError, match="1 towers, one per task; expected 2"):
        layer(towers=[nn.Linear(3, 1)])
    with pytest.raises(ValueError, match=r"shape \(2, 2\); expected \(2, 3\)"):
        layer(visible=[[1, 1], [1, 1]])
    with pytest.raises(ValueError, match="task 1 has no expert"):
        layer(visible=[[1, 1, 1], [0, 0, 0]])
    with pytest.raises(ValueError, match="expert 2 has no task"):
        layer(visible=[[1, 1, 0], [1, 1, 0]])
    with pytest.raises(ValueError, match="gate of task 1: top_k=2 with 1 experts"):
        layer(visible=[[1, 1, 0], [0, 0, 1]], top_k=2)
    with pytest.raises(ValueError, match="got 2 inputs"):
        layer()([torch.zeros(3, 4), torch.zeros(3, 4)])
