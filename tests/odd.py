"""Values that nobody should give: for environments, reset options, actions and command lines."""

from typing import Any

import numpy as np

NUMBERS: tuple[Any, ...] = (0, -1, 1.5, 1e9, float("nan"), float("inf"), 10**30, -(10**30), 10**5000, 1e300, 5e-324)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    "",
    "abc",
    b"abc",
    (),
    [],
    {},
    (1,),
    (1, 2, 3),
    ("a", "b"),
    [[1], [1, 2]],
    {"a": 1},
    1j,
    object(),
    print,
    np.int64(3),
    np.uint8(2),
    np.float32(0.3),
    np.array([1, 2]),
    np.array([[0.1, 0.9]]),
    np.array(["a"]),
    np.array([None]),
    np.array(1),
    np.zeros((0, 3)),
)
VALUES = (*NUMBERS, *OTHERS)
# What is no whole number of an option:
WORDS = ("-1", "1.5", "1e9", "nan", "inf", "abc", "", "9999999999999", "9" * 5000, "a\0b")
