"""The pulse law of memenv beside IBM's aihwkit: mean responses without noise, and mean and spread of noisy traces.

aihwkit is a peer, not a dependency; its wheel wants one torch and Python 3.11, so it gets an environment of its own:

    python3.11 -m venv .venv-aihwkit && . .venv-aihwkit/bin/activate
    pip install aihwkit==1.1.0 torch==2.10.0 && pip install -e .
    python benchmarks/aihwkit_parity.py            # one or two minutes; --cells 2000 for a quick look

Every cell gets the same train: pulses up, then pulses down, one pulse an update. Mismatch, write noise and the
subtraction of a reference are off; x = (w - w_min) / (w_max - w_min).

Noise-free traces: where the rule is memenv's own (gamma 0 and 1) the largest difference; aihwkit counts in float32.
For ExpStep and PowStep the law is fitted to the trace (dose, gamma, margin and kappa of each polarity), and what is
left is stated.

Noisy traces: mean and variance over the cells at eight points of the train. aihwkit draws from a list of normals that
a tile uses again and again, so cells of one tile share an error: the cells are spread over tiles of ten, and the
standard error is that of independent tiles. Its draws take no seed; memenv's do (--seed). About one comparison in
twenty exceeds two standard errors by chance, and neighbouring points of a train do so together.
"""

import argparse
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from itertools import product

import numpy as np
import torch
from aihwkit.simulator.configs import SingleRPUConfig, UpdateParameters
from aihwkit.simulator.configs.devices import LinearStepDevice, PowStepDevice, PulsedDevice, SoftBoundsDevice
from aihwkit.simulator.presets.devices import (
    EcRamMOPresetDevice,
    EcRamPresetDevice,
    IdealizedPresetDevice,
    ReRamArrayHfO2PresetDevice,
    ReRamArrayOMPresetDevice,
    ReRamESPresetDevice,
    ReRamSBPresetDevice,
)
from aihwkit.simulator.tiles import AnalogTile
from scipy.optimize import least_squares

from memenv import Device, Mismatch, Response, load_device
from memenv.devices.law import move

CELLS_PER_TILE = 10
POINTS = 8


@dataclass(frozen=True, kw_only=True)
class Case:
    """A device of aihwkit, memenv's record of it (None: to be fitted), and the train."""

    name: str
    theirs: PulsedDevice
    ours: Device | None = None
    pulses: int = 400  # up, and as many down
    start: float = 0.5  # [range]


def plain(device: PulsedDevice) -> PulsedDevice:
    """The device without mismatch, write noise and reference; cycle noise stays."""
    off = {"write_noise_std": 0.0, "reference_std": 0.0, "subtract_symmetry_point": False}
    names = {field.name for field in fields(device)}
    dtod = {name: 0.0 for name in names if name.endswith("_dtod")}
    return replace(device, **dtod, **{name: value for name, value in off.items() if name in names})


def record(device: PulsedDevice, gamma_up: float, gamma_down: float, *, multiplicative: bool = False) -> Device:
    """memenv's record of a linear rule: steps of dw_min (1 - gamma w / bound) towards a bound; 0 is the constant step.

    The pole lies at bound / gamma. Multiplicative noise is log-normal here and normal there, with the same spread.
    """
    size = device.w_max - device.w_min

    def response(gamma: float, bound: float) -> Response:
        noise = (
            {"cycle_noise": float(np.sqrt(np.log1p(device.dw_min_std**2)))}
            if multiplicative
            else {"additive_noise": device.dw_min_std * device.dw_min / size}
        )
        if gamma == 0:
            return Response(gamma=0.0, dose=device.dw_min / size, margin=1.0, **noise)
        dose = -float(np.log1p(-device.dw_min * gamma / abs(bound)))
        return Response(gamma=1.0, dose=dose, margin=abs(bound) * (1 / gamma - 1) / size, **noise)

    return Device(set=response(gamma_up, device.w_max), reset=response(gamma_down, device.w_min))


def cases() -> list[Case]:
    """All comparisons; noise is additive, as both packages define it, but in the EcRam presets."""
    ideal = plain(IdealizedPresetDevice())
    soft = plain(SoftBoundsDevice(dw_min=0.005, dw_min_std=1.0, mult_noise=False))
    shape = {"gamma_up": 0.4, "gamma_down": 0.7, "w_max": 0.8, "w_min": -0.5}
    linear = plain(LinearStepDevice(dw_min=0.005, dw_min_std=1.0, mult_noise=False, **shape))
    power = plain(PowStepDevice(pow_gamma=1.5, dw_min=0.01, w_max=1.0, w_min=-1.0))
    sb, ecram, ecram_mo = plain(ReRamSBPresetDevice()), plain(EcRamPresetDevice()), plain(EcRamMOPresetDevice())
    array_om, array_hfo2 = plain(ReRamArrayOMPresetDevice()), plain(ReRamArrayHfO2PresetDevice())
    om, hfo2 = (load_device(name).replace(mismatch=Mismatch()) for name in ("hfo2-array-om", "hfo2-array-baseline"))
    return [
        Case(name="Idealized (ConstantStep)", theirs=ideal, ours=record(ideal, 0.0, 0.0), start=0.97),
        Case(name="SoftBounds", theirs=soft, ours=record(soft, 1.0, 1.0)),
        Case(name="LinearStep 0.4/0.7", theirs=linear, ours=record(linear, 0.4, 0.7)),
        Case(name="ReRamSB (SoftBounds)", theirs=sb, ours=record(sb, 1.0, 1.0)),
        Case(name="ReRamArrayOM = hfo2-array-om", theirs=array_om, ours=om, pulses=100),
        Case(name="ReRamArrayHfO2 = hfo2-array-baseline", theirs=array_hfo2, ours=hfo2, pulses=100),
        Case(name="EcRam (LinearStep, mult.)", theirs=ecram, ours=record(ecram, 0.1153, 0.5085, multiplicative=True)),
        Case(
            name="EcRamMO (LinearStep, mult.)",
            theirs=ecram_mo,
            ours=record(ecram_mo, 0.4152, 0.7342, multiplicative=True),
        ),
        Case(name="ReRamES (ExpStep)", theirs=plain(ReRamESPresetDevice()), start=0.0, pulses=1600),
        Case(name="PowStep 1.5", theirs=power, start=0.0),
    ]


def their_traces(case: Case, cells: int, noise: bool, at: np.ndarray) -> np.ndarray:
    """(points, tiles, cells of a tile) x after `at` pulses of the train, by aihwkit."""
    device = case.theirs if noise else replace(case.theirs, dw_min_std=0.0)
    size = device.w_max - device.w_min
    one_pulse = UpdateParameters(desired_bl=1, update_bl_management=False, update_management=False)
    row, up = torch.ones(1, min(cells, CELLS_PER_TILE)), -torch.ones(1, 1)
    traces = np.empty((len(at), cells // row.numel(), row.numel()))
    for number in range(traces.shape[1]):
        tile = AnalogTile(1, row.numel(), SingleRPUConfig(device=device, update=one_pulse))
        tile.set_learning_rate(4 * device.dw_min)  # twice the probability one: ExpStep's granularity is not dw_min
        tile.set_weights((device.w_min + case.start * size) * row)
        point = 0
        for pulse in range(2 * case.pulses):
            tile.update(row, up if pulse < case.pulses else -up)
            if pulse + 1 == at[point]:
                traces[point, number] = (tile.get_weights()[0].double().numpy()[0] - device.w_min) / size
                point += 1
    return traces


def our_traces(case: Case, cells: int, rng: np.random.Generator | None, at: np.ndarray) -> np.ndarray:
    """As `their_traces`, by memenv; no noise where `rng` is None."""
    assert case.ours is not None
    device, tile = case.ours, min(cells, CELLS_PER_TILE)
    state = device.fresh(np.full(cells, case.start), np.zeros((2, cells)))
    width = np.full(cells, device.set.width)
    traces, point = np.empty((len(at), cells // tile, tile)), 0
    for pulse in range(2 * case.pulses):
        amplitude = np.full(cells, device.set.amplitude if pulse < case.pulses else -device.reset.amplitude)
        noise = np.zeros((3, cells)) if rng is None else rng.standard_normal((3, cells))
        state = device.pulse(state, amplitude, width, noise)
        if pulse + 1 == at[point]:
            traces[point] = state.x.reshape(-1, tile)
            point += 1
    return traces


def silent(device: Device) -> Device:
    """The record without cycle noise."""
    return device.replace(
        set=replace(device.set, cycle_noise=0.0, additive_noise=0.0),
        reset=replace(device.reset, cycle_noise=0.0, additive_noise=0.0),
    )


def fitted(trace: np.ndarray, x0: float, up: bool) -> tuple[np.ndarray, float, float]:
    """Dose, gamma, margin and kappa of one polarity from its noise-free trace (pulses,); largest and rms residual."""
    count = np.arange(1, len(trace) + 1)
    inside = (trace > 1e-4) & (trace < 1 - 1e-4)

    def law_of(p: np.ndarray) -> tuple[Response, float]:
        margin = float(np.exp(p[2]))
        kappa = 0.999 / (1 + margin) / (1 + np.exp(-p[3]))
        return Response(gamma=float(p[1]), margin=margin, kappa=float(kappa)), float(np.exp(p[0]))

    def residual(p: np.ndarray) -> np.ndarray:
        response, dose = law_of(p)
        x = move(response.law(), np.full(len(trace), x0), 0.0, 1.0, np.full(len(trace), up), dose * count)
        return (x - trace)[inside]

    step = abs(trace[0] - x0)
    bounds = ([-40.0, 0.01, -12.0, -12.0], [3.0, 12.0, 3.0, 12.0])
    starts = product([np.log(step)], (0.5, 1.3, 2.5), (-4.0, 0.0), (-6.0, 0.0))
    fits = [least_squares(residual, start, bounds=bounds, x_scale=(1, 1, 1, 3)) for start in starts]
    best = min(fits, key=lambda fit: fit.cost)
    response, dose = law_of(best.x)
    found = np.array([dose, response.gamma, response.margin, response.kappa])
    return found, float(np.abs(best.fun).max()), float(np.sqrt(np.mean(best.fun**2)))


def moments(traces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (2, points) over all cells, and their standard errors from independent tiles."""
    mean = traces.mean(axis=(1, 2), keepdims=True)
    terms = np.stack([traces, (traces - mean) ** 2]).mean(axis=-1)
    return terms.mean(axis=-1), terms.std(axis=-1, ddof=1) / np.sqrt(terms.shape[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000, help="noisy traces of each package")
    parser.add_argument("--seed", type=int, default=0, help="of memenv's noise")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    print(f"aihwkit {version('aihwkit')}, torch {version('torch')}, {options.cells} cells, seed {options.seed}")

    print("\nNoise-free traces, up then down [of the range]")
    for case in cases():
        every = np.arange(1, 2 * case.pulses + 1)
        theirs = their_traces(case, 1, False, every)[:, 0, 0]
        travel = f"x {case.start:.2f} -> {theirs[case.pulses - 1]:.3f} -> {theirs[-1]:.3f}"
        if case.ours is not None:
            gap = np.abs(our_traces(replace(case, ours=silent(case.ours)), 1, None, every)[:, 0, 0] - theirs).max()
            print(f"  {case.name:<38} 2 x {case.pulses:4d} pulses  {travel:<28} largest difference {gap:.1e}")
            continue
        rise, fall = np.split(theirs, 2)
        for up, trace, x0 in ((True, rise, case.start), (False, fall, rise[-1])):
            found, largest, rms = fitted(trace, x0, up)
            law = "dose {:.3g}, gamma {:.3f}, margin {:.3g}, kappa {:.3g}".format(*found)
            name = f"{case.name} {'up' if up else 'down'}"
            print(f"  {name:<38} {travel:<28} residual {largest:.1e}, rms {rms:.1e}; {law}")

    print(f"\nNoisy traces: difference in standard errors at {POINTS} points of the train, mean | variance")
    scores: list[np.ndarray] = []
    for case in cases():
        if case.ours is None:
            continue
        at = np.linspace(0, 2 * case.pulses, POINTS + 1).astype(int)[1:]
        a, da = moments(their_traces(case, options.cells, True, at))
        b, db = moments(our_traces(case, options.cells, rng, at))
        z = (b - a) / np.maximum(np.hypot(da, db), 1e-7)  # float32: all cells may sit at a bound
        scores.append(z)
        text = " | ".join(" ".join(f"{value:+5.1f}" for value in row) for row in z)
        off = np.abs(b[0] - a[0]).max(), np.abs(np.sqrt(b[1]) - np.sqrt(a[1])).max(), np.sqrt(a[1]).max()
        print(f"  {case.name:<38} {text}   at most {off[0]:.1e} | {off[1]:.1e} of a spread up to {off[2]:.3f} [range]")
    z = np.abs(np.stack(scores))
    by_chance = 0.0455 * z.size
    print(f"{(z > 2).sum()} of {z.size} exceed two standard errors ({by_chance:.1f} by chance), largest {z.max():.1f}")


if __name__ == "__main__":
    main()
