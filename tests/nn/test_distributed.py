"""Layers under DistributedDataParallel: two processes on this machine, each with rows of its own.

Run as a script, this file is one of the two processes.
"""

import copy
import itertools
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import distributed, nn  # noqa: E402

from metamix.nn import MLPExperts, MMoE, MoE, update_balance  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="this torch is built without gloo"
)


def opposite_experts(**more):
    """A layer whose gate sends rows of ones to the first expert and rows of minus ones to the second."""
    torch.manual_seed(0)
    layer = MoE(4, [nn.Linear(4, 4), nn.Linear(4, 4)], "top_k", 1, losses={}, **more)
    with torch.no_grad():
        layer.gate.map.layers[0].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
    return layer


def rows_of(rank):
    """Three rows for the first expert on rank 0, five for the second on rank 1."""
    return torch.ones(3, 4) if rank == 0 else -torch.ones(5, 4)


def counts_are_summed(rank):
    network = nn.parallel.DistributedDataParallel(opposite_experts(gate_options={"bias_rate": 0.5}))
    network(rows_of(rank)).sum().backward()
    update_balance(network)
    return [network.module.gate.bias]


def rows_on_one_rank(rank):
    """Three rows on rank 0, none on rank 1."""
    return torch.ones(3 * (1 - rank), 4)


def point_gates(layer):
    """Set the gates as in `opposite_experts`, for two experts."""
    for name, weight in layer.named_parameters():
        if name.endswith("map.layers.0.weight"):
            nn.init.zeros_(weight)
            with torch.no_grad():
                weight[:2, 0] = torch.tensor([1.0, -1.0])
    return layer


def layers():
    """Layers whose second expert has no rows on rank 0, and whose first has none on rank 1."""
    torch.manual_seed(0)
    options = {"top_k": 1, "losses": {}, "dispatch": "segments"}

    def experts():
        return [nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))]

    nested = MoE(4, [MoE(4, experts(), **options), MoE(4, experts(), **options)], **options)
    return {
        "list": point_gates(MoE(4, experts(), **options)),
        "tasks": point_gates(MMoE(4, experts(), 2, **options)),
        "stack": point_gates(MoE(4, MLPExperts(2, 4, 8, 4), **options)),
        "stack of tasks": point_gates(MMoE(4, MLPExperts(2, 4, 8, 4), 2, **options)),
        "grouped": point_gates(MoE(4, MLPExperts(2, 4, 8, 4), **(options | {"dispatch": "grouped"}))),
        "nested": point_gates(nested),
        "frozen": point_gates(MoE(4, [nn.Linear(4, 4), nn.Linear(4, 4).requires_grad_(False)], **options)),
    }


def squares(layer, x):
    y = layer(x)
    return (torch.stack(y) if isinstance(y, list) else y).square().sum()


def gradients_are_averaged(rank):
    """Pairs of gradients: after two steps of DistributedDataParallel, and the mean over the rows of each rank."""
    pairs = []
    for layer, rows in itertools.product(layers().values(), (rows_of, rows_on_one_rank)):
        layer = copy.deepcopy(layer)
        alone = [copy.deepcopy(layer) for _ in (0, 1)]
        network = nn.parallel.DistributedDataParallel(layer)
        for _ in range(2):  # the second step fails where the first has left a gradient out
            network.zero_grad()
            squares(network, rows(rank)).backward()
        for other, one in enumerate(alone):
            squares(one, rows(other)).backward()
        for got, *both in zip(layer.parameters(), *(one.parameters() for one in alone), strict=True):
            if got.requires_grad:
                pairs.append((got.grad, sum(p.grad for p in both) / 2))
    return pairs


CASES = {case.__name__: case for case in (counts_are_summed, gradients_are_averaged)}


def on_two_ranks(case, folder):
    """What a case returns on rank 0 and on rank 1."""
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    environment = (
        os.environ | loopback | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    )
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, case.__name__, str(rank), str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        for process in processes:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_the_bias_moves_by_the_rows_of_all_ranks(tmp_path):
    for (bias,) in on_two_ranks(counts_are_summed, tmp_path):
        assert bias.tolist() == [0.5, -0.5]  # by its own three rows, rank 0 would have moved the other way


def test_experts_without_rows_on_a_rank_have_gradient_zero_there(tmp_path):
    first, second = on_two_ranks(gradients_are_averaged, tmp_path)
    assert len(first) == len(second) > 80
    for (got, expected), (elsewhere, _) in zip(first, second, strict=True):
        torch.testing.assert_close(got, expected)
        assert torch.equal(got, elsewhere)
    assert sum(bool(got.any()) for got, _ in first) > 60


if __name__ == "__main__":
    name, rank, folder = sys.argv[1:]
    # The processes meet through a file, which needs no free port.
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=int(rank), world_size=2)
    torch.save(CASES[name](int(rank)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()
