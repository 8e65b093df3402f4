"""torch.export with a number of rows that varies, the meta device, and initialisation after to_empty."""

import copy

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
    SoftmaxGate,
    StaticGate,
    owned_and_shared,
)

GATES = {
    "softmax": lambda: SoftmaxGate(4, 5),
    "softmax, two": lambda: SoftmaxGate(4, 5, 2, hidden=6, bias_rate=0.1),
    "softmax, one": lambda: SoftmaxGate(4, 5, 1, temperature=0.5),
    "noisy": lambda: NoisyTopKGate(4, 5, 2, hidden=6),
    "dselect": lambda: DSelectKGate(4, 5, 2),
    "dselect, static": lambda: DSelectKGate(4, 5, 2, static=True),
    "gumbel": lambda: GumbelGate(4, 5),
    "gumbel, two": lambda: GumbelGate(4, 5, 2),
    "gumbel, no draws": lambda: GumbelGate(4, 5, draws=0),
    "static": lambda: StaticGate(4, 5),
    "static, two": lambda: StaticGate(4, 5, 2),
}


def stack():
    return MLPExperts(5, 4, 8, 4)


def modules():
    return [nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 4)) for _ in range(5)]


def levels():
    below, reads = owned_and_shared(2, owned=1, shared=3, shared_stream=True)
    above, _ = owned_and_shared(2, owned=1, shared=3)
    return nn.Sequential(
        MMoE(4, modules(), 3, visible=below, reads=reads, top_k=2),
        MMoE(4, stack(), 2, [nn.Linear(4, 1), nn.Linear(4, 2)], above, reads=reads),
    )


LAYERS = {
    **{f"gate {name}": lambda make=make: MoE(4, stack(), gate=make()) for name, make in GATES.items()},
    **{f"tasks, gate {name}": lambda make=make: MMoE(4, modules(), 2, gate=make()) for name, make in GATES.items()},
    **{f"dispatch {way}": lambda way=way: MoE(4, stack(), top_k=2, dispatch=way) for way in ("segments", "grouped")},
    **{f"modules, {way}": lambda way=way: MoE(4, modules(), top_k=1, dispatch=way) for way in ("dense", "segments")},
    "tasks, segments": lambda: MMoE(4, stack(), 2, top_k=2, dispatch="segments"),
    "visible": lambda: MMoE(4, modules(), 2, visible=[[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]),
    "levels": levels,
    "nested": lambda: MoE(4, [MoE(4, stack(), top_k=2), MMoEAsExpert()], top_k=1),
    "custom gate": lambda: MoE(4, stack(), gate=nn.Sequential(nn.Linear(4, 5), nn.Softmax(-1)), top_k=2),
}


class MMoEAsExpert(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = MMoE(4, stack(), 2, top_k=2)

    def forward(self, x):
        return sum(self.layer(x))


def make(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    for key, parameter in layer.named_parameters():
        if "gate" in key and "noise" not in key:
            nn.init.normal_(parameter)
    return layer


def as_list(y):
    return list(y) if isinstance(y, list | tuple) else [y]


def close(a, b, **more):
    torch.testing.assert_close(as_list(a), as_list(b), **more)


STRICT = ("gate softmax, two", "gate gumbel, two", "tasks, segments", "visible", "nested")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strict"), [*((name, False) for name in LAYERS), *((name, True) for name in STRICT)])
def test_an_exported_layer_takes_any_number_of_rows(name, strict):
    layer = make(name).eval()
    shapes = ({0: torch.export.Dim("rows")},)
    exported = torch.export.export(layer, (torch.randn(7, 4),), dynamic_shapes=shapes, strict=strict).module()
    for n in (7, 1, 2, 600, 5000, 0):
        x = torch.randn(n, 4)
        close(exported(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gate softmax, two", "tasks, gate noisy", "modules, segments", "nested"])
def test_exports_with_more_leading_dimensions_and_of_large_examples(name):
    layer = make(name).eval()
    rows, columns = torch.export.Dim("rows"), torch.export.Dim("columns")
    example = torch.randn(30, 200, 4)
    exported = torch.export.export(layer, (example,), dynamic_shapes=({0: rows, 1: columns},)).module()
    for shape in ((3, 5, 4), (1, 1, 4), (2, 1, 4), (1, 900, 4)):
        x = torch.randn(shape)
        close(exported(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gate softmax", "gate softmax, two", "modules, segments", "tasks, segments"])
def test_a_layer_in_training_mode_is_exported_too(name):
    layer = make(name)
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    example = torch.randn(7, 4)
    exported = torch.export.export(layer, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},)).module()
    for n in (1, 5):
        x = torch.randn(n, 4)
        close(exported(x), layer(x), rtol=1e-4, atol=1e-5)


# --- meta device -----------------------------------------------------------------------------------------------------


def reset_each(module):
    """As sharded training does it: every module by itself, parents first."""
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()


def reset_whole(module):
    """Only what the module itself does; for a container that has no such method, each child."""
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
    else:
        for child in module.children():
            reset_whole(child)


def statistics(module):
    """Mean size of each tensor, by which a wrong initialisation shows."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    sizes = {name: tensor.detach().double().abs().sum() / max(tensor.numel(), 1) for name, tensor in tensors.items()}
    return {name: (tensor.shape, tensor.dtype, float(sizes[name])) for name, tensor in tensors.items()}


def check_initialised(make_module, reset):
    torch.manual_seed(0)
    usual = statistics(make_module())
    with torch.device("meta"):
        module = make_module()
    assert all(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.fill_(True if tensor.dtype == torch.bool else 77)
    reset(module)
    found = statistics(module)
    assert set(found) == set(usual)
    for name, (shape, dtype, size) in found.items():
        assert (shape, dtype) == usual[name][:2], name
        # The same distribution: sizes agree within the spread of a few random numbers, zeros and ones exactly.
        expected = usual[name][2]
        assert expected / 5 - 1e-12 <= size <= 5 * expected + 1e-12, (name, size, expected)
    return module


@pytest.mark.parametrize("reset", [reset_each, reset_whole])
@pytest.mark.parametrize("name", GATES)
def test_gates_are_initialised_after_to_empty(name, reset):
    gate = check_initialised(GATES[name], reset)
    assert gate(torch.randn(3, 4)).weights.isfinite().all()
    assert gate.eval()(torch.randn(3, 4)).weights.isfinite().all()


@pytest.mark.parametrize("reset", [reset_each, reset_whole])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_initialised_after_to_empty(name, reset):
    layer = check_initialised(LAYERS[name], reset)
    if name == "visible":
        _, infos = layer(torch.randn(3, 4), return_info=True)
        assert [info.importance.bool().tolist() for info in infos] == [
            [True] * 3 + [False] * 2,
            [False] * 2 + [True] * 3,
        ]
    for y in as_list(layer(torch.randn(3, 4))):
        assert y.isfinite().all()


@pytest.mark.parametrize("name", LAYERS)
def test_layers_run_on_the_meta_device(name):
    layer = make(name)
    with torch.device("meta"):
        built = LAYERS[name]()
    for n in (3, 5000):
        x = torch.empty(n, 4, device="meta")
        shapes = [y.shape for y in as_list(layer(torch.randn(n, 4)))]
        for one in (built, built.eval(), copy.deepcopy(layer).to("meta")):
            assert [y.shape for y in as_list(one(x))] == shapes
        built.train()
