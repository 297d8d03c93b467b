"""Probing an unknown device: the pulses that tell most, and what is known after them."""

import numpy as np
import pytest

from memenv import load_device
from memenv.__main__ import main
from memenv.devices.law import equivalent_pulses
from memenv.devices.records import validate
from memenv.lab import BenchError, SimulatedBench, probe
from memenv.lab.log import read_log
from memenv.lab.probing import _doubt, _gains, _log_doses, candidates

DEVICE = load_device("enode-sandia")
CELLS = np.arange(8)


def log_doses(device):
    """ln of the median doses of the candidates, of a record or a chip."""
    found = []
    for up, amplitude, width in zip(*candidates(DEVICE), strict=True):
        law = (device.set if up else device.reset).law()
        found.append(np.log(np.median(law.dose * equivalent_pulses(law, amplitude, width)) + 1e-4))
    return np.array(found)


def test_a_few_pulses_tell_most_of_what_the_record_does_not_know(tmp_path):
    before, after = [], []
    for seed in range(6):
        bench = SimulatedBench(DEVICE, len(CELLS), seed)
        learnt = validate(probe(bench, DEVICE, CELLS, 10, tmp_path / f"{seed}.csv", seed))
        for errors, record in ((before, DEVICE), (after, learnt)):
            errors.append(np.sqrt(np.mean((log_doses(record) - log_doses(bench.chip)) ** 2)))
        left, unknown = learnt.uncertainty.deviations, DEVICE.uncertainty.deviations
        assert np.prod(left) < 0.2 * np.prod(unknown) and max(np.divide(left, unknown)) < 1.1
    assert np.median(after) < 0.4 * np.median(before)


def test_a_pulse_is_worth_what_it_tells_of_all_pulses_and_nothing_below_the_threshold():
    rng = np.random.default_rng(0)
    known, cloud = candidates(DEVICE), rng.standard_normal((1000, 4))
    doses = _log_doses(DEVICE, known, cloud)
    gains = _gains(doses, _doubt(DEVICE, known, doses.mean(0), 0.5, 8))
    best, total = int(np.argmax(gains)), np.var(doses, axis=0).mean()
    assert 0.2 * total < gains[best] < total
    same = known.up == known.up[best]
    weak = same & (known.amplitude < 0.65) & (known.width < 2e-7)  # hardly above the threshold, and short
    assert weak.any() and gains[weak].max() < 0.3 * gains[best]


def test_what_a_probe_gave_and_read_is_written_down(tmp_path):
    probe(SimulatedBench(DEVICE, 8, 0), DEVICE, CELLS[:3], 4, tmp_path / "probe.csv")
    rows = read_log(tmp_path / "probe.csv")
    assert sorted(rows) == [0, 1, 2] and all(len(one) == 5 for one in rows.values())
    assert all(abs(row.amplitude) >= 0.5 for row in rows[0][1:]) and rows[0][0].amplitude == 0


def test_a_probe_that_cannot_be_ends_in_one_line_and_leaves_no_voltage(tmp_path):
    bench, off = SimulatedBench(DEVICE, 8, 0), []
    bench.off = lambda: off.append(True)
    bench.read = lambda cells: np.full(len(cells), np.nan)
    with pytest.raises(BenchError, match="a read of cells 0, 1, 2, 3, 4 and 3 more is no finite number"):
        probe(bench, DEVICE, CELLS, 4, tmp_path / "probe.csv")
    assert off
    with pytest.raises(ValueError, match=r"probe.csv is there already"):
        probe(bench, DEVICE, CELLS, 4, tmp_path / "probe.csv")
    with pytest.raises(ValueError, match="nothing of its record is uncertain"):
        probe(bench, DEVICE.replace(uncertainty=None), CELLS, 4, tmp_path / "other.csv")


def test_probe_then_program_tells_the_pulses_of_each_part(tmp_path, capsys):
    words = ["--chips", "2", "--cells", "8", "--probed", "4", "--pulses", "5", "--out", str(tmp_path / "out")]
    assert main(["probe", *words]) == 0
    said = capsys.readouterr().out
    assert "5 pulses on each of 4 cells, 20 of a chip" in said and "| generalist, probed |" in said
    assert load_device(tmp_path / "out" / "record.json").uncertainty.deviations < DEVICE.uncertainty.deviations
    assert main(["probe", "--probed", "9", "--cells", "8", "--out", str(tmp_path / "other")]) == 2
    assert "probed is 9, allowed is at most cells, 8" in capsys.readouterr().err
