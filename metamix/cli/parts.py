"""metamix parts and metamix check: list registered parts, and run the checks of metamix.testing on them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click

from metamix.cli.completion import complete_parts, complete_words
from metamix.cli.help import Command
from metamix.cli.json_output import json_option, print_json
from metamix.cli.output import columns, say, short
from metamix.cli.requirements import missing_for
from metamix.cli.wording import suggestion

KINDS = ("regressors", "classifiers", "gates", "likelihoods")


@click.command(cls=Command, example="metamix parts regressors")
@click.argument("words", nargs=-1, metavar="[KIND | check NAME]", shell_complete=complete_words(*KINDS, "check"))
@click.option("--can", metavar="WORD", help="Only parts that declare this, such as standard_deviation or gradient.")
@click.option("--load", is_flag=True, help="Import every part, in another process, and tell which are broken.")
@json_option
@click.pass_context
def parts(context: click.Context, words: tuple[str, ...], can: str | None, load: bool, as_json: bool) -> None:
    """List experts, gates and likelihoods by name.

    KIND is regressors, classifiers, gates or likelihoods. Where a part needs something that is not installed, the last
    column says what. No part is imported without --load; "metamix check NAME" tries one, and so does "metamix parts
    check NAME".
    """
    from metamix.registry import CAPABILITIES, describe

    if words[:1] == ("check",) and len(words) == 2:
        context.invoke(check, name=words[1], as_json=as_json, in_process=False)
        return
    if len(words) > 1 or (words and words[0] not in KINDS):
        raise click.UsageError(
            f"metamix parts takes one of {', '.join(KINDS)}, or check NAME; got {' '.join(words)!r}"
            f"{suggestion(words[0], KINDS)}"
        )
    if can is not None and can not in CAPABILITIES:
        known = ", ".join(CAPABILITIES)
        raise click.UsageError(f"--can {can!r} is none of {known}{suggestion(can, list(CAPABILITIES))}")
    found = [row for row in describe() if not words or row.kind == words[0]]
    found = [row for row in found if can is None or can in row.capabilities]
    missing = {(row.distribution, row.name): missing_for(row.name, row.distribution) for row in found}
    if as_json:
        print_json([row._asdict() | {"needs": missing[row.distribution, row.name] or None} for row in found])
        return
    cells = [
        (row.name, row.kind.removesuffix("s"), f"{row.distribution} {row.version}", missing[row.distribution, row.name])
        for row in found
    ]
    heads = ("name", "kind", "distribution", "needs")
    shown = len(heads) if any(missing.values()) else len(heads) - 1
    for line in columns(heads[:shown], [row[:shown] for row in cells]):
        click.echo(line)
    _report_clashes(found)
    if load:
        _report_broken(found)


def _report_clashes(rows: list[Any]) -> None:
    """Say which names several distributions register, and how to ask for one of them."""
    sources: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        sources.setdefault((row.kind, row.name), []).append(row.distribution)
    for (kind, name), several in sources.items():
        if len(several) > 1:
            choices = " or ".join(f"{source}:{name}" for source in several)
            say(f"{name} ({kind.removesuffix('s')}) is registered by {' and '.join(several)}: ask for {choices}.")


def _report_broken(rows: list[Any]) -> None:
    from metamix.registry.probe import find_broken

    broken = find_broken(rows)
    for row, reason in broken.items():
        title = f"{row.name} ({row.kind.removesuffix('s')}) of {row.distribution} {row.version}"
        click.echo(f"{click.style('broken', fg='red')}  {title}\n        {short(reason, 300)}")
    if broken:
        raise click.ClickException(f"{len(broken)} of {len(rows)} parts cannot be imported")
    click.echo(f"all {len(rows)} parts can be imported")


@click.command(cls=Command, example="metamix check ridge")
@click.argument("name", shell_complete=complete_parts(*KINDS))
@json_option
@click.option("--in-process", is_flag=True, hidden=True, help="In this process, with output for the parent process.")
def check(name: str, as_json: bool, in_process: bool) -> None:
    """Check the part NAME, or every part of the distribution NAME.

    The checks run in a separate process, since compiled code of a part may crash it.
    """
    if in_process:
        from metamix.engines.driver import watch_driver

        watch_driver(os.getppid())
        _run_checks(name)
        return
    _select_parts(name)
    command = [sys.executable, "-m", "metamix", "check", "--in-process", name]
    failed: list[dict[str, str]] = []
    passed, last = 0, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        for line in _lines(child):
            word, _, rest = line.rstrip("\n").partition("\t")
            if word == "start":
                last = rest
            elif word == "ok":
                passed += 1
            elif word == "failed":
                title, _, reason = rest.partition("\t")
                failed.append({"check": title, "reason": reason})
                click.echo(f"{click.style('failed', fg='red')}  {title}\n        {short(reason, 300)}", err=as_json)
    if child.returncode:
        raise click.ClickException(f"{last or name} crashed its process (exit code {child.returncode})")
    if as_json:
        print_json({"name": name, "passed": passed, "failed": failed})
    if failed:
        raise click.ClickException(f"{name}: {len(failed)} of {len(failed) + passed} checks failed")
    if not as_json:
        click.echo(f"{name}: all {passed} checks passed")


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    """Lines that a process prints; it is killed if this one is interrupted."""
    assert child.stdout is not None
    try:
        yield from child.stdout
    except BaseException:
        child.kill()
        raise


def _select_parts(name: str) -> list[Any]:
    """Registered parts of this name, or all parts of the distribution of this name."""
    from metamix.registry import describe

    rows = describe()
    plain = name.rpartition(":")[2]
    found = [row for row in rows if row.name == plain and name in (plain, f"{row.distribution}:{plain}")]
    found = found or [row for row in rows if row.distribution == name]
    if not found:
        known = sorted({row.name for row in rows} | {row.distribution for row in rows})
        raise click.UsageError(f"no part and no distribution with parts has the name {name!r}{suggestion(name, known)}")
    return found


def _run_checks(name: str) -> None:
    from metamix.testing import check_plugin

    rows = _select_parts(name)
    for distribution in dict.fromkeys(row.distribution for row in rows):
        wanted = tuple(f"{row.kind}/{row.name}/" for row in rows if row.distribution == distribution)
        for title, run in check_plugin(distribution):
            if title.startswith(wanted):
                click.echo(f"start\t{title}")
                sys.stdout.flush()
                try:
                    run()
                except (Exception, SystemExit) as error:  # code of a plugin may raise anything
                    reason = " ".join(f"{type(error).__name__}: {error}".split())
                    click.echo(f"failed\t{title}\t{reason}")
                else:
                    click.echo(f"ok\t{title}")
