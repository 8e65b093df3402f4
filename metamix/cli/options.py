"""Options shared by the commands that learn from a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from metamix.cli.completion import complete_parts
from metamix.cli.output import say
from metamix.cli.reading import ReadingOptions, comma_separated
from metamix.cli.tables import TableData, is_large, read, read_in_chunks, say_lines
from metamix.cli.wording import suggestion
from metamix.progress import show_progress

Command = Callable[..., Any]


@dataclass(frozen=True)
class Options:
    """Values of the options added by `learning_options`."""

    target: str
    task: str | None = None
    experts: Sequence[str] = ()
    gate: Sequence[str] = ()
    final: str = "blend"
    groups: str | None = None
    weights: str | None = None
    cv: int = 5
    scoring: str | None = None
    seed: int = 0
    jobs: int = -1
    engine: str | None = None
    address: str | None = None
    device: str = "auto"
    time_limit: float | None = None
    expert_time_limit: float | None = None
    checkpoint: str | None = None
    time: str | None = None

    @property
    def folds(self) -> Any:
        """Folds: a number of shuffled ones, or the next rows from all before them."""
        if self.time is None:
            return self.cv
        from sklearn.model_selection import TimeSeriesSplit

        return TimeSeriesSplit(self.cv)

    @property
    def gates(self) -> str | list[str]:
        """The gate of the mixture: a name, or several, which compete."""
        names = comma_separated(self.gate)
        return names if len(names) > 1 else names[0] if names else "auto"


def _check_jobs(_: click.Context, __: click.Parameter, jobs: int) -> int:
    if jobs == 0:
        raise click.BadParameter("0 processes do nothing; give 1 or more, or -1 for all cores")
    return jobs


#: Seeds of numpy's generators.
SEED = click.IntRange(0, 2**32 - 1)
jobs_option = click.option(
    "--jobs", type=int, default=-1, metavar="N", callback=_check_jobs, help="Processes; default: all cores."
)
POOL_NAMES = ("fast", "auto", "best")
LEARNING_OPTIONS = (
    click.option("--target", required=True, metavar="COLUMN", help="Column to predict."),
    click.option(
        "--task", type=click.Choice(["regression", "classification"]), metavar="NAME",
        help="regression or classification; default: by the target.",
    ),
    click.option(
        "--experts", multiple=True, metavar="NAME,…", help="Names (see metamix parts), or a pool: fast, auto "
        "(default), best.", shell_complete=complete_parts("regressors", "classifiers", more=POOL_NAMES),
    ),
    click.option(
        "--gate", multiple=True, metavar="NAME,…", help="What weighs the experts in each row: names, which compete, or "
        "auto (default).", shell_complete=complete_parts("gates", more=("auto",)),
    ),
    click.option(
        "--final", type=click.Choice(["blend", "best", "simplest"]), default="blend", metavar="NAME",
        help="What predict answers with: a blend of all combinations (default), the best, or the simplest that does "
        "as well.",
    ),
    click.option("--groups", metavar="COLUMN", help="Rows of one group are kept in one fold."),
    click.option("--time", metavar="COLUMN", help="Sort rows by it, and predict later ones from earlier ones."),
    click.option("--weights", metavar="COLUMN", help="Sample weights: a row of weight 2 counts as two."),
    click.option("--cv", type=click.IntRange(min=2), default=5, metavar="N", show_default=True, help="Folds."),
    click.option("--scoring", metavar="NAME", help="Judge by this scorer of scikit-learn, such as r2 or roc_auc."),
    click.option(
        "--seed", type=SEED, default=0, metavar="N", show_default=True, help="Random seed: the same one gives the same "
        "result.",
    ),
    jobs_option,
    click.option(
        "--engine", type=click.Choice(["local", "threads", "serial", "dask"]), metavar="NAME",
        help="Where fits run: local (processes; default), threads, serial, or dask (a cluster).",
    ),
    click.option(
        "--address", metavar="ADDRESS", help="Scheduler of the cluster of --engine dask, such as tcp://10.0.0.1:8786.",
    ),
    click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda or cuda:N."),
    click.option(
        "--time-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
        help="Leave out what would not be done in time, and say what.",
    ),
    click.option(
        "--expert-time-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
        help="Leave out experts of which one fit takes longer.",
    ),
    click.option(
        "--checkpoint", metavar="FOLDER", help="Keep finished fits in a folder of your own; the same command continues "
        "after it was interrupted.",
    ),
)  # fmt: skip


def learning_options(command: Command) -> Command:
    """Add the options that `compare` and `fit` share."""
    for option in reversed(LEARNING_OPTIONS):
        command = option(command)
    return command


force_option = click.option("--force", is_flag=True, help="Replace files given by --out and the like.")


def output_file(out: str, force: bool, *inputs: str, option: str = "--out") -> Any:
    """The file given by --out, or another option, checked before a long computation.

    Raises
    ------
    metamix.persistence.ModelFileError
        If it is one of the files that are read, or cannot be written.
    click.UsageError
        If it exists and is not to be replaced.
    """
    from metamix.persistence import OutputFile

    output = OutputFile(out, inputs)
    if output.replaces and not force:
        raise click.UsageError(f"{option} {out} exists: add --force to replace it, or give another name")
    return output


def read_table(
    table: str | Sequence[str],
    options: Options,
    reading: ReadingOptions,
    *,
    memory: str | None = None,
    err: bool = False,
) -> TableData:
    """Read a table and split it as the options say, and print what was noticed; several files are read in chunks."""
    first = table if isinstance(table, str) else table[0]
    if sys.stderr.isatty():  # checks and reading load libraries, which takes seconds on a busy machine
        say(f"Reading {'standard input' if first == '-' else first}.", err=True)
    if options.scoring is not None:
        _check_scorer(options.scoring)
    _check_experts(options.experts, options.task)
    _check_gates(options.gate)
    check_device_option(options.device)
    if options.time is not None and options.groups is not None:
        raise click.UsageError("--time and --groups: folds in time order divide groups; give one of them")
    if not isinstance(table, str) and is_large(table, memory):
        if options.time is not None:
            raise click.UsageError("--time is for a table that is read as a whole: rows of chunks are drawn at random")
        with show_progress(Path(first).name, "reading"):
            data = read_in_chunks(
                table, reading, memory, options.target, options.task, options.groups, options.weights
            )  # fmt: skip
        say_lines(data.lines, err=err)
        return data
    if memory is not None and Path(first).suffix.lower() != ".parquet":
        raise click.UsageError(
            f"--memory is for Parquet files, which can be read in chunks, and {first} is none: leave it out, or write "
            "the table as Parquet"
        )
    with engine_of(options), show_progress(Path(first).name, "reading"):
        data = read(first, reading, options.target, options.task, options.groups, options.weights, options.time)
    say_lines(data.lines, err=err)
    return data


@contextmanager
def engine_of(options: Options) -> Iterator[None]:
    """Use the engine of --engine inside the block.

    Raises
    ------
    click.UsageError
        If it cannot be used.
    """
    if options.engine != "dask" and options.address is not None:
        raise click.UsageError("--address is that of a cluster: give --engine dask too")
    if options.engine is None:
        yield
        return
    if options.engine == "dask" and options.address is None:
        raise click.UsageError("--engine dask needs --address, the one that `dask scheduler` prints")
    from metamix.engines import use_engine

    with ExitStack() as context:
        try:
            jobs = None if options.engine == "dask" else options.jobs
            context.enter_context(use_engine(options.engine, jobs, address=options.address))
        except (ImportError, ConnectionError) as error:
            raise click.UsageError(f"--engine {options.engine}: {error}") from None
        yield


def check_device_option(device: str) -> None:
    """Raise an error before the table is read if there is no such device."""
    from metamix.devices import check_device

    try:
        check_device(device)
    except ValueError:
        raise click.UsageError(f"--device {device} is unknown: give auto, cpu, cuda or cuda:N with N from 0") from None


def expert_names(given: Sequence[str]) -> list[str] | str | None:
    """Split comma-separated names, in one option or several; a pool by its name, None if there are none.

    Examples
    --------
    >>> expert_names(["ridge, boosting", "svm"]), expert_names(["best"]), expert_names([])
    (['ridge', 'boosting', 'svm'], 'best', None)
    """
    from metamix.experts.pools import POOLS

    names = comma_separated(given) if given else None
    return names[0] if names and len(names) == 1 and names[0] in POOLS else names


def _check_experts(given: Sequence[str], task: str | None) -> None:
    """Raise an error before the table is read if an expert is not known; no part is imported."""
    from metamix.registry import classifiers, regressors

    names = expert_names(given)
    if given and not names:
        raise click.UsageError("--experts names none: give names, such as --experts ridge,boosting; see metamix parts")
    if names is None or isinstance(names, str):
        return
    known = {"regression": (regressors,), "classification": (classifiers,)}.get(task or "", (regressors, classifiers))
    for name in names:
        if not any(name in mapping for mapping in known):
            of_task = "" if task is None else f" for {task}"
            close = suggestion(name, [*{one for mapping in known for one in mapping}, *POOL_NAMES])
            raise click.UsageError(f"--experts: there is no expert {name!r}{of_task}{close or '; see metamix parts'}")


def _check_gates(given: Sequence[str]) -> None:
    """Raise an error before the table is read if a gate is not known; no part is imported."""
    from metamix.registry import gates

    names = comma_separated(given)
    if given and not names:
        raise click.UsageError("--gate names none: give names, such as --gate softmax,tree; see metamix parts")
    for name in names if names != ["auto"] else []:
        if name == "auto":
            raise click.UsageError("--gate: auto stands for several gates that compete; give it alone, or names")
        if name not in gates:
            close = suggestion(name, [*gates, "auto"])
            raise click.UsageError(f"--gate: there is no gate {name!r}{close or '; see metamix parts gates'}")


def _check_scorer(name: str) -> None:
    from sklearn.metrics import get_scorer_names

    names = get_scorer_names()
    if name not in names:
        raise click.UsageError(f"there is no scorer {name!r}{suggestion(name, names)}")
