"""metamix new-plugin: write the folder of a plugin, with a part that works, to be replaced by one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from metamix.cli.help import Command
from metamix.cli.output import say

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@dataclass(frozen=True)
class Kind:
    """What the templates say of one kind of part: entry point, an example of use, and a test."""

    group: str
    factory: str
    capabilities: str
    usage: str
    test: str


FIT = """\
from metamix import MixtureRegressor, make_regimes

X, y = make_regimes(200, random_state=0)
mixture = MixtureRegressor({arguments}, random_state=0)
print(mixture.fit(X, y).{shown})"""

KINDS = {
    "expert": Kind(
        "regressors",
        "regressor",
        " [weights,missing_values,text_columns]",
        FIT.format(arguments='["$name", "neighbours"]', shown="verdict_"),
        """\
def test_a_straight_line_is_found() -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = $module.${class_}Regressor(penalty=0.0).fit(X, 3 * X[:, 0] + 1)
    np.testing.assert_allclose(model.predict([[1.0, 0.0], [2.0, 5.0]]), [4.0, 7.0])
""",
    ),
    "gate": Kind(
        "gates",
        "${class_}Gate",
        "",
        FIT.format(arguments='["linear", "neighbours"], gate="$name"', shown="verdict_"),
        """\
def test_weights_follow_the_nearest_rows() -> None:
    gate = $module.${class_}Gate(bandwidth=0.1).fit([[0.0], [1.0]], [[0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_allclose(gate.predict_proba([[0.0], [1.0]]), [[0.9, 0.1], [0.2, 0.8]], atol=1e-3)
""",
    ),
    "likelihood": Kind(
        "likelihoods",
        "${class_}Likelihood",
        " [standard_deviation]",
        FIT.format(
            arguments='["linear"] * 2, specialize=True, likelihood="$name"',
            shown="predict_interval(X[:3], 0.9)",
        ),
        """\
def test_the_deviation_is_that_of_the_errors() -> None:
    y, zero = np.array([-2.0, 2.0, -2.0, 2.0]), np.zeros((4, 1))
    likelihood = $module.${class_}Likelihood().fit(y, zero, np.ones((4, 1)))
    np.testing.assert_allclose(likelihood.standard_deviation(zero), 2.0)
""",
    ),
}


@click.command("new-plugin", cls=Command, example="metamix new-plugin mine --kind gate")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), default="expert", show_default=True, help="What it adds.")
def new_plugin(name: str, kind: str) -> None:
    """Write a plugin into the folder metamix-NAME.

    It can be installed and passes its tests. Its part is an example, to be replaced by yours.
    """
    name = name.removeprefix("metamix-")
    if not NAME.fullmatch(name):
        raise click.UsageError(
            f"{name!r} cannot be the name of a plugin; use small letters and digits, with - or _ between them"
        )
    folder = Path(f"metamix-{name.replace('_', '-')}")
    if folder.exists():
        raise click.UsageError(f"{folder} exists here already; choose another name, or remove it")
    from metamix import registry

    plain, chosen = name.replace("-", "_"), KINDS[kind]
    rows = registry.describe()
    taken = {row.name: row.distribution for row in rows if row.kind == chosen.group}
    if plain in taken:
        raise click.UsageError(f"{taken[plain]} already has the name {plain!r} for its {kind}; choose another")
    if folder.name in {row.distribution for row in rows}:
        raise click.UsageError(f"a plugin {folder} is installed already; choose another name")
    for path, text in render(plain, kind).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    module = f"metamix_{plain}"
    say(f"{folder} is written; {module}/__init__.py has an example that works, to be replaced by your {kind}. Then:")
    click.echo(f'    pip install --editable "./{folder}[test]"\n    metamix check {folder}\n    pytest {folder}')


def render(name: str, kind: str) -> dict[str, str]:
    """Texts of the files of a plugin by their paths in its folder.

    Examples
    --------
    >>> sorted(render("my_model", "expert"))
    ['README.md', 'metamix_my_model/__init__.py', 'pyproject.toml', 'tests/test_my_model.py']
    """
    chosen, module = KINDS[kind], f"metamix_{name}"
    words = {
        "name": name,
        "module": module,
        "distribution": module.replace("_", "-"),
        # A gate `my_gate` is of the class MyGate.
        "class_": "".join(word.capitalize() for word in name.split("_")).removesuffix(kind.capitalize()),
        "group": chosen.group,
        "title": f"The {kind} {name}",
        "capabilities": chosen.capabilities,
    }
    for word in ("factory", "usage", "test"):
        words[word] = Template(getattr(chosen, word)).substitute(words).rstrip("\n")
    sources = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{module}/__init__.py": f"{kind}.py",
        f"tests/test_{name}.py": "test.py",
    }
    templates = files("metamix.cli") / "plugin_template"
    return {
        path: Template((templates / f"{source}.template").read_text(encoding="utf-8")).substitute(words)
        for path, source in sources.items()
    }
