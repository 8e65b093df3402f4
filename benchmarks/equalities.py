"""Every dispatch of `metamix.nn.MoE` against a loop over rows and experts, on a full grid of sizes.

python benchmarks/equalities.py [--quick]

Compares outputs and all gradients for 0, 1, 2, 7 and 256 rows; K of 1, 2, 3, 8 and 16; k from 1 to K; widths 1, 5, 33
and 64; free routing, all rows on one expert, and one expert without rows; experts as a stack and as modules; dispatch
dense, segments and, in float32 with suitable widths, grouped. Tolerance: 1e-12 in float64 and 1e-5 in float32, relative
to the largest number compared or to 1. The tests use a pairwise sample of this grid. Takes about twenty minutes.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import itertools
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from metamix.nn import MLPExperts, MoE

ROUTES = {"free": 0.0, "one takes all": 80.0, "one is empty": -80.0}
BOUND = {torch.float32: 1e-5, torch.float64: 1e-12}


def make(K: int, k: int, width: int, dtype: torch.dtype, form: str, route: str) -> MoE:
    """Return a layer with the given kind of routing."""
    experts = (
        MLPExperts(K, width, 8, width, activation="tanh")
        if form == "stack"
        else [nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, width)) for _ in range(K)]
    )
    layer = MoE(width, experts, top_k=k, losses={}).to(dtype)
    nn.init.normal_(layer.gate.map.layers[0].weight)
    with torch.no_grad():
        layer.gate.map.layers[0].bias[0] += ROUTES[route]
    return layer


def one_answer(layer: MoE, e: int, row: Tensor) -> Tensor:
    if isinstance(layer.experts, nn.ModuleList):
        return layer.experts[e](row)
    (first, second), (b, c) = layer.experts.weights, layer.experts.biases
    return torch.tanh(row @ first[e] + b[e]) @ second[e] + c[e]


def by_rows(layer: MoE, x: Tensor, k: int) -> Tensor:
    """Loop over rows and over the experts selected for each."""
    linear, answers = layer.gate.map.layers[0], []
    for row in x:
        z = linear.weight @ row + linear.bias
        values = z.tolist()
        chosen = sorted(range(len(z)), key=lambda e: (-values[e], e))[:k]
        weights = z.softmax(0)[chosen] if k == 1 else z[chosen].softmax(0)
        answers.append(sum(weight * one_answer(layer, e, row) for weight, e in zip(weights, chosen, strict=True)))
    return torch.stack(answers) if answers else 0 * x


def everything(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Return the output and its gradients."""
    toward = torch.linspace(-1, 2, max(y.numel(), 1), dtype=y.dtype)[: y.numel()].view(y.shape)
    found = torch.autograd.grad((toward * y).sum(), inputs, allow_unused=True)
    return [y.detach(), *(torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True))]


def difference(got: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference, relative to the largest number compared or to 1."""
    worst = 0.0
    for a, b in zip(got, wanted, strict=True):
        if a.numel():
            worst = max(worst, ((a - b).abs().max() / b.abs().max().clamp(min=1)).item())
    return worst


def grid(quick: bool) -> Iterator[tuple[int, int, int, int, torch.dtype, str, str]]:
    rows, experts, widths = (
        ((0, 7), (1, 3), (1, 64)) if quick else ((0, 1, 2, 7, 256), (1, 2, 3, 8, 16), (1, 5, 33, 64))
    )
    for n, K, width, dtype, form, route in itertools.product(
        rows, experts, widths, (torch.float32, torch.float64), ("stack", "modules"), ROUTES
    ):
        for k in range(1, K + 1):
            if not (route == "one is empty" and k == K):
                yield n, K, k, width, dtype, form, route


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a corner of the grid")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    worst: dict[tuple[str, torch.dtype], float] = {}
    compared, failed = 0, 0
    for n, K, k, width, dtype, form, route in grid(asked.quick):
        layer = make(K, k, width, dtype, form, route)
        x = torch.randn(n, width, dtype=dtype, requires_grad=True)
        inputs = [x, *layer.parameters()]
        wanted = everything(by_rows(layer, x, k), inputs)
        can_group = form == "stack" and layer.experts.can_group(x)
        for way in ("dense", "segments", *(["grouped"] if can_group else [])):
            layer.dispatch = way
            off = difference(everything(layer(x), inputs), wanted)
            worst[way, dtype] = max(worst.get((way, dtype), 0.0), off)
            compared += 1
            if not off <= BOUND[dtype]:
                failed += 1
                print(f"{way}: n {n} K {K} k {k} width {width} {dtype} {form}, {route}: off by {off:.1e}", flush=True)
    for (way, dtype), off in sorted(worst.items(), key=str):
        print(f"{way:9} {str(dtype).removeprefix('torch.')}  largest difference {off:.1e}, bound {BOUND[dtype]:.0e}")
    print(f"{compared} compared, {failed} off")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
