"""From what the user wrote to parts: names resolved, experts named, parameters checked; once, in fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from metamix import registry
from metamix.data.gate_features import GateFeatures
from metamix.experts.on_columns import OnColumns, on_columns
from metamix.gates import ClassifierGate, ConstantGate, ForestGate, GaussianGate, SoftmaxGate
from metamix.training.candidates import CANDIDATES

__all__ = [
    "GivenExpert",
    "ResolvedGates",
    "constant_gate",
    "gate_features",
    "input_tags",
    "name_experts",
    "proxy_gate",
    "resolve_experts",
    "resolve_gates",
    "resolve_likelihood",
    "some_alike",
    "try_likelihood",
]

#: Names of columns and candidates, which no expert may have.
RESERVED = {*CANDIDATES, "mean", "blend", "stacking", "oracle"}
#: In the place of an expert: it takes no part, as in scikit-learn's VotingClassifier.
DROP = "drop"
#: The likelihood that takes probabilities of classes.
CLASSES_ONLY = "categorical"
#: Gates given by name look at so many principal components where x has more columns.
MOST_GATE_COLUMNS = 40
#: Trees of the forest among the candidates for the gate.
AUTO_TREES = 30
#: Gates with squares and products of the columns are candidates up to so many columns.
MOST_QUADRATIC_COLUMNS = 12


class GivenExpert(NamedTuple):
    """An entry of the list of experts: its name, a name or an estimator, and the columns that it sees (None: all)."""

    name: str
    expert: Any
    columns: Any = None

    @property
    def entry(self) -> tuple[Any, ...]:
        """The entry as the user may write it."""
        return (self.name, self.expert) if self.columns is None else tuple(self)


def name_experts(experts: Iterable[Any]) -> list[GivenExpert]:
    """Experts with names, in order; unnamed ones are called after their class, as `make_pipeline` does.

    Examples
    --------
    >>> [one.name for one in name_experts(["ridge", "ridge", ("mine", "forest"), ("near", "neighbours", ["lat"])])]
    ['ridge-1', 'ridge-2', 'mine', 'near']
    """
    given: list[tuple[str | None, str, Any, Any]] = []
    for expert in experts:
        if isinstance(expert, type):
            raise ValueError(f"an expert is the class {expert.__name__}; give an object of it, {expert.__name__}().")
        if isinstance(expert, tuple):
            if len(expert) not in (2, 3) or not isinstance(expert[0], str):
                raise ValueError(
                    "an expert is a name, an estimator, a pair (name, estimator) or a triple (name, estimator, "
                    f"columns); got {expert!r}."
                )
            if not expert[0]:
                raise ValueError(f"an expert has the empty name ''; give a name, as in ('mine', {expert[1]!r}).")
            given.append((expert[0], expert[0], expert[1], expert[2] if len(expert) == 3 else None))
        elif isinstance(expert, str):
            given.append((None, expert, expert, None))
        else:
            given.append((None, type(expert).__name__.lower(), expert, None))
    words = [word for _, word, _, _ in given]
    taken = {own for own, _, _, _ in given if own is not None}
    named: list[GivenExpert] = []
    for own, word, expert, columns in given:
        name = word
        if own is None and words.count(word) > 1:
            number = 1
            while f"{word}-{number}" in taken:
                number += 1
            name = f"{word}-{number}"
        taken.add(name)
        named.append(GivenExpert(name, expert, columns))
    return named


def resolve_experts(
    experts: Any, known: Mapping[str, Any], own: Iterable[str], *, classifier: bool = False
) -> list[tuple[str, Any]]:
    """Named, unfitted estimators.

    Parameters
    ----------
    experts : list of names, estimators, (name, estimator) or (name, estimator, columns)
        Those in whose place is "drop" are left out.
    known : Mapping
        Registry of experts by name.
    own : iterable of str
        The mixture's parameters, which no expert may be called.
    classifier : bool
        Whether the experts predict classes.

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
    named = name_experts(_listed(experts))
    if not named:
        raise ValueError("experts is empty; give at least one, such as experts=['ridge', 'boosting'].")
    dropped = [one.name for one in named if isinstance(one.expert, str) and one.expert == DROP]
    if len(dropped) == len(named):
        raise ValueError(f"every expert is dropped ({', '.join(dropped)}); keep at least one.")
    names = [one.name for one in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two experts are called {twice[0]!r}; give each a name of its own, as (name, estimator).")
    taken = RESERVED | set(own)
    for name in names:
        if name in taken or "__" in name:
            raise ValueError(
                f"an expert cannot be called {name!r}: that is a parameter, column or candidate of the mixture, or "
                "contains '__'; "
                "choose another name, as (name, estimator)."
            )
    resolved = []
    for name, expert, columns in named:
        if name in dropped:
            continue
        part = known[expert]() if isinstance(expert, str) else expert
        _check_expert(name, part, classifier)
        resolved.append((name, part if columns is None else on_columns(part, columns)))
    return resolved


def _listed(experts: Any) -> list[Any]:
    """Experts as a list; ValueError for what has no order, or can be read only once."""
    if isinstance(experts, str) or not isinstance(experts, Iterable):
        raise ValueError(f"experts={experts!r} is not a list; give one, such as experts=['ridge', 'boosting'].")
    if isinstance(experts, Mapping | Set | Iterator):
        what, remedy = "can be read only once", "list(experts)"
        if isinstance(experts, Mapping):
            what, remedy = "is not a list", "list(experts.items())"
        elif isinstance(experts, Set):
            what, remedy = "has no order", "sorted(experts)"
        raise ValueError(f"experts is a {type(experts).__name__}, which {what}; give a list, for example {remedy}.")
    return list(experts)


def _check_expert(name: str, part: Any, classifier: bool) -> None:
    """ValueError where a part cannot be an expert for numbers or for classes."""
    if isinstance(part, type):
        raise ValueError(f"expert {name!r} is the class {part.__name__}; give an object of it, {part.__name__}().")
    predicts = hasattr(part, "predict") or (classifier and hasattr(part, "predict_proba"))
    if not (predicts and hasattr(part, "fit") and hasattr(part, "get_params")):
        raise ValueError(
            f"expert {name!r} is {part!r}, which is no estimator; it needs fit, predict and get_params, "
            "as scikit-learn's estimators have."
        )
    if not hasattr(part, "__sklearn_tags__"):
        return
    kind, wanted = ("regressor", "classifier") if classifier else ("classifier", "regressor")
    if (is_regressor if classifier else is_classifier)(part):
        face = "MixtureClassifier" if classifier else "MixtureRegressor"
        raise ValueError(f"expert {name!r} is a {kind}, {part!r}, and {face} combines {wanted}s; give a {wanted}.")


def resolve_gate(gate: Any) -> Any:
    """An unfitted gate from a name, a gate or a classifier.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> resolve_gate(DecisionTreeClassifier())
    ClassifierGate(classifier=DecisionTreeClassifier())
    """
    if isinstance(gate, str):
        return registry.gates[gate]()
    if isinstance(gate, type):
        raise ValueError(f"gate is the class {gate.__name__}; give an object of it, {gate.__name__}().")
    if not (hasattr(gate, "fit") and hasattr(gate, "predict_proba")):
        raise ValueError(
            f"gate={gate!r} is no gate; give 'auto', a name ({', '.join(registry.gates)}), a gate of metamix.gates, "
            "any scikit-learn classifier, or a list of these."
        )
    if hasattr(gate, "__sklearn_tags__") and is_classifier(gate):
        return ClassifierGate(gate)
    if not has_fit_parameter(gate, "sample_weight"):
        raise ValueError(
            f"gate={gate!r} is no gate, since its fit takes no sample_weight; a gate has fit(X, responsibilities, "
            "sample_weight=None) and predict_proba(X). Give one of metamix.gates, or any scikit-learn classifier."
        )
    return gate


@dataclass(frozen=True)
class ResolvedGates:
    """Gates, unfitted, with all names resolved.

    Parameters
    ----------
    gates : list of gates
        Candidates, the simplest first.
    constant_competes : bool
        Whether constant weights are a candidate.
    by_name : bool
        Gates by name look at encoded columns, wide tables reduced; others at what they are given.
    raw : bool
        Whether the gates are classifiers of the user's, which get X as it came.
    automatic : bool
        Whether the user named none.
    """

    gates: list[Any]
    constant_competes: bool
    by_name: bool
    raw: bool
    automatic: bool = False

    @property
    def named(self) -> list[tuple[str, Any]]:
        """Gates as named parts, for the placement on devices."""
        return [("gate", gate) for gate in self.gates]

    def gates_for(self, base: Any) -> list[Any]:
        """The gates that can look at these gate features: of "auto", quadratic ones need few, dense columns."""
        return [gate for gate in self.gates if _few(base) or not self.automatic or not _is_quadratic(gate)]

    def unpenalised(self) -> ResolvedGates:
        """The gates of maximum likelihood: without the penalties that are chosen out of fold, or for the user."""
        found = []
        for gate in self.gates:
            if getattr(gate, "penalty", None) == "path":
                gate = clone(gate).set_params(penalty=0)
            elif self.by_name and type(gate) is GaussianGate:
                gate = clone(gate).set_params(shrinkage=0)
            found.append(gate)
        return replace(self, gates=found)

    def n_over_experts(self, base: Any) -> int:
        """How many of `gates_for` are candidates for the gate over experts and stacks.

        With many columns "auto" has only its first gate there: a forest took ten times as long and was never chosen.
        """
        return 1 if self.automatic and not _few(base) else len(self.gates_for(base))


def _few(base: Any) -> bool:
    return isinstance(base, np.ndarray) and 0 < base.shape[1] <= MOST_QUADRATIC_COLUMNS


def _is_quadratic(gate: Any) -> bool:
    return getattr(gate, "degree", 1) == 2 or type(gate) is GaussianGate


def resolve_gates(gate: Any) -> ResolvedGates:
    """Gates from "auto", a name, a gate, a classifier, or a list of these.

    Raises
    ------
    ValueError
        For something that is no gate.

    Examples
    --------
    >>> resolve_gates(["constant", "softmax"])
    ResolvedGates(gates=[SoftmaxGate()], constant_competes=True, by_name=True, raw=False, automatic=False)
    """
    if isinstance(gate, str) and gate == "auto":
        return ResolvedGates(auto_gates(), True, True, False, automatic=True)
    several = list(gate) if isinstance(gate, list | tuple) else [gate]
    if not several:
        raise ValueError("gate is an empty list; give 'auto', a gate, or a list of gates, the simplest first.")
    gates = [resolve_gate(one) for one in several]
    constant = len(gates) > 1 and any(isinstance(one, ConstantGate) for one in gates)
    gates = [one for one in gates if not (constant and isinstance(one, ConstantGate))]
    by_name = all(isinstance(one, str) for one in several)
    raw = not by_name and all(isinstance(one, ClassifierGate) for one in gates)
    return ResolvedGates(gates, constant, by_name, raw)


def gate_features(kind: Any, gates: ResolvedGates) -> GateFeatures:
    """What the gates look at, unfitted."""
    return GateFeatures(kind, gates.raw, MOST_GATE_COLUMNS if gates.by_name else None)


def some_alike(experts: Iterable[tuple[str, Any]]) -> bool:
    """Whether some experts are equal, so that a uniform start could not separate them.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> some_alike([("a", Ridge()), ("b", Ridge())]), some_alike([("a", Ridge()), ("b", Ridge(2.0))])
    (True, False)
    """
    shown = [
        (repr(expert), tuple(expert.steps[0][1].columns) if isinstance(expert, OnColumns) else None)
        for _, expert in experts
    ]
    return len(set(shown)) < len(shown)


def auto_gates() -> list[Any]:
    """Candidates for the gate where the user names none, the simplest first; constant weights come before them.

    Examples
    --------
    >>> [type(gate).__name__ for gate in auto_gates()]
    ['SoftmaxGate', 'SoftmaxGate', 'GaussianGate', 'ForestGate']
    """
    return [SoftmaxGate(), SoftmaxGate(degree=2), GaussianGate(), ForestGate(AUTO_TREES)]


def constant_gate() -> Any:
    """The gate of constant weights, unfitted."""
    return ConstantGate()


def proxy_gate() -> Any:
    """The gate of proxy mixtures, unfitted: a few steps at a moderate penalty."""
    return SoftmaxGate(penalty=0.01, max_iter=50, tol=1e-3)


def resolve_likelihood(likelihood: Any) -> Any:
    """An unfitted likelihood.

    Examples
    --------
    >>> resolve_likelihood("gaussian")
    Gaussian()
    """
    if isinstance(likelihood, type):
        raise ValueError(f"likelihood is the class {likelihood.__name__}; give an object, {likelihood.__name__}().")
    if isinstance(likelihood, str) and likelihood != CLASSES_ONLY:
        return registry.likelihoods[likelihood]()
    if not (hasattr(likelihood, "fit") and hasattr(likelihood, "log_prob")):
        what = "is for classes, and y is numbers" if isinstance(likelihood, str) else "is no likelihood"
        raise ValueError(f"likelihood={likelihood!r} {what}; give one of {_likelihoods_of_numbers()}.")
    return likelihood


def _likelihoods_of_numbers() -> str:
    return ", ".join(name for name in registry.likelihoods if name != CLASSES_ONLY)


def try_likelihood(likelihood: Any, y: NDArray[np.float64]) -> None:
    """Fit a likelihood of numbers around their mean, before any expert is fitted.

    Raises
    ------
    ValueError
        If it is not for these numbers, such as one for counts where some are negative, or not for numbers at all.

    Examples
    --------
    >>> from metamix.likelihoods import Categorical
    >>> try_likelihood(Categorical(), np.array([1.0, 2.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: likelihood=Categorical() is not for numbers (IndexError: tuple index out of range); give one of \
gaussian, laplace, ...
    """
    for target in y.reshape(len(y), -1).T:
        centre = np.full((len(y), 1), target.mean())
        try:
            clone(likelihood).fit(target, centre, np.ones_like(centre), X=centre).log_prob(target, centre, X=centre)
        except ValueError as error:
            raise ValueError(f"likelihood={likelihood!r} cannot be used for this y: {error}") from error
        except Exception as error:  # a foreign likelihood may raise anything
            raise ValueError(
                f"likelihood={likelihood!r} is not for numbers ({type(error).__name__}: {error}); give one of "
                f"{_likelihoods_of_numbers()}."
            ) from error


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


def input_tags(experts: Iterable[Any], gates: ResolvedGates, features: Any) -> dict[str, bool]:
    """What input a mixture of these parts takes: scikit-learn's input tags by name.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> input_tags([Ridge()], resolve_gates("constant"), "x")
    {'sparse': True, 'allow_nan': False, 'string': False, 'categorical': False}
    """
    parts = [*experts, *(gate.classifier for gate in gates.gates if gates.raw)]
    found = {tag: all(accepts(part, tag) for part in parts) for tag in ("sparse", "allow_nan", "string", "categorical")}
    if not gates.raw and not isinstance(features, str):
        found["sparse"] = False  # columns are named, or a transformer of the user's is asked
    return found
