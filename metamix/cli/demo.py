"""metamix demo: the main job on data that comes with the dependencies, and on planted regimes."""

from __future__ import annotations

from typing import Any

import click

from metamix.cli.models import compare_quietly, show
from metamix.cli.screens import say
from metamix.cli.tasks import Assignment, Wishes

STORIES = {
    "diabetes": "Diabetes: how far the disease has come after a year, of 442 people",
    "breast_cancer": "Breast cancer: benign or not, 569 tumours",
    "regimes": "Planted regimes: 1000 rows that follow one law here and another there",
}
QUICK = "ridge,neighbours,boosting"
QUICK_CLASSES = "logistic,neighbours,boosting"


@click.command()
@click.option("--quick", is_flag=True, help="Three experts instead of five.")
@click.option("--jobs", type=int, default=-1, metavar="N", help="Processes; all cores if left out.")
def demo(quick: bool, jobs: int) -> None:
    """Compare combinations of models on two real tables and on planted regimes."""
    from metamix.datasets import load_example
    from metamix.tables import recognise_task

    for i, (name, story) in enumerate(STORIES.items()):
        click.echo(("\n" if i else "") + click.style(story, bold=True))
        X, y = load_example(name)
        task = recognise_task(y)
        experts = (QUICK if task == "regression" else QUICK_CLASSES) if quick else None
        wishes = Wishes(str(y.name), task, experts, 3, None, None, None, 0, jobs)
        comparison = compare_quietly(Assignment(X, y, task, None, None, None, ""), wishes, name)
        show(comparison)
        if name == "regimes":
            say(whom_it_trusts(comparison.mixtures[0], X))
    click.echo()
    say("On a table of your own: metamix compare TABLE --target COLUMN")


def whom_it_trusts(mixture: Any, X: Any) -> str:
    """One line on whose answers carry the mixture, and where that changes most."""
    import numpy as np

    weights = mixture.gate_weights(X)
    names = list(mixture.named_experts_)
    inner = getattr(mixture, "mixture_", None)
    if inner is not None:  # look through the plain mixture at the experts it is made of
        at = names.index("mixture")
        own = inner.gate_weights(X) * weights[:, [at]]
        for k, name in enumerate(inner.named_experts_):
            weights[:, names.index(name)] += own[:, k]
        weights[:, at] = 0
    del np
    return str(weights.mean(axis=0)) + str(names)
