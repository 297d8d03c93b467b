"""Memory that arrays need, and whether it is there: said before anything is allocated."""

from pathlib import Path
from typing import Any

import numpy as np

from memenv.arrays import tree_map
from memenv.crossbars.converters import CrossbarError
from memenv.devices.protocol import CellModel
from memenv.devices.uncertainty import of_chips

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
FEW = 10_000  # cells that are too few to ask
FABRICATION = 17  # arrays of cells that `Device.fabricate` has in hand besides the chip: normals and uniforms
WRITING = 5  # the same of a step of writing, besides the state and the counters after it ...
CHANNEL = 4  # ... for each channel of its noise, which is one of them
COUNTERS = 5


def memory_needed(device: CellModel, cells: int, write_channels: int = 3) -> int:
    """Bytes at the peak of fabricating, writing and reading `cells` cells of a nominal device in double precision.

    Of a mixture, as if all were of the one of its devices that takes most.
    """
    if device.devices:
        return max(memory_needed(one, cells, write_channels) for one in device.devices)
    chip = device.fabricate(of_chips(np.random.default_rng(0), 1), 1)
    state = chip.fresh(np.zeros(1), np.zeros((2, 1)))
    after = _arrays(state) + COUNTERS
    return 8 * cells * (_arrays(chip) + after + max(after + WRITING + CHANNEL * write_channels, FABRICATION))


def check_memory(device: CellModel, cells: int, write_channels: int = 3) -> None:
    """Refuses arrays that do not fit.

    Raises:
        CrossbarError: with the bytes that `cells` cells need and those that are free.
    """
    advice = "program fewer arrays at a time, or smaller tiles"
    check_room(memory_needed(device, cells, write_channels), f"{cells:,} cells of {device.name}", advice)


def check_room(needed: int, what: str, advice: str, error: type[ValueError] = CrossbarError) -> None:
    """Refuses what does not fit.

    Raises:
        ValueError: `error`, with the bytes that `what` need and those that are free, and what to do.
    """
    free = memory_free()
    if free is not None and needed > free:
        raise error(f"{what} need {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free: {advice}")


def memory_free() -> int | None:
    """Bytes that this process may still allocate, None where the system does not say."""
    limits = []
    try:
        line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable"))
        limits.append(1024 * int(line.split()[1]))
        limits.append(int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text()))
    except (OSError, ValueError, StopIteration):  # another system, or a control group without a limit ("max")
        pass
    return min(limits, default=None)


def _arrays(record: Any) -> int:
    """Number of arrays of cells that a record holds."""
    found = []

    def look(leaf: Any) -> Any:
        found.append(getattr(leaf, "ndim", 0) > 0)
        return leaf

    tree_map(look, record)
    return sum(found)
