"""metamix show: what a saved mixture is, by its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from metamix.cli.help import Command
from metamix.cli.json_output import json_option, print_json
from metamix.cli.output import columns, say, size

__all__ = ["show"]

#: Columns of a table, models and libraries that are listed at most.
MOST = 40


@click.command(cls=Command, example="metamix show houses.mix")
@click.argument("file")
@json_option
def show(file: str, as_json: bool) -> None:
    """Show what the mixture in FILE is, without loading it.

    Reads the description in the file alone; no model is built and no code of the file runs, so that this is safe with
    files that you do not trust. The description is what the writer of the file says: it is not compared with the
    mixture itself.
    """
    from metamix.persistence import read_manifest

    said = read_manifest(file)
    if as_json:
        print_json({"file": file, "bytes": Path(file).stat().st_size} | said)
        return
    for line in _lines(said, file):
        if line.startswith("  "):
            click.echo(line)
        else:
            say(line)
    regimes = (said["notes"] or {}).get("regimes", "").splitlines()
    if regimes:
        click.echo("\nRegimes in words:")
        for line in regimes[:MOST]:
            say(f"  {printable(line)}", indent=4)
    command = (said["notes"] or {}).get("command")
    if command:
        click.echo(f"\nTo repeat the fit:\n{printable(command)}")


def _lines(said: dict[str, Any], file: str) -> Iterator[str]:
    notes = said["notes"] or {}
    what = printable(said["task"] or said["class"] or "a mixture")
    target = f" of {printable(notes['target'])}" if "target" in notes else ""
    rows = "" if said["rows"] is None else f", fitted to {said['rows']} rows"
    yield f"{file}: {what}{target}{rows}."
    yield ""
    yield from _of_file(said, file)
    yield from _of_columns(said)
    yield from _of_models(said)
    if said["verdict"]:
        yield from ("", printable(said["verdict"]))
    for name, note in list(notes.items())[:MOST]:
        if name not in ("target", "regimes", "command"):
            yield from ("", f"{printable(name)}: {printable(note)}")


def _of_file(said: dict[str, Any], file: str) -> Iterator[str]:
    """Format, versions, and what loading needs."""
    libraries = ", ".join(f"{name} {number}" for name, number in list((said["libraries"] or {}).items())[:MOST])
    types = said["types"]
    trust = "nothing but metamix and scikit-learn" if not types else ", ".join(types[:MOST])
    rows = [
        ("file", f"format {said['format']}, {size(Path(file))}, written {said['created'] or 'at an unknown time'}"),
        (
            "written by",
            f"metamix {said['metamix'] or '?'} ({said['class'] or '?'}) with Python {said['python'] or '?'}",
        ),
        ("libraries", libraries or "unknown"),
        ("to trust", trust),
    ]
    if isinstance(said["targets"], list):
        what = "labels" if said["task"] == "several labels" else "targets"
        rows.append((what, ", ".join(said["targets"][:MOST])))
    elif said["targets"] not in (None, 1):
        rows.append(("targets", str(said["targets"])))
    if said["classes"]:
        more = len(said["classes"]) - MOST
        rows.append(("classes", ", ".join(said["classes"][:MOST]) + (f" and {more} more" if more > 0 else "")))
    for name, value in rows:
        yield f"  {name:10}  {printable(value)}"


def _of_columns(said: dict[str, Any]) -> Iterator[str]:
    """Columns, with their kinds where they are known."""
    found = said["readings"] or []
    names = said["columns"]
    yield ""
    if found:
        yield "Columns, as they were read:"
        yield from _table(("column", "kind"), [(one["name"], one["kind"].replace("_", " ")) for one in found])
    elif isinstance(names, list):
        yield f"Columns: {printable(', '.join(names[:MOST]))}" + (" …" if len(names) > MOST else "")
    else:
        yield f"Columns: {names or 'an unknown number'}, without names."


def _of_models(said: dict[str, Any]) -> Iterator[str]:
    """Models with their shares in the predictions, and regimes."""
    shares = said["shares"] or [{"name": name, "share": None} for name in said["experts"] or []]
    if shares:
        known = any(one["share"] is not None for one in shares)
        yield ""
        yield "Models, with their mean weight in the predictions for the rows of the fit:" if known else "Models:"
        yield from _table(("model", "weight"), [(one["name"], _percent(one["share"])) for one in shares], right=(1,))
    if said["regimes"]:
        yield ""
        yield "Regimes of the specialised mixture, with their shares of the rows:"
        rows = [(one["name"], _percent(one["share"])) for one in said["regimes"]]
        yield from _table(("regime", "share"), rows, right=(1,))


def _table(heads: tuple[str, ...], rows: list[tuple[str, str]], right: tuple[int, ...] = ()) -> Iterator[str]:
    cells = [tuple(printable(cell) for cell in row) for row in rows[:MOST]]
    for line in columns(heads, cells, right=right):
        yield f"  {line}"
    if len(rows) > MOST:
        yield f"  and {len(rows) - MOST} more"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def printable(text: str) -> str:
    r"""A text without what would steer a terminal: the file may be from anybody.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a?[2Jb'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)
