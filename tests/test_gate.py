"""The gate of a 1T1R cell: records, the law of a gated pulse, actions and observations, controllers."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from memenv.devices import Device, DeviceError, Gate, Mixture, from_json, load_device, to_json

VOLTS, STOPS = (1.5, 1.8, 2.2, 2.6), (0.0, 0.7, 0.82, 0.9)
GATE = Gate(low=1.0, high=4.0, volts=VOLTS, stops=STOPS, loss=1.5)
BARE = load_device("threshold").record
assert BARE is not None
GATED = BARE.replace(gate=GATE)
CELLS = 2000


def pulsed(device: Device, x: float, amplitude: float, width: float = 1e-6, cells: int = CELLS, seed: int = 0) -> Any:
    """States (cells,) of a chip after one pulse from `x`."""
    rng = np.random.default_rng(seed)
    chip = device.fabricate(rng, cells)
    state = chip.fresh(np.full(cells, x), rng.standard_normal((2, cells)))
    return chip.pulse(state, np.full(cells, amplitude), np.full(cells, width), rng.standard_normal((3, cells))).x


def gated(**changes: Any) -> Device:
    """The device with another gate."""
    return GATED.replace(gate=dataclasses.replace(GATE, **changes))


# -- the law -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("volts", "stop"), [*zip(VOLTS, STOPS, strict=True), (2.0, 0.76), (1.0, 0.0), (4.0, 0.9)])
def test_a_strong_set_ends_where_the_gate_stops_it(volts: float, stop: float) -> None:
    """The table at its voltages, linear in between, constant outside; a SET never lowers a state."""
    nominal = GATED.replace(mismatch=dataclasses.replace(BARE.mismatch, x_hi=0.0, x_lo=0.0))
    x = pulsed(nominal.at_gate(volts), 0.05, 1.8, 1e-5)
    np.testing.assert_allclose(x, max(stop, 0.05), atol=1e-2 if stop else 1e-12)
    assert (x <= max(stop, 0.05)).all()
    np.testing.assert_array_equal(pulsed(nominal.at_gate(volts), 0.95, 1.8), np.maximum(0.95, x.max()))


def test_where_a_set_stops_spreads_from_cell_to_cell_and_from_pulse_to_pulse() -> None:
    """Both standard deviations are those of the table; that of the cell is the same at the next pulse."""
    device = gated(mismatch=(0.0, 0.03, 0.03, 0.03), cycle_noise=(0.0, 0.02, 0.02, 0.02)).at_gate(1.8)
    device = device.replace(mismatch=dataclasses.replace(BARE.mismatch, x_hi=0.0, x_lo=0.0, rate=0.0, threshold=0.0))
    chip = device.fabricate(np.random.default_rng(1), CELLS)
    state = chip.fresh(np.full(CELLS, 0.05), np.zeros((2, CELLS)))
    pulse = np.full(CELLS, 1.8), np.full(CELLS, 1e-5)
    one, other = (
        chip.pulse(state, *pulse, np.random.default_rng(seed).standard_normal((3, CELLS))).x for seed in (2, 3)
    )
    np.testing.assert_allclose(one.std(), np.hypot(0.03, 0.02), rtol=0.05)
    np.testing.assert_allclose((one - other).std(), 0.02 * np.sqrt(2), rtol=0.05)


def test_a_reset_acts_with_the_gate_voltage_less_the_loss_at_most() -> None:
    """3 V of gate let 1.5 V through: more on the source line changes nothing, as much of gate shuts the cell off."""
    np.testing.assert_array_equal(pulsed(GATED.at_gate(3.0), 0.9, -1.8), pulsed(BARE.replace(gate=GATE), 0.9, -1.5))
    np.testing.assert_array_equal(pulsed(GATED.at_gate(1.5), 0.5, -1.8), 0.5)


def test_a_short_pulse_ends_before_the_word_line_is_up() -> None:
    """After one time constant the gate is at 1 - 1/e of its voltage."""
    slow = gated(rise=1e-6).at_gate(3.0)
    np.testing.assert_allclose(
        pulsed(slow, 0.05, 1.8, 1e-6), pulsed(GATED.at_gate(3.0 * (1 - np.exp(-1.0))), 0.05, 1.8, 1e-6), rtol=1e-9
    )


def test_a_gate_that_limits_nothing_changes_nothing() -> None:
    """To the bit, chip by chip but for the draw of the cell's own stop."""
    open_gate = gated(stops=(9.0,) * 4, loss=0.0)
    rng = np.random.default_rng(5)
    chip = open_gate.fabricate(rng, 100)
    state, noise = chip.fresh(rng.random(100), rng.standard_normal((2, 100))), rng.standard_normal((3, 100))
    pulse = rng.uniform(-1.8, 1.8, 100), rng.uniform(1e-7, 1e-5, 100), noise
    np.testing.assert_array_equal(chip.pulse(state, *pulse).x, chip.replace(gate=None).pulse(state, *pulse).x)


# -- the record --------------------------------------------------------------------------------------------------------


def test_records_keep_their_gate_and_those_without_one_do_not_mention_it() -> None:
    """JSON in and out."""
    assert from_json(to_json(GATED)) == GATED
    assert '"gate"' not in to_json(BARE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volts": ()}, r"gate.volts is \(\): 2 to 256 are needed, which ascend"),
        ({"volts": (1.0, 1.0, 2.0, 3.0)}, "which ascend"),
        ({"stops": (0.1,)}, "gate.stops is .*: one for each of the 4 gate.volts"),
        ({"mismatch": (0.1,)}, "gate.mismatch is .*: one for each"),
        ({"low": 5.0}, "gate.low is 5.0 and gate.high is 4.0"),
        ({"rise": -1.0}, "gate.rise is -1.0, allowed is 0 to 1000"),
        ({"stops": (0.0, 0.1, 0.2, "x")}, "gate.stops is 'x', a number is needed"),
    ],
)
def test_an_impossible_gate_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    """Each with the field, the value and what is allowed."""
    with pytest.raises(DeviceError, match=message):
        load_device(gated(**changes))


def test_a_voltage_beyond_the_gate_is_refused() -> None:
    """So is one of a device that has none, and a gated device in a mixture."""
    with pytest.raises(ValueError, match="allowed is 1 to 4 V"):
        GATED.at_gate(5.0)
    with pytest.raises(ValueError, match="threshold: it has no gate"):
        BARE.at_gate(2.0)
    with pytest.raises(DeviceError, match="a mixture takes devices without"):
        Mixture(devices=(GATED, BARE))
