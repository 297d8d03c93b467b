"""Crossbars: chips, steps of writing, reads, products and counters, each against what is known in closed form."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from memenv.arrays import put, take, tree_map
from memenv.circuits.solver import Wires
from memenv.crossbars.converters import Converter, CrossbarError
from memenv.crossbars.crossbar import Crossbar, CrossbarState, shaped
from memenv.crossbars.operations import one_line
from memenv.crossbars.schemes import SCHEMES
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device, Mismatch
from memenv.devices.measured import TableDevice
from memenv.devices.reads import Read
from memenv.devices.records import DeviceError

SHAPE = (3, 6, 5)
WIRES = Wires(row_segment=5.0, col_segment=8.0, row_terminal=50.0)
SETTINGS = [
    {"scheme": scheme, "writing": writing, "wires": wires}
    for scheme in SCHEMES
    for writing in ("cells", "rows", "columns")
    for wires in (None, WIRES)
]


def sensitive(device: Device) -> Device:
    """The device with thresholds so low that half a pulse disturbs."""
    return device.replace(
        set=replace(device.set, threshold=0.3),
        reset=replace(device.reset, threshold=0.3),
        driver=load_device("threshold").driver,
    )


def fresh(crossbar: Crossbar, rng, arrays=SHAPE[:1]) -> CrossbarState:
    chip = crossbar.fabricate(rng, arrays)
    shape = (*arrays, *crossbar.shape)
    x = chip.x_lo + (chip.x_hi - chip.x_lo) * rng.random(shape)
    return crossbar.fresh(chip, x, rng.standard_normal((2, *shape)))


def pulses(crossbar: Crossbar, rng, arrays=SHAPE[:1]) -> tuple:
    """Amplitudes, widths, enabled cells and noise of a step."""
    shape = (*arrays, *crossbar.shape)
    amplitude = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.7, 1.5, shape)
    width = np.exp(rng.uniform(np.log(1e-7), np.log(1e-6), shape))
    return amplitude, width, rng.random(shape) < 0.7, rng.standard_normal((crossbar.write_channels, *shape))


def story(crossbar: Crossbar, state: CrossbarState, plan: tuple, reads, inputs, noise) -> tuple:
    """A step of writing, a read of some cells, and products: everything that can be observed."""
    amplitude, width, enabled, step = plan
    state = crossbar.write(state, crossbar.plan(amplitude, width, enabled), step)
    reading, state = crossbar.sense(state, reads, enabled)
    forward = crossbar.product(state, inputs, noise)
    return state, reading, forward, crossbar.product_energy(state, inputs), crossbar.conductance(state)


@pytest.fixture
def arguments_of(rng, everything):
    """Arguments of `story` for a device with every effect."""

    def of(**settings) -> tuple:
        crossbar = Crossbar(
            device=sensitive(everything),
            rows=SHAPE[1],
            cols=SHAPE[2],
            dac=Converter(bits=8, full_scale=0.2, noise=0.01),
            adc=Converter(bits=10, full_scale=1e-4, noise=0.01),
            **settings,
        )
        inputs, *noise = (rng.standard_normal((SHAPE[0], 2, lines)) for lines in (SHAPE[1], *SHAPE[1:]))
        reads = rng.standard_normal((2, *SHAPE))
        return crossbar, fresh(crossbar, rng), pulses(crossbar, rng), reads, 0.1 * inputs, tuple(noise)

    return of


def tensors(tree):
    torch = pytest.importorskip("torch")
    return tree_map(lambda leaf: torch.tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, tree)


def leaves(tree) -> list:
    found = []
    tree_map(lambda leaf: found.append(leaf) or leaf, tree)
    return found


# -- one text, records, batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS)
def test_backends_agree_in_double_precision(arguments_of, settings):
    crossbar, *arguments = arguments_of(**settings)
    expected, seen = story(crossbar, *arguments), story(crossbar, *map(tensors, arguments))
    for one, other in zip(leaves(expected), leaves(seen), strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_allclose(other.numpy(), one, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("settings", SETTINGS)
def test_arguments_are_never_written(arguments_of, settings):
    crossbar, *arguments = arguments_of(**settings)
    for leaf in leaves(tuple(arguments)):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
    story(crossbar, *arguments)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_batch_is_a_loop_over_arrays(arguments_of, settings):
    crossbar, state, plan, reads, inputs, noise = arguments_of(**settings)
    together = story(crossbar, state, plan, reads, inputs, noise)
    for k in range(SHAPE[0]):
        alone = story(
            crossbar,
            take(state, k),
            (*(part[k] for part in plan[:3]), plan[3][:, k]),
            reads[:, k],
            inputs[k],
            [part[k] for part in noise],
        )
        for one, other in zip(leaves(alone), leaves(take(together, k)), strict=True):
            if not isinstance(one, str):
                np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-18)  # wires: to the solver's tolerance


def test_arrays_of_a_batch_can_be_taken_out_and_put_back(rng):
    crossbar = Crossbar(rows=3, cols=4)
    state = fresh(crossbar, rng, (5,))
    index = np.array([3, 1])
    other = crossbar.rest(take(state, index), 1.0)
    again = put(state, index, other)
    np.testing.assert_array_equal(again.cell.age[index], other.cell.age)
    np.testing.assert_array_equal(again.cell.age[0], state.cell.age[0])


def test_a_chip_is_that_of_its_cells_in_c_order(rng):
    crossbar = Crossbar(device="hfo2-array-om", rows=4, cols=6)
    chip = crossbar.fabricate(np.random.default_rng(3), (2,))
    flat = crossbar.device.fabricate(np.random.default_rng(3), 48)
    np.testing.assert_array_equal(shaped(chip, (-1,)).x_lo, flat.x_lo)
    assert chip.x_lo.shape == (2, 4, 6)
    assert crossbar.fabricate(rng).x_lo.shape == (4, 6)


def test_neighbours_are_correlated_where_asked(rng):
    plain, smooth = (
        Crossbar(rows=32, cols=32, correlation=correlation, reach=3.0).fabricate(rng, (4,)).set.shift
        for correlation in (0.0, 0.9)
    )
    resemblance = [np.corrcoef(part[..., 1:].ravel(), part[..., :-1].ravel())[0, 1] for part in (plain, smooth)]
    assert abs(resemblance[0]) < 0.1
    assert resemblance[1] == pytest.approx(0.9 * math.exp(-1 / 36), abs=0.08)


# -- products ----------------------------------------------------------------------------------------------------------


def quiet(rows=7, cols=4, **settings) -> Crossbar:
    return Crossbar(device="ideal", rows=rows, cols=cols, **settings)


def silence(crossbar: Crossbar, inputs: int, arrays=(2,)) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.zeros((*arrays, inputs, lines)) for lines in crossbar.shape)


@pytest.mark.parametrize("inputs", [1, 3, 40])
def test_ideal_crossbar_is_a_matrix_product(rng, inputs):
    crossbar = quiet()
    state, volts = fresh(crossbar, rng, (2,)), rng.standard_normal((2, inputs, 7))
    seen = crossbar.product(state, volts, silence(crossbar, inputs))
    np.testing.assert_allclose(seen, volts @ crossbar.conductance(state), rtol=1e-14)


@pytest.mark.parametrize("inputs", [40, 600])
def test_wires_take_current_and_few_inputs_see_what_many_see(rng, inputs):
    state = fresh(quiet(), rng, (2,))
    x = rng.standard_normal((2, inputs, 7))
    ideal = quiet().product(state, x, silence(quiet(), inputs))
    crossbar = quiet(wires=WIRES)
    many = crossbar.product(state, x, silence(crossbar, inputs))
    few = crossbar.product(state, x[:, :3], silence(crossbar, 3))
    np.testing.assert_allclose(few, many[:, :3], rtol=1e-5, atol=1e-12)
    assert 0.005 < np.abs(many - ideal).max() / np.abs(ideal).max() < 0.2


def test_reads_that_do_not_converge_say_so(rng, monkeypatch):
    import memenv.crossbars.crossbar

    solve = memenv.crossbars.crossbar.fast
    monkeypatch.setattr(memenv.crossbars.crossbar, "fast", lambda *a: solve(*a, tolerance=1e-30, max_iterations=1))
    crossbar = quiet(wires=WIRES)
    with pytest.warns(RuntimeWarning, match=r"2 of 2 reads did not converge"):
        crossbar.product(fresh(crossbar, rng, (2,)), np.ones((2, 1, 7)), silence(crossbar, 1))


def copies(state: CrossbarState, count: int) -> CrossbarState:
    """The same array many times."""
    return take(
        tree_map(lambda leaf: leaf[None] if isinstance(leaf, np.ndarray) else leaf, state), np.zeros(count, int)
    )


def test_the_noise_of_a_product_is_that_of_reading_every_cell(rng):
    """Spread of the aggregated noise against the sum over cells that are read one by one."""
    read, many = Read(noise=0.02, noise_exponent=0.5), 5000
    crossbar = Crossbar(device=Device(read=read), rows=8, cols=3)
    state, volts = fresh(crossbar, rng, ()), rng.uniform(-0.2, 0.2, 8)
    cells, _ = crossbar.sense(copies(state, many), rng.standard_normal((2, many, 8, 3)))
    noise = np.zeros((many, 8)), rng.standard_normal((many, 3))
    seen = crossbar.product(state, np.tile(volts, (many, 1)), noise)
    np.testing.assert_allclose(seen.mean(0), volts @ crossbar.conductance(state), rtol=0.01)
    np.testing.assert_allclose(seen.std(0), (volts @ cells).std(0), rtol=0.06)


def test_moments_of_a_read_are_those_of_the_device_with_trap_and_growing_noise(rng, everything):
    crossbar = Crossbar(device=everything.replace(read=replace(everything.read, adc_bits=0)), rows=2, cols=3)
    state = crossbar.rest(crossbar.sense(fresh(crossbar, rng, ()), rng.standard_normal((2, 2, 3)))[1], 5e-4)
    reads, _ = crossbar.sense(copies(state, 20_000), rng.standard_normal((2, 20_000, 2, 3)))
    moments = state.chip.read_moments(state.cell)
    np.testing.assert_allclose(reads.mean(0), moments.mean, rtol=0.003)
    np.testing.assert_allclose(reads.std(0), np.sqrt(moments.variance), rtol=0.03)


def test_converters_round_and_clip_what_goes_in_and_comes_out(rng):
    dac, adc = Converter(bits=4, full_scale=0.2), Converter(bits=5, full_scale=2e-5)
    crossbar = quiet(dac=dac, adc=adc)
    state, volts = fresh(crossbar, rng, ()), rng.uniform(-0.4, 0.4, (50, 7))
    seen = crossbar.product(state, volts, silence(crossbar, 50, ()))
    np.testing.assert_allclose(seen, adc.rounded(dac.rounded(volts) @ crossbar.conductance(state)), rtol=1e-12)
    assert len(np.unique(seen)) <= 31 and np.abs(seen).max() == pytest.approx(2e-5)


def test_gradients_of_a_product_are_finite_at_zero_inputs(rng):
    torch = pytest.importorskip("torch")
    crossbar = Crossbar(device="threshold", rows=4, cols=3)
    state = tensors(fresh(crossbar, rng, ()))
    x = state.cell.x.clone().requires_grad_()
    state = state._replace(cell=state.cell._replace(x=x))
    noise = torch.ones((2, 4), dtype=torch.float64), torch.ones((2, 3), dtype=torch.float64)
    inputs = torch.tensor([[0.0] * 4, [0.1, 0.0, -0.1, 0.2]], dtype=torch.float64, requires_grad=True)
    gradients = torch.autograd.grad(crossbar.product(state, inputs, noise).sum(), (x, inputs))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0] != 0).any()


# -- writing and its cost ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writing", ["cells", "rows", "columns"])
def test_behind_transistors_a_step_is_the_pulses_of_its_cells(arguments_of, writing):
    crossbar, state, (amplitude, width, enabled, noise), *_ = arguments_of(writing=writing)
    operations = crossbar.plan(amplitude, width, enabled)
    after = crossbar.write(state, operations, noise)
    expected = state.chip.pulse(state.cell, operations.amplitude, operations.width, noise)
    np.testing.assert_array_equal(after.cell.x, expected.x)
    np.testing.assert_array_equal(after.cell.x[~enabled], state.cell.x[~enabled])


def test_wires_lower_what_reaches_the_far_cells(rng):
    device = load_device("threshold").replace(mismatch=Mismatch())
    plain = Crossbar(device=device, rows=16, cols=16)
    wired = plain.replace(wires=Wires(row_segment=10.0, col_segment=10.0))
    state = fresh(plain, rng, ())
    state = state._replace(cell=state.cell._replace(x=np.full((16, 16), 0.5)))
    step = plain.plan(np.full((16, 16), 1.2), np.full((16, 16), 1e-7), np.full((16, 16), True))
    gain, less = (crossbar.write(state, step, np.zeros((3, 16, 16))).cell.x - 0.5 for crossbar in (plain, wired))
    share = less / gain
    assert share[-1, 0] == share.max() and share[0, -1] == share.min()  # next to both terminals, and far from them
    assert 0.7 < share.min() < 0.95 < share.max() < 1.0


@pytest.mark.parametrize("writing", ["cells", "rows"])
def test_a_read_with_wires_shows_less_of_the_far_cells(rng, writing):
    crossbar = quiet(16, 16, wires=WIRES, writing=writing)
    state = fresh(crossbar, rng, ())
    reading, _ = crossbar.sense(state, np.zeros((2, 16, 16)))
    share = reading / crossbar.conductance(state)
    assert (share < 1).all() and share[0, -1] < share[-1, 0]


@pytest.mark.parametrize("settings", [s for s in SETTINGS if s["wires"] is None])
def test_counters_add_up(arguments_of, settings):
    crossbar, state, (amplitude, width, enabled, noise), reads, *_ = arguments_of(**settings)
    operations = crossbar.plan(amplitude, width, enabled)
    after = crossbar.write(state, operations, noise)
    reading, last = crossbar.sense(after, reads, enabled)
    duration = crossbar.device.read.duration
    np.testing.assert_array_equal(last.pulses, enabled)
    np.testing.assert_array_equal(last.reads, enabled)
    np.testing.assert_allclose(last.sequential, operations.width.sum((1, 2)) + duration * enabled.sum((1, 2)))
    lines = enabled.any(1 if crossbar.writing == "columns" else 2).sum(1)
    if crossbar.writing == "cells":
        np.testing.assert_allclose(last.latency, last.sequential)
    else:
        np.testing.assert_allclose(last.latency, operations.line_width.sum((1, 2)) + duration * lines)
        assert (last.latency < last.sequential).all()
    spent, read = after.energy, last.energy - after.energy
    if crossbar.scheme == "1T1R":
        np.testing.assert_allclose(read, enabled * state.chip.read_energy(crossbar.conductance(after)))
    own = state.chip.pulse_energy(
        crossbar.conductance(state),
        crossbar.conductance(crossbar.rest(after, -operations.latency[:, None, None])),
        operations.amplitude,
        operations.width,
    )
    if crossbar.scheme == "1T1R":
        np.testing.assert_allclose(spent, own, rtol=0.02)  # but for what retention did meanwhile
    else:
        assert (spent > own)[enabled].mean() > 0.9 and (spent[~enabled] > 0).all()
    assert np.isnan(reading[~enabled]).all() and np.isfinite(reading[enabled]).all()
    again = crossbar.write(last, operations, noise)
    np.testing.assert_array_equal(again.pulses, 2 * enabled)
    np.testing.assert_allclose(again.latency - last.latency, operations.latency)


@pytest.mark.parametrize(
    ("writing", "driven"),
    [
        ("cells", [[2, 2, 2], [1, 1, 1], [0, 0, 0]]),
        ("rows", [[1, 1, 1], [1, 1, 1], [0, 0, 0]]),
        ("columns", [[1, 1, 0]]),
    ],
)
def test_without_transistors_a_read_pays_for_the_line_that_it_drives(rng, writing, driven):
    enabled = np.array([[True, True, False], [True, False, False], [False, False, False]])
    spent = {}
    for scheme in ("1T1R", "V/3"):
        crossbar = quiet(3, 3, scheme=scheme, writing=writing)
        state = fresh(crossbar, rng, ())
        _, after = crossbar.sense(state, np.zeros((2, 3, 3)), enabled)
        spent[scheme] = after.energy / state.chip.read_energy(crossbar.conductance(state))
        np.testing.assert_array_equal(after.reads, enabled)
    np.testing.assert_allclose(spent["1T1R"], enabled)
    np.testing.assert_allclose(spent["V/3"], np.broadcast_to(driven, (3, 3)))


@pytest.mark.parametrize(("scheme", "expected"), [("V/2", (0.25, 0.0)), ("V/3", (1 / 9, 1 / 9))])
def test_cells_that_are_not_written_burn_their_share_of_the_power(scheme, expected):
    crossbar = Crossbar(device="ideal", rows=3, cols=3, scheme=scheme)
    state = fresh(crossbar, np.random.default_rng(0), ())
    line = np.array([0.0, 1.0, 0.0])
    operations = one_line(line, np.full(3, 1e-6), np.eye(3, dtype=bool)[[1, 1, 1]])
    after = crossbar.write(state, operations, np.zeros((9, 3, 3)))
    share = after.energy / (crossbar.conductance(state) * 1e-6)
    np.testing.assert_allclose(share[[0, 1, 2, 1], [1, 0, 1, 2]], expected[0])
    np.testing.assert_allclose(share[[0, 0, 2, 2], [0, 2, 0, 2]], expected[1])


def test_time_passes_for_all_cells_while_a_step_is_written(rng):
    crossbar = Crossbar(device="pcm", rows=4, cols=4)
    state = fresh(crossbar, rng, ())
    enabled = np.zeros((4, 4), bool)
    enabled[0] = True
    operations = crossbar.plan(np.full((4, 4), 1.0), np.full((4, 4), 5e-8), enabled)
    after = crossbar.write(state, operations, np.zeros((3, 4, 4)))
    np.testing.assert_allclose(after.cell.age[1:], state.cell.age[1:] + 2e-7)
    np.testing.assert_allclose(after.cell.age[0], 1.5e-7)


def test_a_measured_table_is_refused_where_half_a_pulse_counts(tmp_path):
    g, steps = np.linspace(1e-5, 1e-4, 20)[None], np.full((1, 2, 20), 1e-6)
    table = {"device": np.arange(1), "conductance": g, "cdf": np.array([0.0, 1.0]), "dg_set": steps, "dg_reset": -steps}
    np.savez(tmp_path / "t.npz", **table)
    crossbar = Crossbar(device=TableDevice.load(tmp_path / "t.npz"), rows=3, cols=4, writing="rows")
    with pytest.raises(CrossbarError, match=r"scheme is 'V/2', but t, no parametric device, does not know"):
        crossbar.replace(scheme="V/2")


def test_an_array_of_mixed_devices_is_written_read_and_multiplied(rng):
    crossbar = Crossbar(device=["threshold", "threshold"], rows=4, cols=4, writing="rows", scheme="V/2")
    state = fresh(crossbar, rng, ())
    amplitude, width, enabled, noise = pulses(crossbar, rng, ())
    state = crossbar.write(state, crossbar.plan(amplitude, width, enabled), noise)
    reading, state = crossbar.sense(state, np.zeros((2, 4, 4)))
    assert np.isfinite(reading).all() and np.isfinite(state.energy).all()
    assert np.isfinite(crossbar.product(state, np.ones((1, 4)), (np.ones((1, 4)), np.ones((1, 4))))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "rows is 0, allowed is a whole number >= 1"),
        ({"cols": 2.5}, "cols is 2.5"),
        ({"scheme": "V/4"}, "scheme is 'V/4', allowed is 1T1R, V/2, V/3"),
        ({"writing": "diagonal"}, "writing is 'diagonal', allowed is cells, rows, columns"),
        ({"levels": (0, 3)}, "levels is"),
        ({"correlation": 2.0}, "correlation is 2.0"),
        ({"reach": 0.0}, "reach is 0.0"),
        ({"dac": 3}, "dac is 3, allowed is a Converter"),
        ({"adc": None}, "adc is None"),
        ({"wires": 3.0}, "wires is 3.0, allowed is Wires or None"),
        ({"dac": Converter(bits=2, full_scale=10.0)}, "rounded to zero; lower its full_scale"),
        ({"adc": Converter(bits=8)}, "adc has levels 0.00787 A apart, at most 0.00128 are allowed"),
        ({"adc": Converter(bits=8, full_scale=1e-9)}, "at least 1e-05 is needed: what one cell conducts"),
    ],
)
def test_impossible_settings_say_what_is_allowed(settings, message):
    with pytest.raises(CrossbarError, match=message):
        Crossbar(**settings)


def test_an_unknown_device_is_refused():
    with pytest.raises(DeviceError, match="unknown device"):
        Crossbar(device="unobtainium")


def test_a_step_on_a_healthy_array_warns_of_nothing(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crossbar = Crossbar(device="hfo2-array-om", rows=16, cols=16, scheme="V/3", wires=Wires())
        state = fresh(crossbar, rng, ())
        crossbar.write(state, crossbar.plan(*pulses(crossbar, rng, ())[:3]), np.zeros((9, 16, 16)))
