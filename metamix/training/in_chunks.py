"""From a fit to a sample to one that has seen all rows: experts continue in chunks, held-out rows decide the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.fitting import FittedExpert, Problem
from metamix.fitting.in_chunks import ChunkwiseFit
from metamix.fitting.on_cluster import chunkwise_fit
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.recombination import combine, posterior
from metamix.training.blend import FittedBlend
from metamix.training.candidates import MIXTURE, SETTLING_STEPS, CandidateSettings
from metamix.training.fit import NEGLIGIBLE, fit_combination
from metamix.training.mixture import FittedMixture, MixtureTarget
from metamix.training.mixture_column import MixtureColumn, best_column
from metamix.training.prediction import TargetPrediction
from metamix.training.recalibration import fit_calibration
from metamix.training.verdict import UNSEEN

__all__ = ["FittedColumns", "blend_held_out", "fit_columns", "mixture_held_out"]

Array = NDArray[np.float64]

#: Fold of failures that concern the chunks.
ALL_CHUNKS = -1
#: What the verdict calls the experts of the mixture.
REGIMES = "experts of the regimes"


@dataclass
class FittedColumns:
    """The experts and the experts of the mixture after all chunks, None in place of those that stay as they were.

    Parameters
    ----------
    experts, regimes : list of FittedExpert or None
    failures : list of Failure
    n_learned : dict of str to int
        Rows that each expert was fitted to, by name; those of the regimes together under `REGIMES`.
    """

    experts: list[FittedExpert | None]
    regimes: list[FittedExpert | None]
    failures: list[Failure] = field(default_factory=list)
    n_learned: dict[str, int] = field(default_factory=dict)


def fit_columns(
    fitted: FittedBlend | FittedMixture,
    sample: Problem,
    chunks: Iterable[Problem],
    n_rows: int,
    folder: Path,
    on_error: str = "drop",
) -> FittedColumns:
    """Let every expert that can learn in chunks do so: those of the mixture with its responsibilities as weights.

    Parameters
    ----------
    fitted : FittedBlend or FittedMixture
        Fitted to the sample.
    sample : Problem
        A chunk for those that begin anew.
    chunks : iterable of Problem
        All other rows but those held out.
    n_rows : int
        Of the sample and all chunks.
    folder : path
        Where experts may keep rows.
    on_error : {"drop", "raise"}
        What is done where an expert cannot learn from a chunk: it stays as it was, or its error is raised.
    """
    mixture = _mixture_of(fitted)
    experts = [] if isinstance(fitted, FittedMixture) else list(fitted.columns[: _n_experts(fitted)])
    regimes = [] if mixture is None or len(mixture.names) == 1 or mixture.n_targets is not None else mixture.columns
    found = _Fits.of(experts, n_rows, folder, on_error), _Fits.of(regimes, n_rows, folder, on_error)
    _learn(found, mixture, sample, first=True)
    if any(one.fits for one in found):
        for chunk in chunks:
            _learn(found, mixture, chunk)
    for fits in found:
        fits.end()
    learned = {one.expert.name: one.n_learned + (0 if one.begins_anew else sample.n) for one in found[0].fits.values()}
    learned[REGIMES] = max((one.n_learned for one in found[1].fits.values()), default=0)  # each has other weights
    failures = [*found[0].failures, *found[1].failures]
    return FittedColumns(found[0].finished(), found[1].finished(), failures, learned)


@dataclass
class _Fits:
    """Fits in chunks by position, of those columns that learn in chunks."""

    n_columns: int
    fits: dict[int, ChunkwiseFit]
    on_error: str
    failures: list[Failure] = field(default_factory=list)

    @classmethod
    def of(cls, columns: Sequence[Any], n_rows: int, folder: Path, on_error: str) -> _Fits:
        fits = (chunkwise_fit(one, n_rows, folder) for one in columns)
        return cls(len(columns), {k: one for k, one in enumerate(fits) if one is not None}, on_error)

    def learn(self, rows: Problem, weights: Array | None, first: bool) -> None:
        for k, one in list(self.fits.items()):
            if first and not one.begins_anew:
                continue
            weight = (
                rows.sample_weight
                if weights is None
                else np.where(weights[:, k] > NEGLIGIBLE, weights[:, k] * rows.weight, 0.0)
            )
            with self._noting(k, f"in a chunk of {rows.n} rows"):
                one.learn(rows.X, rows.y, weight)

    def end(self) -> None:
        for k, one in list(self.fits.items()):
            with self._noting(k, "in the fit to all chunks"):
                one.end()

    @contextmanager
    def _noting(self, k: int, where: str) -> Iterator[None]:
        """Note the error of a fit, which then stays as it was, or raise it."""
        name = self.fits[k].expert.name
        try:
            yield
        except Exception as error:  # a foreign fit may raise anything
            if self.on_error == "raise":
                error.add_note(
                    f"raised by expert {name}, {where}; on_error='drop' keeps it as it was fitted to the sample"
                )
                raise
            self.failures.append(Failure(name, ALL_CHUNKS, f"{type(error).__name__}: {error}"))
            del self.fits[k]

    def finished(self) -> list[FittedExpert | None]:
        return [self.fits[k].result if k in self.fits else None for k in range(self.n_columns)]


def _learn(found: tuple[_Fits, _Fits], mixture: FittedMixture | None, rows: Problem, first: bool = False) -> None:
    experts, regimes = found
    experts.learn(rows, None, first)
    if regimes.fits and mixture is not None:
        one = mixture.predictions(rows.X, scaled=True, everywhere=True)[0]
        weights = posterior(one.weights, one.log_prob(rows.y))[0]
        if hasattr(one.likelihood, "trust"):
            weights = weights * one.likelihood.trust(rows.y, one.values, scale=one.scale, X=rows.X)
        regimes.learn(rows, weights, first)


def mixture_held_out(
    mixture: FittedMixture, regimes: Sequence[FittedExpert | None], held_out: Problem, folds: Folds
) -> tuple[FittedMixture, bool]:
    """The mixture with those of two experts for each regime that predict held-out rows better, as a whole.

    Its gates stay; likelihoods and recalibration are fitted to the held-out rows.

    Returns
    -------
    (FittedMixture, bool)
        The mixture, and whether its experts are those that learned from the chunks.
    """
    candidates = [mixture]
    if any(regimes):
        columns = [old if new is None else new for old, new in zip(mixture.columns, regimes, strict=True)]
        candidates.append(replace(mixture, columns=columns))
    predictions = [one.predictions(held_out.X, scaled=True, everywhere=True) for one in candidates]
    values = [
        one.stack_predictions([target.combined() for target in found])
        for one, found in zip(candidates, predictions, strict=True)
    ]
    best = best_column(held_out, _table([MIXTURE] * len(values), values), np.arange(held_out.n))
    targets = [
        _relearned(held_out.target(t), old, found)
        for t, (old, found) in enumerate(zip(mixture.targets, predictions[best], strict=True))
    ]
    return replace(candidates[best], targets=targets, fold_of_row=folds.fold_of_row), best > 0


def _relearned(held_out: Problem, old: MixtureTarget, found: TargetPrediction) -> MixtureTarget:
    """Likelihood, responsibilities and recalibration of one target, from rows that its experts have not seen."""
    y, likelihood, X = held_out.y, found.likelihood, held_out.X
    for _ in range(SETTLING_STEPS):
        share = posterior(found.weights, likelihood.log_prob(y, found.values, scale=found.scale, X=X))[0]
        share = share * held_out.weight[:, None]
        likelihood = clone(old.likelihood).fit(y, found.values, share, scale=found.scale, X=X)
    responsibilities = posterior(found.weights, likelihood.log_prob(y, found.values, scale=found.scale, X=X))[0]
    calibration = None
    if held_out.n_classes is None and hasattr(likelihood, "distribution"):
        components = likelihood.distribution(found.values, scale=found.scale, X=X)
        mean = combine(found.weights, found.values)
        calibration = fit_calibration(y, found.weights, components, mean, held_out.weight, held_out.groups)
    return MixtureTarget(old.gate, likelihood, found.values, responsibilities, calibration)


def blend_held_out(
    fitted: FittedBlend, columns: FittedColumns, held_out: Problem, folds: Folds, settings: CandidateSettings
) -> tuple[FittedBlend, list[str], list[str]]:
    """Candidates, blend and verdict from predictions of held-out rows by the better of the two fits of each expert.

    Parameters
    ----------
    fitted : FittedBlend
        Of the sample.
    columns : FittedColumns
    held_out : Problem
        Rows that no model has seen.
    folds : Folds
        Of the held-out rows, by which what combines them is cross-fitted.
    settings : CandidateSettings
        With features of the held-out rows.

    Returns
    -------
    (FittedBlend, list of str, list of str)
        What was learned, the names of the columns that learned from the chunks, and of those that were better before.
    """
    names = fitted.names[: _n_experts(fitted)]
    kept: list[Any] = []
    values: list[Array] = []
    scales: list[Array | None] = []
    newer: list[str] = []
    before: list[str] = []
    for name, old, new in zip(names, fitted.columns, columns.experts, strict=False):
        pairs = [(one, *one.predict_with_scale(held_out.X)) for one in (old, new) if one is not None]
        best = best_column(held_out, _table([name] * len(pairs), [pair[1] for pair in pairs]), np.arange(held_out.n))
        one, value, scale = pairs[best]
        kept.append(one)
        values.append(value)
        scales.append(scale)
        if new is not None:
            (newer if best else before).append(name)
    failures = [*fitted.failures, *columns.failures]
    table = _table(names, values, scales)
    mixture = MixtureColumn()
    if fitted.mixture is not None:
        mixture = _mixture_column(fitted, columns, kept, table, held_out, folds, newer, before)
        table = table.join(mixture.predictions)
        kept.append(mixture.column)
    blend = fit_combination(held_out, folds, replace(table, failures=failures), kept, settings, mixture)
    blend = blend.not_nested(UNSEEN).with_left_out(fitted.targets[0].verdict.left_out)
    return blend.with_leaks([one.verdict.leaks for one in fitted.targets]), newer, before


def _mixture_column(
    fitted: FittedBlend,
    columns: FittedColumns,
    experts: Sequence[Any],
    table: OutOfFold,
    held_out: Problem,
    folds: Folds,
    newer: list[str],
    before: list[str],
) -> MixtureColumn:
    """The column of the mixture; of one regime, that of the best expert. Its name joins one of the two lists."""
    column, mixture = fitted.columns[-1], fitted.mixture
    if isinstance(mixture, FittedMixture):
        if fitted.n_regimes == 1:
            best = best_column(held_out, table, np.arange(held_out.n))
            mixture = replace(mixture, names=[table.names[best]], columns=[experts[best]])
            mixture, _ = mixture_held_out(mixture, [None], held_out, folds)
            column = replace(experts[best], name=MIXTURE)
        else:
            regimes = columns.regimes or [None] * len(mixture.columns)
            mixture, is_newer = mixture_held_out(mixture, regimes, held_out, folds)
            column = replace(column, model=mixture)
            if any(regimes):
                (newer if is_newer else before).append(REGIMES)
    value, scale = column.predict_with_scale(held_out.X)
    predictions = _table([MIXTURE], [value], [scale])
    return MixtureColumn(predictions, column, mixture, fitted.n_regimes, fitted.starts, fitted.history)


def _table(names: Sequence[str], values: Sequence[Array], scales: Sequence[Array | None] = ()) -> OutOfFold:
    """Predictions of columns side by side."""
    whole = np.stack(values, axis=1)
    scale = None
    if any(one is not None for one in scales):
        scale = np.stack([np.full(whole[:, 0].shape, np.nan) if one is None else one for one in scales], axis=1)
    zeros = np.zeros(len(names))
    return OutOfFold([*names], whole, zeros, zeros, scale=scale)


def _n_experts(fitted: FittedBlend) -> int:
    return fitted.n_first_level - (fitted.mixture is not None)


def _mixture_of(fitted: FittedBlend | FittedMixture) -> FittedMixture | None:
    """The mixture that was fitted to all rows of the sample; with ``refit=False`` there is none."""
    if isinstance(fitted, FittedMixture):
        return fitted
    return fitted.mixture if isinstance(fitted.mixture, FittedMixture) else None
