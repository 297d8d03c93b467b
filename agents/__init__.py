"""Who decides: classical controllers, the Bayesian one, the clairvoyant bound, learned policies."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.library import load_policy

__all__ = ["load_policy"]


def __getattr__(name: str) -> Any:
    """`load_policy`, imported when it is asked for: the package is also that of modules which need far less."""
    if name == "load_policy":
        from agents.library import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
