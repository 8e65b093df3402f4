"""Several Parquet files are one table for fit and predict, and need not be in memory at once."""

import json

import numpy as np
import pandas as pd
import pytest

from metamix import load

WORDS = ["--target", "y", "--id", "row", "--experts", "ridge,neighbours", "--cv", "2", "--engine", "serial"]


def draw(n, begin, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.uniform(-1, 1, (n, 2)), columns=["a", "b"])
    frame["kind"], frame["row"] = rng.choice(["u", "v"], n), np.arange(begin, begin + n)
    return frame.assign(y=2 * frame["a"] + (frame["kind"] == "u") + 0.1 * rng.normal(size=n))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("big")
    for i in range(3):
        draw(2_000, 2_000 * i, i).to_parquet(path / f"{i}.parquet", index=False)
    return path


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    from metamix.cli import main

    out = tmp_path_factory.mktemp("model") / "m.mix"
    with pytest.raises(SystemExit) as ended:
        main(["fit", *map(str, sorted(folder.glob("*.parquet"))), *WORDS, "--memory", "1MB", "--out", str(out)])
    assert ended.value.code == 0
    return out


def test_files_are_fitted_as_one_table(run, folder, tmp_path):
    code, out, err = run("fit", folder, *WORDS, "--memory", "1MB", "--out", tmp_path / "m.mix", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["rows"] == 6_000
    assert "The table has 6000 rows: a random sample of" in found["verdict"]["text"]
    assert f"metamix fit {folder} --target y" in found["command"]
    assert "--memory 1MB" in found["command"]
    assert "6000 rows in 3 file(s)" in err
    assert list(load(tmp_path / "m.mix").feature_names_in_) == ["a", "b", "kind"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predictions_in_batches_are_those_of_the_whole(run, model, folder, tmp_path, ending):
    out = tmp_path / f"p.{ending}"
    files = sorted(folder.glob("*.parquet"))
    code, _, err = run("predict", model, *files, "--id", "row", "--interval", "0.9", "--weights", "--out", out)
    assert code == 0, err
    assert "6000 predictions written" in err
    found = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    mixture = load(model)
    X = pd.concat(map(pd.read_parquet, files), ignore_index=True)
    assert found["row"].tolist() == list(range(6_000))
    X = X[list(mixture.feature_names_in_)]
    np.testing.assert_allclose(found["prediction"], mixture.predict(X), rtol=1e-12)
    np.testing.assert_allclose(found[["lower_90", "upper_90"]], mixture.predict_interval(X, 0.9), rtol=1e-12)
    np.testing.assert_allclose(found.filter(like="weight_"), mixture.gate_weights(X), rtol=1e-12)


def test_a_small_table_can_be_predicted_to_parquet_too(run, model, folder, tmp_path):
    out = tmp_path / "p.parquet"
    code, _, err = run("predict", model, folder / "0.parquet", "--out", out)
    assert code == 0, err
    assert len(pd.read_parquet(out)) == 2_000


def test_nothing_is_written_where_a_file_is_of_another_table(rejected, run, model, folder, tmp_path):
    draw(10, 0, 0).rename(columns={"b": "other"}).to_parquet(tmp_path / "other.parquet")
    out = tmp_path / "p.csv"
    done = run("predict", model, folder / "0.parquet", tmp_path / "other.parquet", "--out", out)
    rejected(done, "has other columns than", "other.parquet")
    assert not list(tmp_path.glob("*.csv"))
    assert not list(tmp_path.glob(".metamix*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--time", "a"], "--time is for a table that is read as a whole"),
        (["--target", "z"], "'z' is not a column"),
        (["--drop", "nothing"], "--drop 'nothing' is not a column"),
        (["--memory", "much"], "2GB"),
    ],
)
def test_what_is_refused(rejected, run, folder, tmp_path, words, said):
    given = [*WORDS, *words, "--out", tmp_path / "m.mix"]
    rejected(run("fit", folder, *given), said)


def test_the_reading_of_text_is_not_for_parquet(rejected, run, model, folder):
    rejected(run("predict", model, folder, "--decimal", ","), "Parquet files have types")


@pytest.fixture
def odd(tmp_path):
    """Two files, that is two batches; both have a kind that training lacks, and only one rows without a number."""
    path = tmp_path / "odd"
    path.mkdir()
    for i in range(2):
        frame = draw(50, 50 * i, 7 + i).assign(name=None if i == 0 else "late", kind=["new", "newer"][i])
        frame["row"] = frame["row"].astype("Int64").mask(frame["row"] == 99)
        frame.to_parquet(path / f"{i}.parquet", index=False)
    return path


@pytest.mark.parametrize("identifier", ["row", "name"])
def test_batches_with_and_without_values_are_written_with_the_types_of_the_table(run, model, odd, tmp_path, identifier):
    out = tmp_path / "p.parquet"
    code, _, err = run("predict", model, odd, "--id", identifier, "--out", out)
    assert code == 0, err
    whole = pd.concat([pd.read_parquet(odd / f"{i}.parquet") for i in range(2)], ignore_index=True)
    found = pd.read_parquet(out, dtype_backend="numpy_nullable")
    assert found[identifier].astype(object).where(found[identifier].notna(), None).tolist() == (
        whole[identifier].astype(object).where(whole[identifier].notna(), None).tolist()
    )
    assert len(found) == 100
    assert found[identifier].dtype == {"row": "Int64", "name": "string"}[identifier]


def test_what_is_noticed_is_said_once_for_each_column(run, model, odd):
    code, _, err = run("predict", model, odd)
    assert code == 0
    assert err.count("kind: 50 of 50 values were not seen in training") == 1
    assert "Rows 1 to 50, kind" in err


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_memory_is_for_parquet(rejected, run, tmp_path, name):
    (tmp_path / name).write_text("a,y\n1,2\n")
    given = ["--target", "y", "--memory", "1GB", "--out", tmp_path / "m.mix"]
    rejected(run("fit", tmp_path / name, *given), "--memory is for Parquet files")
