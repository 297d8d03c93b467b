"""Cells a second of the engines: one arbitrary signed pulse with all noise terms on each cell, and a noisy read of it.

    OMP_NUM_THREADS=1 python benchmarks/engine_speed.py --aihwkit .venv-aihwkit/bin/python

The device is the preset `threshold`: rate, threshold and bounds differ from cell to cell, cycle noise and read noise
are drawn anew; amplitudes and widths differ from cell to cell and are float32 arrays. The state is updated in place.
Rows are measured in turn, REPEATS times, so that a busy machine slows all of them alike; printed are median and best.
"device" is `Device.pulse` and `Device.sense` in double precision with noise of a NumPy generator, as the environments
call them without an engine. aihwkit (an environment of its own, see benchmarks/aihwkit_speed.py) runs in the same
minute: its quickest way to a signed pulse and a read of each cell; its pulses have no amplitude and no width.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from memenv import Device, load_device
from memenv.engine import Engine, Key, load_engine

REPEATS = 7
SECONDS = 0.25  # of one measurement
SIZES = (1024, 65_536, 1_048_576)


def best_call(call: Callable[[], object]) -> float:
    """Seconds of the quickest call within `SECONDS`."""
    best, end = np.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return float(best)


def pulses(device: Device, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starting states, and signed amplitudes [V] and widths [s] over all that the driver can do."""
    rng, driver = np.random.default_rng(0), device.driver
    up, amplitude = rng.random(cells) < 0.5, rng.uniform(driver.set_min, driver.set_max, cells)
    width = np.exp(rng.uniform(np.log(driver.width_min), np.log(driver.width_max), cells))
    return rng.random(cells), np.where(up, amplitude, -amplitude), width


def engine_row(engine: Engine, device: Device, cells: int, count: int = 1) -> Callable[[], object]:
    """A pulse and a read of each cell, in place."""
    chip = engine.fabricate(device, Key(0), cells)
    x, amplitude, width = (array.astype(np.float32) for array in pulses(device, cells))
    state = engine.fresh(chip, x, Key(1))
    out = np.empty(cells, np.float32), state
    key = Key(2)

    def call() -> None:
        nonlocal key
        key = key.next()
        engine.pulse_and_read(chip, state, amplitude, width, key, count, out=out)

    call()
    return call


def device_row(device: Device, cells: int) -> Callable[[], object]:
    """The same by NumPy in double precision, with noise of a generator."""
    rng = np.random.default_rng(0)
    chip = device.fabricate(rng, cells)
    x, amplitude, width = pulses(device, cells)
    state = chip.fresh(x, np.zeros((2, cells)))

    def call() -> None:
        nonlocal state
        state = chip.pulse(state, amplitude, width, rng.standard_normal((3, cells)))
        _, state = chip.sense(state, rng.standard_normal((2, cells)))

    return call


def copy_row(cells: int, streams: int) -> Callable[[], object]:
    """A copy that moves as many bytes a cell as the loop: `streams` float32 numbers, read or written."""
    source, place = np.ones((2, cells * streams // 2), np.float32)
    return lambda: np.copyto(place, source)


def noiseless(device: Device) -> Device:
    """The device without cycle noise and read noise."""
    return device.replace(
        set=replace(device.set, cycle_noise=0.0),
        reset=replace(device.reset, cycle_noise=0.0),
        read=replace(device.read, noise=0.0),
    )


def aihwkit_speed(python: str, cells: int) -> dict[str, float]:
    """Seconds of aihwkit's ways, by the interpreter that has it."""
    script = Path(__file__).with_name("aihwkit_speed.py")
    run = subprocess.run([python, script, str(cells)], capture_output=True, text=True, check=True)
    return dict(json.loads(run.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aihwkit", metavar="PYTHON", help="an interpreter that has aihwkit 1.1.0 and torch 2.10.0")
    parser.add_argument("--threads", type=int, default=2, help="of the second row")
    options = parser.parse_args()
    device, numpy = load_device("threshold"), load_engine("numpy")
    one, two = (load_engine("numba", threads=number) for number in (1, options.threads))
    for cells in SIZES:
        rows = {
            "numba, 1 thread": engine_row(one, device, cells),
            f"numba, {options.threads} threads": engine_row(two, device, cells),
            "numba, trains of 100 pulses": engine_row(one, device, cells, 100),
            "numba, no noise": engine_row(one, noiseless(device), cells),
            "copy of as many bytes (52 a cell)": copy_row(cells, 13),
            "numpy engine": engine_row(numpy, device, cells),
            "device, double precision": device_row(device, cells),
            "fabricate, numba": lambda cells=cells: one.fabricate(device, Key(3), cells),
            "fabricate, device": lambda cells=cells: device.fabricate(np.random.default_rng(0), cells),
        }
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(REPEATS):
            for name, call in rows.items():
                seconds[name].append(best_call(call))
            if options.aihwkit:
                for name, value in aihwkit_speed(options.aihwkit, cells).items():
                    seconds.setdefault(f"aihwkit, {name}", []).append(value)
        reference = statistics.median(seconds["numba, 1 thread"])
        print(f"\n{cells:,} cells{'':<28} {'M cells/s':>10} {'best':>8} {'us a call':>10} {'of 1 thread':>12}")
        for name, values in seconds.items():
            median, best = statistics.median(values), min(values)
            speed = f"{cells / median / 1e6:>10.1f} {cells / best / 1e6:>8.1f}"
            print(f"  {name:<38} {speed} {median * 1e6:>10.1f} {reference / median:>12.3f}")


if __name__ == "__main__":
    main()
