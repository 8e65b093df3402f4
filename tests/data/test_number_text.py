"""Numbers in text: what a column writes is decided by all of its values."""

import locale

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamix.data.number_text import NumberFormat, find_number_format, looks_like_code


def read(texts, **hints):
    taken, _ = find_number_format(texts, np.ones(len(texts), dtype=int), **hints)
    return taken.read(texts)


def other_reading(texts, **hints):
    _, other = find_number_format(texts, np.ones(len(texts), dtype=int), **hints)
    return None if other is None else other.read(texts)


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1", "-2.5", "+3e2", ".5", "4."], [1, -2.5, 300, 0.5, 4]),
        (["1,234,567", "12"], [1234567, 12]),
        (["1.234,5", "12"], [1234.5, 12]),
        (["1 234,5", "12,25"], [1234.5, 12.25]),
        (["1\N{NO-BREAK SPACE}234,5", "12,25"], [1234.5, 12.25]),
        (["1'234.50"], [1234.5]),
        (["$1,200.50", "$7"], [1200.5, 7]),
        (["1.200.000 €", "383.700 €"], [1200000, 383700]),
        (["USD 5", "USD 12"], [5, 12]),
        (["76%", "5.5 %"], [0.76, 0.055]),
        (["(12)", "3"], [-12, 3]),
        (["($1,200.00)", "$3.00"], [-1200, 3]),
        (["\N{MINUS SIGN}3", "4"], [-3, 4]),
        (["12 km", "3 km"], [12, 3]),
        (["0,987", "3,056"], [0.987, 3.056]),  # no number begins with a group of a zero
        (["1234,567", "1,500"], [1234.567, 1.5]),  # nor with a group of four digits
    ],
)
def test_numbers_are_read_as_they_are_meant(texts, numbers):
    np.testing.assert_allclose(read(texts), numbers)
    assert other_reading(texts) is None


@pytest.mark.parametrize(
    "text", ["", "?", "inf", "nan", "1_000", "12:30", "2024-01-02", "1.2.3", "5-6", "12B", "(5", "1,2,3", "0x10", "--5"]
)
def test_other_texts_are_no_numbers(text):
    assert np.isnan(read([text, "1"])[0])


@pytest.mark.parametrize(
    ("texts", "hints", "taken", "other"),
    [
        (["3.056", "12.345"], {}, [3.056, 12.345], [3056, 12345]),
        (["3.056", "12.345"], {"decimal": ","}, [3056, 12345], [3.056, 12.345]),
        (["3,056", "12,345"], {}, [3056, 12345], [3.056, 12.345]),
        (["3,056", "12,345"], {"decimal": ","}, [3.056, 12.345], [3056, 12345]),
    ],
)
def test_what_is_ambiguous_has_two_readings(texts, hints, taken, other):
    np.testing.assert_allclose(read(texts, **hints), taken)
    np.testing.assert_allclose(other_reading(texts, **hints), other)


def test_small_whole_numbers_beside_marks_before_three_digits_say_that_these_are_thousands():
    """Decimals would have fewer digits here and there, and in whole numbers as well."""
    texts = ["950", "7", "1.056", "3.100", "2.250", "9.999", "4.200"]
    np.testing.assert_allclose(read(texts), [950, 7, 1056, 3100, 2250, 9999, 4200])


def test_units_in_letters_are_units_only_if_nearly_all_values_have_them():
    assert np.isnan(read(["12B", "13B", "14A", "15"])[:3]).all(), "flats of a house"
    assert np.isnan(read(["$5", "$6", "7 €"])[2]), "a second currency is no number"


def test_codes_have_zeros_in_front():
    ones = np.ones(2, dtype=int)
    assert looks_like_code(["01067", "80331"], ones)
    assert not looks_like_code(["1067", "80331"], ones)
    assert not looks_like_code(["0.5", "1.5"], ones)
    assert not looks_like_code(["007", "12"], np.array([1, 999]))


@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20),
    st.sampled_from([(".", ","), (",", "."), (".", " "), (",", " "), (".", "'")]),
    st.integers(1, 4),
)
def test_what_python_formats_is_read_again(values, marks, digits):
    decimal, thousands = marks
    numbers = [value / 10**digits for value in values]
    texts = [f"{x:,.{digits}f}".translate({ord(","): thousands, ord("."): decimal}) for x in numbers]
    np.testing.assert_allclose(NumberFormat(decimal, thousands).read(texts), np.round(numbers, digits))
    if any(abs(x) >= 10**6 for x in numbers) or digits != 3:
        found = read(texts, decimal=decimal)
        np.testing.assert_allclose(found, np.round(numbers, digits))


def test_the_locale_of_the_computer_does_not_matter():
    before = read(["1.234,5"])
    try:
        locale.setlocale(locale.LC_NUMERIC, "")
        np.testing.assert_array_equal(read(["1.234,5"]), before)
    finally:
        locale.setlocale(locale.LC_NUMERIC, "C")
