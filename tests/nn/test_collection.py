"""collect_losses: what the layers of a network made in this pass, nothing else, with its gradients."""

import copy
import gc
import pickle
import weakref

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from metamix.nn import MLPExperts, MMoE, MoE, collect_losses  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_layer(experts=None, losses=None, **more):
    experts = [nn.Linear(4, 4) for _ in range(3)] if experts is None else experts
    layer = MoE(4, experts, top_k=1, losses={"z": 1.0} if losses is None else losses, **more)
    nn.init.normal_(layer.gate.map.layers[0].weight)
    return layer


def nested():
    """A layer that has another as its first expert."""
    return make_layer([make_layer(), nn.Linear(4, 4)], {"z": 0.5}, dispatch="segments")


def tasks(**more):
    layer = MMoE(4, MLPExperts(3, 4, 8, 4), 2, top_k=1, losses={"z": 1.0, "balance": 0.1}, **more)
    for gate in layer.gate:
        nn.init.normal_(gate.map.layers[0].weight)
    return layer


def z_of(layer, x):
    """The loss z of a layer, from its logits."""
    return torch.logsumexp(layer.gate.map(x), -1).square().mean()


def gradients(network):
    return [None if p.grad is None else p.grad.clone() for p in network.parameters()]


# --- which losses ----------------------------------------------------------------------------------------------------


def test_a_layer_that_is_not_called_contributes_nothing():
    first, second = make_layer(), make_layer()
    network = nn.ModuleList([first, second])
    x = torch.randn(6, 4)
    with collect_losses(network) as losses:
        second(first(x))
    assert len(losses) == 2
    losses.total().backward()  # frees the graph
    with collect_losses(network) as losses:
        y = first(x)
    assert len(losses) == 1
    torch.testing.assert_close(losses.total(), z_of(first, x))
    (y.sum() + losses.total()).backward()
    with collect_losses(network) as losses:
        pass
    assert list(losses) == []
    assert losses.total() == 0


def test_a_layer_called_three_times_contributes_three_losses():
    layer = make_layer()
    inputs = [torch.randn(6, 4) for _ in range(3)]
    with collect_losses(layer) as losses:
        for x in inputs:
            layer(x)
    expected = [z_of(layer, x) for x in inputs]
    assert len(losses) == 3
    for loss, wanted in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(losses.total(), sum(expected))
    torch.testing.assert_close(sum(losses), sum(expected))
    got = torch.autograd.grad(losses.total(), layer.gate.map.layers[0].weight)
    wanted = torch.autograd.grad(sum(expected), layer.gate.map.layers[0].weight)
    torch.testing.assert_close(got, wanted)


def test_nested_layers_contribute_where_they_have_rows():
    outer = nested()
    x = torch.randn(20, 4)
    with collect_losses(outer) as losses:
        outer(x)
    inner = outer.experts[0]
    selected = outer.gate.map(x)[:, 0] > outer.gate.map(x)[:, 1]
    torch.testing.assert_close(losses.total(), 0.5 * z_of(outer, x) + z_of(inner, x[selected]))
    losses.total().backward()
    assert inner.gate.map.layers[0].weight.grad.any()
    with torch.no_grad():
        outer.gate.map.layers[0].bias[0] = -1000.0
    with collect_losses(outer) as losses:
        outer(x)
    assert len(losses) == 1
    losses.total().backward()  # through the old graph this would fail


def test_evaluation_and_calls_outside_contribute_nothing():
    layer = make_layer()
    layer(torch.randn(5, 4))
    with collect_losses(layer) as losses:
        layer.eval()(torch.randn(6, 4), return_info=True)
    layer.train()(torch.randn(5, 4))
    assert len(losses) == 0
    with collect_losses(nn.Linear(3, 2)) as losses:
        pass
    assert losses.total() == 0


def test_contexts_within_each_other_collect_what_is_made_in_each():
    first, second = make_layer(), make_layer()
    x = torch.randn(5, 4)
    with collect_losses(nn.ModuleList([first, second])) as all_of_them:
        first(x)
        with collect_losses(second) as one:
            second(x)
    torch.testing.assert_close(all_of_them.total(), z_of(first, x) + z_of(second, x))
    torch.testing.assert_close(one.total(), z_of(second, x))


def test_an_error_closes_the_context():
    layer = make_layer()
    with pytest.raises(ValueError, match="in_features"), collect_losses(layer) as losses:
        layer(torch.zeros(2, 5))
    layer(torch.zeros(2, 4))
    assert len(losses) == 0


def test_without_gradients_the_losses_have_none():
    layer = make_layer()
    with torch.no_grad(), collect_losses(layer) as losses:
        layer(torch.randn(5, 4))
    assert not losses.total().requires_grad
    assert losses.total() > 0


def test_a_layer_of_several_tasks_contributes_once_per_gate():
    layer = tasks()
    x = torch.randn(9, 4)
    with collect_losses(layer) as losses:
        _, infos = layer(x, return_info=True)
    torch.testing.assert_close(losses.total(), sum(i.losses["z"] + 0.1 * i.losses["balance"] for i in infos))


def test_layers_can_be_copied_and_pickled_within_the_context():
    layer = make_layer()
    with collect_losses(layer) as losses:
        layer(torch.randn(5, 4))
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            other(torch.randn(5, 4))
    assert len(losses) == 1


# --- activation checkpointing ----------------------------------------------------------------------------------------


class Network(nn.Module):
    """Layers in a row, each of them or all in checkpoints; the first is called again on what the last returns."""

    def __init__(self, layers, **how):
        super().__init__()
        self.before, self.layers, self.how = nn.Linear(4, 4), nn.ModuleList(layers), how

    def segment(self, function, x):
        return checkpoint(function, x, use_reentrant=self.how["reentrant"]) if "reentrant" in self.how else function(x)

    def row(self, x):
        y = torch.tanh(sum(self.layers[-1](x)) if isinstance(self.layers[-1], MMoE) else self.layers[-1](x))
        return self.layers[0](torch.tanh(self.layers[0](y)))

    def forward(self, x):
        x = self.before(x)
        if self.how.get("together"):
            return self.segment(self.row, x)
        for layer in self.layers:
            x = self.segment(lambda x, layer=layer: sum(y) if isinstance(y := layer(x), list) else y, x)
        return self.segment(self.layers[0], x)


def losses_and_gradients(network, x, weight=0.3, inside=False):
    network.zero_grad()
    with collect_losses(network) as losses:
        loss = network(x).square().mean()
        if inside:
            (loss + weight * losses.total()).backward()
    if not inside:
        (loss + weight * losses.total()).backward()
    return [loss.detach() for loss in losses], gradients(network)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_neither_losses_nor_gradients(reentrant, together, inside):
    network = Network([make_layer(losses={"z": 1.0, "balance": 0.2}), nested(), tasks()]).double()
    x = torch.randn(30, 4, dtype=torch.float64)
    network.how = {"together": together}
    losses, expected = losses_and_gradients(network, x)
    network.how = {"together": together, "reentrant": reentrant}
    for _ in range(2):
        again, found = losses_and_gradients(network, x, inside=inside)
        torch.testing.assert_close(again, losses, rtol=1e-12, atol=1e-12)
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("dispatch", ["dense", "segments"])
@pytest.mark.parametrize("gate", ["softmax", "top_k", "noisy_top_k", "dselect_k", "gumbel", "dropout"])
def test_noise_of_gates_is_the_same_when_a_pass_is_repeated(gate, dispatch, reentrant):
    options = {"gate_options": {"dropout": 0.3}, "top_k": 1} if gate == "dropout" else {}
    gate = "softmax" if gate == "dropout" else gate
    loss = "entropy" if gate == "dselect_k" else "z"
    layer = MoE(4, [nn.Linear(4, 4) for _ in range(3)], gate, losses={loss: 1.0}, dispatch=dispatch, **options).double()
    x = torch.randn(20, 4, dtype=torch.float64)
    found = []
    for call in (layer, lambda x: checkpoint(layer, x, use_reentrant=reentrant)):
        layer.zero_grad()
        torch.manual_seed(1)
        with collect_losses(layer) as losses:
            y = call(x.clone().requires_grad_())
        (y.square().mean() + losses.total()).backward()
        found.append([y.detach(), *gradients(layer)])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reentrant", [False, True])
def test_calls_in_one_checkpoint_may_have_different_weights(reentrant):
    layer = make_layer().double()
    x = torch.randn(30, 4, dtype=torch.float64)

    def twice(x):
        return layer(layer(x))

    found = []
    for call in (twice, lambda x: checkpoint(twice, x, use_reentrant=reentrant)):
        layer.zero_grad()
        with collect_losses(layer) as losses:
            y = call(x.clone().requires_grad_())
        (y.mean() + 2 * losses[0] - 3 * losses[1]).backward()
        found.append(gradients(layer))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_accumulate_over_passes(reentrant):
    network = Network([make_layer()]).double()
    batches = torch.randn(3, 8, 4, dtype=torch.float64)
    found = []
    for how in ({}, {"reentrant": reentrant}):
        network.how = how
        network.zero_grad()
        kept = []
        for i, x in enumerate(batches):
            with collect_losses(network) as losses:
                kept.append(network(x).mean())
            kept[-1] = kept[-1] + (i + 1) * losses.total()
        for loss in kept:
            loss.backward()
        found.append(gradients(network))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reentrant", [False, True])
def test_losses_that_are_not_used_have_no_gradient(reentrant):
    network = Network([make_layer()]).double()
    x = torch.randn(8, 4, dtype=torch.float64)
    network(x).mean().backward()
    expected = gradients(network)
    network.zero_grad()
    network.how = {"reentrant": reentrant}
    with collect_losses(network):
        y = network(x)
    y.mean().backward()
    torch.testing.assert_close(gradients(network), expected, rtol=1e-10, atol=1e-12)


def test_no_loss_outlives_its_collection():
    layer, x = make_layer(), torch.randn(5, 4, requires_grad=True)
    with collect_losses(layer) as losses:
        layer(x)
        checkpoint(layer, x, use_reentrant=True)
    alive = [weakref.ref(loss) for loss in losses]
    assert len(alive) == 2
    del losses
    gc.collect()
    assert [loss() for loss in alive] == [None, None]
