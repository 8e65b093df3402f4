"""Device names: "auto", "cpu", "cuda" or "cuda:N", resolved once; an unavailable device is an error with its reason."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

__all__ = ["available_devices", "check_device", "device_for", "resolve_device"]

_CUDA_NAME = re.compile(r"cuda(:\d+)?")


def resolve_device(device: Any = "auto") -> str:
    """Return the device that torch will use.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"} or "cuda:N"
        "auto" is the first GPU that torch can use, else the CPU; "cuda" is the first GPU.

    Returns
    -------
    str
        "cpu" or "cuda:N".

    Raises
    ------
    ValueError
        If the name is none of these, or a GPU is requested and not available; the message lists available devices.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    check_device(device)
    found, reason = device_for("torch", device)
    if reason and device != "auto":
        raise ValueError(
            f"device={device!r} is not available ({reason}). Available: {available_devices()}. Give one of these, "
            "or 'auto'."
        )
    return found


def check_device(device: Any) -> str:
    """Validate the name of a device without checking whether it is available.

    Raises
    ------
    ValueError
        If the name is invalid.

    Examples
    --------
    >>> check_device("cuda:1")
    'cuda:1'
    """
    if isinstance(device, str) and (device in ("auto", "cpu") or _CUDA_NAME.fullmatch(device)):
        return device
    raise ValueError(f"device={device!r} is unknown; give 'auto', 'cpu', 'cuda' or 'cuda:N' with N from 0.")


def device_for(library: str, device: str) -> tuple[str, str]:
    """Return the device that a library uses if `device` is requested, and the reason if that is the CPU instead.

    Parameters
    ----------
    library : {"torch", "xgboost"}
        Only this library is imported.
    device : str
        A name that `check_device` accepts; "auto" is the first GPU if there is one.

    Returns
    -------
    device : str
        "cpu" or "cuda:N".
    reason : str
        Why it is the CPU although a GPU was requested or allowed; empty otherwise.

    Examples
    --------
    >>> device_for("torch", "cpu")  # does not import torch, which takes a second
    ('cpu', '')
    """
    if device == "cpu":
        return "cpu", ""
    number = int(device.partition(":")[2] or 0)
    if library == "xgboost":
        reason = _xgboost_without_gpu(number)
    else:
        count, explanation = _torch_gpus()
        reason = "" if number < count else explanation
    return ("cpu", reason) if reason else (f"cuda:{number}", "")


def available_devices() -> str:
    """List the devices of this machine that torch can use.

    Examples
    --------
    >>> available_devices().split(",")[0]
    'cpu'
    """
    return ", ".join(["cpu", *(f"cuda:{number}" for number in range(_torch_gpus()[0]))])


@lru_cache(maxsize=1)
def _torch_gpus() -> tuple[int, str]:
    """Number of GPUs that torch can use, and the reason why there are no more."""
    if find_spec("torch") is None:
        return 0, "torch is needed to find GPUs and is not installed: pip install 'metamix[torch]'"
    import torch

    if torch.version.cuda is None:
        return 0, f"torch {torch.__version__} is built without CUDA"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, f"torch {torch.__version__} finds {count} usable GPUs"


@lru_cache(maxsize=16)
def _xgboost_without_gpu(number: int) -> str:
    """Reason why XGBoost does not train on a GPU; empty if it does. Found by fitting a tree to two rows."""
    if find_spec("xgboost") is None:
        return "xgboost is not installed"
    import xgboost

    name = f"xgboost {xgboost.__version__}"
    if not xgboost.build_info().get("USE_CUDA", False):
        return f"{name} is built without CUDA: install the distribution xgboost instead of xgboost-cpu"
    # XGBoost uses the CPU, or another GPU, without a warning; its configuration says which device it used.
    rows = xgboost.DMatrix([[0.0], [1.0]], label=[0.0, 1.0])
    try:
        booster = xgboost.train({"device": f"cuda:{number}", "tree_method": "hist", "verbosity": 0}, rows, 1)
        used = str(json.loads(booster.save_config())["learner"]["generic_param"]["device"])
    except (xgboost.core.XGBoostError, LookupError, ValueError) as error:
        return f"{name} fails on this device: {' '.join(str(error).split())[:200]}"
    as_requested = used == f"cuda:{number}" or (used == "cuda" and number == 0)
    return "" if as_requested else f"{name} used {used} instead"
