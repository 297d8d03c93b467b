"""Exported policies against their Python: decisions on recorded episodes, bytes, time of a decision on this machine.

    python benchmarks/export_agreement.py

Decisions are compared by amplitude and log-width in -1..1 of the driver's range, and by giving up, on every step of
episodes that the Python policy ran. Rows with fewer bits have the weights that these hold: their C is compared with
Python on these weights, and their pulses with those of the weights as they were, on the same cells (paired, 95 % over
cells).
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation import evaluate
from agents.export.c_code import c_files, rounded
from agents.export.recording import difference, recorded_steps
from agents.export.running import answered, compiled, decided, microseconds, size
from agents.library import load_policy
from agents.predictor.policy import PulsePredictor
from agents.tuned import as_shipped
from agents.tuning import priced
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import Options, option, parse
from memenv.experiments.reporting import markdown, paired_interval, shown

HEAD = ("policy", "device", "steps", "largest difference", "bytes", "us a pulse", "pulses", "against 32 bits")


@dataclass(frozen=True, kw_only=True)
class AgreementConfig(Options):
    """Compare exported policies with those of Python."""

    policies: tuple[str, ...] = option(("ispp", "secant", "specialist", "generalist"), help="names or paths")
    devices: tuple[str, ...] = option(("threshold", "enode-sandia"), help="presets or records")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    cells: int = option(10_000, help="episodes for each")
    onnx: bool = option(False, help="the ONNX models of pulse predictors, too (extra onnx)")
    seed: int = option(0, help="of cells, starts, targets and noise")


def main() -> None:
    """Print the table."""
    config = parse(AgreementConfig, sys.argv[1:], "export_agreement")
    lines = []
    for device in config.devices:
        task = priced(WriteVerify(device=device, tolerance=config.tolerance, give_up=True), None)
        for name in config.policies:
            policy = load_policy(name, task)
            policy = tuned.policy if (tuned := as_shipped(policy)) else policy
            for bits in (32, 8, 6) if isinstance(policy, PulsePredictor) else (32,):
                label = name if bits == 32 else f"{name}, {bits} bits"
                lines.append([label, task.device.name, *_row(policy, bits, config)])
                print(lines[-1], file=sys.stderr)
            if config.onnx and isinstance(policy, PulsePredictor):
                lines.append([f"{name}, ONNX", task.device.name, *_onnx_row(policy, config)])
                print(lines[-1], file=sys.stderr)
    print(markdown(HEAD, lines))


def _row(policy: Any, bits: int, config: AgreementConfig) -> list[str]:
    """The figures of a policy."""
    task = policy.task
    held = policy if bits == 32 else rounded(policy, bits)
    steps = recorded_steps(held, task, config.cells, config.seed)
    few = steps.cell < 20
    with tempfile.TemporaryDirectory() as place:
        program = compiled(c_files(held, type(steps)(*(part[few] for part in steps)), bits=bits), Path(place), "-O2")
        apart = difference(steps, decided(program, steps), task.device.driver)
        found = f"{len(apart):,}", f"{apart.max():.1e}", f"{size(Path(place)):,}"
        pulses = evaluate(held, task, config.cells, config.seed).pulses
        rival = pulses if bits == 32 else evaluate(policy, task, config.cells, config.seed).pulses
        percent = [100 * number / rival.mean() for number in paired_interval(pulses, rival, config.seed)]
        change = "–" if bits == 32 else shown(percent, "{:+.2f} %")
        return [*found, f"{microseconds(program, 100):.3g}", f"{np.mean(pulses):.3f}", change]


def _onnx_row(policy: PulsePredictor, config: AgreementConfig) -> list[str]:
    """The figures of a policy's ONNX model, of whose steps the time and the pulses are onnxruntime's and Python's."""
    from agents.export.onnx_model import onnx_bytes

    steps, model = recorded_steps(policy, policy.task, config.cells, config.seed), onnx_bytes(policy)
    apart = difference(steps, answered(model, steps), policy.task.device.driver)
    return [f"{len(apart):,}", f"{apart.max():.1e}", f"{len(model):,}", "–", "–", "–"]


if __name__ == "__main__":
    main()
