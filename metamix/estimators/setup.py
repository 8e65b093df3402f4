"""From parameters and checked data to what training takes: experts, gates, features and settings, prepared once."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from metamix.data.gate_features import GateFeatures
from metamix.estimators.resolution import (
    ResolvedGates,
    constant_gate,
    gate_features,
    proxy_gate,
    some_alike,
)
from metamix.fitting import NamedExpert, Problem, name_and_prepare, place_experts, prepare
from metamix.gates import GaussianGate, OnlineGate
from metamix.protocols import SequentialGate
from metamix.training.alternation import MixtureSettings
from metamix.training.candidates import CandidateSettings
from metamix.training.online import OnlineSettings
from metamix.training.regime_search import SearchSettings, from_user
from metamix.training.stacking import EstimatorStack

__all__ = ["FitSetup", "draw_seeds", "set_up", "set_up_online"]

#: Rounds of the alternation at most, with folds and in sample.
MAX_ROUNDS, MAX_ROUNDS_IN_SAMPLE = 10, 1000


@dataclass(frozen=True)
class FitSetup:
    """What a fit is made of.

    Parameters
    ----------
    experts : list of NamedExpert
    candidates : CandidateSettings
    mixture : MixtureSettings
    """

    experts: list[NamedExpert]
    candidates: CandidateSettings
    mixture: MixtureSettings


def draw_seeds(random_state: Any, named: Sequence[tuple[str, Any]]) -> NDArray[np.int64]:
    """A seed for each expert, decided by its name and not its place, and then for the gate, the folds and the search.

    Examples
    --------
    >>> one, other = draw_seeds(0, [("a", None), ("b", None)]), draw_seeds(0, [("b", None), ("a", None)])
    >>> bool((one[[1, 0, 2, 3, 4]] == other).all())
    True
    """
    most = np.iinfo(np.int32).max
    first, *others = check_random_state(random_state).randint(most, size=4)
    return np.array([*((int(first) + zlib.crc32(name.encode())) % most for name, _ in named), *others])


def set_up(
    mixture: Any,
    named: Sequence[tuple[str, Any]],
    gates: ResolvedGates,
    problem: Problem,
    classes: NDArray[Any] | None,
    seeds: NDArray[np.int64],
    *,
    in_sample: bool = False,
) -> FitSetup:
    """Prepare experts, gates and settings of a mixture for some rows.

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Its parameters are read.
    named : sequence of (str, estimator)
    gates : ResolvedGates
    problem : Problem
    classes : ndarray of shape (C,) or None
    seeds : ndarray of int
        From `draw_seeds`.
    in_sample : bool
        Whether this is EM in sample.

    Raises
    ------
    ValueError
        If there are fewer rows than experts, or a start or the gate features do not fit the rows.
    """
    known_number = isinstance(mixture.n_experts, Integral)
    components = int(mixture.n_experts) if known_number else len(named)
    if components > problem.n:
        raise ValueError(
            f"{components} experts need at least as many rows, got n_samples = {problem.n}; "
            f"name fewer experts{', set n_experts lower' if known_number else ''}, or bring more rows."
        )
    features = gate_features(mixture.gate_features, gates).fit(problem.X, problem.y)
    base = features.base(problem.X)
    over_experts = gates.n_over_experts(base)
    gates = replace(gates, gates=gates.gates_for(base))
    if in_sample:
        gates = gates.unpenalised()
    placements = place_experts([*named, *gates.named], mixture.device)
    experts = name_and_prepare(named, list(seeds), placements)
    prepared = tuple(
        prepare(gate, int(seeds[-3]), placement.settings)
        for gate, placement in zip(gates.gates, placements[len(named) :], strict=True)
    )
    likelihood, stack, feature_stack = mixture._likelihood_and_stacks()
    if mixture.final_estimator is not None:
        stack = EstimatorStack(prepare(mixture.final_estimator, int(seeds[-3])), classes)
    start = mixture.start
    if not isinstance(start, str):
        start = from_user(start, problem.n, components if known_number else None)
    # Among candidates the mixture has as many regimes as are found, unless a number is given.
    blended = not in_sample and mixture.specialize is not True
    n_experts = "auto" if blended and mixture.n_experts is None else mixture.n_experts
    rounds = mixture.max_rounds
    if rounds == "auto":
        rounds = MAX_ROUNDS_IN_SAMPLE if in_sample else MAX_ROUNDS
    search = SearchSettings(
        start, n_experts, len(experts), some_alike(named), int(seeds[-1]), features, proxy_gate(), likelihood,
        _by_error(mixture, likelihood), mixture.max_regimes,
    )  # fmt: skip
    return FitSetup(
        experts,
        CandidateSettings(
            prepared[:over_experts], constant_gate(), gates.constant_competes, stack, feature_stack, likelihood,
            features, mixture.final, mixture.objective, mixture.top_k, classes, mixture.scoring,
        ),
        MixtureSettings(
            prepared, constant_gate(), gates.constant_competes, likelihood, features, search, int(rounds),
            mixture.refit, mixture.top_k, any("cuda" in placement.device for placement in placements),
        ),
    )  # fmt: skip


def set_up_online(
    mixture: Any, named: Sequence[tuple[str, Any]], gates: ResolvedGates, problem: Problem, seeds: NDArray[np.int64]
) -> OnlineSettings:
    """Prepare what a mixture needs that learns batch by batch, from the parameters and the first batch.

    Raises
    ------
    ValueError
        If a parameter needs all rows at once; the message says what does not.
    """
    for name, only in (("top_k", None), ("final", "blend")):
        if getattr(mixture, name) != only:
            raise ValueError(
                f"{name}={getattr(mixture, name)!r} is of no use without out-of-fold predictions; set {name}={only!r} "
                "to begin with partial_fit, or call fit first, which it applies to."
            )
    gate = GaussianGate() if gates.automatic else gates.gates[0] if gates.gates else constant_gate()
    if len(gates.gates) > 1 and not gates.automatic:
        raise ValueError("gate is a list of candidates, which fit compares; give one gate to begin with partial_fit.")
    if not (isinstance(gate, SequentialGate) or hasattr(gate, "partial_fit")):
        raise ValueError(
            f"gate={gate!r} needs all rows at once; give 'gmm', 'softmax', 'forest', 'constant' or 'online', or call "
            "fit first: partial_fit then continues with this gate."
        )
    if not isinstance(mixture.start, str):
        raise ValueError("start names regimes of the rows of fit; give start='auto' to begin with partial_fit.")
    if isinstance(mixture.gate_features, str) and mixture.gate_features != "x":
        raise ValueError(
            f"gate_features={mixture.gate_features!r} needs predictions; give 'x', columns or a transformer to begin "
            "with partial_fit."
        )
    features = GateFeatures(mixture.gate_features).fit(problem.X)
    likelihood = mixture._likelihood_and_stacks()[0]
    if not hasattr(likelihood, "partial_fit"):
        raise ValueError(
            f"likelihood={likelihood!r} needs all rows at once; give 'gaussian', 'laplace', 'student_t' or 'poisson'."
        )
    placements = place_experts([*named, ("gate", gate)], mixture.device)
    experts = name_and_prepare(named, list(seeds), placements)
    n_experts = mixture.n_experts
    if n_experts is None and mixture.specialize == "auto":
        n_experts = "auto"
    search = SearchSettings(
        mixture.start, n_experts, len(experts), some_alike(named), int(seeds[-1]), features, proxy_gate(), likelihood,
        _by_error(mixture, likelihood), mixture.max_regimes,
    )  # fmt: skip
    prepared = prepare(gate, int(seeds[-3]), placements[-1].settings)
    return OnlineSettings(
        experts, OnlineGate(), prepared, constant_gate(), likelihood, features, search, mixture.specialize
    )


def _by_error(mixture: Any, likelihood: Any) -> bool:
    """Whether squared errors judge numbers.

    A robust likelihood distrusts the rows that would rule squared errors, and of counts the deviance is the loss.
    """
    unlike = hasattr(likelihood, "trust") or hasattr(likelihood, "deviance")
    return mixture.objective == "prediction" and not unlike
