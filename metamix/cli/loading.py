"""Saved mixtures, and the rows of a table for them."""

from __future__ import annotations

import shlex
from typing import Any

import click

from metamix.cli.wording import suggestion

__all__ = ["load_model", "training_columns", "trust_option"]

trust_option = click.option(
    "--trust", multiple=True, metavar="TYPE", help="Trust this type in FILE, or all; may be repeated."
)


def load_model(file: str, trust: list[str]) -> Any:
    """The mixture in a file.

    Raises
    ------
    click.ClickException
        If types are not trusted, or the mixture has no models of its own.
    metamix.persistence.ModelFileError
        As `metamix.load` does.
    """
    from metamix.estimators import MixtureOfPredictions
    from metamix.persistence import UntrustedTypesError, load, untrusted_types

    try:
        mixture = load(file, trusted=untrusted_types(file) if "all" in trust else trust)
    except UntrustedTypesError as error:
        typed = shlex.join(click.get_current_context().find_root().obj)
        raise click.ClickException(
            f"{file} contains types that are not trusted: {', '.join(error.types)}. If you trust the source of the "
            f"file, as you may where you wrote it: metamix {typed} --trust all"
        ) from None
    if isinstance(mixture, MixtureOfPredictions):
        raise click.ClickException(
            f"{file} combines predictions of models that were fitted elsewhere, and has none of its own: load it in "
            "Python with metamix.load, and give predict their predictions"
        )
    return mixture


def training_columns(table: str, frame: Any, mixture: Any, identifiers: Any = None) -> Any:
    """The columns that the mixture was fitted on, in its order; without names all but the one of identifiers."""
    from metamix.data.frames import TableError

    names = getattr(mixture, "feature_names_in_", None)
    if names is None:  # fitted on an array without column names
        frame = frame if identifiers is None else frame.drop(columns=identifiers.name)
        if frame.shape[1] != mixture.n_features_in_:
            raise TableError(
                f"{table} has {frame.shape[1]} columns, and the mixture was fitted on "
                f"{mixture.n_features_in_} without names"
            )
        from metamix.data.cleaning import TableCleaner

        frame = TableCleaner(dict.fromkeys(frame.columns, "number")).fit(frame).transform(frame)
        return frame.to_numpy(dtype=float)
    absent = [name for name in names if name not in frame.columns]
    if absent:
        hint = suggestion(str(absent[0]), frame.columns)
        raise TableError(f"{table} lacks columns that the mixture was fitted on: {', '.join(map(repr, absent))}{hint}")
    return frame[list(names)]
