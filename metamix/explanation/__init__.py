"""Explanations of predictions: who leads where in words, and rows one by one."""

from metamix.explanation.border import Border, OtherCategory, nearest_border, other_categories
from metamix.explanation.rows import Explanation, RowExplanation, explain_rows, regions_of
from metamix.explanation.rules import RegionRules, Rule, find_rules

__all__ = [
    "Border",
    "Explanation",
    "OtherCategory",
    "RegionRules",
    "RowExplanation",
    "Rule",
    "explain_rows",
    "find_rules",
    "nearest_border",
    "other_categories",
    "regions_of",
]
