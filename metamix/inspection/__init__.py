"""Displays: what a fitted mixture does, as numbers and pictures."""

from metamix.inspection.calibration import CalibrationDisplay
from metamix.inspection.candidates import CandidatesDisplay
from metamix.inspection.convergence import ConvergenceDisplay
from metamix.inspection.error_correlation import ErrorCorrelationDisplay
from metamix.inspection.experts import ExpertsDisplay
from metamix.inspection.gate import GateDisplay
from metamix.inspection.region import RegionDisplay

__all__ = [
    "CalibrationDisplay",
    "CandidatesDisplay",
    "ConvergenceDisplay",
    "ErrorCorrelationDisplay",
    "ExpertsDisplay",
    "GateDisplay",
    "RegionDisplay",
]
