"""Names that the shell completes: of experts, gates and other parts."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

__all__ = ["complete_parts", "complete_words"]

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_parts(*kinds: str, more: tuple[str, ...] = ()) -> Complete:
    """Completion of the last of several names, separated by commas, from the registered parts of some kinds.

    Parameters
    ----------
    *kinds : str
        Of parts, as `metamix.registry.describe` names them.
    more : tuple of str
        Other words that are accepted, alone.

    Examples
    --------
    >>> complete = complete_parts("gates", more=("auto",))
    >>> [one.value for one in complete(None, None, "softmax,cons")], [one.value for one in complete(None, None, "au")]
    (['softmax,constant'], ['auto'])
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from metamix.registry import describe

        before, comma, begun = incomplete.rpartition(",")
        names = dict.fromkeys(row.name for row in describe() if row.kind in kinds)
        words = [*names] if comma else [*more, *names]
        given = set(before.split(","))
        return [
            CompletionItem(f"{before}{comma}{word}") for word in words if word.startswith(begun) and word not in given
        ]

    return complete


def complete_words(*words: str) -> Complete:
    """Completion of one of some words.

    Examples
    --------
    >>> [one.value for one in complete_words("gates", "likelihoods")(None, None, "g")]
    ['gates']
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]

    return complete
