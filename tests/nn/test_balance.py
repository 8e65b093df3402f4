"""The bias controller: moved by `update_balance` only, from the rows counted since."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from metamix.nn import MLPExperts, MMoE, MoE, SoftmaxGate, update_balance  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def biased(dispatch="dense", kind="MoE", K=4, d=4):
    """A layer with a bias controller whose next step would route many rows differently."""
    options = {"gate": "top_k", "top_k": 1, "gate_options": {"bias_rate": 0.5}, "losses": {}, "dispatch": dispatch}
    experts = [nn.Linear(d, d) for _ in range(K)]
    layer = MoE(d, experts, **options) if kind == "MoE" else MMoE(d, experts, 2, **options)
    for gate in gates(layer):
        nn.init.normal_(gate.map.layers[0].weight)
    return layer


def gates(layer):
    return [module for module in layer.modules() if isinstance(module, SoftmaxGate)]


def output(layer, x):
    y = layer(x)
    return sum(y) if isinstance(y, list) else y


def gradients(layer, x, call):
    layer, x = copy.deepcopy(layer), x.clone().requires_grad_()
    call(layer, x).square().sum().backward()
    update_balance(layer)
    return [x.grad, *(p.grad for p in layer.parameters())], [gate.bias for gate in gates(layer)]


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("dispatch", ["dense", "segments"])
@pytest.mark.parametrize("kind", ["MoE", "MMoE"])
def test_checkpointing_changes_neither_gradients_nor_biases(kind, dispatch, reentrant):
    layer, x = biased(dispatch, kind).double(), torch.randn(40, 4, dtype=torch.float64)
    plain, biases = gradients(layer, x, output)
    again, checkpointed = gradients(layer, x, lambda layer, x: checkpoint(output, layer, x, use_reentrant=reentrant))
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(biases, checkpointed, strict=True):
        assert torch.equal(a, b)
        assert a.any()


@pytest.mark.parametrize("reentrant", [True, False])
def test_rows_computed_twice_count_once(reentrant):
    layer = biased(K=2)
    with torch.no_grad():
        layer.gate.map.layers[0].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
    few, many = torch.ones(3, 4), -torch.ones(5, 4)  # three rows for expert 0, five for expert 1
    y = checkpoint(layer, few.requires_grad_(), use_reentrant=reentrant).sum() + layer(many).sum()
    y.backward()
    update_balance(layer)  # counted twice, the three rows would be six
    assert layer.gate.bias.tolist() == [0.5, -0.5]
    update_balance(layer)  # no rows since
    assert layer.gate.bias.tolist() == [0.5, -0.5]


def test_forward_leaves_the_routing_as_it_is():
    layer, x = biased(), torch.randn(40, 4)
    first = layer(x)
    assert torch.equal(layer(x), first)
    assert not layer.gate.bias.any()
    update_balance(layer)
    assert layer.gate.bias.any()
    assert not torch.equal(layer(x), first)
    update_balance(layer.eval())
    before = layer.gate.bias.clone()
    layer(x)  # evaluation is not counted
    update_balance(layer)
    assert torch.equal(layer.gate.bias, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_bias_stays_in_float32(dtype):
    layer = biased().to(dtype)
    layer.gate.bias_rate = 1e-3
    assert layer.gate.bias.dtype == torch.float32
    with torch.no_grad():
        layer.gate.bias.fill_(1.0)  # 1 + 0.001 is 1 in bfloat16
    layer(torch.zeros(8, 4, dtype=dtype))  # ties go to the first expert
    update_balance(layer)
    torch.testing.assert_close(layer.gate.bias, torch.tensor([0.999, 1.001, 1.001, 1.001]))
    assert copy.deepcopy(layer).half().gate.bias.dtype == torch.float32


def test_the_load_is_balanced_in_bfloat16():
    layer = biased().bfloat16()
    layer.gate.bias_rate = 0.01
    x = torch.randn(1000, 4).bfloat16()
    with torch.no_grad():
        layer.gate.map.layers[0].bias.copy_(torch.tensor([2.0, 0.0, 0.0, -1.0]))
    assert layer(x, return_info=True)[1].load.max() > 600
    for _ in range(400):
        layer(x)
        update_balance(layer)
    assert layer(x, return_info=True)[1].load.max() < 300


def test_a_network_without_controllers_is_left_alone():
    network = nn.Sequential(nn.Linear(4, 4), MoE(4, MLPExperts(2, 4, 8, 4), top_k=1), nn.BatchNorm1d(4))
    before = copy.deepcopy(network.state_dict())
    update_balance(network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
