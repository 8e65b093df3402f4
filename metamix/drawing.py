"""How pictures look: colours for colour-blind eyes, hatches, numbers and names that fit, axes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MUTED",
    "area_style",
    "caption",
    "colour",
    "grid",
    "leave_out_far",
    "log_axis",
    "names_in_pictures",
    "new_axes",
    "panels",
    "point_style",
    "readable",
    "short_names",
]

Array = NDArray[np.float64]
#: Okabe & Ito (2008), https://jfly.uni-koeln.de/color, with grey in place of black, on which no hatch is seen.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#777777")
#: From the ninth on colours are repeated with a hatch, or with another marker.
HATCHES = ("", "///", "...", "xxx")
MARKERS = ("o", "s", "^", "D")
#: Of what is not in the foreground.
MUTED = "0.55"
#: Names in pictures have so many characters at most.
LONGEST_NAME = 24
#: Of text in ten points, about.
CHARACTERS_PER_INCH = 11
#: A point is left out of a picture where it is so many times as far as the farthest of the others.
FAR = 1.5


def colour(k: int) -> str:
    """Colour of column k; from the ninth on they are repeated."""
    return COLOURS[k % len(COLOURS)]


def area_style(k: int) -> dict[str, Any]:
    """Face, edge and hatch of an area or bar of column k, different for the first 32.

    Examples
    --------
    >>> area_style(8) == area_style(0), area_style(8)["hatch"]
    (False, '///')
    """
    hatch = HATCHES[k // len(COLOURS) % len(HATCHES)]
    return {"facecolor": colour(k), "edgecolor": "white", "linewidth": 0.5, "hatch": hatch}


def point_style(k: int) -> dict[str, Any]:
    """Colour and marker of the points or the line of column k, different for the first 32."""
    return {"color": colour(k), "marker": MARKERS[k // len(COLOURS) % len(MARKERS)]}


def names_in_pictures(names: Sequence[Any], longest: int = LONGEST_NAME) -> list[str]:
    r"""Names as matplotlib can draw them: short, different, in characters of the font, and never as a formula.

    Examples
    --------
    >>> names_in_pictures(["$a_b$", "x" * 300, "x" * 301, "_hidden"], 9)
    ['\\$a_b\\$', 'xxxx…xxxx', 'xx…xx (2)', ' _hidden']
    """
    shown = short_names([_drawable(" ".join(str(name).split())) for name in names], longest)
    # Labels that begin with an underscore are left out of legends.
    return [(" " + one if one.startswith("_") else one).replace("$", r"\$") for one in shown]


def short_names(names: Sequence[Any], longest: int = LONGEST_NAME) -> list[str]:
    r"""Names of so many characters at most, shortened in the middle, and different from each other.

    Examples
    --------
    >>> short_names(["wide", "x" * 300, "x" * 301, "two\nlines"], 9)
    ['wide', 'xxxx…xxxx', 'xx…xx (2)', 'two lines']
    """
    shown: list[str] = []
    for name in names:
        plain = " ".join(str(name).split())
        short, again = _shortened(plain, longest), 1
        while short in shown:
            again += 1
            ending = f" ({again})"
            short = _shortened(plain, max(longest - len(ending), 3)) + ending
        shown.append(short)
    return shown


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    head = longest // 2
    tail = longest - head - 1
    return f"{text[:head]}…{text[len(text) - tail :]}"


def _drawable(text: str) -> str:
    """Text with a square for each character that no font of the picture has; matplotlib would warn of each."""
    from matplotlib import rcParams

    known = _characters(tuple(rcParams["font.family"]))
    return "".join(one if one.isprintable() and ord(one) in known else "□" for one in text)


@lru_cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    """Codes of the characters that fonts have."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = {findfont(FontProperties(family=[family])) for family in families}
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


def readable(value: float) -> str:
    """A number for a cell: three significant digits, without an exponent where it fits.

    Examples
    --------
    >>> readable(0.123456), readable(-1234.5), readable(1.5e-7), readable(-0.0), readable(float("nan"))
    ('0.123', '-1234', '1.5e-07', '0', '')
    """
    if not np.isfinite(value):
        return ""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value + 0.0:.3g}"


def new_axes(ax: Any, width: float, height: float) -> Any:
    """The axes given, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    return _pyplot().subplots(figsize=(width, height), layout="constrained")[1]


def panels(ax: Any, widths: Sequence[float], height: float) -> list[Any]:
    """Axes side by side, of these widths in inches: in a new figure, or in the place of the axes given."""
    if ax is None:
        size = (sum(widths), height)
        _, found = _pyplot().subplots(
            1, len(widths), figsize=size, width_ratios=widths, layout="constrained", squeeze=False
        )
        return list(found[0])
    from matplotlib.gridspec import GridSpecFromSubplotSpec

    where = ax.get_subplotspec()
    ax.set_axis_off()
    if where is None:  # axes that were placed by hand
        left = np.cumsum([0, *widths]) / sum(widths)
        return [ax.inset_axes([left[i], 0, 0.8 * width / sum(widths), 1]) for i, width in enumerate(widths)]
    inside = GridSpecFromSubplotSpec(1, len(widths), subplot_spec=where, width_ratios=widths, wspace=0.4)
    return [ax.figure.add_subplot(inside[0, i]) for i in range(len(widths))]


def log_axis(axis: Any, low: float, high: float) -> None:
    """Make an axis logarithmic, with labels that do not overlap, for positive values from low to high."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 3) if high < 100 * low else (1,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def caption(ax: Any, lines: Sequence[str]) -> None:
    """Write lines above the axes, broken where they would be wider; axes still lose width to their labels."""
    width = max(28, int(0.75 * CHARACTERS_PER_INCH * ax.get_window_extent().width / ax.figure.dpi))
    text = "\n".join(textwrap.fill(line, width) for line in lines)
    ax.set_title(text, fontsize=10, loc="left", x=0)


def grid(ax: Any, colours: Array, texts: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draw a table of coloured cells with text in them.

    Parameters
    ----------
    ax : matplotlib axes
    colours : ndarray of shape (R, S, 3)
    texts : R lists of S str
    rows, columns : names of the rows and columns, drawable
    """
    ax.imshow(colours, aspect="auto", interpolation="nearest")
    for i, line in enumerate(texts):
        for j, text in enumerate(line):
            luminance = float(colours[i, j] @ [0.299, 0.587, 0.114])
            ax.text(j, i, text, ha="center", va="center", color="black" if luminance > 0.5 else "white")
    ax.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="minor", length=0)


def leave_out_far(ax: Any, differences: Array, errors: Array, places: NDArray[Any], far: NDArray[np.bool_]) -> None:
    """End the axis before what is far from all others, which would be too close to be told apart; its number stays.

    Parameters
    ----------
    ax : matplotlib axes
    differences, errors : ndarrays of shape (m,)
        Points along the axis, and the halves of their bars.
    places : ndarray of shape (m,)
        Where they are drawn on the other axis.
    far : ndarray of bool, shape (m,)
        What may be left out, such as the mean of y.
    """
    ends = differences + errors
    if not far.any() or far.all() or ends[far].max() <= FAR * ends[~far].max():
        return
    low = min(0.0, float((differences - errors)[~far].min()))
    width = float(ends[~far].max()) - low
    if width > 0:
        ax.set_xlim(low - 0.05 * width, low + 1.1 * width)
        text = f"{readable(float(differences[far][0]))} →"
        ax.annotate(text, (1, places[far][0]), xycoords=("axes fraction", "data"), ha="right", va="center")


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "metamix[plot]"') from error
    return pyplot
