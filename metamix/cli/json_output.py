"""Results as JSON on standard output, for scripts."""

from __future__ import annotations

import json
import math
from typing import Any

import click

__all__ = ["json_option", "print_json", "records"]

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for scripts; everything else goes to standard error."
)


def print_json(found: Any) -> None:
    r"""Print an object as JSON, in ASCII, so that every terminal and pipe takes it.

    Examples
    --------
    >>> print_json({"loss": float("nan"), "names": ("größe",)})
    {
      "loss": null,
      "names": [
        "gr\u00f6\u00dfe"
      ]
    }
    """
    click.echo(json.dumps(_plain(found), indent=2, allow_nan=False))


def records(frame: Any) -> list[dict[str, Any]]:
    """Rows of a data frame as objects.

    Examples
    --------
    >>> import pandas as pd
    >>> records(pd.DataFrame({"a": [1, 2]}))
    [{'a': 1}, {'a': 2}]
    """
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """What JSON can hold: arrays become lists, and numbers that are not finite null, as dates that are missing."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return _plain(value.tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if value != value else str(value)
