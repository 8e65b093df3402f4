"""Gates by name: errors and losses that are not defined for a gate."""

import re

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import (  # noqa: E402
    DSelectKGate,
    GumbelGate,
    MLPExperts,
    MMoE,
    MoE,
    NoisyTopKGate,
    Routing,
    SoftmaxGate,
    StaticGate,
    collect_losses,
)
from metamix.nn.gates import make_gate, route  # noqa: E402
from metamix.nn.losses import AuxiliaryLosses, z  # noqa: E402


def test_errors_name_the_valid_choices():
    with pytest.raises(ValueError, match=r"'sofmax'.*Did you mean 'softmax'"):
        make_gate("sofmax", 3, 4)
    with pytest.raises(ValueError, match=r"top_k=5 with 4 experts.*from 1 to 4"):
        make_gate("softmax", 3, 4, top_k=5)
    with pytest.raises(ValueError, match="top_k=0"):
        NoisyTopKGate(3, 4, top_k=0)
    with pytest.raises(ValueError, match=r"not accept gate_options=.*; it accepts temperature, raw: .*'hidden'"):
        make_gate("static", 3, 4, options={"hidden": 3})
    with pytest.raises(ValueError, match="set them on the module itself"):
        make_gate(nn.Linear(3, 4), 3, 4, options={"hidden": 3})
    with pytest.raises(ValueError, match="set top_k"):
        SoftmaxGate(3, 4, bias_rate=0.1)
    with pytest.raises(ValueError, match=r"'balanced'.*Did you mean 'balance'"):
        AuxiliaryLosses({"balanced": 1.0})
    with pytest.raises(ValueError, match="weights of shape \\(5, 4\\)"):
        route(nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1)), torch.zeros(5, 3), 4)
    with pytest.raises(ValueError, match="returns weights only"):
        z(Routing(torch.ones(1, 1), torch.ones(1, 1)))


@pytest.mark.parametrize(
    ("gate", "losses", "words"),
    [
        ("softmax", {"balance": 1.0}, "mutual_information"),
        ("softmax", {"load": 1.0}, "noisy_top_k"),
        ("dselect_k", {"z": 1.0}, "'entropy'"),
    ],
)
def test_losses_not_defined_for_a_gate_are_rejected(gate, losses, words):
    with pytest.raises(ValueError, match=words):
        MoE(3, [nn.Linear(3, 1), nn.Linear(3, 1)], gate=gate, losses=losses)


# --- gates given as modules ------------------------------------------------------------------------------------------

OBJECTS = {
    "softmax": SoftmaxGate,
    "noisy_top_k": NoisyTopKGate,
    "dselect_k": DSelectKGate,
    "gumbel": GumbelGate,
    "static": StaticGate,
}


def experts(K=4):
    return [nn.Linear(3, 2) for _ in range(K)]


def losses_of(layer):
    return [m.coefficients for m in layer.modules() if isinstance(m, AuxiliaryLosses)]


@pytest.mark.parametrize("raw", [None, True, False])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("kind", ["softmax", "static"])
def test_top_k_of_the_layer_is_that_of_its_gate(kind, k, raw):
    torch.manual_seed(0)
    soft, sparse = (OBJECTS[kind](3, 4, top_k=top_k, raw=raw) for top_k in (None, k))
    sparse.load_state_dict(soft.state_dict())
    x = torch.randn(9, 3)
    layer = MoE(3, experts(), gate=soft, top_k=k)
    _, info = layer(x, return_info=True)
    _, wanted = MoE(3, layer.experts, gate=sparse)(x, return_info=True)
    torch.testing.assert_close(info.weights, wanted.weights)
    assert torch.equal(info.indices, wanted.indices)
    torch.testing.assert_close(info.logits, wanted.logits)
    torch.testing.assert_close(info.entropy, wanted.entropy)


def test_top_k_of_tasks_and_of_gates_with_noise():
    x = torch.randn(9, 3)
    for layer in (
        MMoE(3, experts(), 2, gate=SoftmaxGate(3, 4), top_k=2),
        MMoE(3, experts(), 2, gate=[SoftmaxGate(3, 4), GumbelGate(3, 4)], top_k=2),
        MoE(3, experts(), gate=GumbelGate(3, 4), top_k=2),
        MoE(3, experts(), gate=GumbelGate(3, 4), top_k=2).eval(),
    ):
        _, infos = layer(x, return_info=True)
        for info in infos if isinstance(infos, list) else [infos]:
            assert ((info.weights > 0).sum(-1) == 2).all()
            assert info.indices.shape == (9, 2)


def test_top_k_that_contradicts_the_gate_is_rejected():
    for gate in (SoftmaxGate(3, 4, top_k=1), NoisyTopKGate(3, 4, 3), DSelectKGate(3, 4), GumbelGate(3, 4, top_k=3)):
        own = gate.top_k
        other = 4 if own != 4 else 2
        with pytest.raises(ValueError, match=f"top_k={other} .* its own top_k={own}"):
            MoE(3, experts(), gate=gate, top_k=other)
        with pytest.raises(ValueError, match=f"gate of task 0.*top_k={other} .* its own top_k={own}"):
            MMoE(3, experts(), 2, gate=gate, top_k=other)
        MoE(3, experts(), gate=gate, top_k=own)
        MoE(3, experts(), gate=gate)
    layer = MoE(3, experts(), top_k=2)
    layer.top_k = 3  # the gate was built with two
    with pytest.raises(ValueError, match=r"top_k=3 .* its own top_k=2"):
        layer(torch.zeros(2, 3))


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("top_k", [None, 2])
def test_losses_are_the_same_for_a_name_and_an_object(name, top_k):
    def gate():
        return OBJECTS[name](3, 4) if top_k is None else OBJECTS[name](3, 4, top_k)

    by_name = MoE(3, experts(), gate=name, top_k=top_k)
    assert losses_of(MoE(3, experts(), gate=gate())) == losses_of(by_name)
    assert losses_of(MoE(3, experts(), gate=gate(), top_k=top_k)) == losses_of(by_name)
    assert losses_of(MMoE(3, experts(), 2, gate=[gate(), gate()])) == 2 * losses_of(by_name)
    for losses in ({"balance": 1.0}, {"load": 1.0}, {"z": 1.0}):
        try:
            MoE(3, experts(), gate=name, top_k=top_k, losses=losses)
        except ValueError as error:
            advice = re.escape(str(error).split(":")[-1])
            with pytest.raises(ValueError, match=advice):
                MoE(3, experts(), gate=gate(), top_k=top_k, losses=losses)
        else:
            MoE(3, experts(), gate=gate(), top_k=top_k, losses=losses)


def test_each_gate_has_its_own_default_losses():
    layer = MMoE(3, experts(), 3, gate=["softmax", "noisy_top_k", "top_k"])
    assert losses_of(layer) == [{}, {"importance": 0.1, "load": 0.1}, {"balance": 0.01}]
    with collect_losses(layer) as losses:
        layer(torch.randn(8, 3))
    assert len(losses) == 2
    weights = nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1))
    assert losses_of(MoE(3, experts(), gate=weights)) == [{}]
    assert losses_of(MoE(3, experts(), gate=weights, top_k=2)) == [{"balance": 0.01}]


class Constant(nn.Module):
    """A gate that returns the same row of numbers for all rows."""

    def __init__(self, row):
        super().__init__()
        self.row = row

    def forward(self, x):
        return torch.tensor(self.row).expand(x.shape[0], -1)


@pytest.mark.parametrize("row", [[1.0, -0.5, 0.5], [0.2, 0.1, 0.1], [2.0, 1.0, 0.0], [0.6, 0.6, -0.2]])
@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_logits_are_not_taken_for_weights(row, top_k):
    for layer in (
        MoE(3, experts(3), gate=Constant(row), top_k=top_k),
        MMoE(3, experts(3), 2, gate=Constant(row), top_k=top_k),
    ):
        with pytest.raises(ValueError, match=r"The gate Constant returned .*sum to one.*Softmax.*Routing"):
            layer(torch.zeros(4, 3))


def test_weights_of_a_gate_may_be_rounded_missing_or_a_routing():
    x = torch.randn(40, 3)
    weights = nn.Sequential(nn.Linear(3, 64), nn.Softmax(-1)).bfloat16()
    assert MoE(3, experts(64), gate=weights).bfloat16()(x.bfloat16()).isfinite().all()
    linear = nn.Linear(3, 3)
    layer = MoE(3, experts(3), gate=nn.Sequential(linear, nn.Softmax(-1)))
    x[5] = torch.nan
    y = layer(x)
    assert y[5].isnan().all()
    assert y[:5].isfinite().all()
    assert layer(x[:0]).shape == (0, 2)

    class Sigmoid(nn.Module):
        def forward(self, x):
            weights = torch.sigmoid(linear(x))
            return Routing(weights, weights)

    MoE(3, experts(3), gate=Sigmoid())(torch.randn(5, 3))


@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("k", [None, 1])
@pytest.mark.parametrize("dispatch", ["dense", "segments"])
def test_experts_that_come_or_go_later_are_rejected(dispatch, k, tasks):
    for n in (2, 1000):
        for change in (lambda e: e.append(nn.Linear(3, 2)), lambda e: e.pop(0)):
            layer = MMoE(3, experts(), 2, top_k=k, dispatch=dispatch) if tasks else MoE(3, experts(), top_k=k)
            change(layer.experts)
            with pytest.raises(ValueError, match=r"built with 4 experts.* now has [35].*build a new layer"):
                layer(torch.zeros(n, 3))
    layer = MoE(3, MLPExperts(4, 3, 8, 2))
    layer.experts = MLPExperts(5, 3, 8, 2)
    with pytest.raises(ValueError, match="now has 5"):
        layer(torch.zeros(2, 3))
