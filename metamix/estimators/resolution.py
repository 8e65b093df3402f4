"""From what the user wrote to parts: names resolved, experts named, parameters checked; once, in fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from metamix import registry
from metamix.devices import check_device
from metamix.fitting import prepare
from metamix.gates import ClassifierGate, LineGate
from metamix.training.sharpening import Rival
from metamix.training.starts import NAMES

__all__ = [
    "accepts",
    "check_parameters",
    "default_rivals",
    "name_experts",
    "resolve_experts",
    "resolve_gate",
    "resolve_likelihood",
]

RESERVED = ("mixture", "stack")


def name_experts(experts: Iterable[Any]) -> list[tuple[str, Any]]:
    """Pairs (name, expert) in order; unnamed ones are called after their class, as `make_pipeline` does.

    Examples
    --------
    >>> [name for name, _ in name_experts(["ridge", "ridge", ("mine", "forest")])]
    ['ridge-1', 'ridge-2', 'mine']
    """
    given: list[tuple[str | None, str, Any]] = []
    for expert in experts:
        if isinstance(expert, tuple):
            if len(expert) != 2 or not isinstance(expert[0], str):
                raise ValueError(f"an expert is a name, an estimator or a (name, estimator) pair; got {expert!r}.")
            given.append((expert[0], expert[0], expert[1]))
        elif isinstance(expert, str):
            given.append((None, expert, expert))
        else:
            given.append((None, type(expert).__name__.lower(), expert))
    words = [word for _, word, _ in given]
    taken = {own for own, _, _ in given if own is not None}
    named: list[tuple[str, Any]] = []
    for own, word, expert in given:
        name = word
        if own is None and words.count(word) > 1:
            number = 1
            while f"{word}-{number}" in taken:
                number += 1
            name = f"{word}-{number}"
        taken.add(name)
        named.append((name, expert))
    return named


def resolve_experts(experts: Any, known: Mapping[str, Any], own: Iterable[str]) -> list[tuple[str, Any]]:
    """Named, unfitted estimators.

    Parameters
    ----------
    experts : list of names, estimators or (name, estimator)
    known : Mapping
        Registry of experts by name.
    own : iterable of str
        The mixture's parameters, which no expert may be called.

    Raises
    ------
    ValueError
        For an empty list, an unknown name, two experts of one name, or something that cannot be fitted.

    Examples
    --------
    >>> resolve_experts([], {}, [])
    Traceback (most recent call last):
    ...
    ValueError: experts is empty; give at least one, such as experts=['ridge', 'boosting'].
    """
    if isinstance(experts, str) or not isinstance(experts, Iterable):
        raise ValueError(f"experts={experts!r} is not a list; give one, such as experts=['ridge', 'boosting'].")
    named = name_experts(experts)
    if not named:
        raise ValueError("experts is empty; give at least one, such as experts=['ridge', 'boosting'].")
    names = [name for name, _ in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two experts are called {twice[0]!r}; give each a name of its own, as (name, estimator).")
    taken = {*RESERVED, *own}
    for name in names:
        if name in taken or "__" in name:
            raise ValueError(
                f"an expert cannot be called {name!r}: that is a parameter or column of the mixture, or holds '__'; "
                "choose another name, as (name, estimator)."
            )
    resolved = []
    for name, expert in named:
        part = known[expert]() if isinstance(expert, str) else expert
        if isinstance(part, type) or not (hasattr(part, "fit") and hasattr(part, "get_params")):
            raise ValueError(
                f"expert {name!r} is {part!r}, which is no estimator; it needs fit, predict and get_params, "
                "as scikit-learn's estimators have."
            )
        resolved.append((name, part))
    return resolved


def resolve_gate(gate: Any) -> tuple[Any, bool]:
    """An unfitted gate, and whether it is the user's own classifier, which gets X as it came.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> resolve_gate(DecisionTreeClassifier())
    (ClassifierGate(classifier=DecisionTreeClassifier()), True)
    """
    if isinstance(gate, str):
        return registry.gates[gate](), False
    if isinstance(gate, type) or not (hasattr(gate, "fit") and hasattr(gate, "predict_proba")):
        raise ValueError(
            f"gate={gate!r} is no gate; give a name ({', '.join(registry.gates)}), a gate of metamix.gates, "
            "or any scikit-learn classifier."
        )
    if hasattr(gate, "__sklearn_tags__") and is_classifier(gate):
        return ClassifierGate(gate), True
    return gate, isinstance(gate, ClassifierGate)


def default_rivals(seed: int) -> tuple[Rival, ...]:
    """Gates that compete with the default one where rows are few: bagged trees, and interpolation along a line.

    With half a standard error bagged trees were best or nearly so on borders along columns, and no worse than the
    softmax gate on oblique ones. Interpolation is given two: a row that is held out was what told the border next
    to it, so folds judge it by gaps wider than the ones that it is for (DECISIONS.md).
    """
    trees = prepare(registry.gates["forest"](sharpness=2.0), seed)
    return Rival(trees, 0.5), Rival(LineGate(), 2.0, line=True)


def resolve_likelihood(likelihood: Any) -> Any:
    """An unfitted likelihood.

    Examples
    --------
    >>> resolve_likelihood("gaussian")
    Gaussian()
    """
    if isinstance(likelihood, str):
        return registry.likelihoods[likelihood]()
    if isinstance(likelihood, type) or not (hasattr(likelihood, "fit") and hasattr(likelihood, "log_prob")):
        raise ValueError(f"likelihood={likelihood!r} is no likelihood; give one of {', '.join(registry.likelihoods)}.")
    return likelihood


def check_parameters(mixture: Any) -> None:
    """Refuse parameters that no fit could make sense of, saying what would do.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> check_parameters(MixtureRegressor(max_rounds=0))
    Traceback (most recent call last):
    ...
    ValueError: max_rounds=0 is no number of rounds; give 1, 2, ... or 'auto'.
    """
    allowed: dict[str, tuple[Any, ...]] = {
        "specialize": (True, False, "auto"),
        "objective": ("prediction", "likelihood"),
        "on_error": ("drop", "raise"),
        "refit": (True, False),
    }
    for name, values in allowed.items():
        value = getattr(mixture, name)
        if not any(type(value) is type(one) and value == one for one in values):
            raise ValueError(f"{name}={value!r} is unknown; give one of {', '.join(map(repr, values))}.")
    check_device(mixture.device)
    for name, what, other in (
        ("max_rounds", "number of rounds", ("auto",)),
        ("n_experts", "number of regimes", ("auto", None)),
        ("top_k", "number of experts to keep", (None,)),
    ):
        value = getattr(mixture, name)
        if (value is None and None in other) or (isinstance(value, str) and value in other):
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            listed = " or ".join(map(repr, other))
            raise ValueError(f"{name}={value!r} is no {what}; give 1, 2, ... or {listed}.")
    if isinstance(mixture.start, str) and mixture.start not in (*NAMES, "proxy", "auto"):
        known = ", ".join((*NAMES, "proxy", "auto"))
        raise ValueError(f"start={mixture.start!r} is unknown; give one of {known}, labels or an (n, K) array.")
    if mixture.cv is None and mixture.n_experts is not None:
        raise ValueError("n_experts chooses experts out of fold, which cv=None has none of; set cv=5.")


def accepts(estimator: Any, tag: str) -> bool:
    """Whether an estimator takes input of a kind: "sparse", "allow_nan", "string" or "categorical".

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> accepts(Ridge(), "sparse"), accepts(Ridge(), "allow_nan")
    (True, False)
    """
    if isinstance(estimator, Pipeline) and tag != "sparse":
        # A pipeline does not say what its first step would take.
        return accepts(estimator.steps[0][1], tag)
    inner = getattr(estimator, "regressor", None)  # TransformedTargetRegressor neither
    if inner is not None and tag != "sparse":
        return accepts(inner, tag)
    return bool(getattr(get_tags(estimator).input_tags, tag, False))
