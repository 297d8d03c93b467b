"""`memenv devices`: list the presets, show one as a table or as JSON, plot its response, noise, mismatch and drift."""

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from memenv.bounds import shown
from memenv.devices.catalogue import GATED, load_device, physics_models, presets
from memenv.devices.device import Device
from memenv.devices.law import Response, equivalent_pulses, move
from memenv.devices.neurosim import label
from memenv.devices.protocol import CellModel, parametric
from memenv.devices.records import DeviceError, to_json
from memenv.devices.uncertainty import of_chips, settled
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import rendered
from memenv.experiments.runs import OutputOptions, check_picture, new_file, picture_format
from memenv.files import write_whole


@dataclass(frozen=True, kw_only=True)
class DevicesConfig(OutputOptions):
    """List the presets; `show NAME` (or NAME alone) prints one, `plot NAME` draws it.

    Example: memenv devices plot pcm --out pcm.png
    """

    action: str = option("list", help="list, show or plot, or a device to show", positional=True)
    device: str | None = option(None, help="a preset's name or a path to a record", positional=True)
    json: bool = option(False, help="show: print the record as JSON")
    out: Path | None = option(None, help="plot: the picture's file [NAME.png]")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(DevicesConfig, arguments, "memenv devices")
    if config.action == "list":
        print(table())
        return
    if config.action not in ("show", "plot"):
        if config.device is not None:
            raise DeviceError(f"the action is {shown(config.action)}, allowed are list, show and plot")
        config = replace(config, action="show", device=config.action)
    if config.device is None:
        raise DeviceError(f"devices {config.action} needs a device: one of {', '.join(presets())}, or a path")
    model = load_device(config.device)
    if model.record is None and not model.devices and config.action == "show" and not config.json:
        print(outline(model))
        return
    device = parametric(model, f"devices {config.action}{' --json' * config.json}")
    if config.action == "plot":
        out = config.out or Path(f"{device.name}.png")
        check_picture(out)
        with new_file(out, config.overwrite):
            plot(device, out)
        print(out)
    else:
        print(to_json(device).rstrip() if config.json else card(device))


def response_curve(device: Device, up: bool, pulses: int) -> np.ndarray:
    """The noise-free state (pulses + 1,) [range] of the nominal device under reference pulses from bound to bound."""
    law = (device.set if up else device.reset).law()
    dose = law.dose * np.arange(pulses + 1.0)
    start = np.full(pulses + 1, device.x_lo if up else device.x_hi)
    x: np.ndarray = move(law, start, device.x_lo, device.x_hi, np.full(pulses + 1, up), dose)
    return x


def pulses_across(device: Device, up: bool, share: float = 0.95) -> int:
    """Reference pulses that take the nominal device across `share` of its range, at most 10,000."""
    x = response_curve(device, up, 10_000)
    travelled = np.abs(x - x[0]) >= share * (device.x_hi - device.x_lo)
    return int(np.argmax(travelled)) if travelled.any() else 10_000


def step_noise(device: Device) -> float:
    """Standard deviation [range] that cycle noise gives one reference SET pulse, where in the range it is largest."""
    law = device.set.law()
    x = np.linspace(device.x_lo, device.x_hi, 201)
    steps = [
        move(law, x, device.x_lo, device.x_hi, np.full(len(x), True), law.dose * np.exp(sign * law.cycle_noise + 0 * x))
        for sign in (-1.0, 1.0)
    ]
    return float(np.hypot(0.5 * np.max(steps[1] - steps[0]), law.additive_noise))


def table() -> str:
    """The presets: range, pulses across it, nonlinearity, noise, mismatch and the beginning of the source."""
    head = (
        f"{'device':<20} {'range [uS]':>17} {'pulses':>11} {'NL SET/RESET':>14} {'c2c':>7} {'read':>6} {'rate':>5} "
        f"{'bad':>5} {'slope':>6}  source"
    )
    lines = [head, "-" * len(head)]
    for name in presets():
        device = parametric(load_device(name), "the table")
        spread, read = device.mismatch, device.read
        bad = spread.stuck_low + spread.stuck_high + spread.stuck_anywhere + spread.collapsed
        crossing = f"{pulses_across(device, True)}/{pulses_across(device, False)}"
        labels = f"{label(device, 'set'):+z.2f}/{label(device, 'reset'):+z.2f}"
        lines.append(
            f"{name:<20} {device.g_min * 1e6:>8.3g}-{device.g_max * 1e6:<8.3g} {crossing:>11} {labels:>14} "
            f"{step_noise(device):>7.2%} {read.noise:>6.2%} {spread.rate:>5.0%} {bad:>5.1%} {_slope(device):>6}  "
            f"{textwrap.shorten(device.source, 60, placeholder=' ...')}"
        )
    for model in map(load_device, physics_models()):
        lines.append(f"{model.name:<26} {model.g_min * 1e6:.3g}-{model.g_max * 1e6:.3g} uS, equations of its own")
    for model in map(load_device, GATED):
        lines.append(f"{model.name:<26} {model.g_min * 1e6:.3g}-{model.g_max * 1e6:.3g} uS, with a gate")
    lines.append("pulses: reference pulses across 95 % of the range; NL: NeuroSim's label, bound to bound")
    lines.append("c2c: cycle noise of one SET pulse where it is largest, read: read noise, both of the range")
    lines.append("rate: log-normal spread of step sizes from device to device; bad: share of stuck or collapsed cells")
    lines.append(
        "slope: of the amplitude law, which is known within that factor; of each device `devices show` has all"
    )
    return "\n".join(lines)


def _slope(device: Device) -> str:
    """The factor within which the slope is known (a standard deviation), empty where the record takes it for known."""
    off = 0.0 if device.uncertainty is None else device.uncertainty.deviation({"set.slope": 1.0})
    return f"x{np.exp(off):.2g}" if off else ""


def card(device: Device) -> str:
    """One device in words."""
    rows = [("name", device.name), ("source", device.source), ("range", f"{device.g_min:.4g} to {device.g_max:.4g} S")]
    for name, response in (("SET", device.set), ("RESET", device.reset)):
        rows.append((name, _fields(vars(response))))
    if device.uncertainty is not None:
        rows.append(("uncertain", f"of a chip, standard deviations: {device.uncertainty.described()}"))
    for name in ("driver", "mismatch", "read", "retention", *(("gate",) if device.gate else ())):
        part: Any = getattr(device, name)
        rows.append((name, "none" if part is None else _fields(vars(part))))
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


def outline(model: CellModel) -> str:
    """Lines on a device without a record, of equations of its own or a measured table."""
    rows = [
        ("name", model.name),
        ("what", inspect.cleandoc(type(model).__doc__ or "").replace("\n", " ")),
        ("source", getattr(model, "source", "")),
        ("range", f"{model.g_min:.4g} to {model.g_max:.4g} S"),
        *((name, _fields(vars(getattr(model, name)))) for name in ("driver", "read")),
        ("numbers", _fields({key: value for key, value in vars(model).items() if isinstance(value, float | int)})),
        ("compiled", f"no: {model.not_compiled}" if model.not_compiled else "yes"),
        ("record", "none: controllers that know the law of a pulse, devices plot and --json need one (memenv fit)"),
    ]
    return "\n".join(f"{name:<10} {value}" for name, value in rows if value)


def _fields(values: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in values.items() if isinstance(value, float | int | tuple)}
    return ", ".join(f"{key}={_number(value)}" for key, value in kept.items())


def _number(value: Any) -> str:
    return f"({', '.join(map(_number, value))})" if isinstance(value, tuple) else f"{value:.4g}"


def plot(device: Device, path: Path) -> None:
    """Draw response with noise band, step, mismatch spread and retention; the path's suffix is the format."""
    from matplotlib.figure import Figure

    columns = 2 if device.gate is None else 3
    figure = Figure(figsize=(5.5 * columns, 7), dpi=120, layout="constrained")
    (response, step, *gate), (spread, retention, *unused) = figure.subplots(2, columns)
    figure.suptitle(device.name)
    _plot_response(device, response)
    _plot_step(device, step)
    _plot_spread(device, spread)
    _plot_retention(device, retention)
    for panel, rest in zip(gate, unused, strict=True):
        plot_gate(device, panel)
        rest.axis("off")
    write_whole(path, rendered(figure, picture_format(path)))


COLOURS = {True: "tab:orange", False: "tab:blue"}
NAMES = {True: "SET", False: "RESET"}


def _micro(device: Device, x: Any) -> Any:
    return (device.g_min + x * (device.g_max - device.g_min)) * 1e6


def _trains(chip: Device, x: np.ndarray, up: bool, pulses: int, rng: np.random.Generator) -> np.ndarray:
    """States (pulses + 1, cells) of cells under reference pulses, with cycle noise."""
    law: Response = chip.set if up else chip.reset
    state = chip.fresh(x, rng.standard_normal((2, len(x))))
    out = [state.x]
    for _ in range(pulses):
        amplitude = np.full(len(x), law.amplitude if up else -law.amplitude)
        state = chip.pulse(state, amplitude, np.full(len(x), law.width), rng.standard_normal((3, len(x))))
        out.append(state.x)
    return np.array(out)


def _plot_response(device: Device, axes: Any) -> None:
    rng = np.random.default_rng(0)
    nominal = device.replace(mismatch=type(device.mismatch)())
    for up in (True, False):
        pulses = min(max(pulses_across(device, up), 2), 500)
        cells = 400
        x = _trains(nominal, np.full(cells, device.x_lo if up else device.x_hi), up, pulses, rng)
        low, middle, high = np.percentile(_micro(device, x), [5, 50, 95], axis=1)
        axes.fill_between(range(pulses + 1), low, high, color=COLOURS[up], alpha=0.25)
        axes.plot(middle, color=COLOURS[up], label=f"{NAMES[up]}, {pulses} pulses")
    axes.set(title="response of one device, 5-95 % of cycles", xlabel="reference pulses", ylabel="G [uS]")
    axes.legend()


def _plot_step(device: Device, axes: Any) -> None:
    x, rng = np.linspace(device.x_lo, device.x_hi, 201), np.random.default_rng(0)
    may_be = [device]
    if device.uncertainty is not None:
        may_be += [settled(device, rng.standard_normal(len(device.uncertainty.parameters))) for _ in range(60)]
    for up in (True, False):
        for strength, style in ((1.0, "-"), (0.9, "--"), (0.8, ":")):
            steps = []
            for one in may_be:
                response = one.set if up else one.reset
                law = response.law()
                dose = law.dose * equivalent_pulses(law, strength * response.amplitude, response.width)
                steps.append(move(law, x, one.x_lo, one.x_hi, np.full(len(x), up), np.full(len(x), dose)) - x)
            name = f"{NAMES[up]} at {strength:.0%} amplitude"
            axes.plot(_micro(device, x), steps[0] * 100, style, color=COLOURS[up], label=name)
            if len(steps) > 1:
                low, high = np.percentile(steps[1:], [16, 84], axis=0) * 100
                axes.fill_between(_micro(device, x), low, high, color=COLOURS[up], alpha=0.1)
    axes.set(title="mean step of one pulse, and of 68 % of chips", xlabel="G [uS]", ylabel="step [% of range]")
    axes.legend(fontsize="small")


def _plot_spread(device: Device, axes: Any) -> None:
    rng = np.random.default_rng(1)
    for up in (True, False):
        pulses, cells = min(max(pulses_across(device, up), 2), 500), 30
        chip = device.fabricate(of_chips(rng, cells), cells)
        start = np.full(cells, 0.0) + (chip.x_lo if up else chip.x_hi)
        axes.plot(_micro(device, _trains(chip, start, up, pulses, rng)), color=COLOURS[up], alpha=0.35, linewidth=0.8)
    axes.set(title="30 devices each way, each of a chip of its own", xlabel="reference pulses", ylabel="G [uS]")


def plot_gate(device: Device, axes: Any, scale: float = 1e6, unit: str = "uS") -> None:
    """Draw where SETs stop against the gate voltage, in units of 1 / `scale` [S]."""
    assert device.gate is not None
    gate, size = device.gate, scale * (device.g_max - device.g_min)
    stops = scale * device.g_min + size * np.array(gate.stops)
    spread = size * np.hypot(*(np.array(row or np.zeros(len(stops))) for row in (gate.mismatch, gate.cycle_noise)))
    axes.fill_between(gate.volts, stops - spread, stops + spread, color=COLOURS[True], alpha=0.25)
    axes.plot(gate.volts, stops, "o-", color=COLOURS[True])
    title = "where SETs stop, a standard deviation of cells and pulses"
    axes.set(title=title, xlabel="gate voltage that is reached [V]", ylabel=f"G [{unit}]")


def _plot_retention(device: Device, axes: Any) -> None:
    rng = np.random.default_rng(2)
    times = np.logspace(-6, 6, 61)
    for level in (0.15, 0.5, 0.85):
        cells = 200
        state = device.fresh(np.full(cells, level), rng.standard_normal((2, cells)))
        if device.retention is not None:
            state = state._replace(relaxation=rng.standard_normal(cells))
        g = np.array([device.conductance(state._replace(age=np.full(cells, t))) for t in times]) * 1e6
        low, middle, high = np.percentile(g, [5, 50, 95], axis=1)
        axes.fill_between(times, low, high, alpha=0.2)
        axes.semilogx(times, middle)
    axes.set(title="retention, 5-95 % of cells", xlabel="time since the pulse [s]", ylabel="G [uS]")
