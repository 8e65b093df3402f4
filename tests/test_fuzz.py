"""Malformed inputs give documented errors: a twentieth of the inputs of benchmarks/fuzz.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
fuzz = pytest.importorskip("fuzz")


def test_malformed_inputs_give_documented_errors():
    tried, faults = fuzz.fuzz(150, seed=20)
    assert faults == []
    assert tried.total() == 150


def raised_by(code):
    try:
        exec(compile(code, "<test>", "exec"), {"__name__": "metamix.test"})
    except Exception as error:
        return error
    raise AssertionError(code)


@pytest.mark.parametrize(
    "code",
    [
        "assert False", "[][0]", "None.x", "1 + 'x'", "import numpy; numpy.ones(2) + numpy.ones(3)", "float('x')",
        "raise ValueError", "raise IndexError('x')", "raise OSError('disk')",
    ],
)  # fmt: skip
def test_other_errors_are_faults(code):
    assert fuzz.fault(raised_by(code))


def test_what_scikit_learn_and_metamix_say_is_none():
    from metamix import MixtureRegressor

    for arguments in (([[1.0]], [1.0, 2.0]), (None, [1.0]), ([[1.0]], None)):
        with pytest.raises(ValueError, match=r".") as caught:
            MixtureRegressor(["ridge"]).fit(*arguments)
        assert fuzz.fault(caught.value) == ""


def test_random_files_are_read_as_they_were_meant_or_refused_aloud(tmp_path):
    tables = pytest.importorskip("tables_fuzz")
    outcomes = [tables.check(seed, str(tmp_path)) for seed in range(5000, 5100)]
    assert set(outcomes) <= {"read", "said", "refused"}, [one for one in outcomes if len(one) > 7]
    assert outcomes.count("read") > 50
