"""Progress for people: how far it is, time gone and left, and the loss; on a terminal, in a notebook, or in lines."""

from __future__ import annotations

import html
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from metamix.progress.events import Event, listen
from metamix.progress.forecast import Forecast, clock, in_words

__all__ = ["show_progress"]

#: Seconds between two drawings on a terminal or in a notebook, and between two lines elsewhere.
TICK, LINE = 1.0, 30.0
WIDTH, BAR, LABEL, LONGEST = 80, 24, 20, 300
_shown = threading.Lock()


@contextmanager
def show_progress(label: str, part: str = "") -> Iterator[None]:
    """Show on standard error how far the block is, by its events, and remove what was shown at its end.

    On a terminal it is a bar of rich, or a line where rich is not installed; in a notebook a bar of the browser; else a
    line every half minute. Inside another display, as of a mixture among the experts, nothing is shown.

    Parameters
    ----------
    label : str
        What it is about, such as the name of a table.
    part : str
        What is being done before the first event.

    Examples
    --------
    >>> with show_progress("houses.csv"):
    ...     pass
    """
    if not _shown.acquire(blocking=False):
        yield
        return
    try:
        forecast = Forecast()
        forecast.update(Event("part", part))
        with listen(forecast.update), _display(label, forecast):
            yield
    finally:
        _shown.release()


def _display(label: str, forecast: Forecast) -> Any:
    import multiprocessing

    if _in_notebook():
        return _in_thread(_Notebook(label, forecast), TICK)
    # Workers share the terminal with the process that started them, and cannot know what it writes.
    if not sys.stderr.isatty() or multiprocessing.parent_process() is not None:
        return _in_thread(_Lines(label, forecast), LINE)
    with suppress(ImportError):
        from rich.console import Console

        console = Console(stderr=True)
        if not console.is_dumb_terminal:
            return _bar(label, forecast, console)
    return _in_thread(_Line(label, forecast), TICK)


def _bar(label: str, forecast: Forecast, console: Any) -> Any:
    """A bar of rich, and below it what is being done."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def drawn() -> Group:
        share = forecast.share
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(
            total=1.0, completed=share, width=BAR, pulse=not share, complete_style="cyan", pulse_style="cyan"
        )
        row.add_row(Text(_short(label, LABEL)), bar, Text(_numbers(forecast)))
        return Group(Text(), row, Text(_doing(forecast), style="dim", no_wrap=True, overflow="ellipsis"))

    return Live(get_renderable=drawn, console=console, refresh_per_second=1 / TICK, transient=True)


@contextmanager
def _in_thread(display: Any, pause: float) -> Iterator[None]:
    """Draw again and again, also while the block computes."""
    over = threading.Event()

    def draw() -> None:
        with suppress(OSError, ValueError):  # the stream was closed: nobody looks any more
            while not over.wait(pause):
                display.draw()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        display.end()


class _Lines:
    """A line now and then."""

    def __init__(self, label: str, forecast: Forecast) -> None:
        self.label, self.forecast = label, forecast

    def draw(self) -> None:
        said = f"{self.label}  {_numbers(self.forecast)}  {_doing(self.forecast)}"
        _write(f"{_short(said, LONGEST)}\n")

    def end(self) -> None:
        """Lines stay."""


class _Line(_Lines):
    """One line, written again and again."""

    def draw(self) -> None:
        said = f"{_short(self.label, LABEL)}  {_numbers(self.forecast)}  {_doing(self.forecast)}"
        _write(f"\r{_short(said, WIDTH - 1):{WIDTH - 1}}")

    def end(self) -> None:
        _write(f"\r{'':{WIDTH - 1}}\r")


class _Notebook(_Lines):
    """A bar as browsers have it, in the output of a cell."""

    def __init__(self, label: str, forecast: Forecast) -> None:
        super().__init__(label, forecast)
        display: Any = import_module("IPython.display")
        self._html = display.HTML
        self._handle = display.display(display.HTML(""), display_id=True)

    def draw(self) -> None:
        share = f' value="{self.forecast.share:.3f}"' if self.forecast.share else ""
        numbers = f"{self.label}  {_numbers(self.forecast)}".replace("  ", " · ")
        said = html.escape(numbers), html.escape(_doing(self.forecast))
        self._handle.update(self._html(f"<progress{share}></progress> {said[0]}<br><small>{said[1]}</small>"))

    def end(self) -> None:
        self._handle.update(self._html(""))


def _numbers(forecast: Forecast) -> str:
    share = forecast.share
    parts = [f"{100 * share:.0f} %" if share else "", clock(forecast.seconds), in_words(forecast.left())]
    return "  ".join(filter(None, parts))


def _doing(forecast: Forecast) -> str:
    return ", out-of-fold ".join(filter(None, [forecast.text, forecast.loss]))


def _short(text: str, most: int) -> str:
    text = "".join(one if one.isprintable() else " " for one in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this process; the terminal of IPython has none."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
