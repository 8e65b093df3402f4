"""Errors in the words of the command line: options for parameters of Python, and the name that was meant."""

from __future__ import annotations

import re
import shlex
from typing import Any

__all__ = ["in_options", "suggestion"]

#: Options of the command line by the parameter that they set.
OPTIONS = {
    "checkpoint": "--checkpoint", "cv": "--cv", "date_format": "--date-format", "decimal": "--decimal",
    "device": "--device", "experts": "--experts", "final": "--final", "gate": "--gate", "groups": "--groups",
    "n_jobs": "--jobs", "random_state": "--seed", "sample_weight": "--weights", "scoring": "--scoring",
    "task": "--task",
}  # fmt: skip
#: Advice that only Python can follow.
_PYTHON_ONLY = re.compile(r"\s*(?:Set on_error=\S+|sklearn\.metrics\.get_scorer_names\(\))[^.]*(?:\.|$)")
_VALUE = r"\"[^\"]*\"|\[[^\]]*\]|[^\s,;:.)]+(?:\.\d+)?"


def in_options(message: str, *, of_table: bool = False) -> str:
    """Name options of the command line where a message names parameters of Python.

    Parameters
    ----------
    message : str
    of_table : bool
        Whether it is about a table, whose columns may be named as parameters are: only ``parameter=value`` is changed.

    Examples
    --------
    >>> in_options("cv=9 needs at least 9 rows; set cv lower.")
    '--cv 9 needs at least 9 rows; set --cv lower.'
    >>> in_options("every expert failed. Set on_error='raise' to see the first error where it happens.")
    'every expert failed.'
    >>> in_options("columns=TableCleaner(decimal=',') decides otherwise; columns={'zip': 'category'} too")
    '--decimal "," decides otherwise; --types zip=category too'
    >>> in_options("scoring='r2' cannot judge this y; give another, or None.")
    '--scoring r2 cannot judge this y; give another, or leave it out.'
    """
    said = _PYTHON_ONLY.sub("", message)
    said = re.sub(r"\b(?:kinds|columns)=\{'([^']*)': '(\w+)'\}", _type_option, said)
    said = re.sub(r"\bcolumns=TableCleaner\((\w+)='([^']*)'\)", lambda m: f'{OPTIONS[m[1]]} "{m[2]}"', said)
    for name, option in OPTIONS.items():
        said = re.sub(rf"(?<![\w-]){name}='([^']*)'", rf"{option} \1", said)
        said = re.sub(rf"(?<![\w-]){name}=({_VALUE})", rf"{option} \1", said)
    if of_table:
        return said
    said = re.sub(r"\bset cv\b", "set --cv", said)
    for name in ("sample_weight", "random_state", "n_jobs", "scoring"):
        said = re.sub(rf"(?<![\w-]){name}\b(?!')", OPTIONS[name], said)
    return re.sub(r",? or None\b(?: to keep all)?", ", or leave it out", said)


def _type_option(found: re.Match[str]) -> str:
    """--types for one column, quoted where its name needs it."""
    pair = f"{found[1]}={found[2]}"
    return "--types " + shlex.quote(f'"{pair}"' if "," in pair else pair)


def suggestion(name: str, names: Any) -> str:
    """Suggest the closest name; empty if none is close.

    Examples
    --------
    >>> suggestion("prise", ["price", "size"])
    ": did you mean 'price'?"
    """
    from difflib import get_close_matches

    close = get_close_matches(name, [str(one) for one in names], n=1)
    return f": did you mean {close[0]!r}?" if close else ""
