"""Regimes in words: who leads where in the specialised mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metamix.cli.tables import table_warnings

__all__ = ["about_regimes", "n_regimes", "regimes_in_words", "regimes_of_folds"]

#: From fewer rows no conditions are found.
FEWEST_ROWS = 20


def n_regimes(mixture: Any) -> int:
    """Number of regimes of the specialised mixture; 1 where there is none."""
    inner = getattr(mixture, "mixture_", None)
    return 1 if inner is None else len(inner.named_experts_)


def about_regimes(mixture: Any) -> str:
    """A heading for the sentences on regimes; it says where they have no weight in predictions."""
    verdict = getattr(mixture, "verdict_", None)
    if verdict is None or _has_weight(verdict):
        return "Regimes in words:"
    return "Regimes in words, of the specialised mixture, which has no weight in what predict answers with:"


def _has_weight(verdict: Any) -> bool:
    return bool({"mixture", "stack with mixture"} & set(verdict.weights))


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
        display = RegionDisplay.from_estimator(mixture, X, n_permutations=0)
    return display.rules() if display.regions.chance == 1 else str(display).splitlines()


def regimes_of_folds(mixtures: Sequence[Any], X: Any) -> tuple[list[str], str]:
    """Sentences as of `regimes_in_words` for the first mixture whose regimes have weight, and where they are from.

    Parameters
    ----------
    mixtures : sequence of MixtureRegressor or MixtureClassifier
        Those of a comparison, one for each outer fold.
    X : data frame of shape (n, d)
    """
    counts = [n_regimes(one) for one in mixtures]
    used = [f for f, one in enumerate(mixtures) if counts[f] > 1 and _has_weight(one.verdict_)]
    if not used:
        return [], ""
    found = ", ".join(map(str, counts))
    said = f"Regimes of the mixture that was fitted without fold {used[0] + 1} (their number in all folds: {found}):"
    return regimes_in_words(mixtures[used[0]], X), said
