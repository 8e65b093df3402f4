"""The command line. Every error is reported as one line that says how to correct it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from metamix.cli.demo import demo
from metamix.cli.explain import explain
from metamix.cli.help import EXIT_CODES
from metamix.cli.models import compare, fit
from metamix.cli.new_plugin import new_plugin
from metamix.cli.output import say
from metamix.cli.parts import check, parts
from metamix.cli.prediction import predict
from metamix.cli.report import report
from metamix.cli.show import show
from metamix.cli.wording import in_options

__all__ = ["main"]

#: Errors of writing to a disk, a quota or a device that is full.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        click.echo(f"metamix {version('metamix')}")
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=f"""\b
Begin with:
  metamix demo                               three tables, nothing to download
  metamix compare houses.csv --target price  your own table
  metamix compare --help                     what can be set

Exit codes: {EXIT_CODES}

\b
Completion with the tab key, in ~/.bashrc (likewise zsh_source, fish_source):
  eval "$(_METAMIX_COMPLETE=bash_source metamix)"
""",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks and warnings (METAMIX_DEBUG=1).")
def commands() -> None:
    """Compare and fit combinations of models on a table."""


for _command in (demo, compare, fit, predict, explain, report, show, parts, check, new_plugin):
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a code.

    0: done; 1: failed while working; 2: wrong usage, or input that cannot be read or used; 130: Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments after the name of the program; `sys.argv[1:]` by default.

    Raises
    ------
    SystemExit
        Always.

    Examples
    --------
    >>> import contextlib
    >>> with contextlib.suppress(SystemExit):
    ...     main(["--version"])  # doctest: +ELLIPSIS
    metamix ...
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or os.environ.get("METAMIX_DEBUG", "0") not in ("", "0")
    with _quiet(debug), _orderly():
        code = _run([word for word in words if word != "--debug"], debug)
    sys.exit(code)


def _run(words: list[str], debug: bool) -> int:
    try:
        code = commands.main(args=words, prog_name="metamix", standalone_mode=False, obj=tuple(words))
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else commands.get_help(click.Context(commands)))
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "metamix"
        return _report(f"{error.format_message().rstrip('.')} (see {path} --help)", error.exit_code)
    except click.ClickException as error:
        return _report(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has closed it
        _discard_output()
        return 1
    except Exception as error:
        if debug:
            raise
        return _report(_message(error), 2 if _is_of_input(error) else 1)


def _discard_output() -> None:
    """Keep the interpreter from writing, at its end, what could not be written before."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(text: str, code: int) -> int:
    say(f"metamix: error: {' '.join(text.split())}", err=True)
    return code


def _message(error: Exception) -> str:
    """Message of an error of metamix as it is; other errors with their type and a hint to use --debug."""
    from metamix.memory import InsufficientMemoryError
    from metamix.registry import PartError

    if isinstance(error, PartError | InsufficientMemoryError) or (
        isinstance(error, ValueError) and _raised_in_metamix(error)
    ):
        return in_options(str(error))
    if isinstance(error, OSError) and error.strerror:
        if error.filename is not None:
            return f"{error.filename}: {error.strerror}"
        if error.errno in FULL:  # files are written by name: what is left is the standard output
            _discard_output()
            return f"standard output: {error.strerror}"
    return f"{type(error).__name__}: {error} (add --debug for the traceback)"


def _is_of_input(error: Exception) -> bool:
    """Whether a table or a model file cannot be read or used, or a part is not known."""
    from metamix.data.frames import TableError
    from metamix.persistence.errors import ModelFileError
    from metamix.registry import UnknownPartError

    return isinstance(error, TableError | ModelFileError | UnknownPartError)


def _raised_in_metamix(error: Exception) -> bool:
    """Whether the error was raised in metamix, or by scikit-learn's validation of input."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.startswith("metamix.") or module.startswith("sklearn.utils")


@contextmanager
def _orderly() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: workers are terminated, and nothing half-written is left."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield
        return

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet(debug: bool) -> Iterator[None]:
    """Suppress warnings and log messages, those of worker processes too."""
    if debug:
        yield
        return
    before, logger, handler = os.environ.get("PYTHONWARNINGS"), logging.getLogger("metamix"), logging.NullHandler()
    os.environ["PYTHONWARNINGS"] = "ignore"
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before
