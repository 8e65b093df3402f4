"""The one room that calls a foreign fit(): experts, folds and weights in, a table of answers out."""

from metamix.fitting.contents import Data, Entry, Fitted, FoldAverage, offers_scale
from metamix.fitting.expert import enter, fit_expert, prepare, takes_weights
from metamix.fitting.placing import Place, look_round, place_all, together
from metamix.fitting.workshop import AllExpertsFailedError, Bench, Workshop

__all__ = [
    "AllExpertsFailedError",
    "Bench",
    "Data",
    "Entry",
    "Fitted",
    "FoldAverage",
    "Place",
    "Workshop",
    "enter",
    "fit_expert",
    "look_round",
    "offers_scale",
    "place_all",
    "prepare",
    "takes_weights",
    "together",
]
