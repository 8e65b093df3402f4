"""Sections of a report about a fitted mixture and rows: what displays found, in sentences, tables and charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from metamix.data.cells import column_kind, floats_of, is_pandas
from metamix.data.features import feature_values
from metamix.data.frames import is_frame, listed
from metamix.data.tables import n_rows
from metamix.drawing import readable, short_names
from metamix.inspection.calibration import CalibrationDisplay
from metamix.inspection.candidates import CandidatesDisplay
from metamix.inspection.convergence import ConvergenceDisplay
from metamix.inspection.error_correlation import ErrorCorrelationDisplay
from metamix.inspection.experts import COEFFICIENT, INTERCEPT, ExpertsDisplay
from metamix.inspection.gate import GateDisplay
from metamix.inspection.inputs import InspectedRows, regimes_of
from metamix.inspection.region import RegionDisplay
from metamix.inspection.report import charts
from metamix.inspection.report.items import Bullets, Item, Part, Picture, Section, Table, Text, clipped
from metamix.training.wording import short_number

__all__ = ["MOST_POINTS", "MOST_TARGETS", "Content"]

Found = TypeVar("Found")
#: More rows than this are drawn at random for pictures with a point for each.
MOST_POINTS = 2_000
#: Targets with parts of their own.
MOST_TARGETS = 5
#: Columns of X in charts of effects.
MOST_EFFECTS = 15
#: Classes in the table of observed and predicted ones.
MOST_CLASSES = 12
#: Classes with a curve of calibration.
MOST_CURVES = 8
#: Starts in the chart, the best ones.
MOST_STARTS = 16
#: Differences smaller than this, relative to the loss, are errors of rounding.
ROUNDING = 1e-9
#: Fewer rows allow no rules of regions.
FEWEST_ROWS = 20

#: What each candidate is.
CANDIDATES = {
    "mean of y": "the mean (for classes: the shares) of the target, whatever the row",
    "best single": "the one expert with the smallest out-of-fold loss",
    "average": "the mean of all experts' predictions",
    "convex": "a weighted mean of the experts, with the same weights in every row",
    "stack": "a second model fitted to the experts' out-of-fold predictions",
    "feature-weighted stack": "a stack whose weights also depend on the columns of X",
    "gated": "a weighted mean of experts and stacks, with weights that a gate gives for each row",
    "mixture": "experts fitted anew, each to its own region of the rows, and a gate between them",
    "stack with mixture": "a stack that also uses the predictions of the mixture",
    "blend": "what predict answers with: a weighted mean of the candidates",
}


class Content:
    """What a report says of a mixture.

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Fitted.
    X : table of shape (n, d)
    y : array-like of shape (n,), (n, T) or (n, L)
    comparison : Comparison, optional
        Of `metamix.compare`, to be shown beside the candidates.

    Raises
    ------
    TypeError, ValueError
        As `InspectedRows.read` does.
    """

    def __init__(self, mixture: Any, X: Any, y: Any, comparison: Any = None) -> None:
        rows = InspectedRows.read(mixture, "metamix.report", X, y, needs_y="losses")
        self.mixture, self.X, self.y, self.comparison = rows.mixture, X, y, comparison
        self.of_fit, self.measure = rows.of_fit, rows.measure
        self.n, self.names = n_rows(rows.table), rows.names
        labels = self.mixture._target_names
        self.targets = list(range(1 if labels is None else len(labels)))
        label = "Label" if rows.several_labels else "Target"
        self.headings = [""] if labels is None else [f"{label} {clipped(name, 80)}" for name in labels]
        self.regimes = regimes_of(self.mixture)
        self.has_regimes = self.regimes is not self.mixture or self.mixture.candidates_ is None
        #: What the columns of the gate are called on the page.
        self.noun = "regime" if self.has_regimes else "model"

    def sections(self) -> list[Section]:
        """All sections that depend on the mixture, in their order on the page."""
        several = ""
        if len(self.targets) > MOST_TARGETS:
            several = f"There are {len(self.targets)} targets; this page shows the first {MOST_TARGETS}."
        held = (
            "The rows are those that the mixture was fitted to. Losses and predictions of each model are out of fold: "
            "every row was predicted by models fitted without it."
            if self.of_fit
            else "The rows are not those that the mixture was fitted to, or not in the same order. Losses below are of "
            "the fitted models on these rows; the candidates were judged out of fold when the mixture was fitted."
        )
        return [
            self._section("verdict", "Verdict", self._verdict, " ".join(filter(None, [several, held]))),
            self._section("trust", "Who is trusted where", self._trust),
            self._section("comparison", "Comparison of the candidates", self._comparison),
            self._section("laws", f"What each {self._expert} says", self._laws),
            self._section("predictions", "Observed and predicted", self._predictions),
            self._section("calibration", "Calibration", self._calibration),
            Section("convergence", "Convergence", [Part("", self._convergence())]),
            Section("failures", "Failures", [Part("", self._failures())]),
        ]

    @property
    def _expert(self) -> str:
        return "regime" if self.has_regimes else "expert"

    def _section(self, key: str, title: str, of_target: Callable[[int], list[Item]], intro: str = "") -> Section:
        shown = self.targets[:MOST_TARGETS]
        return Section(key, title, [Part(self.headings[t], of_target(t)) for t in shown], intro)

    # -- verdict and comparison ---------------------------------------------------------------------------------------

    def _verdict(self, t: int) -> list[Item]:
        if self.mixture.verdict_ is None:
            return self._without_verdict(t)
        verdict: Any = self.mixture.verdict_
        verdict = verdict if self.mixture._fitted.n_targets is None else verdict[t]
        first, found, rest = clipped(verdict, 3000).partition(". predict ")
        items: list[Item] = [Text(f"{first}." if found else first, lead=True)]
        if found:
            items.append(Text(f"predict {rest}"))
        display = CandidatesDisplay.from_estimator(self.mixture, target=t)
        table, far = charts.without_far_mean(display)
        best = display.frame().iloc[:-1]
        best = best["candidate"].iloc[int(best["loss"].to_numpy().argmin())]
        words = (
            f"Difference of the {display.measure} of each candidate to that of the best, {best}, with two standard "
            f"errors of the paired difference; smaller is better. The candidate that the verdict names, "
            f"{display.winner}, is in colour. {far}"
        )
        items.append(
            Picture("The candidates", words.strip(), charts.differences(table, display.measure, display.winner),
                    _candidates(display))
        )  # fmt: skip
        return items

    def _without_verdict(self, t: int) -> list[Item]:
        table = RegionDisplay.from_estimator(self.mixture, self.X, self.y, target=t, n_permutations=0).frame() \
            if self.n >= FEWEST_ROWS else None  # fmt: skip
        why = "cv=None" if self.mixture.cv is None else f"specialize={self.mixture.specialize!r}"
        K = len(self.mixture.named_experts_)
        items: list[Item] = []
        if table is None:
            items.append(Text(f"The mixture has {K} regimes.", lead=True))
        else:
            order = table.sort_values("share", ascending=False, kind="stable")
            said = [f"{clipped(a, 60)} leads {charts.percent(b)} of the rows"
                    for a, b in zip(order["regime"].head(4), order["share"].head(4), strict=True)]  # fmt: skip
            items.append(Text(f"The mixture has {K} regime{'s' if K > 1 else ''}: {', '.join(said)}.", lead=True))
        items.append(
            Text(
                f"No candidates were compared, since the mixture was fitted with {why}: whether something simpler "
                "would do as well is not known. With specialize='auto' it is."
            )
        )
        if table is not None:
            items.append(self._shares(table))
        return items

    def _comparison(self, t: int) -> list[Item]:
        items: list[Item] = []
        display = _shown(lambda: CandidatesDisplay.from_estimator(self.mixture, target=t), items)
        if display is not None:
            items.append(
                Text(
                    "Losses are out of fold; a difference is paired, row by row, and ± is its standard error. The "
                    "simplest candidate within one and a half standard errors of the best is the one named in the "
                    "verdict. Weights are the parts of the candidates in what predict answers with."
                )
            )
            table = _candidates(display)
            items.append(table)
            parts = display.frame()
            parts = parts[(parts["candidate"] != "blend") & (parts["weight"] > 0)]
            if len(parts) > 1:
                words = "Weight of each candidate in what predict answers with."
                items.append(Picture("What predict combines", words, charts.blend_weights(parts), Table.of(
                    "Weights", ["candidate", "weight"],
                    [(one.candidate, charts.percent(one.weight)) for one in parts.itertuples()],
                )))  # fmt: skip
        errors = _shown(
            lambda: ErrorCorrelationDisplay.from_estimator(
                self.mixture, *((None, None) if display is not None else (self.X, self.y)), target=t
            ),
            items,
        )
        if errors is not None and len(errors.names) > 1:
            frame = errors.frame()
            words = (
                "Correlation between the errors of each pair of experts. The smaller it is, the more a combination can "
                f"gain. {errors}"
            )
            numbers = Table.of("Correlations of errors", ["expert", *frame.columns], [
                (name, *(f"{value:.2f}" for value in line))
                for name, line in zip(frame.index, frame.to_numpy(), strict=True)
            ])  # fmt: skip
            items.append(Picture("How much alike the experts err", words, charts.correlations(frame), numbers))
        return [*items, *self._outer_comparison()] if t == 0 else items

    def _outer_comparison(self) -> list[Item]:
        if self.comparison is None:
            return []
        table = self.comparison.frame()
        words = (
            f"Difference of the {self.comparison.measure} to that of scikit-learn's stacking, with two standard "
            "errors, for each expert and combination, all fitted anew without each outer fold and judged on its rows. "
            "The oracle knows the best expert of every row; nobody can use it."
        )
        shown = table[table["name"] != "mean of y"]
        spec = charts.differences(shown, self.comparison.measure, "blend", "name", "scikit-learn's stacking")
        rows = [
            (one.name, one.kind, readable(one.loss), _plus_minus(one.difference, one.standard_error, one.loss),
             readable(one.fit_seconds), readable(one.predict_seconds))
            for one in table.itertuples(index=False)
        ]  # fmt: skip
        heads = ["", "kind", self.comparison.measure, "difference to stacking", "seconds to fit", "seconds to predict"]
        return [
            Text("The same on outer folds (metamix.compare): " + clipped(self.comparison.verdict, 3000)),
            Picture(
                "Experts and combinations on outer folds", words, spec, Table.of("On outer folds", heads, rows, [1])
            ),
        ]

    # -- who is trusted where -----------------------------------------------------------------------------------------

    def _trust(self, t: int) -> list[Item]:
        if self.n < FEWEST_ROWS:
            return [Text(f"There are {self.n} rows; rules of regions need {FEWEST_ROWS} or more.")]
        regions = RegionDisplay.from_estimator(self.mixture, self.X, self.y, target=t)
        what = (
            "A regime is one of the experts of the specialised mixture together with the rows where the gate gives it "
            "the largest weight: there it leads."
            if self.has_regimes
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
        items += self._gate_along(t)
        if several and self.mixture.verdict_ is not None:  # without a verdict, the first section shows them
            items.append(self._shares(table))
        return [*items, *self._region_losses(table, regions.measure)]

    def _shares(self, table: Any) -> Picture:
        shown = table[table["share"] > 0]
        rows = [(one.regime, charts.percent(one.share), charts.percent(one.mean_weight)) for one in table.itertuples()]
        numbers = Table.of("Shares", [self.noun, "leads", "mean weight"], rows)
        words = f"Share of the rows that each {self.noun} leads."
        return Picture("How many rows each leads", words, charts.shares(shown), numbers)

    def _region_losses(self, table: Any, measure: str) -> list[Item]:
        if "loss_inside" not in table:
            return []
        shown = table[table["share"] > 0]
        rows = [
            (one.regime, readable(one.loss_inside), readable(one.other_inside), one.best_other or "–",
             readable(one.loss_outside), readable(one.leaders_outside))
            for one in shown.itertuples()
        ]  # fmt: skip
        heads = [self.noun, "where it leads", "best other there", "which is", "elsewhere", "leaders elsewhere"]
        held = ", out of fold," if self.of_fit else ""
        words = (
            f"Mean {measure} of each {self.noun}{held} in the rows that it leads, of the best other {self.noun} in the "
            "same rows, and of itself in all other rows. Where the first is the smallest, the gate is right."
        )
        title = "How good each is where it leads"
        return [Picture(title, words, charts.losses(shown, measure), Table.of(f"Mean {measure}", heads, rows, [3]))]

    def _gate_along(self, t: int) -> list[Item]:
        between = GateDisplay.from_estimator(self.mixture, self.X, target=t)
        items: list[Item] = [self._gate(between, f"Weights of the {self.noun}s")]
        items += self._along(t, between)
        if self.regimes is not self.mixture:
            # The same column, so that the two can be compared.
            column = between.bins[0].name
            whole = GateDisplay.from_estimator(self.mixture, self.X, features=column, target=t, of="columns")
            items.append(self._gate(whole, "Weights in predict of experts, mixture and stacks"))
        return items

    def _gate(self, display: GateDisplay, title: str) -> Picture:
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

    def _along(self, t: int, display: GateDisplay) -> list[Item]:
        """The target along the column, a point for each row, in the colour of the leader."""
        rows = InspectedRows.read(self.mixture, "metamix.report", self.X, self.y, t)
        column = feature_values(rows.table, rows.names.index(display.bins[0].name))
        if rows.classes is not None or column_kind(column) != "number":
            return []
        leading = rows.weights(self.regimes).argmax(axis=1)
        x = floats_of(column)
        spec, said = self._points(x, rows.truth, leading, clipped(display.bins[0].name, 40), "target")
        words = f"The target along {clipped(display.bins[0].name, 60)}. {said}"
        table = _summary_of_points(display.bins[0].name, x, rows.truth, leading, self.regimes._fitted.names)
        return [Picture("The rows, and who leads them", words.strip(), spec, table)]

    def _points(
        self, x: NDArray[Any], y: NDArray[Any], leading: NDArray[np.intp], x_title: str, y_title: str, **how: Any
    ) -> tuple[charts.Spec, str]:
        """Points of rows, and sentences: who leads them, and whether all are drawn."""
        names = self.regimes._fitted.names
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        most = MOST_POINTS // min(len(self.targets), MOST_TARGETS)
        said = ""
        if len(known) > most:
            said = f"Of {len(known)} rows, {most} drawn at random are shown."
            known = np.sort(np.random.default_rng(0).choice(known, most, replace=False))
        places = np.unique(leading[known])
        leaders = (
            "Colours are the leaders." if len(places) > 1 else f"{clipped(names[places[0]], 60)} leads all of them."
        )
        said = f"{leaders} {said}"
        short = dict(zip(places, short_names([names[k] for k in places]), strict=True))
        index = self.X.index if is_pandas(self.X) else range(self.n)
        values = [
            {"row": clipped(index[i], 40), "x": float(f"{x[i]:.5g}"), "y": float(f"{y[i]:.5g}"),
             "name": short[leading[i]]}
            for i in known
        ]  # fmt: skip
        return charts.points(values, list(short.values()), x_title, y_title, places=list(map(int, places)), **how), said

    # -- what each says, and how well ---------------------------------------------------------------------------------

    def _laws(self, t: int) -> list[Item]:
        display = ExpertsDisplay.from_estimator(self.mixture, self.X, self.y, target=t)
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
            items += self._effects(display, drawn, "per_deviation", "effect of one standard deviation", which)
            items += _laws_in_numbers(linear, display.names, f"Coefficients{of}")
        other = table[table["kind"] != COEFFICIENT]
        if len(other):
            items.append(
                Text(
                    f"The importance of a column is how much the mean {display.measure} of an expert rises when the "
                    f"values of the column are shuffled among the rows{' that it leads' if self.has_regimes else ''}. "
                    "Near zero, the expert makes no use of the column."
                )
            )
            items += self._effects(display, other, "value", f"rise of the {display.measure}", "")
            items += _laws_in_numbers(other, display.names, "Importance of columns")
        return items

    def _effects(self, display: ExpertsDisplay, table: Any, value: str, title: str, which: str) -> list[Item]:
        table = table[(table["column"] != INTERCEPT) & np.isfinite(table[value])]
        if not len(table):
            return []
        size = table[value].abs().groupby(table["column"]).max().sort_values(ascending=False, kind="stable")
        columns = size.index[:MOST_EFFECTS].tolist()
        more = f" The {len(columns)} columns with the largest are shown." if len(size) > len(columns) else ""
        words = f"{title[0].upper()}{title[1:]} in each {self._expert}{which}.{more}"
        spec = charts.effects(table, columns, display.names, value, title)
        rows = [
            (column, *(_first(table[(table["column"] == column) & (table["regime"] == name)][value])
                       for name in display.names))
            for column in columns
        ]  # fmt: skip
        numbers = Table.of(title, ["column", *display.names], rows)
        return [Picture(f"{title[0].upper()}{title[1:]}", words, spec, numbers)]

    def _predictions(self, t: int) -> list[Item]:
        rows = InspectedRows.read(self.mixture, "metamix.report", self.X, self.y, t)
        predicted = _combined(rows)
        leading = rows.weights(self.regimes).argmax(axis=1)
        held = (
            "Predictions of each model are out of fold; the weights that combine them were learned from all rows."
            if self.of_fit
            else "Predictions are those of predict."
        )
        if rows.classes is not None:
            return [Text(held), *_agreement(rows, predicted)]
        known = np.isfinite(predicted)
        error = rows.truth[known] - predicted[known]
        spread = float(np.var(rows.truth[known]))
        explained = f", R² {readable(1 - float(np.mean(error**2)) / spread)}" if spread > 0 else ""
        said = (
            f"Root mean squared error {readable(float(np.sqrt(np.mean(error**2))))}, mean absolute error "
            f"{readable(float(np.abs(error).mean()))}{explained}, of {known.sum()} rows."
        )
        spec, sampled = self._points(predicted, rows.truth, leading, "predicted", "observed", diagonal=True)
        words = f"Observed against predicted values; on the dashed line both are equal. {sampled}"
        numbers = _summary_of_points("predicted", predicted, rows.truth, leading, self.regimes._fitted.names)
        return [Text(f"{held} {said}"), Picture("Observed against predicted", words.strip(), spec, numbers)]

    def _calibration(self, t: int) -> list[Item]:
        rows: list[tuple[Any, ...]]
        display = CalibrationDisplay.from_estimator(self.mixture, self.X, self.y, target=t)
        table = display.frame()
        fit = " These are the rows of fit: on new rows it will be worse." if display.of_fit else ""
        if display.kind == "coverage":
            said = (
                "An interval with a nominal coverage of 90 % should hold the target in 90 % of the rows. Below the "
                "dashed line intervals are too narrow, above it too wide; the band is two standard errors for all rows."
            )
            heads = [self.noun, "rows", "nominal", "observed"]
            wanted = table[np.isclose(table["nominal"].to_numpy()[:, None], [0.5, 0.8, 0.9, 0.95]).any(axis=1)]
            rows = [(one.regime, one.rows, charts.percent(one.nominal), _share(one))
                    for one in wanted.itertuples()]  # fmt: skip
            few = table.groupby("regime", sort=False)["rows"].first()
            drawn = table[table["regime"].isin(few.index[few >= FEWEST_ROWS])]
        else:
            said = (
                "Of the rows with a predicted probability of 30 %, the class should be found in 30 %. Below the dashed "
                "line probabilities are too large, above it too small."
            )
            heads = ["class", "predicted", "observed"]
            rows = [(a, charts.percent(b), charts.percent(c))
                    for a, b, c in zip(table["class"], table["predicted"], table["observed"], strict=True)]  # fmt: skip
            of_rows = InspectedRows.read(self.mixture, "metamix.report", self.X, self.y, t)
            classes: Any = of_rows.classes
            often = np.argsort(-np.bincount(of_rows.truth, minlength=len(classes)), kind="stable")[:MOST_CURVES]
            drawn = table[table["class"].isin(classes[often])]
            if table["class"].nunique() > MOST_CURVES:
                fit += f" The {MOST_CURVES} most frequent classes are drawn."
        title = "Coverage of intervals" if display.kind == "coverage" else "Reliability of probabilities"
        return [
            Picture(
                title,
                said + fit,
                charts.calibration(drawn, display.kind, self.regimes._fitted.names),
                Table.of(title, heads, rows),
            )
        ]

    def _convergence(self) -> list[Item]:
        items: list[Item] = []
        display = _shown(lambda: ConvergenceDisplay.from_estimator(self.mixture), items)
        if display is None:
            return items
        items.append(
            Text(
                "A mixture is fitted in rounds: each row is shared out among the regimes by how well they predict it, "
                "then experts and gate are fitted anew. "
                + (
                    "In sample the log-likelihood rises until it gains no more."
                    if display.measure == "log_likelihood"
                    else "Out of fold the round with the smallest loss is kept."
                )
            )
        )
        table, what = display.frame(), display.measure
        several = "fold" in table
        if len(table) == 1:
            items.append(
                Text(f"There was one round, with {what.replace('_', '-')} {readable(float(table[what].iloc[0]))}.")
            )
        heads = [*(["fold"] if several else []), "round", what.replace("_", "-"), "kept"]
        rows = [
            (*([one["fold"]] if several else []), one["round"], readable(one[what]), "yes" if one["chosen"] else "")
            for one in table.to_dict("records")
        ]
        words = (
            f"{'Log-likelihood' if what == 'log_likelihood' else 'Out-of-fold loss'} of every round; a circle marks "
        )
        words += "the rounds that were kept."
        if len(table) > 1:
            numbers = Table.of("Rounds", heads, rows, [len(heads) - 1])
            items.append(Picture("Rounds", words, charts.rounds(table, what), numbers))
        starts = display.starts.head(MOST_STARTS)
        if len(starts) > 1:
            more = f", the best {MOST_STARTS} of {len(display.starts)}" if len(display.starts) > len(starts) else ""
            words = f"Scores of the ways to share out the rows before the first round{more}; the smallest is taken."
            numbers = Table.of(
                "Starts", ["start", "score"], [(one.start, readable(one.score)) for one in starts.itertuples()]
            )
            items.append(Picture("Starts", words, charts.starts(starts), numbers))
        return items

    def _failures(self) -> list[Item]:
        failures = self.mixture.failures_
        if not len(failures):
            return [Text("No fit of an expert failed.")]
        rows = [(one.expert, one.fold, one.error) for one in failures.itertuples()]
        return [
            Text("Experts that failed were left out, in this fold or altogether; the weights are those of the others."),
            Table.of("Failures", ["expert", "fold", "error"], rows, [2]),
        ]

    def how_read(self, notes: Sequence[str]) -> Section:
        """How the table was read: `metamix.describe`, as the mixture knows it, and sentences of who read the file."""
        cleaner = getattr(self.mixture, "cleaner_", None)
        said: list[Item] = [Text(f"{self.n} rows and {len(self.names)} columns reach the experts.")]
        if notes:
            said.append(Bullets([clipped(note, 1000) for note in notes]))
        if cleaner is not None and is_frame(self.X) and hasattr(cleaner, "report"):
            report = cleaner.report(self.X)
            told = [note for note in report["note"] if note and note not in " ".join(notes)]
            if told:
                said.append(Bullets([clipped(note, 1000) for note in told[:50]]))
            rows = [
                (
                    one.column,
                    one.kind + (", left out" if one.left_out else ""),
                    one.missing,
                    one.distinct,
                    one.converted,
                )
                for one in report.itertuples()
            ]
            heads = ["column", "kind", "missing", "distinct values", "converted from"]
            said.append(Table.of("Columns", heads, rows, [1, 4]))
        else:
            array = "X is an array without column names, read as it is; columns are called by their numbers."
            said.append(Text("The columns were read as the given cleaner says." if is_frame(self.X) else array))
        return Section("table", "How the table was read", [Part("", said)])


def _shown(display: Callable[[], Found], items: list[Item]) -> Found | None:
    """A display, or its reason why there is nothing to show."""
    try:
        return display()
    except ValueError as error:  # displays say what is absent
        items.append(Text(f"Nothing to show: {clipped(error, 1000)}"))
        return None


def _candidates(display: CandidatesDisplay) -> Table:
    rows = [
        (one.candidate, readable(one.loss), _plus_minus(one.difference, one.standard_error, one.loss),
         charts.percent(one.weight), CANDIDATES.get(one.candidate, ""))
        for one in display.frame().itertuples()
    ]  # fmt: skip
    heads = ["candidate", display.measure, "difference to the best", "weight", "what it is"]
    return Table.of("Candidates", heads, rows, [4])


def _plus_minus(value: float, error: float, whole: float) -> str:
    """A difference with its standard error; 0 where it is nothing beside the whole."""
    if abs(value) <= ROUNDING * abs(whole) and not error > ROUNDING * abs(whole):
        return "0"
    return f"{readable(value)} ± {short_number(error)}" if np.isfinite(error) else readable(value)


def _share(one: Any) -> str:
    """Coverage observed, with its standard error."""
    return f"{100 * one.observed:.0f} ± {100 * one.standard_error:.1g} %"


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


def _combined(rows: InspectedRows) -> NDArray[Any]:
    """Predictions (n,), or probabilities (n, C), of the mixture: of the rows of fit from out-of-fold predictions."""
    if rows.of_fit:
        weights, predictions = rows.weights(), rows.predictions()
        known = np.isfinite(predictions).reshape(len(predictions), -1).all(axis=1)
        found = np.full((len(predictions), *predictions.shape[2:]), np.nan)
        found[known] = np.einsum("nk,nk...->n...", weights[known], predictions[known])
    else:
        mixture: Any = rows.mixture
        found = np.asarray(
            mixture.predict(rows.X) if rows.classes is None else mixture.predict_proba(rows.X), dtype=float
        )
        found = found[:, rows.target] if mixture._fitted.n_targets is not None else found
    return np.column_stack([1 - found, found]) if rows.several_labels else found


def _agreement(rows: InspectedRows, probabilities: NDArray[Any]) -> list[Item]:
    """Observed and predicted classes."""
    import pandas as pd

    classes = rows.classes
    assert classes is not None
    known = np.isfinite(probabilities).all(axis=1)
    truth, predicted = rows.truth[known], probabilities[known].argmax(axis=1)
    C = len(classes)
    table = np.bincount(truth * C + predicted, minlength=C * C).reshape(C, C)
    right = float(np.trace(table)) / max(int(table.sum()), 1)
    items: list[Item] = [Text(f"The class is predicted in {charts.percent(right)} of {known.sum()} rows.")]
    often = np.sort(np.argsort(-table.sum(axis=1), kind="stable")[:MOST_CLASSES])
    frame = pd.DataFrame(table[np.ix_(often, often)], index=classes[often], columns=classes[often])
    more = f" The {len(often)} most frequent of {C} classes are shown." if len(often) < C else ""
    words = (
        f"Number of rows of each observed class by the class predicted; shades are shares of the observed class.{more}"
    )
    numbers = Table.of("Rows", ["observed", *(f"predicted {clipped(one, 60)}" for one in frame.columns)], [
        (name, *map(str, line)) for name, line in zip(frame.index, frame.to_numpy(), strict=True)
    ])  # fmt: skip
    spec = charts.counts(charts.agreement(frame), "predicted", "observed")
    return [*items, Picture("Observed and predicted classes", words, spec, numbers)]


def _summary_of_points(
    name: str, x: NDArray[Any], y: NDArray[Any], leading: NDArray[np.intp], names: Sequence[str]
) -> Table:
    """Means of both axes for the rows that each leads: a cloud of points in few numbers."""
    known = np.isfinite(x) & np.isfinite(y)
    rows = [
        (names[k], int(mine.sum()), readable(float(x[mine].mean())), readable(float(y[mine].mean())),
         readable(float(np.corrcoef(x[mine], y[mine])[0, 1])) if _varies(x[mine]) and _varies(y[mine]) else "–")
        for k in np.unique(leading)
        if (mine := known & (leading == k)).any()
    ]  # fmt: skip
    return Table.of(
        "Points", ["leader", "rows", f"mean of {clipped(name, 60)}", "mean of the target", "correlation"], rows
    )


def _varies(values: NDArray[Any]) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > 0)
