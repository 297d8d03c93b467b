"""The picture of a fit: mean step and spread against conductance, the held-out check, and example trains."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from memenv.devices.command import plot_gate
from memenv.devices.measured import TableDevice
from memenv.experiments.reporting import rendered
from memenv.experiments.runs import picture_format
from memenv.files import write_whole
from memenv.fitting.checks import POLARITIES, Row
from memenv.fitting.likelihood import step
from memenv.fitting.pulse_data import PulseData
from memenv.fitting.trains import Fit

COLOURS = {"set": "#c44536", "reset": "#1f6f8b"}
EXAMPLES = 6  # trains of each polarity, or tabulated devices
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titleweight": "bold",
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
TICKS = [-100, -50, -25, -10, 0, 10, 25, 50, 100]
UNITS = ((1.0, 1.0, "S"), (1e-3, 1e3, "mS"), (1e-6, 1e6, "µS"), (0.0, 1e9, "nS"))
DOTS = 3000  # single steps drawn of each polarity


def plot(fit: Fit, data: PulseData | TableDevice, path: str | Path) -> None:
    """Write the four panels to `path`; the format is that of its ending."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        columns = 2 if fit.device.gate is None else 3
        figure = Figure(figsize=(5.5 * columns, 8), layout="constrained")
        FigureCanvasAgg(figure)
        scale, unit = _unit(fit.device.g_max)
        axes = figure.subplots(2, columns)
        _mean(axes[0, 0], fit, data, scale)
        _spread(axes[0, 1], fit, scale)
        _held_out(axes[1, 0], fit)
        _examples(axes[1, 1], fit, data, scale)
        if fit.device.gate is not None:
            _gate(axes[0, 2], fit, data, scale, unit)
            axes[1, 2].axis("off")
        for axis in axes[0, :2]:
            axis.set_xlabel(f"conductance before the pulse [{unit}]")
        axes[1, 1].set_ylabel(f"conductance [{unit}]")
        figure.suptitle(f"{fit.device.name}: the law and the data", fontsize=13)
        write_whole(Path(path), rendered(figure, picture_format(Path(path)), dpi=150))


def _unit(largest: float) -> tuple[float, str]:
    """Factor and name of the unit that suits conductances up to `largest` [S]."""
    return next((factor, unit) for least, factor, unit in UNITS if largest >= least)


def _law(fit: Fit, polarity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conductance [S], and mean and spread of the step [range] of the nominal device."""
    device, response = fit.device, getattr(fit.device, polarity)
    x = np.linspace(0.0, 1.0, 300)
    sign = np.full(x.shape, response.amplitude if polarity == "set" else -response.amplitude)
    end = step(device, x, sign, np.full(x.shape, response.width))
    g = device.g_min + x * (device.g_max - device.g_min)
    return g, end.mean - x, np.sqrt(end.variance + 2 * device.read.noise**2)


def _mean(axis: Any, fit: Fit, data: PulseData | TableDevice, scale: float) -> None:
    size = fit.device.g_max - fit.device.g_min
    for sign, polarity in zip((1, -1), POLARITIES, strict=True):
        colour = COLOURS[polarity]
        if isinstance(data, TableDevice):
            for own, mean in zip(data.tables.conductance, data.steps().mean[(1 - sign) // 2], strict=True):
                axis.plot(own * scale, 100 * np.abs(mean), color=colour, alpha=0.25, lw=0.8)
        else:
            of = data.of(sign)[1:]
            before, moved = data.conductance[:-1][of], np.abs(np.diff(data.conductance, axis=0)[of]) / size
            few = slice(None, None, max(1, len(before) // DOTS))
            axis.plot(before[few] * scale, 100 * moved[few], ".", color=colour, alpha=0.12, ms=2.5, rasterized=True)
        g, mean, _ = _law(fit, polarity)
        axis.plot(g * scale, 100 * np.abs(mean), color=colour, lw=2.2, label=f"{polarity.upper()}, law")
        rows = [row for row in fit.described if row.polarity == polarity]
        middle = [0.5 * (row.low + row.high) * scale for row in rows]
        means = [100 * abs(row.mean) for row in rows]
        axis.plot(middle, means, "o", color=colour, mec="white", ms=7, label=f"{polarity.upper()}, measured mean")
    top = max(abs(row.mean) + 3 * row.spread for row in fit.described)
    axis.set(title="Mean step", ylabel="step [% of the range]", ylim=(0, 100 * min(top, 1.05)))
    axis.legend()


def _spread(axis: Any, fit: Fit, scale: float) -> None:
    for polarity in POLARITIES:
        colour, (g, _, spread) = COLOURS[polarity], _law(fit, polarity)
        axis.plot(g * scale, 100 * spread, color=colour, lw=2.2, label=f"{polarity.upper()}, law at one place")
        rows = [row for row in fit.described if row.polarity == polarity]
        middle = [0.5 * (row.low + row.high) * scale for row in rows]
        both = [(100 * row.spread, 100 * row.spread_law) for row in rows]
        axis.plot(
            middle, [pair[0] for pair in both], "o", color=colour, mec="white", ms=7, label="measured, over a sixth"
        )
        axis.plot(middle, [pair[1] for pair in both], "_", color=colour, ms=16, mew=2, label="law, over a sixth")
    axis.set(title="Spread of the step, read noise included", ylabel="standard deviation [% of the range]")
    axis.set_ylim(0, 1.35 * axis.get_ylim()[1])
    axis.legend(ncols=2, loc="upper left")


def _gate(axis: Any, fit: Fit, data: PulseData | TableDevice, scale: float, unit: str) -> None:
    """Where SETs stop, over the reads after all SETs."""
    if isinstance(data, PulseData) and data.gate is not None:
        after = data.of(1)
        axis.plot(data.gate[after], scale * data.conductance[after], ".", color="grey", alpha=0.3, ms=3)
    plot_gate(fit.device, axis, scale, unit)


def _held_out(axis: Any, fit: Fit) -> None:
    def ratio(row: Row, of: str) -> float:
        measured = getattr(row, of)
        return 100 * (getattr(row, f"{of}_law") / measured - 1) if measured else float("nan")

    for of, limit, offset, marker in (("mean", 10, -0.12, "o"), ("spread", 25, 0.12, "s")):
        axis.axhspan(-limit, limit, color="black", alpha=0.05, lw=0)
        for polarity in POLARITIES:
            rows = [row for row in fit.held_out if row.polarity == polarity]
            size = fit.device.g_max - fit.device.g_min
            place = [6 * (row.low - fit.device.g_min) / size + 1 + offset for row in rows]
            values = np.clip([ratio(row, of) for row in rows], -100, 100)
            face = COLOURS[polarity] if of == "mean" else "white"
            axis.plot(place, values, marker, color=COLOURS[polarity], mfc=face, ms=7, label=f"{polarity.upper()}, {of}")
    axis.axhline(0, color="black", lw=0.8)
    axis.set_yscale("symlog", linthresh=50)
    axis.set_yticks(TICKS, ["≤ -100", *map(str, TICKS[1:-1]), "≥ 100"])
    axis.minorticks_off()
    axis.set_ylim(-130, 400)
    axis.set(title="Held-out check: predicted against measured", xlabel="sixth of the range", ylabel="departure [%]")
    axis.legend(ncols=2, loc="upper center")


def _examples(axis: Any, fit: Fit, data: PulseData | TableDevice, scale: float) -> None:
    """Trains with the noise-free law from the same start; of tables, the walks of the mean steps."""
    if isinstance(data, TableDevice):
        starts, length = np.array([data.tables.low, data.tables.high])[:, :EXAMPLES], _typical_length(fit)
        axis.set(title=f"Mean steps of {starts.shape[1]} devices in a row, the law dashed", xlabel="pulse")
    else:
        axis.set(title="Trains, the law dashed", xlabel="pulse")
    for index, (sign, polarity) in enumerate(zip((1, -1), POLARITIES, strict=True)):
        if isinstance(data, TableDevice):
            mean = data.steps().mean[index] * (data.g_max - data.g_min)
            walk = [starts[index]]
            for _ in range(length):
                now = [np.interp(g, *own) for g, *own in zip(walk[-1], data.tables.conductance, mean, strict=False)]
                walk.append(walk[-1] + np.array(now))
            trains = np.array(walk)
        else:
            of = np.flatnonzero(data.polarity() == sign)
            trains = data.conductance[:, of[:: max(1, len(of) // EXAMPLES)][:EXAMPLES]]
        axis.plot(trains * scale, color=COLOURS[polarity], alpha=0.45, lw=1)
        law = _noise_free(fit, polarity, float(np.median(trains[0])), len(trains) - 1)
        axis.plot(law * scale, "--", color="black", lw=1.6)


def _typical_length(fit: Fit) -> int:
    """Pulses that take the mean step through the range, at most 400."""
    return min(400, int(1.3 / float(np.mean([abs(row.mean) for row in fit.described])) + 5))


def _noise_free(fit: Fit, polarity: str, start: float, pulses: int) -> np.ndarray:
    """Conductance [S] of the nominal device without noise after 0, 1, ... reference pulses."""
    device, response = fit.device, getattr(fit.device, polarity)
    silent = {p: dataclasses.replace(getattr(device, p), cycle_noise=0.0, additive_noise=0.0) for p in POLARITIES}
    quiet = device.replace(**silent)
    amplitude = np.array([response.amplitude if polarity == "set" else -response.amplitude])
    x = [np.array([np.clip((start - device.g_min) / (device.g_max - device.g_min), 0.0, 1.0)])]
    for _ in range(pulses):
        x.append(step(quiet, x[-1], amplitude, np.array([response.width])).mean)
    return device.g_min + np.concatenate(x) * (device.g_max - device.g_min)
