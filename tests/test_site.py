"""The site: it is built without a warning, requests nothing from a network, and its links lead somewhere."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
#: Public modules, and what of them is for the parts of the package and not for users.
MODULES = {
    "metamix": set(),
    "metamix.gates": set(),
    "metamix.experts": {"classifiers", "regressors"},
    "metamix.likelihoods": set(),
    "metamix.inspection": set(),
    "metamix.testing": set(),
    "metamix.persistence": {"FORMAT", "OutputFile"},
    "metamix.registry": {"Claim", "PartRow", "classifiers", "regressors", "gates", "likelihoods"},
    "metamix.engines": {"Engine", "Outcome", "Session", "current_engine"},
    "metamix.nn": set(),
}
#: Elements that a browser loads by itself, with the attribute that says from where.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


def documented():
    """What is in the tables of the reference; of the annex nothing, where there is no torch."""
    found, home = [], None
    for line in (DOCS / "api.rst").read_text("utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.rpartition(" ")[2]
            home = None if module == "metamix.nn" and find_spec("torch") is None else importlib.import_module(module)
        elif re.fullmatch(r"   [A-Za-z][\w.]*", line) and home is not None:
            found.append(attrgetter(line.strip())(home))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_a_page_in_the_reference(module):
    if module == "metamix.nn":
        pytest.importorskip("torch")
    home, listed = importlib.import_module(module), documented()
    names = set(home.__all__) - MODULES[module]
    assert not {name for name in names if not any(getattr(home, name) is one for one in listed)}


@pytest.fixture
def links():
    """The module of docs/ that rewrites links."""
    spec = importlib.util.spec_from_file_location("site_links", DOCS / "site_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SiteLinks(ROOT, {"README.md": "index.rst", "benchmarks/README.md": "benchmarks.md"})


def test_links_of_the_forge_become_links_of_the_site(links, tmp_path):
    links.root = tmp_path
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text(
        "[a](tables.md#files) [b](../benchmarks/README.md#time) [c](../tasks.py) [d](#here) [e](https://x.y/z)\n"
        "`[f](../README.md)`\n\n```python\nf[g](x)\n```\n[h](../README.md)\n"
    )
    assert links.rewritten(page) == (
        "[a](tables.md#files) [b](benchmarks.md#time) c [d](#here) [e](https://x.y/z)\n"
        "`[f](../README.md)`\n\n```python\nf[g](x)\n```\n[h](index.rst)\n"
    )
    root = tmp_path / "README.md"
    root.write_text("[tables](docs/tables.md)")
    assert links.rewritten(root) == "[tables](tables.md)"


def test_pages_of_files_elsewhere_lead_there_on_the_forge():
    pairs = re.findall(r'^    "(\w+)": "([\w/]+\.md)",$', (DOCS / "conf.py").read_text("utf-8"), re.M)
    assert len(pairs) >= 5
    for page, path in pairs:
        assert f"(../{path})" in (DOCS / f"{page}.md").read_text("utf-8")


class Page(HTMLParser):
    """Links, names that links can end at, and what a browser loads."""

    def __init__(self, path):
        super().__init__()
        self.links, self.names, self.loaded = set(), set(), set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        if tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in ("index", "search", "next", "prev"):
            self.loaded.add(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built from a copy of its sources; examples are shown and not executed, as tests do that."""
    for library in ("sphinx", "pydata_sphinx_theme", "sphinx_gallery", "myst_parser", "numpydoc"):
        pytest.importorskip(library, reason=f"{library} is not installed: python3 tasks.py docs")
    copy = tmp_path_factory.mktemp("clone")
    generated = shutil.ignore_patterns("_build", "gallery", "reference")
    shutil.copytree(DOCS, copy / "docs", ignore=generated)
    for path in [*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"]:
        (copy / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(path, copy / path.relative_to(ROOT))
    if (ROOT / "examples").is_dir():
        shutil.copytree(ROOT / "examples", copy / "examples")
    output = copy / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-t", "unexecuted",
               str(copy / "docs"), str(output)]  # fmt: skip
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


@pytest.mark.heavy
def test_every_link_within_the_site_leads_somewhere(site, pages):
    assert {"index.html", "api.html", "start.html", "verdict.html"} <= {path.name for path in pages}
    dead = []
    for path, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            named = pages.get(target)
            if not target.exists() or (parts.fragment and named and unquote(parts.fragment) not in named.names):
                dead.append((str(path.relative_to(site)), link))
    assert not dead


@pytest.mark.heavy
def test_pages_load_nothing_from_a_network(pages):
    assert not {link for page in pages.values() for link in page.loaded if urlsplit(link).netloc}


@pytest.mark.heavy
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_pages_fit_the_window_and_load_without_errors(site, browser, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in ("index", "start", "model", "verdict", "tables", "api", "reference/metamix.MixtureRegressor"):
        page.goto((site / f"{name}.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than {width}"
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", back)[:3])) > 380) == (scheme == "light"), f"{name} is not {scheme}"
    context.close()
    assert not errors
