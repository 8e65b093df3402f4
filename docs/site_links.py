"""Links between Markdown files of the repository, rewritten to links between pages of the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

#: A fenced block, inline code, or a link with its text and target.
PARTS = re.compile(r"^```.*?^```|`[^`\n]+`|\[(?P<text>[^\]]*)\]\((?P<target>[^()\s]+)\)", re.M | re.S)


class SiteLinks:
    """Links as the forge needs them, relative to the file they stand in, to links relative to docs/.

    Parameters
    ----------
    root : Path
        The repository.
    pages : mapping of str to str
        Files outside docs/, by their paths in the repository, and the pages of the site that show them.
    """

    def __init__(self, root: Path, pages: Mapping[str, str]) -> None:
        self.root = root
        self.pages = pages

    def rewritten(self, path: Path) -> str:
        """The text of a Markdown file; links to files that have no page on the site are left as their text."""
        folder = path.parent.relative_to(self.root).as_posix()
        return PARTS.sub(lambda found: self._rewritten(found, folder), path.read_text("utf-8"))

    def _rewritten(self, found: re.Match[str], folder: str) -> str:
        target = found["target"]
        if target is None or target.startswith(("#", "http:", "https:", "mailto:")):
            return found[0]
        place, mark, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(folder, place))
        page = self.pages.get(place, place.removeprefix("docs/") if place.startswith("docs/") else None)
        return found["text"] if page is None else f"[{found['text']}]({page}{mark}{anchor})"
