"""The engines: one physics and one noise under both, elementary functions, normals, threads, and what they refuse."""

import importlib.util
import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from extremes import at_all_ends, dressed, side_by_side, use_engine
from scipy.special import ndtri
from scipy.stats import ks_2samp, kstest

from memenv.arrays import tree_map
from memenv.compiler import elementary, trace
from memenv.compiler import runtime as run
from memenv.compiler.counter_rng import Noise, threefry
from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Device, Mismatch
from memenv.devices.measured import TableDevice
from memenv.devices.reads import State
from memenv.engine import BLOCK, MOST_THREADS, Engine, EngineError, Key, load_engine

NUMPY = load_engine("numpy")
numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]")


@pytest.fixture
def compiled():
    return load_engine("numba")


def protocol(device, cells, seed=0):
    """Starting states, amplitudes and widths of all that the driver can do, SET and RESET."""
    rng, driver = np.random.default_rng(seed), device.driver
    up = rng.random(cells) < 0.5
    amplitude = np.where(
        up, rng.uniform(driver.set_min, driver.set_max, cells), -rng.uniform(driver.reset_min, driver.reset_max, cells)
    )
    width = np.exp(rng.uniform(np.log(driver.width_min), np.log(driver.width_max), cells))
    return rng.random(cells), amplitude.astype(np.float32), width.astype(np.float32)


def history(engine, chip, device, cells, pulses=3, count=1):
    """Readings and states of some pulses of each cell."""
    x, amplitude, width = protocol(device, cells)
    state, seen = engine.fresh(chip, x, Key(1)), []
    for step in range(pulses):
        reading, state = engine.pulse_and_read(chip, state, amplitude, width, Key(2, step), count)
        seen += [(reading - device.g_min) / (device.g_max - device.g_min), state.x, state.age, state.relaxation]
        seen += [state.drift, state.trap]
        amplitude = np.roll(amplitude, 1)
    return [array for array in seen if array is not None]


def silent(device):
    """The device with so little noise from pulse to pulse and read to read that none is left, in the same loop."""

    def quiet(response):
        return replace(
            response, cycle_noise=1e-12 * response.cycle_noise, additive_noise=1e-12 * response.additive_noise
        )

    return device.replace(
        set=quiet(device.set), reset=quiet(device.reset), read=replace(device.read, noise=1e-12 * device.read.noise)
    )


def words(cells, *numbers):
    """`numbers` as arrays (cells,) of words."""
    return [np.full(cells, number, np.uint32) for number in numbers]


# -- one physics, one noise ------------------------------------------------------------------------------------------


@numba
@pytest.mark.parametrize("name", presets())
def test_engines_agree_cell_by_cell_with_all_noise(compiled, name):
    device = load_device(name)
    chip = NUMPY.fabricate(device, Key(0), 500)
    for one, other in zip(history(compiled, chip, device, 500), history(NUMPY, chip, device, 500), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@numba
@pytest.mark.parametrize("name", presets())
def test_compiled_engine_equals_the_device_in_double_precision_without_noise(compiled, name):
    device = silent(load_device(name))
    chip, still = device.fabricate(np.random.default_rng(0), 500), np.zeros((3, 500))
    x, amplitude, width = protocol(device, 500)
    state, exact = compiled.fresh(chip, x, Key(1)), chip.fresh(x, still)
    exact = exact._replace(drift=state.drift)
    for _ in range(3):
        reading, state = compiled.pulse_and_read(chip, state, amplitude, width, Key(2))
        exact = chip.pulse(exact, amplitude.astype(float), width.astype(float), still)._replace(
            relaxation=state.relaxation
        )
        seen, exact = chip.sense(exact, still)
        np.testing.assert_allclose(state.x, exact.x, rtol=0, atol=1e-5)
        np.testing.assert_allclose(reading, seen, rtol=0, atol=1e-5 * (device.g_max - device.g_min))
        amplitude = np.roll(amplitude, 1)


@numba
def test_engines_agree_on_every_term_of_the_model(compiled, everything):
    device = everything.replace(read=replace(everything.read, adc_bits=0))
    chip = NUMPY.fabricate(device, Key(0), 2000)
    for one, other in zip(history(compiled, chip, device, 2000), history(NUMPY, chip, device, 2000), strict=True):
        assert np.isclose(one, other, rtol=1e-4, atol=1e-5).mean() > 0.999  # a trap may flip on a rounding


@numba
def test_converters_round_alike(compiled, everything):
    chip = NUMPY.fabricate(everything, Key(0), 2000)
    lsb = (everything.g_max - everything.g_min) / 255
    state = NUMPY.fresh(chip, protocol(everything, 2000)[0], Key(1))
    one, other = (engine.read(chip, state, Key(2))[0] for engine in (compiled, NUMPY))
    steps = (one - everything.g_min) / lsb
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert np.isclose(one, other, rtol=1e-5).mean() > 0.999


@numba
def test_mixtures_are_compiled(compiled):
    device = load_device(["threshold", "pcm", "pcmo"])
    chip = compiled.fabricate(device, Key(0), 500)
    assert isinstance(chip, Device) and chip.x_lo.dtype == np.float32
    driver = load_device("threshold")
    for one, other in zip(history(compiled, chip, driver, 500), history(NUMPY, chip, driver, 500), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@numba
@pytest.mark.parametrize("name", ["threshold", "hfo2-array-om"])
def test_engines_fabricate_the_same_chip(compiled, name):
    chips = [engine.fabricate(load_device(name), Key(3), 1000) for engine in (compiled, NUMPY)]

    def same(one, other):
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype == np.float32
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        else:
            assert one == other
        return one

    tree_map(same, *chips)


@numba
def test_a_train_is_one_jump(compiled):
    device = load_device("threshold")
    chip = NUMPY.fabricate(device, Key(0), 500)
    for one, other in zip(
        history(compiled, chip, device, 500, count=7), history(NUMPY, chip, device, 500, count=7), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@numba
def test_one_amplitude_and_width_may_serve_all_cells(compiled):
    chip = NUMPY.fabricate(load_device("threshold"), Key(0), 100)
    state = NUMPY.fresh(chip, np.linspace(0, 1, 100), Key(1))
    for amplitude in (1.0, -1.2):
        alike = compiled.pulse(chip, state, np.full(100, amplitude), np.full(100, 1e-6), Key(2))
        np.testing.assert_array_equal(compiled.pulse(chip, state, amplitude, 1e-6, Key(2)).x, alike.x)
        np.testing.assert_allclose(NUMPY.pulse(chip, state, amplitude, 1e-6, Key(2)).x, alike.x, atol=1e-5)


@numba
def test_measured_tables_run_on_numpy_under_both_engines(compiled, tmp_path):
    g, cdf = np.linspace(1e-6, 9e-6, 5), np.linspace(0.02, 0.98, 9)
    step = np.broadcast_to(ndtri(cdf)[None, :, None] * 1e-7, (2, 9, 5))
    path = tmp_path / "table.npz"
    tables = {"conductance": np.broadcast_to(g, (2, 5)), "cdf": cdf, "dg_set": step + 1e-7, "dg_reset": step - 1e-7}
    np.savez(path, device=np.arange(2), **tables)
    device, results = TableDevice.load(path), []
    for engine in (compiled, NUMPY):
        chip = engine.fabricate(device, Key(0), 100)
        state = engine.fresh(chip, np.full(100, 0.5), Key(1))
        results.append(engine.pulse_and_read(chip, state, 1.0, 1e-6, Key(2))[0])
    np.testing.assert_array_equal(*results)
    assert results[0].std() > 0


@pytest.mark.parametrize("name", ["numpy", pytest.param("numba", marks=numba)])
def test_engines_have_the_distributions_of_the_device(name, rng):
    device, cells = load_device("hfo2-array-om"), 20_000
    engine = load_engine(name)
    chip, ours = device.fabricate(rng, cells), engine.fabricate(device, Key(5), cells)
    for path in ("x_lo", "x_hi", "set.dose", "reset.additive_noise"):
        one, other = (np.asarray(_get(record, path), np.float32) for record in (chip, ours))
        assert ks_2samp(one, other).pvalue > 0.01, path
        assert np.isclose(one.mean(), other.mean(), atol=4 * one.std() / math.sqrt(cells / 2))
    stuck = [np.mean(record.x_hi - record.x_lo < 1e-6) for record in (chip, ours)]
    assert stuck == pytest.approx([0.1348] * 2, abs=0.01)
    x = np.full(cells, 0.4)
    state = chip.pulse(chip.fresh(x, np.zeros((2, cells))), x * 0 + 1, x * 0 + 1e-6, rng.standard_normal((3, cells)), 5)
    reading, state = chip.sense(state, rng.standard_normal((2, cells)))
    seen, after = engine.pulse_and_read(ours, engine.fresh(ours, x, Key(6)), 1.0, 1e-6, Key(7), 5)
    for one, other in ((state.x, after.x), (reading, seen)):
        assert ks_2samp(one, other).pvalue > 0.01
        assert other.mean() == pytest.approx(one.mean(), abs=4 * one.std() / math.sqrt(cells / 2))
        assert other.var() == pytest.approx(one.var(), rel=0.06)


def _get(record, path):
    for name in path.split("."):
        record = getattr(record, name)
    return record


# -- order, threads, places ------------------------------------------------------------------------------------------


@numba
def test_threads_do_not_change_a_bit():
    device, cells = load_device("threshold"), 150_001
    one, *others = (
        history(engine, engine.fabricate(device, Key(0), cells), device, cells, 2)
        for engine in (load_engine("numba", threads=number) for number in (1, 2, 3))
    )
    for other in others:
        assert all(map(np.array_equal, one, other))


@numba
def test_a_cell_does_not_depend_on_how_many_follow(compiled):
    device = load_device("threshold")
    chip = compiled.fabricate(device, Key(0), 1003)
    x, amplitude, width = protocol(device, 1003)
    state = compiled.fresh(chip, x, Key(1))
    reading, after = compiled.pulse_and_read(chip, state, amplitude, width, Key(2))
    for cells in (1, 7, 500, 1002):
        fewer = tree_map(
            lambda leaf, n=cells: leaf[:n] if isinstance(leaf, np.ndarray) else leaf, (chip, state, amplitude, width)
        )
        part, part_after = compiled.pulse_and_read(*fewer, Key(2))
        assert np.array_equal(part, reading[:cells]) and np.array_equal(part_after.x, after.x[:cells])


@pytest.mark.parametrize("name", ["numpy", pytest.param("numba", marks=numba)])
def test_equal_keys_give_equal_noise_and_others_give_other_noise(name):
    engine, device = load_engine(name), load_device("threshold")
    chip = engine.fabricate(device, Key(0), 100)
    state = engine.fresh(chip, np.full(100, 0.5), Key(1))
    first, again, step, seed = (engine.read(chip, state, key)[0] for key in (Key(2), Key(2), Key(2, 1), Key(3)))
    assert np.array_equal(first, again)
    assert not (first == step).any() and not (first == seed).any() and not (step == seed).any()
    assert Key(2).next() == Key(2, 1)


@pytest.mark.parametrize("name", ["numpy", pytest.param("numba", marks=numba)])
def test_a_pulse_and_a_read_are_a_pulse_and_then_a_read(name):
    engine, device = load_engine(name), load_device("threshold")
    chip = engine.fabricate(device, Key(0), 100)
    state = engine.fresh(chip, np.full(100, 0.5), Key(1))
    reading, after = engine.pulse_and_read(chip, state, 1.1, 1e-6, Key(2))
    seen, later = engine.read(chip, engine.pulse(chip, state, 1.1, 1e-6, Key(2)), Key(2))
    np.testing.assert_allclose(seen, reading, rtol=1e-6)
    np.testing.assert_allclose(later.x, after.x, rtol=1e-6)


@pytest.mark.parametrize("name", ["numpy", pytest.param("numba", marks=numba)])
def test_results_in_place_are_the_same_and_nothing_else_is_written(name, everything):
    engine, cells = load_engine(name), BLOCK + 5
    x, amplitude, width = protocol(everything, cells)
    chip = engine.fabricate(everything, Key(0), cells)
    state = engine.fresh(chip, x, Key(1))

    def locked(leaf):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
        return leaf

    tree_map(locked, (chip, state, amplitude, width))
    reading, after = engine.pulse_and_read(chip, state, amplitude, width, Key(2))
    own = tree_map(lambda leaf: leaf.copy(), state)
    out = np.empty(cells, np.float32), own
    seen, here = engine.pulse_and_read(chip, own, amplitude, width, Key(2), out=out)
    assert seen is out[0] and here.x is own.x
    assert np.array_equal(seen, reading)
    assert all(np.array_equal(*pair) for pair in zip(here, after, strict=True))


# -- elementary functions and noise ----------------------------------------------------------------------------------


def relative(ours, exact):
    """The largest relative error."""
    return np.max(np.abs(ours.astype(float) - exact) / np.maximum(np.abs(exact), 1e-30))


@pytest.mark.parametrize(
    ("name", "exact", "low", "high", "most"),
    [
        ("exp", np.exp, -86.0, 87.0, 2e-7),
        ("expm1", np.expm1, -80.0, 87.0, 5e-7),
        ("expm1", np.expm1, -1e-3, 1e-3, 5e-7),
        ("log1p", np.log1p, -0.99, 1e6, 1e-6),
        ("log1p", np.log1p, -1e-4, 1e-4, 1e-6),
        ("ndtri", ndtri, 1e-4, 0.499, 2e-6),
        ("ndtri", ndtri, 1e-30, 1e-12, 2e-6),
    ],
)
def test_elementary_functions_are_accurate(name, exact, low, high, most):
    x = np.linspace(low, high, 100_001, dtype=np.float32)
    x = x[x != 0]
    assert relative(getattr(elementary, name)(x), exact(x.astype(float))) < most


def test_logarithm_is_accurate_over_all_normal_numbers():
    x = np.exp(np.linspace(-86.0, 87.0, 200_001)).astype(np.float32)
    exact = np.log(x.astype(float))
    assert np.max(np.abs(elementary.log(x) - exact) / (1 + np.abs(exact))) < 2e-7


def test_cosine_and_sine_of_a_turn_are_accurate():
    turn = np.arange(0, 2**32, 12_345, dtype=np.uint64).astype(np.uint32)
    angle = 2 * np.pi * turn / 2**32
    for ours, exact in zip(elementary.cos_sin_turn(turn), (np.cos(angle), np.sin(angle)), strict=True):
        assert np.max(np.abs(ours - exact)) < 1.5e-7


def test_no_argument_makes_elementary_functions_overflow():
    x = np.array([-np.inf, -1e30, 1e30, np.inf], np.float32)
    assert np.isfinite(elementary.exp(x)).all() and np.isfinite(elementary.expm1(x)).all()
    assert np.isfinite(elementary.log1p(x[2:])).all()
    assert np.isnan(elementary.exp(np.array([np.nan], np.float32))).all()


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # Random123's kat_vectors, threefry2x32 13
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    ],
)
def test_the_generator_is_threefry(counter, key, expected):
    assert tuple(int(word[0]) for word in threefry(*words(1, *key, *counter))) == expected


def test_normals_are_standard_normal_and_independent():
    cells = np.arange(200_000, dtype=np.uint32)
    noises = [Noise(Key(*key).words()[:, None], cells) for key in ((0, 0), (0, 1), (1, 0), (2**63, 2**40))]
    rows = np.array([noise.normal(lane) for noise in noises for lane in range(6)], float)
    assert all(kstest(row, "norm").pvalue > 1e-4 for row in rows)
    se = 1 / math.sqrt(len(cells))
    assert np.abs(rows.mean(axis=1)).max() < 4.5 * se
    assert np.abs((rows**2).mean(axis=1) - 1).max() < 4.5 * math.sqrt(2) * se
    assert np.abs((rows**4).mean(axis=1) - 3).max() < 4.5 * math.sqrt(96) * se
    for values in (rows, rows**2):  # channels, keys
        correlation = np.corrcoef(values) - np.eye(len(rows))
        assert np.abs(correlation).max() < 4.5 * se
    for lag in (1, 2, 16, 1024):  # cells
        assert np.abs([np.corrcoef(row[:-lag], row[lag:])[0, 1] for row in rows]).max() < 4.5 * se


def test_uniform_numbers_are_uniform():
    noise = Noise(Key(0).words()[:, None], np.arange(100_000, dtype=np.uint32))
    one, other = noise.uniform(64), noise.uniform(65)
    assert kstest(one, "uniform").pvalue > 0.01 and kstest(other, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.015
    assert one.min() >= 0 and one.max() < 1


# -- compilation -----------------------------------------------------------------------------------------------------


def test_devices_that_differ_in_numbers_only_share_a_loop():
    def text(device):
        value = trace.Symbol("float32", "array", 0)
        response = device.set.law()
        from memenv.compiler.codegen import write
        from memenv.devices.law import move

        return write([move(response, value, 0.0, 1.0, value > 0.5, response.dose * value)])

    one = load_device("threshold")
    other = one.replace(set=replace(one.set, margin=0.07, dose=0.3), reset=one.reset)
    assert text(one).source == text(other).source and text(one).constants != text(other).constants


def test_what_cannot_be_compiled_says_so():
    value = trace.Symbol("float32", "array", 0)
    with pytest.raises(TypeError, match="branch on the value of a cell"):
        bool(value > 0)
    with pytest.raises(TypeError, match=r"cannot compile numpy\.arctan"):
        np.arctan(value)
    with pytest.raises(TypeError, match=r"cannot compile numpy\.cumsum"):
        np.cumsum(value)


# -- bad input -------------------------------------------------------------------------------------------------------


def test_an_unknown_engine_is_named_with_those_that_exist():
    with pytest.raises(EngineError, match="'cuda', allowed are auto, numpy, numba"):
        load_engine("cuda")


@pytest.mark.parametrize("threads", [0, -1, 99_999, 10**30, 1.5, math.nan, "2", None])
def test_a_number_of_threads_that_no_processor_has_is_refused_before_they_are_made(threads):
    for make in (lambda: load_engine("numpy", threads=threads), lambda: Engine("numba", threads)):
        with pytest.raises(
            EngineError, match=rf"threads is {threads}, allowed is a whole number from 1 to {MOST_THREADS}"
        ):
            make()
    assert load_engine("numpy", threads=np.int64(MOST_THREADS)).threads == MOST_THREADS >= 256


def test_without_numba_the_engine_is_numpy_and_numba_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert load_engine("auto").name == "numpy"
    with pytest.raises(EngineError, match=r'pip install "memenv\[numba\]"'):
        load_engine("numba")


@numba
def test_the_compiled_engine_is_chosen_where_it_is_worth_its_compilation():
    assert load_engine("auto").name == "numba"
    assert load_engine("auto", cells=100).name == "numpy"
    assert load_engine("auto", cells=100_000).name == "numba"


@numba
def test_arrays_that_do_not_fit_are_refused(compiled):
    chip = compiled.fabricate(load_device("threshold"), Key(0), 10)
    state = compiled.fresh(chip, np.full(10, 0.5), Key(1))
    for engine, of_one in itertools.product((compiled, load_engine("numpy")), (np.ones(9), np.ones((10, 1)))):
        with pytest.raises(EngineError, match=rf"amplitude has the shape {re.escape(str(of_one.shape))}, for 10 cells"):
            engine.pulse(chip, state, of_one, 1e-6, Key(2))
        with pytest.raises(EngineError, match=r"width has the shape .*, for 10 cells a number or \(10,\) is needed"):
            engine.pulse_and_read(chip, state, 1.0, of_one, Key(2))
    with pytest.raises(EngineError, match="float32 arrays"):
        compiled.pulse(chip, state, 1.0, 1e-6, Key(2), out=tree_map(np.float64, state))
    with pytest.raises(EngineError, match="out holds 3 arrays, the result 2"):
        compiled.pulse(chip, state, 1.0, 1e-6, Key(2), out=state._replace(trap=state.x))
    with pytest.raises(EngineError, match="not list"):
        compiled.pulse(chip, State(state.x, [0.0] * 10), 1.0, 1e-6, Key(2))
    with pytest.raises(EngineError, match="0 cells"):
        compiled.fabricate(load_device("threshold"), Key(0), 0)
    with pytest.raises(ValueError, match="0 to 2\\^64"):
        compiled.fabricate(load_device("threshold"), Key(-1), 10)


@numba
def test_the_ends_of_every_range_give_finite_numbers(compiled, everything):
    devices = []
    for name in presets():
        devices += at_all_ends(dressed(load_device(name), everything))
    chip = tree_map(lambda leaf: leaf if isinstance(leaf, str) else np.float32(leaf), side_by_side(devices, 4))
    assert use_engine(compiled, chip, 4 * len(devices), 10) == ""


def test_numbers_beyond_single_precision_are_refused(compiled):
    faint = load_device("threshold")
    faint = faint.replace(set=replace(faint.set, dose=1e-60), reset=replace(faint.reset, dose=1e-60))
    chip = faint.replace(mismatch=Mismatch())
    state = State(np.zeros(4, np.float32), np.zeros(4, np.float32))
    with pytest.raises(EngineError, match="single precision"):
        compiled.pulse(chip, state, np.full(4, 1.0), 1e-6, Key(0))


def test_importing_memenv_does_not_import_numba():
    import subprocess
    import sys

    code = "import sys, memenv, memenv.engine; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_traces_do_not_pile_up():
    assert run.MOST_TRACES < 10_000
