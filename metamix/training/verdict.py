"""The verdict: which candidate is the simplest that does as well as the best, and what `predict` gains over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metamix.training.error_correlation import Headroom
from metamix.training.selection import Paired
from metamix.training.wording import compared, short_number, shown_loss

__all__ = [
    "CLEAR", "ELSEWHERE", "FAILED", "NOTHING_LEARNED", "ONLY_THE_MIXTURE", "TOO_MANY_FITS", "UNSEEN", "UNSUITABLE",
    "UNWEIGHTED", "Verdict", "Verdicts",
]  # fmt: skip

PHRASES = {
    "mean of y": "the mean of y",
    "best single": "the best single expert",
    "average": "the plain average",
    "convex": "a convex combination of the experts",
    "stack": "the stack",
    "feature-weighted stack": "the feature-weighted stack",
    "gated": "a gate over experts and stacks",
    "mixture": "the specialised mixture",
    "stack with mixture": "a stack that sees the specialised mixture",
}
#: Why nothing was nested.
CLEAR = "no other candidate is within three standard errors of the one named"
ONLY_THE_MIXTURE = "both candidates within three standard errors see the specialised mixture"
NOTHING_LEARNED = "no candidate within three standard errors is learned from out-of-fold predictions"
UNSEEN = "no model behind the out-of-fold predictions has seen the rows that it is judged by"
FAILED = "a fit without the rows of two folds failed"
UNSUITABLE = "the rows of a fold cannot be divided once more"
TOO_MANY_FITS = "it would take {} fits of every expert"
#: Of a scorer that takes no sample weights.
UNWEIGHTED = "the weights of rows within a fold, which {} does not take"
ELSEWHERE = "the models were fitted elsewhere; losses of candidates that are learned from predictions are optimistic"


@dataclass(frozen=True)
class Verdict:
    """What the out-of-fold losses of the candidates say; prints as sentences.

    Parameters
    ----------
    winner : str
        The simplest candidate whose loss is within one and a half standard errors of the best.
    loss : float
        Its out-of-fold loss.
    best : str
        The candidate with the smallest loss.
    gain : Paired
        How much less than the winner `predict` loses, out of fold: mean and standard error. What `predict` combines
        is chosen once more without the rows that it is judged by.
    gain_over_single : Paired
        How much less than the best single expert the winner loses.
    weights : mapping from candidate to float
        What `predict` combines.
    best_single : str
        Name of the best single expert.
    measure : str
        Name of the loss.
    n_regimes : int or None
        Of the specialised mixture, where there is one.
    not_measured : tuple of str
        What the table of out-of-fold predictions does not show.
    not_nested : str
        Why what is learned from out-of-fold predictions was judged on predictions whose models have seen a part of
        the rows; empty if it was judged without.
    headroom : Headroom, optional
        What a choice between the experts could gain at all.
    leaks : tuple of str
        Sentences about columns that may not be known beforehand.

    Examples
    --------
    >>> weights = {"stack": 0.8, "gated": 0.2}
    >>> over_single = Paired(0.2, 0.05)
    >>> print(Verdict("stack", 0.8, "gated", Paired(0.01, 0.02), over_single, weights, "ridge", "squared error"))
    The simplest candidate that does as well as the best is the stack: squared error 0.8 (root 0.8944), 20 % (± 5 %) \
below the best single expert (ridge). predict combines the stack (80 %) and a gate over experts and stacks (20 %): \
1.2 % (± 2.5 %) below the stack.
    """

    winner: str
    loss: float
    best: str
    gain: Paired
    gain_over_single: Paired
    weights: Mapping[str, float]
    best_single: str
    measure: str
    n_regimes: int | None = None
    not_measured: tuple[str, ...] = field(default=())
    not_nested: str = ""
    headroom: Headroom | None = None
    leaks: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return " ".join([*self._sentences(), *(f"Not measured: {what}." for what in self.not_measured), *self.leaks])

    def _sentences(self) -> list[str]:
        single = f"{PHRASES['best single']} ({self.best_single})"
        winner = single if self.winner == "best single" else PHRASES[self.winner]
        said = (
            f"The simplest candidate that does as well as the best is {winner}: {shown_loss(self.measure, self.loss)}"
        )
        if self.winner != "best single":
            found = self._compared(self.gain_over_single, self.loss + self.gain_over_single.mean, single)
            near = "" if self.gain_over_single.mean >= 0 else " which is within one and a half standard errors of it:"
            said += f",{near} {found}"
        sentences = [f"{said}."]
        if list(self.weights) == [self.winner]:
            sentences.append("predict answers with it alone.")
        else:
            parts = [f"{PHRASES[name]} ({short_number(100 * weight)} %)" for name, weight in self.weights.items()]
            combined = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
            no_better = "" if self.gain.mean >= 0 else ", which is no better out of fold"
            found = self._compared(self.gain, self.loss, PHRASES[self.winner])
            sentences.append(f"predict combines {combined}{no_better}: {found}.")
        if self.n_regimes is not None:
            found = "no regimes were found" if self.n_regimes == 1 else f"{self.n_regimes} regimes were found"
            sentences.append(f"{found[0].upper()}{found[1:]}.")
        if self.not_nested:
            sentences.append(f"Nothing was nested: {self.not_nested}.")
        return sentences if self.headroom is None else [*sentences, str(self.headroom)]

    def _compared(self, gain: Paired, whole: float, other: str) -> str:
        return compared(self.measure, gain.mean, gain.standard_error, whole, other)


@dataclass(frozen=True)
class Verdicts:
    """One verdict for each target or label; prints a line for each.

    Parameters
    ----------
    each : sequence of Verdict
    names : sequence, optional
        Of labels or targets; their numbers by default.
    kind : {"Target", "Label"}

    Examples
    --------
    >>> one = Verdict("stack", 0.8, "stack", Paired(0, 0), Paired(0.1, 0.1), {"stack": 1.0}, "ridge", "squared error")
    >>> len(Verdicts([one, one])), Verdicts([one])[0].winner
    (2, 'stack')
    """

    each: Sequence[Verdict]
    names: Sequence[Any] | None = None
    kind: str = "Target"

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, t: int) -> Verdict:
        return self.each[t]

    def __str__(self) -> str:
        names = range(len(self.each)) if self.names is None else self.names
        return "\n".join(f"{self.kind} {name}: {verdict}" for name, verdict in zip(names, self.each, strict=True))
