"""The gate in the fit: columns that name it, where SETs stop and what RESETs lose, with intervals, and whose spread."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from memenv import DeviceError, fit
from memenv.devices import Device, Gate, Read, Response, load_device
from memenv.devices.command import card
from memenv.devices.command import plot as plot_device
from memenv.devices.uncertainty import Uncertainty, settled
from memenv.fitting.coordinates import values
from memenv.fitting.estimation import Estimate, Likeliest
from memenv.fitting.gates import with_gate
from memenv.fitting.headers import meaning
from memenv.fitting.likelihood import Trains, filtered
from memenv.fitting.plots import plot
from memenv.fitting.pulse_data import PulseData, read_csv

VOLTS = (1.6, 2.0, 2.6)
PULSE = {"amplitude": 1.4, "width": 1e-6, "threshold": 0.5, "slope": 0.2, "gamma": 1.0, "margin": 0.1}
GATE = Gate(low=1.6, high=3.5, volts=VOLTS, stops=(0.4, 0.7, 0.85), cycle_noise=(0.02,) * 3, loss=1.2)
DEVICE = Device(
    g_min=2e-6,
    g_max=2.5e-4,
    set=Response(**PULSE, dose=3.0, cycle_noise=0.3),
    reset=Response(**PULSE, dose=0.5, cycle_noise=0.2),
    read=Read(noise=0.003),
    gate=GATE,
)


def simulated(count: int = 80, pulses: int = 3, seed: int = 0) -> PulseData:
    """Trains of one cell, strong SETs and RESETs of two amplitudes in turn, at several gate voltages."""
    rng = np.random.default_rng(seed)
    state = DEVICE.fresh(0.1 + 0.7 * rng.random(count), rng.standard_normal((2, count)))
    up, still = np.arange(count) % 2 == 0, np.zeros(count)
    rows = [(DEVICE.sense(state, rng.standard_normal((2, count)))[0], still, still)]
    for _ in range(pulses):
        gate = np.where(up, rng.choice(VOLTS, count), rng.choice((2.0, 2.6, 3.5), count))
        amplitude = np.where(up, 1.4, -rng.choice((0.9, 1.4), count))
        noise = rng.standard_normal((3, count))
        state = DEVICE.at_gate(gate).pulse(state, amplitude, np.full(count, 1e-6), noise)
        rows.append((DEVICE.sense(state, rng.standard_normal((2, count)))[0], amplitude, gate))
    g, amplitude, gate = map(np.array, zip(*rows, strict=True))
    return PulseData(
        conductance=g,
        amplitude=amplitude,
        width=np.full(g.shape, 1e-6),
        device=np.zeros(count, int),
        devices=("one",),
        gate=gate,
    )


# -- the column --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "gate") for name in ("gate_V", "Gate (V)", "VG", "Vgs [V]", "gate_mV", "WL (V)", "wl_V", "V_WL")),
        *((name, "gate") for name in ("word line [V]", "Word_Line_Voltage", "VGate")),
        *((name, "other") for name in ("gate current (A)", "gate_A", "gate time (us)")),
        ("WL", "device"),
        ("BL (V)", "voltage"),
    ],
)
def test_a_gate_is_known_by_the_names_that_instruments_give_it(name: str, kind: str) -> None:
    """A word line without volts is an address."""
    assert meaning(name).kind == kind


def table(folder: Path, gates: tuple[str, ...], head: str = "gate_V") -> Path:
    """The record of a bench, whose first row is a read without a pulse."""
    rows = [f"cell,step,amplitude_V,width_s,conductance_S,{head}", "0,0,0.0,0.0,1e-5,"]
    rows += [
        f"0,{k},{1 if k < 26 else -1},1e-6,{6e-5 - 2e-6 * abs(k - 25)},{gates[k % len(gates)]}" for k in range(1, 51)
    ]
    (folder / "bench.csv").write_text("\n".join(rows))
    return folder / "bench.csv"


@pytest.mark.parametrize("head", ["gate_V", "WL"])
def test_gate_voltages_are_read_beside_the_pulses(head: str, tmp_path: Path) -> None:
    """Addresses have no fractions, so that `WL` is a voltage here; reads without a pulse have none."""
    data = read_csv(table(tmp_path, ("2.0", "2.5"), head))
    assert data.gate is not None and data.gate[:4, 0].tolist() == [0.0, 2.5, 2.0, 2.5]
    assert "gate 2 to 2.5 V" in data.summary() and f"gate voltages in '{head}'" in data.understood[0]


def test_one_gate_voltage_tells_nothing_of_a_gate(tmp_path: Path) -> None:
    assert read_csv(table(tmp_path, ("2.0",))).gate is None


def test_pulses_without_a_gate_voltage_among_others_that_have_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"17 of 50 pulses have no gate voltage .* others up to 2.5 V"):
        read_csv(table(tmp_path, ("2.0", "2.5", "")))


# -- the fit -----------------------------------------------------------------------------------------------------------


def test_a_known_gate_comes_back_and_stands_in_every_place(tmp_path: Path) -> None:
    """The truth lies within three errors (benchmarks/gated_labs.py counts intervals); what is not told is named."""
    found = fit(data := simulated(), name="gated")
    device, known = found.device, found.estimate
    assert device.gate is not None and device.gate.volts == VOLTS and (device.gate.low, device.gate.high) == (1.6, 3.5)
    size = (device.g_max - device.g_min) / (DEVICE.g_max - DEVICE.g_min)
    low = (device.g_min - DEVICE.g_min) / (DEVICE.g_max - DEVICE.g_min)
    truth = {f"gate.stops.{k}": (stop - low) / size for k, stop in enumerate(GATE.stops)}
    truth |= {f"gate.cycle_noise.{k}": noise / size for k, noise in enumerate(GATE.cycle_noise)} | {"gate.loss": 1.2}
    names, right = tuple(truth), np.array([*truth.values()])
    ends, errors = (np.array([each(name) for name in names]) for each in (known.interval, found.errors.get))
    assert (np.ptp(ends[:6], axis=1) < 0.05).all() and np.ptp(ends[6]) < 0.5
    assert (np.abs(np.array(values(device, names)) - right) < 3 * errors).all()
    assert {"gate.mismatch", "x_hi"} <= {*known.undetermined} and "gate.stops.0" not in known.undetermined
    assert device.uncertainty is not None and {"gate.stops", "gate.loss"} <= {*device.uncertainty.parameters}
    assert load_device(device) == device
    report = found.report()
    assert "gate.stops 1.6 V  " in report and "SET steps by gate" in report and "The gate stops SETs below" in report
    assert "gate       low=1.6, high=3.5" in card(device)
    plot(found, data, tmp_path / "fit.svg")
    plot_device(device, tmp_path / "device.svg")
    for name in ("fit.svg", "device.svg"):
        assert "where SETs stop" in (tmp_path / name).read_text()


def test_spread_of_stops_is_parted_into_that_of_cells_and_that_of_pulses() -> None:
    """By the variance between and within devices, here in equal parts of 0.04 each; of one device nothing is told."""
    rng, cells, each = np.random.default_rng(0), 40, 6
    chip = DEVICE.replace(gate=dataclasses.replace(GATE, cycle_noise=(0.04 * 2**0.5,) * 3))
    own = np.repeat(np.arange(cells), each)
    ends = 0.7 + 0.04 * rng.standard_normal(cells)[own] + 0.04 * rng.standard_normal(len(own))
    pulse = np.stack([np.zeros(len(own)), np.ones(len(own))])
    trains = Trains(
        reading=np.stack([np.full(len(own), 0.05), ends]),
        amplitude=1.4 * pulse,
        width=1e-6 * np.ones(pulse.shape),
        device=own,
        x_lo=np.zeros(len(own)),
        x_hi=np.ones(len(own)),
        jump=pulse > 1,
        gate=2.0 * pulse,
    )
    names = tuple(f"gate.cycle_noise.{k}" for k in range(3))
    told = Estimate(names, (0.1,) * 3, ((0.05, 0.064),) * 3, np.eye(3), ())
    likeliest = Likeliest(chip, names, told, np.zeros((4, cells)), None, 0.0)
    device, known = with_gate(likeliest, trains, told)
    assert device.gate is not None
    low, high = known.interval("gate.mismatch.1")
    assert low < 0.04 < high < 0.06 and low < device.gate.mismatch[1] < high
    np.testing.assert_allclose(np.hypot(device.gate.mismatch, device.gate.cycle_noise), 0.04 * 2**0.5)
    _, alone = with_gate(likeliest, trains._replace(device=0 * own), told)
    assert "gate.mismatch" in alone.undetermined


def test_trains_of_unlike_length_are_filtered_as_if_they_were_alike() -> None:
    """Short ones apart: nothing is computed beyond their ends."""
    rng, reads = np.random.default_rng(0), np.full((9, 12), np.nan)
    pulse = np.concatenate([np.zeros((1, 12)), np.ones((8, 12))])
    reads[:] = 0.3 + 0.03 * rng.standard_normal(reads.shape)
    trains = Trains(
        reads, 1.4 * pulse, 1e-6 + 0 * pulse, np.zeros(12, int), np.zeros(12), np.ones(12), pulse > 1, 2.0 * pulse
    )
    whole = filtered(DEVICE, trains, np.zeros((4, 12)))
    reads[2:, ::3] = np.nan
    for part, other in zip(filtered(DEVICE, trains, np.zeros((4, 12))), whole, strict=True):
        np.testing.assert_array_equal(part[:, 1], other[:, 1])
        np.testing.assert_array_equal(part[0], other[0])


def test_what_is_not_known_of_a_gate_moves_all_of_a_row() -> None:
    """Stops by an addend, spreads by a factor; a device without a gate cannot have it."""
    unknown = Uncertainty(parameters=("gate.stops", "gate.cycle_noise", "gate.loss"), deviations=(0.01, 0.5, 0.1))
    gate = settled(load_device(DEVICE.replace(uncertainty=unknown)), [1.0, -1.0, 2.0]).gate
    np.testing.assert_allclose(gate.stops, np.array(GATE.stops) + 0.01)
    np.testing.assert_allclose(gate.cycle_noise, 0.02 * np.exp(-0.5))
    assert gate.loss == pytest.approx(1.4)
    with pytest.raises(DeviceError, match=r"uncertainty of gate.stops is 0.01, but unnamed has no gate: leave it out"):
        load_device(DEVICE.replace(gate=None, uncertainty=unknown))


def test_pulses_of_the_radar_chip_give_back_where_its_sets_end(published: Path) -> None:
    """Single SETs of 1 us at three gate voltages, and a ramp of RESETs: the record's own ends within 4 uS of them."""
    with np.load(published / "radar" / "pulses.npz") as archive:
        sets, ramps = archive["single_set_1us"], archive["reset_sl"]
    sets = sets[sets["r_before_ohm"] > 5e4]
    trains = [row[None] for volts in (1.8, 2.2, 2.6) for row in sets[np.isclose(sets["wl_V"], volts)][:8]]
    own = ramps[ramps["cell"] == ramps["cell"][0]]
    trains.append(np.split(own, np.flatnonzero(np.diff(own["sl_V"]) < 0) + 1)[0][10:32])
    shape = (23, len(trains))
    g, amplitude, gate = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for k, rows in enumerate(trains):
        line, sign = ("bl_V", 1) if k < 24 else ("sl_V", -1)
        g[: len(rows) + 1, k] = 1 / np.append(rows["r_before_ohm"][0], rows["r_after_ohm"])
        amplitude[: len(rows) + 1, k] = sign * np.append(0.0, rows[line])
        gate[1 : len(rows) + 1, k] = rows["wl_V"]
    pulses = PulseData(
        conductance=g,
        amplitude=amplitude,
        width=np.full(shape, 1e-6),
        device=np.zeros(shape[1], int),
        devices=("chip",),
        gate=gate,
    )
    device, rng, ends = fit(pulses).device.replace(uncertainty=None), np.random.default_rng(0), list[float]()
    for k, volts in enumerate((1.8, 2.2, 2.6)):
        rows = np.concatenate(trains[8 * k : 8 * k + 8])
        before = np.repeat((1 / rows["r_before_ohm"] - device.g_min) / (device.g_max - device.g_min), 100)
        chip = device.fabricate(rng, 800).at_gate(volts)
        state, noise = chip.fresh(before, np.zeros((2, 800))), rng.standard_normal((3, 800))
        after = chip.conductance(chip.pulse(state, np.full(800, 2.0), np.full(800, 1e-6), noise))
        ends.append(after.mean() - np.mean(1 / rows["r_after_ohm"]))
    np.testing.assert_allclose(ends, 0.0, atol=4e-6)
