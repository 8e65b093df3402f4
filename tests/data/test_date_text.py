"""Dates in text: day and month are decided by the whole column, and one instant is one instant."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamix.data.date_text import DAYS, ISO, TIMES, DateFormat, find_date_format


def found(texts):
    return find_date_format(texts, np.ones(len(texts), dtype=int))


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("time", TIMES)
def test_every_format_reads_what_strftime_writes(day, time):
    """With days after the twelfth nothing is ambiguous."""
    first, last = ("1970-01-13", "1999-05-31") if day.startswith("%y") else ("2003-01-13", "2023-05-31")
    dates = pd.date_range(f"{first} 01:30", last, periods=60, tz="UTC").floor("s")
    dates = dates[dates.day > 12]
    texts = list(dates.strftime(day + time))
    taken, _ = found(texts)
    expected = pd.to_datetime(pd.Series(texts), format=day + time, utc=True).dt.tz_localize(None)
    np.testing.assert_array_equal(taken.read(texts), expected.to_numpy("M8[us]"))


def test_one_date_of_the_column_decides_which_is_the_day():
    texts = ["01/02/2020", "03/04/2020", "31/01/2020"]
    taken, other = found(texts)
    assert taken.read(texts).astype("M8[D]").astype(str).tolist() == ["2020-02-01", "2020-04-03", "2020-01-31"]
    assert other is None
    taken, other = found(["01/31/2020", "03/04/2020"])
    assert taken.read(["03/04/2020"]).astype("M8[D]").astype(str).tolist() == ["2020-03-04"]


def test_dates_that_can_be_read_in_two_ways_have_another_reading():
    taken, other = found(["01/02/2020", "03/04/2020"])
    assert {taken.pattern, other.pattern} == {"%m/%d/%Y", "%d/%m/%Y"}


@pytest.mark.parametrize("text", ["2024", "12.5", "12", "20200131", "10:30", "unknown", "2024-13-45", "", "room 12"])
def test_other_texts_are_no_dates(text):
    taken, _ = found([text])
    assert np.isnat(taken.read([text])).all()


@given(st.datetimes(pd.Timestamp("1950-01-01"), pd.Timestamp("2100-01-01")), st.integers(-14, 14), st.integers(-14, 14))
@settings(deadline=None, max_examples=30)
def test_an_instant_is_the_same_in_every_zone(instant, one, other):
    instant = pd.Timestamp(instant).tz_localize("UTC").floor("us")
    written = [instant.tz_convert(f"Etc/GMT{hours:+d}" if hours <= 12 else "Etc/GMT-14").isoformat()
               for hours in (max(one, -12), max(other, -12))]  # fmt: skip
    read = DateFormat(ISO).read(written)
    assert read[0] == read[1] == DateFormat(ISO).read([instant.isoformat()])[0]
