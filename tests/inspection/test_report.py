"""metamix.report: what is on the page, that it is safe and complete, and how a browser shows it."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

import metamix
from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.inspection.report.subject import MOST_POINTS
from metamix.persistence import ModelFileError

pytest.importorskip("jinja2")

SECTIONS = [
    "verdict", "trust", "comparison", "laws", "predictions", "calibration", "convergence", "failures", "table",
    "origin", "words",
]  # fmt: skip
#: Attributes by which a page may request something.
REQUESTS = {"src", "srcset", "href", "action", "formaction", "data", "poster", "ping", "background", "manifest"}
CASES = ["two_regimes", "default", "classes", "targets", "experts_alone", "labels", "new_rows", "in_sample"]


class Page(HTMLParser):
    """What a browser makes of the markup: tags with attributes, headings, text, and the JSON of the charts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.headings, self.words, self.charts, self.scripts = [], [], [], "", []
        self._open = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"{tag} is closed, and is not open"

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            if self.tags[-1][1].get("id") == "charts":
                self.charts += data
            else:
                self.scripts.append(data)
        elif inside != "style":
            self.words.append(data)

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    @property
    def places(self):
        return {a["id"]: a for _, a in self.tags if a.get("class") == "chart"}

    @property
    def specs(self):
        return json.loads(self.charts)


@pytest.fixture(scope="module")
def experts_alone():
    X, y = make_regimes(200, random_state=0)
    mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, gate="softmax", cv=3, random_state=0)
    return mixture.fit(X, y), X, y


@pytest.fixture(scope="module")
def labels(step):
    X, y = step(200)
    names = pd.DataFrame({"<b>high": y > 1, "wide": X[:, 2] > 0.5}).astype(int)
    mixture = MixtureClassifier(["logistic", "naive_bayes"], specialize=False, gate="softmax", cv=3, random_state=0)
    return mixture.fit(X, names), X, names


@pytest.fixture(scope="module")
def new_rows(two_regimes, step):
    return two_regimes[0], *step(100, seed=5)


@pytest.fixture(scope="module")
def in_sample(step):
    X, y = step(200)
    return MixtureRegressor(["linear"] * 2, gate="constant", cv=None, random_state=0).fit(X, y), X, y


@pytest.fixture(scope="module")
def written(request, tmp_path_factory):
    """A function that writes the report of a case once, and returns its path."""
    folder, made = tmp_path_factory.mktemp("reports"), {}

    def of(case):
        if case not in made:
            made[case] = metamix.report(*request.getfixturevalue(case), folder / f"{case}.html")
        return made[case]

    return of


def read(path):
    return Page(path.read_text("utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_whole_and_requests_nothing(written, case):
    path = written(case)
    page = read(path)
    assert path.stat().st_size < 2e6
    assert [one for one in page.ids if one in SECTIONS] == SECTIONS
    assert len(set(page.ids)) == len(page.ids)
    for tag, attributes in page.tags:
        for name in REQUESTS & set(attributes):
            assert attributes[name].startswith("#") or attributes[name] == "data:,", (
                f"{tag} requests {attributes[name]}"
            )
    linked = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert set(linked) <= set(page.ids)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    style = re.search("<style>(.*?)</style>", path.read_text("utf-8"), re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("case", CASES)
def test_headings_are_in_order_and_every_chart_has_an_alternative(written, case):
    page = read(written(case))
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    places = page.places
    assert list(places) == list(page.specs)
    assert all(a["role"] == "img" and len(a["aria-label"]) > 30 for a in places.values())
    assert sum(tag == "figure" for tag, _ in page.tags) == sum(tag == "details" for tag, _ in page.tags) == len(places)
    assert page.text.count("The numbers of this chart") == len(places)


@pytest.mark.parametrize("case", ["default", "classes", "labels"])
def test_hostile_names_are_text(written, case, request):
    path = written(case)
    page = read(path)
    # Four scripts, their licences, the data of the charts, and no others; nothing of names became a tag.
    assert sum(tag == "script" for tag, _ in page.tags) == 6
    assert not {tag for tag, _ in page.tags} & {"b", "img", "iframe", "svg"}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert "<" not in page.charts
    assert {"default": "<script>alert(1)</script>", "classes": "<script>", "labels": "<b>high"}[case] in page.text
    mixture = request.getfixturevalue(case)[0]
    for name in getattr(mixture, "feature_names_in_", []):
        assert " ".join(name.split()) in page.text


def test_the_verdict_and_the_numbers_are_those_of_the_mixture(written, default):
    mixture, page = default[0], read(written("default"))
    first, _, rest = str(mixture.verdict_).partition(". predict ")
    plain = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert f"{first}." in plain
    assert rest in plain
    drawn = {row["name"]: row for row in page.specs["chart-0"]["data"]["values"]}
    for row in mixture.candidates_.to_dict("records"):
        if row["candidate"] == "mean of y":  # far from the others
            assert "The mean of y is far to the right of the picture" in plain
            continue
        assert drawn[row["candidate"]]["value"] == pytest.approx(row["difference"])
        assert drawn[row["candidate"]]["high"] == pytest.approx(row["difference"] + 2 * row["standard_error"])
    assert [name for name, row in drawn.items() if row["kind"] == "named"] == [mixture.verdict_.winner]
    assert "random_state=0" in page.text
    assert "Copyright (c) 2015" in "".join(page.scripts), "the licence of Vega"
    assert np.__version__ in page.text


def test_regions_are_said_in_words_with_their_accuracy(written, two_regimes):
    from metamix.inspection import RegionDisplay

    plain = read(written("two_regimes")).text.replace("\N{NO-BREAK SPACE}", " ")
    for sentence in RegionDisplay.from_estimator(*two_regimes).rules():
        assert sentence in plain


def test_each_target_and_label_has_its_part(written):
    for case, names in (("targets", ["Target 0", "Target 1"]), ("labels", ["Label <b>high", "Label wide"])):
        page = read(written(case))
        assert page.headings.count(3) == 2 * 6
        assert all(page.text.count(name) >= 6 for name in names)


def test_it_says_whether_losses_are_out_of_fold(written):
    assert "The rows are those that the mixture was fitted to." in read(written("two_regimes")).text
    assert "The rows are not those that the mixture was fitted to" in read(written("new_rows")).text


def test_without_candidates_and_without_rounds_it_says_why(written):
    assert "fitted with specialize=True" in read(written("two_regimes")).text
    assert "fitted with cv=None" in read(written("in_sample")).text
    assert "specialize=False, so that there were no rounds" in read(written("experts_alone")).text


def test_many_rows_are_drawn_at_random_and_it_is_said(two_regimes, step, tmp_path):
    n = MOST_POINTS + 500
    page = read(metamix.report(two_regimes[0], *step(n), tmp_path / "r.html"))
    assert f"Of {n} rows, {MOST_POINTS} drawn at random are shown." in page.text
    sizes = [len(spec["data"]["values"]) for spec in page.specs.values()]
    assert max(sizes) == MOST_POINTS
    assert (tmp_path / "r.html").stat().st_size < 2e6


def test_title_call_notes_and_comparison_are_shown(experts_alone, tmp_path):
    mixture, X, y = experts_alone
    comparison = metamix.compare(X, y, ["ridge", "neighbours"], cv=2, random_state=0)
    path = metamix.report(
        mixture, X, y, tmp_path / "r.html", title="Flats & <houses>", comparison=comparison,
        call="metamix compare 'a b.csv'\n--target </script>", notes=["3 rows have no price, and are left out."],
    )  # fmt: skip
    page = read(path)
    assert page.text.startswith("Flats & <houses>")
    assert "metamix compare 'a b.csv' --target </script>" in page.text
    assert "3 rows have no price" in page.text
    assert "scikit-learn's stacking" in page.text
    assert "oracle" in page.text


def test_failures_are_listed(tmp_path):
    from sklearn.linear_model import Ridge

    class Broken(Ridge):
        def fit(self, X, y, sample_weight=None):
            raise RuntimeError("no <memory> left")

    X, y = make_regimes(60, random_state=0)
    mixture = MixtureRegressor(["ridge", ("broken", Broken())], specialize=False, gate="constant", cv=2, random_state=0)
    with pytest.warns(match="broken"):
        mixture.fit(X, y)
    assert "RuntimeError: no <memory> left" in read(metamix.report(mixture, X, y, tmp_path / "r.html")).text


def test_few_rows_allow_no_regions(two_regimes, step, tmp_path):
    page = read(metamix.report(two_regimes[0], *step(12), tmp_path / "r.html"))
    assert "There are 12 rows; rules of regions need 20 or more." in page.text


def test_what_cannot_be_reported_on_is_refused(two_regimes, tmp_path):
    mixture, X, y = two_regimes
    path = tmp_path / "r.html"
    with pytest.raises(TypeError, match=r"metamix\.report needs a fitted MixtureRegressor.*Pipeline"):
        metamix.report(make_pipeline(mixture), X, y, path)
    with pytest.raises(ValueError, match=r"y is None, and metamix\.report needs it"):
        metamix.report(mixture, X, None, path)
    with pytest.raises(ModelFileError, match="there is no folder"):
        metamix.report(mixture, X, y, tmp_path / "absent" / "r.html")
    assert not list(tmp_path.iterdir())


def test_without_jinja2_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['jinja2'] = None; from metamix.inspection.report import report\n"
        "report(None, None, None, 'x.html')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'metamix[report]'" in done.stderr.splitlines()[-1]


# -- in a browser ------------------------------------------------------------------------------------------------------


#: Of each chart: whether it has a drawing, and the number of its marks, axes and legends left out.
MARKS = """[...document.querySelectorAll('.chart')].map(place => place.querySelectorAll(
    'svg .role-mark path[d], svg .role-mark line, svg .role-mark text').length)"""

LABELS = """Object.fromEntries([...document.querySelectorAll('.chart')].map(one =>
    [one.id, one.getAttribute('aria-label')]))"""


def until(page, condition):
    """Wait until an expression is true. Playwright's own waiting is a script made in the page, which it forbids."""
    for _ in range(1000):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {condition}")


@pytest.fixture
def opened(browser, written):
    """A function that opens the report of a case: the page, what the console said, and what was requested."""
    contexts = []

    def of(case, width=1280, scheme="light", **more):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more))
        page, said, requested = contexts[-1].new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(written(case).as_uri())
        until(page, "document.querySelector('.chart:not([data-drawn])') === null")
        return page, said, requested

    yield of
    for one in contexts:
        one.close()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
@pytest.mark.parametrize("case", ["default", "classes", "targets", "in_sample"])
def test_a_browser_draws_every_chart(opened, written, case, width, scheme):
    page, said, requested = opened(case, width, scheme)
    assert said == []
    assert requested == [written(case).as_uri()]
    spoken = {key: a["aria-label"] for key, a in read(written(case)).places.items()}
    assert page.evaluate(LABELS) == spoken
    marks = page.evaluate(MARKS)
    assert len(marks) == len(read(written(case)).specs)
    assert min(marks) > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_the_page_follows_light_and_dark_and_prints_on_white(opened):
    colours = """[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('.chart svg text')).fill]"""
    light, dark = (opened("two_regimes", 1280, scheme)[0] for scheme in ("light", "dark"))
    assert light.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(27, 31, 36)"]
    assert dark.evaluate(colours) == ["rgb(20, 24, 29)", "rgb(230, 233, 237)"]
    dark.emulate_media(media="print")
    assert dark.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


@pytest.mark.slow
def test_charts_are_drawn_again_for_another_width(opened):
    page, said, _ = opened("default", 1280)
    wide = page.locator("#chart-1 svg").bounding_box()["width"]
    page.set_viewport_size({"width": 390, "height": 900})
    until(page, f"document.querySelector('#chart-1 svg').getBoundingClientRect().width < {wide} / 2")
    # Legends and names stay inside of their drawing.
    outside = """[...document.querySelectorAll('.chart svg text')].filter(text => {
        const own = text.getBoundingClientRect(), whole = text.ownerSVGElement.getBoundingClientRect();
        return own.top < whole.top - 3 || own.left < whole.left - 3 || own.right > whole.right + 3; }).length"""
    until(page, f"({outside}) === 0 && document.documentElement.scrollWidth <= 390")
    assert said == []


@pytest.mark.slow
def test_hovering_names_what_is_under_the_pointer(opened):
    page = opened("default")[0]
    tooltip = page.locator("#vg-tooltip-element")
    page.locator("#chart-0 svg .mark-symbol path").first.hover(force=True)
    tooltip.wait_for(state="visible")
    assert tooltip.inner_text().startswith("best single\ndifference")
    points = page.get_by_role("img", name="The rows, and who leads them")
    points.locator("svg .mark-symbol.role-mark path").first.hover(force=True)
    until(page, "document.getElementById('vg-tooltip-element').textContent.startsWith('row ')")
    assert "ridge" in tooltip.inner_text()
    assert "<script>alert(1)</script>: 0." in tooltip.inner_text()


@pytest.mark.slow
def test_the_first_stop_of_the_tab_key_skips_to_the_report(opened):
    page = opened("two_regimes", 390)[0]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.slow
@pytest.mark.parametrize(("case", "width", "scheme"), [("default", 1280, "light"), ("targets", 390, "dark")])
def test_axe_finds_no_violation(opened, case, width, scheme):
    page = opened(case, width, scheme, bypass_csp=True)[0]
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.add_script_tag(path=Path(__file__).parent / "axe" / "axe.min.js")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert {"color-contrast", "heading-order", "page-has-heading-one"} <= {one["id"] for one in found["passes"]}
