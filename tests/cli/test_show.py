"""metamix show: what a file says of the mixture in it, without loading it."""

import json
import zipfile

import pytest

from metamix import load
from metamix.persistence import FORMAT, read_manifest


def test_a_fitted_file_is_shown(run, progression):
    code, out, err = run("show", progression)
    assert (code, err) == (0, "")
    assert out.startswith(f"{progression}: regression of target, fitted to 150 rows.")
    said = read_manifest(progression)
    for text in (f"format {FORMAT}", f"scikit-learn {said['libraries']['scikit-learn']}", said["verdict"]):
        assert text in out
    lines = [line.split() for line in out.splitlines()]
    assert ["bmi", "number"] in lines
    assert ["patient"] not in [line[:1] for line in lines], "the identifier is no column of the mixture"
    for one in said["shares"]:
        assert [*one["name"].split(), f"{100 * one['share']:.1f}", "%"] in lines
    assert any(line[:3] == ["metamix", "fit", str(progression.with_name("patients.csv"))] for line in lines)


def test_json_is_the_manifest(run, species):
    code, out, _ = run("show", species, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["classes"] == ["setosa", "versicolor", "virginica"]
    assert found["notes"]["target"] == "species"
    assert found["bytes"] == species.stat().st_size
    assert found["experts"] == list(load(species).named_experts_)


@pytest.fixture
def forged(progression, tmp_path):
    """A file with another description, and a model that cannot be read."""

    def forge(change):
        path = tmp_path / "forged.mix"
        said = json.loads(zipfile.ZipFile(progression).read("manifest.json"))
        change(said)
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("manifest.json", json.dumps(said))
            file.writestr("model.skops", b"nothing that could be loaded")
        return path

    return forge


def test_a_file_that_cannot_be_loaded_is_shown(run, forged):
    def change(said):
        said["format"] = 99

    code, out, _ = run("show", forged(change))
    assert code == 0
    assert "format 99" in out


def test_a_file_of_an_earlier_version_is_shown(run, forged):
    def change(said):
        for name in ("task", "rows", "targets", "classes", "readings", "shares", "regimes", "notes"):
            del said[name]

    code, out, _ = run("show", forged(change))
    assert code == 0
    assert "MixtureRegressor" in out.splitlines()[0]
    assert "Columns: age, sex, bmi" in out
    assert "  ridge" in out


def test_what_would_steer_a_terminal_is_not_printed(run, forged):
    def change(said):
        said["metamix"] = said["verdict"] = "\x1b[2J\x1b]0;title\x07"
        said["readings"][0]["name"] = "a\nb\r\x9b2J"
        said["notes"] = {"command": "\x1b[31m", "\x1b": "\x08", "regimes": "\x1bx"}
        said["libraries"] = {"\x1b": "\x1b"}

    code, out, _ = run("show", forged(change))
    assert code == 0
    assert all(letter.isprintable() or letter == "\n" for letter in out)
    assert all(letter.isprintable() or letter == "\n" for letter in run("show", forged(change), "--json")[1])


def test_other_files_are_refused(rejected, run, patients, tmp_path):
    done = run("show", patients)
    rejected(done, "is not a file written by metamix")
    assert done[0] == 2
    rejected(run("show", tmp_path / "absent.mix"), "does not exist")
