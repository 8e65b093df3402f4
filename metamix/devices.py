"""Where numbers are crunched: "auto", "cpu", "cuda" or "cuda:N", resolved once and refused with a reason."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

__all__ = ["resolve_device", "there_is"]

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
    if isinstance(device, str) and device == "cpu":
        return "cpu"  # without a look at torch, which takes a second to load
    if not isinstance(device, str) or not (device == "auto" or _FORM.fullmatch(device)):
        raise ValueError(f"device={device!r} is unknown; give 'auto', 'cpu', 'cuda' or 'cuda:N' with N from 0.")
    found, why = _gpus()
    if device == "auto":
        return "cuda:0" if found else "cpu"
    number = int(device.partition(":")[2] or 0)
    if number < found:
        return f"cuda:{number}"
    raise ValueError(f"device={device!r} is not there ({why}). There is: {there_is()}. Give one of these, or 'auto'.")


def there_is() -> str:
    """The devices of this machine, in words.

    Examples
    --------
    >>> there_is().split(",")[0]
    'cpu'
    """
    return ", ".join(["cpu", *(f"cuda:{number}" for number in range(_gpus()[0]))])


def _gpus() -> tuple[int, str]:
    """How many GPUs torch can use, and what to say about the others."""
    if find_spec("torch") is None:
        return 0, "torch, which would find it, is not installed: pip install 'metamix[torch]'"
    import torch

    if torch.version.cuda is None:
        return 0, f"torch {torch.__version__} is built without CUDA"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, f"torch {torch.__version__} finds {count} GPUs that it can use"
