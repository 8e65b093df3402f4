"""Where experts run: who follows the mixture's device, who cannot, and the way back to the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metamix.devices import check_device, device_for, resolve_device, there_is

__all__ = ["Placement", "find_placements", "join_devices", "move_to_cpu", "place_experts"]

#: Parameters by which libraries are told where to run. The first alone has one meaning in all of them, and follows.
DEVICE_PARAMETERS = ("device", "device_type", "task_type")
#: What an estimator may have to say for itself: from the device asked for to what it would get, and why not more.
HOOK = "__metamix_device__"


@dataclass(frozen=True)
class Placement:
    """Where one part runs.

    Parameters
    ----------
    devices : tuple of str
        Of those of its parts that have one; none has: it runs on the CPU.
    settings : mapping
        Parameters to set on it, by their names in `get_params`.
    refusals : tuple of str
        Why parts that would follow cannot.
    """

    devices: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """In words."""
        return join_devices(self.devices)


def join_devices(devices: Iterable[str]) -> str:
    """Several devices in words, each once; none is the CPU.

    Examples
    --------
    >>> join_devices(["cuda:0", "cpu", "cuda:0"]), join_devices([])
    ('cpu, cuda:0', 'cpu')
    """
    return ", ".join(sorted(set(devices))) or "cpu"


def place_experts(parts: Sequence[tuple[str, Any]], device: Any) -> list[Placement]:
    """Where named parts run when a mixture is asked for a device; looked at before anything is fitted.

    A part follows where it has a parameter `device`, at any depth, that is None or "auto"; any other value is its
    owner's wish and stays. "auto" leaves on the CPU what cannot have a GPU.

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
        If the name is no device; or if a GPU is asked for by name and one of the parts that would follow cannot have
        it, or, where none would, there is none.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> [place.device for place in place_experts([("ridge", Ridge())], "auto")]
    ['cpu']
    """
    asked = check_device(device)
    places, refused = find_placements(parts, asked)
    if not asked.startswith("cuda"):
        return places
    if refused:
        raise ValueError(
            f"device={asked!r} is not there for {', '.join(refused)}. For torch there is: {there_is()}. Give "
            "device='auto', which leaves on the CPU what cannot have a GPU, or set device='cpu' on those that shall "
            "stay there."
        )
    if not any("cuda" in place.device for place in places) and device_for("xgboost", asked)[1]:
        resolve_device(asked)  # nobody would follow; a GPU that is not there is refused all the same
    return places


def find_placements(parts: Sequence[tuple[str, Any]], device: str) -> tuple[list[Placement], list[str]]:
    """Where named parts would run, and which of those that would follow cannot, with the reason.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> find_placements([("ridge", Ridge())], "cuda")
    ([Placement(devices=(), settings={}, refusals=())], [])
    """
    places = [_place(part, device) for _, part in parts]
    told = zip(parts, places, strict=True)
    return places, [f"{name} ({why})" for (name, _), place in told for why in dict.fromkeys(place.refusals)]


def _place(part: Any, asked: str) -> Placement:
    parameters = part.get_params(deep=True) if hasattr(part, "get_params") else {}
    owners: list[str] = []
    devices: list[str] = []
    settings: dict[str, Any] = {}
    refusals: list[str] = []
    for name in sorted(parameters, key=lambda name: name.count("__")):  # whoever is outside speaks for its inside
        inside, _, last = name.rpartition("__")
        value = parameters[name]
        if last not in DEVICE_PARAMETERS or not isinstance(value, str | None):
            continue
        if any(not owner or f"{name}__".startswith(f"{owner}__") for owner in owners if owner != inside):
            continue
        one = parameters.get(inside, part) if inside else part
        follows = last == "device" and value in (None, "auto")
        if not follows and value is None:
            continue
        owners.append(inside)
        got, why = _asked(one, asked if follows else str(value).lower())
        devices.append(got)
        if follows:
            refusals += [why] if why else []
            if _is_to_be_told(one, value, got, asked):
                settings[name] = asked if hasattr(one, HOOK) and asked != "auto" else got
    return Placement(tuple(devices), settings, tuple(refusals))


def _asked(one: Any, device: str) -> tuple[str, str]:
    """What one part would get, and why not more; asked itself, or the library behind it."""
    if hasattr(one, HOOK):
        told: tuple[str, str] = getattr(one, HOOK)(device)
        return told
    try:
        check_device(device)
    except ValueError:  # "gpu", "opencl": its library's own word
        return device, ""
    return device_for("xgboost" if _is_xgboost(one) else "torch", device)


def _is_to_be_told(one: Any, value: Any, got: str, asked: str) -> bool:
    """Whether its parameter must be set: not where it would come to the same by itself."""
    if value == "auto":
        return asked != "auto"
    return got != "cpu" or (asked == "cpu" and not _is_xgboost(one))


def _is_xgboost(one: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "xgboost" for kind in type(one).__mro__)


def move_to_cpu(model: Any) -> Any:
    """Let fitted XGBoost models inside a fitted model answer on the CPU; torch parts of this house do so anyway.

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
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen[id(one)] = one
        if isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif any(hasattr(one, method) for method in ("get_params", "predict", "predict_proba")):
            if _is_xgboost(one) and hasattr(one, "get_booster"):
                if one.__sklearn_is_fitted__() and one.get_params()["device"] not in (None, "cpu"):
                    one.set_params(device="cpu")  # reaches the trees too
            else:
                waiting += getattr(one, "__dict__", {}).values()
    return model
