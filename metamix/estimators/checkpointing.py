"""What a call is recognised by when a checkpoint continues it: table, parameters, experts, versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metamix.fitting import Checkpoint, Problem
from metamix.fitting.checkpoint import Fingerprint, table_fingerprint, value_fingerprint, version_fingerprints

__all__ = ["open_checkpoint", "seed_of"]

#: Parameters that change no bit of a result, or how much of it there is time for; `columns` is in the table itself.
FREE = {"checkpoint", "columns", "expert_time_limit", "experts", "n_jobs", "time_limit", "verbose"}


def open_checkpoint(
    mixture: Any, named: Sequence[tuple[str, Any]], problem: Problem, call: str = "fit", **more: Any
) -> Checkpoint | None:
    """The checkpoint of a call; None without one.

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Its parameters are read.
    named : sequence of (str, estimator)
        Its experts, with names resolved.
    problem : Problem
    call : {"fit", "compare"}
    **more
        Further parameters of the call, or those in whose place it has its own.

    Raises
    ------
    CheckpointError
        If the folder keeps fits of another call.
    """
    if mixture.checkpoint is None:
        return None
    given = {**mixture.get_params(deep=False), **more}
    fingerprints = {
        "the call": Fingerprint(f"{call} of {type(mixture).__name__}", f"{call} {type(mixture).__name__}"),
        "X": table_fingerprint(problem.X),
        "y": table_fingerprint(problem.y),
        "sample_weight": table_fingerprint(problem.sample_weight),
        "groups": table_fingerprint(problem.groups),
        **{f"the expert {name}": value_fingerprint(f"the expert {name}", expert) for name, expert in named},
        **{what: value_fingerprint(what, value) for what, value in given.items() if what not in FREE},
        **version_fingerprints([*(expert for _, expert in named), *given.values()]),
    }
    return Checkpoint(mixture.checkpoint, fingerprints)


def seed_of(mixture: Any, checkpoint: Checkpoint | None) -> Any:
    """The random state of a call, or the seed that its checkpoint keeps where none is given."""
    return checkpoint.seed if checkpoint is not None and mixture.random_state is None else mixture.random_state
