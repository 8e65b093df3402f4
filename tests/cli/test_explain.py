"""metamix explain: one row in words, which agree with the mixture's own numbers."""

import json

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureRegressor, load, save


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Two regimes with a border at x = 0.3, and the mixture of two lines that finds them."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(size=(200, 2)), columns=["x", "z"])
    y = np.where(frame["x"] > 0.3, 3 * frame["z"], 1 - 2 * frame["z"]) + 0.1 * rng.standard_normal(200)
    frame.assign(key=[f"k{i}" for i in range(200)]).to_csv(folder / "t.csv", index=False)
    mixture = MixtureRegressor(["ridge"], n_experts=2, specialize=True, gate="softmax", random_state=0)
    save(mixture.fit(frame, y), folder / "m.mix")
    return folder / "m.mix", folder / "t.csv", frame


def test_a_row_is_explained_by_its_parts_its_regime_and_the_border(run, planted):
    model, table, frame = planted
    row = int(frame["x"].argmax())
    code, out, err = run("explain", model, table, "--row", row, "--id", "key")
    assert code == 0, err
    assert out.startswith(f"Row {row} of {table} (key k{row})")
    lines = {line.split()[0]: line.split() for line in reversed(out.splitlines()) if line}
    mixture = load(model)
    prediction = mixture.predict(frame.iloc[[row]])[0]
    assert float(lines["prediction"][-1]) == pytest.approx(prediction, abs=0.006)
    leader = list(mixture.named_experts_)[int(mixture.assign(frame.iloc[[row]])[0])]
    assert float(lines[leader][1]) == pytest.approx(100 * mixture.gate_weights(frame.iloc[[row]]).max(), abs=0.06)
    assert f"{leader} leads with weight" in out
    assert "as it mostly does where x > 0.3" in out
    assert "With x at 0.3" in out


def test_json_is_the_same_explanation(run, planted):
    model, table, frame = planted
    code, out, err = run("explain", model, table, "--row", "5", "--id", "key", "--json")
    assert code == 0, err
    found = json.loads(out)
    expected = load(model).explain(frame.iloc[[5]], background=frame)[0]
    assert (found["row"], found["id"]) == (5, "k5")
    assert found["prediction"] == pytest.approx(expected.prediction)
    assert sum(part["contribution"] for part in found["parts"]) == pytest.approx(expected.prediction)
    assert found["conditions"] == expected.conditions
    assert found["border"]["column"] == "x"
    assert found["text"] == str(expected).replace("Row 0:", "Row 5:")


def test_classes_are_explained_by_the_probability_of_the_likeliest(run, flowers, species):
    code, out, err = run("explain", species, flowers, "--row", "0")
    assert code == 0, err
    assert "probability of setosa" in out
    assert run("explain", species, flowers, "--row", "149", "--json")[0] == 0


def test_a_short_table_has_no_conditions_and_says_so(run, planted, tmp_path):
    model, table, _ = planted
    short = tmp_path / "short.csv"
    pd.read_csv(table)[:3].to_csv(short, index=False)
    code, out, err = run("explain", model, short, "--row", "2")
    assert code == 0, err
    assert "too few rows to say under which conditions" in out
    assert "does where" not in out


def test_rows_that_are_not_there_are_refused(rejected, run, planted):
    model, table, _ = planted
    done = run("explain", model, table, "--row", "200")
    rejected(done, "--row 200", "200 rows, from 0 to 199")
    assert done[0] == 2
    rejected(run("explain", model, table, "--row", "-1"), "--row")
    rejected(run("explain", model, table), "--row")
