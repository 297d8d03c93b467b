"""`memenv export`: a policy as C99, with a header, a test vector and a program that uses it, or as an ONNX model."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.bulk.policies import compiled_policy
from agents.export.c_code import c_files, rounded
from agents.export.recording import recorded_steps
from agents.library import load_policy
from agents.predictor.policy import PulsePredictor
from agents.tuned import shipped_or_tuned
from agents.tuning import TRIALS_HELP, by_generation, priced
from memenv.bounds import MANY, MOST_SEED
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.runs import RECORD, RunOptions, begun, command_line

FILES = {"c": ("policy.c", "policy.h", "main.c", "vector.h"), "onnx": ("policy.onnx",)}
PACKAGES = ("memenv", "numpy", "cmaes")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(RunOptions):
    """Export a pulse predictor, or a controller but `bayes` and the bounds, for a machine without Python.

    Example: memenv export specialist --device threshold --to c --bits 8 --out exported
    """

    policy: str = option(positional=True, help="a controller, a shipped policy or the path of one")
    to: str = option("c", choices=tuple(FILES), help="C99, or ONNX (extra onnx)")
    bits: int = option(32, choices=(32, 8, 6), help="of a network's weights and biases; first and last layer: 8")
    device: str = option("threshold", help="a name or a .json record")
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    trials: int | None = option(None, bounds=(1, MANY), help=TRIALS_HELP)
    cells: int = option(20, bounds=(1, MANY), help="whose episodes are the test vector")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of these cells and of the tuning")
    out: Path = option(Path("exported"), help="folder of policy.c, policy.h, main.c, vector.h, or of policy.onnx")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config, command = parse(ExportConfig, arguments, "memenv export"), command_line("memenv export", arguments)
    files = FILES[config.to]
    with begun(config.out / RECORD, config, command=command, packages=PACKAGES, files=files) as run:
        if not run.again:
            own = {name: getattr(config, name) for name in ("device", "tolerance", "max_pulses")}
            task = priced(WriteVerify(**own, give_up=True), None)
            task.check_gate("an exported policy")
            policy = load_policy(config.policy, task)
            compiled_policy(policy)  # or refused, before it is tuned
            tuned = shipped_or_tuned(policy, config.trials, config.seed, by_generation(run.kept.of(config.policy)))
            run.write(exported(tuned.policy, config, command), parameters=tuned.parameters, complete=True)
    print(f"in {config.out}: {', '.join((*files, RECORD))}")
    if config.to == "c":
        print(f"try it: cd {shlex.quote(str(config.out))} && cc -std=c99 -O2 policy.c main.c -o main -lm && ./main")


def exported(policy: Any, config: ExportConfig, command: str = "") -> Mapping[str, str | bytes]:
    """The contents of the files of an export, by their names.

    Raises:
        ValueError: a policy without a network for what needs one, or that cannot be exported.
    """
    if config.bits < 32:
        if not isinstance(policy, PulsePredictor):
            raise ValueError(f"bits are of a network's weights, {type(policy).__name__} has none: leave out --bits")
        policy = rounded(policy, config.bits)
    if config.to == "onnx":
        from agents.export.onnx_model import onnx_bytes

        return {"policy.onnx": onnx_bytes(policy)}
    return c_files(policy, recorded_steps(policy, policy.task, config.cells, config.seed), command, config.bits)
