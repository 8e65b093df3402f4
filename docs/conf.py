"""Sphinx: how the site is built from docs/, examples/ and the docstrings. `python3 tasks.py docs` runs it."""

import inspect
import shutil
import sys
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

from site_links import SiteLinks  # noqa: E402  (the folder of this file is no package)

project = "metamix"
author = "metamix developers"
copyright = author
version = release = installed_version("metamix")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build", "requirements.txt"]
templates_path = ["_templates"]
language = "en"
suppress_warnings = ["config.cache"]  # sphinx_gallery_conf holds a function

# -- pages -----------------------------------------------------------------------------------------------------------

myst_heading_anchors = 4
#: Pages that are a link on the forge, and the file that they link to on the site.
ELSEWHERE = {
    "benchmarks": "benchmarks/README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "architecture": "ARCHITECTURE.md",
    "decisions": "DECISIONS.md",
}
LINKS = SiteLinks(ROOT, {"README.md": "index.rst", **{path: f"{page}.md" for page, path in ELSEWHERE.items()}})


def read_page(app, name, source):
    """Markdown as it is on the forge: links to files of the repository lead to the pages made of them."""
    path = ROOT / ELSEWHERE.get(name, f"docs/{name}.md")
    if path.is_file() and name != "index":
        source[0] = LINKS.rewritten(path)


def skip_foreign(app, what, name, member, skip, options):
    """Leave out members that a class has from another library, which documents them itself."""
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, cached_property):
        member = member.func
    ours = str(getattr(inspect.unwrap(member), "__module__", "")).split(".")[0] == "metamix"
    return None if ours else True


def setup(app):
    """Connect the hooks of this file."""
    app.connect("source-read", read_page)
    app.connect("autodoc-skip-member", skip_foreign)


# -- reference -------------------------------------------------------------------------------------------------------

shutil.rmtree(DOCS / "reference", ignore_errors=True)  # pages of names that are gone would stay
autosummary_generate = True
default_role = "py:obj"  # names in single backticks are links where they have a page
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings have shapes, which say more
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False

# -- gallery ---------------------------------------------------------------------------------------------------------

GALLERY = DOCS / "gallery"
if list((ROOT / "examples").rglob("plot_*.py")):
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": ["../examples"],
        "gallery_dirs": ["gallery"],
        "plot_gallery": not tags.has("unexecuted"),  # noqa: F821  (Sphinx defines it: the tags of -t)
        "subsection_order": [*(f"../examples/{folder}" for folder in ("first_steps", "reading", "problems")), "*"],
        "abort_on_example_error": True,
        "download_all_examples": False,
        "show_memory": False,
        "write_computation_times": False,
        "show_signature": False,
        "remove_config_comments": True,
        "matplotlib_animations": False,
    }
else:
    GALLERY.mkdir(exist_ok=True)
    (GALLERY / "index.rst").write_text("Examples\n========\n\nThis copy of the repository has no examples.\n", "utf-8")

# -- look ------------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "metamix"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "metamix"},
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
