"""The arguments of the write-verify task: what is allowed, each on its own and all together."""

import warnings
from typing import Any

import numpy as np

from memenv.bounds import LEAST_TOLERANCE, MANY, flag, is_number, is_row, is_word, shown, whole
from memenv.envs.task import TaskError, check, check_target_range, weights_of
from memenv.envs.write_verify.levels import BANDS, specified

MOST_LEVELS = 1000  # of amplitudes, and of widths, of a menu
MOST_STEPS = 10_000  # in an observation
CLEARANCE = 2.0  # [tolerances] a new target is at least this far from the last read
WITH_GOALS = {  # a reward that follows from the goals alone knows nothing else
    **dict.fromkeys(("rounds", "history"), 1),
    **dict.fromkeys(("confirm_reads", "give_up", "weight_false_acceptance", "weight_failure"), 0),
    **dict.fromkeys(("weight_shaping", "weight_energy", "weight_latency"), 0),
}


def settled(task: Any) -> dict[str, Any]:
    """The arguments of a `WriteVerify` as plain numbers, each in its range.

    Raises:
        TaskError: one that is not.
    """
    check(task, "tolerance", is_number(task.tolerance) and task.tolerance > 0, "a number > 0")
    words_of = {"tolerance_unit": ("range", "S"), "action": ("continuous", "discrete"), "bands": BANDS}
    for name, words in words_of.items():
        check(task, name, is_word(getattr(task, name), words), " or ".join(f'"{word}"' for word in words))
    check(task, "levels", is_row(task.levels, 2), "two whole numbers >= 1")
    check_target_range(task.target_range)
    limits = {"max_pulses": (1, MANY), "confirm_reads": (0, MANY), "rounds": (1, MANY), "history": (1, MOST_STEPS)}
    return {
        "target_levels": specified(task.target_levels),
        "levels": tuple(whole("levels", number, 1, MOST_LEVELS, TaskError) for number in task.levels),
        **{name: whole(name, getattr(task, name), *both, TaskError) for name, both in limits.items()},
        **{name: flag(name, getattr(task, name), TaskError) for name in ("give_up", "goal", "privileged")},
        **weights_of(task),
    }


def check_together(task: Any) -> None:
    """Refuses arguments that contradict each other.

    Raises:
        TaskError: goals with what their reward does not know, a tolerance that leaves no room for targets.

    Warns:
        UserWarning: a tolerance below the read noise.
    """
    for name, simple in WITH_GOALS.items() if task.goal else ():
        if getattr(task, name) != simple:
            raise TaskError(f"{name} is {getattr(task, name)!r}, with goal=True allowed is {simple}")
    if task.bands != BANDS[0] and not task.target_levels:
        raise TaskError(f"bands is {task.bands!r}, but there are no target_levels that could have them")
    if task.goal and task.target_levels:
        raise TaskError(f"target_levels is {shown(task.target_levels)}, with goal=True allowed is ()")
    if task.goal and np.ndim(task.tolerance_x):
        raise TaskError('tolerance_unit is "S", with goal=True and several devices allowed is "range"')
    low, high = task.target_range
    widest, finest = float(np.max(task.tolerance_x)), float(np.min(task.tolerance_x))
    if not finest >= LEAST_TOLERANCE:
        raise TaskError(
            f"tolerance is {task.tolerance!r}: {finest:.3g} of the range, allowed is {LEAST_TOLERANCE:g} or more"
        )
    if not task.target_levels and 2 * CLEARANCE * widest >= high - low:
        raise TaskError(
            f"tolerance is {task.tolerance!r}: {widest:.3g} of the range leaves no room for targets in {low} to {high}"
        )
    noise = float(np.max(task.device.read.noise + 0.5 * task.device.read.telegraph))
    if finest < noise:
        what = "the narrowest band of target_levels" if task.target_levels else "tolerance"
        given = f"{finest:.3g} (range)" if task.target_levels else f"{task.tolerance!r} ({task.tolerance_unit})"
        warnings.warn(
            f"{what} {given} is below the read noise, {noise:.3g} of the "
            "range: false acceptances will follow; use confirm_reads or a wider tolerance",
            stacklevel=4,
        )
