"""Pictures of an array's episode for people: a text, and maps drawn with matplotlib (extra `plot`)."""

from typing import Any

import numpy as np


def maps_text(task: Any, trace: list[Any]) -> str:
    """The episode as a table, a line a step: pulses so far, cells within the tolerance, errors and costs."""
    head = f"{'step':>6} {'pulses':>8} {'within %':>9} {'true error %':>13} {'energy [J]':>11} {'latency [s]':>12}"
    product = trace[0].seen.product is not None
    lines = [head + (f" {'product error %':>16}" if product else "")]
    for episode in trace:
        info = {name: value[0] for name, value in task.info(episode).items()}
        line = f"{episode.steps[0]:>6.0f} {info['pulses']:>8.0f} {100 * info['accepted']:>9.1f}"
        line += f" {100 * info['true_error']:>13.2f} {info['energy']:>11.3g} {info['latency']:>12.3g}"
        lines.append(line + (f" {100 * info['product_error']:>16.2f}" if product else ""))
    return "\n".join(lines) + "\n"


def maps_image(task: Any, trace: list[Any]) -> np.ndarray:
    """(480, 640, 3) uint8: maps of target, true conductance, error of the last read and pulses, as they are now."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    episode = trace[-1]
    chip, seen = episode.state.chip, episode.seen
    targets, conductances = (1e6 * part[0] for part in (task.siemens(chip, episode.target), seen.true))
    low, high = (1e6 * float(np.mean(end)) for end in (chip.g_min, chip.g_max))
    pulses = episode.state.pulses[0]
    errors = (seen.reading[0] - episode.target[0]) / task.tolerance
    panels: tuple[tuple[str, np.ndarray, str, float, float], ...] = (
        ("target [uS]", targets, "viridis", low, high),
        ("conductance [uS]", conductances, "viridis", low, high),
        ("read error [tolerances]", errors, "RdBu_r", -5.0, 5.0),
        ("pulses", pulses, "magma", 0.0, max(float(pulses.max()), 5.0)),
    )
    figure = Figure(figsize=(6.4, 4.8), dpi=100)
    figure.subplots_adjust(0.06, 0.06, 0.98, 0.87, 0.12, 0.25)  # to find them takes half of the time
    canvas = FigureCanvasAgg(figure)
    for axes, (title, values, colours, least, most) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        image = axes.imshow(values, cmap=colours, vmin=least, vmax=most, aspect="auto", interpolation="nearest")
        figure.colorbar(image, ax=axes)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
    within = 100 * seen.within[0].mean()
    product = "" if seen.product is None else f", product error {100 * seen.product.total[0]:.2f} %"
    figure.suptitle(
        f"step {episode.steps[0]:.0f}: {within:.0f} % of the cells within the tolerance{product}", fontsize=10
    )
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
