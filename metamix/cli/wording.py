"""Errors of the Python interface in the words of the command line."""

from __future__ import annotations

import re

__all__ = ["in_options"]

#: Options of the command line by the parameter that they set.
OPTIONS = {
    "cv": "--cv", "date_format": "--date-format", "decimal": "--decimal", "device": "--device", "experts": "--experts",
    "groups": "--groups", "n_jobs": "--jobs", "random_state": "--seed", "sample_weight": "--weights",
    "scoring": "--scoring", "task": "--task",
}  # fmt: skip
#: Advice that only Python can follow.
_PYTHON_ONLY = re.compile(r"\s*(?:Set on_error=\S+|sklearn\.metrics\.get_scorer_names\(\))[^.]*(?:\.|$)")
_VALUE = r"\"[^\"]*\"|\[[^\]]*\]|[^\s,;:.)]+(?:\.\d+)?"


def in_options(message: str) -> str:
    """Name options of the command line where a message names parameters of Python.

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
    said = re.sub(r"\b(?:kinds|columns)=\{'([^']*)': '(\w+)'\}", r"--types \1=\2", said)
    said = re.sub(r"\bcolumns=TableCleaner\((\w+)='([^']*)'\)", lambda m: f'{OPTIONS[m[1]]} "{m[2]}"', said)
    for name, option in OPTIONS.items():
        said = re.sub(rf"(?<![\w-]){name}='([^']*)'", rf"{option} \1", said)
        said = re.sub(rf"(?<![\w-]){name}=({_VALUE})", rf"{option} \1", said)
    said = re.sub(r"\bset cv\b", "set --cv", said)
    for name in ("sample_weight", "random_state", "n_jobs", "scoring"):
        said = re.sub(rf"(?<![\w-]){name}\b(?!')", OPTIONS[name], said)
    return re.sub(r",? or None\b(?: to keep all)?", ", or leave it out", said)
