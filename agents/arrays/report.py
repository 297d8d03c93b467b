"""The report of `memenv program`: figures, a page, and maps of the cells."""

from typing import Any

import numpy as np

from agents.arrays.product_feedback import FEW, Feedback, moments_of
from agents.arrays.tiles import CELLS_ALONE, Programmer, TileResult, joined
from memenv.envs.write_verify.levels import bit_errors, level_of
from memenv.experiments.reporting import markdown, mean_and_half_width, shown

DOTS = 110  # per inch
MISSED = 2.0  # [tolerances of a cell] a weight farther off than this is missed: a pair of good cells never is


def figures(programmer: Programmer, results: list[TileResult]) -> dict[str, Any]:
    """The figures of all tiles together."""
    device, tiles, encoding = programmer.crossbar.device, programmer.tiles, programmer.encoding

    def cells(name: str) -> np.ndarray:
        return np.concatenate([getattr(result, name).ravel() for result in results])

    size = device.g_max - device.g_min
    error, off = ((cells("conductance") - cells(name)) / size for name in ("target", "asked"))
    pulses, accepted = cells("pulses"), cells("accepted")
    inside, as_asked = np.abs(error) <= cells("tolerance"), np.abs(off) <= cells("tolerance")
    failed = cells("failed")
    missing = joined(tiles, [result.realised for result in results]) - programmer.weights
    allowed = joined(tiles, [result.tolerance[:, :1] + 0.0 * result.realised for result in results])
    mean, half_width = mean_and_half_width(pulses)
    exact = programmer.voltages @ programmer.weights
    seen, scaled = np.zeros((2, *exact.shape))
    for tile, result in zip(tiles, results, strict=True):
        seen[:, tile.outputs] += result.product
        scaled[:, tile.outputs] += result.gain * result.product
    task, levelled = programmer.task, dict[str, Any]()
    if task.target_levels:
        true, target, asked = (task.fraction(device, cells(name)) for name in ("conductance", "target", "asked"))
        inside, as_asked = (task.within(device, true, x) for x in (target, asked))
        wanted, held = (level_of(task.target_bands, x) for x in (asked, true))
        levelled = {
            "level_errors": float((wanted != held).mean()),
            "bit_errors": float(bit_errors(wanted, held, len(task.target_bands)).mean()),
        }
    return levelled | {
        "weights": list(programmer.weights.shape),
        "arrays": len(tiles),
        "cells": len(pulses),
        "pulses_per_cell": [mean, mean - half_width, mean + half_width],
        "pulses_p99": float(np.percentile(pulses, 99)),
        "reads_per_cell": float(cells("reads").mean()),
        "success": float((as_asked & ~failed).mean()),
        "success_reaimed": float((inside & ~failed).mean()),
        "accepted": int(accepted.sum()),
        "false_acceptances": int((accepted & ~inside).sum()),
        "failed": int(failed.sum()),
        "out_of_reach": int(cells("outside").sum()),
        "reopened": int((cells("openings") > 1).sum()),
        "missed_weights": int((np.abs(missing) > MISSED * allowed * size * encoding.scale).sum()),
        "energy_J": float(cells("energy").sum()),
        "latency_sequential_s": float(sum(result.sequential for result in results)),
        "latency_s": float(sum(result.latency for result in results)),
        "cell_error": float(np.sqrt(np.mean(error**2))),
        "weight_error": relative(missing, programmer.weights),
        "product_error": relative(seen - exact, exact),
        "product_error_gain": relative(scaled - exact, exact),
        "input_surprise": _surprise(programmer),
    }


def _surprise(programmer: Programmer) -> float:
    """The largest of the tiles' (`agents.arrays.product_feedback.Moments`), 1 where no examples are used."""
    if programmer.examples is None:
        return 1.0
    parts = {tile.row: programmer.examples[:, tile.inputs] for tile in programmer.tiles}
    return max(moments_of(part, Feedback().share).surprise for part in parts.values())


def relative(error: np.ndarray, of: np.ndarray) -> float:
    """Root mean square error as a part of the root mean square."""
    return float(np.sqrt(np.mean(error**2) / np.mean(of**2)))


def page(found: dict[str, Any], config: dict[str, Any], command: str) -> str:
    """The figures as Markdown, under the command that made them."""
    cells, accepted = found["cells"], max(found["accepted"], 1)
    rows, outputs = found["weights"]
    wide = {"cells": "one cell at a time", "rows": "a row at a time", "columns": "a column at a time"}
    alone = config["objective"] == CELLS_ALONE
    wanted = "the target of each cell" if alone else f"the products of the array ({config['objective']})"
    of = "uniform random inputs" if config["inputs"] is None else f"the inputs of {config['inputs']}"
    lines = [
        ("pulses per cell", f"{shown(found['pulses_per_cell'], '{:.3f}')}, 99th percentile {found['pulses_p99']:.0f}"),
        ("reads per cell", f"{found['reads_per_cell']:.2f}"),
        ("cells within tolerance of the targets asked for, and not failed", f"{found['success']:.2%}"),
        ("cells within tolerance of re-aimed targets, and not failed", f"{found['success_reaimed']:.2%}"),
        (
            "false acceptances",
            f"{found['false_acceptances']} ({found['false_acceptances'] / accepted:.2%} of the accepted)",
        ),
        *(
            (f"{what}, of the levels asked for", f"{found[name]:.3%}")
            for name, what in (
                ("level_errors", "cells that hold another level"),
                ("bit_errors", "wrong bits (Gray code)"),
            )
            if name in found
        ),
        ("cells that failed", f"{found['failed']} ({found['failed'] / cells:.2%})"),
        ("targets out of reach", f"{found['out_of_reach']} ({found['out_of_reach'] / cells:.2%})"),
        ("cells re-programmed", f"{found['reopened']} ({found['reopened'] / cells:.2%})"),
        ("weights missed", f"{found['missed_weights']} ({found['missed_weights'] / (rows * outputs):.2%})"),
        ("energy", f"{found['energy_J']:.4g} J"),
        ("latency, cell by cell", f"{found['latency_sequential_s']:.4g} s"),
        (f"latency, {wide[config['writing']]}", f"{found['latency_s']:.4g} s"),
        ("cell error, rms", f"{found['cell_error']:.3%} of the range"),
        ("weight error, rms", f"{found['weight_error']:.2%} of the weights' rms"),
        ("product error, rms", f"{found['product_error']:.2%} of the products' rms"),
        ("the same with the best gain of each output", f"{found['product_error_gain']:.2%}"),
    ]
    head = (
        f"{rows} x {outputs} weights as {config['encoding']} on {found['arrays']} arrays, {cells} cells of "
        f"{config['device']}, {config['scheme']}, written by {config['controller']}, for {wanted}."
    )
    notes = (
        "Brackets: 95 % interval over cells. Failed: given up, or out of budget, for a target at some time. Out of "
        "reach: targets that were asked for, and that failures have shown to be beyond a cell; its partner, the cells "
        "of its row or a spare take the difference where they can, and are re-aimed. "
        f"Missed: off by more than {MISSED:g} tolerances of a cell. "
        f"Products: of {of}{'' if alone else ', those that were not programmed for'}, read noise included. Latencies "
        "are those of all arrays one after another."
    )
    if found["input_surprise"] > FEW:
        notes += (
            f" **Too few inputs**: errors do {found['input_surprise']:.2g} times as much to inputs that were held out "
            "as to those that tell what rows take over from each other; less of it is used, more inputs would help."
        )
    if config["wires"] and config["scheme"] != "1T1R":
        notes += " Wires lower the amplitude at written cells alone: half-selected ones see their full share of it."
    return f"`{command}`\n\n{head}\n\n{markdown(('', ''), lines)}\n{notes}\n"


def maps(programmer: Programmer, results: list[TileResult]) -> Any:
    """The figure: of every cell the target asked for, conductance, how far that is off its last target, and pulses."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    device = programmer.crossbar.device

    def whole(name: str) -> np.ndarray:
        return joined(programmer.tiles, [getattr(result, name) for result in results])

    asked, g = 1e6 * whole("asked"), 1e6 * whole("conductance")
    error = 100 * (whole("conductance") - whole("target")) / (device.g_max - device.g_min)
    limit = 200 * float(np.max(programmer.task.tolerance_x))
    ends: dict[str, Any] = {"vmin": float(min(asked.min(), g.min())), "vmax": float(max(asked.max(), g.max()))}
    pulses = whole("pulses")
    most = {"cmap": "magma", "vmin": 0.0, "vmax": max(float(np.percentile(pulses, 99.5)), 1.0)}
    figure = Figure(figsize=(11, 9), dpi=DOTS, layout="constrained")
    for axes, title, values, style in zip(
        figure.subplots(2, 2).ravel(),
        (
            "target asked for [uS]",
            "conductance [uS]",
            "off the last target [% of range]",
            "pulses (brightest: so many or more)",
        ),
        (asked, g, error, pulses),
        (ends, ends, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}, most),
        strict=True,
    ):
        image = axes.imshow(values, aspect="auto", interpolation="nearest", **style)
        axes.set(title=title, xlabel="column", ylabel="row")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(image, ax=axes)
    return figure
