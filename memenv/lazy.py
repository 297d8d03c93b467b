"""Names of a package's face that are imported when they are asked for: behind them stand SciPy, torch or numba."""

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, Collection[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562) whose names live in the modules that are the keys of `homes`."""

    def __getattr__(name: str) -> Any:
        for module, names in homes.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
