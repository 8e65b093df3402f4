"""metamix parts and check: what is registered, and whether it keeps its contract."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click

from metamix.cli.screens import columns, short
from metamix.cli.tasks import near

KINDS = ("regressors", "classifiers", "gates", "likelihoods")


@click.command()
@click.argument("words", nargs=-1, metavar="[KIND | check NAME]")
@click.pass_context
def parts(context: click.Context, words: tuple[str, ...]) -> None:
    """List experts, gates and likelihoods with the distribution they come from.

    KIND is regressors, classifiers, gates or likelihoods. Nothing is imported. "metamix parts check NAME" is
    "metamix check NAME".
    """
    from metamix.registry import describe

    if words[:1] == ("check",) and len(words) == 2:
        context.invoke(check, name=words[1], here=False)
        return
    if len(words) > 1 or (words and words[0] not in KINDS):
        raise click.UsageError(
            f"metamix parts takes one of {', '.join(KINDS)}, or check NAME, not {' '.join(words)!r}"
            f"{near(words[0], KINDS)}"
        )
    rows = [
        (row.name, row.kind.removesuffix("s"), f"{row.distribution} {row.version}")
        for row in describe()
        if not words or row.kind == words[0]
    ]
    for line in columns(("name", "kind", "distribution"), rows):
        click.echo(line)


@click.command()
@click.argument("name")
@click.option("--here", is_flag=True, hidden=True, help="In this process, and tersely.")
def check(name: str, here: bool) -> None:
    """Check that the part NAME keeps its contract, or every part of a distribution NAME.

    The checks run in a process of their own, since native code may abort it.
    """
    if here:
        _run_here(name)
        return
    _chosen(name)
    command = [sys.executable, "-m", "metamix", "check", "--here", name]
    failed, passed, last = 0, 0, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        assert child.stdout is not None
        for line in child.stdout:
            word, _, rest = line.rstrip("\n").partition("\t")
            if word == "start":
                last = rest
            elif word == "ok":
                passed += 1
            elif word == "failed":
                failed += 1
                title, _, reason = rest.partition("\t")
                click.echo(f"{click.style('failed', fg='red')}  {title}\n        {short(reason, 300)}")
    if child.returncode:
        raise click.ClickException(f"{last or name} took the whole process down (exit code {child.returncode})")
    if failed:
        raise click.ClickException(f"{name}: {failed} of {failed + passed} checks failed")
    click.echo(f"{name}: all {passed} checks passed")


def _chosen(name: str) -> list[Any]:
    """Registered parts of that name, or all of the distribution of that name."""
    from metamix.registry import describe

    rows = describe()
    plain = name.rpartition(":")[2]
    found = [row for row in rows if row.name == plain and name in (plain, f"{row.distribution}:{plain}")]
    found = found or [row for row in rows if row.distribution == name]
    if not found:
        known = sorted({row.name for row in rows} | {row.distribution for row in rows})
        raise click.UsageError(f"no part and no distribution of parts is called {name!r}{near(name, known)}")
    return found


def _run_here(name: str) -> None:
    from metamix.testing import check_plugin

    rows = _chosen(name)
    for distribution in dict.fromkeys(row.distribution for row in rows):
        wanted = tuple(f"{row.kind}/{row.name}/" for row in rows if row.distribution == distribution)
        for title, run in check_plugin(distribution):
            if title.startswith(wanted):
                click.echo(f"start\t{title}")
                sys.stdout.flush()
                try:
                    run()
                except (Exception, SystemExit) as error:  # a plugin may raise anything
                    reason = " ".join(f"{type(error).__name__}: {error}".split())
                    click.echo(f"failed\t{title}\t{reason}")
                else:
                    click.echo(f"ok\t{title}")
