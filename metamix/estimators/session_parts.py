"""Mixtures for other processes: names that only this session knows are the parts themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamix import registry
from metamix.estimators.resolution import name_experts

__all__ = ["with_session_parts"]


def with_session_parts(parameters: Mapping[str, Any], known: registry.PartMapping | None = None) -> dict[str, Any]:
    """Parameters of a mixture for another process: names that only this session knows are the parts themselves.

    Parameters
    ----------
    parameters : mapping
    known : PartMapping, optional
        The registry of the experts; without it the experts are left as they are.
    """
    ready = dict(parameters)
    experts = ready.get("experts")
    if known is not None and isinstance(experts, list | tuple):
        try:
            named = name_experts(experts)
        except ValueError:  # reported by fit; copying must not fail
            named = []
        if any(known.in_session(one.expert) for one in named):
            made = [known[one.expert]() if known.in_session(one.expert) else one.expert for one in named]
            ready["experts"] = [one._replace(expert=part).entry for one, part in zip(named, made, strict=True)]
    for parameter, mapping in (("gate", registry.gates), ("likelihood", registry.likelihoods)):
        given = ready.get(parameter)
        if isinstance(given, list | tuple):
            ready[parameter] = [mapping[one]() if mapping.in_session(one) else one for one in given]
        elif isinstance(given, str) and mapping.in_session(given):
            ready[parameter] = mapping[given]()
    return ready
