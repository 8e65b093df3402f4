"""The verdict: which candidate is the simplest that does as well as the best, and what `predict` gains over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metamix.training.error_correlation import Headroom
from metamix.training.selection import Paired
from metamix.training.wording import compared, measure_name, short_number, shown_loss

__all__ = [
    "CLEAR", "ELSEWHERE", "FAILED", "NOTHING_LEARNED", "NO_TIME", "ONLY_THE_MIXTURE", "TOO_MANY_FITS",
    "UNSEEN", "UNSUITABLE", "UNWEIGHTED", "Verdict", "Verdicts",
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
#: Candidates that use the regimes.
WITH_REGIMES = {"mixture", "stack with mixture"}
#: Why there was no nested cross-validation: it is not needed, or cannot be made.
CLEAR = "no other candidate comes within three standard errors of the one named"
ONLY_THE_MIXTURE = "the two candidates within three standard errors both use the specialised mixture"
NOTHING_LEARNED = "no candidate within three standard errors learns from out-of-fold predictions"
UNSEEN = "no model has seen the rows by which its predictions are judged"
NOT_NEEDED = (CLEAR, ONLY_THE_MIXTURE, NOTHING_LEARNED, UNSEEN)
FAILED = "a fit without the rows of two folds failed"
NO_TIME = "the time limit leaves no time for it"
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
        The simplest candidate whose loss is within 1.75 standard errors of the best.
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
        Why there was no nested cross-validation: why what is learned from out-of-fold predictions was judged on
        predictions whose models have seen a part of the rows. Empty if there was.
    headroom : Headroom, optional
        What a choice between the experts could gain at all.
    leaks : tuple of str
        Sentences about columns that may not be known beforehand.
    last_fold : str
        A sentence where the last fold of a time order is predicted worse than the earlier ones; else empty.
    left_out : str
        A sentence about what there was no time for; empty without a time limit, or if nothing was left out.
    rows : str
        Sentences on which rows taught what, of a table that is larger than the memory; else empty.

    Examples
    --------
    >>> weights = {"stack": 0.8, "gated": 0.2}
    >>> over_single = Paired(0.2, 0.05)
    >>> print(Verdict("stack", 0.8, "gated", Paired(0.01, 0.02), over_single, weights, "ridge", "squared error"))
    The simplest candidate that does as well as the best is the stack: squared error 0.8 (RMSE 0.8944), which is \
20 % (± 5 %) below the best single expert (ridge). predict blends the stack (80 %) and a gate over experts and stacks \
(20 %); the squared error of the blend is 1.2 % (± 2.5 %) below the stack.
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
    last_fold: str = ""
    left_out: str = ""
    rows: str = ""

    def __str__(self) -> str:
        return " ".join(self.sentences)

    @property
    def sentences(self) -> list[str]:
        """What it says, sentence by sentence."""
        not_measured = [f"Not measured: {what}." for what in self.not_measured]
        said = [*self._sentences(), self.rows, self.last_fold, self.left_out, *not_measured, *self.leaks]
        return [one for one in said if one]

    def _sentences(self) -> list[str]:
        sentences = [self._winner(), self._answer()]
        if self.n_regimes is not None:
            number = "No regimes" if self.n_regimes == 1 else f"{self.n_regimes} regimes"
            unused = "" if self.n_regimes == 1 or WITH_REGIMES & self.weights.keys() else "; predict does without them"
            sentences.append(f"{number} (regions with an expert of their own) were found{unused}.")
        if self.not_nested:
            why = "is not needed" if self.not_nested in NOT_NEEDED else "was left out"
            sentences.append(
                f"Nested cross-validation, a stricter check of stacks and gates, {why}: {self.not_nested}."
            )
        return sentences if self.headroom is None else [*sentences, str(self.headroom)]

    def _winner(self) -> str:
        single = f"{PHRASES['best single']} ({self.best_single})"
        winner = single if self.winner == "best single" else PHRASES[self.winner]
        said = (
            f"The simplest candidate that does as well as the best is {winner}: {shown_loss(self.measure, self.loss)}"
        )
        if self.winner == "best single":
            return f"{said}."
        found = self._compared(self.gain_over_single, self.loss + self.gain_over_single.mean, single)
        near = "" if self.gain_over_single.mean >= 0 else " and within 1.75 standard errors of it"
        return f"{said}, which is {found}{near}."

    def _answer(self) -> str:
        """What `predict` answers with."""
        if list(self.weights) == [self.winner]:
            return "predict answers with it alone."
        parts = [f"{PHRASES[name]} ({short_number(100 * weight)} %)" for name, weight in self.weights.items()]
        found = self._compared(self.gain, self.loss, PHRASES[self.winner])
        no_better = "" if self.gain.mean >= 0 else ", no better out of fold"
        name = measure_name(self.measure)
        if len(parts) == 1:
            return f"predict answers with {PHRASES[next(iter(self.weights))]}, whose {name} is {found}{no_better}."
        combined = f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"predict blends {combined}; the {name} of the blend is {found}{no_better}."

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
