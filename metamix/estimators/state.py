"""What of a fitted mixture goes into a file or to a worker: each model once, frames as plain rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["packed", "unpacked"]

# What shows the models that `_fitted` holds, and the frames, which a file without code cannot.
SHOWN = frozenset({"experts_", "named_experts_", "mixture_"})
FRAMES = ("history_", "candidates_", "failures_", "starts_")


def packed(state: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a mixture, to be stored; a mixture that is not fitted is left as it is."""
    if "_fitted" not in state:
        return dict(state)
    kept = {name: value for name, value in state.items() if name not in SHOWN}
    if isinstance(kept.get("checkpoint"), os.PathLike):  # a type that a file would have to trust
        kept["checkpoint"] = os.fspath(kept["checkpoint"])
    for name in FRAMES:
        if kept.get(name) is not None:
            kept[name] = kept[name].to_dict("split", index=False)
    return kept


def unpacked(state: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes back, but for those that show models."""
    import pandas as pd

    frames = {name: state[name] for name in FRAMES if isinstance(state.get(name), dict)}
    return {**state, **{name: pd.DataFrame(**columns_and_data) for name, columns_and_data in frames.items()}}
