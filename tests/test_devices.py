"""Device names: what is available, which names are invalid, and the reasons given in errors."""

import json
import subprocess
import sys

import numpy as np
import pytest

from metamix.devices import available_devices, device_for, resolve_device

torch = pytest.importorskip("torch")

WITHOUT_GPU = not torch.cuda.is_available()


def test_cpu_is_resolved_without_importing_torch():
    code = (
        "import sys; from metamix.devices import resolve_device; print(resolve_device('cpu'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]


def test_auto_is_the_first_gpu_that_torch_can_use():
    assert resolve_device("auto") == ("cpu" if WITHOUT_GPU else "cuda:0")
    assert resolve_device() == resolve_device("auto")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", None, 0, ["cuda"]])
def test_invalid_names_are_errors(device):
    with pytest.raises(ValueError, match=r"give 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        resolve_device(device)


@pytest.mark.skipif(not WITHOUT_GPU, reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_a_missing_gpu_is_an_error_that_lists_available_devices(device):
    message = rf"'{device}' is not available \(torch {torch.__version__[:4]}.*Available: cpu\."
    with pytest.raises(ValueError, match=message):
        resolve_device(device)
    assert available_devices() == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(WITHOUT_GPU, reason="torch finds no GPU on this machine")
def test_cuda_by_number():
    count = torch.cuda.device_count()
    assert resolve_device("cuda") == "cuda:0"
    assert resolve_device(f"cuda:{count - 1}") == f"cuda:{count - 1}"
    assert available_devices().count("cuda") == count
    with pytest.raises(ValueError, match=f"'cuda:{count}' is not available"):
        resolve_device(f"cuda:{count}")


def test_the_device_found_for_xgboost_is_the_one_that_a_fit_uses():
    xgboost = pytest.importorskip("xgboost")
    X = np.arange(20.0)[:, None]
    model = xgboost.XGBRegressor(n_estimators=1, device="cuda:0", verbosity=0).fit(X, X[:, 0])
    used = json.loads(model.get_booster().save_config())["learner"]["generic_param"]["device"]
    assert device_for("xgboost", "cuda:0")[0] == used
    assert device_for("xgboost", "cuda:0") == device_for("xgboost", "cuda") == device_for("xgboost", "auto")
