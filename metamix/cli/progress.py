"""Progress of a fit or comparison on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from metamix.cli.output import short
from metamix.progress import Event, listen

__all__ = ["Fraction", "progress"]

#: Parts of a fit, and their shares of its time where regimes are found: experts, mixture, and both without pairs of
#: folds. Where nothing is nested, or no regimes are found, the bar skips the rest.
SHARES = {"experts": 0.2, "mixture": 0.25, "nested experts": 0.15, "nested mixture": 0.4}
#: Seconds between two drawings of a bar, and two lines where there is no terminal.
TICK, LINE = 1.0, 30.0


class Fraction:
    """How much of a fit, or of a comparison of several outer folds, is done.

    Examples
    --------
    >>> done = Fraction()
    >>> done.update(Event("task", "ridge, fold 1", 5, 10))
    >>> round(done.value, 2), done.label
    (0.1, 'ridge, fold 1')
    """

    def __init__(self) -> None:
        self.value, self.label = 0.0, ""
        self._outer, self._outer_folds, self._inside = 0, 1, 0.0

    def update(self, event: Event) -> None:
        """Take notice of an event."""
        if event.kind == "start" and event.label.startswith("outer fold"):
            self._outer, self._outer_folds, self._inside = event.done, event.total, 0.0
        elif event.kind in ("task", "failure") and event.total:
            mixture, nested = event.label.startswith("mixture,"), "without fold" in event.label
            part = ("nested " if nested else "") + ("mixture" if mixture else "experts")
            names = list(SHARES)
            before = sum(SHARES[name] for name in names[: names.index(part)])
            self._inside = max(self._inside, before + SHARES[part] * event.done / event.total)
            fold = f"fold {self._outer + 1} of {self._outer_folds}: " if self._outer_folds > 1 else ""
            self.label = fold + event.label
        self.value = (self._outer + self._inside) / self._outer_folds


@contextmanager
def progress(label: str) -> Iterator[None]:
    """Show how much of the block is done, by its events; at least every second on a terminal.

    Parameters
    ----------
    label : str
        Name of the table.
    """
    fraction, begin, over = Fraction(), time.monotonic(), threading.Event()
    show = _Bar(label) if sys.stderr.isatty() else _Lines()
    thread = threading.Thread(target=_keep_showing, args=(show, fraction, begin, over), daemon=True)
    with listen(fraction.update):
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            show.end()


def _keep_showing(show: Any, fraction: Fraction, begin: float, over: threading.Event) -> None:
    show.draw(fraction, 0.0)
    while not over.wait(show.pause):
        show.draw(fraction, time.monotonic() - begin)


class _Bar:
    """A bar of one line."""

    pause = TICK

    def __init__(self, label: str) -> None:
        self._said = ""
        self._bar: Any = click.progressbar(
            length=1000, label=f"{short(label, 16):16}", file=sys.stderr, width=16, show_eta=False,
            item_show_func=lambda _: self._said,
        )  # fmt: skip
        self._bar.__enter__()

    def draw(self, fraction: Fraction, seconds: float) -> None:
        self._said = f"{_clock(seconds)} {short(fraction.label, 28)}"
        self._bar.update(max(min(int(1000 * fraction.value), 999) - self._bar.pos, 0))
        self._bar.render_progress()

    def end(self) -> None:
        self._said = ""
        self._bar.update(1000 - self._bar.pos)
        self._bar.__exit__(None, None, None)


class _Lines:
    """A line every half minute."""

    pause = LINE

    def draw(self, fraction: Fraction, seconds: float) -> None:
        if seconds:
            click.echo(f"{_clock(seconds)} {100 * fraction.value:.0f} % done, {fraction.label}", err=True)

    def end(self) -> None:
        """Nothing is left to say."""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
