"""metamix report, and metamix compare --report: the page is written, with the command and the table as it was read."""

import html
import re

import pandas as pd
import pytest

from metamix import load, save

pytest.importorskip("jinja2")

FAST = ["--experts", "ridge,neighbours", "--cv", "2", "--jobs", "1"]


def text(path):
    return html.unescape(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def priced(flats, tmp_path_factory):
    """A table of flats with a price, and no other column that could be predicted."""
    path = tmp_path_factory.mktemp("priced") / "priced flats.csv"
    pd.read_csv(flats).drop(columns=["sold", "house", "weight"]).to_csv(path, index=False)
    return path


def test_compare_writes_a_report_with_the_comparison_and_the_command(run, flats, tmp_path):
    page = tmp_path / "flats.html"
    words = ("compare", flats, "--target", "price", *FAST, "--drop", "sold,house,weight", "--report", page)
    code, out, err = run(*words)
    assert code == 0
    assert "oracle" in out
    assert f"Report written to {page}" in err
    assert "a mixture that was fitted to all rows, whose verdict may differ" in err
    found = text(page)
    assert f"metamix compare {flats} --target price --experts ridge,neighbours" in found
    assert "The same on outer folds (metamix.compare)" in found
    assert "flats.csv: 150 rows, regression of price." in found
    assert "The rows are those that the mixture was fitted to." in found


def test_the_comparison_and_its_report_share_one_time_limit(run, priced, tmp_path):
    page = tmp_path / "flats.html"
    words = ("compare", priced, "--target", "price", *FAST, "--time-limit", "0.003", "--report", page)
    code, out, _ = run(*words)
    assert code == 0
    limits = [float(re.search(r"time limit of ([\d.e-]+) s", found)[1]) for found in (out, text(page))]
    assert sum(limits) <= 0.003, "the comparison has two thirds of it, the report what is left"


def test_report_knows_the_rows_of_fit_and_finds_the_target(rejected, run, flats, priced, tmp_path):
    model, page = tmp_path / "flats.mix", tmp_path / "flats.html"
    assert run("fit", priced, "--target", "price", *FAST, "--out", model)[0] == 0
    code, out, err = run("report", model, priced, "--out", page)
    assert (code, out) == (0, "")
    assert f"Report written to {page}" in err
    found = text(page)
    assert "The rows are those that the mixture was fitted to." in found
    assert f"metamix report {model} '{priced}' --out {page}" in found
    rejected(run("report", model, priced, "--out", page), f"--out {page} exists", "--force")
    assert run("report", model, flats, "--out", page, "--force")[0] == 0, "the target is noted in the file"
    other = tmp_path / "other.mix"
    save(load(model), other)  # without the note
    rejected(
        run("report", other, flats, "--out", page, "--force"), "4 columns that the mixture was not fitted on",
        "price, sold, house, weight", "--target COLUMN",
    )  # fmt: skip
    assert run("report", other, flats, "--out", page, "--force", "--target", "price")[0] == 0

    without = tmp_path / "without.csv"
    pd.read_csv(priced).drop(columns="price").to_csv(without, index=False)
    rejected(run("report", other, without, "--out", page, "--force"), "give a table with the target")
    numbered = tmp_path / "numbered.csv"
    pd.read_csv(without).assign(number=range(1000, 1150)).to_csv(numbered, index=False)
    rejected(
        run("report", model, numbered, "--out", page, "--force"), "has no column 'price', which the mixture predicts",
        "--target COLUMN",
    )  # fmt: skip
    rejected(run("report", model, priced, "--out", priced, "--force"), "is read as input")


def test_a_report_that_cannot_be_written_is_refused_before_the_fit(rejected, run, flats, tmp_path):
    words = ("compare", flats, "--target", "price", *FAST, "--report")
    assert rejected(run(*words, tmp_path / "absent" / "r.html"), "there is no folder") == ""
    there = tmp_path / "r.html"
    there.write_text("mine")
    assert rejected(run(*words, there), f"--report {there} exists", "--force") == ""
    assert there.read_text() == "mine"
