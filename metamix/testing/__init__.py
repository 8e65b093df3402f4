"""Checks that an expert, a gate, a likelihood or a whole plugin keeps its contract, for authors' tests."""

from __future__ import annotations

from functools import partial
from typing import Any

from sklearn.base import clone, is_classifier

from metamix import registry
from metamix.testing.demands import Checks, Make, bind, demand
from metamix.testing.expert_checks import EXPERT_CHECKS, NAMED_CHECKS
from metamix.testing.gate_checks import GATE_CHECKS
from metamix.testing.likelihood_checks import LIKELIHOOD_CHECKS

__all__ = ["check_expert", "check_gate", "check_likelihood", "check_plugin"]


def check_expert(expert: Any) -> Checks:
    """Checks of an expert: a regressor, or a classifier with `predict_proba`, that takes columns of numbers.

    Parameters
    ----------
    expert : estimator
        Unfitted; it is cloned, never changed.

    Yields
    ------
    (str, callable)
        Name of a check, and the check: called without arguments it raises AssertionError, or whatever the
        expert raises, where the contract is broken.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> for name, check in check_expert(Ridge()):
    ...     check()
    """
    yield from bind(EXPERT_CHECKS, partial(clone, expert), is_classifier(expert))


def check_gate(gate: Any) -> Checks:
    """Checks of a gate: soft labels in, weights out; yields as `check_expert` does.

    Parameters
    ----------
    gate : gate
        Unfitted; it is cloned, never changed.

    Yields
    ------
    (str, callable)

    Examples
    --------
    >>> from metamix.gates import ConstantGate
    >>> for name, check in check_gate(ConstantGate()):
    ...     check()
    """
    yield from bind(GATE_CHECKS, partial(clone, gate))


def check_likelihood(likelihood: Any) -> Checks:
    """Checks of a likelihood, of numbers, counts or classes; yields as `check_expert` does.

    One that cannot read predictions of shape (n, K) is taken to be of classes, (n, K, C).

    Parameters
    ----------
    likelihood : likelihood
        Unfitted; it is cloned, never changed.

    Yields
    ------
    (str, callable)

    Examples
    --------
    >>> from metamix.likelihoods import Gaussian
    >>> for name, check in check_likelihood(Gaussian()):
    ...     check()
    """
    yield from bind(LIKELIHOOD_CHECKS, partial(clone, likelihood))


def check_plugin(distribution: str) -> Checks:
    """Checks of every part that a distribution registers; yields as `check_expert` does.

    Experts found by name must also take frames of mixed columns with missing values, labels of text and
    targets of any unit, and use one thread unless told otherwise.

    Parameters
    ----------
    distribution : str
        Name of an installed distribution, as in its pyproject.toml.

    Yields
    ------
    (str, callable)

    Raises
    ------
    ValueError
        If no part is registered under that name.

    Examples
    --------
    >>> names = [name for name, check in check_plugin("metamix")]
    >>> "regressors/ridge/same_seed_same_answer" in names
    True
    """
    wanted = distribution.lower().replace("_", "-").replace(".", "-")
    rows = [row for row in registry.describe() if row.distribution == wanted]
    if not rows:
        known = ", ".join(sorted({row.distribution for row in registry.describe()})) or "none"
        raise ValueError(f"No part is registered by the distribution {distribution!r}; those that do: {known}.")
    for row in rows:
        make = partial(_make, row)
        for name, check in _checks_of(row.kind, make):
            yield f"{row.kind}/{row.name}/{name}", check


def _make(row: registry.PartRow) -> Any:
    part = getattr(registry, row.kind)[f"{row.distribution}:{row.name}"]()
    method = {"gates": "predict_proba", "likelihoods": "log_prob"}.get(row.kind, "predict")
    demand(hasattr(part, "fit") and hasattr(part, method), f"{row.value} gives a part without fit or {method}")
    return part


def _is_a_part(make: Make) -> None:
    make()


def _checks_of(kind: str, make: Make) -> Checks:
    yield "is_a_part", partial(_is_a_part, make)
    if kind == "gates":
        yield from bind(GATE_CHECKS, make)
    elif kind == "likelihoods":
        yield from bind(LIKELIHOOD_CHECKS, make)
    else:
        yield from bind(EXPERT_CHECKS, make, kind == "classifiers")
        yield from bind(NAMED_CHECKS, make, kind == "classifiers")
