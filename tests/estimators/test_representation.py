"""The HTML of a mixture: what it says, that names are escaped, and how a browser and IPython show it."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import sklearn
from IPython.core.formatters import DisplayFormatter
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor
from metamix.gates import SoftmaxGate

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
#: Elements without an end.
VOID = {"input", "br", "meta", "link", "path"}


class Markup(HTMLParser):
    """Elements, whether each is closed, and the rows of tables that have our heads."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.rows = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def table(self, head):
        """Rows below the row of heads that begins with a word, until the next heads."""
        start = next(i for i, row in enumerate(self.rows) if row[:1] == [head])
        found = {}
        for row in self.rows[start + 1 :]:
            if len(row) != len(self.rows[start]) or row[0] in ("column", "regime"):
                break
            found[row[0]] = row[1:]
        return found


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (150, 3))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(150)


@pytest.fixture(scope="module")
def fitted(small):
    """A mixture with all candidates and two regimes."""
    pool = [("line", make_pipeline(StandardScaler(), Ridge(0.1))), "neighbours"]
    mixture = MixtureRegressor(pool, gate="softmax", n_experts=2, cv=3, random_state=0)
    return mixture.fit(*small)


def percent(text):
    return float(text.removesuffix(" %")) / 100


def test_before_fit_experts_and_gate_are_shown_as_given():
    markup = Markup(MixtureRegressor([("line", Ridge(alpha=7.0)), "forest"], gate="gmm")._repr_html_())
    assert markup.table("expert") == {"line": ["Ridge(alpha=7.0)"], "forest": ["forest"]}
    assert not markup.open
    markup = Markup(MixtureRegressor([("near", "neighbours", ["lat", "lon"]), "forest"])._repr_html_())
    table = markup.table("expert")
    assert (table["near"], table["forest"]) == (["neighbours", "['lat', 'lon']"], ["forest", ""])
    page = MixtureRegressor(gate=SoftmaxGate(penalty=0.5))._repr_html_()
    assert "SoftmaxGate(penalty=0.5)" in page
    assert "(not fitted)" in page
    assert "extra_trees" in page, "the default pool is named"


def test_a_list_that_cannot_be_read_is_shown_all_the_same():
    assert "no such thing" in MixtureRegressor([("a", "no such thing", 3, 4)])._repr_html_()


def test_after_fit_the_verdict_and_who_leads_are_shown(fitted):
    page = fitted._repr_html_()
    markup = Markup(page)
    assert str(fitted.verdict_).replace("'", "&#x27;") in page
    for mixture, table in ((fitted, markup.table("column")), (fitted.mixture_, markup.table("regime"))):
        assert list(table) == list(mixture.named_experts_)
        leaders = np.bincount(mixture.responsibilities_.argmax(axis=1), minlength=len(table)) / 150
        for k, (_, share, leads) in enumerate(table.values()):
            assert percent(share) == pytest.approx(mixture.responsibilities_[:, k].mean(), abs=0.0051)
            assert percent(leads) == pytest.approx(leaders[k], abs=0.0051)
    assert markup.table("column")["line"][0] == "Ridge", "of a pipeline the last step"
    assert not markup.open


def test_the_model_of_an_expert_with_columns_is_its_last_step(small):
    near = MixtureRegressor([("near", "neighbours", [0])], gate="constant", specialize=False, cv=2).fit(*small)
    assert Markup(near._repr_html_()).table("column")["near"][0] == "NeighboursRegressor"


def test_several_targets_and_classes(small):
    X, y = small
    both = MixtureRegressor(["ridge", "linear"], gate="constant", specialize=False, cv=2).fit(X, np.c_[y, -y])
    page = both._repr_html_()
    assert "Target 0: " in page
    assert "Target 1: " in page
    table = Markup(page).table("column")
    assert sum(percent(row[1]) for row in table.values()) == pytest.approx(1, abs=0.03)
    classes = MixtureClassifier(["logistic"], gate="constant", specialize=True, n_experts=2, cv=2, random_state=0)
    table = Markup(classes.fit(X, np.where(y > 0, "dear", "cheap"))._repr_html_()).table("regime")
    assert list(table) == list(classes.named_experts_)


def test_nothing_of_a_name_is_taken_for_markup(small):
    X, y = small
    table = sklearn.utils.Bunch(X=X, y=np.where(y > 0, HOSTILE, "no"))
    mixture = MixtureClassifier([(HOSTILE, LogisticRegression())], specialize=False, gate="constant", cv=2)
    plain = MixtureClassifier([("plain", LogisticRegression())], specialize=False, gate="constant", cv=2)
    for state in ("not fitted", "fitted"):
        found, expected = Markup(mixture._repr_html_()), Markup(plain._repr_html_())
        assert found.tags == expected.tags, state
        assert not found.open
        mixture.fit(table.X, table.y)
        plain.fit(table.X, np.where(y > 0, "yes", "no"))


def test_long_names_are_cut():
    page = MixtureRegressor([("n" * 5000, Ridge())])._repr_html_().partition("<details>")[0]
    assert max(map(len, re.findall("n+", page))) < 500


def test_ipython_shows_it_and_the_display_setting_of_scikit_learn_is_obeyed(fitted):
    shown, _ = DisplayFormatter().format(fitted)
    assert "metamix-mixture" in shown["text/html"]
    assert shown["text/plain"] == repr(fitted)
    with sklearn.config_context(display="text"):
        assert set(DisplayFormatter().format(fitted)[0]) == {"text/plain"}
        assert not hasattr(fitted, "_repr_html_")


def test_it_stands_in_the_diagrams_of_scikit_learn(fitted):
    markup = make_pipeline(StandardScaler(), fitted)._repr_html_()
    assert "MixtureRegressor" in markup
    assert "metamix-mixture" not in markup, "scikit-learn draws what stands inside its own estimators"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_in_the_colours_of_the_page(fitted, browser, scheme):
    colours = {"light": ("rgb(255, 255, 255)", "rgb(20, 20, 20)"), "dark": ("rgb(20, 20, 20)", "rgb(230, 230, 230)")}
    back, front = colours[scheme]
    page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme=scheme)
    page.set_content(f"<body style='background: {back}; color: {front}'>{fitted._repr_html_()}</body>")
    cells = page.locator(".metamix-mixture > table td, .metamix-mixture > table th, .metamix-mixture > p")
    styles = cells.evaluate_all("all => all.map(e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor])")
    assert len(styles) > 20
    assert {tuple(style) for style in styles} == {(front, "rgba(0, 0, 0, 0)")}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than a telephone"
    bars = page.locator(".metamix-mixture .bar").evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")
    shares = [*fitted.responsibilities_.mean(axis=0), *fitted.mixture_.responsibilities_.mean(axis=0)]
    np.testing.assert_allclose(np.array(bars) / max(bars), np.array(shares) / max(shares), atol=0.02)
    page.close()
