"""Pictures of an episode for people: a text, and an image drawn with matplotlib (extra `plot`)."""

from typing import Any

import numpy as np


def trace_text(task: Any, trace: list[Any]) -> str:
    """The episode as a table, a line a step: pulse, read, the target it was made for and error in tolerances."""
    lines = [f"{'step':>4} {'pulse':>22} {'read [uS]':>12} {'target [uS]':>12} {'error/tolerance':>16}"]
    for step, (episode, target) in enumerate(zip(trace, _targets(trace), strict=True)):
        g = [_first(task.siemens(episode.chip, x)) * 1e6 for x in (episode.reading, target)]
        amplitude, width = task.last_pulse(episode)
        rest = "give up" if episode.gave_up[0] else "read"
        pulse = f"{amplitude:+.3f} V {width:.3g} s" if episode.pulsed[0] else rest
        error = _first((episode.reading - target) / task.tolerance_of(episode.chip))
        verdict = " accepted" if episode.accepted[0] else ""
        lines.append(f"{step:>4} {pulse:>22} {g[0]:>12.4g} {g[1]:>12.4g} {error:>+16.2f}{verdict}")
    return "\n".join(lines) + "\n"


def trace_image(task: Any, trace: list[Any]) -> np.ndarray:
    """(480, 640, 3) uint8: reads and target band above, signed pulse amplitudes below, against the step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def micro(places: list[np.ndarray]) -> np.ndarray:
        return np.array([_first(task.siemens(episode.chip, x)) * 1e6 for episode, x in zip(trace, places, strict=True)])

    steps = np.arange(len(trace))
    reads, targets = micro([episode.reading for episode in trace]), micro(_targets(trace))
    half = np.array([_first(task.tolerance_of(e.chip) * (e.chip.g_max - e.chip.g_min)) * 1e6 for e in trace])
    pulses = np.array([task.last_pulse(episode)[0] if episode.pulsed[0] else np.nan for episode in trace])
    figure = Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.fill_between(steps, targets - half, targets + half, step="mid", alpha=0.3, color="tab:green", label="target")
    above.plot(steps, reads, "o-", color="tab:blue", label="read")
    above.set_ylabel("G [uS]")
    above.legend(loc="best")
    below.bar(steps, np.nan_to_num(pulses), color=["tab:red" if p < 0 else "tab:orange" for p in np.nan_to_num(pulses)])
    below.axhline(0.0, color="black", linewidth=0.5)
    below.set_ylabel("pulse [V]")
    below.set_xlabel("step")
    below.set_xlim(-0.5, max(len(trace) - 0.5, 5.5))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _targets(trace: list[Any]) -> list[np.ndarray]:
    """The target that each step was made for: an acceptance may have set the next one already."""
    return [episode.target for episode in trace[:1] + trace[:-1]]


def _first(value: Any) -> float:
    """The first cell's value of an array (cells,) or a float."""
    return float(np.ravel(value)[0])
