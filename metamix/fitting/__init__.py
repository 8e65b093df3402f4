"""The one room that calls a foreign fit(): experts, folds and weights in, a table of answers out."""

from metamix.fitting.contents import Data, Entry, Fitted, FoldAverage
from metamix.fitting.expert import fit_expert, prepare, takes_weights
from metamix.fitting.workshop import AllExpertsFailedError, Workshop

__all__ = [
    "AllExpertsFailedError",
    "Data",
    "Entry",
    "Fitted",
    "FoldAverage",
    "Workshop",
    "fit_expert",
    "prepare",
    "takes_weights",
]
