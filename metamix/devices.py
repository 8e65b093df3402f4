"""Where numbers are crunched: "auto", "cpu", "cuda" or "cuda:N", resolved once and refused with a reason."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

__all__ = ["check_device", "device_for", "resolve_device", "there_is"]

_FORM = re.compile(r"cuda(:\d+)?")


def resolve_device(device: Any = "auto") -> str:
    """The device that work will run on.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"} or "cuda:N"
        "auto" takes the first GPU that torch can use, else the CPU; "cuda" is the first GPU.

    Returns
    -------
    str
        "cpu" or "cuda:N".

    Raises
    ------
    ValueError
        If the name is none of these, or CUDA is asked for and absent; the message says what is there.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    check_device(device)
    found, why = device_for("torch", device)
    if why and device != "auto":
        raise ValueError(
            f"device={device!r} is not there ({why}). There is: {there_is()}. Give one of these, or 'auto'."
        )
    return found


def check_device(device: Any) -> str:
    """The name of a device as it was given, without a look at what is there.

    Raises
    ------
    ValueError
        If it is no such name.

    Examples
    --------
    >>> check_device("cuda:1")
    'cuda:1'
    """
    if isinstance(device, str) and (device in ("auto", "cpu") or _FORM.fullmatch(device)):
        return device
    raise ValueError(f"device={device!r} is unknown; give 'auto', 'cpu', 'cuda' or 'cuda:N' with N from 0.")


def device_for(library: str, device: str) -> tuple[str, str]:
    """What a library gets where a device is asked for, and why not more than that.

    Parameters
    ----------
    library : {"torch", "xgboost"}
        Each is asked in its own way, so that neither is loaded for the other's sake.
    device : str
        As `check_device` lets it pass; "auto" is the first GPU where there is one.

    Returns
    -------
    device : str
        "cpu" or "cuda:N".
    why : str
        Why it is the CPU although a GPU would do; empty otherwise.

    Examples
    --------
    >>> device_for("torch", "cpu")  # without a look at torch, which takes a second to load
    ('cpu', '')
    """
    if device == "cpu":
        return "cpu", ""
    number = int(device.partition(":")[2] or 0)
    if library == "xgboost":
        why = _refusal_of_xgboost(number)
    else:
        found, said = _gpus()
        why = "" if number < found else said
    return ("cpu", why) if why else (f"cuda:{number}", "")


def there_is() -> str:
    """The devices of this machine that torch can use, in words.

    Examples
    --------
    >>> there_is().split(",")[0]
    'cpu'
    """
    return ", ".join(["cpu", *(f"cuda:{number}" for number in range(_gpus()[0]))])


@lru_cache(maxsize=1)
def _gpus() -> tuple[int, str]:
    """How many GPUs torch can use, and what to say about the others."""
    if find_spec("torch") is None:
        return 0, "torch, which would find it, is not installed: pip install 'metamix[torch]'"
    import torch

    if torch.version.cuda is None:
        return 0, f"torch {torch.__version__} is built without CUDA"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, f"torch {torch.__version__} finds {count} GPUs that it can use"


@lru_cache(maxsize=16)
def _refusal_of_xgboost(number: int) -> str:
    """Why XGBoost does not train on a GPU; empty where it does. A tree of two rows is grown to see."""
    if find_spec("xgboost") is None:
        return "xgboost is not installed"
    import xgboost

    name = f"xgboost {xgboost.__version__}"
    if not xgboost.build_info().get("USE_CUDA", False):
        return f"{name} is built without CUDA: the distribution xgboost in place of xgboost-cpu has it"
    # It takes the CPU, or another GPU, without a word: what it did stands in its configuration.
    rows = xgboost.DMatrix([[0.0], [1.0]], label=[0.0, 1.0])
    try:
        booster = xgboost.train({"device": f"cuda:{number}", "tree_method": "hist", "verbosity": 0}, rows, 1)
        took = str(json.loads(booster.save_config())["learner"]["generic_param"]["device"])
    except (xgboost.core.XGBoostError, LookupError, ValueError) as error:
        return f"{name} fails there: {' '.join(str(error).split())[:200]}"
    right = took == f"cuda:{number}" or (took == "cuda" and number == 0)
    return "" if right else f"{name} took {took} instead"
