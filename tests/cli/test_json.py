"""--json: standard output is JSON and nothing else, and says what the text says."""

import json
import shlex

import pandas as pd
import pytest

from metamix import load
from metamix.persistence import read_manifest

NUMBERS = ["--experts", "ridge,neighbours", "--cv", "2", "--jobs", "1"]


def test_compare_prints_its_table(run, patients, tmp_path):
    written = tmp_path / "losses.csv"
    words = ["compare", patients, "--target", "target", "--drop", "patient", *NUMBERS]
    code, out, err = run(*words, "--json", "--out", written)
    assert code == 0, err
    found = json.loads(out)
    assert "150 rows, regression of target" in err, "how the table was read"
    table = pd.DataFrame(found["comparison"]).set_index("name")
    expected = pd.read_csv(written).set_index("name")
    pd.testing.assert_series_equal(table["loss"], expected["loss"])
    pd.testing.assert_series_equal(table["rmse"] ** 2, expected["loss"], check_names=False)
    assert table.loc["oracle", "fit_seconds"] != table.loc["oracle", "fit_seconds"], "unknown, and no zero"
    assert (found["task"], found["rows"], found["measure"]) == ("regression", 150, "squared error")
    assert found["winner"] in table.index
    assert len(found["best_single"]) == 2
    assert {one["column"]: one["kind"] for one in found["columns"]}["bmi"] == "number"
    again = json.loads(run(*shlex.split(found["command"])[1:], "--json")[1])
    assert [row["loss"] for row in again["comparison"]] == [row["loss"] for row in found["comparison"]]


@pytest.mark.parametrize("extra", [[], ["--gate", "softmax,constant", "--final", "simplest", "--engine", "serial"]])
def test_fit_prints_its_verdict_and_the_command_that_repeats_it(run, patients, tmp_path, extra):
    model = tmp_path / "m.mix"
    words = ["fit", patients, "--target", "target", "--id", "patient", *NUMBERS, *extra, "--out", model]
    code, out, err = run(*words, "--json")
    assert code == 0, err
    found = json.loads(out)
    mixture = load(model)
    assert found["verdict"]["text"] == str(mixture.verdict_)
    assert found["verdict"]["winner"] == mixture.verdict_.winner
    assert found["verdict"]["rmse"] ** 2 == pytest.approx(mixture.verdict_.loss)
    assert [row["loss"] for row in found["candidates"]] == mixture.candidates_["loss"].tolist()
    assert found["types"] == []
    assert "Written to" in err
    again = shlex.split(found["command"])
    assert again[0] == "metamix"
    assert run(*again[1:], "--force")[0] == 0
    assert load(model).candidates_.equals(mixture.candidates_)
    assert load(model).get_params()["gate"] == mixture.gate
    assert load(model).final == mixture.final == ("simplest" if extra else "blend")


def test_the_command_names_the_experts_of_a_pool(run, patients, tmp_path):
    words = [
        "fit",
        patients,
        "--target",
        "target",
        "--drop",
        "patient",
        "--experts",
        "fast",
        "--cv",
        "2",
        "--jobs",
        "1",
    ]
    code, out, err = run(*words, "--out", tmp_path / "m.mix")
    assert code == 0, err
    command = shlex.split(out.strip().splitlines()[-1])
    names = command[command.index("--experts") + 1].split(",")
    assert names == read_manifest(tmp_path / "m.mix")["experts"][: len(names)]
    assert names[:2] == ["ridge", "splines"]


def test_parts_are_listed(run):
    from metamix.registry import describe

    found = json.loads(run("parts", "--json")[1])
    assert [(one["name"], one["kind"]) for one in found] == [(one.name, one.kind) for one in describe()]
    done = json.loads(run("check", "constant", "--json")[1])
    assert done["passed"] > 0
    assert done["failed"] == []


def test_an_error_leaves_standard_output_empty(rejected, run, tmp_path):
    for words in (["compare", "none.csv", "--target", "y"], ["show", "none.mix"], ["predict", "none.mix", "none.csv"]):
        assert rejected(run(*words, "--json"), "none") == ""
