"""The one room that calls a foreign fit(): experts, folds and weights in, a table of answers out."""

from metamix.fitting.contents import Data, Entry, Fitted, FoldAverage, offers_scale
from metamix.fitting.expert import fit_expert, prepare, takes_weights
from metamix.fitting.workshop import AllExpertsFailedError, Bench, Workshop

__all__ = [
    "AllExpertsFailedError",
    "Bench",
    "Data",
    "Entry",
    "Fitted",
    "FoldAverage",
    "Workshop",
    "fit_expert",
    "offers_scale",
    "prepare",
    "takes_weights",
]
