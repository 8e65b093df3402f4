"""Files of every format that a release has written load, and predict what they predicted then."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from metamix.persistence import ModelVersionWarning, load
from metamix.persistence.archive import READERS

FILES = Path(__file__).parent / "files"


@pytest.mark.parametrize("number", READERS)
def test_a_file_of_each_format_predicts_the_stored_numbers(number):
    expected = json.loads((FILES / f"format_{number}.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelVersionWarning)
        mixture = load(FILES / f"format_{number}.mix")
    X = np.array(expected["X"])
    mean, deviation = mixture.predict(X, return_std=True)
    np.testing.assert_allclose(mean, expected["predict"], rtol=1e-9)
    np.testing.assert_allclose(deviation, expected["deviation"], rtol=1e-6)
    np.testing.assert_allclose(mixture.gate_weights(X), expected["gate_weights"], atol=1e-9)


def with_versions(**versions):
    def change(manifest):
        manifest = json.loads(manifest)
        return json.dumps({**manifest, **versions, "libraries": {**manifest["libraries"], **versions}}).encode()

    return change


def test_other_versions_are_one_warning_that_names_both(rewrite, file):
    import numpy
    import sklearn

    rewrite(with_versions(**{"scikit-learn": "1.2.3", "numpy": numpy.__version__, "absent": "4.5"}), "manifest.json")
    with pytest.warns(ModelVersionWarning) as caught:
        load(file)
    assert len(caught) == 1
    assert (
        f"written with scikit-learn 1.2.3, absent 4.5, and this is scikit-learn {sklearn.__version__}, absent (not"
        in (str(caught[0].message))
    )
    assert caught[0].filename == __file__


def test_the_warning_of_scikit_learn_is_not_repeated_for_each_model(rewrite, file):
    rewrite(lambda model: model.replace(b'"_sklearn_version":"', b'"_sklearn_version":"0.'), "model.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(file)


def test_a_third_number_of_a_version_is_not_worth_a_warning(rewrite, file):
    import sklearn

    rewrite(with_versions(**{"scikit-learn": f"{sklearn.__version__.rsplit('.', 1)[0]}.99"}), "manifest.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(file)
