"""The registered environments: what each id fixes, how long episodes are, what classical controllers get."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from memenv.bounds import shown
from memenv.envs.task import TaskError


class Variant(NamedTuple):
    """The registration of one id."""

    base: str  # WriteVerify, CrossbarProgram or FewShot
    max_episode_steps: int
    reward_threshold: float  # mean return of the best classical controller: benchmarks/returns.py
    fixed: Mapping[str, Any] = MappingProxyType({})  # arguments that are the id's own


GOAL = {"goal": True, "weight_failure": 0.0, "weight_false_acceptance": 0.0, "weight_shaping": 0.0}
SQUARE = {"rows": 64, "cols": 64}
LINES = {"action": "lines", "writing": "rows"}
VARIANTS: dict[str, Variant] = {
    "WriteVerify": Variant("WriteVerify", 50, 1.41),
    "WriteVerifyDiscrete": Variant("WriteVerify", 50, 1.37, {"action": "discrete"}),
    "WriteVerifyRewriting": Variant("WriteVerify", 200, 4.14, {"rounds": 4}),
    "WriteVerifyGoal": Variant("WriteVerify", 50, 0.93, GOAL),
    "CrossbarProgram": Variant("CrossbarProgram", 50, 1.33),
    "CrossbarProgram64x64": Variant("CrossbarProgram", 50, 1.31, SQUARE),
    "CrossbarProgramLines": Variant("CrossbarProgram", 400, 1.01, LINES),
    "CrossbarProgramLines64x64": Variant("CrossbarProgram", 3200, -1.18, SQUARE | LINES),
    "FewShot": Variant("FewShot", 5, 0.81),
    "FewShotMLP": Variant("FewShot", 5, 0.44, {"network": "mlp"}),
    "FewShotStream": Variant("FewShot", 100, 15.8, {"stream": 20, "interval": 3600.0}),
}


def arguments(base: str, variant: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a task of kind `base`: those that were given, and those that a variant fixes.

    Raises:
        TaskError: an unknown variant, or an argument that is the variant's own.
    """
    if variant is None:
        return dict(given)
    known = [name for name, one in VARIANTS.items() if one.base == base]
    if variant not in known:
        raise TaskError(f"variant is {shown(variant)}, allowed are None, {', '.join(known)}")
    fixed = VARIANTS[variant].fixed
    for name in given:
        if name in fixed:
            raise TaskError(
                f"{name} is given, and memenv/{variant}-v0 is made with {name}={fixed[name]!r}: leave it out, or make "
                f"memenv/{base}-v0"
            )
    return {**given, **fixed}
