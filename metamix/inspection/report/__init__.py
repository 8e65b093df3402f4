"""A report on a fitted mixture: one HTML file that needs nothing else."""

from metamix.inspection.report.page import report

__all__ = ["report"]
