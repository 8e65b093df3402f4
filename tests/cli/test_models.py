"""metamix compare, fit and predict: output, files and errors."""

import io
import os
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureClassifier, MixtureRegressor, load, save
from metamix.cli.output import number
from metamix.training.verdict import PHRASES

FAST = ["--experts", "ridge,neighbours", "--cv", "2", "--jobs", "1"]
CLASSES = ["--experts", "logistic,neighbours", "--cv", "2", "--jobs", "1"]


def test_compare_prints_task_table_and_verdict(run, flats, tmp_path):
    out_file = tmp_path / "losses.csv"
    code, out, _ = run("compare", flats, "--target", "price", *FAST, "--out", out_file)
    assert code == 0
    assert "150 rows, regression of price" in out.splitlines()[0]
    assert any(line.split()[:2] == ["city", "category"] for line in out.splitlines()), "how each column is read"
    for name in ("ridge", "neighbours", "average", "convex", "scikit-learn stacking", "mixture", "oracle"):
        assert any(line[2:].startswith(f"{name} ") for line in out.splitlines()), name
    verdict = next(line for line in out.splitlines() if line.startswith("The simplest candidate"))
    assert "squared error" in verdict
    assert "RMSE: root of the mean squared error, in units of the target (price)." in out
    assert "added up over the 2 folds" in out
    table = pd.read_csv(out_file).set_index("name")
    assert table.loc["stacking", "difference"] == 0
    assert table.loc["oracle", "loss"] <= table["loss"][table["kind"] == "expert"].min()
    written = next(line for line in out.splitlines() if line[2:].startswith("mixture "))
    assert number(table.loc["mixture", "loss"] ** 0.5, table["loss"].drop("oracle")[2:].min() ** 0.5) in written
    single = next(line for line in out.splitlines() if line[2:].startswith("best single: "))
    assert single.split(": ")[1].split()[0] in ("ridge", "neighbours", "differs")
    rows = [line for line in out.splitlines() if " % " in line]
    marked = {line[0]: line[2:].split("  ")[0].split(":")[0] for line in rows if line[:2] in ("* ", "> ")}
    assert marked[">"] == "blend"
    assert f"does as well as the best is {PHRASES[marked['*']]}" in verdict


def test_compare_depends_on_the_seed_only(run, flats, tmp_path):
    words = ("compare", flats, "--target", "sold", "--task", "classification", *CLASSES, "--groups", "house")
    shown = [run(*words, "--seed", "3", "--out", tmp_path / f"{i}.csv")[1] for i in range(2)]
    first, second = (pd.read_csv(tmp_path / f"{i}.csv").iloc[:, :5] for i in range(2))
    assert "(2 classes)" in shown[0]
    verdicts = [next(line for line in text.splitlines() if line.startswith("The simplest")) for text in shown]
    assert verdicts[0] == verdicts[1]
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_the_device_is_passed_on_and_checked(rejected, run, flats, tmp_path):
    out_file = tmp_path / "flats.mix"
    fit = "fit", flats, "--target", "price", "--out", out_file, *FAST
    rejected(run(*fit, "--device", "gpu"), "--device gpu is unknown", "cuda:N")
    rejected(
        run("compare", flats, "--target", "price", *FAST, "--device", "cuda:99"), "--device cuda:99 is not available"
    )
    assert not out_file.exists()
    assert run(*fit, "--device", "cpu")[0] == 0
    assert load(out_file).device == "cpu"


def test_fit_and_predict_a_regression(run, flats, tmp_path):
    model, answers = tmp_path / "m.mix", tmp_path / "p.csv"
    code, out, err = run("fit", flats, "--target", "price", *FAST, "--weights", "weight", "--out", model)
    assert code == 0, err
    assert "squared error" in out
    assert run("predict", model, flats, "--out", answers)[0] == 0
    code, printed, _ = run("predict", model, flats)
    assert code == 0
    frame = pd.read_csv(answers)
    pd.testing.assert_frame_equal(frame, pd.read_csv(io.StringIO(printed)))

    X = pd.read_csv(flats)
    mixture = MixtureRegressor(["ridge", "neighbours"], cv=2, random_state=0)
    mixture.fit(X.drop(columns=["price", "weight"]), X["price"], sample_weight=X["weight"])
    # The cells are laid out otherwise in memory, so that sums run in another order.
    np.testing.assert_allclose(frame["prediction"], mixture.predict(X.drop(columns=["price", "weight"])), rtol=1e-12)


def test_predict_writes_classes_and_probabilities_with_or_without_the_target_column(rejected, run, flats, tmp_path):
    model, without = tmp_path / "m.mix", tmp_path / "without.csv"
    run("fit", flats, "--target", "sold", *CLASSES, "--out", model)
    assert isinstance(load(model), MixtureClassifier)
    full = pd.read_csv(flats)
    full.drop(columns="sold").iloc[:, ::-1].to_csv(without, index=False)
    tables = [run("predict", model, path)[1] for path in (flats, without)]
    assert tables[0] == tables[1]
    frame = pd.read_csv(io.StringIO(tables[0]))
    assert list(frame) == ["class", "probability_cheap", "probability_dear"]
    np.testing.assert_allclose(frame[["probability_cheap", "probability_dear"]].sum(axis=1), 1)
    assert ((frame["probability_dear"] > 0.5) == (frame["class"] == "dear")).all()
    full.drop(columns=["size", "fee"]).rename(columns={"city": "City"}).to_csv(without, index=False)
    rejected(run("predict", model, without), "'size', 'city', 'fee'")


def test_predict_has_a_column_for_each_target(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))
    mixture = MixtureRegressor(["ridge"], specialize=False, cv=2).fit(X, X @ [[1.0, 0.0], [2.0, 1.0]])
    save(mixture, tmp_path / "two.mix")
    pd.DataFrame(X).to_csv(tmp_path / "rows.csv", index=False)
    answers = pd.read_csv(io.StringIO(run("predict", tmp_path / "two.mix", tmp_path / "rows.csv")[1]))
    np.testing.assert_allclose(answers[["prediction_0", "prediction_1"]], mixture.predict(X))


def test_predict_has_columns_for_each_label(run, tmp_path):
    X = np.random.default_rng(0).standard_normal((60, 2))
    frame = pd.DataFrame({"warm": X[:, 0] > 0, "dry": X[:, 1] > 0})
    mixture = MixtureClassifier(["tree", "logistic"], specialize=False, cv=2).fit(X, frame)
    save(mixture, tmp_path / "labels.mix")
    pd.DataFrame(X).to_csv(tmp_path / "new.csv", index=False)
    run("predict", str(tmp_path / "labels.mix"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "out.csv"))
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found) == ["warm", "dry", "probability_warm", "probability_dry"]
    np.testing.assert_array_equal(found[["warm", "dry"]], mixture.predict(X))
    np.testing.assert_allclose(found[["probability_warm", "probability_dry"]], mixture.predict_proba(X))


def test_experts_of_several_options_are_joined(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))
    pd.DataFrame(X, columns=["a", "y"]).to_csv(tmp_path / "rows.csv", index=False)
    words = ["--experts", "ridge", "--experts", "linear, lasso", "--cv", "2", "--jobs", "1"]
    code, _, err = run("fit", tmp_path / "rows.csv", "--target", "y", "--out", tmp_path / "some.mix", *words)
    assert code == 0, err
    assert load(tmp_path / "some.mix").experts == ["ridge", "linear", "lasso"]


def test_predict_requires_trust_for_other_types(rejected, run, flats, tmp_path):
    pytest.importorskip("xgboost")
    model, answers = tmp_path / "m.mix", tmp_path / "p.csv"
    _, _, err = run("fit", flats, "--target", "price", "--experts", "ridge,xgboost", *FAST[2:], "--out", model)
    assert "xgboost.core.Booster" in err
    rejected(
        run("predict", model, flats, "--out", answers), "xgboost.core.Booster",
        f"metamix predict {model} {flats} --out {answers} --trust all",
    )  # fmt: skip
    rejected(run("predict", model, flats, "--trust", "xgboost.core.Booster"), "xgboost.sklearn.XGBRegressor")
    assert not answers.exists()
    trusted = [run("predict", model, flats, "--trust", "all")]
    trusted += [
        run("predict", model, flats, "--trust", "xgboost.core.Booster", "--trust", "xgboost.sklearn.XGBRegressor")
    ]
    assert trusted[0] == trusted[1]
    assert trusted[0][0] == 0


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    X = np.random.default_rng(0).normal(size=(40, 2))
    pd.DataFrame(X, columns=["a", "y"]).to_csv(path, index=False)
    return path


@pytest.fixture
def fitted(rows):
    frame = pd.read_csv(rows)
    path = rows.with_name("rows.mix")
    save(MixtureRegressor(["ridge"], specialize=False, cv=2).fit(frame[["a"]], frame["y"]), path)
    return path


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("command", ["compare", "fit", "predict", "predict the model"])
def test_the_output_is_never_an_input(rejected, run, rows, fitted, tmp_path, command, link):
    given = {"compare": rows, "fit": rows, "predict": rows, "predict the model": fitted}[command]
    before = given.read_bytes()
    out = given
    if link:
        out = tmp_path / "link"
        out.symlink_to(given)
    words = ["predict", fitted, rows] if command.startswith("predict") else [command, rows, "--target", "y"]
    rejected(run(*words, "--out", out, "--force"), "is read as input")
    assert given.read_bytes() == before


@pytest.mark.parametrize("command", ["compare", "fit", "predict"])
def test_an_existing_file_needs_force(rejected, run, rows, fitted, tmp_path, command):
    out = tmp_path / "out"
    out.write_text("kept")
    words = ["predict", fitted, rows] if command == "predict" else [command, rows, "--target", "y", "--jobs", "1"]
    words += [] if command == "predict" else ["--experts", "ridge", "--cv", "2"]
    rejected(run(*words, "--out", out), "--force")
    assert out.read_text() == "kept"
    assert run(*words, "--out", out, "--force")[0] == 0
    assert out.read_bytes()[:4] != b"kept"
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "rows.mix", "out"}


@pytest.mark.parametrize("command", ["compare", "fit", "predict"])
def test_a_device_is_written_to_and_a_full_one_is_named(rejected, run, rows, fitted, command):
    words = ["predict", fitted, rows] if command == "predict" else [command, rows, "--target", "y", "--jobs", "1"]
    words += [] if command == "predict" else ["--experts", "ridge", "--cv", "2"]
    assert run(*words, "--out", "/dev/null")[0] == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    rejected(run(*words, "--out", "/dev/full"), "/dev/full cannot be written: No space left on device")


def test_a_place_that_cannot_be_written_is_found_before_the_fit(rejected, run, rows):
    words = "fit", rows, "--target", "y", "--out"
    assert rejected(run(*words, "/proc/a.mix"), "/proc/a.mix cannot be written") == ""
    assert rejected(run(*words, rows.parent / ("x" * 300)), "File name too long") == ""


def test_a_full_standard_output_is_one_line(rows, fitted):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "metamix", "predict", fitted, rows], stdout=full, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "metamix: error: standard output: No space left on device\n"


BAD = {
    "empty.csv": (b"", "is empty"),
    "header.csv": (b"a,y\n", "no rows"),
    "binary.csv": (b"\x00\x01\x02\xff" * 50, "is not text"),
    "broken.parquet": (b"PAR1 nothing", "cannot be read as .parquet"),
    "gaps.csv": (b"a,y\n1,\n2,\n3,\n", "missing in every row"),
    "labels.csv": (b"a,y\n" + b"".join(b"%d,l%d\n" % (i, i) for i in range(60)), "60 classes in 60 rows"),
    "one.csv": (b"a,y\n" + b"".join(b"%d,yes\n" % i for i in range(30)), "nothing to learn"),
    "lonely.csv": (b"y\n1\n2\n", "no column but the target"),
}


@pytest.mark.parametrize("command", ["compare", "fit"])
@pytest.mark.parametrize("name", BAD)
def test_an_invalid_table_gives_one_line(rejected, run, tmp_path, command, name):
    content, word = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    out = tmp_path / "out.file"
    rejected(run(command, path, "--target", "y", "--out", out), word)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "prise"], "did you mean 'price'?"),
        (["--target", "price", "--experts", "rigde"], "did you mean 'ridge'?"),
        (["--target", "price", "--experts", "ridge,ridge,("], "there is no expert '('"),
        (["--target", "price", "--groups", "hous"], "did you mean 'house'?"),
        (["--target", "price", "--groups", "city"], "missing in"),
        (["--target", "price", "--weights", "city"], "missing in"),
        (["--target", "price", "--weights", "sold"], "is not a numeric column"),
        (["--target", "price", "--weights", "price"], "different columns"),
        (["--target", "price", "--scoring", "neg_log_los"], "did you mean 'neg_log_loss'?"),
        (["--target", "price", "--scoring", ""], "there is no scorer ''"),
        (["--target", "price", "--scoring", "accuracy"], "--scoring accuracy cannot judge this y"),
        (["--target", "price", "--cv", "1"], "--cv"),
        (["--target", "price", "--cv", "200"], "--cv 200 needs at least 200 rows"),
        (["--target", "price", "--cv", "151", "--groups", "house"], "set --cv lower"),
        (["--target", "price", "--jobs", "0"], "0 processes do nothing; give 1 or more"),
        (["--target", "price", "--seed", "-1"], "--seed"),
        (["--target", "price", "--experts", ","], "--experts names none"),
        (["--target", "sold", "--task", "regression"], "--task regression needs numbers"),
        (["--target", "price", "--task", "classification"], "--task classification needs classes"),
        (["--target", "price", "--out", "absent/a.csv"], "no folder"),
        (["--traget", "price"], "--target"),
        ([], "--target"),
    ],
)
def test_invalid_options_give_one_line(rejected, run, flats, words, message):
    rejected(run("compare", flats, *words), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gate", "sofmax"], "there is no gate 'sofmax': did you mean 'softmax'?"),
        (["--gate", "tree,nope"], "there is no gate 'nope'; see metamix parts gates"),
        (["--gate", "tree,auto"], "auto stands for several gates"),
        (["--gate", ","], "--gate names none"),
        (["--experts", "ridge,bosting"], "there is no expert 'bosting': did you mean 'boosting'?"),
        (["--experts", "logistic", "--task", "regression"], "there is no expert 'logistic' for regression"),
        (["--final", "blnd"], "'blend'"),
        (["--engine", "threds"], "'threads'"),
        (["--device", "cud"], "--device cud is unknown"),
        (["--scoring", "r3x"], "there is no scorer 'r3x'"),
        (["--types", "size=nmber"], "there is no kind 'nmber': did you mean 'number'?"),
        (["--types", "size"], "COLUMN=KIND would do"),
        (["--encoding", "nope"], "there is no encoding 'nope'"),
        (["--thousands", "."], "--thousands needs --decimal"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "fit"])
def test_unknown_names_are_refused_before_the_table_is_read(rejected, run, tmp_path, command, words, message):
    out = ("--out", tmp_path / "m.mix") if command == "fit" else ()
    result = run(command, tmp_path / "absent.csv", "--target", "price", *out, *words)
    rejected(result, message)
    assert result[0] == 2


@pytest.mark.parametrize("command", [("predict",), ("explain", "--row", "0"), ("report", "--out", "r.html")])
def test_unknown_kinds_are_refused_before_a_model_is_read(rejected, run, tmp_path, command):
    name, *more = command
    words = (name, tmp_path / "absent.mix", tmp_path / "absent.csv", *more, "--types", "size=nmber")
    rejected(run(*words), "did you mean 'number'?")


def test_a_missing_table_or_model_gives_one_line(rejected, run, flats, tmp_path):
    rejected(run("compare", tmp_path / "no.csv", "--target", "y"), "does not exist")
    rejected(run("predict", tmp_path / "no.mix", flats), "does not exist")
    rejected(run("predict", flats, flats), "not a file written by metamix")
    rejected(run("conpare", flats), "conpare")


@pytest.mark.parametrize("values", [[2.5] * 30, ["yes"] * 30], ids=["number", "class"])
def test_a_constant_target_is_refused(values, rejected, run, tmp_path):
    path, out = tmp_path / "t.csv", tmp_path / "m.mix"
    pd.DataFrame({"a": np.arange(30.0) % 7, "y": values}).to_csv(path, index=False)
    for words in (("compare", path, "--target", "y"), ("fit", path, "--target", "y", "--out", out)):
        done = run(*words)
        rejected(done, f"{values[0]} in every row")
        assert done[0] == 2
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,b,y\n", "no rows"),
        (b"y\n1\n2\n3\n", "no column but the target"),
        (b"a,y\n1,2\n1,2,3\n4,5\n", "line 3 has 3 fields"),
        (bytes(range(256)) * 9, "is not text"),
        (b"a,b\n1,2\n3,5\n", "'y'"),
    ],
)
def test_input_that_cannot_be_used_ends_with_code_2_and_writes_nothing(content, said, rejected, run, tmp_path):
    path, out = tmp_path / "t.csv", tmp_path / "m.mix"
    path.write_bytes(content)
    done = run("fit", path, "--target", "y", "--out", out)
    rejected(done, said)
    assert done[0] == 2
    assert not out.exists()


def test_a_time_limit_is_passed_on_and_what_it_left_out_is_said(rejected, run, flats, tmp_path):
    rejected(run("compare", flats, "--target", "price", *FAST, "--time-limit", "0"), "--time-limit", "x>0")
    code, out, _ = run("compare", flats, "--target", "price", *FAST, "--time-limit", "0.001")
    assert code == 0
    assert "Left out for the time limit of 0.001 s: the expert neighbours" in out
    model = tmp_path / "m.mix"
    code, out, _ = run("fit", flats, "--target", "price", *FAST, "--time-limit", "0.001", "--out", model)
    assert code == 0
    assert "Left out for the time limit of 0.001 s: the expert neighbours" in out
    assert load(model).time_limit == 0.001


def test_a_checkpoint_is_passed_on_and_another_command_is_refused(rejected, run, flats, tmp_path):
    folder, model, page = tmp_path / "fits", tmp_path / "m.mix", tmp_path / "m.html"
    words = [flats, "--target", "price", *FAST, "--checkpoint", folder]
    first, again = (run("compare", *words, "--report", page, "--force") for _ in range(2))
    assert first[0] == again[0] == 0
    assert f"--checkpoint {folder}" in first[1]
    assert list((folder / "report").glob("*.fit")), "the fit on all rows has a folder of its own"
    rejected(run("fit", *words, "--out", model), "--checkpoint", "keeps the fits of another call", "another folder")
    assert not model.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--engine", "daks"], "is not one of"),
        (["--address", "tcp://127.0.0.1:1"], "give --engine dask too"),
        (["--engine", "dask"], "--engine dask needs --address"),
    ],
)
def test_engines_that_cannot_be_used_are_refused_before_the_table_is_read(rejected, run, tmp_path, given, message):
    words = ("fit", "no-such-table.csv", "--target", "y", "--out", tmp_path / "a.mix")
    rejected(run(*words, *given), message)
