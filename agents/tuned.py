"""Tuned parameters that come with the package: for some presets and tolerances, with what they were tuned for.

`benchmarks/tuned_parameters.py` makes them. They hold for a policy whose `identity` is that of their card: another
record, task or network is tuned anew.
"""

import dataclasses
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from agents.tuning import Judge, Tuned, tune
from memenv.files import load_json, named

FORMAT = "memenv tuned parameters 1"
REMARKS = ("source", "card")  # fields that decide nothing


class Card(NamedTuple):
    """Parameters, what they hold for, and how they were found."""

    controller: str
    tolerance: float
    identity: str
    parameters: dict[str, Any]
    trials: int  # of each search
    costs: list[float]  # of the searches' results (seeds,), as `agents.tuning.costs` says, all on the same tuning cells
    pulses: list[float]  # mean of the same cells


def folder() -> Any:
    """The place of the files, one for each device."""
    return resources.files("agents") / "shipped" / "tuned"


@cache
def cards(device: str) -> tuple[Card, ...]:
    """What is shipped for a device of this name.

    Raises:
        ValueError: a damaged file.
    """
    place = next((file for file in folder().iterdir() if file.name == f"{device}.json"), None)
    if place is None:
        return ()
    with named(str(place), "file of tuned parameters"):
        tree = load_json(str(place))
        if tree["format"] != FORMAT:
            raise ValueError(f"its format is {tree['format']!r}, {FORMAT!r} is needed")
        return tuple(Card(**card) for card in tree["cards"])


def identity(policy: Any) -> str:
    """SHA-256 of what a tuning depends on: kind, task, record, weights; whatever has its default does not count."""
    return hashlib.sha256(json.dumps(_essence(policy), sort_keys=True).encode()).hexdigest()


def as_shipped(policy: Any) -> Tuned | None:
    """The policy with the parameters that are shipped for it, None without."""
    own = identity(policy)
    for card in cards(policy.task.device.name):
        if card.identity == own:
            tuned = dataclasses.replace(policy, **card.parameters)
            best = min(card.costs)
            return Tuned(policy=tuned, cost=best, trials=card.trials, parameters=card.parameters, pulses=card.pulses)
    return None


def shipped_or_tuned(policy: Any, trials: int | None = None, seed: int = 0, judged: Judge | None = None) -> Tuned:
    """The shipped parameters if there are any and no number of `trials` is given, else those of a search.

    Arguments and errors are those of `agents.tuning.tune`.
    """
    return (as_shipped(policy) if trials is None else None) or tune(policy, trials, seed, judged)


def _essence(value: Any) -> Any:
    """The value for JSON, of records what differs from the defaults, without remarks and what tuning finds."""
    if dataclasses.is_dataclass(value):
        own: dict[str, Any] = {}
        for f in dataclasses.fields(value):
            if f.init and f.name not in REMARKS and "range" not in f.metadata:
                make = f.default_factory
                usual = _essence(f.default if make is dataclasses.MISSING else make())
                if (part := _essence(getattr(value, f.name))) != usual:
                    own[f.name] = part
        return {type(value).__qualname__: own}
    if isinstance(value, np.ndarray):
        return [*value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, tuple | list):
        return [_essence(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.9g}")  # the last digits of what presets compute differ from machine to machine
    return value if isinstance(value, str | int | None) else repr(value)
