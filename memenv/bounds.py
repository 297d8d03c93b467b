"""Numbers that a user gives and what they may be: said by name, value and bounds, before anything is made of them."""

import math
import operator
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

MOST_SEED = 2**63 - 1
MANY = 10**6  # pulses, steps, cells of a line: more are a slip of the hand
LEAST_TOLERANCE = 1e-9  # [range] observations are in tolerances, and have room in single precision
MOST_WEIGHT = 1e30  # of a term of a reward: rewards are in single precision
MOST = 10**9  # of what is limited by the memory in the first place


def whole(name: str, value: Any, least: int, most: int, error: type[ValueError] = ValueError, other: str = "") -> int:
    """The number as Python's own; NumPy's whole numbers are whole numbers, truth values are not.

    Args:
        name: what it is called where it was given.
        value: given.
        least: allowed.
        most: allowed.
        error: to be raised.
        other: what else is allowed, for the message.

    Raises:
        error: anything else.
    """
    try:
        if not isinstance(value, bool) and least <= operator.index(value) <= most:
            return operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # no number, or an array of several
        pass
    raise error(f"{name} is {shown(value)}, allowed is a whole number >= {least} and <= {most}{other and f' {other}'}")


def real(name: str, value: Any, least: float, most: float, error: type[ValueError] = ValueError) -> float:
    """The number as a float of Python's; other arguments as of `whole`.

    Raises:
        error: no finite number between the bounds.
    """
    if isinstance(value, np.generic | np.ndarray) and not value.ndim:
        value = value.item()  # single precision would overflow at the bounds
    try:
        if not isinstance(value, str | bytes | bool) and math.isfinite(value) and least <= value <= most:
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise error(f"{name} is {shown(value)}, allowed is a number >= {least:g} and <= {most:g}")


def flag(name: str, value: Any, error: type[ValueError] = ValueError) -> bool:
    """The truth value as Python's own; arguments as of `whole`.

    Raises:
        error: anything but true and false.
    """
    if not isinstance(value, bool | np.bool_):
        raise error(f"{name} is {shown(value)}, allowed is True or False")
    return bool(value)


def once(name: str, values: Sequence[Any], error: type[ValueError] = ValueError) -> None:
    """Refuse values of which one is given twice; arguments as of `whole`.

    Raises:
        error: there is one.
    """
    for value in values:
        if values.count(value) > 1:
            raise error(f"{name} has {shown(value)} {values.count(value)} times, once is allowed")


def is_number(value: Any) -> bool:
    """True of a finite number."""
    try:
        real("", value, -1e300, 1e300)
    except ValueError:
        return False
    return True


def is_row(value: Any, count: int) -> bool:
    """True of a tuple, a list or an array (count,)."""
    return (isinstance(value, tuple | list) or getattr(value, "ndim", 0) == 1) and len(value) == count


def is_word(value: Any, words: Collection[str]) -> bool:
    """True of one of these words; not of arrays, which compare by their elements."""
    return isinstance(value, str) and value in words


def shown(value: Any) -> str:
    """The beginning of a value's text, in one line."""
    try:
        return " ".join(f"{value!r:.80}".split())
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits
        return "a number of thousands of digits"
