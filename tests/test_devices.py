"""Devices: what is resolved, what is refused and what a refusal says; which parts of a mixture follow."""

import subprocess
import sys

import pytest

from metamix.devices import resolve_device, there_is

torch = pytest.importorskip("torch", reason="torch is what finds a GPU")

WITHOUT_GPU = not torch.cuda.is_available()


def test_cpu_is_resolved_without_loading_torch():
    code = (
        "import sys; from metamix.devices import resolve_device; print(resolve_device('cpu'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]


def test_auto_takes_what_torch_can_use():
    assert resolve_device("auto") == ("cpu" if WITHOUT_GPU else "cuda:0")
    assert resolve_device() == resolve_device("auto")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", None, 0, ["cuda"]])
def test_names_of_no_device(device):
    with pytest.raises(ValueError, match=r"give 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        resolve_device(device)


@pytest.mark.skipif(not WITHOUT_GPU, reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_that_is_absent_says_what_is_there(device):
    with pytest.raises(ValueError, match=rf"'{device}' is not there \(torch {torch.__version__[:4]}.*There is: cpu\."):
        resolve_device(device)
    assert there_is() == "cpu"


@pytest.mark.skipif(WITHOUT_GPU, reason="torch finds no GPU on this machine")
def test_cuda_by_number():
    count = torch.cuda.device_count()
    assert resolve_device("cuda") == "cuda:0"
    assert resolve_device(f"cuda:{count - 1}") == f"cuda:{count - 1}"
    assert there_is().count("cuda") == count
    with pytest.raises(ValueError, match=f"'cuda:{count}' is not there"):
        resolve_device(f"cuda:{count}")
