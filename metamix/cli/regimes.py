"""Regimes in words: who leads where in the specialised mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metamix.cli.tables import table_warnings

__all__ = ["n_regimes", "regimes_in_words", "regimes_of_folds"]

#: From fewer rows no conditions are found.
FEWEST_ROWS = 20


def n_regimes(mixture: Any) -> int:
    """Number of regimes of the specialised mixture; 1 where there is none."""
    inner = getattr(mixture, "mixture_", None)
    return 1 if inner is None else len(inner.named_experts_)


def regimes_in_words(mixture: Any, X: Any) -> list[str]:
    """Sentences that say which regime leads where, and how often they are right; none where there are no regimes.

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Fitted.
    X : data frame of shape (n, d)
    """
    from metamix.inspection import RegionDisplay

    if n_regimes(mixture) < 2 or len(X) < FEWEST_ROWS:
        return []
    with table_warnings([]):  # they were said when the mixture was fitted
        return str(RegionDisplay.from_estimator(mixture, X, n_permutations=0)).splitlines()


def regimes_of_folds(mixtures: Sequence[Any], X: Any) -> tuple[list[str], str]:
    """Sentences as of `regimes_in_words` for the first mixture that has regimes, and where they are from.

    Parameters
    ----------
    mixtures : sequence of MixtureRegressor or MixtureClassifier
        Those of a comparison, one for each outer fold.
    X : data frame of shape (n, d)
    """
    counts = [n_regimes(one) for one in mixtures]
    first = next((f for f, count in enumerate(counts) if count > 1), None)
    if first is None:
        return [], ""
    found = ", ".join(map(str, counts))
    said = f"Regimes of the mixture that was fitted without fold {first + 1} (their number in all folds: {found}):"
    return regimes_in_words(mixtures[first], X), said
