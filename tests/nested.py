"""Nested results of environments: what several test files compare."""

from typing import Any

import numpy as np


def same(first: Any, second: Any) -> None:
    """Two nested results hold the same, bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            same(first[name], second[name])
    elif isinstance(first, tuple):
        for pair in zip(first, second, strict=True):
            same(*pair)
    else:
        np.testing.assert_array_equal(first, second)
