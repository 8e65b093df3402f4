"""metamix demo: the main job on data that comes with the dependencies, and on planted regimes."""

from __future__ import annotations

from typing import Any

import click

from metamix.cli.models import compare_quietly, show
from metamix.cli.screens import say
from metamix.cli.tasks import Assignment, Wishes

STORIES = {
    "diabetes": "Diabetes: how far the disease has come after a year, in 442 people",
    "breast_cancer": "Breast cancer: benign or not, 569 tumours",
    "regimes": "Planted regimes: 1000 rows that follow one law here and another there",
}
# Three experts tell the story of planted regimes: one knows the first law, one the second, one neither.
FEW = {"regression": "ridge,neighbours,boosting", "classification": "logistic,neighbours,boosting"}


@click.command()
@click.option("--quick", is_flag=True, help="Three experts everywhere.")
@click.option("--jobs", type=int, default=-1, metavar="N", help="Processes; all cores if left out.")
def demo(quick: bool, jobs: int) -> None:
    """Compare combinations of models on two real tables and on planted regimes."""
    from metamix.datasets import load_example, make_regimes

    for i, (name, story) in enumerate(STORIES.items()):
        click.echo(("\n" if i else "") + click.style(story, bold=True))
        regimes = None
        if name == "regimes":
            X, y, regimes = make_regimes(random_state=0, return_regimes=True)
        else:
            X, y = load_example(name)
        task = "classification" if name == "breast_cancer" else "regression"
        experts = [FEW[task]] if quick or regimes is not None else []
        wishes = Wishes("", task, experts, 3, None, None, None, 0, jobs)
        comparison = compare_quietly(Assignment(X, y, task, None, None, None, ""), wishes, name)
        show(comparison)
        if regimes is not None:
            say(whom_it_trusts(comparison.mixtures[0], X, regimes))
    click.echo()
    say("± is the standard error of the paired difference; fit of a combination includes its experts.")
    say("Where a table has no regimes, as the first two, a simpler choice wins and the verdict says so.")
    say("On a table of your own: metamix compare TABLE --target COLUMN")


def whom_it_trusts(mixture: Any, X: Any, regimes: Any) -> str:
    """One sentence on which expert leads in each planted regime, read off the gate of the plain mixture."""
    plain = getattr(mixture, "mixture_", mixture)
    weights, names = plain.gate_weights(X), list(plain.named_experts_)
    parts = []
    for k in range(int(regimes.max()) + 1):
        mean = weights[regimes == k].mean(axis=0)
        lead = int(mean.argmax())
        parts.append(f"regime {k + 1} is left to {names[lead]} ({100 * mean[lead]:.0f} % of the weight)")
    return f"Inside the mixture, {' and '.join(parts)}."
