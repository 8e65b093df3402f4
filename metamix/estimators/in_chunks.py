"""A mixture fitted to a table that does not fit into memory: a sample first, then chunks, then held-out rows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import check_random_state

from metamix.data.chunks import AssignedRows, Shares, assign, shares_of, width_of
from metamix.data.folds import make_folds
from metamix.data.frames import listed
from metamix.data.parquet import ParquetTable
from metamix.data.row_keys import table_key
from metamix.data.tables import n_rows
from metamix.engines import SerialEngine, current_engine
from metamix.estimators.checkpointing import seed_of
from metamix.estimators.memory_limits import estimate_fit, kinds_of
from metamix.estimators.resolution import resolve_gates
from metamix.estimators.setup import draw_seeds, set_up
from metamix.estimators.validation import check_weights, check_X, clean_X
from metamix.fitting import Checkpoint, Problem
from metamix.fitting.checkpoint import value_fingerprint
from metamix.fitting.on_cluster import cluster_engine, cluster_part
from metamix.progress import Event, emit
from metamix.protocols import SequentialGate
from metamix.training.blend import FittedBlend
from metamix.training.candidates import MIXTURE
from metamix.training.in_chunks import REGIMES, FittedColumns, blend_held_out, fit_columns, mixture_held_out

if TYPE_CHECKING:
    from metamix.estimators.mixture import Mixture

__all__ = ["fit_in_chunks"]

#: Folder of a checkpoint for the fit of the sample, and its key of the numbers of rows.
SAMPLE, SHARES = "sample", "shares"
#: Frames of the sample that a fit holds besides what its experts take: as it was read, cleaned, hashed for the order of
#: its rows, encoded. `python benchmarks/beyond_memory.py` takes 8.
COPIES = 10


@dataclass(frozen=True)
class _Roles:
    """Names of the columns of a table: target, weights, groups, and those to predict from."""

    target: str
    weight: str | None
    groups: str | None
    features: list[str]

    @classmethod
    def of(cls, table: ParquetTable, target: Any, weight: Any, groups: Any) -> _Roles:
        for what, name in (("y", target), ("sample_weight", weight), ("groups", groups)):
            if name is None and what != "y":
                continue
            if not isinstance(name, str):
                raise TypeError(
                    f"{what} is a {type(name).__name__}: with a table of metamix.scan, y, sample_weight and groups are "
                    f"names of its columns, as in fit(table, {table.columns[-1]!r})"
                )
            table.check_column(name)
        features = [name for name in table.columns if name not in (target, weight, groups)]
        if not features:
            raise ValueError(f"the table has no column but {target!r} to predict it from")
        return cls(target, weight, groups, features)

    def split(self, frame: Any) -> tuple[Any, Any, Any, Any]:
        """X, y, weights and groups of some rows."""
        weight, groups = (None if name is None else frame[name] for name in (self.weight, self.groups))
        return frame[self.features], frame[self.target], weight, groups


def fit_in_chunks(mixture: Mixture, table: ParquetTable, target: Any, weight: Any, groups: Any) -> None:
    """Fit a mixture to a table of which a part is in memory at a time.

    The mixture is fitted to a random sample. Experts that can learn in chunks do so, on all other rows but some that
    are held out. By these the better of the two fits of each expert is chosen, and gates, stacks, blend and verdict are
    learned from them.

    Parameters
    ----------
    mixture : Mixture
    table : ParquetTable
    target, weight, groups : str, or None but for the target
        Names of columns.
    """
    roles = _Roles.of(table, target, weight, groups)
    _check_order_free(mixture)
    given = mixture.random_state, mixture.checkpoint
    kept = _open_checkpoint(mixture, table)
    state = seed_of(mixture, kept)
    seed = int(check_random_state(state).randint(np.iinfo(np.int32).max))
    shares = _shares(mixture, table, roles, kept)
    least = 2 if mixture.cv is None else int(mixture.cv)
    if shares.n_chunks:
        for name, expert in mixture._resolve_experts():
            if cluster_part(expert) is not None:
                cluster_engine(name)  # an error now, rather than after the fit of the sample
    with TemporaryDirectory(prefix="metamix-") as folder:
        rows = assign(table, shares, Path(folder), roles.target, roles.groups, seed, least)
        try:
            if kept is not None:
                mixture.random_state, mixture.checkpoint = state, str(kept.folder / SAMPLE)
            emit(Event("start", "sample"))
            mixture.fit(*roles.split(rows.sample.read()))
            if rows.others:
                _learn_from_others(mixture, rows, roles, Path(folder))
        finally:
            mixture.random_state, mixture.checkpoint = given


def _check_order_free(mixture: Mixture) -> None:
    """ValueError for what follows the order of the rows, or names them by their position."""
    cv = mixture.cv
    if cv is not None and (not isinstance(cv, Integral) or isinstance(cv, bool)):
        what = "a list of rows" if np.iterable(cv) and not isinstance(cv, str) else repr(cv)
        raise ValueError(
            f"cv is {what}, and rows of a table of metamix.scan are assigned at random; give a number of folds."
        )
    sequential = [gate for gate in resolve_gates(mixture.gate).gates if isinstance(gate, SequentialGate)]
    if sequential:
        raise ValueError(
            f"gate={sequential[0]!r} follows the order of the rows, and rows of a table of metamix.scan are assigned "
            "at random; give another gate, or a frame whose rows are in the order of time."
        )


def _open_checkpoint(mixture: Mixture, table: ParquetTable) -> Checkpoint | None:
    """What keeps the seed and the numbers of rows of the first call, so that another one draws the same sample."""
    if mixture.checkpoint is None:
        return None
    files = [(path.name, path.stat().st_size) for path in table.paths]
    fingerprints = {"files": value_fingerprint("files", files), "columns": value_fingerprint("columns", table.columns)}
    return Checkpoint(mixture.checkpoint, fingerprints)


def _shares(mixture: Mixture, table: ParquetTable, roles: _Roles, kept: Checkpoint | None) -> Shares:
    """Numbers of rows, those of the first call where a checkpoint keeps them: free memory differs between calls."""
    found = None if kept is None else kept.get(SHARES)
    if found is not None:
        return cast(Shares, found.value)
    shares = shares_of(table, _bytes_of_fit(mixture, table, roles))
    if kept is not None:
        kept.put(SHARES, shares, 0.0, SHARES)
    return shares


def _bytes_of_fit(mixture: Mixture, table: ParquetTable, roles: _Roles) -> float:
    """Bytes that an ordinary fit takes for each row, the table among them."""
    X, y, _, _ = roles.split(next(islice(table.batches(), 1)))
    n_classes = y.nunique() if isinstance(mixture, ClassifierMixin) else None
    problem = Problem(X, np.zeros(len(X)), n_classes=n_classes)
    engine = current_engine(mixture.n_jobs)
    if not hasattr(engine, "n_jobs"):  # a cluster: chunks are learned from here, one at a time
        engine = SerialEngine()
    kinds = kinds_of(mixture, mixture._resolve_experts())
    expected = estimate_fit(problem, kinds, mixture.cv, engine, refit=mixture.refit)
    return (expected.together - expected.of_workers) / len(X) + COPIES * width_of(table)


@dataclass
class _Noted:
    """Counts over all chunks: rows whose class the sample lacks, by class, and rows with weight; columns warned of."""

    lost: Counter[str] = field(default_factory=Counter)
    n_rows: float = 0.0
    total_weight: float = 0.0
    columns: set[str] = field(default_factory=set)

    @contextmanager
    def once(self) -> Iterator[None]:
        """Pass on what is warned of inside the block, of each column the first warning."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for one in caught:
            about = str(one.message).partition(":")[0]  # a note begins with the name of its column
            if about not in self.columns:
                self.columns.add(about)
                warnings.warn(one.message, one.category, stacklevel=6)


def _learn_from_others(mixture: Mixture, rows: AssignedRows, roles: _Roles, folder: Path) -> None:
    """Chunks, then held-out rows, for a mixture that is fitted to the sample."""
    fitted, noted = mixture._fitted, _Noted()
    emit(Event("start", "all other rows"))
    emit(Event("part", "chunks", total=len(rows.others)))
    n_rows = rows.n_rows - rows.held_out.n_rows
    sample = _problem(mixture, rows.sample.read(), roles, noted)
    columns = fit_columns(fitted, sample, _chunks(mixture, rows, roles, noted), n_rows, folder, mixture.on_error)
    del sample
    emit(Event("part", "held-out rows"))
    held_out = _problem(mixture, rows.held_out.read(), roles, noted)
    seeds = draw_seeds(mixture.random_state, ())
    folds = make_folds(
        mixture.cv, held_out.X, held_out.y, held_out.groups, stratify=held_out.n_classes is not None,
        random_state=int(seeds[-2]),
    )  # fmt: skip
    left_out = mixture.left_out_
    if isinstance(fitted, FittedBlend):
        # What combines experts is set up without them: they are fitted.
        parts = set_up(mixture, (), resolve_gates(mixture.gate), held_out, held_out.labels, seeds, in_sample=False)
        blend, newer, before = blend_held_out(fitted, columns, held_out, folds, parts.candidates)
        text = _sentence(rows, columns, newer, before, blend)
        mixture._store(blend.with_rows(text), folds.fold_of_row)
    else:
        one, _ = mixture_held_out(fitted, columns.regimes or [None] * len(fitted.columns), held_out, folds)
        mixture._store(replace(one, failures=[*one.failures, *columns.failures]), folds.fold_of_row)
    mixture.left_out_ = left_out
    mixture._rows_of_fit = [noted.n_rows, noted.total_weight]
    if columns.failures:
        failures = "; ".join(f"{one.expert} ({one.error})" for one in columns.failures)
        warnings.warn(
            f"kept as fitted to the sample because a fit to more rows failed: {failures}. failures_ lists every one; "
            "on_error='raise' shows the first where it happens.",
            FitFailedWarning,
            stacklevel=4,
        )
    mixture._key_of_fit = table_key(held_out.X, held_out.y)  # the tables of predictions are of these rows
    if noted.lost:
        from metamix.data.cleaning import TableWarning  # needs pandas, which other fits do not

        warnings.warn(
            f"rows of classes that the sample of {rows.sample.n_rows} rows lacks are left out, {noted.lost.total()} in "
            f"all: {listed([repr(label) for label in sorted(noted.lost)])}. More memory allows a larger sample.",
            TableWarning,
            stacklevel=4,
        )


def _chunks(mixture: Mixture, rows: AssignedRows, roles: _Roles, noted: _Noted) -> Iterator[Problem]:
    for chunk in rows.others:
        if chunk.n_rows:
            yield _problem(mixture, chunk.read(), roles, noted)
        emit(Event("task", "chunks", total=len(rows.others)))
        chunk.path.unlink()


def _problem(mixture: Mixture, frame: Any, roles: _Roles, noted: _Noted) -> Problem:
    """Rows as the experts see them, without those of classes that the sample lacks, which are counted."""
    if hasattr(mixture, "classes_"):
        labels = np.asarray(frame[roles.target])
        known = np.isin(labels, mixture.classes_)
        noted.lost.update(map(str, labels[~known]))
        frame = frame[known]
    X, y, weight, groups = roles.split(frame.reset_index(drop=True))
    with noted.once():
        X = check_X(mixture, clean_X(mixture, X, reset=False), reset=False)
    y = mixture._check_known_target(y)
    groups = None if groups is None else np.asarray(groups)
    classes = getattr(mixture, "classes_", None)
    n_classes = None if classes is None else len(classes)
    problem = Problem(X, y, check_weights(weight, n_rows(X)), groups, n_classes, classes)
    noted.n_rows += float((problem.weight > 0).sum())
    noted.total_weight += float(problem.weight.sum())
    return problem


def _sentence(
    rows: AssignedRows, columns: FittedColumns, newer: list[str], before: list[str], blend: FittedBlend
) -> str:
    """Which rows taught what."""
    text = (
        f"The table has {rows.n_rows} rows: a random sample of {rows.sample.n_rows} was fitted as a whole, and the "
        f"losses are those of {rows.held_out.n_rows} rows that no expert has seen."
    )
    if rows.unused:
        text += f" Besides, {rows.unused} rows of the groups that are held out are not used."
    by_number: dict[int, list[str]] = {}
    for name in newer:
        by_number.setdefault(columns.n_learned[name], []).append(name)
    for number, names in by_number.items():
        text += f" Fitted to {number} rows: {', '.join(names)}."
    failed = list(dict.fromkeys(one.expert for one in columns.failures))
    known = {*newer, *before, *failed, *columns.n_learned, MIXTURE}
    unable = [name for name in blend.names[: blend.n_first_level] if name not in known]
    untaught = [name for name in columns.n_learned if name not in {*newer, *before, *failed, REGIMES}]
    for what, names in (
        ("Fitted to the sample alone, since they cannot learn in chunks", unable),
        ("Fitted to the sample alone, since fits to more rows failed", failed),
        ("Fitted to the sample alone, since the chunks taught them nothing", untaught),
        ("Better as fitted to the sample", before),
    ):
        if names:
            text += f" {what}: {', '.join(names)}."
    return text
