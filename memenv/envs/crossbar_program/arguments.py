"""The arguments of the crossbar task: what is allowed, each on its own and all together."""

from typing import Any

import numpy as np

from memenv.bounds import LEAST_TOLERANCE, MANY, flag, is_number, is_word, whole
from memenv.circuits.solver import Wires
from memenv.crossbars.converters import Converter
from memenv.crossbars.crossbar import Crossbar
from memenv.devices.grid import on_grid
from memenv.envs.task import TaskError, check, check_target_range, weights_of

OF_CROSSBAR = ("device", "rows", "cols", "scheme", "writing")


def crossbar_of(task: Any) -> Crossbar | None:
    """The array that a `CrossbarProgram` is given whole, also as Gymnasium's specifications hold it in JSON.

    Raises:
        TaskError: it is none, or given twice.
    """
    given = _from_tree(task.crossbar) if isinstance(task.crossbar, dict) else task.crossbar
    if given is not None:
        allowed = "a memenv.crossbars.crossbar.Crossbar, or None"
        check(task, "crossbar", isinstance(given, Crossbar), allowed)
        for name in OF_CROSSBAR:
            if getattr(task, name) != task.__dataclass_fields__[name].default:
                raise TaskError(f"{name} is given twice, by crossbar too: use crossbar.replace({name}=...)")
    return given


def settled(task: Any) -> dict[str, Any]:
    """The other arguments as plain numbers, each in its range.

    Raises:
        TaskError: one that is not.
    """
    for name, words in (("objective", ("cells", "product")), ("action", ("cells", "lines"))):
        check(task, name, is_word(getattr(task, name), words), " or ".join(f'"{word}"' for word in words))
    good = is_number(task.tolerance) and task.tolerance >= LEAST_TOLERANCE
    check(task, "tolerance", good, f"a number >= {LEAST_TOLERANCE:g}")
    verify = ("pulsed", "all", "none") if task.objective == "product" else ("pulsed", "all")
    check(task, "verify", is_word(task.verify, verify), f"{', '.join(verify)} for objective={task.objective!r}")
    check_target_range(task.target_range)
    found: dict[str, Any] = weights_of(task)
    found["max_pulses"] = whole("max_pulses", task.max_pulses, 1, MANY, TaskError)
    found["reward_map"] = flag("reward_map", task.reward_map, TaskError)
    if task.width is not None:
        drivers = [one.driver for one in task.array.device.devices or (task.array.device,)]
        least, most = max(d.width_min for d in drivers), min(d.width_max for d in drivers)
        good = is_number(task.width) and least <= task.width <= most
        check(task, "width", good, f"None or {least:.3g} to {most:.3g} s")
        found["width"] = float(on_grid(drivers[0], True, 0.0, task.width)[1])  # all have one grid
    _ = task.product_test
    if not isinstance(task.inputs, int | np.integer):  # tuples, as records hold them
        found["inputs"] = tuple(map(tuple, np.asarray(task.inputs).tolist()))
    if task.action == "lines" or task.array.writing != "cells":
        _ = task.array.device.driver  # cells that share a pulse have one driver
    return found


def _from_tree(tree: dict[str, Any]) -> Crossbar:
    """The array that `dataclasses.asdict` took apart."""
    try:
        device = tree["device"]
        parts = {
            "device": list(device["devices"]) if isinstance(device, dict) and "devices" in device else device,
            "levels": tuple(tree["levels"]),
            "wires": tree["wires"] and Wires(**tree["wires"]),
            "dac": Converter(**tree["dac"]),
            "adc": Converter(**tree["adc"]),
        }
        return Crossbar(**(tree | parts))
    except (KeyError, TypeError) as error:
        raise TaskError(f"crossbar is no record that dataclasses.asdict made of a Crossbar: {error}") from None
