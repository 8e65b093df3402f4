"""When a fit is to end: parts ask before they begin, and what is left out is recorded."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

from metamix.data.scalars import is_number

__all__ = ["EARLY_RESERVE", "Deadline", "TimeLimitWarning", "check_time_limit"]

#: Share of the limit that is kept for what must follow: likelihoods, recalibration.
RESERVE = 0.1
#: Share that is kept by experts and the search for regimes, after which candidates and gates follow.
EARLY_RESERVE = 0.25
#: A task in a worker process that takes longer than the whole limit is stopped, but none before so many seconds, which
#: a worker may take for the import of libraries.
LEAST_TASK_SECONDS = 10.0


class TimeLimitWarning(UserWarning):
    """Something was left out of a fit, or the fit took longer, because of `time_limit`."""


class Deadline:
    """A time limit of a fit, from the moment that it is made.

    Copies in other processes end at the same time of day, so that those of other machines agree as far as clocks do.

    Parameters
    ----------
    seconds : float or None
        None is no limit.
    fit_seconds : float, optional
        Limit of each single fit of an expert; None by default, which is no limit.

    Attributes
    ----------
    refused : dict from str to float
        What there was no time for, and the seconds that it would have taken, 0 where that is not known.

    Examples
    --------
    >>> deadline = Deadline(30)
    >>> deadline.allows("the expert ridge", 1.0), deadline.allows("the expert svm", 400.0)
    (True, False)
    >>> deadline.sentence
    'Left out for the time limit of 30 s: the expert svm (about 400 s).'
    """

    def __init__(self, seconds: float | None = None, fit_seconds: float | None = None) -> None:
        self.limit = seconds
        self.fit_seconds = fit_seconds
        self.end = math.inf if seconds is None else time.monotonic() + seconds
        self.refused: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"end": time.time() + self.left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"end": time.monotonic() + state["end"] - time.time()}

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.limit is not None

    @property
    def left(self) -> float:
        """Seconds until the end; negative after it, infinite without a limit."""
        return math.inf if self.limit is None else self.end - time.monotonic()

    def task_seconds(self, share: float = 1.0) -> float | None:
        """Seconds after which a task is taken for one that hangs, a share of the limit; None without a limit."""
        return None if self.limit is None else max(share * self.limit, LEAST_TASK_SECONDS)

    def allows(self, what: str, seconds: float = 0.0, reserve: float = RESERVE) -> bool:
        """Whether there is time for a part that takes so many seconds, as far as is known; if not, it is recorded.

        `reserve` is the share of the limit that it must leave.
        """
        if self.limit is None or self.left - reserve * self.limit > seconds:
            return True
        self.add({what: seconds})
        return False

    def add(self, refused: Mapping[str, float]) -> None:
        """Record what was left out, once each."""
        self.refused |= {what: seconds for what, seconds in refused.items() if what not in self.refused}

    @property
    def left_out(self) -> list[str]:
        """What was left out, with the time that it would have taken."""
        return [
            f"{what} (about {seconds:.0f} s)" if 0.5 <= seconds < math.inf else what
            for what, seconds in self.refused.items()
        ]

    def share(self, parts: int) -> Deadline:
        """A limit of its own for the first of some equal parts of the time that is left."""
        return Deadline(None if self.limit is None else max(self.left, 0.0) / parts, self.fit_seconds)

    @property
    def sentence(self) -> str:
        """What was left out until now, and by how much the limit is exceeded; empty if there is nothing to say."""
        said = []
        if self.refused:
            said.append(f"Left out for the time limit of {self.limit:g} s: {'; '.join(self.left_out)}.")
        if self.limit is not None and self.left < 0:
            said.append(
                f"The time limit of {self.limit:g} s was exceeded by {-self.left:.2g} s: what has begun is "
                "finished, and the cheapest expert is always fitted."
            )
        return " ".join(said)

    def warn(self) -> None:
        """Warn of what there is to say, if anything.

        Warns
        -----
        TimeLimitWarning
        """
        if self.sentence:
            warnings.warn(self.sentence, TimeLimitWarning, stacklevel=3)


def check_time_limit(time_limit: Any, name: str = "time_limit") -> None:
    """ValueError where a time limit is no number of seconds above zero.

    Examples
    --------
    >>> check_time_limit(0)
    Traceback (most recent call last):
    ...
    ValueError: time_limit=0 is no number of seconds; give one above zero, or None for no limit.
    """
    if time_limit is not None and not (is_number(time_limit) and 0 < time_limit < math.inf):
        raise ValueError(f"{name}={time_limit!r} is no number of seconds; give one above zero, or None for no limit.")
