"""How a column of text writes numbers, decided by all of its values, and the numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["DECIMALS", "THOUSANDS", "NumberFormat", "find_number_format", "is_plain_number", "looks_like_code"]

Array = NDArray[np.float64]

DECIMALS = (".", ",")
#: Marks between groups of three digits; "" is none. All kinds of spaces count as " ".
THOUSANDS = ("", ",", ".", " ", "'")
#: A unit in letters, such as km, is one if at least so much of the column has it.
SHARE_WITH_UNIT = 0.95
#: With zeros in front of so many whole numbers a column holds codes.
SHARE_OF_CODES = 0.02
#: Units of one letter; others have two letters at least, so that 12B is none.
SHORT_UNITS = {"m", "g", "s", "h", "l"}
#: So many distinct values with a mark before three digits are no coincidence.
FEWEST_GROUPED = 5

_PARTS = re.compile(
    r"""(?P<open>\()?\s*(?P<sign>[+-]?)\s*(?P<before>[^\d\s().,+-]{0,4}?)(?P<gap>\s*)(?P<inner>[+-]?)
        (?P<digits>[.,]?\d[\d.,'\ ]*(?:[eE][+-]?\d+)?)
        \s*(?P<after>[^\d().,+-]{0,12}?)\s*(?P<close>\))?$""",
    re.VERBOSE,
)
_CODE = re.compile(r"0\d+")
_DIGIT = re.compile(r"(?<!\d)[1-9]|(?<=[\d.,])\d")


@dataclass(frozen=True)
class NumberFormat:
    """One way to write numbers.

    Parameters
    ----------
    decimal : {".", ","}
    thousands : {"", ",", ".", " ", "'"}
        Mark between groups of three digits.
    unit : str
        Currency, percent sign or unit before or after the digits; "" is none. Values without one are numbers too,
        unless the unit is the percent sign.

    Examples
    --------
    >>> NumberFormat(",", ".", "€").read(["1.234,50 €", "(12)", "twelve"])
    array([1234.5,  -12. ,    nan])
    >>> NumberFormat(unit="%").read(["5%", "5"])
    array([0.05,  nan])
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""

    def read(self, texts: Sequence[str]) -> Array:
        """Numbers (n,) that texts (n,) write; NaN for what is no number in this format. Parentheses are a minus."""
        values = np.full(len(texts), np.nan)
        if self.decimal == "." and not self.unit:  # nearly all numbers are written so, and pandas is fast
            plain = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
            values = np.where(np.isfinite(plain), plain, np.nan)
        pattern = self._pattern()
        for i in np.flatnonzero(np.isnan(values)).tolist():
            values[i] = self._number(_parts(texts[i]), pattern)
        return values

    def __str__(self) -> str:
        marks = [f"decimal {self.decimal!r}"]
        if self.thousands:
            marks.append(f"thousands {self.thousands!r}")
        if self.unit:
            marks.append(f"unit {self.unit!r}")
        return ", ".join(marks)

    def _pattern(self) -> re.Pattern[str]:
        group = rf"[1-9]\d{{0,2}}(?:{re.escape(self.thousands)}\d{{3}})+|" if self.thousands else ""
        return re.compile(rf"(?:{group}\d+)?(?:{re.escape(self.decimal)}\d*)?(?:[eE][+-]?\d+)?$")

    def _number(self, parts: re.Match[str] | None, pattern: re.Pattern[str]) -> float:
        if parts is None or not _closed(parts) or (_unit(parts) != self.unit and (_unit(parts) or self.unit == "%")):
            return np.nan
        digits = parts["digits"].strip()
        if not pattern.match(digits):
            return np.nan
        plain = digits.replace(self.thousands, "") if self.thousands else digits
        value = float(plain.replace(self.decimal, "."))
        if not np.isfinite(value):  # too large
            return np.nan
        negative = parts["open"] is not None or "-" in parts["sign"] + parts["inner"]
        return (-value if negative else value) / (100 if self.unit == "%" else 1)


def find_number_format(
    texts: Sequence[str], counts: NDArray[np.intp], decimal: str | None = None, thousands: str | None = None
) -> tuple[NumberFormat, NumberFormat | None]:
    """The format in which most of a column is numbers, and another that reads as much and says otherwise.

    Parameters
    ----------
    texts : sequence of str
        Distinct values of the column, without missing ones.
    counts : ndarray of shape (len(texts),)
        How often each occurs.
    decimal, thousands : str, optional
        They decide between formats that read as much, for example "1.234"; without them, a decimal point does.

    Returns
    -------
    (NumberFormat, NumberFormat or None)
        None where nothing is ambiguous.

    Examples
    --------
    >>> find_number_format(["1.234", "56.789"], np.array([1, 1]))
    (NumberFormat(decimal='.', thousands='', unit=''), NumberFormat(decimal=',', thousands='.', unit=''))
    >>> find_number_format(["$1,234.50"], np.array([1]))
    (NumberFormat(decimal='.', thousands=',', unit='$'), None)
    """
    shapes: dict[str, list[int]] = {}
    for text, count in zip(texts, counts, strict=True):
        known = shapes.setdefault(_shape(text), [0, 0])
        known[0] += int(count)
        known[1] += 1
    parts = [_parts(shape) for shape in shapes]
    often, distinct = (np.array(one) for one in zip(*shapes.values(), strict=True))
    unit = _common_unit(parts, often)
    formats = [NumberFormat(d, t, unit) for d, t in product(DECIMALS, THOUSANDS) if d != t]
    values = np.array([[one._number(part, one._pattern()) for part in parts] for one in formats])
    read = np.isfinite(values) @ often
    # The simplest of those that read the most; of several that with marks between thousands if the column looks so,
    # or else with the decimal mark that was asked for.
    digits = [(part["digits"].strip(), int(d)) for part, d in zip(parts, distinct, strict=True) if part is not None]
    marks = {mark for mark in THOUSANDS if mark and any(mark in one for one, _ in digits)}
    grouped = marks if _looks_grouped(digits) else set()
    misses = [one.thousands not in grouped for one in formats]
    told = decimal is not None and thousands is not None
    other = [told and (one.decimal, one.thousands) != (decimal, thousands) for one in formats]
    order = np.lexsort([[one.decimal != (decimal or ".") for one in formats], misses, other, -read])
    best = int(order[0])
    rivals = [] if told else [i for i in order[1:] if read[i] == read[best] and _differ(values[i], values[best])]
    return formats[best], formats[rivals[0]] if rivals else None


def _differ(one: Array, other: Array) -> bool:
    return not np.array_equal(one, other, equal_nan=True)


def _shape(text: str) -> str:
    """The text with 9 for every digit but zeros in front, so that columns have few distinct shapes.

    Examples
    --------
    >>> _shape("0.1250"), _shape("$1,305")
    ('0.9999', '$9,999')
    """
    return _DIGIT.sub("9", text)


def _looks_grouped(digits: Sequence[tuple[str, int]]) -> bool:
    """Whether marks stand between thousands: small whole numbers have none, and three digits follow all others.

    Rounded decimals would have fewer digits here and there, and those with a fixed number of digits would have them in
    whole numbers too.
    """
    whole = [one for one, _ in digits if one.isdigit()]
    marked = sum(times for one, times in digits if not one.isdigit())
    return bool(whole) and max(map(len, whole)) <= 3 and marked >= FEWEST_GROUPED


def looks_like_code(texts: Sequence[str], counts: NDArray[np.intp]) -> bool:
    """Whether most values are digits, and not few of these have zeros in front, as postal codes have.

    Examples
    --------
    >>> two = np.ones(2, dtype=int)
    >>> looks_like_code(["01234", "56789"], two), looks_like_code(["0.5", "10"], two)
    (True, False)
    """
    digits = np.array([text.isdigit() for text in texts]) @ counts
    codes = np.array([bool(_CODE.fullmatch(text)) for text in texts]) @ counts
    return bool(2 * digits > counts.sum() and codes >= SHARE_OF_CODES * digits)


def is_plain_number(text: str) -> bool:
    """Whether Python itself reads a text as a finite number.

    Examples
    --------
    >>> is_plain_number("1.5"), is_plain_number("1,5"), is_plain_number("inf")
    (True, False, False)
    """
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _parts(text: str) -> re.Match[str] | None:
    text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text) if not text.isascii() else text
    return _PARTS.match(text.replace("\N{MINUS SIGN}", "-").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip())


def _closed(parts: re.Match[str]) -> bool:
    """Whether parentheses are pairs, and there is one sign and one unit at most."""
    pair = (parts["open"] is None) == (parts["close"] is None)
    return pair and not (parts["sign"] and parts["inner"]) and not (parts["before"] and parts["after"])


def _unit(parts: re.Match[str]) -> str:
    return parts["before"] or parts["after"].strip()


def _common_unit(parts: Sequence[re.Match[str] | None], counts: NDArray[np.intp]) -> str:
    """The unit that most values have; in letters only if nearly all have it, and none that are no currency before."""
    found: dict[str, int] = {}
    for part, count in zip(parts, counts, strict=True):
        if part is not None and _closed(part) and _may_be_unit(part):
            found[_unit(part)] = found.get(_unit(part), 0) + int(count)
    named = {unit: count for unit, count in found.items() if unit}
    if not named:
        return ""
    unit = max(named, key=lambda one: (named[one], one))
    return unit if unit == "%" or _is_symbol(unit) or named[unit] >= SHARE_WITH_UNIT * counts.sum() else ""


def _may_be_unit(parts: re.Match[str]) -> bool:
    before, after = parts["before"], parts["after"].strip()
    if before:  # SKU1234 is no amount of a currency SKU
        return _is_symbol(before) or bool(re.fullmatch("[A-Z]{3}", before) and parts["gap"])
    return not after or after == "%" or _is_symbol(after) or len(after) > 1 or after in SHORT_UNITS


def _is_symbol(unit: str) -> bool:
    """Whether a unit has the symbol of a currency."""
    return any(unicodedata.category(c) == "Sc" for c in unit)
