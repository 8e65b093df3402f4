"""The verdict's sentences: figures computed from the table of candidates, and what is left out of them."""

import re
from dataclasses import replace

import pytest

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.training.candidates import CANDIDATES
from metamix.training.selection import Paired
from metamix.training.verdict import PHRASES, UNSEEN, Verdict, Verdicts
from metamix.training.wording import short_number


@pytest.fixture
def verdict():
    """The stack wins with a loss of 0.8, a fifth below the best single expert's 1.0."""
    return Verdict(
        "stack", 0.8, "gated", Paired(0.01, 0.02), Paired(0.2, 0.05), {"stack": 0.75, "gated": 0.25}, "ridge",
        "squared error",
    )  # fmt: skip


def test_every_candidate_has_a_phrase():
    assert set(PHRASES) == set(CANDIDATES)


def test_shares_are_of_the_loss_that_is_compared_with(verdict):
    text = str(verdict)
    assert "squared error 0.8 (RMSE 0.8944), which is 20 % (± 5 %) below the best single expert (ridge)." in text
    assert "predict blends the stack (75 %) and a gate over experts and stacks (25 %); " in text
    assert "; the squared error of the blend is 1.2 % (± 2.5 %) below the stack." in text


def test_a_loss_is_above(verdict):
    worse = replace(verdict, gain=Paired(-0.04, 0.01), gain_over_single=Paired(-0.2, 0.1))
    assert "33 % (± 17 %) above the best single expert" in str(worse), "of 0.8 - 0.2"
    assert "5 % (± 1.2 %) above the stack, no better out of fold." in str(worse)


def test_the_best_single_expert_is_not_compared_with_itself(verdict):
    text = str(replace(verdict, winner="best single", weights={"best single": 1.0}))
    assert text == (
        "The simplest candidate that does as well as the best is the best single expert (ridge): squared error 0.8 "
        "(RMSE 0.8944). "
        "predict answers with it alone."
    )


def test_scores_have_differences_instead_of_shares(verdict):
    text = str(replace(verdict, measure="minus r2", loss=-0.9))
    assert "%" not in re.sub(r"\(\d+ %\)", "", text), "a share of a score that may be negative means nothing"
    assert "r2 0.9, which is 0.2 (± 0.05) above" in text
    assert "the r2 of the blend is 0.01 (± 0.02) above the stack." in text
    worse = str(replace(verdict, measure="minus r2", loss=-0.9, gain_over_single=Paired(-0.1, 0.05)))
    assert (
        "r2 0.9, which is 0.1 (± 0.05) below the best single expert (ridge) and within 1.75 standard errors "
        "of it." in worse
    )


def test_what_has_a_small_weight_is_named_too(verdict):
    text = str(replace(verdict, weights={"stack": 0.9975, "gated": 0.0025}))
    assert "predict blends the stack (100 %) and a gate over experts and stacks (0.25 %);" in text


def test_one_candidate_that_is_not_the_one_named_is_no_blend(verdict):
    text = str(replace(verdict, weights={"gated": 1.0}))
    assert "predict answers with a gate over experts and stacks, whose squared error is 1.2 % (± 2.5 %) below" in text


@pytest.mark.parametrize(("n", "text"), [(1, "No regimes"), (3, "3 regimes")])
def test_regimes_are_counted(verdict, n, text):
    with_mixture = replace(verdict, n_regimes=n, weights={"stack": 0.9, "mixture": 0.1})
    assert str(with_mixture).endswith(f"{text} (regions with an expert of their own) were found.")


@pytest.mark.parametrize(("n", "text"), [(1, "found."), (3, "found; predict does without them.")])
def test_regimes_without_weight_are_said_to_be_of_no_use(verdict, n, text):
    assert str(replace(verdict, n_regimes=n, weights={"stack": 1.0})).endswith(text)


def test_what_was_left_out_is_named_with_its_reason(verdict):
    said = "Nested cross-validation, a stricter check of stacks and gates, was left out: too few rows."
    assert str(replace(verdict, not_nested="too few rows")).endswith(said)
    assert "is not needed: no model has seen" in str(replace(verdict, not_nested=UNSEEN))
    assert "Nested" not in str(verdict)


def test_gaps_are_named(verdict):
    gaps = replace(verdict, not_measured=("3 of 9 rows", "experts"))
    assert str(gaps).endswith("Not measured: 3 of 9 rows. Not measured: experts.")


def test_several_targets_have_a_line_each(verdict):
    lines = str(Verdicts([verdict, replace(verdict, winner="convex")])).split("\n")
    assert lines[0] == f"Target 0: {verdict}"
    assert "a convex combination" in lines[1]


def test_numbers_are_short():
    assert [short_number(x) for x in (0.0, 0.0123, 9.96, 99.6, 1234.5)] == ["0", "0.012", "10", "100", "1234"]


@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
def test_the_verdict_of_a_fit_reads_its_table_of_candidates(scoring):
    X, y = make_regimes(200, 3, random_state=0)
    mixture = MixtureRegressor(["ridge", "neighbours"], gate="softmax", specialize=False, scoring=scoring,
                               cv=4, random_state=0).fit(X, y)  # fmt: skip
    verdict, table = mixture.verdict_, mixture.candidates_.set_index("candidate")
    candidates = table.drop("blend")
    assert verdict.best == candidates["loss"].idxmin()
    within = candidates["difference"] <= 1.75 * candidates["standard_error"] + 1e-12
    assert verdict.winner == within.idxmax(), "the first within 1.75 standard errors of the best"
    assert verdict.loss == pytest.approx(table["loss"][verdict.winner])
    assert verdict.gain.mean == pytest.approx(table["loss"][verdict.winner] - table["loss"]["blend"])
    assert verdict.gain_over_single.mean == pytest.approx(table["loss"]["best single"] - table["loss"][verdict.winner])
    assert verdict.weights == candidates["weight"][candidates["weight"] > 0].to_dict()
    assert verdict.n_regimes is None
    assert f"{verdict.loss:.4g}" in str(verdict)


def test_classes_are_judged_by_log_loss():
    X, y = make_regimes(150, 3, random_state=0)
    mixture = MixtureClassifier(["logistic", "tree"], gate="constant", specialize=False, cv=3, random_state=0)
    mixture.fit(X, y > y.mean())
    assert mixture.verdict_.measure == "log-loss"
    assert mixture.verdict_.best_single in ("logistic", "tree")
