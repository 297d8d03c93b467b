"""The site: `sphinx-build -W docs site` (extra `docs`)."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the extension; the checkout, whatever is installed

import memenv  # noqa: E402

project, author, copyright = "memenv", "memenv developers", "memenv developers"
version = release = memenv.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "extension"]
exclude_patterns = ["extension", "leaderboard/*", "reference/leaderboard.md", "reference/cache"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # of what has not changed the outputs are kept
nb_execution_cache_path = str(HERE / "reference" / "cache")
nb_execution_raise_on_error = True  # a page that does not run stops the build ...
nb_execution_timeout = 120  # [s] ... and one that does not end
nb_execution_show_tb = True
nb_output_stderr = "remove"  # that a loop is compiled, and where it is kept here

default_role = "code"  # docstrings quote names with single backticks
smartquotes = False  # quotes in docstrings are Python's
napoleon_numpy_docstring = False
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"memenv {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
copybutton_exclude = ".linenos, .gp"
