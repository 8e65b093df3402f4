"""The command in full, so that it can be run again: with the names that stood for defaults when it was run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields

from metamix.cli.options import Options, expert_names
from metamix.cli.reading import ReadingOptions
from metamix.cli.tables import TableData

__all__ = ["expert_list", "full_command"]

#: Options that are left out where they have their default, since they change how long a run takes and not its result.
ONLY_IF_GIVEN = {"jobs": -1, "engine": None, "address": None, "device": "auto"}
#: Parameters whose option has another name.
OPTION_OF = {"identifier": "id"}


def expert_list(options: Options, task: str) -> list[str]:
    """Names of the experts that are fitted, those of a pool one by one.

    Examples
    --------
    >>> expert_list(Options("y", experts=["ridge, svm"]), "regression")
    ['ridge', 'svm']
    """
    from metamix import registry
    from metamix.experts.pools import expert_pool, loadable

    names = expert_names(options.experts)
    if isinstance(names, list):
        return names
    classes = task == "classification"
    return loadable(
        expert_pool(names or "auto", classes=classes), registry.classifiers if classes else registry.regressors
    )


def full_command(
    command: str, table: str | Sequence[str], options: Options, reading: ReadingOptions, data: TableData, *more: str
) -> str:
    """One line for a shell that repeats a run.

    Parameters
    ----------
    command : str
        "compare" or "fit".
    table : str, or sequence of str
    options : Options
    reading : ReadingOptions
    data : TableData
        As the table was read; its task is written out.
    *more : str
        Further words, such as the file that is written.

    Examples
    --------
    >>> options, data = Options("price", experts=["ridge"]), TableData(None, None, "regression")
    >>> full_command("fit", "my houses.csv", options, ReadingOptions(na=["?"]), data, "--out", "h.mix")
    "metamix fit 'my houses.csv' --target price --task regression --experts ridge --gate auto --final blend --cv 5 \
--seed 0 --na '?' --out h.mix"
    """
    values = {one.name: getattr(options, one.name) for one in fields(options)}
    values |= {"task": data.task, "experts": [",".join(expert_list(options, data.task))]}
    values |= {"gate": [",".join(options.gate) or "auto"]}
    given = {name: value for name, value in values.items() if value != ONLY_IF_GIVEN.get(name, ())}
    words = ["metamix", command, *([table] if isinstance(table, str) else table)]
    for name, value in (given | {one.name: getattr(reading, one.name) for one in fields(reading)}).items():
        option = f"--{OPTION_OF.get(name, name).replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [word for one in value for word in (option, one)]
        elif value is not None and value is not False:
            words += [option, str(value)]
    return shlex.join([*words, *more])
