"""Policies by name or path: hand-written controllers, shipped policies, and what `memenv train` saved."""

import warnings
from importlib import resources
from pathlib import Path
from typing import Any

from agents.classical.bayes import Bayesian
from agents.classical.gated import GateISPP, Radar
from agents.classical.inverse import HistoryInverse, NominalInverse, Overshooting
from agents.classical.optimum import TableOptimum
from agents.classical.particles import Oracle
from agents.classical.revealed import Revealed
from agents.classical.secant import Secant
from agents.classical.write_verify import (
    ISPP,
    ConstantPulse,
    ShrinkingISPP,
    VoltageIncrementalPI,
)
from agents.policy import SB3_FORMAT, Policy
from agents.predictor.policy import OUTPUTS, load_pulse_predictor, outputs_of
from memenv.archives import load_card
from memenv.devices.protocol import parametric
from memenv.envs.write_verify.task import WriteVerify

CONTROLLERS: dict[str, type[Any]] = {
    "constant": ConstantPulse,
    "ispp": ISPP,
    "ispp-shrinking": ShrinkingISPP,
    "vipi": VoltageIncrementalPI,
    "secant": Secant,
    "nominal": NominalInverse,
    "history": HistoryInverse,
    "overshooting": Overshooting,
    "bayes": Bayesian,
    "revealed": Revealed,
    "oracle": Oracle,
}
GATED: dict[str, type[Any]] = {"ispp-gate": GateISPP, "radar": Radar}  # those that drive a gate
BOUNDS = ("revealed", "oracle")  # those that know the cell
GENERALIST = "generalist"
OPTIMUM = "optimum"


def controllers() -> tuple[str, ...]:
    """The names of the hand-written controllers, the bounds last."""
    return tuple(CONTROLLERS)


def fair_controllers() -> tuple[str, ...]:
    """Those of them that find out about a cell as it is programmed: all but the bounds."""
    return tuple(name for name in controllers() if name not in BOUNDS)


def controller(name: str, task: WriteVerify) -> Policy:
    """The controller of a name, with its default parameters, for a task.

    Raises:
        ValueError: no controller has that name.
    """
    kinds = CONTROLLERS | GATED
    if name not in kinds:
        raise ValueError(f"unknown controller {name!r}; known are {', '.join(kinds)}")
    found: Policy = kinds[name](task=task)
    return found


def shipped() -> tuple[str, ...]:
    """The names of the policies that come with the package."""
    files = _folder().iterdir() if _folder().is_dir() else ()
    return tuple(sorted(part.name.removesuffix(".npz") for part in files if part.name.endswith(".npz")))


def known_policies(task: WriteVerify) -> tuple[str, ...]:
    """Names to compare when none are given: controllers, the device's specialist and the generalist, the bound.

    Of a device whose law is not known those that do without, of one with a gate those that drive it, too.
    """
    device = task.device
    if device.record is None and not (device.polarity_only or device.devices):  # a class of the user's own
        return tuple(name for name in controllers() if not CONTROLLERS[name].needs_law)
    if task.gate is not None:
        return (*fair_controllers(), *GATED, *BOUNDS)
    learned = [name for name in ("specialist", GENERALIST) if _file(name, task) is not None]
    bounds = (*BOUNDS, *((OPTIMUM,) if device.polarity_only else ()))
    return (*fair_controllers(), *learned, *bounds)


def load_policy(name: str | Path, task: WriteVerify) -> Policy:
    """The policy of a name or a path for a task.

    Args:
        name: a controller, `optimum` (on measured tables, by dynamic programming), `specialist` (shipped for the task's
            device), `generalist`, another shipped policy, or the path of a .npz that `memenv train` saved.
        task: what it will do.

    Raises:
        ValueError: an unknown name, a missing or damaged file, or a policy for another task.
    """
    text = str(name)
    if text in CONTROLLERS | GATED:
        return controller(text, task)
    if text == OPTIMUM:
        return TableOptimum(task=task)
    if text.endswith(".zip"):
        raise ValueError(
            f"{text}: a .zip of stable-baselines3 can run any code when it is opened, so it is not; if you trust "
            f"whoever made it, make arrays of it: memenv import-policy {text} --trust"
        )
    shipped_file = _file(text, task)
    path = Path(text) if text.endswith(".npz") else shipped_file
    if path is None:
        raise ValueError(
            f"unknown controller or policy {text!r}; known are {', '.join((*CONTROLLERS, *GATED, *shipped()))}; "
            "or give a path to a .npz that memenv train saved"
        )
    if load_card(path, "policy that memenv train saved").get("format") == SB3_FORMAT:
        from agents.sb3.files import load_sb3

        return load_sb3(path, task)
    predictor = load_pulse_predictor(path, task)
    task.check_gate(text, outputs_of(predictor.device) > OUTPUTS)
    one = not task.device.polarity_only and not task.device.devices
    if one and (outside := predictor.domain.outside(task)):
        warnings.warn(f"{text}: {outside}, so that it hands every cell over to secant", stacklevel=2)
    if text == GENERALIST and one:
        return predictor.on(task, parametric(task.device, f"the {GENERALIST}"))
    if one and task.device.name != predictor.device.name:
        warnings.warn(
            f"{text} was trained for {predictor.device.name}: {task.device.name} is outside what it has seen; "
            f"use {GENERALIST}, or train one with memenv train --algo pulse --device {task.device.name}",
            stacklevel=2,
        )
    return predictor


def _folder() -> Any:
    return resources.files("agents") / "shipped"


def _file(name: str, task: WriteVerify) -> Path | None:
    """The shipped file of a name; `specialist` is that of the task's device."""
    path = _folder() / f"{task.device.name if name == 'specialist' else name}.npz"
    return Path(str(path)) if path.is_file() else None
