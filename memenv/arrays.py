"""NumPy or torch: the only seam between them, and the operations on records of arrays that all above share."""

import dataclasses
import functools
import math
import operator
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np

Array = Any  # float, numpy.ndarray or torch.Tensor: array type in, array type out
Tree = TypeVar("Tree")  # a record of arrays
LEAVES = (np.ndarray, float, int, bool, str)  # of records, which need no look at what they are made of


def namespace(*values: Array) -> ModuleType:
    """The module whose functions take `values`: torch if one of them is a tensor, else NumPy (never imports torch)."""
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(value, torch.Tensor) for value in values):
        return torch
    return np


def expm1(value: Array) -> Array:
    """exp(value) - 1; floats stay Python floats, so that torch does not round them to its default type."""
    return math.expm1(value) if isinstance(value, float | int) else namespace(value).expm1(value)


def log1p(value: Array) -> Array:
    """ln(1 + value); floats stay Python floats."""
    return math.log1p(value) if isinstance(value, float | int) else namespace(value).log1p(value)


def sqrt(value: Array) -> Array:
    """Square root; floats stay Python floats."""
    return math.sqrt(value) if isinstance(value, float | int) else namespace(value).sqrt(value)


def is_zero(value: Array) -> bool:
    """True of a part that can be left out: a plain zero, as of a device without it."""
    return isinstance(value, float | int) and value == 0


def floor_at(value: Array, least: Array) -> Array:
    """max(value, least), with the derivative of `value` where both are equal: one, not what a library chooses."""
    xp = namespace(value, least)
    if xp is np:
        return np.maximum(value, least)
    if isinstance(least, float | int) and value.is_floating_point():  # several times faster than a choice by a mask
        return xp.threshold(value, _below(least, value.dtype), least)
    return xp.where((value < least) | (least != least), least, value)


def at_most(value: Array, most: float) -> Array:
    """min(value, most), with the derivative of `floor_at` at equality; floats stay Python floats."""
    return min(value, most) if isinstance(value, float | int) else -floor_at(-value, -most)


def clip(value: Array, low: Array, high: Array) -> Array:
    """min(max(value, low), high) for floats or arrays as bounds, with the derivative of `value` at either bound."""
    if namespace(value, low, high) is np:
        return np.minimum(np.maximum(value, low), high)
    return -floor_at(-floor_at(value, low), -high)


def relu(value: Array) -> Array:
    """max(value, 0) with derivative zero at zero, the one that closed forms of backpropagation use."""
    xp = namespace(value)
    return np.maximum(value, 0.0) if xp is np else xp.relu(value)


def constant(value: Array) -> Array:
    """The value without its history."""
    return value if namespace(value) is np else value.detach()


def derived_as(value: Array, other: Array) -> Array:
    """The constant `value` with the derivatives of a tensor."""
    return value if namespace(other) is np else namespace(other).asarray(value) + (other - other.detach())


@functools.cache
def _below(number: float, dtype: Any) -> float:
    """The greatest number of a type of torch that is less than `number`."""
    torch = sys.modules["torch"]
    return torch.nextafter(torch.tensor(number, dtype=dtype), torch.tensor(-torch.inf, dtype=dtype)).item()


def choose(where: Array, high: Array, low: Array, like: Array | None = None) -> Array:
    """`high` where it says so, else `low`; one number for both stays as it is.

    `like` lends its type to floats that differ: torch would round them to its default type.
    """
    if high is low or (not getattr(high, "ndim", 0) and not getattr(low, "ndim", 0) and high == low):
        return high
    xp = namespace(where)
    if xp is not np and like is not None:
        high, low = (xp.as_tensor(value, dtype=like.dtype) for value in (high, low))
    return xp.where(where, high, low)


def stepwise(value: Any, cuts: Sequence[float], steps: Sequence[float]) -> Any:
    """The one of `steps` (n,) before which as many stand as a value exceeds of `cuts` (n - 1,); element-wise.

    By halves, as the text of a compiled loop may not be nested deeply.
    """

    def among(first: int, last: int) -> Any:
        if first == last:
            return steps[first]
        half = (first + last) // 2
        return np.where(value > cuts[half], among(half + 1, last), among(first, half))

    return among(0, len(cuts)) + 0.0 * value


@functools.cache
def field_names(kind: Any) -> tuple[str, ...] | None:
    """The fields of a record type, None for anything else."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if field.init)
    return getattr(kind, "_fields", None)


def tree_map(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply `function` to the leaves of records (dataclasses, tuples, dictionaries) of one shape; None stays None.

    Parts in which every leaf comes back as it was are not copied.
    """
    first = trees[0]
    kind = first.__class__
    if kind in LEAVES:
        return function(*trees)
    if first is None:
        return None
    names = field_names(kind)
    if names is not None:
        parts = [[getattr(tree, name) for name in names] for tree in trees]
        new = [tree_map(function, *part) for part in zip(*parts, strict=True)]
        if all(map(operator.is_, new, parts[0])):
            return first
        return kind(**dict(zip(names, new, strict=True)))
    if isinstance(first, tuple):
        items = tuple(tree_map(function, *part) for part in zip(*trees, strict=True))
        return first if all(map(operator.is_, items, first)) else items
    if isinstance(first, dict):
        return {name: tree_map(function, *[tree[name] for tree in trees]) for name in first}
    return function(*trees)


def take(tree: Tree, index: Array) -> Tree:
    """The rows `index` of every array in a record; floats and texts, which hold for all rows, are kept."""
    return cast(Tree, tree_map(lambda leaf: leaf[index] if getattr(leaf, "ndim", 0) else leaf, tree))


def put(tree: Tree, index: Array, rows: Any) -> Tree:
    """A copy of a record of NumPy arrays in which the rows `index` of every array are those of `rows`."""

    def replace(old: Any, new: Any) -> Any:
        if not getattr(old, "ndim", 0):
            return old
        out = old.copy()
        out[index] = new
        return out

    return cast(Tree, tree_map(replace, tree, rows))


def numbers(record: Any, name: str = "") -> dict[str, Array]:
    """The arrays in a record, by the fields that lead to them: {"set.dose": (cells,), ...}, after `name`."""
    if getattr(record, "ndim", 0):
        return {name: record}
    names = field_names(record.__class__) or ()
    dot = "." if name and not name.endswith("/") else ""
    return {path: leaf for own in names for path, leaf in numbers(getattr(record, own), f"{name}{dot}{own}").items()}
