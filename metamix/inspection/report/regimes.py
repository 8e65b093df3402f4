"""Sections on who leads where, and what each regime says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metamix.data.cells import column_kind, floats_of
from metamix.data.features import feature_values
from metamix.data.frames import listed
from metamix.drawing import readable
from metamix.inspection.experts import COEFFICIENT, INTERCEPT, ExpertsDisplay
from metamix.inspection.gate import GateDisplay
from metamix.inspection.inputs import InspectedRows
from metamix.inspection.region import RegionDisplay
from metamix.inspection.report import charts
from metamix.inspection.report.items import Bullets, Item, Picture, Table, Text, clipped
from metamix.inspection.report.subject import FEWEST_ROWS, Subject, summary_of_points
from metamix.training.wording import short_number

__all__ = ["laws", "shares", "trust"]

#: Columns of X in charts of effects.
MOST_EFFECTS = 15


def trust(subject: Subject, t: int) -> list[Item]:
    """Who leads where: rules, weights along a column, shares and losses."""
    if subject.n < FEWEST_ROWS:
        return [Text(f"There are {subject.n} rows; rules of regions need {FEWEST_ROWS} or more.")]
    regions = RegionDisplay.from_estimator(subject.mixture, subject.X, subject.y, target=t)
    what = (
        "A regime is one of the experts of the specialised mixture together with the rows where the gate gives it "
        "the largest weight: there it leads."
        if subject.has_regimes
        else "The models are the experts and what is learned from their predictions. The gate gives each a weight "
        "in every row; a model leads the rows where its weight is the largest."
    )
    found = regions.regions
    whole = (
        f"The rules are the leaves of a small decision tree. They name the leader of {_of_100(regions.accuracy)} % "
        f"of the rows held out from the tree; the most frequent leader leads {_of_100(found.chance)} %."
    )
    if np.isfinite(regions.p_value):
        whole += f" In a permutation test of the tree, p = {short_number(regions.p_value)}."
    named = {rule.leader for rule in found.rules}
    table = regions.frame()
    nowhere = [one for one in table["regime"][table["share"] > 0] if one not in named]
    if nowhere:
        whole += f" No conditions were found for {listed([clipped(one, 60) for one in nowhere])}."
    items: list[Item] = [Text(what), Bullets([clipped(rule, 1000) for rule in regions.rules()])]
    several = int((table["share"] > 0).sum()) > 1
    if several:
        items.append(Text(whole))
    items += _gate_along(subject, t)
    if several and subject.mixture.verdict_ is not None:  # without a verdict, the first section shows them
        items.append(shares(subject, table))
    return [*items, *_region_losses(subject, table, regions.measure)]


def shares(subject: Subject, table: Any) -> Picture:
    """Share of the rows that each leads."""
    shown = table[table["share"] > 0]
    rows = [(one.regime, charts.percent(one.share), charts.percent(one.mean_weight)) for one in table.itertuples()]
    numbers = Table.of("Shares", [subject.noun, "leads", "mean weight"], rows)
    words = f"Share of the rows that each {subject.noun} leads."
    return Picture("How many rows each leads", words, charts.shares(shown), numbers)


def _region_losses(subject: Subject, table: Any, measure: str) -> list[Item]:
    if "loss_inside" not in table:
        return []
    shown = table[table["share"] > 0]
    rows = [
        (one.regime, readable(one.loss_inside), readable(one.other_inside), one.best_other or "–",
         readable(one.loss_outside), readable(one.leaders_outside))
        for one in shown.itertuples()
    ]  # fmt: skip
    heads = [subject.noun, "where it leads", "best other there", "which is", "elsewhere", "leaders elsewhere"]
    held = ", out of fold," if subject.of_fit else ""
    words = (
        f"Mean {measure} of each {subject.noun}{held} in the rows that it leads, of the best other {subject.noun} in "
        "the same rows, and of itself in all other rows. Where the first is the smallest, the gate is right."
    )
    title = "How good each is where it leads"
    return [Picture(title, words, charts.losses(shown, measure), Table.of(f"Mean {measure}", heads, rows, [3]))]


def _gate_along(subject: Subject, t: int) -> list[Item]:
    between = GateDisplay.from_estimator(subject.mixture, subject.X, target=t)
    items: list[Item] = [_gate(subject, between, f"Weights of the {subject.noun}s")]
    items += _along(subject, t, between)
    if subject.regimes is not subject.mixture:
        # The same column, so that the two can be compared.
        column = between.bins[0].name
        whole = GateDisplay.from_estimator(subject.mixture, subject.X, features=column, target=t, of="columns")
        items.append(_gate(subject, whole, "Weights in predict of experts, mixture and stacks"))
    return items


def _gate(subject: Subject, display: GateDisplay, title: str) -> Picture:
    column = clipped(display.bins[0].name, 60)
    words = (
        f"Mean weight of each along {column}, the column along which the weights change most; bins have about as "
        "many rows each, and other columns are as they are in the rows."
    )
    often = [k for k in range(len(display.names)) if np.nanmax(display.weights[:, k]) >= charts.NEGLIGIBLE]
    rows = [
        (label, display.counts[b], *(charts.percent(display.weights[b, k]) for k in often))
        for b, label in enumerate(charts.bin_labels(display))
    ]
    heads = [display.bins[0].name, "rows", *(display.names[k] for k in often)]
    return Picture(f"{title} along {column}", words, charts.gate(display), Table.of("Mean weights", heads, rows))


def _along(subject: Subject, t: int, display: GateDisplay) -> list[Item]:
    """The target along the column, a point for each row, in the colour of the leader."""
    rows = InspectedRows.read(subject.mixture, "metamix.report", subject.X, subject.y, t)
    column = feature_values(rows.table, rows.names.index(display.bins[0].name))
    if rows.classes is not None or column_kind(column) != "number":
        return []
    leading = rows.weights(subject.regimes).argmax(axis=1)
    x = floats_of(column)
    spec, said = subject.points(x, rows.truth, leading, clipped(display.bins[0].name, 40), "target")
    words = f"The target along {clipped(display.bins[0].name, 60)}. {said}"
    table = summary_of_points(display.bins[0].name, x, rows.truth, leading, subject.regimes._fitted.names)
    return [Picture("The rows, and who leads them", words.strip(), spec, table)]


def laws(subject: Subject, t: int) -> list[Item]:
    """What each expert says: coefficients, or importance of columns."""
    display = ExpertsDisplay.from_estimator(subject.mixture, subject.X, subject.y, target=t)
    table = display.frame()
    items: list[Item] = []
    linear = table[table["kind"] == COEFFICIENT]
    if len(linear):
        of = " of the log odds" if "class" in linear and linear["class"].notna().any() else ""
        items.append(
            Text(
                f"Experts that are linear have coefficients{of}, in units of the target for one unit of the "
                "column; in the picture, for one standard deviation of the column, so that columns can be compared."
            )
        )
        drawn = linear
        which = ""
        if "class" in linear and linear["class"].notna().any() and display.shown is not None:
            drawn = linear[linear["class"].isna() | (linear["class"] == display.shown)]
            which = f" for the class {clipped(display.shown, 60)}"
        items += _effects(subject, display, drawn, "per_deviation", "effect of one standard deviation", which)
        items += _laws_in_numbers(linear, display.names, f"Coefficients{of}")
    other = table[table["kind"] != COEFFICIENT]
    if len(other):
        items.append(
            Text(
                f"The importance of a column is how much the mean {display.measure} of an expert rises when the "
                f"values of the column are shuffled among the rows{' that it leads' if subject.has_regimes else ''}. "
                "Near zero, the expert makes no use of the column."
            )
        )
        items += _effects(subject, display, other, "value", f"rise of the {display.measure}", "")
        items += _laws_in_numbers(other, display.names, "Importance of columns")
    return items


def _effects(subject: Subject, display: ExpertsDisplay, table: Any, value: str, title: str, which: str) -> list[Item]:
    table = table[(table["column"] != INTERCEPT) & np.isfinite(table[value])]
    if not len(table):
        return []
    size = table[value].abs().groupby(table["column"]).max().sort_values(ascending=False, kind="stable")
    columns = size.index[:MOST_EFFECTS].tolist()
    more = f" The {len(columns)} columns with the largest are shown." if len(size) > len(columns) else ""
    words = f"{title[0].upper()}{title[1:]} in each {subject.expert}{which}.{more}"
    spec = charts.effects(table, columns, display.names, value, title)
    rows = [
        (column, *(_first(table[(table["column"] == column) & (table["regime"] == name)][value])
                   for name in display.names))
        for column in columns
    ]  # fmt: skip
    numbers = Table.of(title, ["column", *display.names], rows)
    return [Picture(f"{title[0].upper()}{title[1:]}", words, spec, numbers)]


def _of_100(share: float) -> str:
    return short_number(100 * share)


def _first(values: Any) -> str:
    return readable(float(values.iloc[0])) if len(values) else ""


def _laws_in_numbers(table: Any, names: Sequence[str], title: str) -> list[Item]:
    """A table with a column for each regime, of each class where there are several."""
    present = [name for name in names if (table["regime"] == name).any()]
    classes = "class" in table and table["class"].notna().any()
    size = table["strength"].groupby(table["column"]).max().sort_values(ascending=False, kind="stable")
    columns = [one for one in size.index if one != INTERCEPT]
    columns += [INTERCEPT] if INTERCEPT in size.index else []
    found: dict[tuple[Any, ...], dict[str, str]] = {}
    for one in table.to_dict("records"):
        key = (one["column"], one["class"]) if classes else (one["column"],)
        found.setdefault(key, {})[one["regime"]] = readable(one["value"])
    place = {column: i for i, column in enumerate(columns)}
    keys = sorted(found, key=lambda key: place[key[0]])
    rows = [(*key, *(found[key].get(name, "") for name in present)) for key in keys]
    return [Table.of(title, ["column", *(["class"] if classes else []), *present], rows, [1] if classes else [])]
