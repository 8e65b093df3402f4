"""How far a fit is, and how long the rest takes at least and at most, by its events and the time that they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from metamix.progress.events import Event

__all__ = ["Forecast", "clock", "in_words"]

#: Parts of a fit after the experts, in their order, and how long each takes at most, in the time of the experts (nine
#: tables, default pool, by hand; a slow mixture takes longer). Regimes may not be found, nested fits not be needed.
AFTER_EXPERTS = {
    "regimes": 2.0,
    "experts of the regimes": 0.7,
    "mixture": 5.5,
    "candidates": 0.1,
    "nested experts": 2.0,
    "nested candidates": 1.2,
}
#: What is like what was done before takes from so much to so much of its time; outer folds share fits.
SPREAD = (0.6, 1.2)
#: Where the most is more than so many times the least, only the most is said.
WIDE = 4.0
#: Nothing is foretold from less than this share of a part, or from so few seconds.
FIRST_SHARE, FIRST_SECONDS = 0.2, 2.0
#: Lengths of time that are worth saying, in seconds; in between the next longer one is said.
STEPS = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 2700)


class Forecast:
    """How far a fit, or a comparison of several outer folds, is.

    Parameters
    ----------
    now : callable
        The time in seconds.

    Attributes
    ----------
    loss : str
        The best out-of-fold loss so far, in words.

    Examples
    --------
    >>> seconds = iter([0.0, 0.0, 10.0])  # of the beginning, of the part, and of the question
    >>> forecast = Forecast(lambda: next(seconds))
    >>> forecast.update(Event("part", "rounds"))
    >>> forecast.update(Event("round", "round 2", 2, 10, {"loss": 0.3127}))
    >>> forecast.text, forecast.loss, in_words(forecast.left())
    ('round 2 (2 of at most 10)', 'loss 0.3127', 'up to 45 s left')
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begin = self._fold_begin = self._part_begin = now()
        self._whole, self._fold, self._folds, self._fold_seconds = "", 0, 1, 0.0
        self._part, self._done, self._total, self._task = "", 0, 0, ""
        self._declared = False  # whether the part said how many tasks it has
        self._experts: float | None = None  # seconds of that part, once it is over
        self._share = 0.0
        self.loss = ""

    def update(self, event: Event) -> None:
        """Take notice of an event."""
        if event.kind == "start":
            now = self._now()
            self._whole, self._fold, self._folds = f"{event.label}: ", event.done, event.total
            self._fold_seconds = (now - self._begin) / event.done if event.done else 0.0
            self._fold_begin, self._experts = now, None
            self._begin_part(Event("part", ""), now)
        elif event.kind == "part":
            self._begin_part(event, self._now())
        elif event.kind == "round":
            self._done, self._total, self._task = event.done, event.total, event.label
            self._take_loss("", event.detail.items())
        elif event.kind in ("task", "failure"):
            self._task = event.label
            if self._part != "rounds":
                self._done, self._total = self._done + 1, max(self._total, event.total)
        elif event.kind == "loss":
            self._take_loss(event.label, event.detail.items())

    def _begin_part(self, event: Event, now: float) -> None:
        if self._part == "experts":
            self._experts = now - self._part_begin
        self._part, self._part_begin, self._done, self._total, self._task = event.label, now, 0, event.total, ""
        self._declared = event.total > 0

    def _take_loss(self, whose: str, numbers: Iterable[tuple[str, Any]]) -> None:
        for name, value in numbers:
            if name.endswith(("loss", "error")):  # of an epoch the last is that of the rows held out
                self.loss = f"{name.replace('_', ' ')} {value:.4g}" + (f" ({whose})" if whose else "")

    @property
    def text(self) -> str:
        """What is being done."""
        most = "at most " if self._part == "rounds" else ""
        count = f" ({self._done} of {most}{self._total})" if self._done else ""
        return f"{self._whole}{self._task or self._part or 'begins'}{count}"

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._begin

    @property
    def share(self) -> float:
        """Share that is done by now, if the rest takes what lies between least and most; it only grows."""
        left = self.left()
        if left is not None:
            passed = self.seconds
            self._share = max(self._share, passed / (passed + sum(left) / 2)) if passed else self._share
        return self._share

    def left(self) -> tuple[float, float] | None:
        """Seconds that are left at least and at most, or None where that cannot be told yet."""
        now = self._now()
        passed, later = now - self._fold_begin, self._folds - self._fold - 1
        if not self._folds:  # of unknown number, and not alike
            return None
        if self._fold_seconds:  # of the folds that are done, on average
            least, most = (share * self._fold_seconds for share in SPREAD)
            return max(least - passed, 0.0) + later * least, max(most - passed, 0.0) + later * most
        bounds = self._left_of_fit(now)
        if bounds is None:
            return None
        least, most = bounds
        return least + later * (passed + least), most + later * (passed + most)

    def _left_of_fit(self, now: float) -> tuple[float, float] | None:
        passed = now - self._part_begin
        share = self._done / self._total if self._total else 0.0
        known = share >= FIRST_SHARE and passed >= FIRST_SECONDS
        rest = passed * (1 - share) / share if known else None  # of this part
        if self._part == "rounds":  # they end when one gains nothing
            return None if rest is None else (0.0, rest)
        unit = self._experts
        if self._part == "experts" and rest is not None:
            unit = passed + rest
        if unit is None:  # no fit of experts out of fold, of which all parts are known
            return (SPREAD[0] * rest, SPREAD[1] * rest) if rest is not None and self._declared else None
        parts = list(AFTER_EXPERTS)
        later = parts[parts.index(self._part) + 1 :] if self._part in parts else parts
        most = unit * sum(AFTER_EXPERTS[part] for part in later)
        if rest is None:
            return 0.0, most + max(unit * AFTER_EXPERTS[self._part] - passed, 0.0)
        return SPREAD[0] * rest, SPREAD[1] * rest + most


def clock(seconds: float) -> str:
    """Minutes and seconds.

    Examples
    --------
    >>> clock(75.2), clock(4000)
    ('1:15', '1:06:40')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def in_words(left: tuple[float, float] | None) -> str:
    """What is left, at least and at most, in round numbers; empty where that cannot be told.

    Examples
    --------
    >>> in_words((41.0, 44.0)), in_words((50.0, 170.0)), in_words((0.0, 95.0)), in_words(None)
    ('about 45 s left', '1 to 3 min left', 'up to 2 min left', '')
    """
    if left is None:
        return ""
    least, most = (_rounded(seconds) for seconds in left)
    if least == most:
        return f"about {most} left"
    if WIDE * left[0] < left[1]:
        return f"up to {most} left"
    if least.split()[1] == most.split()[1]:
        least = least.split()[0]
    return f"{least} to {most} left"


def _rounded(seconds: float) -> str:
    for step in STEPS:
        if seconds <= step:
            return f"{step} s" if step < 60 else f"{step / 60:.3g} min"
    return f"{seconds / 3600:.1f} h"
