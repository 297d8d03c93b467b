"""docs/compiler.md: what it tells a maintainer to do works."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]")
def test_an_operation_is_added_and_a_loop_shown_as_the_page_says():
    page = (ROOT / "docs/compiler.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))  # in a process of its own: it adds to RULES
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert "def sinh(x0):" in run.stdout and "p1t1 = p1t0 * p1t0" in run.stdout
