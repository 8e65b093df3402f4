"""Help: an example that can be typed, sections, exit codes; and completion by the shell."""

import os
import shlex
import subprocess
import sys

import click
import pytest

from metamix.cli import commands
from metamix.cli.help import SECTIONS

TABLES = ("compare", "fit", "predict", "report", "explain")
READING = [
    "--drop",
    "--types",
    "--id",
    "--na",
    "--decimal",
    "--thousands",
    "--sep",
    "--encoding",
    "--date-format",
    "--sheet",
]
FITTING = [
    "--experts",
    "--gate",
    "--final",
    "--groups",
    "--weights",
    "--cv",
    "--seed",
    "--jobs",
    "--device",
    "--engine",
]


def options_of(name):
    return {word for one in commands.commands[name].params for word in one.opts}


def test_options_are_those_that_are_promised():
    for name in TABLES:
        assert options_of(name) >= set(READING), name
    for name in ("compare", "fit"):
        assert options_of(name) >= set(FITTING), name
    for name in ("compare", "fit", "predict", "report"):
        assert {"--out", "--force"} <= options_of(name), name
    for name in ("compare", "fit", "predict", "explain", "show", "parts", "check"):
        assert "--json" in options_of(name), name


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_command_has_an_example_that_parses_and_exit_codes(name, run):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "Exit codes: 0 done, 1 failed while working" in out
    command = commands.commands[name]
    words = shlex.split(command.example)
    assert words[:2] == ["metamix", name]
    assert f"  {command.example}" in out.splitlines()
    command.make_context(name, words[2:], resilient_parsing=False).close()
    shown = " ".join(out.split())
    for one in command.params:
        if isinstance(one, click.Option) and not one.hidden:
            assert shown.count(f" {one.opts[0]} ") >= 1, one.opts


def test_sections_name_options_that_are_there():
    known = {one.name for command in commands.commands.values() for one in command.params}
    assert {name for names in SECTIONS.values() for name in names} <= known


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("metamix exp", {"explain"}),
        ("metamix fit t.csv --exper", {"--experts", "--expert-time-limit"}),
        ("metamix fit t.csv --experts ridge,ext", {"ridge,extra_trees"}),
        ("metamix compare t.csv --experts fa", {"fast"}),
        ("metamix compare t.csv --gate so", {"softmax"}),
        ("metamix compare t.csv --final si", {"simplest"}),
        ("metamix parts like", {"likelihoods"}),
        ("metamix check student", {"student_t"}),
    ],
)
def test_the_shell_completes(words, expected):
    environment = {
        **os.environ, "_METAMIX_COMPLETE": "bash_complete", "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1), "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }  # fmt: skip
    code = "import sys; from metamix.cli import main; sys.argv[0] = 'metamix'; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert {line.split(",", 1)[1] for line in done.stdout.splitlines()} == expected, done.stderr
