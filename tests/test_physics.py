"""Devices with equations of their own: published values, memory, noise inside the pulse, bounds."""

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from agents.evaluation import evaluate
from agents.library import known_policies, load_policy
from memenv import DeviceError, WriteVerify, load_device, read_pulses
from memenv.devices.catalogue import physics_models, presets
from memenv.devices.physics.jart import JartVcm
from memenv.devices.physics.model import travelled
from memenv.devices.physics.nili import Nili
from memenv.devices.physics.pcm import PcmWithMemory
from memenv.devices.physics.self_accelerating import SelfAccelerating
from memenv.devices.physics.sky130 import Sky130
from memenv.devices.physics.vteam import Vteam
from memenv.envs import CrossbarProgramEnv, WriteVerifyVectorEnv

FILAMENTS = ("physics/sky130", "physics/jart")


def siemens(device, state):
    """Conductance [S] that pulses wrote, without drift."""
    return device.g_min + state.x * (device.g_max - device.g_min)


def after(device, g, volts, width, pulses):
    """Conductances (pulses,) [uS] of a nominal cell after each of some equal pulses, without noise."""
    state = device.fresh(np.array([(g - device.g_min) / (device.g_max - device.g_min)]), np.zeros((2, 1)))
    seen = []
    for _ in range(pulses):
        state = device.pulse(state, np.array([volts]), np.array([width]), np.zeros((device.pulse_channels, 1)))
        seen.append(1e6 * siemens(device, state)[0])
    return np.array(seen)


# -- all of them -------------------------------------------------------------------------------------------------------


def test_they_stand_apart_from_the_presets():
    assert not set(physics_models()) & set(presets())
    assert all(load_device(name).name == name and load_device(name).source for name in physics_models())


def test_an_unknown_name_is_told_all_that_are_known():
    with pytest.raises(DeviceError, match=r"presets: ideal, .*physics/jart"):
        load_device("physics/vteem")


@pytest.mark.parametrize("name", physics_models())
def test_a_name_makes_environments_and_policies_without_a_law_program_its_cells(name):
    env = gym.make_vec("memenv/WriteVerify-v0", num_envs=3, device=name, engine="numpy")
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[0].shape == (3, 7)
    array = CrossbarProgramEnv(device=name, rows=3, cols=2)
    array.reset(seed=0)
    assert np.isfinite(array.step(array.action_space.sample())[1])
    task = WriteVerify(device=name, give_up=True, tolerance=0.04)
    assert "history" not in known_policies(task)
    result = evaluate(load_policy("secant", task), task, 40, 0)
    assert np.isfinite(result.error).all() and result.accepted.any()


@pytest.mark.parametrize("name", physics_models())
def test_cells_stay_between_their_bounds_whatever_the_driver_can_do(name, rng):
    chip = load_device(name).fabricate(rng, 300)
    driver, cells = chip.driver, 300
    state = chip.fresh(chip.x_lo + (chip.x_hi - chip.x_lo) * rng.random(cells), rng.standard_normal((2, cells)))
    for _ in range(30):
        up = rng.random(cells) < 0.5
        low, high = np.where(up, driver.set_min, driver.reset_min), np.where(up, driver.set_max, driver.reset_max)
        volts = np.where(up, 1, -1) * rng.uniform(low, high)
        width = driver.width_min * (driver.width_max / driver.width_min) ** rng.random(cells)
        before = siemens(chip, state)
        state = chip.pulse(state, volts, width, rng.standard_normal((chip.pulse_channels, cells)))
        assert (state.x >= chip.x_lo).all() and (state.x <= chip.x_hi).all()
        if name not in ("physics/pcm", "physics/self-accelerating"):  # whose noise may go against the pulse
            assert (np.where(up, 1, -1) * (siemens(chip, state) - before) >= -1e-12).all()
    noise = rng.standard_normal((chip.pulse_channels, cells))
    for nothing in (chip.pulse(state, 0.0 * volts, width, noise), chip.pulse(state, volts, 0.0 * width, noise)):
        for name, before in state._asdict().items():  # cells of an array that others are written in
            if name != "age":
                np.testing.assert_array_equal(getattr(nothing, name), before)
        assert (nothing.age >= state.age).all()


@pytest.mark.parametrize("name", (*FILAMENTS, "physics/self-accelerating", "physics/nili"))
def test_a_pulse_outside_the_range_of_the_equations_is_refused(name):
    device = load_device(name)
    with pytest.raises(DeviceError, match=f"a pulse of 5 V and 1e-08 s lies outside the range of {name}"):
        after(device, 2 * device.g_min, 5.0, 1e-8, 1)


@pytest.mark.parametrize("name", ("physics/vteam", *FILAMENTS))
@pytest.mark.parametrize("sign", (1, -1))
def test_two_halves_of_a_pulse_are_the_whole_pulse(name, sign):
    device = load_device(name)
    volts = {"physics/vteam": (0.21, -0.05), "physics/sky130": (1.3, -1.2), "physics/jart": (0.5, -1.2)}[name]
    g = {"physics/vteam": 4e-3, "physics/sky130": 5e-5, "physics/jart": 1.5e-4}[name]
    pulse = volts[sign < 0], 2 * device.driver.width_min
    halves = after(device, g, pulse[0], 0.5 * pulse[1], 2)[-1]
    assert after(device, g, *pulse, 1)[0] == pytest.approx(halves, rel=1e-3)
    assert halves != pytest.approx(1e6 * g, rel=1e-3)


def test_the_way_of_a_state_is_exact_where_its_rate_is_exponential():
    start, seconds = np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.5, 3.0])
    found = travelled(start, np.full(3, 9.0), lambda x: np.exp(-x), seconds)
    np.testing.assert_allclose(found, np.log(np.exp(start) + seconds), rtol=1e-12)
    assert travelled(start, np.full(3, 9.0), lambda x: np.exp(x), np.full(3, 10.0)) == pytest.approx(9.0)


# -- each of them ------------------------------------------------------------------------------------------------------


def test_vteam_crosses_its_range_in_the_time_that_its_rates_say():
    device = Vteam()
    set_time = device.d / 10.0 / (0.25 / 0.2 - 1) ** 3  # from w = d to 0
    assert after(device, 1e-3, 0.25, 0.999 * set_time, 1)[0] < 1.99e4
    assert after(device, 1e-3, 0.25, 1.001 * set_time, 1)[0] == pytest.approx(2e4)
    half = after(device, 1e-3, 0.25, 0.5 * set_time, 1)[0]
    assert 1e6 / half == pytest.approx(525.0)  # Ohm: the resistance is linear in w
    assert 1e6 / after(device, 2e-2, -0.1, 1e-7, 1)[0] == pytest.approx(50 + 950 * 5e-4 * 4 * 1e-7 / 3e-9)


def test_vteam_runs_compiled_as_it_runs_on_arrays():
    pytest.importorskip("numba")
    envs = [WriteVerifyVectorEnv(20, device="physics/vteam", engine=engine) for engine in ("numpy", "numba")]
    action = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    seen = []
    for env in envs:
        env.reset(seed=1)
        seen.append(env.step(action)[0])
    np.testing.assert_allclose(*seen, atol=1e-5)


def test_sky130_conducts_and_dissolves_as_published():
    device = Sky130()
    np.testing.assert_allclose((1e6 * device.g_min, 1e6 * device.g_max), (0.30, 100.0), rtol=0.01)
    np.testing.assert_allclose(after(device, 1e-4, -1.2, 1e-7, 5), (58, 50, 46, 43, 41), atol=0.7)
    stronger = replace(device, driver=replace(device.driver, set_max=2.2))
    assert after(stronger, device.g_min, 2.2, 1e-7, 1)[0] > 99  # SET runs away within one pulse


@pytest.mark.parametrize(
    ("volts", "seconds", "share"),
    [(0.6, 28e-3, 0.5), (0.7, 0.47e-3, 0.3), (0.8, 10.7e-6, 0.1), (0.9, 0.38e-6, 0.1), (1.0, 22e-9, 0.1)],
)
def test_jart_sets_in_the_published_times(volts, seconds, share):
    """Of the explicit model; the circuit's contact, which that fits, is a third faster at the lowest voltages."""
    times, ends = np.geomspace(seconds / 4, seconds * 4, 200), np.log([[0.008], [10.0]]) + np.zeros(200)
    way = travelled(*ends, JartVcm()._rate(np.full(200, volts), True), times, 200)
    assert times[np.argmax(way > ends[1] - 1e-6)] == pytest.approx(seconds, rel=share)


def test_jart_creeps_then_runs_away_and_resets_as_published():
    device = JartVcm()
    up = after(device, device.g_min, 0.8, 1e-6, 12)
    assert up[0] == pytest.approx(16.1, rel=0.01) and 18 < up[8] < 24 and up[11] > 610  # published: 14.8, 19.5, 621
    down = after(device, 6.3e-4, -1.5, 5e-7, 5)
    np.testing.assert_allclose(down[[0, 2, 4]], (33, 29, 28), rtol=0.06)


def test_jart_cells_differ_as_their_source_says(rng):
    chip = JartVcm().fabricate(rng, 4000)
    for part, low, high in ((chip.radius, 40.5, 49.5), (chip.disc, 0.36, 0.44), (chip.most, 18, 22)):
        assert kstest(part, "uniform", (low, high - low)).pvalue > 0.01
    assert chip.least.min() >= 4e-3 and chip.least.max() <= 0.25
    np.testing.assert_allclose(
        siemens(chip, chip.fresh(chip.x_lo, np.zeros((2, 4000)))), chip._conductance(chip.least), rtol=1e-6
    )


def test_pcm_remembers_its_set_pulses_and_forgets_them_at_a_reset():
    device, o = PcmWithMemory(), np.ones(1)
    first = after(device, 1e-7, 1.0, 5e-8, 12)
    np.testing.assert_allclose(first[0] - 0.1, -0.084 * 0.1 + 0.880 + 1.40)
    assert (np.diff(first) > 0).all() and (np.diff(first, 2) < 0).all()
    np.testing.assert_allclose(after(device, 8e-6, -1.4, 5e-8, 1), 0.1)
    cell = device.fresh(0.3 * o, np.zeros((2, 1)))
    steps = [
        float((device.pulse(cell._replace(sets=sets * o), o, 5e-8 * o, np.zeros((2, 1))).x - cell.x)[0])
        for sets in (0.0, 5.0)
    ]
    assert steps[0] > 2 * steps[1]
    assert device.pulse(cell, -1.4 * o, 5e-8 * o, np.zeros((2, 1))).sets[0] == 0


def test_pcm_steps_scatter_as_published(rng):
    device, o = PcmWithMemory(), np.ones(4000)
    cell = device.fresh(0.4 * o, rng.standard_normal((2, 4000)))
    g, p = 1e6 * siemens(device, cell)[0], cell.sets[0]
    step = 1e6 * siemens(device, device.pulse(cell, o, 5e-8 * o, rng.standard_normal((2, 4000)))) - g
    mean, spread = (a * g + c + early * np.exp(-p / 2.6) for a, c, early in (device.mean, device.deviation))
    assert kstest(step, "norm", (mean, spread)).pvalue > 0.01


def test_one_pulse_on_the_self_accelerating_device_hits_as_often_as_published(rng):
    """The nominal inverse, the noise-free number of 10 ns steps; shares within 50, 10 and 5 % of the target."""
    device, cells = SelfAccelerating(), 4000
    start, target = rng.uniform(0.01, 1, (2, cells))
    way = np.sign(target - start)
    g, best, steps = start.copy(), np.abs(start - target), np.zeros(cells)
    for k in range(1, 201):
        g = g + 0.15 * way * (1 - g) * (g - 0.01)
        nearer = np.abs(g - target) < best
        best, steps = np.where(nearer, np.abs(g - target), best), np.where(nearer, k, steps)
    state = device.fresh((start - 0.01) / 0.99, np.zeros((2, cells)))
    state = device.pulse(state, way, 1e-8 * steps, rng.standard_normal((200, cells)))
    error = np.abs(1e4 * siemens(device, state) - target) / target
    for within, share in ((0.5, 0.981), (0.1, 0.821), (0.05, 0.667)):
        assert binomtest(int((error <= within).sum()), cells, share).pvalue > 1e-3


def test_the_benchmark_measures_four_cells_in_24_trains_at_four_amplitudes_and_three_widths(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    from physics_transfer import measure

    for grid, amplitudes in ((True, 4), (False, 1)):
        measure("physics/vteam", grid, 0, tmp_path / "pulses.csv")
        data = read_pulses(tmp_path / "pulses.csv")
        assert len(data.devices) == 4 and data.conductance.shape == (1 + 25, 4 * 24)  # one read before
        for sign in (1, -1):
            assert len(np.unique(data.amplitude[data.of(sign)])) == amplitudes
            assert len(np.unique(data.width[data.of(sign)])) == 3


def test_nilis_steps_are_those_of_the_published_coefficients():
    device = Nili()
    sets = 155.0 * (1 - np.tanh(-0.47 * (-3 + 3.373))) * (np.tanh(5.005 - 5.792) + 1)
    resets = -89.0 * (-1 - np.tanh(0.25 * (-3 - 3.63))) * (np.tanh(6.2 * -1.5 + 7.77) - 1)
    assert after(device, 60e-6, 1.0, 1e-3, 1)[0] - 60.0 == pytest.approx(sets) == pytest.approx(62.4, abs=0.05)
    assert after(device, 25e-6, -1.5, 1e-3, 1)[0] - 25.0 == pytest.approx(resets) == pytest.approx(-11.9, abs=0.05)


def test_a_step_of_nilis_cells_differs_by_their_deviation_and_by_its_own():
    device, x = Nili(deviation=np.array([-1.0, 0.0, 1.0])), (12.0 - 3.16) / (316.0 - 3.16)
    state = device.fresh(np.full(3, x), np.zeros((2, 3)))
    moved = device.pulse(state, np.full(3, 0.8), np.full(3, 1e-5), np.zeros((1, 3))).x - state.x
    own = -1.03 - 0.02 * 25 + 0.72 * 0.8 * -5 - 0.47 * 0.64 * -5 + 0.63 * 0.512
    np.testing.assert_allclose(moved, moved[1] * np.exp([-own, 0.0, own]), rtol=1e-9)
