"""The page of devices: for each preset the record's picture, numbers and source, all from the record itself."""

import inspect
from pathlib import Path
from typing import Any

from extension.docstrings import FIELD, escaped
from memenv import load_device, presets
from memenv.devices.command import plot, pulses_across, step_noise
from memenv.devices.device import Device
from memenv.devices.neurosim import label
from memenv.devices.protocol import parametric
from memenv.experiments.reporting import markdown

HEAD = """# Devices

The presets of `memenv.load_device(NAME)`, each with what its record says. `memenv devices NAME --json` prints a record,
`memenv devices plot NAME` makes the picture; yours are [fitted](../pulse-files.md) or edited. Which numbers are
measured and which are assumed is in the source of each. The pictures show, from top left: the response of one device to
reference pulses with what cycles spread, the mean step of one pulse of three amplitudes, thirty devices, each of a chip
of its own, and what time does to three levels. Words such as dose and collapsed cell are in the
[glossary](../glossary.md), the equations in [the physics](../physics.md).

"""
COLUMNS = ("device", "range [uS]", "pulses", "NL", "cycle noise %", "read noise %", "mismatch %", "bad cells %")
NOTE = """
Pairs are SET / RESET. Pulses take the nominal device across 95 % of its range; NL is NeuroSim's label; noises are of
the range; mismatch is the log-normal spread of step sizes.

"""


def pages(folder: Path) -> dict[str, str]:
    """The page; pictures go into `folder`."""
    devices = [parametric(load_device(name), "the page") for name in presets()]
    for device in devices:
        picture = folder / f"device-{device.name}.png"
        if not picture.exists():
            plot(device, picture)
    return {"devices": HEAD + _overview(devices) + "".join(map(_section, devices))}


def _overview(devices: list[Device]) -> str:
    lines = []
    for device in devices:
        spread = device.mismatch
        bad = spread.stuck_low + spread.stuck_high + spread.stuck_anywhere + spread.collapsed
        cells = (
            f"[{device.name}](#{device.name})",
            f"{1e6 * device.g_min:.3g} to {1e6 * device.g_max:.3g}",
            f"{pulses_across(device, True)}\u00a0/\u00a0{pulses_across(device, False)}",
            f"{label(device, 'set'):+z.2f}\u00a0/\u00a0{label(device, 'reset'):+z.2f}",
            *(f"{100 * share:.3g}" for share in (step_noise(device), device.read.noise, spread.rate, bad)),
        )
        lines.append(cells)
    return markdown(COLUMNS, lines) + NOTE


def _section(device: Device) -> str:
    text = f"## {device.name}\n\n{escaped(device.source)}\n\n"
    text += f"![Response, step, mismatch and retention of {device.name}](device-{device.name}.png)\n\n"
    text += "| response | SET | RESET | |\n| --- | --- | --- | --- |\n"
    up, down = vars(device.set), vars(device.reset)
    for name, meaning in _fields(type(device.set)).items():
        if up[name] or down[name]:
            text += f"| `{name}` | {up[name]:.4g} | {down[name]:.4g} | {meaning} |\n"
    rest = []
    for part in ("driver", "mismatch", "read", "retention"):
        record = getattr(device, part)
        values = {} if record is None else vars(record)
        meanings = _fields(type(record)) if values else {}
        told = [(name, value) for name, value in values.items() if (any(value) if isinstance(value, tuple) else value)]
        if part == "read" and not device.read.telegraph:
            told = [(name, value) for name, value in told if not name.startswith("telegraph")]
        if part == "mismatch" and not device.mismatch.collapsed:
            told = [(name, value) for name, value in told if name != "collapsed_range"]
        rest += [f"| {part} | `{name}` | {_number(value)} | {meanings[name]} |\n" for name, value in told]
        rest += [] if told else [f"| {part} | | none | |\n"]
    if device.uncertainty is not None:
        rest.append(f"| uncertainty | | {device.uncertainty.described()} | standard deviations of a chip |\n")
    return text + "\n| | | value | |\n| --- | --- | --- | --- |\n" + "".join(rest) + "\n"


def _fields(record: type) -> dict[str, str]:
    """The comments beside the fields of a record."""
    return {name: escaped(comment) for name, _, comment in FIELD.findall(inspect.getsource(record))}


def _number(value: Any) -> str:
    return ", ".join(map(_number, value)) if isinstance(value, tuple) else f"{value:.4g}"
