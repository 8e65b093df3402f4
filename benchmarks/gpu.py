"""The torch room on a GPU: built, checked against the CPU and timed, in one run.

python benchmarks/gpu.py [--repeats 20] [--quick]

(a) Layers: each dispatch in float32 on the GPU against the same layer on the CPU, outputs and gradients. (b) Learners:
`device="cuda"` fits and answers, its state ends on the CPU, one seed gives one answer. (c) Sparse layer in bfloat16,
rows 65,536, d 1024, h 4096, K 8 to 64, k 2: against grouped bare products (to hold: ≤ 1.5) and against a loop over the
experts. Without a GPU it says so, runs the learners on the CPU and ends.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grouped_mm

from metamix.devices import there_is
from metamix.nn import MLPExperts, MMoE, MoE, MultiTaskNeuralMixture, NeuralGate, NeuralMixtureRegressor

BOUND = 1e-4  # float32 with another order of sums; TF32 is off


def layers(device: str) -> None:
    """Outputs and gradients of every dispatch against the CPU."""
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    for how in ("dense", "segments", "grouped"):
        for k in (1, 2):
            layer = MoE(64, MLPExperts(8, 64, 128, 64), top_k=k, dispatch=how, losses={})
            nn.init.normal_(layer.gate.map.layers[0].weight)
            gap = difference(lambda m, rows: m(rows).square().mean(), layer, x, device)
            print(f"(a) MoE {how:9} k {k}   largest difference {gap:.1e}  {'ok' if gap < BOUND else 'FAILED'}")
    task = MMoE(64, MLPExperts(4, 64, 32, 16), 2, [nn.Linear(16, 1), nn.Linear(16, 1)])
    gap = difference(lambda m, rows: torch.cat(m(rows), 1).square().mean(), task, x, device)
    print(f"(a) MMoE              largest difference {gap:.1e}  {'ok' if gap < BOUND else 'FAILED'}")


def difference(loss: Callable[[nn.Module, Tensor], Tensor], layer: nn.Module, x: Tensor, device: str) -> float:
    """Largest difference of loss and gradients between CPU and device, in sizes of the largest number or of 1."""
    found = []
    for place in ("cpu", device):
        model = copy.deepcopy(layer).to(place)
        value = loss(model, x.to(place))
        value.backward()
        found.append([value.detach().cpu(), *(p.grad.cpu() for p in model.parameters() if p.grad is not None)])
    gaps = [float((a - b).abs().max() / max(1.0, float(a.abs().max()))) for a, b in zip(*found, strict=True)]
    return max(gaps)


def learners(device: str) -> None:
    """Fit, answer and repeat on the device."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1])
    settings = {"hidden": 32, "max_epochs": 40, "device": device, "random_state": 0}
    models = [NeuralMixtureRegressor(2, **settings).fit(X, y) for _ in range(2)]
    same = np.array_equal(models[0].predict(X), models[1].predict(X))
    home = all(p.device.type == "cpu" for p in models[0].network_.parameters())
    score, place = models[0].score(X, y), models[0].device_
    print(f"(b) regressor on {place}: R² {score:.3f}, same twice {same}, state on the CPU {home}")
    tasks = MultiTaskNeuralMixture(n_experts=4, **settings).fit(X, np.column_stack([y, X[:, 2]]))
    print(f"(b) several tasks on {tasks.device_}: R² {tasks.score(X, np.column_stack([y, X[:, 2]])):.3f}")
    labels = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float)
    weights = [NeuralGate(penalty=0.01, device=place).fit(X, labels).predict_proba(X) for place in ("cpu", device)]
    print(f"(b) neural gate: largest difference to the CPU {np.abs(weights[0] - weights[1]).max():.1e}")


def milliseconds(repeats: int, call: Callable[[], object]) -> float:
    """Median time of a call on the GPU."""
    spent = []
    for repeat in range(repeats + 3):  # three to warm up
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        if repeat >= 3:
            spent.append(begin.elapsed_time(end))
    return statistics.median(spent)


def speed(device: str, K: int, repeats: int, n: int, d: int, h: int) -> None:
    """One size of the sparse layer."""
    k = 2
    layer = MoE(d, MLPExperts(K, d, h, d), top_k=k, losses={}).to(device, torch.bfloat16)
    x = torch.randn(n, d, device=device, dtype=torch.bfloat16)
    rows = torch.randn(n * k, d, device=device, dtype=torch.bfloat16)
    ends = torch.arange(1, K + 1, device=device, dtype=torch.int32) * (n * k // K)
    first, second = (w.detach() for w in layer.experts.weights)

    def bare() -> Tensor:
        return grouped_mm(grouped_mm(rows, first, offs=ends), second, offs=ends)

    def loop() -> Tensor:
        info = layer(x, return_info=True)[1]
        out = torch.zeros_like(x)
        for e in range(K):
            at, slot = torch.where(info.indices == e)
            hidden = torch.addmm(layer.experts.biases[0][e], x[at], first[e]).relu()
            answers = torch.addmm(layer.experts.biases[1][e], hidden, second[e])
            out.index_add_(0, at, (info.weights.gather(1, info.indices)[at, slot].unsqueeze(1) * answers).to(out.dtype))
        return out

    with torch.no_grad():
        ours, least, slow = (milliseconds(repeats, call) for call in (lambda: layer(x), bare, loop))
    ratios = f"÷ bare grouped products {ours / least:.2f} (≤ 1.5)  loop ÷ layer {slow / ours:.2f}"
    print(f"(c) K {K:2}  layer {ours:8.2f} ms  {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    asked = parser.parse_args()
    found = torch.cuda.is_available()
    print(f"torch {torch.__version__}; there is: {there_is()}; {torch.cuda.get_device_name(0) if found else 'no GPU'}")
    if not found:
        print("No GPU that torch can use: nothing to compare or to time. The same code on the CPU:")
        learners("cpu")
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    layers("cuda:0")
    learners("cuda:0")
    n, d, h = (2048, 128, 256) if asked.quick else (65_536, 1024, 4096)
    for K in (8, 16, 32, 64):
        speed("cuda:0", K, asked.repeats, n, d, h)


if __name__ == "__main__":
    main()
