"""Sentences: no minus signs before scores, no exponents of rounding, no empty comparisons."""

import math

import pytest

from metamix.training.wording import compared, short_number, shown_loss


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("minus roc_auc", 0.02, 0.01, -0.61), "0.02 (± 0.01) above the other"),
        (("minus roc_auc", -0.02, 0.01, -0.61), "0.02 (± 0.01) below the other"),
        (("minus neg_mean_absolute_error", 0.5, 0.1, 2.0), "25 % (± 5 %) below the other"),
        (("squared error", -0.02, 0.03, 1.0), "2 % (± 3 %) above the other"),
        (("squared error", -2.2e-16, 0.0, 1.0), "equal to the other"),
        (("squared error", 0.0, 0.0, 0.0), "equal to the other"),
        (("squared error", 1e-17, 0.02, 1.0), "equal to the other (± 2 %)"),
        (("squared error", 0.1, 1e-17, 1.0), "10 % below the other"),
        (("squared error", 0.1, math.inf, 1.0), "10 % below the other"),
        (("minus r2", 1e-17, 1e-18, -0.5), "equal to the other"),
    ],
)
def test_comparisons(given, said):
    assert compared(*given, "the other") == said


def test_losses_have_their_own_sign():
    assert shown_loss("log-loss", 0.61) == "log-loss 0.61"
    assert shown_loss("minus roc_auc", -0.61) == "roc_auc 0.61"
    assert shown_loss("minus neg_log_loss", 0.61) == "log_loss 0.61"
    assert short_number(-0.0) == "0"
