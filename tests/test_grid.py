"""Pulses that an instrument can make: what a controller asks for is rounded, and everybody sees the rounded pulse."""

from dataclasses import replace

import numpy as np
import pytest

from agents.classical import ISPP, Secant
from memenv import CrossbarProgram, DeviceError, WriteVerify, from_json, load_device, to_json
from memenv.__main__ import main
from memenv.crossbars.operations import line_by_line
from memenv.devices.device import Driver
from memenv.devices.grid import on_grid
from memenv.devices.mixture import Mixture
from memenv.devices.records import validate
from memenv.envs.pulse_actions import signals_of, volts
from memenv.lab import SimulatedBench, program

DRIVER = Driver(set_min=0.5, set_max=1.8, reset_min=0.5, reset_max=1.8, width_min=1e-7, width_max=1e-5)
STEPS = replace(DRIVER, amplitude_step=0.1, width_step=1e-7)
LISTS = replace(DRIVER, amplitudes=(0.4, 0.5, 1.0, 1.8), widths=(1e-7, 1e-6, 1e-5))


def device(driver=LISTS):
    """The preset `threshold` behind such an instrument."""
    return load_device("threshold").replace(driver=driver)


def random_signals(count=500):
    """Signals and log-widths of any pulse."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.01, 1, count) * rng.choice([-1, 1], count), rng.uniform(-1, 1, count)


def test_steps_give_the_nearest_amplitude_and_the_width_nearest_in_logarithm():
    up = np.array([True, False, True, True])
    volt, width = np.array([0.549, 1.251, 1.79, 0.51]), np.array([1.4e-7, 1.42e-7, 2.4e-7, 2.45e-7])
    amplitude, made = on_grid(STEPS, up, volt, width)
    np.testing.assert_allclose(amplitude, [0.5, 1.3, 1.8, 0.5])
    np.testing.assert_allclose(made, [1e-7, 2e-7, 2e-7, 3e-7])  # turning at the square roots of 2 and 6


def test_lists_give_the_nearest_member_within_the_range_of_the_polarity():
    narrow = replace(LISTS, reset_min=0.9, reset_max=1.2)
    up = np.array([True, False, True, False])
    amplitude, width = on_grid(narrow, up, np.array([0.2, 0.2, 1.41, 1.7]), np.array([3.1e-7, 3.2e-7, 3.1e-6, 3.2e-6]))
    np.testing.assert_allclose(amplitude, [0.5, 1.0, 1.8, 1.0])
    np.testing.assert_allclose(width, [1e-7, 1e-6, 1e-6, 1e-5])


@pytest.mark.parametrize("driver", [STEPS, LISTS, replace(STEPS, amplitude_step=0.0)])
def test_a_pulse_on_the_grid_stays_as_it_is(driver):
    pulse = volts(*random_signals(), driver)
    again = volts(*signals_of(*pulse, driver), driver)
    np.testing.assert_allclose(pulse, again, rtol=1e-12)


def test_without_a_grid_pulses_are_what_they_were_to_the_bit():
    signal, log_width = random_signals()
    amplitude, width = volts(signal, log_width, DRIVER)
    np.testing.assert_array_equal(np.abs(amplitude), 0.5 + np.abs(signal) * (1.8 - 0.5))
    np.testing.assert_array_equal(width, 1e-7 * np.exp((0.5 * np.log(1e-5 / 1e-7)) * (log_width + 1.0)))
    assert not DRIVER.gridded and STEPS.gridded and LISTS.gridded


def test_the_physics_and_the_observation_see_the_rounded_pulse():
    task, rng = WriteVerify(device=device()), np.random.default_rng(1)
    chip = task.fabricate(rng, 200)
    begin = task.initial(chip, tuple(rng.random((2, 200)) for _ in range(3)), {})
    asked = rng.uniform(-1, 1, (200, 3)).astype(np.float32)
    amplitude, width, _ = task.decode(asked)
    assert set(np.round(np.abs(amplitude), 9)) <= {0.5, 1.0, 1.8} and len(set(width)) == 3
    noise = rng.standard_normal((1, 3, 200))[0], rng.standard_normal((1, 2, 200))
    after = task.transition(begin, asked, noise)
    view = task.view(task.observe(after))
    np.testing.assert_allclose(view.amplitude, amplitude, rtol=1e-6)
    np.testing.assert_allclose(after.signal, signals_of(amplitude, width, task.device.driver)[0])
    free, same = WriteVerify(device=device(DRIVER)), begin._replace(chip=chip.replace(driver=DRIVER))
    given, other = (free.transition(same, action, noise) for action in (free.encode(amplitude, width), asked))
    np.testing.assert_allclose(given.true_conductance, after.true_conductance, rtol=1e-4)
    assert np.abs(other.true_conductance - after.true_conductance).max() > 1e-6


@pytest.mark.parametrize("kind", [ISPP, Secant])
def test_a_bench_gets_pulses_of_the_grid_alone(kind, tmp_path):
    class Watched(SimulatedBench):
        def __init__(self, *given):
            super().__init__(*given)
            self.seen = set()

        def pulse(self, cells, amplitude, width):
            self.seen |= set(zip(np.abs(amplitude), width, strict=True))
            super().pulse(cells, amplitude, width)

    task, bench = WriteVerify(device=device(STEPS), give_up=True), Watched("threshold", 20)
    goals = task.siemens(task.device, np.linspace(0.2, 0.8, 20))
    assert len(program(bench, kind(task=task), task, goals, tmp_path / "log.csv").of("accepted")) > 15
    volt, width = np.array(sorted(bench.seen)).T
    np.testing.assert_allclose(volt / 0.1, np.round(volt / 0.1), rtol=1e-9)
    np.testing.assert_allclose(width / 1e-7, np.round(width / 1e-7), rtol=1e-9)


def test_cells_that_are_written_together_get_a_pulse_of_the_instrument():
    volt, width = np.array([[0.5, 1.0, 0.0], [-0.5, -1.0, -1.8]]), np.array([[1e-6, 1e-6, 1e-6], [1e-7, 1e-6, 1e-6]])
    made = line_by_line(volt, width, volt != 0, LISTS, (1, 1))
    np.testing.assert_allclose(made.amplitude, [[0.5, 0.5, 0.0], [-1.0, -1.0, -1.0]])
    np.testing.assert_allclose(made.width, [[1e-6, 1e-6, 0.0], [1e-6, 1e-6, 1e-6]])
    assert np.count_nonzero(made.line_amplitude) == np.count_nonzero(made.line_width) == 2  # unused operations rest


@pytest.mark.parametrize("asked, made", [(3e-7, 1e-7), (4e-7, 1e-6)])
def test_the_one_width_of_an_array_is_one_of_the_instrument(asked, made):
    assert CrossbarProgram(device=device(), rows=2, cols=2, width=asked).width == pytest.approx(made)


def test_arrays_of_cells_get_pulses_of_the_instrument_alone(tmp_path):
    (tmp_path / "device.json").write_text(to_json(load_device("hfo2-array-om").replace(driver=LISTS)))
    np.save(tmp_path / "w.npy", np.random.default_rng(0).standard_normal((4, 4)))
    words = ["--weights", "w.npy", "--device", "device.json", "--trials", "1", "--pulses", "p.csv", "--out", "out"]
    words = [str(tmp_path / word) if word in ("w.npy", "device.json", "out") else word for word in words]
    assert main(["program", *words]) == 0
    *_, volt, width = np.loadtxt(tmp_path / "out" / "p.csv", delimiter=",", skiprows=1).T
    assert set(np.abs(volt)) <= set(LISTS.amplitudes) and set(width) <= set(LISTS.widths) and len(set(width)) > 1


def test_a_record_keeps_its_grid_and_those_of_before_have_none():
    assert from_json(to_json(device())) == device() and validate(device(STEPS)).driver == STEPS
    assert not from_json('{"driver": {"set_max": 2.0}}').driver.gridded


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"amplitudes": (1.0, 0.8)}, r"driver.amplitudes is \(1.0, 0.8\), they must ascend"),
        ({"amplitudes": (0.1, 0.2)}, r"driver.amplitudes is \(0.1, 0.2\): none lies within set_min to set_max"),
        ({"width_step": 2e-5}, "driver.width_step is 2e-05: no multiple lies within width_min to width_max"),
        ({"widths": (1e-6,), "width_step": 1e-7}, "driver.widths and driver.width_step are both given"),
        ({"widths": (-1.0, 1e-6)}, "driver.widths is .*, allowed is"),
        ({"amplitudes": ("a",)}, "driver.amplitudes is 'a', a number is needed"),
        ({"amplitudes": [0.6, 1.0]}, r"driver.amplitudes is \[0.6, 1.0\], a tuple of numbers is needed"),
        ({"amplitudes": tuple(0.5 + k / 1000 for k in range(257))}, "257, allowed are 256"),
        ({"amplitude_step": 5e-324}, "driver.amplitude_step is 5e-324, allowed is 1.8e-12 or more, or 0 for any"),
        ({"amplitude_step": -0.1}, "driver.amplitude_step is -0.1, allowed is 0 to"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(changes, message):
    with pytest.raises(DeviceError, match=message):
        validate(device(replace(DRIVER, **changes)))


def test_a_mixture_has_one_grid():
    with pytest.raises(DeviceError, match="have different drivers: one grid of pulses is needed"):
        Mixture(devices=(device(), device(DRIVER)))
    assert Mixture(devices=(device(), device())).driver == LISTS
