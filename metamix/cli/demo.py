"""metamix demo: comparisons on two tables that scikit-learn provides, and on simulated regimes."""

from __future__ import annotations

from typing import Any

import click

from metamix.cli.help import Command
from metamix.cli.models import run_comparison, show_comparison
from metamix.cli.options import Options, jobs_option
from metamix.cli.output import failures, say
from metamix.cli.tables import TableData

TITLES = {
    "diabetes": "Diabetes: disease progression after one year, 442 patients",
    "breast_cancer": "Breast cancer: malignant or benign, 569 tumours",
    "regimes": "Simulated regimes: 1000 rows, linear in one region and nonlinear in the other",
}
# Used for the simulated regimes, and everywhere with --quick: a linear model, nearest neighbours, boosted trees.
FEW_EXPERTS = {"regression": "ridge,neighbours,boosting", "classification": "logistic,neighbours,boosting"}


@click.command(cls=Command, example="metamix demo --quick")
@click.option("--quick", is_flag=True, help="Three experts that need no other library.")
@jobs_option
def demo(quick: bool, jobs: int) -> None:
    """Compare combinations on tables that need no file."""
    from metamix.datasets import load_example, make_regimes

    for i, (name, title) in enumerate(TITLES.items()):
        click.echo(("\n" if i else "") + click.style(title, bold=True))
        regimes = None
        if name == "regimes":
            X, y, regimes = make_regimes(random_state=0, return_regimes=True)
        else:
            X, y = load_example(name)
        task = "classification" if name == "breast_cancer" else "regression"
        experts = [FEW_EXPERTS[task] if quick or regimes is not None else "fast"]
        options = Options("", task, experts, cv=3, jobs=jobs)
        done = run_comparison(TableData(X, y, task), options, name)
        show_comparison(done, options)
        failures(done.comparison.failures)
        if regimes is not None:
            say(leading_experts(done.comparison.mixtures[0], X, regimes))
    click.echo()
    say("Where a table has no regimes, a combination simpler than the mixture usually does as well.")
    say("For your own table: metamix compare TABLE --target COLUMN")


def leading_experts(mixture: Any, X: Any, regimes: Any) -> str:
    """Sentence with the expert of largest mean weight in each simulated regime, from the gate of the mixture."""
    specialised = getattr(mixture, "mixture_", mixture)
    weights, names = specialised.gate_weights(X), list(specialised.named_experts_)
    parts = []
    for k in range(int(regimes.max()) + 1):
        mean = weights[regimes == k].mean(axis=0)
        largest = int(mean.argmax())
        parts.append(f"{names[largest]} has {100 * mean[largest]:.0f} % of the weight in regime {k + 1}")
    return f"In the mixture, {' and '.join(parts)}."
