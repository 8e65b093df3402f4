"""Dense, segments and grouped dispatch against a loop over rows and experts."""

import itertools
import random

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import MLPExperts, MMoE, MoE  # noqa: E402
from metamix.nn.dispatch import Gather, choose_dispatch, work_per_row  # noqa: E402
from metamix.nn.experts import FEW_ROWS  # noqa: E402

ROWS, EXPERTS, WIDTHS = (0, 1, 2, 7, 256), (1, 2, 3, 8, 16), (1, 5, 33, 64)
ROUTES = ("free", "one takes all", "one is empty")
DISPATCHES = ("dense", "segments", "grouped")
KINDS = ("stack", "modules")


def is_possible(case):
    _, K, k, width, dtype, way, kind, route = case
    fits = dtype == "float32" and width % 4 == 0 and kind == "stack"
    return k <= K and (way != "grouped" or fits) and (route != "one is empty" or k < K)


def pairs(case):
    return {(i, case[i], j, case[j]) for i, j in itertools.combinations(range(len(case)), 2)}


def pairwise():
    """A sample of the grid that contains every possible pair of values."""
    grid = itertools.product(ROWS, EXPERTS, range(1, 17), WIDTHS, ("float32", "float64"), DISPATCHES, KINDS, ROUTES)
    possible = [case for case in grid if is_possible(case)]
    random.Random(0).shuffle(possible)
    left = set().union(*map(pairs, possible))
    chosen = []
    while left:
        best = max(random.Random(len(left)).sample(possible, 400), key=lambda case: len(pairs(case) & left))
        best = best if pairs(best) & left else next(case for case in possible if pairs(case) & left)
        left -= pairs(best)
        chosen.append(best)
    return chosen


def make_layer(K, k, width, dtype, way, kind, route):
    torch.manual_seed(K * 100 + k * 10 + width)
    modules = [nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, width)) for _ in range(K)]
    experts = MLPExperts(K, width, 8, width, activation="tanh") if kind == "stack" else modules
    layer = MoE(width, experts, top_k=k, dispatch=way, losses={}).to(getattr(torch, dtype))
    last = layer.gate.map.layers[0]
    nn.init.normal_(last.weight)
    with torch.no_grad():
        last.bias[0] += {"free": 0.0, "one takes all": 80.0, "one is empty": -80.0}[route]
    return layer


def output_of(layer, e, row):
    """Output of one expert for one row."""
    if isinstance(layer.experts, nn.ModuleList):
        return layer.experts[e](row)
    (first, second), (b, c) = layer.experts.weights, layer.experts.biases
    return torch.tanh(row @ first[e] + b[e]) @ second[e] + c[e]


def by_rows(layer, x, k):
    """The layer as a loop over rows and their selected experts."""
    last = layer.gate.map.layers[0]
    answers = []
    for row in x:
        z = last.weight @ row + last.bias
        values = z.tolist()
        chosen = sorted(range(len(z)), key=lambda e: (-values[e], e))[:k]
        weights = z.softmax(0)[chosen] if k == 1 else z[chosen].softmax(0)
        answers.append(sum(weight * output_of(layer, e, row) for weight, e in zip(weights, chosen, strict=True)))
    return torch.stack(answers)


def gradients(y, inputs):
    weights = torch.linspace(-1, 2, max(y.numel(), 1), dtype=y.dtype)[: y.numel()].view(y.shape)
    found = torch.autograd.grad((weights * y).sum(), inputs, allow_unused=True)
    return [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True)]


@pytest.mark.parametrize("case", pairwise(), ids=lambda case: "-".join(map(str, case)))
def test_dispatch_equals_the_loop_over_rows(case):
    n, K, k, width, dtype, way, kind, route = case
    layer = make_layer(K, k, width, dtype, way, kind, route)
    x = torch.randn(n, width, dtype=getattr(torch, dtype), requires_grad=True)
    y = layer(x)
    assert y.shape == (n, width)
    inputs = [x, *layer.parameters()]
    expected = by_rows(layer, x, k) if n else y.detach() + 0 * x.sum()
    bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
    torch.testing.assert_close(y, expected, rtol=bound, atol=bound)
    with torch.no_grad():  # another implementation than with gradients
        torch.testing.assert_close(layer(x), y, rtol=bound, atol=bound)
    for got, wanted in zip(gradients(y, inputs), gradients(expected, inputs), strict=True):
        largest = float(wanted.abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(got, wanted, rtol=bound, atol=bound * max(1.0, largest))


@pytest.mark.parametrize("way", ["dense", "segments"])
def test_first_and_second_derivatives(way):
    torch.manual_seed(0)
    layer = MoE(3, MLPExperts(4, 3, 5, 2, activation="tanh"), top_k=2, dispatch=way).double()
    nn.init.normal_(layer.gate.map.layers[0].weight)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


def test_gather_accumulates_gradients():
    rows = [torch.tensor([0, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([2, 1])]
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    for piece, at in zip(Gather.apply(x, *rows), rows, strict=True):
        assert torch.equal(piece, x[at])
    assert torch.autograd.gradcheck(lambda x: Gather.apply(x, *rows), x)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("form", ["stack", "modules"])
def test_forward_mode_derivatives_equal_reverse_mode(form):
    torch.manual_seed(0)
    experts = MLPExperts(8, 5, 6, 3) if form == "stack" else [nn.Linear(5, 3) for _ in range(8)]
    layer = MoE(5, experts, top_k=2, dispatch="segments").double().eval()
    x, along = torch.randn(2, 40, 5, dtype=torch.float64)
    expected = torch.autograd.functional.jvp(layer, x, along)[1]
    torch.testing.assert_close(torch.func.jvp(layer, (x,), (along,))[1], expected)
    with torch.no_grad():
        torch.testing.assert_close(torch.func.jvp(layer, (x,), (along,))[1], expected)


def test_the_dtype_of_the_experts_outputs_is_kept():
    class Float64Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x.double())

    torch.manual_seed(0)
    layer = MoE(5, [Float64Linear(5, 3, dtype=torch.float64) for _ in range(8)], top_k=2, dispatch="segments").eval()
    x = torch.randn(300, 5)
    with torch.no_grad():
        without = layer(x)
    assert without.dtype == layer(x).dtype == torch.float64
    torch.testing.assert_close(without, layer(x), rtol=1e-14, atol=1e-14)


class Recorder(nn.Module):
    """A linear expert that records the rows it is called with."""

    def __init__(self, d, o):
        super().__init__()
        self.linear, self.calls = nn.Linear(d, o), []

    def forward(self, x):
        self.calls.append(x.detach())
        return self.linear(x)


def test_segments_call_each_expert_once_on_the_union_of_rows():
    torch.manual_seed(1)
    experts = [Recorder(3, 2) for _ in range(4)]
    layer = MMoE(3, experts, 3, top_k=1, dispatch="segments").eval()
    for gate in layer.gate:
        nn.init.normal_(gate.map.layers[0].weight)
    x = torch.randn(50, 3)
    with torch.no_grad():
        again = layer(x)
    for expert in experts:
        expert.calls.clear()
    answers, infos = layer(x, return_info=True)
    torch.testing.assert_close(again, answers)
    for e, expert in enumerate(experts):
        union = torch.stack([info.indices[:, 0] == e for info in infos]).any(0)
        assert len(expert.calls) == bool(union.any())
        if expert.calls:
            assert torch.equal(expert.calls[0], x[union])
    for y, info in zip(answers, infos, strict=True):
        every = torch.stack([expert.linear(x) for expert in experts], 1)
        torch.testing.assert_close(y, (info.weights.unsqueeze(-1) * every).sum(1))


@pytest.mark.parametrize("rows", [7, FEW_ROWS + 1])
@pytest.mark.parametrize("way", ["dense", "segments", "grouped"])
def test_infinite_outputs_of_experts_with_weight_zero_are_ignored(way, rows):
    experts = MLPExperts(3, 4, (), 4)
    with torch.no_grad():
        experts.weights[0][2] = torch.inf
    layer = MoE(4, experts, top_k=2, dispatch=way)
    x = torch.randn(rows, 4)
    with torch.no_grad():
        layer.gate.map.layers[0].bias[2] = -9.0
        infinite = layer(x)
        experts.weights[0][2] = 0.0
        torch.testing.assert_close(infinite, layer(x))


@pytest.mark.parametrize("way", ["dense", "segments"])
def test_a_row_with_nan_does_not_change_the_others(way):
    layer = MoE(4, MLPExperts(3, 4, 8, 2), top_k=2, dispatch=way).eval()
    x = torch.randn(5, 4)
    clean = layer(x)
    x[3, 1] = torch.nan
    with_nan = layer(x)
    assert with_nan[3].isnan().all()
    others = [0, 1, 2, 4]
    torch.testing.assert_close(with_nan[others], clean[others])


def test_auto_chooses_from_shapes():
    large, small = MLPExperts(8, 256, 512, 256), MLPExperts(8, 32, 64, 32)
    for experts, rows, share, way in [
        (large, 8192, 2 / 8, "segments"),
        (large, 8192, 5 / 8, "dense"),
        (large, 8192, 1.0, "dense"),
        (large, 0, 2 / 8, "dense"),
        (small, 64, 2 / 8, "dense"),
        (small, 8192, 2 / 8, "segments"),
    ]:
        x = torch.zeros(rows, experts.in_features)
        assert choose_dispatch(experts, x, share, work_per_row(experts)) == way


def test_segments_with_soft_weights():
    torch.manual_seed(2)
    layer = MoE(4, [nn.Linear(4, 3) for _ in range(5)])
    x = torch.randn(9, 4)
    dense = layer(x)
    layer.dispatch = "segments"
    torch.testing.assert_close(layer(x), dense)


def test_grouped_rejects_what_it_does_not_support():
    layer = MoE(4, [nn.Linear(4, 4)], top_k=1, dispatch="grouped")
    with pytest.raises(ValueError, match="needs MLPExperts"):
        layer(torch.zeros(3, 4))
    odd = MoE(5, MLPExperts(2, 5, (), 5), top_k=1, dispatch="grouped")
    with pytest.raises(ValueError, match="multiples of 16 bytes"):
        odd(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="dispatch='sorted' is unknown"):
        MoE(5, MLPExperts(2, 5, (), 5), dispatch="sorted")


@pytest.mark.parametrize("kind", ["MoE", "MMoE"])
def test_an_expert_without_rows_has_gradient_zero(kind):
    torch.manual_seed(0)
    experts = [nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), nn.Linear(4, 3)]
    with torch.no_grad():
        experts[2].weight.fill_(torch.nan)  # zero times a parameter would be NaN
    options = {"top_k": 1, "dispatch": "segments", "losses": {}}
    layer = MoE(4, experts, **options) if kind == "MoE" else MMoE(4, experts, 2, **options)
    for gate in [layer.gate] if kind == "MoE" else layer.gate:
        with torch.no_grad():
            gate.map.layers[0].bias[0] = 100.0
    y = layer(torch.randn(6, 4))
    y = y if kind == "MoE" else sum(y)
    assert y.isfinite().all()
    y.sum().backward()
    for expert in experts[1:]:
        for parameter in expert.parameters():
            assert torch.equal(parameter.grad, torch.zeros_like(parameter))
    assert experts[0].weight.grad.any()
