"""Time of layers of `metamix.nn` relative to plain matrix products on the selected rows.

python benchmarks/layers.py [--repeats 15] [--quick]

Processor seconds of one thread, float32. The two sides alternate; each line gives the median ratio and quartiles.
(a) sparse layer with 8192 rows, d 256, h 512, K 8 and 16, k 1 and 2, as MLPExperts and as a list of modules, against
    two products (k·rows, 256) × (256, 512) × (512, 256): forward, forward with backward, and forward when half the
    rows go to one expert;
(b) 64 rows, d 32, h 64, K 8, k 2, against a minimal implementation in torch that evaluates every expert on every row:
    the experts one by one, and for a stack also as batched products.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from metamix.nn import MLPExperts, MoE

FORMS = ("stack", "modules")


def ratios(repeats: int, calls: int, ours: Callable[[], object], bare: Callable[[], object]) -> str:
    """Time two functions alternately; return the median ratio of processor seconds and its quartiles."""
    spent = np.zeros((repeats, 2))
    for repeat in range(-1, repeats):  # the first round is a warm-up
        for i in (0, 1) if repeat % 2 else (1, 0):
            began = time.process_time()
            for _ in range(calls):
                (ours, bare)[i]()
            spent[repeat, i] = time.process_time() - began
    low, middle, high = np.quantile(spent[:, 0] / spent[:, 1], [0.25, 0.5, 0.75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def make(form: str, K: int, k: int, d: int, h: int) -> MoE:
    if form == "stack":
        return MoE(d, MLPExperts(K, d, h, d), top_k=k)
    return MoE(d, [nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, d)) for _ in range(K)], top_k=k)


def skew(layer: MoE, x: Tensor) -> None:
    """Set the bias of the first expert so that it is selected for half of the rows."""
    with torch.no_grad():
        z = layer.gate.map(x)
        rival = z[:, 1:].topk(layer.top_k).values[:, -1]
        layer.gate.map.layers[0].bias[0] += (rival - z[:, 0]).median()


def without_graph(function: Callable[[], object]) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            function()

    return call


def sparse(K: int, k: int, form: str, n: int, repeats: int) -> None:
    d, h = 256, 512
    layer = make(form, K, k, d, h)
    x = torch.randn(n, d, requires_grad=True)
    rows = torch.randn(n * k, d, requires_grad=True)
    first = (torch.randn(d, h) / d**0.5).requires_grad_()
    second = (torch.randn(h, d) / h**0.5).requires_grad_()
    back, bare_back = torch.randn(n, d), torch.randn(n * k, d)

    def bare() -> Tensor:
        return rows @ first @ second

    forward = ratios(repeats, 1, without_graph(lambda: layer(x)), without_graph(bare))
    both = ratios(repeats, 1, lambda: layer(x).backward(back), lambda: bare().backward(bare_back))
    skew(layer, x)
    share = float(layer(x, return_info=True)[1].load[0]) / n
    skewed = ratios(repeats, 1, without_graph(lambda: layer(x)), without_graph(bare))
    print(f"(a) {form:8} K {K:2} k {k}  {forward:18}  {both:18}  {skewed:18}  {share:.2f}", flush=True)


def few_rows(form: str, reference: str, repeats: int) -> None:
    n, d, h, K = 64, 32, 64, 8
    layer = make(form, K, 2, d, h)
    gate, x = layer.gate.map.layers, torch.randn(n, d)

    def batched() -> Tensor:
        (first, second), (b, c) = layer.experts.weights, layer.experts.biases
        hidden = (torch.einsum("nd,kdh->knh", x, first) + b.unsqueeze(1)).relu()
        return (torch.einsum("knh,kho->kno", hidden, second) + c.unsqueeze(1)).transpose(0, 1)

    def one_by_one() -> Tensor:
        if form == "modules":
            return torch.stack([expert(x) for expert in layer.experts], 1)
        (first, second), (b, c) = layer.experts.weights, layer.experts.biases
        answers = [torch.addmm(c[e], torch.addmm(b[e], x, first[e]).relu(), second[e]) for e in range(K)]
        return torch.stack(answers, 1)

    answers = batched if reference == "batched" else one_by_one

    def every() -> Tensor:
        top = gate(x).topk(2)
        weights = torch.zeros(n, K).scatter(1, top.indices, top.values.softmax(1))
        return torch.einsum("nk,nko->no", weights, answers())

    torch.testing.assert_close(every(), layer(x))
    layer.eval()  # the auxiliary loss of training has no counterpart
    forward = ratios(repeats, 100, without_graph(lambda: layer(x)), without_graph(every))
    both = ratios(repeats, 100, lambda: layer(x).sum().backward(), lambda: every().sum().backward())
    print(f"(b) {form:8} {reference:10}  {forward:18}  {both:18}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="few rows and repeats: does it run?")
    asked = parser.parse_args()
    repeats, n = (2, 512) if asked.quick else (asked.repeats, 8192)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}; rows {n}, d 256, h 512; median ratio [quartiles]")
    print("                      forward ≤ 1.25      with backward ≤ 1.40  skewed ≤ 1.35   rows of the first expert")
    for K in (8, 16):
        for k in (1, 2):
            for form in FORMS:
                sparse(K, k, form, n, repeats)
    print("                         forward ≤ 1         with backward ≤ 1")
    for form, reference in (("stack", "one by one"), ("stack", "batched"), ("modules", "one by one")):
        few_rows(form, reference, repeats)


if __name__ == "__main__":
    main()
