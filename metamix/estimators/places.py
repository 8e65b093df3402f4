"""Where the parts of a mixture run, those of a mixture within a mixture included."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from metamix.estimators.resolution import resolve_gate
from metamix.estimators.walks import Learned
from metamix.fitting import Placement, find_placements, join_devices, place_experts

__all__ = ["place_inside", "told", "where_columns_ran", "where_it_would_run"]


def place_inside(mixture: Any, named: list[tuple[str, Any]]) -> list[Placement]:
    """Where the experts of a mixture run, and last its gate.

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> mixture = MixtureRegressor(["ridge"])
    >>> [place.device for place in place_inside(mixture, mixture._resolved())]
    ['cpu', 'cpu']
    """
    return place_experts([*named, ("gate", resolve_gate(mixture.gate)[0])], mixture.device)


def where_it_would_run(mixture: Any, device: str) -> tuple[str, str]:
    """What the parts of an unfitted mixture would get of a device, and why not more.

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> where_it_would_run(MixtureRegressor(["ridge"]), "auto")
    ('cpu', '')
    """
    one = clone(mixture).set_params(device=device)
    try:
        named = one._resolved()
        gate, _ = resolve_gate(one.gate)
    except Exception:  # its own fit says what is wrong with it; that is not about devices
        return "cpu", ""
    places, refused = find_placements([*named, ("gate", gate)], device)
    return told(places), ", ".join(refused)


def told(places: list[Placement]) -> str:
    """Devices of experts and, where it has one, of the gate, in words.

    Examples
    --------
    >>> told([Placement(("cuda:0",)), Placement()])
    'cuda:0'
    """
    return join_devices([*(place.device for place in places[:-1]), *places[-1].devices])


def where_columns_ran(learned: Learned) -> dict[str, str]:
    """The device of every column; the stack is linear algebra, on the CPU.

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> fitted = MixtureRegressor(["ridge"], specialize=False, cv=2).fit(*make_regimes(60, random_state=0))
    >>> where_columns_ran(fitted._learned)
    {'ridge': 'cpu', 'stack': 'cpu'}
    """
    return dict.fromkeys(learned.names, "cpu") | {
        name: column.device for name, column in zip(learned.names, learned.columns, strict=False)
    }
