"""Tables as people have them, by the command line: what is said, options that decide otherwise, predictions."""

import io
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

from metamix.cli.reading import ReadingOptions
from metamix.cli.tables import read
from metamix.data.frames import TableError

FAULTS = Path(__file__).parents[3] / "shared" / "acceptance" / "faults"
needs_faults = pytest.mark.skipif(not FAULTS.exists(), reason="the folder shared is not there")
FAST = ["--experts", "linear", "--cv", "2", "--jobs", "1"]


@pytest.fixture
def houses(tmp_path):
    rng = np.random.default_rng(0)
    area = rng.integers(600, 3200, 60)
    frame = pd.DataFrame(
        {
            "": range(60),
            "house": [f"h{i}" for i in range(60)],
            "area": [f"{v:,}" for v in area],
            "zip": rng.choice(["01067", "80331"], 60),
            "sold": pd.date_range("2020-01-01", periods=60, freq="9D").strftime("%d/%m/%Y"),
            "price": [f"${90 * v:,.2f}" for v in area],
        }
    )
    path = tmp_path / "houses.csv"
    frame.to_csv(path, index=False)
    return path


@needs_faults
@pytest.mark.parametrize("path", sorted(FAULTS.glob("*.csv")), ids=lambda path: path.stem)
def test_targets_of_tables_as_people_have_them_are_those_of_the_plain_one(path):
    plain = pd.read_csv(FAULTS / "plain.csv")["price"]
    target = "damage" if path.stem == "classes_none" else "price"
    data = read(str(path), ReadingOptions(), target)
    if target == "damage":
        assert data.task == "classification"
        assert set(data.y) == {"None", "one"}
    else:
        assert data.task == "regression"
        np.testing.assert_allclose(data.y.astype(float), plain)
    assert len(data.X) == 120
    assert data.lines[0].startswith(f"{path.name}: 120 rows, {data.task} of {target}")


def test_a_table_is_fitted_and_predicted_with_what_was_noticed(run, houses, tmp_path):
    model = tmp_path / "m.mix"
    code, out, err = run("fit", houses, "--target", "price", "--id", "house", *FAST, "--out", model)
    assert code == 0, err
    assert "houses.csv: 60 rows, regression of price." in out
    assert "zip     category" in out
    assert "counts the rows; it is left out" in out
    assert "price: numbers with decimal '.', thousands ',', unit '$'" in out
    assert "kinds=" not in out, "the command line has options, not parameters"
    new = tmp_path / "new.csv"
    pd.DataFrame(
        {"area": ["1,000", "2000", "huge"], "zip": "80331", "sold": "31/01/2021", "house": ["a", "b", "c"]}
    ).to_csv(new)
    code, out, err = run("predict", model, new, "--id", "house")
    assert code == 0, err
    answers = pd.read_csv(io.StringIO(out))
    assert answers["house"].tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(answers["prediction"][:2], [90_000, 180_000], rtol=1e-3)
    assert "area: 1 of 3 values is no number ('huge'), taken as missing." in err


def test_answers_that_are_written_otherwise_are_refused(rejected, run, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"garden": rng.choice(["Yes", "No"], 40), "area": rng.normal(size=40), "price": rng.normal(size=40)}
    )
    table, model = tmp_path / "t.csv", tmp_path / "m.mix"
    frame.to_csv(table, index=False)
    assert run("fit", table, "--target", "price", *FAST, "--out", model)[0] == 0
    frame.assign(garden=(frame["garden"] == "Yes").astype(int)).to_csv(table, index=False)
    rejected(run("predict", model, table), "'garden' held text such as 'No', 'Yes' in training", "numbers such as")


def test_options_decide_otherwise(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(
        "a|zip|day|x|y\n1.234|1067|01/02/2020|n.a.|1\n5.678|80331|03/04/2020|7|2\n9.123|1067|05/06/2020|8|4\n".encode(
            "utf-16"
        )
    )
    options = ReadingOptions(
        drop=["x"],
        types=["zip=category"],
        decimal=",",
        thousands=".",
        date_format="%d/%m/%Y",
        sep="|",
        encoding="utf-16",
    )
    data = read(str(path), options, "y", task="regression")
    clean = data.cleaner.transform(data.X)
    assert clean["a"].tolist() == [1234, 5678, 9123]
    assert clean["zip"].tolist() == ["1067", "80331", "1067"]
    assert clean["day"].dt.month.tolist() == [2, 4, 6]
    assert "x" not in clean
    plain = read(str(path), ReadingOptions(na=["n.a."]), "y", task="regression")
    assert plain.cleaner.transform(plain.X)["a"].tolist() == [1.234, 5.678, 9.123]
    assert plain.cleaner.transform(plain.X)["x"].isna().tolist() == [True, False, False]
    said = " ".join(plain.lines)
    assert "a: '1.234' is read as 1.234, not 1234." in said
    assert "day: '01/02/2020' is read as 2020-01-02, not 2020-02-01." in said


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"drop": ["areas"]}, click.UsageError, "--drop 'areas' is not a column of the table: did you mean 'area'"),
        ({"types": ["are=number"]}, click.UsageError, "did you mean 'area'"),
        ({"types": ["area=numeric"]}, TableError, "one of number"),
        ({"sep": "ab"}, click.UsageError, "one character"),
        ({"identifier": "hous"}, TableError, "did you mean 'house'"),
        ({"encoding": "utf-9"}, TableError, "no encoding"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(houses, options, error, message):
    with pytest.raises(error) as caught:
        read(str(houses), ReadingOptions(**options), "price")
    assert message in str(getattr(caught.value, "message", caught.value))


def test_rows_without_a_target_and_odd_classes_are_said(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "1,yes\n2,no\n" * 10 + "3,\n4,maybe\n")
    data = read(str(path), ReadingOptions(), "y")
    assert len(data.y) == 21
    assert "1 of 22 rows have no y, and are left out." in data.lines
    assert any("the class 'maybe' has one row" in line for line in data.lines)


def test_a_row_of_totals_is_kept_if_asked_for(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("city,n,y\n" + "".join(f"c{i % 3},{i},{i * 2}\n" for i in range(20)) + "Total,190,380\n")
    assert len(read(str(path), ReadingOptions(), "y", task="regression").y) == 20
    assert len(read(str(path), ReadingOptions(keep_totals=True), "y", task="regression").y) == 21


def test_columns_whose_names_have_commas_or_are_those_of_options(run, tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "m.mix"
    rows = [f'{i},{i % 7},"{i % 5},5",{i * 7 % 23}.25' for i in range(60)]
    table.write_text("\n".join(['"price, id",scoring,"weight, kg",y', *rows]))
    code, said, err = run("fit", table, "--target", "y", "--experts", "ridge", "--cv", "2", "--out", out)
    assert code == 0, err
    assert """--types '"price, id=number"' keeps it""" in said.replace("\n", " ")
    assert "  scoring " in said
    again = ["--types", '"price, id=number"', "--drop", '"weight, kg"', "--force"]
    code, said, err = run("fit", table, "--target", "y", "--experts", "ridge", "--cv", "2", "--out", out, *again)
    assert code == 0, err
    said = said.partition("To repeat it:")[0]
    assert "left out" not in said
    assert "weight, kg" not in said


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([-1.0] + [1.0] * 9, "--weights 'w' must be finite and not negative"),
        ([0.0] * 10, "not zero everywhere"),
        ([float("inf")] + [1.0] * 9, "--weights 'w' must be finite"),
        (["a", "b"] * 5, "--weights 'w' is not a numeric column"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(tmp_path, weights, message):
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": range(10), "w": weights, "y": np.arange(10) * 0.5}).to_csv(path, index=False)
    with pytest.raises(TableError) as caught:
        read(str(path), ReadingOptions(), "y", weights="w")
    assert message in str(caught.value)


def test_weights_are_those_of_their_column(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": range(10), "w": [f"{i},5" for i in range(10)], "y": np.arange(10) * 0.5}).to_csv(path, sep=";")
    data = read(str(path), ReadingOptions(), "y", weights="w")
    np.testing.assert_array_equal(data.weights, np.arange(10) + 0.5)
    assert "w" not in data.X
