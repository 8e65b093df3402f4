"""From what the user wrote to parts: names resolved, experts named, parameters checked; once, in fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from metamix import registry
from metamix.gates import ClassifierGate

__all__ = ["accepts", "choice", "name_experts", "resolve_experts", "resolve_gate", "resolve_likelihood"]

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
    total: dict[str, int] = {}
    for own, word, _ in given:
        if own is None:
            total[word] = total.get(word, 0) + 1
    seen: dict[str, int] = {}
    named = []
    for own, word, expert in given:
        if own is None and total[word] > 1:
            seen[word] = seen.get(word, 0) + 1
            word = f"{word}-{seen[word]}"
        named.append((word, expert))
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
    if is_classifier(gate):
        return ClassifierGate(gate), True
    if isinstance(gate, type) or not (hasattr(gate, "fit") and hasattr(gate, "predict_proba")):
        raise ValueError(
            f"gate={gate!r} is no gate; give a name ({', '.join(registry.gates)}), a gate of metamix.gates, "
            "or any scikit-learn classifier."
        )
    return gate, isinstance(gate, ClassifierGate)


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


def choice(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """The value, or a ValueError that says what would do.

    Examples
    --------
    >>> choice("on_error", "drop", ("drop", "raise"))
    'drop'
    """
    if any(value is one or (type(value) is type(one) and value == one) for one in allowed):
        return value
    raise ValueError(f"{name}={value!r} is unknown; give one of {', '.join(map(repr, allowed))}.")


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
