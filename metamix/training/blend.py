"""What was learned about candidates and blend: for each target, and for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.gate_features import StackColumns
from metamix.fitting.out_of_fold import Failure
from metamix.recombination import combine, keep_top
from metamix.training.prediction import Combination, GateRows, admissible
from metamix.training.recalibration import Calibration
from metamix.training.variance import ColumnVariance

__all__ = ["FittedBlend", "TargetBlend"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TargetBlend:
    """What was learned about one target.

    Parameters
    ----------
    stacks : dict from column to (fitted stack, how many columns of the first level it sees)
    mean : float or ndarray of shape (C,)
        Mean of y, or the shares of the classes.
    gate : fitted gate
        Over the columns `gate_columns`.
    gate_columns : ndarray of int
    gate_share : float
        Weight of the candidate "gated" in the blend.
    candidate_weights : dict from candidate to ndarray of shape (K,)
        Weights of the columns that make each candidate; None for the gated one.
    constant_weights : ndarray of shape (K,)
        What the other candidates of the blend contribute; sums to 1 - gate_share.
    likelihood : fitted likelihood
    variance : ColumnVariance or None
    calibration : Calibration or None
    predictions, responsibilities : ndarray of shape (n, K) or (n, K, C), and (n, K)
        Out of fold.
    candidates : list of dict
        A row for each candidate, and one for the blend.
    verdict : Verdict
        None where there were no folds, since everything was learned batch by batch.
    shares : ndarray of shape (K,) or None
        Mean weights of the columns, out of fold.
    """

    stacks: dict[str, tuple[Any, int]]
    mean: Any
    gate: Any
    gate_columns: NDArray[np.intp]
    gate_share: float
    candidate_weights: dict[str, Array | None]
    constant_weights: Array
    likelihood: Any
    variance: ColumnVariance | None
    calibration: Calibration | None
    predictions: Array
    responsibilities: Array
    candidates: list[dict[str, Any]]
    verdict: Any
    shares: Array | None = None

    def weights(self, given: Array | None, n: int, top_k: int | None) -> Array:
        """Weights (n, K) of the columns, from those of the gate (n, G); None where it has no share."""
        weights = np.tile(self.constant_weights, (n, 1))
        if given is not None:
            weights[:, self.gate_columns] += self.gate_share * keep_top(given, top_k)
        return weights


@dataclass(frozen=True)
class FittedBlend(Combination):
    """Experts, mixture and stacks under the weights of the blend.

    Parameters
    ----------
    names, columns, features, n_targets, n_classes, top_k
        As in `Combination`; columns of the first level are the experts and the mixture.
    targets : list of TargetBlend
    stack_columns : StackColumns or None
        Columns of X for the feature-weighted stack.
    mixture : FittedMixture, list of them (one for each fold, with ``refit=False``), or None
    history, starts : list of dict
        Of the mixture.
    failures : list of Failure
    n_regimes : int or None
    """

    targets: list[TargetBlend]
    stack_columns: StackColumns | None
    mixture: Any
    history: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    failures: list[Failure]
    n_regimes: int | None

    @property
    def likelihoods(self) -> list[Any]:
        """Fitted likelihood of each target."""
        return [target.likelihood for target in self.targets]

    @property
    def calibrations(self) -> list[Calibration | None]:
        """Recalibration of the distribution of each target."""
        return [target.calibration for target in self.targets]

    @property
    def n_first_level(self) -> int:
        """Number of columns of the first level: experts and mixture."""
        return len(self.names) - len(self.stack_names) - 1

    @property
    def stack_names(self) -> list[str]:
        """Names of the stacks."""
        return list(self.targets[0].stacks)

    def not_nested(self, why: str) -> FittedBlend:
        """The same, whose verdicts say why nothing was nested, unless they say so already."""
        verdicts = [replace(one.verdict, not_nested=one.verdict.not_nested or why) for one in self.targets]
        targets = [replace(one, verdict=verdict) for one, verdict in zip(self.targets, verdicts, strict=True)]
        return replace(self, targets=targets)

    def with_left_out(self, sentence: str) -> FittedBlend:
        """The same, whose verdicts say what there was no time for."""
        verdicts = [replace(one.verdict, left_out=sentence) for one in self.targets]
        targets = [replace(one, verdict=verdict) for one, verdict in zip(self.targets, verdicts, strict=True)]
        return replace(self, targets=targets)

    def with_rows(self, sentence: str) -> FittedBlend:
        """The same, whose verdicts say which rows of a large table taught what."""
        verdicts = [replace(one.verdict, rows=sentence) for one in self.targets]
        targets = [replace(one, verdict=verdict) for one, verdict in zip(self.targets, verdicts, strict=True)]
        return replace(self, targets=targets)

    def with_leaks(self, leaks: Sequence[Sequence[str]]) -> FittedBlend:
        """The same, with sentences for each target about columns that may not be known beforehand."""
        pairs = zip(self.targets, leaks, strict=True)
        return replace(
            self, targets=[replace(one, verdict=replace(one.verdict, leaks=(*said,))) for one, said in pairs]
        )

    def candidate_predictions(self, X: Any) -> dict[str, Array]:
        """Predictions (n,) or (n, C) of every candidate and of the blend, for a single target."""
        target = self.targets[0]
        values = self.column_predictions(X)[0]
        inside = values[:, target.gate_columns]
        gate = keep_top(target.gate.predict_proba(self.features.join(self.features.base(X), inside)), self.top_k)
        found = {
            name: combine(gate, inside) if weights is None else np.einsum("k,nk...->n...", weights, values)
            for name, weights in target.candidate_weights.items()
        }
        return found | {"blend": combine(target.weights(gate, len(values), None), values)}

    def _gate_part(self, n: int) -> tuple[Any, NDArray[np.intp], float, Array]:
        target = self.targets[0]
        return target.gate, target.gate_columns, target.gate_share, np.tile(target.constant_weights, (n, 1))

    def _weights(self, rows: GateRows, t: int, values: Array | None) -> Array:
        target = self.targets[t]
        given = None
        if target.gate_share > 0:
            inside = None if values is None else values[:, target.gate_columns]
            given = target.gate.predict_proba(self.features.join(rows.base, inside))
        return target.weights(given, len(rows), self.top_k)

    def _first_level_needed(self, weights: list[Array], scaled: bool) -> NDArray[np.bool_]:
        E = self.n_first_level
        needed = np.zeros((len(weights[0]), E), dtype=bool)
        for weight, target in zip(weights, self.targets, strict=True):
            needed |= weight[:, :E] > 0
            for name, (_, width) in target.stacks.items():
                needed[:, :width] |= weight[:, [self.names.index(name)]] > 0
            if scaled and target.variance is not None:
                needed[:, target.variance.mixture] |= (weight[:, target.variance.follows] > 0).any(axis=1)
        return needed

    def _second_level(self, rows: GateRows, values: Array, scale: Array | None) -> tuple[Array, Array | None]:
        """Stacks and mean, where the columns that they see are known."""
        E, several = self.n_first_level, self.n_targets is not None
        added = np.full((len(values), len(self.names) - E, *values.shape[2:]), np.nan)
        features = None
        for name in self.stack_names:
            k = self.names.index(name) - E
            width = max(target.stacks[name][1] for target in self.targets)
            known = np.asarray(np.isfinite(values[:, :width]).reshape(len(values), -1).all(axis=1))
            if not known.any():
                continue
            at: Any = slice(None) if known.all() else np.flatnonzero(known)
            if self.stack_columns is not None and features is None:
                features = self.stack_columns.dense(rows.base)
            some = None if features is None else features[at]
            for t, target in enumerate(self.targets):
                stack, width = target.stacks[name]
                if several:
                    found = stack.predict(self._of_target(values[at, :width], t), some)
                    added[at, k, t] = found[:, 1] if self.several_labels else found
                else:
                    added[at, k] = stack.predict(values[at, :width], some)
        added[:, -1] = self.stack_predictions([np.asarray(target.mean) for target in self.targets])
        if scale is not None:
            scale = np.concatenate([scale, np.full(added.shape, np.nan)], axis=1)
            for t, target in enumerate(self.targets):
                if target.variance is not None:
                    own = scale[:, :, t] if several else scale
                    own[:] = target.variance(own)
        added = admissible(self.likelihoods[0], added)
        return np.concatenate([admissible(self.likelihoods[0], values), added], axis=1), scale

    def _widths(self, needed: NDArray[np.bool_]) -> dict[str, int]:
        stacks = self.targets[0].stacks
        return {name: width for name, (_, width) in stacks.items() if needed[self.names.index(name)]}

    def _second_level_gradient(self, X: Any, values: Array, slopes: Array, widths: dict[str, int]) -> Array:
        if not widths:
            return slopes
        base, features, jacobian = self.features.base(X), None, None
        if self.stack_columns is not None:
            inside = self.features.base_jacobian(X)
            assert inside is not None
            features, jacobian = self.stack_columns.dense(base), self.stack_columns.jacobian(base) @ inside
        for name, width in widths.items():
            stack = self.targets[0].stacks[name][0]
            slopes[:, self.names.index(name)] = stack.predict_gradient(
                values[:, :width], features, slopes[:, :width], jacobian
            )
        return slopes
