"""Everything that can run on a GPU, compared with the CPU and timed.

python benchmarks/gpu.py [--device cuda] [--quick] [--repeats 30] [--rows 20000]

Steps are independent: a failed step prints its traceback, the others run, and the exit code is 1. Takes about ten
minutes.
(a) Layers: outputs and gradients of every dispatch in float32 against the same layer on the CPU; in bfloat16 the
    dispatches against each other.
(b) Neural mixtures and the neural gate, fitted on the device and on the CPU with the same seed: close scores, two fits
    on the device compared, state stored on the CPU.
(c) Sparse layer in bfloat16 with 65,536 rows, d 1024, h 4096, K 8 to 64, k 2: time of forward, and of forward with
    backward, relative to grouped matrix products of the same sizes (target: ≤ 1.5) and to a loop over the experts;
    a profile, and the compiled layer, for K 8.
(d) MixtureRegressor(["ridge", "xgboost", "torch_mlp"], gate="neural") on the device against the CPU.
Without a GPU the script prints a message and ends; `--quick --device cpu` runs the same code with small shapes.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grouped_mm

from metamix import MixtureRegressor, make_regimes
from metamix.devices import available_devices, device_for, resolve_device
from metamix.nn import (
    MLPExperts,
    MMoE,
    MoE,
    MultiTaskNeuralMixture,
    NeuralGate,
    NeuralMixtureClassifier,
    NeuralMixtureRegressor,
)

BOUND = 1e-4  # float32 with another order of summation; TF32 is off
BOUND_HALF = 0.05  # bfloat16 has 8 significant bits, and sums have thousands of terms in another order
K_KEPT = 2

failed: list[str] = []


def step(name: str, function: Callable[..., None], *given: object) -> None:
    """Run one step; an error is printed and recorded in `failed`."""
    began = time.perf_counter()
    try:
        function(*given)
    except Exception:  # libraries may raise anything on an unknown machine
        failed.append(name)
        print(f"FAILED {name}:\n{traceback.format_exc(limit=6)}")
    print(f"    {name}: {time.perf_counter() - began:.1f} s\n", flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def judged(name: str, value: float, bound: float) -> str:
    """Format a value and whether it is within its bound; record a failure if not."""
    if not value <= bound:
        failed.append(name)
    return f"{value:.1e} {'ok' if value <= bound else 'FAILED'} (≤ {bound:.0e})"


# --- (a) layers ----------------------------------------------------------------------


def layers(device: str) -> None:
    """Outputs and gradients of every dispatch against the CPU."""
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    task = MMoE(64, MLPExperts(4, 64, 32, 16), 2, [nn.Linear(16, 1), nn.Linear(16, 1)])
    gap = difference(lambda m, rows: torch.cat(m(rows), 1).square().mean(), task, x, device)
    print(f"(a) {'MMoE':18} largest difference to the CPU {judged('MMoE', gap, BOUND)}")
    for how in ("dense", "segments", "grouped"):  # grouped is guaranteed for bfloat16 only
        for k in (1, 2):
            layer = MoE(64, MLPExperts(8, 64, 128, 64), top_k=k, dispatch=how, losses={})
            nn.init.normal_(layer.gate.map.layers[0].weight)
            name = f"MoE {how} k {k}"
            gap = difference(lambda m, rows: m(rows).square().mean(), layer, x, device)
            print(f"(a) {name:18} largest difference to the CPU {judged(name, gap, BOUND)}", flush=True)


def difference(loss: Callable[[nn.Module, Tensor], Tensor], layer: nn.Module, x: Tensor, device: str) -> float:
    """Largest difference of loss and gradients between CPU and device, relative to the largest number."""
    found = []
    for place in ("cpu", device):
        model = copy.deepcopy(layer).to(place)
        value = loss(model, x.to(place))
        value.backward()
        found.append([value.detach().cpu(), *(p.grad.cpu() for p in model.parameters() if p.grad is not None)])
    return max(distance(a, b) for a, b in zip(*found, strict=True))


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest number."""
    return float((a.double() - b.double()).abs().max() / a.double().abs().max().clamp(min=1e-12))


def halves(device: str) -> None:
    """Dispatches in bfloat16 against each other, with the same gate, so the same rows go to the same experts."""
    torch.manual_seed(0)
    layer = MoE(64, MLPExperts(8, 64, 128, 64), top_k=K_KEPT, losses={}).to(device, torch.bfloat16)
    x = torch.randn(2048, 64, device=device, dtype=torch.bfloat16)
    answers = {}
    for layer.dispatch in ("dense", "segments", "grouped"):
        with torch.no_grad():
            answers[layer.dispatch] = layer(x)
    for how in ("segments", "grouped"):
        gap = judged(f"bfloat16 {how}", distance(answers["dense"], answers[how]), BOUND_HALF)
        print(f"(a) bfloat16 {how:9} largest difference to dense {gap}")


# --- (b) learners --------------------------------------------------------------------


def learners(device: str, epochs: int) -> None:
    """Fit twice on the device and once on the CPU; compare scores and predictions."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 3))
    y = np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1])
    tasks, labels = np.column_stack([y, X[:, 2]]), (y > 0).astype(int)
    settings = {"hidden": 32, "max_epochs": epochs, "random_state": 0}
    for make, target in (
        (lambda place: NeuralMixtureRegressor(2, device=place, **settings), y),
        (lambda place: NeuralMixtureClassifier(2, device=place, **settings), labels),
        (lambda place: MultiTaskNeuralMixture(n_experts=4, device=place, **settings), tasks),
    ):
        one, again, bare = (make(place).fit(X, target) for place in (device, device, "cpu"))
        name = type(one).__name__
        gap = judged(f"{name} scores", abs(one.score(X, target) - bare.score(X, target)), 0.05)
        same = bool(np.array_equal(one.predict(X), again.predict(X)))
        home = all(p.device.type == "cpu" for p in one.network_.parameters())
        if not (home and one.device_ == device):
            failed.append(f"{name} places")
        print(
            f"(b) {name} on {one.device_}: score {one.score(X, target):.3f}, difference to the CPU {gap}, "
            f"same twice {same}, state on the CPU {home}"
        )
    shares = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float)
    gates = [NeuralGate(penalty=0.01, device=place).fit(X, shares).predict_proba(X) for place in ("cpu", device)]
    gap = judged("NeuralGate", float(np.abs(gates[0] - gates[1]).max()), 1e-3)
    print(f"(b) NeuralGate: largest difference to the CPU {gap}")


# --- (c) the sparse layer ------------------------------------------------------------


def milliseconds(device: str, repeats: int, calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median time of each call; calls alternate, so that a change of the clock rate affects all of them."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(-3, repeats):  # three warm-up rounds
        for name, call in calls.items():
            seconds = timed(device, call)
            if repeat >= 0:
                spent[name].append(1000 * seconds)
    return {name: statistics.median(times) for name, times in spent.items()}


def timed(device: str, call: Callable[[], object]) -> float:
    if device == "cpu":
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


class Sparse:
    """One size of the sparse layer, the same computation as a loop over experts, and the matrix products alone."""

    def __init__(self, device: str, K: int, n: int, d: int, h: int) -> None:
        torch.manual_seed(0)
        self.device, self.K = device, K
        self.layer = MoE(d, MLPExperts(K, d, h, d), top_k=K_KEPT, losses={}).to(device, torch.bfloat16)
        self.x = torch.randn(n, d, device=device, dtype=torch.bfloat16, requires_grad=True)
        self.back = torch.randn(n, d, device=device, dtype=torch.bfloat16)
        with torch.no_grad():
            self.routing = self.layer(self.x, return_info=True)[1]
        counts = torch.bincount(self.routing.indices.flatten(), minlength=K).cpu()
        self.counts = counts
        self.ends = counts.cumsum(0).to(device, torch.int32)
        N = int(counts.sum())
        self.rows = torch.randn(N, d, device=device, dtype=torch.bfloat16, requires_grad=True)
        self.bare_back = torch.randn(N, d, device=device, dtype=torch.bfloat16)
        self.flop = 4 * N * d * h

    def ours(self, how: str = "auto") -> Tensor:
        self.layer.dispatch = how
        return self.layer(self.x)

    def bare(self) -> Tensor:
        first, second = self.layer.experts.weights
        return grouped_mm(grouped_mm(self.rows, first, offs=self.ends), second, offs=self.ends)

    def loop(self) -> Tensor:
        """Expert after expert, as most public layers do it; what the gate said is given to it for nothing."""
        (first, second), (b, c) = self.layer.experts.weights, self.layer.experts.biases
        info = self.routing
        shares = info.weights.gather(1, info.indices)
        out = torch.zeros_like(self.x)
        for e in range(self.K):
            at, slot = torch.where(info.indices == e)
            answers = torch.addmm(c[e], torch.addmm(b[e], self.x[at], first[e]).relu(), second[e])
            out = out.index_add(0, at, (shares[at, slot].unsqueeze(1) * answers).to(out.dtype))
        return out


def speed(device: str, K: int, repeats: int, n: int, d: int, h: int) -> None:
    """Time one size, after a look at whether the three agree."""
    case = Sparse(device, K, n, d, h)
    case.layer.eval()
    with torch.no_grad():
        gap = judged(f"K {K} against the loop", distance(case.loop(), case.ours()), BOUND_HALF)
        quiet = milliseconds(
            device, repeats, {"layer": case.ours, "segments": lambda: case.ours("segments"),
                              "grouped": lambda: case.ours("grouped"), "bare": case.bare, "loop": case.loop},
        )  # fmt: skip
    case.layer.train()
    loud = milliseconds(
        device, max(repeats // 3, 1),
        {"layer": lambda: case.ours().backward(case.back), "bare": lambda: case.bare().backward(case.bare_back)},
    )  # fmt: skip
    layer, bare = quiet["layer"], quiet["bare"]
    reached = "reached" if layer / bare <= 1.5 else "missed"
    most = int(case.counts.max()) / float(case.counts.double().mean())
    print(
        f"(c) K {K:2}  layer {layer:8.3f} ms  ÷ bare grouped products {layer / bare:.2f} (≤ 1.5 {reached})  "
        f"loop ÷ layer {quiet['loop'] / layer:.2f}\n"
        f"          ways ÷ bare: grouped {quiet['grouped'] / bare:.2f}, segments {quiet['segments'] / bare:.2f}; "
        f"with backward layer {loud['layer']:.3f} ms ÷ bare {loud['layer'] / loud['bare']:.2f}\n"
        f"          bare {case.flop / bare / 1e9:.1f} TFLOP/s; fullest expert {most:.2f} × the mean; "
        f"difference to the loop {gap}",
        flush=True,
    )


def where_time_goes(device: str, n: int, d: int, h: int) -> None:
    """The dearest kernels of one forward."""
    case = Sparse(device, 8, n, d, h)
    case.layer.eval()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if device != "cpu" else []
    with torch.no_grad():
        case.ours()
        with torch.profiler.profile(activities=kinds) as profile:
            case.ours()
            timed(device, case.ours)
    order = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    print(profile.key_averages().table(sort_by=order, row_limit=14, max_name_column_width=60))


def compiled(device: str, repeats: int, n: int, d: int, h: int) -> None:
    """The same layer through torch.compile."""
    case = Sparse(device, 8, n, d, h)
    fast = torch.compile(case.layer.eval())
    with torch.no_grad():
        times = milliseconds(device, repeats, {"compiled": lambda: fast(case.x), "bare": case.bare})
    print(f"(c) K  8  compiled {times['compiled']:8.3f} ms  ÷ bare {times['compiled'] / times['bare']:.2f}")


# --- (d) the generic mixture ---------------------------------------------------------


def generic(device: str, rows: int) -> None:
    """Experts by name and a neural gate use the device of the mixture; XGBoost is left out if it cannot."""
    X, y = make_regimes(rows + 1000, random_state=0)
    experts: list[str] = ["ridge", "xgboost", "torch_mlp"]
    why = device_for("xgboost", device)[1]
    if why:
        print(f"(d) without XGBoost on {device}: {why}")
        experts.remove("xgboost")
    found = {}
    for place in dict.fromkeys((device, "cpu")):
        began = time.perf_counter()
        mixture = MixtureRegressor(experts, gate="neural", specialize=False, cv=3, device=place, random_state=0)
        mixture.fit(X[:rows], y[:rows])
        seconds = time.perf_counter() - began
        answers = mixture.predict(X[rows:])
        error = float(np.sqrt(np.mean((answers - y[rows:]) ** 2)) / y[rows:].std())
        found[place] = seconds, error
        print(f"(d) {place:7} {seconds:7.1f} s  test error {error:.4f} of std(y)  {mixture.devices_}", flush=True)
        if mixture.devices_["torch_mlp"] != place or len(mixture.failures_):
            failed.append(f"mixture on {place}")
            print(mixture.failures_.to_string())
    (fast, error), (slow, other) = found[device], found["cpu"]
    print(f"(d) CPU ÷ {device}: {slow / fast:.2f}; difference of errors {judged('errors', abs(error - other), 0.03)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the code")
    parser.add_argument("--quick", action="store_true", help="small shapes, few repeats: does it run?")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of (d)")
    asked = parser.parse_args()
    try:
        device = resolve_device(asked.device)
    except ValueError as error:
        print(f"Nothing to time: {error} `--quick --device cpu` runs small shapes through the same code.")
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    machine = platform.machine() if device == "cpu" else torch.cuda.get_device_name(device)
    print(
        f"{machine}; torch {torch.__version__}, CUDA {torch.version.cuda}; there is: {available_devices()}", flush=True
    )
    if device != "cpu":
        torch.cuda.set_device(device)
        free, total = torch.cuda.mem_get_info()
        print(f"compute {torch.cuda.get_device_capability()}, memory {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
    n, d, h, sizes, repeats, rows, epochs = 65_536, 1024, 4096, (8, 16, 32, 64), asked.repeats, asked.rows, 40
    if asked.quick:
        n, d, h, sizes, repeats, rows, epochs = 512, 64, 128, (4, 8), 2, 300, 5
    step("layers", layers, device)
    step("bfloat16", halves, device)
    for K in sizes:
        step(f"speed K {K}", speed, device, K, repeats, n, d, h)
    step("where the time goes", where_time_goes, device, n, d, h)
    step("learners", learners, device, epochs)
    step("generic mixture", generic, device, rows)
    if device != "cpu":  # last: compilation takes minutes and needs a C compiler
        step("compiled", compiled, device, repeats, n, d, h)
    print(f"FAILED: {', '.join(failed)}" if failed else "all checks hold")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
