"""How much memory arrays need: the figure is right, and it is said before allocation."""

import tracemalloc

import numpy as np
import pytest

from memenv.circuits.solver import Wires
from memenv.crossbars import memory_budget as memory
from memenv.crossbars.converters import CrossbarError
from memenv.crossbars.crossbar import Crossbar
from memenv.devices.catalogue import load_device


@pytest.mark.parametrize("device", ["threshold", "pcm", "hfo2-array-om"])
@pytest.mark.parametrize("scheme", ["1T1R", "V/2"])
@pytest.mark.parametrize("wires", [None, Wires()])
def test_the_figure_is_the_peak_of_fabricating_and_writing(rng, device, scheme, wires):
    crossbar = Crossbar(device=device, rows=200, cols=200, scheme=scheme, wires=wires)
    tracemalloc.start()
    state = crossbar.fresh(crossbar.fabricate(rng), np.full((200, 200), 0.5), rng.standard_normal((2, 200, 200)))
    operations = crossbar.plan(np.full((200, 200), 1.2), np.full((200, 200), 1e-6), np.full((200, 200), True))
    state = crossbar.write(state, operations, rng.standard_normal((crossbar.write_channels, 200, 200)))
    crossbar.sense(state, rng.standard_normal((2, 200, 200)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    needed = memory.memory_needed(crossbar.device, 200 * 200, crossbar.write_channels)
    assert peak < needed < 1.7 * peak


def test_arrays_too_large_are_refused_before_allocation_with_the_figure(rng, monkeypatch):
    monkeypatch.setattr(memory, "memory_free", lambda: 2_000_000_000)
    crossbar = Crossbar(rows=4096, cols=4096)
    tracemalloc.start()
    with pytest.raises(CrossbarError, match=r"134,217,728 cells of threshold need [0-9.]+ GB, 2 GB are free"):
        crossbar.fabricate(rng, (8,))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_free_memory_is_the_least_that_system_and_control_group_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.memory_free() is None
    memory.check_memory(load_device("ideal"), 10**15)  # nothing is known: nothing is refused
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    assert memory.memory_free() == 4_096_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.memory_free() == 4_096_000
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.memory_free() == 4000
