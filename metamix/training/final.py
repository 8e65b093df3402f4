"""What `predict` answers with: one candidate, or a point on the path from the simplest good one to the blend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamix.training.selection import HeldOutLoss, simplest

__all__ = ["FinalChoice", "FinalChoices"]

Array = NDArray[np.float64]

#: Points on the path from the simplest good candidate to the blend.
PATH = np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True)
class FinalChoice:
    """A point on the straight path from one candidate to the blend of all.

    Parameters
    ----------
    candidate : int
    along : float
        0 is the candidate, 1 is the blend.

    Examples
    --------
    >>> FinalChoice(1, 0.5)(np.array([[0.0, 2.0]]), np.array([4.0]))
    array([3.])
    """

    candidate: int
    along: float

    def __call__(self, stacked: Array, blend: Array) -> Array:
        """Predictions (n,) or (n, C), from those of the candidates (n, P) or (n, P, C) and of the blend."""
        return np.asarray((1 - self.along) * stacked[:, self.candidate] + self.along * blend)


@dataclass
class FinalChoices:
    """Out-of-fold predictions of the candidates and of their blend, from which one choice or several are made.

    Parameters
    ----------
    stacked : ndarray of shape (n, P) or (n, P, C)
        Predictions of P candidates, the simplest first.
    losses : ndarray of shape (u, P)
        Their losses by unit.
    blend : ndarray of shape (n,) or (n, C)
    loss : HeldOutLoss
    final : {"blend", "best", "simplest"}
    """

    stacked: Array
    losses: Array
    blend: Array
    loss: HeldOutLoss
    final: str

    def __post_init__(self) -> None:
        self._paths: dict[int, Array] = {}

    def choose(self, weight: Array) -> FinalChoice:
        """Choose by units with these weights (u,)."""
        if self.final == "best":
            return FinalChoice(int(np.argmin(weight @ self.losses)), 0.0)
        candidate = simplest(self.losses, weight, self.loss.unit_groups)
        if self.final == "simplest":
            return FinalChoice(candidate, 0.0)
        return FinalChoice(candidate, float(PATH[int(np.argmin(weight @ self._path(candidate)))]))

    def _path(self, candidate: int) -> Array:
        """Losses (u, points) along the path from a candidate to the blend."""
        if candidate not in self._paths:
            points = [FinalChoice(candidate, float(a))(self.stacked, self.blend) for a in PATH]
            self._paths[candidate] = np.column_stack([self.loss.units(point) for point in points])
        return self._paths[candidate]
