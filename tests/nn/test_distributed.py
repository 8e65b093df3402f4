"""Layers under DistributedDataParallel: two processes on this machine, each with rows of its own.

Run as a script, this file is one of the two processes.
"""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import distributed, nn  # noqa: E402

from metamix.nn import MoE, update_balance  # noqa: E402

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


CASES = {case.__name__: case for case in (counts_are_summed,)}


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


if __name__ == "__main__":
    name, rank, folder = sys.argv[1:]
    # The processes meet through a file, which needs no free port.
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=int(rank), world_size=2)
    torch.save(CASES[name](int(rank)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()
