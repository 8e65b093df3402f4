"""Checks that parts of every kind must pass: clones, pickles, searches, errors, devices, and use inside a mixture."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.fitting.device_placement import find_placements
from metamix.persistence import load, save, untrusted_types
from metamix.testing.assertions import Factory, require

__all__ = ["COMMON_CHECKS", "Trial", "seeded"]

Array = NDArray[Any]
#: A device that no machine has.
NO_DEVICE = "cuda:99"
#: Parameters whose value is not meant to change the predictions, or says how long a fit may take.
NOT_SEARCHED = ("random_state", "n_jobs", "nthread", "thread_count", "num_threads", "verbose", "verbosity")


@dataclass(frozen=True)
class Trial:
    """How a part of one kind is made, fitted to a small table and asked about it.

    Parameters
    ----------
    make : callable
        Returns the part, unfitted.
    fit : callable
        Fits a part to the table and returns it.
    answer : callable
        What a fitted part says about the rows of the table, an array.
    mistakes : callable
        Given a function that makes an unfitted part, yields pairs of a text, which says what is wrong, and a call
        that must raise an exception.
    mixture : callable
        Given a part, returns a mixture that uses it, unfitted, with X and y for it; None if no mixture can.
    """

    make: Factory
    fit: Callable[[Any], Any]
    answer: Callable[[Any], Array]
    mistakes: Callable[[Factory], Iterator[tuple[str, Callable[[], Any]]]]
    mixture: Callable[[Any], tuple[Any, Array, Array] | None]

    def seeded(self) -> Any:
        """An unfitted part with every seed set to 0."""
        return seeded(self.make())

    def fitted(self) -> Any:
        """A part that was fitted to the table."""
        return self.fit(self.seeded())


def seeded(part: Any) -> Any:
    """Set every `random_state` of a part, at any depth, to 0.

    Examples
    --------
    >>> from sklearn.ensemble import ExtraTreesRegressor
    >>> seeded(ExtraTreesRegressor())
    ExtraTreesRegressor(random_state=0)
    """
    seeds = {name: 0 for name in part.get_params() if name.rpartition("__")[2] == "random_state"}
    return part.set_params(**seeds)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings: of few iterations, few rows, and other consequences of what a check does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def clones_and_keeps_parameters(trial: Trial) -> None:
    """A clone has the same parameters, and fit changes none."""
    part = trial.seeded()
    require(sorted(clone(part).get_params()) == sorted(part.get_params()), "a clone has different parameters")
    settings = {name: repr(value) for name, value in part.get_params().items()}
    trial.fit(part)
    after = {name: repr(value) for name, value in part.get_params().items()}
    changed = [name for name in settings if after.get(name) != settings[name]]
    require(not changed, f"fit changes the parameters {changed}; fitted attributes must have names ending in _")


def same_seed_same_answer(trial: Trial) -> None:
    """Equal seeds give identical answers."""
    first, second = (trial.answer(trial.fitted()) for _ in range(2))
    require(np.array_equal(first, second, equal_nan=True), "two fits with the same seed give different answers")


def pickles_when_fitted(trial: Trial) -> None:
    """Fitted parts can be pickled, to be sent between processes."""
    part = trial.fitted()
    again = pickle.loads(pickle.dumps(part))
    same = np.array_equal(trial.answer(again), trial.answer(part), equal_nan=True)
    require(same, "a pickled copy gives different answers")


def parameters_can_be_searched(trial: Trial) -> None:
    """Parameters that are set have the effect of parameters that are given, as a grid search needs it.

    A part that computes something from its parameters in ``__init__`` ignores those that are set later.
    """
    found = {name: value for name, value in trial.seeded().get_params().items() if _searchable(name, value)}
    changed = {name: _other_value(value) for name, value in found.items()}
    if not changed:
        return
    # All at once, since each takes two fits; one at a time where a value is refused.
    choices = [changed, *([{name: value} for name, value in changed.items()] if len(changed) > 1 else [])]
    for settings in choices:
        with _quiet():
            try:
                given = trial.answer(trial.fit(clone(trial.seeded().set_params(**settings))))
            except Exception:  # a part may refuse a value as it likes
                continue
            searched = trial.answer(trial.fit(trial.seeded().set_params(**settings)))
        same = np.array_equal(searched, given, equal_nan=True)
        require(same, f"set_params is without effect for one of {sorted(settings)}; read parameters in fit")
        return


def _searchable(name: str, value: Any) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return number and bool(np.isfinite(float(value))) and value > 0 and name.rpartition("__")[2] not in NOT_SEARCHED


def _other_value(value: Any) -> Any:
    return value + 1 if isinstance(value, int | np.integer) else value / 2


def errors_are_exceptions(trial: Trial) -> None:
    """What cannot be done raises an Exception: it does not pass silently, and does not end the program."""
    for what, call in trial.mistakes(trial.seeded):
        try:
            with _quiet():
                call()
        except Exception:
            continue
        except BaseException as error:
            raise AssertionError(f"{what} raises {type(error).__name__}, which ends the program") from error
        raise AssertionError(f"{what} raises no exception")


def device_is_respected(trial: Trial) -> None:
    """A parameter `device` leaves the choice to the mixture by default, and no device is claimed that is not there."""
    part = trial.make()
    devices = {name: value for name, value in part.get_params().items() if name.rpartition("__")[2] == "device"}
    for name, value in devices.items():
        free = value is None or str(value) in ("auto", "cpu")
        require(free, f"{name} is {value!r} by default; None or 'auto' is set to the mixture's device")
    if not devices:
        return
    placements, refused = find_placements([("part", part)], NO_DEVICE)
    require(refused, f"asked for {NO_DEVICE}, the part claims to use {placements[0].device}, which is not there")
    placements, refused = find_placements([("part", part)], "cpu")
    require(placements[0].device == "cpu" and not refused, f"asked for the CPU, the part uses {placements[0].device}")


def works_in_a_mixture(trial: Trial) -> None:
    """A mixture over folds in time order can be fitted with the part; the first rows are never held out."""
    case = trial.mixture(trial.make())
    if case is None:
        return
    mixture, X, y = case
    with _quiet():
        mixture.fit(X, y)
        weights, answers = mixture.gate_weights(X), mixture.predict_experts(X)
        combined = mixture.predict_proba(X) if hasattr(mixture, "classes_") else mixture.predict(X)
    held_out = np.unique(np.concatenate([test for _, test in mixture.cv.split(X)]))
    never = np.setdiff1d(np.arange(len(y)), held_out)
    known = mixture.oof_predictions_.reshape(len(y), -1)
    require(np.isfinite(known[held_out]).all(), "an out-of-fold prediction is NaN or infinite")
    require(np.isnan(known[never]).all(), "rows that are never held out have out-of-fold predictions")
    require(np.allclose(weights.sum(axis=1), 1, atol=1e-8), "weights of the mixture do not sum to 1")
    total = np.einsum("nk,nk...->n...", weights, answers)
    gap = float(np.abs(total - combined).max() / max(1.0, float(np.abs(combined).max())))
    require(gap < 1e-6, f"predictions of the mixture differ from Σ weights × predictions by {gap:.2g}")


def saved_and_loaded(trial: Trial) -> None:
    """A mixture with the part can be saved, and loaded once its types are trusted."""
    case = trial.mixture(trial.make())
    if case is None:
        return
    mixture, X, y = case
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "part.mix")
        save(mixture.fit(X, y), path)
        again = load(path, trusted=untrusted_types(path))
        method = "predict_proba" if hasattr(mixture, "classes_") else "predict"
        before, after = getattr(mixture, method)(X), getattr(again, method)(X)
    require(np.array_equal(before, after), "a mixture that was saved and loaded predicts something else")


COMMON_CHECKS = (
    clones_and_keeps_parameters,
    same_seed_same_answer,
    pickles_when_fitted,
    parameters_can_be_searched,
    errors_are_exceptions,
    device_is_respected,
    works_in_a_mixture,
    saved_and_loaded,
)
