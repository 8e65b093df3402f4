"""The only room that calls `fit` of experts: takes experts, folds and weights, returns out-of-fold predictions."""

from metamix.fitting.checkpoint import Checkpoint
from metamix.fitting.device_placement import Placement, find_placements, join_devices, place_experts
from metamix.fitting.expert import fit_expert, name_and_prepare, prepare, takes_weights
from metamix.fitting.fitted import FittedExpert, FoldAverage, offers_scale
from metamix.fitting.incremental import partial_fit_expert
from metamix.fitting.problem import NamedExpert, Problem
from metamix.fitting.session import ALL_ROWS, AllExpertsFailedError, FitSession, NestedFitError, SharedInputs
from metamix.fitting.source import TableSource

__all__ = [
    "ALL_ROWS",
    "AllExpertsFailedError",
    "Checkpoint",
    "FitSession",
    "FittedExpert",
    "FoldAverage",
    "NamedExpert",
    "NestedFitError",
    "Placement",
    "Problem",
    "SharedInputs",
    "TableSource",
    "find_placements",
    "fit_expert",
    "join_devices",
    "name_and_prepare",
    "offers_scale",
    "partial_fit_expert",
    "place_experts",
    "prepare",
    "takes_weights",
]
