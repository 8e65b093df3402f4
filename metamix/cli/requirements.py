"""What a registered part needs that is not installed, found without importing anything."""

from __future__ import annotations

import re
import shlex
from functools import cache

__all__ = ["missing_for"]

#: Modules that parts of metamix import when they are made, and what brings them.
LIBRARIES = {
    "lightgbm": (("lightgbm",), "metamix[lightgbm]"),
    "lightgbm_dask": (("lightgbm", "distributed"), "metamix[lightgbm,dask]"),
    "xgboost": (("xgboost",), "metamix[xgboost-cpu]"),
    "xgboost_dask": (("xgboost", "distributed"), "metamix[xgboost-cpu,dask]"),
    "torch_mlp": (("torch", "skorch"), "metamix[torch]"),
    "neural": (("torch", "skorch"), "metamix[torch]"),
}


def missing_for(name: str, distribution: str) -> str:
    """The command that installs what a part needs; empty where everything is there. Nothing is imported.

    Of other distributions, what they require unconditionally is looked for.

    Examples
    --------
    >>> missing_for("ridge", "metamix")
    ''
    """
    from importlib.util import find_spec

    if distribution == "metamix":
        modules, extra = LIBRARIES.get(name, ((), ""))
        return f'pip install "{extra}"' if any(find_spec(module) is None for module in modules) else ""
    absent = _absent_requirements(distribution)
    return f"pip install {' '.join(map(shlex.quote, absent))}" if absent else ""


@cache
def _absent_requirements(distribution: str) -> tuple[str, ...]:
    """Requirements of a distribution that are not installed; those with a condition are not looked at."""
    from importlib import metadata

    absent = []
    try:
        required = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # its metadata is damaged
        return ()
    for requirement in required:
        name = re.match(r"[\w.-]+", requirement)
        if name is not None and ";" not in requirement:
            try:
                metadata.distribution(name[0])
            except metadata.PackageNotFoundError:
                absent.append(requirement)
    return tuple(absent)
