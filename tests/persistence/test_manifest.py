"""What a saved file says of itself is read without the mixture; forged and damaged ones are refused."""

import json
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureClassifier, MixtureRegressor, fit_predictions, load, load_example, save
from metamix.persistence import ModelFileError, read_manifest


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A mixture of a table with mixed columns, the table, and its file."""
    X, price = load_example("mixed")
    X, y = X[:150].assign(number=range(150)), np.where(price[:150] > 200, "dear", "cheap")
    mixture = MixtureClassifier(["logistic", "neighbours"], cv=2, random_state=0).fit(X, y)
    path = tmp_path_factory.mktemp("mixed") / "m.mix"
    save(mixture, path, notes={"target": "sold"})
    return mixture, X, path


def test_a_manifest_says_what_the_mixture_is(mixed):
    mixture, X, path = mixed
    said = read_manifest(path)
    assert (said["task"], said["rows"], said["targets"]) == ("classification", 150, 1)
    assert said["classes"] == ["cheap", "dear"]
    assert said["notes"] == {"target": "sold"}
    assert {one["name"]: one["kind"] for one in said["readings"]} == dict(
        zip(*mixture.cleaner_.report(X)[["column", "kind"]].to_numpy().T, strict=True)
    )
    assert [one["name"] for one in said["shares"]] == list(mixture.named_experts_) == said["experts"]
    assert sum(one["share"] for one in said["shares"]) == pytest.approx(1, abs=1e-5)
    assert said["verdict"] == str(mixture.verdict_)


def test_shares_are_mean_weights():
    """Weights of a constant gate are the same in every row; out of fold they are those of the rows' folds."""
    X = np.random.default_rng(0).normal(size=(120, 2))
    y = X[:, 0] + np.random.default_rng(1).normal(size=120)
    mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, gate="constant", cv=3, random_state=0)
    mixture.fit(X, y)
    shares = mixture._fitted.targets[0].shares
    np.testing.assert_allclose(shares, mixture.gate_weights(X).mean(axis=0), atol=0.01)


def test_several_targets_labels_and_given_predictions_are_described(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))
    Y = np.column_stack([X[:, 0], -X[:, 0]])
    labels = pd.DataFrame({"warm": X[:, 0] > 0, "dry": X[:, 1] > 0})
    models = [
        MixtureRegressor(["ridge"], specialize=False, cv=2).fit(X, Y),
        MixtureClassifier(["logistic"], specialize=False, cv=2).fit(X, labels),
        fit_predictions({"a": X[:, 0] + X[:, 1], "b": X[:, 1]}, X, Y[:, 0], random_state=0),
    ]
    found = []
    for model in models:
        save(model, tmp_path / "m.mix")
        found.append(read_manifest(tmp_path / "m.mix"))
    assert [one["task"] for one in found] == ["regression", "several labels", "regression"]
    assert [one["targets"] for one in found] == [2, ["warm", "dry"], 1]
    assert [one["columns"] for one in found] == [2, 2, 2]
    assert [one["rows"] for one in found] == [60, 60, 60]


def test_no_estimator_is_built_and_no_foreign_module_is_imported(mixed, tmp_path):
    """A file whose model names a module that would leave a trace if it were imported."""
    path = tmp_path / "m.mix"
    with zipfile.ZipFile(mixed[2]) as old, zipfile.ZipFile(path, "w") as new:
        new.writestr("manifest.json", old.read("manifest.json"))
        new.writestr("model.skops", b"not even an archive")
    code = (
        "import sys; from metamix.persistence import read_manifest; read_manifest(sys.argv[1]); "
        "print([m for m in sys.modules if m.split('.')[0] in ('skops', 'torch', 'xgboost', 'lightgbm')])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_files_without_the_later_entries_are_read(file, rewrite):
    later = ("task", "rows", "targets", "classes", "readings", "shares", "regimes", "notes")

    def earlier(content):
        return json.dumps({key: value for key, value in json.loads(content).items() if key not in later}).encode()

    rewrite(earlier, "manifest.json")
    said = read_manifest(file)
    assert said["experts"][:2] == ["ridge", "neighbours"]
    assert all(said[name] is None for name in later)
    assert load(file).n_features_in_ == 3


@pytest.mark.parametrize(
    "change",
    [
        {"experts": "ridge"},
        {"columns": -1},
        {"columns": [1]},
        {"verdict": ["a"]},
        {"readings": [{"name": "a"}]},
        {"shares": [{"name": "a", "share": 7}]},
        {"shares": [{"name": "a", "share": float("nan")}]},
        {"notes": {"a": 1}},
        {"libraries": []},
        {"format": "2"},
    ],
    ids=str,
)
def test_entries_of_the_wrong_type_are_damage(file, rewrite, change):
    rewrite(lambda content: json.dumps(json.loads(content) | change).encode(), "manifest.json")
    with pytest.raises(ModelFileError, match=f"is damaged: its description has no valid {next(iter(change))}"):
        read_manifest(file)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"\xff", b"[" * 200_000])
def test_what_is_no_description_is_refused(file, rewrite, content):
    rewrite(lambda _: content, "manifest.json")
    with pytest.raises(ModelFileError, match=r"is damaged|no description"):
        read_manifest(file)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_unpacks_to_much_is_refused_in_little_memory(tmp_path, method):
    path = tmp_path / "bomb.mix"
    with zipfile.ZipFile(path, "w", method) as file, file.open("manifest.json", "w") as member:
        for _ in range(200):
            member.write(b" " * 1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="is damaged"):
            read_manifest(path)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ModelFileError, match="not a file written by metamix"):
        read_manifest(path)
    with pytest.raises(ModelFileError, match="is not a regular file"):
        read_manifest(tmp_path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other.json", "{}")
    with pytest.raises(ModelFileError, match="is damaged"):
        read_manifest(path)


@pytest.mark.parametrize("notes", ["target", {"target": 1}, {1: "a"}, [("a", "b")]])
def test_notes_are_text(mixed, tmp_path, notes):
    with pytest.raises(ModelFileError, match="mapping of text to text"):
        save(mixed[0], tmp_path / "m.mix", notes=notes)
    assert not (tmp_path / "m.mix").exists()
