"""The same text of the physics under JAX: what a general array compiler makes of it, beside memenv's loop.

    python -m venv .venv-jax && .venv-jax/bin/pip install -e ".[numba]" jax
    OMP_NUM_THREADS=1 taskset -c 0 .venv-jax/bin/python benchmarks/jax_baseline.py

JAX is no dependency of memenv. memenv/devices/law.py and device.py run as they stand: `memenv.arrays`, the seam through
which they reach NumPy or torch, is made to serve jax.numpy here. A pulse and a read of each cell of the preset
"threshold" with mismatch, in single precision, jitted whole with the state donated; normals are `jax.random`'s
(threefry), of those channels alone that the device asks for; in the last row they are given as arrays and cost their
way through memory only. Before anything is timed, JAX must give NumPy's numbers from the same normals. The rows are
measured in turn, on the cores that the process is given: `taskset` says which.
"""

import argparse
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from engine_speed import best_call, engine_row, pulses

from memenv import arrays, load_device
from memenv.arrays import tree_map
from memenv.compiler.counter_rng import Key
from memenv.devices.device import Device
from memenv.devices.reads import State
from memenv.engine import load_engine

try:
    import jax
    import jax.numpy as jnp
    import numba
except ImportError as error:
    sys.exit(f"{error}: this benchmark needs an environment of its own, see its docstring")

SIZES = (65_536, 1_048_576)
REPEATS = 5  # of all rows in turn, the best of which counts
TOLERANCE = 2e-5  # of JAX against NumPy in single precision, of the range

XP = SimpleNamespace(**vars(jnp), as_tensor=jnp.asarray, special=jax.scipy.special)  # what the physics asks of torch


def namespace(*values: Any) -> Any:
    """`memenv.arrays.namespace` for JAX and NumPy."""
    return XP if any(isinstance(value, jax.Array) for value in values) else np


def floor_at(value: Any, least: Any) -> Any:
    """`memenv.arrays.floor_at` for JAX and NumPy."""
    return namespace(value, least).maximum(value, least)


def serve_jax() -> None:
    """Puts these two in the places of memenv's, wherever a module of memenv has taken them."""
    for mine in (namespace, floor_at):
        theirs = getattr(arrays, mine.__name__)
        for module in [module for name, module in sys.modules.items() if name.startswith("memenv.")]:
            if getattr(module, mine.__name__, None) is theirs:
                setattr(module, mine.__name__, mine)


def pulse_and_read(
    chip: Device, state: State, amplitude: Any, width: Any, pulse_noise: Any, read_noise: Any
) -> tuple[Any, State]:
    """The engine's program."""
    return chip.sense(chip.pulse(state, amplitude, width, pulse_noise), read_noise)


class Normals:
    """Standard normals of a channel when it is asked for."""

    def __init__(self, key: Any, cells: int) -> None:
        self.key, self.cells = key, cells

    def __getitem__(self, channel: int) -> Any:
        return jax.random.normal(jax.random.fold_in(self.key, channel), (self.cells,))


def on_leaves(chip: Device) -> tuple[tuple[Any, ...], Callable[[tuple[Any, ...]], Device]]:
    """The arrays of a chip, and what puts others in their places; its plain numbers stay, as the physics decides."""
    leaves: list[np.ndarray] = []
    tree_map(lambda leaf: leaves.append(leaf) if isinstance(leaf, np.ndarray) else leaf, chip)

    def rebuilt(others: tuple[Any, ...]) -> Device:
        following = iter(others)
        return tree_map(lambda leaf: next(following) if isinstance(leaf, np.ndarray) else leaf, chip)

    return tuple(map(jnp.asarray, leaves)), rebuilt


def setting(cells: int) -> tuple[Device, State, np.ndarray, np.ndarray]:
    """A chip of single precision, its state, amplitudes [V] and widths [s]."""
    device, engine = load_device("threshold"), load_engine("numpy")
    chip = engine.fabricate(device, Key(0), cells)
    x, amplitude, width = (array.astype(np.float32) for array in pulses(device, cells))
    return chip, engine.fresh(chip, x, Key(1)), amplitude, width


def check(cells: int = 10_000) -> float:
    """The greatest departure of JAX from NumPy [range], of state and read, from the same normals.

    Raises:
        SystemExit: it is beyond TOLERANCE.
    """
    chip, state, amplitude, width = setting(cells)
    normals = np.random.default_rng(0).standard_normal((5, cells)).astype(np.float32)
    reading, after = pulse_and_read(chip, state, amplitude, width, normals[:3], normals[3:])
    leaves, rebuilt = on_leaves(chip)
    one, other = jax.jit(
        lambda leaves, state, *rest: pulse_and_read(rebuilt(leaves), state, *rest[:2], rest[2][:3], rest[2][3:])
    )(leaves, tree_map(jnp.asarray, state), *map(jnp.asarray, (amplitude, width, normals)))
    off = float(max(np.abs((one - reading) / (chip.g_max - chip.g_min)).max(), np.abs(other.x - after.x).max()))
    if not off < TOLERANCE:
        sys.exit(f"JAX departs from NumPy by {off:.2g} of the range, allowed is {TOLERANCE}")
    return off


def drawn(key: Any, step: Any, cells: int) -> tuple[Normals, Normals]:
    """The noise of a pulse and of a read, as it is asked for."""
    pulse, read = jax.random.split(jax.random.fold_in(key, step))
    return Normals(pulse, cells), Normals(read, cells)


def jax_row(cells: int, given: bool = False) -> Callable[[], object]:
    """A pulse and a read of each cell; the normals are drawn, or `given`, the same each time."""
    chip, state, amplitude, width = setting(cells)
    leaves, rebuilt = on_leaves(chip)

    def program(state: State, leaves: Any, amplitude: Any, width: Any, noise: Any, step: Any) -> tuple[Any, State]:
        normals = (noise[:3], noise[3:]) if given else drawn(noise, step, cells)
        return pulse_and_read(rebuilt(leaves), state, amplitude, width, *normals)

    compiled = jax.jit(program, donate_argnums=0)
    key = jax.random.key(2)
    rest = leaves, jnp.asarray(amplitude), jnp.asarray(width), jax.random.normal(key, (5, cells)) if given else key
    now, step = tree_map(jnp.asarray, state), 0

    def call() -> None:
        nonlocal now, step
        step += 1
        reading, now = compiled(now, *rest, step)
        reading.block_until_ready()

    call()
    return call


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cores = len(os.sched_getaffinity(0))
    device, engine = load_device("threshold"), load_engine("numba", threads=cores)
    loops = {cells: engine_row(engine, device, cells) for cells in SIZES}
    serve_jax()  # after the loops are traced; NumPy is served as before
    print(f"JAX {jax.__version__} ({jax.default_backend()}), numba {numba.__version__}, cores: {cores}")
    print(f"largest departure of JAX from NumPy: {check():.1e} of the range")
    for cells, loop in loops.items():
        rows = {"numba": loop, "JAX": jax_row(cells), "JAX, normals given": jax_row(cells, given=True)}
        best = dict.fromkeys(rows, np.inf)
        for _ in range(REPEATS):
            for name, call in rows.items():
                best[name] = min(best[name], best_call(call))
        print(f"\n{cells:,} cells{'':<15} M cells/s, best")
        for name, seconds in best.items():
            print(f"  {name:<22} {cells / seconds / 1e6:>10.1f}")


if __name__ == "__main__":
    main()
