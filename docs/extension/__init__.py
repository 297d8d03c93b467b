"""What the site makes of the package at each build: pages in `docs/reference`, never committed, and docstrings.

Pages are made of registrations, records, docstrings, `docs/scores.json` and cards of `docs/leaderboard`; pictures by
the environments' own `render`.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util import logging

from extension import commands, devices, docstrings, faces, ids, leaderboard, mathematics

LOG = logging.getLogger(__name__)


def write_pages(app: Any) -> None:
    """Write the pages anew; pictures that are there are kept, as they take long: delete the folder for new ones."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.md"):
        page.unlink()
    for module in (ids, devices, faces, commands, leaderboard):
        for name, text in module.pages(folder).items():
            (folder / f"{name}.md").write_text(text, encoding="utf-8")


def want_words(app: Any, doctree: Any) -> None:
    """Warn of a picture without an alternative text, which ends a build with -W."""
    for picture in doctree.findall(nodes.image):
        if not picture.get("alt"):
            LOG.warning("a picture without an alternative text: %s", picture["uri"], location=picture)


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("doctree-read", want_words)
    app.connect("autodoc-process-docstring", docstrings.prepare, priority=400)  # before Napoleon's
    app.connect("autodoc-skip-member", docstrings.skip)
    app.add_html_math_renderer("mathml", (mathematics.inline, None), (mathematics.block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
