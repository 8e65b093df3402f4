"""Vega-Lite 6 specifications of the charts of a report, as plain dicts, from the frames of displays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metamix.drawing import readable, short_names
from metamix.inspection.calibration import ALL_ROWS

if TYPE_CHECKING:
    import pandas as pd

    from metamix.inspection.candidates import CandidatesDisplay
    from metamix.inspection.gate import GateDisplay

__all__ = [
    "agreement",
    "blend_weights",
    "calibration",
    "correlations",
    "counts",
    "differences",
    "effects",
    "gate",
    "losses",
    "points",
    "rounds",
    "shares",
    "starts",
    "without_far_mean",
]

Spec = dict[str, Any]
Array = NDArray[np.float64]
#: Colours of the page (`page.html.jinja`), which follow its light and dark; the second eight are paler.
N_COLOURS = 8
TEXT, MUTED, FAINT = "var(--text)", "var(--muted)", "var(--line)"
SHAPES = ("circle", "square", "triangle-up", "diamond")
#: Height of a line of a chart with names.
STEP = 26
#: Labels below a chart are level where they have fewer characters in all, which fit a telephone.
STRAIGHT = 36
#: Weights below this everywhere are left out.
NEGLIGIBLE = 0.005
#: The mean of y is left out where its difference is so many times the largest of the others.
FAR = 1.5
#: Losses have a logarithmic axis where the largest is so many times the smallest.
WIDE = 20.0
TIP: Spec = {"field": "tip", "type": "nominal"}
_ZERO: Spec = {
    "mark": {"type": "rule", "color": FAINT, "size": 2},
    "encoding": {"x": {"datum": 0, "type": "quantitative"}},
}


def colour(k: int) -> str:
    """Colour of series k: a variable of the page's style; the second eight are paler."""
    own = f"var(--series-{k % N_COLOURS})"
    return own if k // N_COLOURS % 2 == 0 else f"color-mix(in srgb, {own} 50%, var(--page))"


def series(
    names: Sequence[str], places: Sequence[int] | None = None, *, shapes: bool = False, named: bool = False
) -> Spec:
    """Encoding of the field `name` as colour, and as shape where asked.

    `places` are the numbers of the colours; a single series has a legend where it is to be `named`.
    """
    places = range(len(names)) if places is None else places
    legend = {"title": None} if named or len(names) > 1 else None
    scale = {"domain": list(names), "range": [colour(k) for k in places]}
    encoding: Spec = {"color": {"field": "name", "type": "nominal", "scale": scale, "legend": legend}}
    if shapes:
        marks = [SHAPES[k // N_COLOURS % len(SHAPES)] for k in places]
        encoding["shape"] = {
            "field": "name", "type": "nominal", "scale": {"domain": list(names), "range": marks}, "legend": legend,
        }  # fmt: skip
    return encoding


def without_far_mean(display: CandidatesDisplay) -> tuple[pd.DataFrame, str]:
    """The candidates, and a sentence on the mean of y where it is so far from the others that it is left out."""
    table = display.frame()
    mean = (table["candidate"] == "mean of y").to_numpy()
    ends = table["difference"].to_numpy(dtype=float) + 2 * _known(table["standard_error"])
    if not mean.any() or mean.all() or ends[mean].max() <= FAR * max(ends[~mean].max(), 0.0):
        return table, ""
    at = readable(float(table["difference"][mean].iloc[0]))
    return table[~mean], f"The mean of y is far to the right of the picture, at {at}."


def differences(
    table: pd.DataFrame, measure: str, winner: str, names: str = "candidate", best: str = "the best"
) -> Spec:
    """Differences of losses with two standard errors; `names` is the column with the names.

    Parameters
    ----------
    table : DataFrame
        With the columns difference, standard_error, loss, and perhaps weight.
    measure : str
        Name of the loss.
    winner : str
        The name in colour.
    best : str
        What differences are to.
    """
    shown = short_names(table[names])
    error = 2 * _known(table["standard_error"])
    values: list[Spec] = []
    for i, one in enumerate(table.to_dict("records")):
        value, name = float(one["difference"]), str(one[names])
        said = [
            shown[i],
            f"difference {readable(value)} ± {readable(error[i] / 2)}",
            f"{measure} {readable(one['loss'])}",
        ]
        if "weight" in one:
            said.append(f"weight {percent(one['weight'])}")
        values.append({
            "name": shown[i], "value": value, "low": value - error[i], "high": value + error[i],
            "kind": "named" if name == winner else "other", "tip": "\n".join(said),
        })  # fmt: skip
    paint = {
        "field": "kind", "type": "nominal", "legend": None,
        "scale": {"domain": ["named", "other"], "range": [colour(0), MUTED]},
    }  # fmt: skip
    across = {"type": "quantitative", "title": f"{measure}: difference to {best}", "scale": {"zero": False}}
    common = {"y": _names(shown), "color": paint, "tooltip": TIP}
    return _chart(
        values,
        [
            _ZERO,
            {
                "mark": {"type": "rule", "size": 2},
                "encoding": {**common, "x": {**across, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {**common, "x": {**across, "field": "value"}},
            },
        ],
        height=STEP * len(shown),
    )  # fmt: skip


def blend_weights(table: pd.DataFrame) -> Spec:
    """Weights of the candidates in what `predict` answers with."""
    return _bars(table["candidate"], table["weight"], "weight in predict", [0] * len(table))


def shares(table: pd.DataFrame) -> Spec:
    """Shares of the rows that each regime leads; the index of the table numbers them."""
    places = [int(k) for k in table.index]  # of all regimes, so that colours are the same as elsewhere
    return _bars(table["regime"], table["share"], "share of the rows that it leads", places)


def _bars(names: Sequence[Any], values: Sequence[float], title: str, places: Sequence[int]) -> Spec:
    shown = short_names(names)
    rows = [
        {"name": name, "value": _number(value), "text": percent(value), "tip": f"{name}\n{title}: {percent(value)}"}
        for name, value in zip(shown, values, strict=True)
    ]
    end = max(0.1, 1.15 * float(np.nanmax(np.asarray(values, dtype=float))))
    x = {
        "field": "value",
        "type": "quantitative",
        "title": title,
        "axis": {"format": "%"},
        "scale": {"domain": [0, end]},
    }
    encoding = {"y": _names(shown, grid=False), "x": x}
    paint = series(shown, places)["color"] | {"legend": None}
    label = {"type": "text", "align": "left", "dx": 4, "color": TEXT}
    return _chart(
        rows,
        [
            {"mark": {"type": "bar"}, "encoding": {**encoding, "color": paint, "tooltip": TIP}},
            {"mark": label, "encoding": {**encoding, "text": {"field": "text"}}},
        ],
        height=STEP * len(shown),
    )  # fmt: skip


#: Columns of the table of regions, and what they are.
LOSSES = {
    "loss_inside": "in the rows that it leads", "other_inside": "the best other there", "loss_outside": "in other rows",
}  # fmt: skip


def losses(table: pd.DataFrame, measure: str) -> Spec:
    """Losses of each regime inside and outside of its region."""
    shown = short_names(table["regime"])
    values: list[Spec] = [
        {"regime": shown[i], "name": said, "value": float(one[key]), "tip": f"{shown[i]}\n{said}: {readable(one[key])}"}
        for i, one in enumerate(table.to_dict("records"))
        for key, said in LOSSES.items()
        if np.isfinite(one[key])
    ]
    found = [one["value"] for one in values]
    wide = bool(found) and min(found) > 0 and max(found) > WIDE * min(found)
    x = {"field": "value", "type": "quantitative", "title": measure, "scale": {"type": "log" if wide else "linear"}}
    if wide:
        x["axis"] = {"labelFlush": True, "tickCount": 5, "format": "~g"}
    encoding = {"y": _names(shown, "regime"), "x": x, "tooltip": TIP, **series(list(LOSSES.values()))}
    encoding["color"]["scale"]["range"] = [TEXT, MUTED, FAINT]  # colours are the regimes'
    marks = ["circle", "diamond", "square"]
    encoding["shape"] = {
        "field": "name", "type": "nominal", "scale": {"domain": list(LOSSES.values()), "range": marks},
        "legend": {"title": None},
    }  # fmt: skip
    return _chart(values, [{"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1}, "encoding": encoding}],
                  height=STEP * len(shown))  # fmt: skip


def gate(display: GateDisplay) -> Spec:
    """Mean weights along a column of X: stacked areas for numbers and dates, stacked bars for categories."""
    bins, weights = display.bins[0], np.nan_to_num(display.weights)
    places = [k for k in range(len(display.names)) if weights[:, k].max(initial=0.0) >= NEGLIGIBLE]
    names = dict(zip(places, short_names([display.names[k] for k in places]), strict=True))
    title = short_names([bins.name], 40)[0]
    labels = short_names(bins.labels) if bins.labels else bin_labels(display)
    values: list[Spec] = []
    for b in range(len(bins)):
        if not display.counts[b]:
            continue
        below = 0.0
        for k in reversed(places):
            above = below + float(weights[b, k])
            place: Spec = {"label": labels[b]}
            if not bins.labels:
                ends = bins.edges[b : b + 2] * (1000 if bins.dates else 1)
                place = {"from": float(ends[0]), "to": float(ends[1])}
            tip = f"{names[k]}: {percent(weights[b, k])}\n{title} {labels[b]}\n{display.counts[b]} rows"
            values.append({**place, "name": names[k], "low": below, "high": above, "tip": tip})
            below = above
    y = {"field": "low", "type": "quantitative", "title": "mean weight", "axis": {"format": "%"},
         "scale": {"domain": [0, 1]}}  # fmt: skip
    common = {"y": y, "y2": {"field": "high"}, "tooltip": TIP, **series(list(names.values()), places, named=True)}
    if bins.labels:
        x: Spec = {
            "field": "label",
            "type": "nominal",
            "title": title,
            "sort": labels,
            "axis": {"labelAngle": 0 if len("".join(labels)) < STRAIGHT else -40},
        }
        return _chart(values, [{"mark": {"type": "bar"}, "encoding": {"x": x, **common}}])
    kind = "temporal" if bins.dates else "quantitative"
    scale: Spec = {"type": "utc"} if bins.dates else {"zero": False}
    x = {"field": "from", "type": kind, "title": title, "scale": {**scale, "nice": False}}
    mark = {"type": "rect", "stroke": "var(--page)", "strokeWidth": 0.5}
    return _chart(values, [{"mark": mark, "encoding": {"x": x, "x2": {"field": "to"}, **common}}])


def bin_labels(display: GateDisplay) -> list[str]:
    """Each bin of a column in words."""
    bins = display.bins[0]
    if bins.labels:
        return list(bins.labels)
    ends = [str(one.astype("M8[D]")) for one in bins.edges.astype("M8[s]")] if bins.dates else map(readable, bins.edges)
    ends = list(ends)
    return [f"{low} to {high}" for low, high in pairwise(ends)]


def points(
    values: list[Spec],
    names: Sequence[str],
    x: str,
    y: str,
    *,
    places: Sequence[int] | None = None,
    diagonal: bool = False,
) -> Spec:
    """A point for each row.

    Parameters
    ----------
    values : list of dict
        row (its name), x, y, and name: the series.
    names : sequence of str
        Of the series, short and different.
    x, y : str
        Titles of the axes.
    places : sequence of int, optional
        Numbers of the colours of the series.
    diagonal : bool
        Whether to draw the line of equal values, with the same ends for both axes.
    """
    # The tooltip is put together in the browser: as text in every row it would be most of the page.
    x_of, y_of = (f"format(datum.{key}, '.4~g')" for key in "xy")
    # Titles are parameters of the chart: within the expression they would be read as a part of it.
    tip = f"'row ' + datum.row + '\\n' + datum.name + '\\n' + across + ': ' + {x_of} + '\\n' + up + ': ' + {y_of}"
    scale: Spec = {"zero": False}
    layers: list[Spec] = []
    if diagonal and values:
        every = [one[key] for one in values for key in "xy"]
        ends = [min(every), max(every)]
        pad = 0.02 * (ends[1] - ends[0]) or 1.0
        scale = {"domain": [ends[0] - pad, ends[1] + pad], "nice": False}
        layers.append({
            "data": {"values": [{"x": end, "y": end} for end in ends]},
            "mark": {"type": "line", "color": MUTED, "strokeDash": [4, 3], "strokeWidth": 1},
            "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
        })  # fmt: skip
    layers.append({
        "transform": [{"calculate": tip, "as": "tip"}],
        "mark": {"type": "point", "filled": True, "size": 28, "opacity": 0.65},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x, "scale": scale},
            "y": {"field": "y", "type": "quantitative", "title": y, "scale": scale},
            "tooltip": TIP, **series(names, places, shapes=True),
        },
    })  # fmt: skip
    titles = [{"name": "across", "value": x}, {"name": "up", "value": y}]
    return {**_chart(values, layers, height=320), "params": titles}


def counts(values: list[Spec], x: str, y: str) -> Spec:
    """A point for each pair of categories, as large as the number of its rows."""
    columns = list(dict.fromkeys(one["x"] for one in values))
    rows = list(dict.fromkeys(one["y"] for one in values))
    return _cells(values, columns, rows, x, y)


def correlations(table: pd.DataFrame) -> Spec:
    """Correlations of the errors: a cell for each pair."""
    names = short_names(table.index)
    values: list[Spec] = []
    for i, line in enumerate(table.to_numpy(dtype=float)):
        for j, value in enumerate(line):
            if np.isfinite(value):
                text = f"{value:.2f}".replace("-0.00", "0.00")
                tip = f"errors of {names[i]} and {names[j]}\ncorrelation {text}"
                values.append({"x": names[j], "y": names[i], "value": float(value), "text": text, "tip": tip})
    return _cells(values, names, names, None, None)


def _cells(values: list[Spec], columns: list[str], rows: list[str], x: str | None, y: str | None) -> Spec:
    """Cells with a number, shaded by |value|: blue where it is positive, orange where it is negative."""
    angle = 0 if len("".join(columns)) < STRAIGHT else -40
    across = {
        "field": "x",
        "type": "nominal",
        "sort": columns,
        "title": x,
        "axis": {"labelAngle": angle, "domain": False},
    }
    down = _names(rows, "y", grid=False) | {"title": y}
    shade = {"field": "size", "type": "quantitative", "scale": {"domain": [0, 1], "range": [0, 0.45]}, "legend": None}
    paint = {
        "field": "sign", "type": "nominal", "legend": None,
        "scale": {"domain": ["positive", "negative"], "range": [colour(0), colour(1)]},
    }  # fmt: skip
    shaded = [
        {**one, "size": min(1.0, abs(one["value"])), "sign": "positive" if one["value"] >= 0 else "negative"}
        for one in values
    ]
    encoding = {"x": across, "y": down, "tooltip": TIP}
    number = {"type": "text", "color": TEXT, "fontSize": {"expr": f"min(12, width / {2.4 * len(columns):.1f})"}}
    return _chart(
        shaded,
        [
            {"mark": {"type": "rect"}, "encoding": {**encoding, "color": paint, "fillOpacity": shade}},
            {"mark": number, "encoding": {**encoding, "text": {"field": "text"}}},
        ],
        height=32 * len(rows),
    )  # fmt: skip


def effects(table: pd.DataFrame, columns: Sequence[str], regimes: Sequence[str], value: str, title: str) -> Spec:
    """Effect of each column of X in each regime.

    Parameters
    ----------
    table : DataFrame
        Of `ExpertsDisplay`, one kind and one class.
    columns : sequence of str
        In their order.
    regimes : sequence of str
        All of them, so that colours are the same as elsewhere.
    value : str
        Column with the effect.
    title : str
    """
    rows = dict(zip(columns, short_names(columns), strict=True))
    names = dict(zip(regimes, short_names(regimes), strict=True))
    values: list[Spec] = [
        {
            "column": rows[one["column"]], "name": names[one["regime"]], "value": float(one[value]),
            "tip": f"{names[one['regime']]}\n{rows[one['column']]}: {readable(one[value])}",
        }
        for one in table.to_dict("records")
        if one["column"] in rows and np.isfinite(one[value])
    ]  # fmt: skip
    present = [k for k, name in enumerate(regimes) if any(one["name"] == names[name] for one in values)]
    x = {"field": "value", "type": "quantitative", "title": title, "scale": {"padding": 8}}
    encoding = {"y": _names(list(rows.values()), "column"), "x": x, "tooltip": TIP}
    paint = series([names[regimes[k]] for k in present], present, shapes=True, named=True)
    return _chart(
        values,
        [
            _ZERO,
            {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1}, "encoding": {**encoding, **paint}},
        ],
        height=STEP * len(rows),
    )  # fmt: skip


def calibration(table: pd.DataFrame, kind: str, regimes: Sequence[str]) -> Spec:
    """What was observed against what was predicted; the diagonal is right.

    `regimes` are all of them, so that colours are the same as elsewhere.
    """
    key, across = ("regime", "nominal") if kind == "coverage" else ("class", "predicted")
    groups = list(dict.fromkeys(table[key]))
    names = dict(zip(groups, short_names(groups), strict=True))
    values: list[Spec] = []
    for one in table.to_dict("records"):
        x, y, name = float(one[across]), float(one["observed"]), names[one[key]]
        values.append({"x": x, "y": y, "name": name, "tip": f"{name}\npredicted {percent(x)}\nobserved {percent(y)}"})
    titles = {
        "coverage": ("nominal coverage of intervals", "share of rows inside"),
        "reliability": ("mean predicted probability", "share of rows of the class"),
    }[kind]
    scale = {"domain": [0, 1]}
    x_axis = {"field": "x", "type": "quantitative", "title": titles[0], "scale": scale, "axis": {"format": "%"}}
    y_axis = {"field": "y", "type": "quantitative", "title": titles[1], "scale": scale, "axis": {"format": "%"}}
    layers: list[Spec] = [{
        "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
        "mark": {"type": "line", "color": MUTED, "strokeDash": [4, 3], "strokeWidth": 1},
        "encoding": {"x": x_axis, "y": y_axis},
    }]  # fmt: skip
    if kind == "coverage":
        whole = table[table[key] == ALL_ROWS]
        ends = [np.clip(whole["observed"] + sign * 2 * whole["standard_error"], 0, 1) for sign in (-1, 1)]
        band = [
            {"x": float(x), "low": float(low), "high": float(high)}
            for x, low, high in zip(whole[across], *ends, strict=True)
        ]
        layers.append({
            "data": {"values": band},
            "mark": {"type": "area", "color": MUTED, "opacity": 0.25},
            "encoding": {"x": x_axis, "y": y_axis | {"field": "low"}, "y2": {"field": "high"}},
        })  # fmt: skip
    # All rows are drawn in the colour of the text, so that regimes have the colours that they have elsewhere.
    paint = series(list(names.values()))
    if kind == "coverage":
        paint["color"]["scale"]["range"] = [TEXT, *(colour(list(regimes).index(one)) for one in groups[1:])]
    layers.append({
        "mark": {"type": "line", "point": {"size": 36, "filled": True}},
        "encoding": {"x": x_axis, "y": y_axis, "tooltip": TIP, **paint},
    })  # fmt: skip
    return _chart(values, layers, height=320)


def rounds(history: pd.DataFrame, measure: str) -> Spec:
    """Loss, or log-likelihood, of the rounds; those that were kept are circled."""
    several = "fold" in history
    folds = list(dict.fromkeys(history["fold"])) if several else [0]
    title = "log-likelihood" if measure == "log_likelihood" else "out-of-fold loss"
    values: list[Spec] = []
    for fold in folds:
        table = history[history["fold"] == fold] if several else history
        name = f"fold {fold}" if several else "rounds"
        unique = table["round"].is_unique
        for i, one in enumerate(table.to_dict("records")):
            if not np.isfinite(one[measure]):
                continue
            number, kept = int(one["round"]) if unique else i + 1, bool(one["chosen"])
            tip = f"{name}, round {number}{' (kept)' if kept else ''}\n{title} {readable(one[measure])}"
            values.append({"x": number, "y": float(one[measure]), "name": name, "kept": kept, "tip": tip})
    ticks = list(range(1, 1 + max((one["x"] for one in values), default=1)))
    ticks = ticks[:: 1 + len(ticks) // 12]
    x = {
        "field": "x", "type": "quantitative", "title": "round", "axis": {"values": ticks, "format": "d"},
        "scale": {"zero": False, "padding": 12},
    }  # fmt: skip
    y = {"field": "y", "type": "quantitative", "title": title, "scale": {"zero": False}}
    encoding = {"x": x, "y": y, "tooltip": TIP}
    paint = series([f"fold {fold}" for fold in folds] if several else ["rounds"])
    return _chart(
        values,
        [
            {"mark": {"type": "line", "point": {"size": 36, "filled": True}}, "encoding": {**encoding, **paint}},
            {
                "transform": [{"filter": {"field": "kept", "equal": True}}],
                "mark": {"type": "point", "size": 170, "strokeWidth": 1.5, "filled": False, "color": TEXT},
                "encoding": encoding,
            },
        ],
    )  # fmt: skip


def starts(table: pd.DataFrame) -> Spec:
    """Scores of the initial responsibilities that competed; left is better."""
    names = short_names(table["start"], 36)
    values: list[Spec] = [
        {"name": name, "value": float(score), "tip": f"{name}\nscore {readable(score)}"}
        for name, score in zip(names, table["score"], strict=True)
        if np.isfinite(score)
    ]
    x = {"field": "value", "type": "quantitative", "title": "score (left is better)", "scale": {"zero": False}}
    mark = {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": MUTED}
    return _chart(values, [{"mark": mark, "encoding": {"y": _names(names), "x": x, "tooltip": TIP}}],
                  height=STEP * len(names))  # fmt: skip


def agreement(table: pd.DataFrame) -> list[Spec]:
    """Cells of a table of observed (rows) and predicted (columns) classes, with the share of the row's class."""
    columns, lines = short_names(table.columns), short_names(table.index)
    values: list[Spec] = []
    for i, line in enumerate(table.to_numpy(dtype=int)):
        whole = max(int(line.sum()), 1)
        for j, count in enumerate(line):
            tip = f"observed {lines[i]}, predicted {columns[j]}\n{count} rows ({percent(count / whole)} of {lines[i]})"
            values.append({"x": columns[j], "y": lines[i], "value": count / whole, "text": str(count), "tip": tip})
    return values


def percent(value: Any) -> str:
    """A share in per cent.

    Examples
    --------
    >>> percent(0.123), percent(0.0012), percent(float("nan"))
    ('12 %', '0.12 %', '–')
    """
    if not np.isfinite(value):
        return "–"
    value = 100 * float(value)
    return f"{value:.0f} %" if value >= 1 or value == 0 else f"{value:.2g} %"


def _names(names: Sequence[str], field: str = "name", *, grid: bool = True) -> Spec:
    return {"field": field, "type": "nominal", "sort": list(names), "title": None, "axis": {"grid": grid}}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _known(errors: Any) -> Array:
    """Standard errors, 0 where they are not known."""
    found = np.asarray(errors, dtype=float)
    return np.where(np.isfinite(found), found, 0.0)


def _chart(values: list[Spec], layers: list[Spec], height: Any = 260) -> Spec:
    """A chart as wide as its place on the page."""
    return {
        "data": {"values": values},
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "layer": layers,
    }
