"""`memenv probe`: probe a chip of a device whose record is uncertain, then program it; what probing costs and saves."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation import EVALUATION
from agents.library import GENERALIST, load_policy
from agents.tuned import shipped_or_tuned
from agents.tuning import TRIALS_HELP, priced
from memenv.bounds import MANY, MOST_SEED
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device
from memenv.devices.protocol import parametric
from memenv.devices.records import to_json
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown, mean_interval, shown
from memenv.experiments.runs import RECORD, RunOptions, begun, command_line
from memenv.lab.probing import probe
from memenv.lab.programming import program
from memenv.lab.simulated import SimulatedBench

FILES = ("probed.md", "record.json")
PACKAGES = ("memenv", "numpy", "cmaes")
PROBED = "generalist, probed"
POLICIES = ("generalist, the record", PROBED, "secant, tuned on the record")
SIZES = (16, 256, 4096)  # cells of a chip for which pulses are counted, probing included


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(RunOptions):
    """Probe simulated chips of a device with a few pulses, then program them with what was learnt, and without.

    Example: memenv probe --device enode-sandia --out probed
    """

    device: str = option("enode-sandia", help="a preset or a record (.json) with an uncertainty")
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    chips: int = option(10, bounds=(2, MANY), help="chips, each of a device drawn from the record's uncertainty")
    cells: int = option(64, bounds=(1, MANY), help="cells that are programmed on each")
    probed: int = option(8, bounds=(1, MANY), help="of them, cells that are probed")
    pulses: int = option(8, bounds=(1, MANY), help="probing pulses on each of those")
    trials: int | None = option(None, bounds=(1, MANY), help=TRIALS_HELP)
    seed: int = option(0, bounds=(0, MOST_SEED), help="of chips, targets and noise")
    out: Path = option(Path("probed"), help="folder of probed.md, record.json (the first chip's, as it is known then)")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config, command = parse(ProbeConfig, arguments, "memenv probe"), command_line("memenv probe", arguments)
    if config.probed > config.cells:
        raise ValueError(f"probed is {config.probed}, allowed is at most cells, {config.cells}")
    device = parametric(load_device(config.device), "memenv probe")
    with begun(config.out / RECORD, config, command=command, packages=PACKAGES, files=FILES) as run:
        if not run.again:
            rival = shipped_or_tuned(load_policy("secant", _task(device, config)), config.trials, config.seed).policy
            chips = [run.once((chip,), partial(_chip, device, config, rival, chip)) for chip in range(config.chips)]
            page = _page(device, config, command, chips)
            run.write({"probed.md": page, "record.json": chips[0]["record"]}, complete=True)
    print((config.out / "probed.md").read_text(encoding="utf-8"))
    print(f"in {config.out}: {', '.join(FILES)}, {RECORD}")


def _task(device: Device, config: ProbeConfig) -> WriteVerify:
    return priced(WriteVerify(device=device, tolerance=config.tolerance, give_up=True), None)


def _chip(device: Device, config: ProbeConfig, rival: Any, chip: int) -> dict[str, Any]:
    """Pulses a cell and success of each policy on a chip, and the record after probing."""
    seed, found = (EVALUATION, config.seed, chip), dict[str, Any]()
    g = np.random.default_rng(seed).uniform(0.1, 0.9, config.cells) * (device.g_max - device.g_min) + device.g_min
    with tempfile.TemporaryDirectory() as place:
        bench = SimulatedBench(device, config.cells, seed)
        learnt = probe(bench, device, np.arange(config.probed), config.pulses, Path(place) / "probe.csv", chip)
        policies = [load_policy(GENERALIST, _task(one, config)) for one in (device, learnt)]
        for name, policy in zip(POLICIES, (*policies, rival), strict=True):
            fresh = SimulatedBench(device, config.cells, seed)
            done = program(fresh, policy, policy.task, g, Path(place) / f"{name}.csv")
            found[name] = [float(done.pulses.mean()), float((done.outcome == "accepted").mean())]
    return {"figures": found, "record": to_json(learnt)}


def _page(device: Device, config: ProbeConfig, command: str, chips: Sequence[dict[str, Any]]) -> str:
    """The table of policies."""
    spent, lines = config.probed * config.pulses, []
    for name in POLICIES:
        pulses, success = np.array([chip["figures"][name] for chip in chips]).T
        probing = spent if name == PROBED else 0
        whole = [f"{pulses.mean() * size + probing:,.0f}" for size in SIZES]
        lines.append([name, shown(mean_interval(pulses, config.seed)), f"{100 * success.mean():.1f}", *whole])
    head = ("policy", "pulses a cell", "success %", *(f"pulses for {size:,} cells" for size in SIZES))
    return (
        f"`{command}`\n\n{device.name}, tolerance {config.tolerance:g} of the range: {config.chips} chips of "
        f"{config.cells} cells. Probing took {config.pulses} pulses on each of {config.probed} cells, {spent} of a "
        f"chip, which are counted for whole chips. Brackets: 95 % over chips.\n\n{markdown(head, lines)}"
    )
