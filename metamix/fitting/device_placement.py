"""Placement of experts on devices: which experts use the mixture's device, and moving fitted models to the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metamix.devices import available_devices, check_device, device_for, resolve_device

__all__ = ["Placement", "find_placements", "join_devices", "move_to_cpu", "place_experts"]

#: Parameters that select a device in various libraries. Only the first has the same meaning in all of them, and only
#: that one is set to the mixture's device.
DEVICE_PARAMETERS = ("device", "device_type", "task_type")
#: Method by which an estimator reports its device: takes the requested device, returns the device it would use and
#: the reason if that is not the requested one.
HOOK = "__metamix_device__"


@dataclass(frozen=True)
class Placement:
    """Device of one expert.

    Parameters
    ----------
    devices : tuple of str
        Devices of the estimator and its nested estimators that have a device parameter; empty means the CPU.
    settings : mapping
        Parameters to set on the estimator, by their names in `get_params`.
    refusals : tuple of str
        Reasons why nested estimators cannot use the requested device.
    """

    devices: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """All devices as one string."""
        return join_devices(self.devices)


def join_devices(devices: Iterable[str]) -> str:
    """Join device names, each listed once; "cpu" if there are none.

    Examples
    --------
    >>> join_devices(["cuda:0", "cpu", "cuda:0"]), join_devices([])
    ('cpu, cuda:0', 'cpu')
    """
    return ", ".join(sorted(set(devices))) or "cpu"


def place_experts(parts: Sequence[tuple[str, Any]], device: Any) -> list[Placement]:
    """Place named experts for the device of a mixture, before anything is fitted.

    An expert uses the mixture's device if it has a parameter `device`, at any depth, that is None or "auto"; any
    other value is kept. With "auto", experts that cannot use a GPU stay on the CPU.

    Parameters
    ----------
    parts : sequence of (str, estimator)
    device : {"auto", "cpu", "cuda"} or "cuda:N"

    Returns
    -------
    list of Placement

    Raises
    ------
    ValueError
        If the name is not a device; if a GPU is requested by name and an expert that would use it cannot; or if a
        GPU is requested by name, no expert would use it, and there is none.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> [placement.device for placement in place_experts([("ridge", Ridge())], "auto")]
    ['cpu']
    """
    requested = check_device(device)
    placements, refused = find_placements(parts, requested)
    if not requested.startswith("cuda"):
        return placements
    if refused:
        raise ValueError(
            f"device={requested!r} is not available for {', '.join(refused)}. Available for torch: "
            f"{available_devices()}. Give device='auto', which keeps experts that cannot use a GPU on the CPU, or set "
            "device='cpu' on those experts."
        )
    if not any("cuda" in placement.device for placement in placements) and device_for("xgboost", requested)[1]:
        resolve_device(requested)  # no expert would use the GPU; a missing GPU is an error nevertheless
    return placements


def find_placements(parts: Sequence[tuple[str, Any]], device: str) -> tuple[list[Placement], list[str]]:
    """Place named experts, and list those that cannot use the requested device, with the reason.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> find_placements([("ridge", Ridge())], "cuda")
    ([Placement(devices=(), settings={}, refusals=())], [])
    """
    placements = [_place(part, device) for _, part in parts]
    return placements, [
        f"{name} ({reason})"
        for (name, _), placement in zip(parts, placements, strict=True)
        for reason in dict.fromkeys(placement.refusals)
    ]


def _place(part: Any, requested: str) -> Placement:
    parameters = part.get_params(deep=True) if hasattr(part, "get_params") else {}
    owners: list[str] = []
    devices: list[str] = []
    settings: dict[str, Any] = {}
    refusals: list[str] = []
    for name in sorted(parameters, key=lambda name: name.count("__")):  # an outer estimator decides for inner ones
        owner, _, last = name.rpartition("__")
        value = parameters[name]
        if last not in DEVICE_PARAMETERS or not isinstance(value, str | None):
            continue
        if any(not outer or f"{name}__".startswith(f"{outer}__") for outer in owners if outer != owner):
            continue
        estimator = parameters.get(owner, part) if owner else part
        follows = last == "device" and value in (None, "auto")
        if not follows and value is None:
            continue
        owners.append(owner)
        device, reason = _available_device(estimator, requested if follows else str(value).lower())
        devices.append(device)
        if follows:
            refusals += [reason] if reason else []
            if _must_be_set(estimator, value, device, requested):
                settings[name] = requested if hasattr(estimator, HOOK) and requested != "auto" else device
    return Placement(tuple(devices), settings, tuple(refusals))


def _available_device(estimator: Any, device: str) -> tuple[str, str]:
    """Device that an estimator would use, and the reason if it is not the requested one."""
    if hasattr(estimator, HOOK):
        answer: tuple[str, str] = getattr(estimator, HOOK)(device)
        return answer
    try:
        check_device(device)
    except ValueError:  # "gpu", "opencl": a name of its own library
        return device, ""
    return device_for("xgboost" if _is_xgboost(estimator) else "torch", device)


def _must_be_set(estimator: Any, value: Any, device: str, requested: str) -> bool:
    """Whether the device parameter must be set; False if its current value has the same effect."""
    if value == "auto":
        return requested != "auto"
    return device != "cpu" or (requested == "cpu" and not _is_xgboost(estimator))


def _is_xgboost(estimator: Any) -> bool:
    return any(base.__module__.partition(".")[0] == "xgboost" for base in type(estimator).__mro__)


def move_to_cpu(model: Any) -> Any:
    """Make fitted XGBoost models inside a fitted model predict on the CPU; metamix's torch models do so already.

    Parameters
    ----------
    model : fitted estimator
        Changed in place.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> move_to_cpu(Ridge())
    Ridge()
    """
    seen: dict[int, Any] = {}
    stack = [model]
    while stack:
        current = stack.pop()
        if id(current) in seen or isinstance(current, type):
            continue
        seen[id(current)] = current
        if isinstance(current, list | tuple):
            stack += current
        elif isinstance(current, Mapping):
            stack += current.values()
        elif any(hasattr(current, method) for method in ("get_params", "predict", "predict_proba")):
            if _is_xgboost(current) and hasattr(current, "get_booster"):
                if current.__sklearn_is_fitted__() and current.get_params()["device"] not in (None, "cpu"):
                    current.set_params(device="cpu")  # applies to the booster too
            else:
                stack += getattr(current, "__dict__", {}).values()
    return model
