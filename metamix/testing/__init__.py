"""Checks of experts, gates, likelihoods and plugins, to be run by the tests of their authors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sklearn.base import clone, is_classifier

from metamix import registry
from metamix.testing.assertions import Checks, Factory, bind_checks, require
from metamix.testing.capability_checks import capabilities_are_declared
from metamix.testing.common_checks import COMMON_CHECKS
from metamix.testing.expert_checks import CLASSIFIER_CHECKS, EXPERT_CHECKS, NAMED_CHECKS, expert_trial
from metamix.testing.gate_checks import GATE_CHECKS, gate_trial
from metamix.testing.likelihood_checks import LIKELIHOOD_CHECKS, likelihood_trial

__all__ = ["check_expert", "check_gate", "check_likelihood", "check_plugin", "parametrize_with_checks"]


def check_expert(expert: Any) -> Checks:
    """Yield checks of an expert: a regressor, or a classifier with `predict_proba`, for numeric columns.

    Parameters
    ----------
    expert : estimator
        Unfitted; it is cloned and not changed.

    Yields
    ------
    (str, callable)
        Name of a check, and the check. Called without arguments it raises AssertionError, or the exception of
        the expert, if the check fails.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> for name, check in check_expert(Ridge()):
    ...     check()
    """
    yield from _expert_checks(partial(clone, expert), is_classifier(expert))


def check_gate(gate: Any) -> Checks:
    """Yield checks of a gate, as `check_expert` does.

    Parameters
    ----------
    gate : gate
        Unfitted; it is cloned and not changed.

    Yields
    ------
    (str, callable)

    Examples
    --------
    >>> from metamix.gates import ConstantGate
    >>> for name, check in check_gate(ConstantGate()):
    ...     check()
    """
    yield from _gate_checks(partial(clone, gate))


def check_likelihood(likelihood: Any) -> Checks:
    """Yield checks of a likelihood for numbers, counts or classes, as `check_expert` does.

    A likelihood that raises an error for predictions of shape (n, K) is checked with class probabilities (n, K, C).

    Parameters
    ----------
    likelihood : likelihood
        Unfitted; it is cloned and not changed.

    Yields
    ------
    (str, callable)

    Examples
    --------
    >>> from metamix.likelihoods import Gaussian
    >>> for name, check in check_likelihood(Gaussian()):
    ...     check()
    """
    yield from _likelihood_checks(partial(clone, likelihood))


def check_plugin(distribution: str) -> Checks:
    """Yield checks of every part that a distribution registers, as `check_expert` does.

    Entry points must declare what their parts can do. Registered experts must also support data frames with mixed
    columns and missing values, string labels and targets of any scale, and use one thread by default.

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
        If the distribution registers no part.

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
        raise ValueError(f"The distribution {distribution!r} registers no part; distributions with parts: {known}.")
    for row in rows:
        make = partial(_make, row)
        for name, check in _checks_of(row, make):
            yield f"{row.kind}/{row.name}/{name}", check


def parametrize_with_checks(checks: Checks) -> Callable[[Any], Any]:
    """Decorator for a test of pytest that is run once for each check, under its name.

    Parameters
    ----------
    checks : iterable of (str, callable)
        As `check_expert`, `check_gate`, `check_likelihood` and `check_plugin` yield them.

    Returns
    -------
    callable
        A decorator. The test has one argument, `check`.

    Examples
    --------
    >>> from metamix.gates import ConstantGate
    >>> @parametrize_with_checks(check_gate(ConstantGate()))
    ... def test_gate(check):
    ...     check()
    """
    import pytest

    return pytest.mark.parametrize("check", [pytest.param(check, id=name) for name, check in checks])


def _make(row: registry.PartRow) -> Any:
    part = getattr(registry, row.kind)[f"{row.distribution}:{row.name}"]()
    method = {"gates": "predict_proba", "likelihoods": "log_prob"}.get(row.kind, "predict")
    require(hasattr(part, "fit") and hasattr(part, method), f"{row.value} returns a part without fit or {method}")
    return part


def _is_a_part(make: Factory) -> None:
    make()


def _checks_of(row: registry.PartRow, make: Factory) -> Checks:
    yield "is_a_part", partial(_is_a_part, make)
    if row.kind == "gates":
        trial, checks = gate_trial(make), _gate_checks(make)
    elif row.kind == "likelihoods":
        trial, checks = likelihood_trial(make), _likelihood_checks(make)
    else:
        classes = row.kind == "classifiers"
        trial, checks = expert_trial(make, classes), _expert_checks(make, classes)
    yield from bind_checks((capabilities_are_declared,), trial, row)
    yield from checks
    if row.kind in ("regressors", "classifiers"):
        yield from bind_checks(NAMED_CHECKS, make, row.kind == "classifiers")


def _expert_checks(make: Factory, classes: bool) -> Checks:
    yield from bind_checks(COMMON_CHECKS, expert_trial(make, classes))
    yield from bind_checks(EXPERT_CHECKS, make, classes)
    yield from bind_checks(CLASSIFIER_CHECKS if classes else (), make, classes)


def _gate_checks(make: Factory) -> Checks:
    yield from bind_checks(COMMON_CHECKS, gate_trial(make))
    yield from bind_checks(GATE_CHECKS, make)


def _likelihood_checks(make: Factory) -> Checks:
    yield from bind_checks(COMMON_CHECKS, likelihood_trial(make))
    yield from bind_checks(LIKELIHOOD_CHECKS, make)
