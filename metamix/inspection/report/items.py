"""What a section of a report consists of: sentences, lists, tables, pictures and code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

__all__ = ["Bullets", "Code", "Item", "Part", "Picture", "Section", "Table", "Text", "clipped", "try_display"]

Found = TypeVar("Found")
#: Names and messages longer than this are cut.
LONGEST = 400
#: Joins characters to one emoji.
JOINER = "\u200d"
#: Tables have so many rows at most.
MOST_ROWS = 120


def clipped(value: Any, longest: int = LONGEST) -> str:
    r"""Text in one line, cut where it is longer; characters that cannot be shown are replaced.

    Examples
    --------
    >>> clipped("two\nlines"), clipped("abcdef", 4), clipped("bell \x07")
    ('two lines', 'abc…', 'bell □')
    """
    text = "".join(one if one.isprintable() or one == JOINER else "□" for one in " ".join(str(value).split()))
    return text if len(text) <= longest else text[: longest - 1] + "…"


@dataclass(frozen=True)
class Text:
    """A paragraph; `lead` is shown larger."""

    text: str
    lead: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Bullets:
    """Sentences in a list."""

    lines: Sequence[str]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Code:
    """What was typed."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Table:
    """Cells as text; `Table.of` cuts what is too long.

    Parameters
    ----------
    caption : str
    heads : sequence of str
    rows : sequence of sequences of str
        The first cell of each row is its heading.
    words : frozenset of int
        Columns that are no numbers; the first is none in any case.
    left_out : int
        Rows that are not shown.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset()
    left_out: int = 0
    kind: ClassVar[str] = "table"

    @classmethod
    def of(cls, caption: str, heads: Sequence[Any], rows: Iterable[Sequence[Any]], words: Iterable[int] = ()) -> Table:
        """A table with cells that can be shown, and no more rows than a page can hold."""
        cells = [[clipped(cell) for cell in row] for row in rows]
        left_out = max(len(cells) - MOST_ROWS, 0)
        return cls(caption, [clipped(head) for head in heads], cells[:MOST_ROWS], frozenset({0, *words}), left_out)


@dataclass(frozen=True)
class Picture:
    """A chart, with what it shows in words and, where the page has them nowhere else, its numbers.

    Parameters
    ----------
    title : str
    words : str
        The alternative for those who do not see it.
    spec : dict
        Vega-Lite.
    numbers : Table
    """

    title: str
    words: str
    spec: dict[str, Any]
    numbers: Table
    kind: ClassVar[str] = "picture"


Item = Text | Bullets | Code | Table | Picture


@dataclass(frozen=True)
class Part:
    """What a section says of one target; `heading` is empty where there is one target."""

    heading: str
    items: Sequence[Item]


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Parameters
    ----------
    key : str
        Its address on the page.
    title : str
    parts : list of Part
    intro : str
    """

    key: str
    title: str
    parts: Sequence[Part] = field(default_factory=list)
    intro: str = ""


def try_display(display: Callable[[], Found], items: list[Item]) -> Found | None:
    """A display, or its reason why there is nothing to show."""
    try:
        return display()
    except ValueError as error:  # displays say what is absent
        items.append(Text(f"Nothing to show: {clipped(error, 1000)}"))
        return None
