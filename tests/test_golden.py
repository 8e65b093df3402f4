"""Small fits answer what tests/golden/predictions.json says; `python tests/golden/write.py` tells what moved."""

import importlib.util
import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("golden_write", HERE / "write.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

KNOWN = json.loads(golden.FILE.read_text())
# Other processors round otherwise, and an alternation carries that on; a change of the method moves more.
ROUNDING = 1e-3


def test_every_case_has_a_reference():
    assert set(KNOWN) == set(golden.CASES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", golden.CASES)
def test_predictions_are_those_written_down(name):
    assert golden.moved(KNOWN[name], golden.CASES[name]()) < ROUNDING
