"""A mixture fitted to a table that does not fit into memory: a sample first, then chunks, then held-out rows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state

from metamix.data.chunks import DealtRows, deal, shares_of, width_of
from metamix.data.folds import make_folds
from metamix.data.frames import listed
from metamix.data.parquet import ParquetTable
from metamix.data.row_keys import table_key
from metamix.data.tables import n_rows
from metamix.engines import current_engine
from metamix.estimators.memory_limits import estimate_fit
from metamix.estimators.resolution import resolve_gates
from metamix.estimators.setup import draw_seeds, set_up
from metamix.estimators.validation import check_weights, check_X, clean_X
from metamix.experts.on_columns import with_positions
from metamix.fitting import Problem
from metamix.training.blend import FittedBlend
from metamix.training.candidates import MIXTURE
from metamix.training.in_chunks import blend_held_out, fit_columns, mixture_held_out

if TYPE_CHECKING:
    from metamix.estimators.mixture import Mixture

__all__ = ["fit_in_chunks"]

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
    if np.iterable(mixture.cv) and not isinstance(mixture.cv, str):
        raise ValueError("cv is a list of rows, which a table of metamix.scan deals at random; give a number of folds.")
    seed = int(check_random_state(mixture.random_state).randint(np.iinfo(np.int32).max))
    shares = shares_of(table, _bytes_of_fit(mixture, table, roles))
    with TemporaryDirectory(prefix="metamix-") as folder:
        rows = deal(table, shares, Path(folder), roles.target, roles.groups, seed)
        mixture.fit(*roles.split(rows.sample.read()))
        if rows.others:
            _go_on(mixture, rows, roles)


def _bytes_of_fit(mixture: Mixture, table: ParquetTable, roles: _Roles) -> float:
    """Bytes that an ordinary fit takes for each row, the table among them."""
    X, y, _, _ = roles.split(next(islice(table.batches(), 1)))
    n_classes = y.nunique() if isinstance(mixture, ClassifierMixin) else None
    problem = Problem(X, np.zeros(len(X)), n_classes=n_classes)
    kinds = list(mixture._kinds(mixture._resolve_experts()).values())
    n_workers = getattr(current_engine(mixture.n_jobs), "n_jobs", 1)
    expected = estimate_fit(problem, kinds, mixture.cv, n_workers, refit=mixture.refit)
    return (expected.together - expected.of_workers) / len(X) + COPIES * width_of(table)


@dataclass
class _Noted:
    """What is told of all chunks: rows whose class the sample lacks, by class, warnings, rows with weight."""

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


def _go_on(mixture: Mixture, rows: DealtRows, roles: _Roles) -> None:
    """Chunks, then held-out rows, for a mixture that is fitted to the sample."""
    fitted, noted = mixture._fitted, _Noted()
    n_learned = rows.n_rows - rows.held_out.n_rows
    sample = _problem(mixture, rows.sample.read(), roles, noted)
    columns = fit_columns(fitted, sample, _chunks(mixture, rows, roles, noted), n_learned)
    del sample
    held_out = _problem(mixture, rows.held_out.read(), roles, noted)
    named, gates = mixture._resolve_experts(), resolve_gates(mixture.gate)
    seeds = draw_seeds(mixture.random_state, named)
    folds = make_folds(
        mixture.cv, held_out.X, held_out.y, held_out.groups, stratify=held_out.n_classes is not None,
        random_state=int(seeds[-2]),
    )  # fmt: skip
    left_out = mixture.left_out_
    if isinstance(fitted, FittedBlend):
        named = with_positions(named, held_out.X, held_out.X)
        parts = set_up(mixture, named, gates, held_out, held_out.labels, seeds, in_sample=False)
        blend, went_on, before = blend_held_out(fitted, columns, held_out, folds, parts.candidates)
        failed = [one.expert for one in columns.failures]
        said = _sentence(rows, n_learned, went_on, before, failed, blend)
        mixture._store(blend.with_rows(said), folds.fold_of_row)
    else:
        one, _ = mixture_held_out(fitted, columns.regimes or [None] * len(fitted.columns), held_out, folds)
        mixture._store(one, folds.fold_of_row)
    mixture.left_out_ = left_out
    mixture._rows_of_fit = [noted.n_rows, noted.total_weight]
    mixture._key_of_fit = table_key(held_out.X, held_out.y)  # the tables of predictions are of these rows
    if noted.lost:
        from metamix.data.cleaning import TableWarning  # needs pandas, which other fits do not

        warnings.warn(
            f"rows of classes that the sample of {rows.sample.n_rows} rows lacks are left out, {noted.lost.total()} in "
            f"all: {listed([repr(label) for label in sorted(noted.lost)])}. More memory allows a larger sample.",
            TableWarning,
            stacklevel=4,
        )


def _chunks(mixture: Mixture, rows: DealtRows, roles: _Roles, noted: _Noted) -> Iterator[Problem]:
    for chunk in rows.others:
        if chunk.n_rows:
            yield _problem(mixture, chunk.read(), roles, noted)
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
    rows: DealtRows, n_learned: int, went_on: list[str], before: list[str], failed: list[str], blend: FittedBlend
) -> str:
    """Which rows taught what."""
    said = (
        f"The table has {rows.n_rows} rows: a random sample of {rows.sample.n_rows} was fitted as a whole, and the "
        f"losses are those of {rows.held_out.n_rows} rows that no expert has seen."
    )
    if went_on:
        said += f" Fitted to {n_learned} rows: {', '.join(went_on)}."
    known = {*went_on, *before, *failed, MIXTURE}
    unable = [name for name in blend.names[: blend.n_first_level] if name not in known]
    for what, names in (
        ("Fitted to the sample alone, since they cannot learn in chunks", unable),
        ("Fitted to the sample alone, since fits to more rows failed", failed),
        ("Better as fitted to the sample", before),
    ):
        if names:
            said += f" {what}: {', '.join(names)}."
    return said
