"""Numbers and comparisons in sentences."""

from __future__ import annotations

import math

__all__ = ["compared", "is_score", "measure_name", "short_number", "shown_loss"]

#: Differences and standard errors of less than this many per cent are not shown.
EQUAL = 0.01
SCORE, NEGATED = "minus ", "neg_"


def short_number(value: float, digits: int = 2) -> str:
    """A number with so many significant digits, without an exponent where it is large.

    Examples
    --------
    >>> short_number(0.12345), short_number(99.75), short_number(1234.5), short_number(-0.0)
    ('0.12', '100', '1234', '0')
    """
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{float(f'{value + 0.0:.{digits}g}'):g}"


def is_score(measure: str) -> bool:
    """Whether the loss is minus a score that is to be maximised.

    Examples
    --------
    >>> is_score("minus r2"), is_score("minus neg_mean_absolute_error"), is_score("squared error")
    (True, False, False)
    """
    return measure.startswith(SCORE) and not measure.startswith(SCORE + NEGATED)


def measure_name(measure: str) -> str:
    """What a loss is called: a score of scikit-learn by its own name.

    Examples
    --------
    >>> measure_name("squared error"), measure_name("minus r2"), measure_name("minus neg_mean_absolute_error")
    ('squared error', 'r2', 'mean_absolute_error')
    """
    return measure.removeprefix(SCORE).removeprefix(NEGATED) if measure.startswith(SCORE) else measure


def shown_loss(measure: str, loss: float) -> str:
    """A loss as it is known: a score of scikit-learn with its own sign, squared errors also in units of y.

    Parameters
    ----------
    measure : str
        Name of the loss; "minus r2" for a score that is to be maximised.
    loss : float

    Examples
    --------
    >>> shown_loss("squared error", 0.8), shown_loss("minus roc_auc", -0.61)
    ('squared error 0.8 (RMSE 0.8944)', 'roc_auc 0.61')
    >>> shown_loss("minus neg_mean_absolute_error", 2.5)
    'mean_absolute_error 2.5'
    """
    root = f" (RMSE {short_number(math.sqrt(loss), 4)})" if measure == "squared error" and loss > 0 else ""
    return f"{measure_name(measure)} {short_number(-loss if is_score(measure) else loss, 4)}{root}"


def compared(measure: str, gain: float, standard_error: float, whole: float, other: str) -> str:
    """How much better or worse than another something is.

    Parameters
    ----------
    measure : str
        As in `shown_loss`.
    gain : float
        Loss of the other minus that of the one described.
    standard_error : float
        Of the gain; infinite where nothing is known of it.
    whole : float
        Loss of the other. Differences of losses are in per cent of it, those of scores in units of the score.
    other : str

    Examples
    --------
    >>> compared("squared error", 0.2, 0.05, 1.0, "the stack"), compared("minus r2", 0.02, 0.01, -0.9, "the stack")
    ('20 % (± 5 %) below the stack', '0.02 (± 0.01) above the stack')
    >>> compared("log-loss", -1e-17, 1e-17, 0.5, "the stack"), compared("log-loss", 0.1, math.inf, 0.5, "the stack")
    ('equal to the stack', '20 % below the stack')
    """
    relative = whole > 0 and not is_score(measure)
    unit, factor = (" %", 100 / whole) if relative else ("", 1.0)
    share, error = gain * factor, standard_error * factor
    negligible = EQUAL if relative else 1e-4 * EQUAL * max(abs(whole), 1.0)
    known = f" (± {short_number(error)}{unit})" if negligible <= error < math.inf else ""
    if abs(share) < negligible:
        return f"equal to {other}{known}"
    side = "above" if (share >= 0) == is_score(measure) else "below"
    return f"{short_number(abs(share), 2 if relative else 3)}{unit}{known} {side} {other}"
