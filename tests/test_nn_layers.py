"""Layers of the torch room: in other people's networks, nested, copied, saved, compiled."""

import copy
import itertools
import pickle

import pytest

torch = pytest.importorskip("torch", reason="the torch room needs torch")

from torch import nn  # noqa: E402

from metamix.nn import MLPExperts, MMoE, MoE, RoutingInfo, auxiliary_loss  # noqa: E402

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


def different(d=4, o=3):
    """Experts of three different makes."""
    return [
        nn.Linear(d, o),
        nn.Sequential(nn.Linear(d, 7), nn.Tanh(), nn.Linear(7, o)),
        nn.Sequential(nn.LayerNorm(d), nn.Linear(d, o, bias=False)),
    ]


def make(gate="softmax", top_k=None, experts=None, d=4, **more):
    experts = different(d) if experts is None else experts
    if gate == "module":
        gate = nn.Sequential(nn.Linear(d, len(experts)), nn.Softmax(-1))
    layer = MoE(d, experts, gate, top_k, **more)
    decide(layer)
    return layer


def decide(layer):
    """Draw gate weights large enough for rows to differ."""
    for name, parameter in layer.gate.named_parameters():
        if "bias" not in name and "noise" not in name:
            nn.init.normal_(parameter)


# --- in a network --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4), (0, 4), (2, 0, 4)])
def test_takes_what_linear_takes(shape):
    x = torch.randn(shape)
    y, info = make(top_k=2)(x, return_info=True)
    assert y.shape == nn.Linear(4, 3)(x).shape
    assert info.weights.shape == (*shape[:-1], 3)
    assert info.indices.shape == (*shape[:-1], 2)
    assert [t.shape[0] for t in MMoE(4, different(), 2)(x)] == [y.shape[0]] * 2


@pytest.mark.parametrize("way", ["dense", "segments"])
@pytest.mark.parametrize(("gate", "top_k"), GATES)
def test_in_evaluation_a_row_has_no_company(gate, top_k, way):
    layer = make(gate, top_k, dispatch=way).double().eval()
    x = torch.randn(9, 4, dtype=torch.float64)
    together = layer(x)
    for i in range(9):
        torch.testing.assert_close(together[i : i + 1], layer(x[i : i + 1]), rtol=1e-12, atol=1e-12)
    assert torch.equal(together, layer(x))


@pytest.mark.parametrize("way", ["dense", "segments"])
@pytest.mark.parametrize(("gate", "top_k"), [g for g in GATES if g[0] != "module"])
def test_gradients_of_every_gate(gate, top_k, way):
    layer = make(gate, top_k, dispatch=way).double()

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


def test_like_experts_answer_as_one_whatever_the_gate():
    expert = nn.Linear(4, 3)
    x = torch.randn(6, 4)
    torch.testing.assert_close(make("softmax", 2, [copy.deepcopy(expert) for _ in range(5)])(x), expert(x))


def test_experts_of_a_stack_are_drawn_apart():
    stack = MLPExperts(4, 3, (8, 5), 2)
    for weight in stack.weights:
        assert all(not torch.equal(weight[a], weight[b]) for a, b in itertools.combinations(range(4), 2))


@pytest.mark.parametrize("rows", [3, 300])
def test_a_stack_is_the_same_networks_one_by_one(rows):
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


@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_learns_which_expert_knows(top_k):
    x = torch.randn(200, 2)
    y = torch.where(x[:, :1] > 0, 3 * x[:, 1:], -3 * x[:, 1:])
    layer = MoE(2, MLPExperts(4, 2, (), 1), top_k=top_k)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        ((layer(x) - y).square().mean() + auxiliary_loss(layer)).backward()
        optimiser.step()
    # A single linear expert explains next to nothing of it.
    assert (layer(x) - y).square().mean().item() < 0.15 * y.var().item()


# --- what it tells -------------------------------------------------------------------


def test_info_is_consistent():
    layer = make("softmax", 2, losses={"balance": 1.0, "z": 0.0})
    x = torch.randn(7, 4)
    _, info = layer(x, return_info=True)
    assert isinstance(info, RoutingInfo)
    assert set(info.losses) == {"balance", "z"}
    assert info.load.sum() == 14
    torch.testing.assert_close(info.importance, info.weights.sum(0))
    assert torch.equal((info.weights > 0).nonzero()[:, 1].view(7, 2), info.indices.sort(1).values)
    p = torch.distributions.Categorical(logits=info.logits)
    torch.testing.assert_close(info.entropy, p.entropy().mean())
    torch.testing.assert_close(layer.auxiliary_loss, info.losses["balance"])


def test_losses_default_to_none_on_soft_gates():
    x = torch.randn(5, 4)
    for gate in ("softmax", "gumbel", "dselect_k", "static"):
        layer = make(gate)
        layer(x)
        assert layer.auxiliary_loss == 0
    for gate in ("top_k", "noisy_top_k"):
        layer = make(gate)
        layer(x)
        assert layer.auxiliary_loss > 0


def nested():
    inner = make("softmax", 1, losses={"z": 1.0})
    return inner, make("softmax", 1, [inner, nn.Linear(4, 3)], losses={"z": 0.5}, dispatch="segments")


def test_losses_sum_over_nested_layers_and_train_the_gates():
    inner, outer = nested()
    network = nn.Sequential(nn.Linear(4, 4), outer)
    network(torch.randn(20, 4))
    total = auxiliary_loss(network)
    torch.testing.assert_close(total, outer.auxiliary_loss + inner.auxiliary_loss)
    total.backward()
    assert inner.gate.map.layers[0].weight.grad.abs().sum() > 0
    assert network[0].weight.grad.abs().sum() > 0


def test_evaluation_leaves_the_training_total():
    layer = make("softmax", 2)
    layer(torch.randn(5, 4))
    before = layer.auxiliary_loss
    layer.eval()(torch.randn(6, 4), return_info=True)
    assert layer.auxiliary_loss == before


def test_an_inner_layer_without_rows_leaves_no_old_loss():
    _, outer = nested()
    outer(torch.randn(50, 4))
    auxiliary_loss(outer).backward()
    with torch.no_grad():
        outer.gate.map.layers[0].bias[0] = -1000.0
    outer(torch.randn(20, 4))
    torch.testing.assert_close(auxiliary_loss(outer), outer.auxiliary_loss)
    auxiliary_loss(outer).backward()  # through the old graph this would fail


def test_network_without_layers_costs_nothing():
    assert auxiliary_loss(nn.Linear(3, 2)) == 0


# --- kept, copied, compiled ----------------------------------------------------------


@pytest.mark.parametrize(("gate", "top_k"), GATES)
def test_survives_copies_and_files(gate, top_k):
    layer = make(gate, top_k)
    x = torch.randn(5, 4)
    layer(x).sum().backward()  # a graph hangs on the auxiliary loss
    expected = layer.eval()(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), expected)
    fresh = make(gate, top_k).eval()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), expected)
    assert any(name.startswith("gate.") for name in layer.state_dict())


@pytest.mark.parametrize("way", ["dense", "segments", "grouped"])
def test_autocast_leaves_the_gate_in_float32(way):
    layer = MoE(16, MLPExperts(4, 16, 32, 8), top_k=2, dispatch=way)
    decide(layer)
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
    layer = make(gate, 2).bfloat16()
    y, info = layer(torch.randn(6, 4).bfloat16(), return_info=True)
    assert y.dtype == torch.bfloat16
    assert info.weights.dtype == torch.float32
    y.sum().backward()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, at a graph break
@pytest.mark.parametrize("way", ["auto", "segments"])
def test_compiled_is_the_same(way):
    torch.compiler.reset()
    layer = MoE(4, MLPExperts(4, 4, 8, 3), top_k=2, dispatch=way)
    network = nn.Sequential(nn.Linear(4, 4), layer)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=way == "auto")
    for rows in (20, 11):
        x = torch.randn(rows, 4)
        expected, total = network(x), auxiliary_loss(network)
        torch.testing.assert_close(compiled(x), expected)
        torch.testing.assert_close(auxiliary_loss(network), total)
        wanted = torch.autograd.grad(expected.sum() + total, network.parameters(), allow_unused=True)
        got = torch.autograd.grad(compiled(x).sum() + auxiliary_loss(network), network.parameters(), allow_unused=True)
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b)


# --- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["dense", "segments"])
def test_experts_that_do_not_fit_are_named(way):
    def layer(*experts):
        return MoE(4, experts, gate="static", top_k=2, dispatch=way)

    x = torch.zeros(6, 4)
    with pytest.raises(ValueError, match=r"Expert 1 \(Linear\) got rows of shape \(6, 4\) and gave width 2.*gave 3"):
        layer(nn.Linear(4, 3), nn.Linear(4, 2))(x)
    with pytest.raises(ValueError, match=r"Expert 1 \(Linear\) could not take rows of shape \(6, 4\)"):
        layer(nn.Linear(4, 3), nn.Linear(5, 3))(x)
    with pytest.raises(ValueError, match=r"Expert 0 \(Flatten\) got rows.*gave \(24,\)"):
        layer(nn.Flatten(0), nn.Linear(4, 3))(x)


def test_bad_input_says_what_would_do():
    with pytest.raises(ValueError, match=r"takes x of shape \(\.\.\., 4\).*got \(6, 5\)"):
        make()(torch.zeros(6, 5))
    with pytest.raises(ValueError, match=r"top_k=4 with 3 experts"):
        make(top_k=4)
    with pytest.raises(ValueError, match="no experts"):
        MoE(4, [])
    with pytest.raises(ValueError, match="Expert 1 is int"):
        MoE(4, [nn.Linear(4, 1), 3])
    with pytest.raises(ValueError, match="take rows of 5 numbers, the layer of 4"):
        MoE(4, MLPExperts(2, 5, 8, 1))
    with pytest.raises(ValueError, match="no activation 'relo'"):
        MLPExperts(2, 5, 8, 1, activation="relo")
    with pytest.raises(ValueError, match="hidden=0 is no width"):
        MLPExperts(2, 5, 0, 1)
