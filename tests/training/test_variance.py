"""Standard deviations that follow the mixture's: parameters that errors were drawn with are found again."""

import numpy as np
import pytest

from metamix.training.variance import ColumnVariance, fit_column_variance

NAN = np.nan


@pytest.fixture(scope="module")
def drawn():
    """Errors (n, 3) of a stack, the mixture and a second stack, and the mixture's own deviation (n, 1)."""
    rng = np.random.default_rng(0)
    own = rng.uniform(0, 3, (4000, 1))
    errors = np.hypot(own, [0.5, 0.0, 0.0]) * rng.standard_normal((4000, 3))
    errors[:, 2] = 2.0 * rng.standard_normal(4000)  # one scale for all rows
    scales = np.column_stack([np.full(4000, NAN), own, np.full(4000, NAN)])
    return errors, scales, rng.normal(size=4000)


def test_noise_is_what_the_errors_were_drawn_with(drawn):
    errors, scales, y = drawn
    found = fit_column_variance(errors, scales, 1, y, np.ones(4000))
    assert found.noise[0] == pytest.approx(0.5, rel=0.15)
    assert found.noise[1] < 0.2
    assert np.isnan(found.noise[2]), "one scale for all rows is likelier"
    np.testing.assert_array_equal(found.follows, [True, True, False])
    np.testing.assert_allclose(found(scales)[:, 0], np.hypot(scales[:, 1], found.noise[0]))
    assert np.isnan(found(scales)[:, 2]).all()


def test_the_unit_of_y_does_not_matter(drawn):
    errors, scales, y = drawn
    found = fit_column_variance(errors, scales, 1, y, np.ones(4000)).noise
    for unit in (1e-8, 1e8):
        np.testing.assert_allclose(fit_column_variance(unit * errors, unit * scales, 1, unit * y, np.ones(4000)).noise,
                                   unit * found)  # fmt: skip


def test_columns_keep_a_deviation_of_their_own_where_that_is_likelier(drawn):
    errors, scales, y = (part.copy() for part in drawn)
    own = np.random.default_rng(1).uniform(0.5, 4, 4000)
    errors[:, 0] = 3 * own * np.random.default_rng(2).standard_normal(4000)  # its own, times a factor
    scales[:, 0] = own
    scales[:, 2] = np.random.default_rng(3).permutation(scales[:, 1]) + 0.1  # not what the errors were drawn with
    errors[:, 2] = scales[:, 1] * np.random.default_rng(4).standard_normal(4000)
    found = fit_column_variance(errors, scales, 1, y, np.ones(4000))
    np.testing.assert_array_equal(found.follows, [False, True, True])
    np.testing.assert_array_equal(found(scales)[:, 0], own)


def test_rows_that_are_not_judged_do_not_count(drawn):
    errors, scales, y = (part[:600].copy() for part in drawn)
    expected = fit_column_variance(errors[:400], scales[:400], 1, y[:400], np.ones(400)).noise
    errors[400:500] *= 1e3
    scales[500:, 1] = NAN
    weight = np.where((np.arange(600) >= 400) & (np.arange(600) < 500), 0.0, 1.0)
    np.testing.assert_allclose(fit_column_variance(errors, scales, 1, y, weight).noise, expected)
    nobody = fit_column_variance(errors, scales, 1, y, np.zeros(600))
    assert not nobody.follows.any()


def test_deviations_add_as_variances():
    found = ColumnVariance(1, np.array([3.0, 0.0, NAN]))(np.array([[NAN, 4.0, 9.0]]))
    np.testing.assert_array_equal(found, [[5.0, 4.0, 9.0]])
