"""Explanations of predictions: who leads where in words, and rows one by one."""

from metamix.explanation.border import Border, nearest_border
from metamix.explanation.rows import Explanation, RowExplanation, explain_rows, regions_of
from metamix.explanation.rules import RegionRules, Rule, find_rules

__all__ = [
    "Border",
    "Explanation",
    "RegionRules",
    "RowExplanation",
    "Rule",
    "explain_rows",
    "find_rules",
    "nearest_border",
    "regions_of",
]
