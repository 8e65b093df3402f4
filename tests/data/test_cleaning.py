"""Columns decided by all of their values: tables as people have them against the same table without trouble."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from metamix import TableCleaner, TableWarning, describe
from metamix.data.cleaning import FEW_ROWS, fit_cleaner
from metamix.data.column_reading import KINDS
from metamix.data.feature_encoder import FeatureEncoder
from metamix.data.files import read_file
from metamix.data.frames import TableError
from metamix.data.tables import total_row

FAULTS = Path(__file__).parents[3] / "shared" / "acceptance" / "faults"
needs_faults = pytest.mark.skipif(not FAULTS.exists(), reason="the folder shared is not there")


def cleaned(name):
    table = read_file(FAULTS / f"{name}.csv")
    cleaner = TableCleaner(decimal=table.decimal).fit(table.frame)
    return cleaner.transform(table.frame), cleaner, table


@needs_faults
@pytest.mark.parametrize(
    ("name", "columns", "noted"),
    [
        ("dotted_thousands", "area year beds price", ["area", "price"]),
        ("comma_thousands", "area year beds price", ["area", "price"]),
        ("currency", "area year beds price", ["price"]),
        ("euro_after", "area year beds price", ["area", "price"]),
        ("excel_sep_line", "area year beds price", []),
        ("title_line", "area year beds price", []),
        ("index_column", "area year beds price", ["without a name"]),
        ("utf16", "area year beds price", []),
        ("latin1", "area year price", []),
        ("clock_change", "area price", ["sold: dates with a time zone are in UTC"]),
        ("dates_us", "area price", ["sold: dates as %m/%d/%Y"]),
        ("dates_dotted", "area price", ["sold: dates as %d.%m.%Y"]),
        ("na_is_a_country", "area price", []),
    ],
)
def test_tables_as_people_have_them_are_the_plain_one(name, columns, noted):
    frame, cleaner, _ = cleaned(name)
    plain = pd.read_csv(FAULTS / "plain.csv")
    for column in columns.split():
        np.testing.assert_allclose(frame[column].astype(float), plain[column])
    assert len(cleaner.notes_) == len(noted)
    assert all(word in note for word, note in zip(noted, cleaner.notes_, strict=True))


@needs_faults
def test_numbers_that_are_written_otherwise():
    plain = pd.read_csv(FAULTS / "plain.csv")
    np.testing.assert_allclose(cleaned("decimal_comma_in_comma_file")[0]["area"], plain["area"] / 1000)
    np.testing.assert_allclose(cleaned("percent")[0]["area"], np.round(plain["area"] / 40) / 100)
    sign = np.where(np.arange(120) % 3 == 0, -1, 1)
    np.testing.assert_allclose(cleaned("brackets")[0]["area"], sign * plain["area"])


@needs_faults
@pytest.mark.parametrize(
    ("name", "column", "rows", "what"),
    [
        ("question_marks", "area", [7, 60], "2 of 120 values are no numbers ('?')"),
        ("one_inf", "area", [5], "1 of 120 values is no number ('inf')"),
        ("dates_with_unknown", "sold", [9], "1 of 120 values is no date ('unknown')"),
    ],
)
def test_odd_cells_are_missing_and_named(name, column, rows, what):
    frame, cleaner, _ = cleaned(name)
    assert np.flatnonzero(frame[column].isna()).tolist() == rows
    assert cleaner.notes_ == [f"{column}: {what}, taken as missing."]


@needs_faults
def test_dates_are_those_of_the_generator():
    table = pd.read_csv(FAULTS / "dates_dotted.csv")
    expected = pd.to_datetime(table["sold"], format="%d.%m.%Y")
    for name in ("dates_dotted", "dates_us"):
        np.testing.assert_array_equal(cleaned(name)[0]["sold"].to_numpy("M8[us]"), expected.to_numpy("M8[us]"))
    hours = pd.date_range("2024-03-29", periods=120, freq="h")
    np.testing.assert_array_equal(cleaned("clock_change")[0]["sold"].to_numpy("M8[us]"), hours.to_numpy("M8[us]"))


@needs_faults
def test_words_that_elsewhere_mean_missing_are_values():
    frame = cleaned("na_is_a_country")[0]
    assert set(frame["country"]) == {"NA", "DE", "FR"}
    assert set(frame["garage"]) == {"None", "One", "Two"}
    assert set(cleaned("classes_none")[0]["damage"]) == {"None", "one"}


@needs_faults
def test_a_row_of_totals_is_found():
    table = read_file(FAULTS / "total_row.csv").frame
    assert total_row(table) == "'Total' in area"
    assert total_row(table.iloc[:-1]) == ""
    assert total_row(read_file(FAULTS / "plain.csv").frame) == ""


# --- what was decided holds for later tables ---------------------------------------------------------------


def test_another_kind_of_values_is_refused_and_never_taken_as_unseen():
    answers = pd.DataFrame({"garden": ["Yes", "No"] * 10, "area": np.arange(20.0)})
    cleaner = TableCleaner().fit(answers)
    for values in ([1, 0], ["1", "0"], [1.0, 0.0], [True, False]):
        with pytest.raises(TableError, match="'garden' held text such as 'No', 'Yes' in training, and holds"):
            cleaner.transform(pd.DataFrame({"garden": values, "area": [1.0, 2.0]}))
    with pytest.warns(TableWarning, match="1 of 1 values is no number"):
        assert cleaner.transform(pd.DataFrame({"garden": ["Yes"], "area": ["big"]}))["area"].isna().all()
    with pytest.raises(TableError, match="'area' held numbers in training, and holds date"):
        cleaner.transform(pd.DataFrame({"garden": ["Yes"], "area": pd.to_datetime(["2020-01-01"])}))


def test_odd_cells_of_later_tables_are_missing_and_said():
    cleaner = TableCleaner().fit(pd.DataFrame({"area": ["1,5", "2,25"]}))
    with pytest.warns(TableWarning, match=r"1 of 3 values is no number \('big'\)"):
        frame = cleaner.transform(pd.DataFrame({"area": ["3,5", "big", "4"]}))
    np.testing.assert_array_equal(frame["area"], [3.5, np.nan, 4])
    assert cleaner.transform(pd.DataFrame({"area": [3.5]}))["area"].tolist() == [3.5], "numbers are numbers"


@given(st.lists(st.sampled_from(["1,5", "1.234,5", "7", "?", "", None]), min_size=1, max_size=8), st.integers(0, 7))
@settings(deadline=None, max_examples=40)
def test_the_value_of_a_row_does_not_depend_on_the_rows_beside_it(cells, row):
    cleaner = TableCleaner().fit(pd.DataFrame({"a": ["1,5", "1.234,5", "7", "2"], "b": ["x", "y", "x", "y"]}))
    row = row % len(cells)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = cleaner.transform(pd.DataFrame({"a": cells, "b": "x"}))["a"].astype(float)
        beside = cleaner.transform(pd.DataFrame({"a": ["7", cells[row]], "b": "x"}))["a"].astype(float)
        alone = cleaner.transform(pd.DataFrame({"a": [cells[row]], "b": "x"}))["a"].astype(float)
    np.testing.assert_array_equal(together.iloc[row], beside.iloc[1])
    np.testing.assert_array_equal(together.iloc[row], alone.iloc[0])


def test_values_that_training_did_not_have_are_counted():
    cleaner = TableCleaner().fit(pd.DataFrame({"city": ["Rome", "Oslo"] * 5}))
    for column in (["Bern", "Rome", "Bern"], pd.Categorical(["Bern", "Rome", "Bern"])):
        with pytest.warns(TableWarning, match=r"2 of 3 values were not seen in training \('Bern'\)"):
            cleaner.transform(pd.DataFrame({"city": column}))
    with pytest.raises(TableError, match="numbers such as '1'"):
        cleaner.transform(pd.DataFrame({"city": pd.Categorical([1, 0])}))


def test_postal_codes_with_odd_cells_are_categories():
    codes = ["01234", "56789", "99999"] * 20
    for odd in (["?", "?"], ["K1A 0B1"], ["01234-5678"], ["1234"]):
        assert TableCleaner().fit(pd.DataFrame({"zip": codes + odd})).readings_[0].kind == "category"


@pytest.mark.parametrize("texts", [["SKU1234", "SKU77"], ["1a", "2a"], ["12B", "13B"], ["47.37 N", "1.5 N"]])
def test_codes_with_letters_are_no_numbers_with_a_unit(texts):
    assert TableCleaner().fit(pd.DataFrame({"code": texts * 9})).readings_[0].kind == "category"


def test_numbers_that_overflow_are_missing():
    frame = pd.DataFrame({"a": ["1e400", *map(str, range(20))]})
    cleaner = TableCleaner().fit(frame)
    assert np.flatnonzero(cleaner.transform(frame)["a"].isna()).tolist() == [0]
    assert "'1e400'" in cleaner.notes_[0]
    with pytest.raises(ValueError, match="'a' holds numbers too large"):
        TableCleaner().fit(pd.DataFrame({"a": [10**400, 1]}))


def test_columns_that_are_left_out_may_be_absent_later():
    frame = pd.DataFrame({"Unnamed: 0": range(30), "id": [f"x{i}" for i in range(30)], "area": np.arange(30.0)})
    cleaner = TableCleaner().fit(frame)
    assert [one.kind for one in cleaner.readings_] == ["index", "identifier", "number"]
    assert list(cleaner.transform(frame).columns) == list(cleaner.transform(frame[["area"]]).columns) == ["area"]
    kept = TableCleaner({"Unnamed: 0": "number", "id": "category"}).fit(frame)
    assert list(kept.transform(frame).columns) == list(frame.columns)
    assert kept.notes_ == []


def test_whole_numbers_without_a_name_that_says_so_are_no_identifiers():
    frame = pd.DataFrame({"area": np.random.default_rng(0).permutation(100), "house_id": np.arange(100) * 7})
    assert [one.kind for one in TableCleaner().fit(frame).readings_] == ["number", "identifier"]


# --- overrides -----------------------------------------------------------------------------------------------


def test_kinds_that_were_told_are_taken():
    frame = pd.DataFrame({"zip": [1067, 80331], "price": ["ten", "20"], "day": ["01/02/2020", "03/04/2020"]})
    cleaner = TableCleaner({"zip": "category", "price": "number"}, date_format="%d/%m/%Y").fit(frame)
    clean = cleaner.transform(frame)
    assert clean["zip"].tolist() == ["1067", "80331"]
    np.testing.assert_array_equal(clean["price"], [np.nan, 20])
    assert clean["day"].dt.month.tolist() == [2, 4]
    assert any("day: dates as %d/%m/%Y; '01/02/2020' is read as 2020-02-01." in note for note in cleaner.notes_)
    missing = TableCleaner(missing=["ten"]).fit(frame)
    assert missing.notes_[:1] != ["price"]
    np.testing.assert_array_equal(missing.transform(frame)["price"], [np.nan, 20])


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"prise": "number"}, TableError, "lacks"),
        ({"price": "numbers"}, TableError, "one of number"),
        ({"price": "index"}, TableError, "one of number"),
        (TableCleaner(missing="n.a."), TableError, "a list such as"),
        (TableCleaner(thousands="."), TableError, "two different marks"),
        (TableCleaner(decimal=";"), TableError, "'.' or ','"),
        (TableCleaner(["price"]), TableError, "a mapping such as"),
        ({"words": "number"}, TableError, "column 'words' has none, but 'a', 'b'"),
        ({"price": "date"}, TableError, "column 'price' has none"),
        (TableCleaner, TypeError, "a mapping from names to kinds"),
        (3, TypeError, "a mapping from names to kinds"),
    ],
)
def test_columns_that_cannot_be_read_so_are_refused(columns, error, message):
    with pytest.raises(error, match=message):
        fit_cleaner(columns, pd.DataFrame({"price": [1.0, 2.0], "words": ["a", "b"]}))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("cells", [[[1, 2], [3], [4]], [[1], [2], [3]], [{"a": 1}, {"a": 2}, None]])
def test_lists_in_cells_are_refused_by_name_of_the_column(make, cells):
    X = make({"area": [1.0, 2.0, 3.0], "rooms": cells})
    with pytest.raises(TableError, match="column 'rooms' holds lists or other objects"):
        TableCleaner().fit(X)


def test_missing_values_are_missing_in_columns_of_numbers_too():
    frame = pd.DataFrame({"a": [1.0, -999.0, 3.0], "b": ["1.5", "-999", "2"], "c": ["x", "-999", "y"]})
    clean = TableCleaner(missing=["-999"]).fit(frame).transform(frame)
    assert clean.isna().to_numpy()[1].all()
    assert not clean.isna().to_numpy()[[0, 2]].any()


def test_what_may_be_a_code_is_said_where_it_is_read_as_a_number_or_a_date():
    frame = pd.DataFrame(
        {"part": ["2001-11", "2002-07"] * 9, "code": ["1E5", "2E7"] * 9, "room": ["007", *map(str, range(100, 117))]}
    )
    notes = " ".join(TableCleaner().fit(frame).notes_)
    assert "part: dates as ISO8601; '2001-11' is read as 2001-11-01." in notes
    assert "'1E5' is read as 100000." in notes
    assert "'007'" not in notes, "rooms are codes"
    few = pd.DataFrame({"room": ["007", *map(str, range(100, 200))]})
    assert "'007' is read as 7." in TableCleaner().fit(few).notes_[0]
    usual = pd.DataFrame({"a": ["1.5", "-2e-07", "3e+10", "0.5", "0"], "d": ["2020-01-01"] * 5})
    assert TableCleaner().fit(usual).notes_ == []


def test_a_column_that_is_half_numbers_stays_text_and_that_is_said():
    frame = pd.DataFrame({"size": ["1", "2", "3", "small", "large"] * 10})
    cleaner = TableCleaner().fit(frame)
    assert cleaner.readings_[0].kind == "category"
    assert "60 % of the values are numbers" in cleaner.notes_[0]
    assert "columns={'size': 'number'}" in cleaner.notes_[0]


# --- frames of any kind ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_frames_of_any_kind_are_read_alike_and_stay_what_they_are(make):
    data = {
        "price": ["$1,200.5", "$7", None],
        "open": ["true", "false", None],
        "city": ["Rome", " ", "Oslo "],
        "sold": ["31.12.2020", None, "01.02.2020"],
        "area": [1.0, float("inf"), 2.5],
    }
    X = make(data)
    cleaner = TableCleaner().fit(X)
    assert [one.kind for one in cleaner.readings_] == ["number", "boolean", "category", "date", "number"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean = cleaner.transform(X)
    assert isinstance(clean, type(X))
    frame = clean if isinstance(clean, pd.DataFrame) else clean.to_pandas()
    np.testing.assert_array_equal(frame["price"].astype(float), [1200.5, 7, np.nan])
    assert frame["open"].tolist()[:2] == [True, False]
    assert pd.isna(frame["open"].iloc[2])
    assert frame["city"].tolist()[::2] == ["Rome", "Oslo"]
    assert pd.isna(frame["city"].iloc[1])
    assert pd.to_datetime(frame["sold"]).dt.month.tolist()[::2] == [12, 2]
    np.testing.assert_array_equal(frame["area"].astype(float), [1, np.nan, 2.5])


def test_dates_with_a_time_zone_are_instants():
    berlin = pd.date_range("2024-03-30", periods=3, freq="12h", tz="Europe/Berlin")
    frame = pd.DataFrame({"sold": berlin})
    cleaner = TableCleaner().fit(frame)
    expected = berlin.tz_convert("UTC").tz_localize(None)
    for zone in ("Europe/Berlin", "UTC", "Asia/Tokyo"):
        there = berlin.tz_convert(zone)
        arrow = pd.Series(there.as_unit("us")).astype(pd.ArrowDtype(pa.timestamp("us", tz=zone)))
        for column in (there, pd.Series(there, dtype=object), pd.Series(there.to_pydatetime(), dtype=object), arrow):
            found = cleaner.transform(pd.DataFrame({"sold": column}))["sold"]
            np.testing.assert_array_equal(found.to_numpy("M8[us]"), expected.to_numpy("M8[us]"))


def test_columns_without_surprises_stay_as_they_are():
    frame = pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"]), "c": ["u", "v"], "d": [True, False]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean = TableCleaner().fit(frame).transform(frame)
    pd.testing.assert_frame_equal(clean, frame)


@pytest.mark.parametrize(
    "cells",
    [
        {"size": [1.5]},
        {"size": [np.inf]},
        {"size": [np.nan]},
        {"size": ["2,5"]},
        {"rooms": [True]},
        {"city": ["Bern"]},
        {"city": [" Rome"]},
        {"city": [None]},
        {"city": [7]},
        {"city": pd.Categorical(["Oslo"])},
        {"sold": [pd.Timestamp("2021-05-05")]},
        {"more": [1]},
    ],
    ids=str,
)
def test_a_single_row_is_read_like_a_row_of_many(cells):
    frame = pd.DataFrame({
        "size": np.arange(40) / 3,
        "rooms": np.arange(40) % 5,
        "city": ["Rome", "Oslo"] * 20,
        "sold": pd.date_range("2020", periods=40),
    })  # fmt: skip
    cleaner = TableCleaner().fit(frame)
    row = frame[3:4].assign(**cells)
    many = pd.concat([row] * (FEW_ROWS + 1))

    def read(table):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                found = cleaner.transform(table)
            except TableError as error:
                return None, str(error)
        return found[:1], bool(said)

    (one, said_of_one), (first, said_of_many) = read(row), read(many)
    assert said_of_one == said_of_many
    if first is not None:
        pd.testing.assert_frame_equal(one, first)


def test_a_table_is_described_a_row_per_column():
    frame = pd.DataFrame({"price": ["$1,200", "?", "$7"], "city": ["Rome", "Rome", ""]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = describe(pd.concat([frame] * 20))
    assert report["column"].tolist() == ["price", "city"]
    assert set(report["kind"]) <= set(KINDS)
    assert report["missing"].tolist() == [0, 20]
    assert report["distinct"].tolist() == [3, 1]


def test_a_cleaner_is_an_estimator():
    cleaner = TableCleaner({"a": "number"}, decimal=",")
    assert clone(cleaner).get_params() == cleaner.get_params()
    with pytest.raises(TableError, match="has no columns with names"):
        cleaner.fit(np.zeros((2, 2)))
    with pytest.raises(TableError, match="more than one column named 'a'"):
        TableCleaner().fit(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_unknown_forms_are_no_identifiers_and_long_numbers_are():
    X = pd.DataFrame({"a": [f"{i}.3M" for i in range(60)], "b": [str(12345678901234567890 + i) for i in range(60)]})
    table = describe(X).set_index("column")
    assert table["kind"].tolist() == ["category", "identifier"]
    assert "'0.3M' look like amounts" in table.loc["a", "note"]
    repeated = describe(pd.DataFrame({"b": [str(12345678901234567890 + i % 2) for i in range(60)]}))
    assert repeated["kind"].tolist() == ["category"]


def test_marks_and_formats_that_are_given_decide_where_they_can():
    X = pd.DataFrame({"a": ["01/02/2020", "03/04/2020"] * 9, "b": ["2020-01-02", "2020-05-06"] * 9,
                      "n": ["1.5", "2.25"] * 9, "m": ["1.234,5", "7,5"] * 9})  # fmt: skip
    found = TableCleaner(date_format="%d/%m/%Y", decimal=",", thousands=".").fit(X).transform(X)
    assert found["a"][0] == pd.Timestamp("2020-02-01")
    assert found["b"][1] == pd.Timestamp("2020-05-06")
    np.testing.assert_array_equal(found[["n", "m"]][:2], [[1.5, 1234.5], [2.25, 7.5]])


def test_a_number_among_categories_is_a_value_not_seen_and_a_column_of_them_is_refused():
    cleaner = TableCleaner().fit(pd.DataFrame({"size": ["S", "M", "L"] * 20}))
    with pytest.warns(TableWarning, match=r"1 of 60 values was not seen in training \('38'\)"):
        cleaner.transform(pd.DataFrame({"size": ["S"] * 59 + ["38"]}))
    with pytest.raises(TableError, match="holds numbers such as '38' now"):
        cleaner.transform(pd.DataFrame({"size": ["S"] + ["38"] * 59}))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_what_is_told_to_be_a_category_or_boolean_is(make):
    X = make({"t": [f"review number {i} is a text" for i in range(60)], "sold": ["yes", "no"] * 30})
    cleaned = TableCleaner({"t": "category", "sold": "boolean"}).fit(X).transform(X)
    assert FeatureEncoder().fit(cleaned).kinds_ == ["category", "boolean"]
    with pytest.raises(TableError, match="column 't' has none"):
        TableCleaner({"t": "boolean"}).fit(X)
