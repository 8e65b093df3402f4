"""The command line as people use it: what it prints, what it writes, how it refuses."""

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureClassifier, MixtureRegressor, load, load_example, save
from metamix.cli import main
from metamix.cli.screens import comparison_lines, number

FAST = ["--experts", "ridge,neighbours", "--cv", "2", "--jobs", "1"]
CLASSES = ["--experts", "logistic,neighbours", "--cv", "2", "--jobs", "1"]


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def flats(tmp_path_factory):
    X, price = load_example("mixed")
    path = tmp_path_factory.mktemp("tables") / "flats.csv"
    frame = X.assign(price=price, sold=np.where(price > price.median(), "dear", "cheap"), house=np.arange(600) // 3)[
        :150
    ]
    frame.assign(weight=1.0).to_csv(path, index=False)
    return path


def refused(result, *words):
    code, out, err = result
    assert code not in (0, None)
    assert err.count("\n") == 1, err
    assert err.startswith("metamix: error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err, err
    return out


def test_compare_shows_the_task_the_table_and_the_verdict(run, flats, tmp_path):
    out_file = tmp_path / "losses.csv"
    code, out, _ = run("compare", flats, "--target", "price", *FAST, "--out", out_file)
    assert code == 0
    first, *_, last = out.strip().splitlines()
    assert "150 rows, regression of price" in first
    assert "columns have gaps" in first
    for name in ("ridge", "neighbours", "best single", "average", "convex", "stacking", "mixture", "oracle"):
        assert any(line.startswith(f"  {name} ") for line in out.splitlines()), name
    assert "squared error" in last
    table = pd.read_csv(out_file).set_index("name")
    assert table.loc["stacking", "difference"] == 0
    assert table.loc["oracle", "loss"] <= table["loss"].drop("oracle").min()
    written = next(line for line in out.splitlines() if line.startswith("  mixture "))
    assert number(table.loc["mixture", "loss"], table["loss"].drop("oracle")[2:].min()) in written


def test_compare_is_the_same_for_the_same_seed(run, flats, tmp_path):
    words = ("compare", flats, "--target", "sold", "--task", "classification", *CLASSES, "--groups", "house")
    shown = [run(*words, "--seed", "3", "--out", tmp_path / f"{i}.csv")[1] for i in range(2)]
    first, second = (pd.read_csv(tmp_path / f"{i}.csv").iloc[:, :5] for i in range(2))
    assert "(2 classes)" in shown[0]
    assert shown[0].splitlines()[-1] == shown[1].splitlines()[-1]
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_device(run, flats, tmp_path):
    out_file = tmp_path / "flats.mix"
    fit = "fit", flats, "--target", "price", "--out", out_file, *FAST
    refused(run(*fit, "--device", "gpu"), "device='gpu' is unknown", "'cuda:N'")
    refused(run("compare", flats, "--target", "price", *FAST, "--device", "cuda:99"), "'cuda:99' is not there")
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

    from metamix.data.tables import read_table

    X = read_table(flats)
    mixture = MixtureRegressor(["ridge", "neighbours"], cv=2, random_state=0)
    mixture.fit(X.drop(columns=["price", "weight"]), X["price"], sample_weight=X["weight"])
    np.testing.assert_array_equal(frame["prediction"], mixture.predict(X.drop(columns=["price", "weight"])))


def test_predict_gives_classes_and_probabilities_with_and_without_the_target(run, flats, tmp_path):
    model, without = tmp_path / "m.mix", tmp_path / "without.csv"
    run("fit", flats, "--target", "sold", *CLASSES, "--out", model)
    full = pd.read_csv(flats)
    full.drop(columns="sold").iloc[:, ::-1].to_csv(without, index=False)
    tables = [run("predict", model, path)[1] for path in (flats, without)]
    assert tables[0] == tables[1]
    frame = pd.read_csv(io.StringIO(tables[0]))
    assert list(frame) == ["class", "probability_cheap", "probability_dear"]
    np.testing.assert_allclose(frame[["probability_cheap", "probability_dear"]].sum(axis=1), 1)
    assert ((frame["probability_dear"] > 0.5) == (frame["class"] == "dear")).all()
    full.drop(columns=["size", "fee"]).rename(columns={"city": "City"}).to_csv(without, index=False)
    refused(run("predict", model, without), "'size', 'city', 'fee'")


def test_predict_has_a_column_for_each_target(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))
    mixture = MixtureRegressor(["ridge"], specialize=False, cv=2).fit(X, X @ [[1.0, 0.0], [2.0, 1.0]])
    save(mixture, tmp_path / "two.mix")
    pd.DataFrame(X).to_csv(tmp_path / "rows.csv", index=False)
    answers = pd.read_csv(io.StringIO(run("predict", tmp_path / "two.mix", tmp_path / "rows.csv")[1]))
    np.testing.assert_allclose(answers[["prediction_0", "prediction_1"]], mixture.predict(X))


def test_experts_in_several_options_are_all_asked(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))
    pd.DataFrame(X, columns=["a", "y"]).to_csv(tmp_path / "rows.csv", index=False)
    words = ["--experts", "ridge", "--experts", "linear, lasso", "--cv", "2"]
    code, _, told = run("fit", tmp_path / "rows.csv", "--target", "y", "--out", tmp_path / "some.mix", *words)
    assert code == 0, told
    assert load(tmp_path / "some.mix").experts == ["ridge", "linear", "lasso"]


def test_predict_asks_for_trust(run, flats, tmp_path):
    pytest.importorskip("xgboost")
    model, answers = tmp_path / "m.mix", tmp_path / "p.csv"
    _, _, err = run("fit", flats, "--target", "price", "--experts", "ridge,xgboost", *FAST[2:], "--out", model)
    assert "xgboost.core.Booster" in err
    refused(run("predict", model, flats, "--out", answers), "xgboost.core.Booster", "--trust all")
    refused(run("predict", model, flats, "--trust", "xgboost.core.Booster"), "xgboost.sklearn.XGBRegressor")
    assert not answers.exists()
    trusted = [run("predict", model, flats, "--trust", "all")]
    trusted += [
        run("predict", model, flats, "--trust", "xgboost.core.Booster", "--trust", "xgboost.sklearn.XGBRegressor")
    ]
    assert trusted[0] == trusted[1]
    assert trusted[0][0] == 0


BAD = {
    "empty.csv": (b"", "is empty"),
    "header.csv": (b"a,y\n", "no rows"),
    "binary.csv": (b"\x00\x01\x02\xff" * 50, "not a table"),
    "broken.parquet": (b"PAR1 nothing", "not a Parquet file"),
    "gaps.csv": (b"a,y\n1,2.5\n2,\n3,1.5\n", "missing in 1 of 3 rows"),
    "one.csv": (b"a,y\n" + b"".join(b"%d,yes\n" % i for i in range(30)), "one class only"),
    "lonely.csv": (b"y\n1\n2\n", "no column but the target"),
}


@pytest.mark.parametrize("command", ["compare", "fit"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_one_line(run, tmp_path, command, name):
    content, word = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    out = tmp_path / "out.file"
    refused(run(command, path, "--target", "y", "--out", out), word)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "prise"], "did you mean 'price'?"),
        (["--target", "price", "--experts", "rigde"], "Did you mean 'ridge'?"),
        (["--target", "price", "--experts", "ridge,ridge,("], "There is no regressor named '('"),
        (["--target", "price", "--groups", "hous"], "did you mean 'house'?"),
        (["--target", "price", "--groups", "city"], "missing in"),
        (["--target", "price", "--weights", "city"], "missing in"),
        (["--target", "price", "--weights", "sold"], "does not hold numbers"),
        (["--target", "price", "--weights", "price"], "different columns"),
        (["--target", "price", "--scoring", "neg_log_los"], "did you mean 'neg_log_loss'?"),
        (["--target", "price", "--cv", "1"], "--cv"),
        (["--target", "price", "--out", "absent/a.csv"], "no folder"),
        (["--traget", "price"], "--target"),
        ([], "--target"),
    ],
)
def test_bad_options_are_one_line(run, flats, words, said):
    refused(run("compare", flats, *words), said)


def test_a_missing_table_or_model_is_one_line(run, flats, tmp_path):
    refused(run("compare", tmp_path / "no.csv", "--target", "y"), "does not exist")
    refused(run("predict", tmp_path / "no.mix", flats), "does not exist")
    refused(run("predict", flats, flats), "not a file that metamix wrote")
    refused(run("conpare", flats), "conpare")


def test_a_constant_target_is_said_and_a_model_still_made(run, tmp_path):
    table, model = tmp_path / "flat.csv", tmp_path / "m.mix"
    pd.DataFrame({"a": np.arange(40.0), "y": 2.5}).to_csv(table, index=False)
    code, out, err = run("compare", table, "--target", "y")
    assert (code, err) == (0, "")
    assert "constant, 2.5 in every row" in out
    assert run("fit", table, "--target", "y", *FAST, "--out", model)[0] == 0
    answers = pd.read_csv(io.StringIO(run("predict", model, table)[1]))
    np.testing.assert_allclose(answers["prediction"], 2.5)


def test_parts_lists_what_is_registered_without_importing(run):
    from metamix.registry import describe

    code, out, _ = run("parts")
    assert code == 0
    assert len(out.splitlines()) == 1 + len(describe())
    code, out, _ = run("parts", "gates")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        [row.name, "gate"] for row in describe() if row.kind == "gates"
    ]
    assert all(line.split()[2] == "metamix" for line in out.splitlines()[1:])
    refused(run("parts", "gaets"), "did you mean 'gates'?")


def test_check_runs_the_checks_of_a_part_in_a_process_of_its_own(run):
    code, out, err = run("parts", "check", "constant")
    assert code == 0, err
    assert "checks passed" in out
    refused(run("check", "constnat"), "did you mean 'constant'?")


def test_lines_of_the_table_fit_80_columns_whatever_the_numbers():
    for scale in (1e-9, 1e-3, 1.0, 12345.678, 1e12):
        rows = [
            {"name": name, "kind": kind, "loss": loss * scale, "difference": (loss - 3) * scale,
             "standard_error": 0.7 * scale, "fit_seconds": 12345.6, "predict_seconds": 0.01}
            for name, kind, loss in [
                ("an_expert_with_a_name_that_nobody_would_choose", "expert", 800.0), ("stacking", "combination", 3.0),
                ("mixture", "combination", 2.1234567), ("oracle", "combination", 0.01),
            ]
        ]  # fmt: skip
        lines = list(comparison_lines(rows, "minus neg_root_mean_squared_log_error"[:20]))
        plain = [line.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines]
        assert max(map(len, plain)) <= 80, plain
        assert len({len(line) for line in plain if line}) == 1  # right edges line up


def python(*words, **options):
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, **options)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom metamix.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('numpy', 'sklearn', 'pandas', 'torch', 'skops') if m in sys.modules])"
    )
    done = python("-c", code)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert python("-m", "metamix").returncode == 2


def test_an_unexpected_error_is_one_line_and_a_traceback_for_who_asks(tmp_path, flats):
    code = (
        "import metamix.data.tables, metamix.cli, sys\n"
        "def read_table(path):\n    raise LookupError('the moon')\n"
        "metamix.data.tables.read_table = read_table\n"
        "metamix.cli.main(['compare', 't.csv', '--target', 'y', *sys.argv[1:]])"
    )
    quiet, loud = python("-c", code), python("-c", code, "--debug")
    assert quiet.returncode == 1
    assert quiet.stderr.strip() == "metamix: error: LookupError: the moon (add --debug to see where it happened)"
    assert "Traceback" in loud.stderr
    assert "the moon" in loud.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals to a group of processes are POSIX")
def test_ctrl_c_leaves_quietly_with_130_and_nothing_half_written(tmp_path):
    X, price = load_example("mixed")
    pd.concat([X.assign(price=price)] * 5).to_csv(tmp_path / "t.csv", index=False)
    words = [sys.executable, "-m", "metamix", "fit", "t.csv", "--target", "price", "--out", "m.mix", "--jobs", "2"]
    child = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert "regression of price" in child.stdout.readline()
    time.sleep(3)
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.strip() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
def test_a_terminal_of_80_columns_gets_bar_colour_and_wrapped_sentences(flats):
    import pty

    words = ["compare", str(flats), "--target", "price", "--experts", "ridge,extra_trees", *FAST[2:]]
    terminal, screen = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    child = subprocess.Popen([sys.executable, "-m", "metamix", *words], stdout=screen, stderr=screen, env=environment)
    os.close(screen)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side has gone
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert child.wait() == 0, shown.decode()
    text = shown.decode()
    assert "#" in text
    assert "\x1b[1m" in text
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[K", "\x1b[?25l", "\x1b[?25h"):
        text = text.replace(code, "")
    assert max(len(line) for line in text.replace("\r", "\n").split("\n")) <= 80


def test_classifier_files_are_those_of_save(run, flats, tmp_path):
    from metamix.persistence import load

    model = tmp_path / "m.mix"
    run("fit", flats, "--target", "sold", *CLASSES, "--out", model)
    assert isinstance(load(model), MixtureClassifier)
