"""Benches: any policy programs cells on them, under limits, with a record that `memenv fit` reads and a run resumes."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from agents.classical.gated import GateISPP
from agents.evaluation import evaluate
from agents.library import load_policy
from memenv import TaskError, WriteVerify, load_device, read_pulses
from memenv.fitting.pulse_data import PulseData
from memenv.lab import BenchError, Limits, RecordedBench, SimulatedBench, program
from memenv.lab.log import GATED, HEADER, LOST, Log, read_log
from memenv.lab.session import Session

TASK = WriteVerify(device="threshold", give_up=True)
TARGETS = np.random.default_rng(0).uniform(2e-5, 8e-5, 40)


class Failing(SimulatedBench):
    """A bench that fails in its call number `at`, as it is told; it remembers whether a voltage was left on."""

    def __init__(self, at: int, failure, method: str = "read", **own) -> None:
        super().__init__("threshold", len(TARGETS), **own)
        self.at, self.failure, self.method, self.calls, self.voltage = at, failure, method, 0, False

    def _maybe(self, method, cells):
        self.calls += method == self.method
        if method == self.method and self.calls == self.at:
            return self.failure(cells)
        return None

    def pulse(self, cells, amplitude, width):
        self.voltage = True
        self._maybe("pulse", cells)
        super().pulse(cells, amplitude, width)
        self.voltage = False

    def read(self, cells):
        other = self._maybe("read", cells)
        return super().read(cells) if other is None else other

    def off(self):
        self.voltage = False


def raising(error):
    def fail(cells):
        raise error

    return fail


def spoiled(value):
    return lambda cells: np.where(np.arange(len(cells)) == 2, value, 5e-5)


# -- programming -------------------------------------------------------------------------------------------------------


class Watched(SimulatedBench):
    """A bench that remembers its pulses."""

    def __init__(self, *own, **more) -> None:
        super().__init__(*own, **more)
        self.pulses = []

    def pulse(self, cells, amplitude, width, gate):
        self.pulses += zip(cells.tolist(), amplitude.tolist(), width.tolist(), gate.tolist(), strict=True)
        super().pulse(cells, amplitude, width, gate)


def test_a_gate_is_driven_on_the_bench_written_down_and_resumed(tmp_path):
    task = WriteVerify(device="hfo2-radar", tolerance=0.05, give_up=True)
    policy, targets = GateISPP(task=task, gate_start=0.1, reset_start=1.0), np.full(6, 1.2e-4)
    bench = Watched("hfo2-radar", 6, seed=1)
    done = program(bench, policy, task, targets, tmp_path / "bench.csv")
    assert (done.outcome == "accepted").sum() > 3 and done.pulses.sum() == len(bench.pulses) > 6
    log = read_log(tmp_path / "bench.csv", GATED)
    written = [(row.cell, row.amplitude, row.width, row.gate) for rows in log.values() for row in rows if row.width]
    assert sorted(written) == sorted(bench.pulses)
    assert len({gate for *_, gate in bench.pulses}) > 2 and {rows[0].gate for rows in log.values()} == {0.0}
    again = Watched("hfo2-radar", 6, seed=2)
    assert (
        program(again, policy, task, targets, tmp_path / "bench.csv", resume=True).pulses.tolist()
        == done.pulses.tolist()
    )
    assert not again.pulses
    other = dataclasses.replace(policy, gate_start=0.5)
    with pytest.raises(BenchError, match=r"V, .* s, gate .* V as step 1 of cell .*, this policy gives .* gate"):
        program(again, other, task, targets, tmp_path / "bench.csv", resume=True)


def test_a_bench_without_a_gate_is_refused_by_a_policy_that_chooses_one(tmp_path):
    task = WriteVerify(device="hfo2-radar", give_up=True)
    bench = Failing(0, None)
    with pytest.raises(
        ValueError, match=r"chooses a gate of 1.4 to 4 V, and the bench's pulse takes none: give it one"
    ):
        program(bench, load_policy("secant", task), task, TARGETS, tmp_path / "bench.csv")
    bench.pulse = lambda cells, amplitude, width, *, gate=None: pytest.fail("gates come as a fourth argument")
    with pytest.raises(ValueError, match="takes none"):
        program(bench, load_policy("secant", task), task, TARGETS, tmp_path / "bench.csv")
    assert not bench.calls and not (tmp_path / "bench.csv").exists()


def test_a_bench_that_hands_its_pulses_on_takes_a_gate(tmp_path):
    task = WriteVerify(device="hfo2-radar", give_up=True)
    bench = SimulatedBench("hfo2-radar", 2, seed=1)
    own, gates = bench.pulse, []
    bench.pulse = lambda *pulse: gates.append(pulse[3]) or own(*pulse)
    assert program(bench, load_policy("secant", task), task, [1e-4, 1.5e-4], tmp_path / "bench.csv").pulses.any()
    assert gates


@pytest.mark.parametrize("name", ["ispp", "secant", "history", "bayes", "generalist"])
def test_any_policy_programs_simulated_cells_as_well_as_in_the_environment(name, tmp_path):
    policy, bench = load_policy(name, TASK), SimulatedBench("threshold", len(TARGETS), seed=1)
    done = program(bench, policy, TASK, TARGETS, tmp_path / "bench.csv")
    accepted = done.outcome == "accepted"
    size = TASK.device.g_max - TASK.device.g_min
    assert accepted.mean() >= 0.95
    assert np.abs(done.conductance - TARGETS)[accepted].max() <= TASK.tolerance * size
    there = evaluate(policy, TASK, 200, 0)
    assert done.pulses.mean() == pytest.approx(there.pulses.mean(), rel=0.35)


def test_the_record_holds_every_pulse_and_read_and_fit_reads_it(tmp_path):
    bench = SimulatedBench("threshold", len(TARGETS), seed=1)
    done = program(bench, load_policy("ispp", TASK), TASK, TARGETS, tmp_path / "bench.csv")
    data = read_pulses(tmp_path / "bench.csv")
    assert len(data.devices) == sum(done.pulses > 0) and data.amplitude_known and data.width_known
    assert int(data.of(1).sum() + data.of(-1).sum()) == done.pulses.sum()
    last = {name: data.conductance[:, data.device == k] for k, name in enumerate(data.devices)}
    for cell, g in zip(done.cells, done.conductance, strict=True):
        assert done.pulses[cell] == 0 or g in last[str(cell)]


def test_a_cell_that_begins_in_the_band_gets_no_pulse(tmp_path):
    bench = SimulatedBench("threshold", 3, seed=1)
    done = program(bench, load_policy("ispp", TASK), TASK, bench.conductance(), tmp_path / "bench.csv")
    assert done.pulses.tolist() == [0, 0, 0] and done.outcome.tolist() == ["accepted"] * 3


def test_confirming_reads_are_reads_of_the_bench(tmp_path):
    task = WriteVerify(device="threshold", confirm_reads=2)
    done = program(
        SimulatedBench("threshold", 40, seed=1), load_policy("secant", task), task, TARGETS, tmp_path / "bench.csv"
    )
    assert (done.reads[done.outcome == "accepted"] >= done.pulses[done.outcome == "accepted"] + 3).all()


def test_waiting_lets_simulated_cells_drift():
    now, later = (SimulatedBench("pcm", 200, seed=1, latency=wait) for wait in (0.0, 1e4))
    cells = np.arange(200)
    first, after = (bench.read(cells) for bench in (now, later))
    assert np.median(after / first) < 0.8


def test_a_discrete_menu_and_a_history_of_steps_see_what_they_see_in_the_environment(tmp_path):
    task, seen = WriteVerify(device="threshold", action="discrete", history=4), []

    class Weakest:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            seen.append(observation)
            up = task.view(observation).read < task.view(observation).target
            return np.where(up, 1, 25), state

    program(SimulatedBench("threshold", 40, seed=1), Weakest(), task, TARGETS, tmp_path / "b.csv")
    assert len(seen[0]) > 30
    assert all(task.observation_space.contains(row) for part in seen for row in part)


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_driver_beyond_the_limits_is_refused_before_the_first_pulse(tmp_path):
    bench = Failing(1, raising(AssertionError("asked")))
    for limits, said in (
        (Limits(amplitude=1.5), "pulse amplitude of 1.8 V, the limit is 1.5 V"),
        (Limits(width=1e-6), "pulse width of 1e-05 s, the limit is 1e-06 s"),
    ):
        with pytest.raises(ValueError, match=said):
            program(bench, load_policy("ispp", TASK), TASK, TARGETS, tmp_path / "bench.csv", limits=limits)
    radar = load_device("hfo2-radar")
    gated = SimulatedBench(radar, 1)
    for device in (radar, radar.at_gate(3.5)):
        with pytest.raises(ValueError, match=r"pulse gate of (4|3\.5) V, the limit is 3 V"):
            task = WriteVerify(device=device)
            program(gated, load_policy("ispp", task), task, [1e-4], tmp_path / "bench.csv", limits=Limits(gate=3.0))
    assert bench.calls == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "limits", [Limits(pulses=3), Limits(reads=4), Limits(energy=2e-10)], ids=["pulses", "reads", "energy"]
)
def test_no_limit_is_exceeded_and_cells_that_would_are_named(limits, tmp_path):
    bench = SimulatedBench("threshold", len(TARGETS), seed=1)
    done = program(bench, load_policy("ispp", TASK), TASK, TARGETS, tmp_path / "bench.csv", limits=limits)
    assert done.pulses.max() <= (limits.pulses or 50) and done.reads.max() <= (limits.reads or 51)
    assert done.energy.max() <= limits.energy
    assert len(done.of("limit")) > 5 and (done.outcome != "limit").any()


@pytest.mark.parametrize("own", [{"amplitude": 0.0}, {"pulses": 0}, {"energy": np.nan}, {"width": np.inf}])
def test_a_limit_that_is_no_positive_number_is_refused(own):
    with pytest.raises(ValueError, match=next(iter(own))):
        Limits(**own)


def test_a_pulse_beyond_the_limits_never_reaches_the_bench(tmp_path):
    class Reckless:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return TASK.encode(np.full(len(observation), 99.0), np.full(len(observation), 1.0)), state

    given = []
    bench = SimulatedBench("threshold", 2, seed=1)
    bench.pulse = lambda cells, amplitude, width: given.extend([*amplitude, *width])
    program(bench, Reckless(), TASK, [5e-5, 6e-5], tmp_path / "b.csv", limits=Limits(amplitude=1.8, width=1e-5))
    assert max(given) <= 1.8


def test_a_limit_of_a_gate_that_the_device_has_not_is_refused():
    with pytest.raises(ValueError, match=r"limits have a gate of 2\.5 V, the policy's device has none: nothing would"):
        Limits(gate=2.5).filled(TASK.device.driver)


def test_a_gate_beyond_its_limit_never_reaches_the_bench(tmp_path):
    device = load_device("hfo2-radar")
    session = Session(
        bench := SimulatedBench(device, 2, seed=1),
        device,
        np.arange(2),
        np.full(2, 1e-4),
        dataclasses.replace(Limits().filled(device.driver), gate=2.5),
        Log(tmp_path / "b.csv", GATED),
        {},
        True,
    )
    state, pulse = bench.state, (np.arange(2), np.full(2, 1.0), np.full(2, 1e-6))
    with pytest.raises(BenchError, match="a pulse beyond the limits was asked of cell 1: none is given"):
        session.pulse(*pulse, np.array([2.5, 2.6]))
    assert bench.state is state
    session.pulse(*pulse, np.array([2.5, 2.5]))
    assert bench.state is not state
    session.close()


# -- what goes wrong ---------------------------------------------------------------------------------------------------

FAILURES = {
    "nan": (4, spoiled(np.nan), "read", r"the read of cell \d+ is no finite number"),
    "overload": (4, spoiled(9.9e37), "read", r"the read of cell \d+ is 9.9e\+37 S, an overload"),
    "negative": (4, spoiled(-1e-5), "read", r"the read of cell \d+ is -1e-05 S, negative: check the sign of current"),
    "shape": (4, lambda cells: np.ones(1), "read", "is no finite number"),
    "timeout": (4, raising(TimeoutError("no answer")), "read", r"a read of cells .* failed: TimeoutError: no answer"),
    "gone": (3, raising(ConnectionError("gone")), "pulse", r"a pulse on cells .* failed: ConnectionError: gone"),
}


def test_a_read_that_noise_alone_takes_below_zero_is_no_fault(tmp_path):
    bench = Failing(2, spoiled(-1e-6), "read", seed=1)  # twice the noise of a read, 0.4 % of 98 uS
    assert len(program(bench, load_policy("ispp", TASK), TASK, TARGETS, tmp_path / "a.csv").of("accepted")) > 30


@pytest.mark.parametrize(("at", "failure", "method", "said"), FAILURES.values(), ids=FAILURES)
def test_a_bench_that_fails_is_stopped_named_and_left_without_voltage(at, failure, method, said, tmp_path):
    out, bench = tmp_path / "bench.csv", Failing(at, failure, method, seed=1)
    with pytest.raises(BenchError, match=f"{said}.*; {re.escape(str(out))} keeps what is done, go on with resume"):
        program(bench, load_policy("ispp", TASK), TASK, TARGETS, out)
    assert not bench.voltage
    assert LOST in out.read_text() and len(read_pulses(out).devices) > 30  # and what is kept can be fitted


@pytest.mark.parametrize(("at", "failure", "method"), [case[:3] for case in FAILURES.values()], ids=FAILURES)
def test_a_resumed_run_gives_no_pulse_of_the_record_again(at, failure, method, tmp_path):
    out, bench = tmp_path / "bench.csv", Failing(at, failure, method, seed=1)
    with pytest.raises(BenchError):
        program(bench, load_policy("secant", TASK), TASK, TARGETS, out)
    before, lines = read_log(out), out.read_text().splitlines()
    done = program(bench, load_policy("secant", TASK), TASK, TARGETS, out, resume=True)
    assert out.read_text().splitlines()[: len(lines)] == lines  # the record is only added to
    rows = read_log(out)
    assert (done.outcome == "accepted").mean() > 0.95
    for cell in range(len(TARGETS)):
        assert len(rows[cell]) == done.reads[cell] >= len(before[cell])
        assert sum(row.amplitude != 0 for row in rows[cell]) == done.pulses[cell]


def test_an_interrupted_run_resumes_as_if_nothing_had_happened(tmp_path):
    whole = program(
        SimulatedBench("threshold", 40, seed=1), load_policy("secant", TASK), TASK, TARGETS, tmp_path / "whole.csv"
    )
    bench, steps = SimulatedBench("threshold", 40, seed=1), iter([False, False, False, True])
    out = tmp_path / "parts.csv"
    part = program(bench, load_policy("secant", TASK), TASK, TARGETS, out, stop=lambda: next(steps))
    assert 0 < len(part.of("stopped")) < 40
    done = program(bench, load_policy("secant", TASK), TASK, TARGETS, out, resume=True)
    np.testing.assert_array_equal(done.conductance, whole.conductance)
    np.testing.assert_allclose(done.energy, whole.energy)
    assert out.read_text() == (tmp_path / "whole.csv").read_text()


def test_ctrl_c_in_the_middle_of_a_pulse_leaves_no_voltage_and_whole_rows(tmp_path):
    bench, out = Failing(2, raising(KeyboardInterrupt()), "pulse", seed=1), tmp_path / "bench.csv"
    with pytest.raises(KeyboardInterrupt):
        program(bench, load_policy("ispp", TASK), TASK, TARGETS, out)
    assert not bench.voltage
    assert all(len(line.removeprefix(LOST).split(",")) == 6 for line in out.read_text().splitlines())


def test_a_row_that_a_kill_cut_off_is_dropped_and_its_pulse_is_not_invented(tmp_path):
    out, bench = tmp_path / "bench.csv", SimulatedBench("threshold", 40, seed=1)
    program(bench, load_policy("ispp", TASK), TASK, TARGETS, out)
    text = out.read_text()
    out.write_text(text[:-9])
    read_log(out)
    assert out.read_text() == text[: text[:-1].rfind("\n") + 1]


def test_cells_that_never_move_are_named_and_the_others_are_programmed(tmp_path):
    bench = SimulatedBench("threshold", 4, seed=1)
    whole = bench.pulse
    moving = np.array([0, 1, 3])

    def pulse(cells, amplitude, width):
        keep = np.isin(cells, moving)
        whole(cells[keep], amplitude[keep], width[keep])

    bench.pulse = pulse
    task = WriteVerify(device="threshold")
    done = program(bench, load_policy("ispp", task), task, [2e-5, 3e-5, 9e-5, 8e-5], tmp_path / "bench.csv")
    assert done.of("unmoved").tolist() == [2] and done.pulses[2] == 20
    assert done.of("accepted").tolist() == [0, 1, 3]
    assert "(cell 2 did not move)" in done.summary()


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_another_policy_or_target_does_not_resume_a_record(tmp_path):
    out, bench = tmp_path / "bench.csv", SimulatedBench("threshold", 40, seed=1)
    program(bench, load_policy("ispp", TASK), TASK, TARGETS, out)
    with pytest.raises(BenchError, match=r"the record has .* as step 1 of cell 0, this policy gives"):
        program(bench, load_policy("secant", TASK), TASK, TARGETS, out, resume=True)
    with pytest.raises(ValueError, match="target of cell 3 is 5e-05 S, the record"):
        program(bench, load_policy("ispp", TASK), TASK, np.where(np.arange(40) == 3, 5e-5, TARGETS), out, resume=True)
    with pytest.raises(ValueError, match="is there already: go on with resume=True"):
        program(bench, load_policy("ispp", TASK), TASK, TARGETS, out)


@pytest.mark.parametrize(
    ("targets", "more", "error", "said"),
    [
        ([5e-5, 1.0], {}, TaskError, "target is 1 S"),
        ([5e-5, np.nan], {}, TaskError, "target is nan S"),
        ([[5e-5]], {}, ValueError, "one for each cell is needed"),
        ([5e-5, 6e-5], {"cells": [1, 1]}, ValueError, "each cell once"),
        ([], {}, ValueError, "one for each cell is needed"),
    ],
)
def test_targets_that_make_no_sense_are_refused(targets, more, error, said, tmp_path):
    with pytest.raises(error, match=said):
        program(SimulatedBench("threshold", 3), load_policy("ispp", TASK), TASK, targets, tmp_path / "b.csv", **more)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", f"does not begin with {HEADER}"),
        (f"{HEADER}\n0,1,0.0,0.0,1e-05,1e-05\n", "line 2: step 1 of cell 0 follows 0 rows"),
        (f"{HEADER}\n0,0,0.0\n", "line 2: "),
    ],
)
def test_a_file_that_is_no_record_is_not_resumed(text, said, tmp_path):
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_log(tmp_path / "b.csv")


# -- the recorded bench ------------------------------------------------------------------------------------------------


def recorded(tmp_path, cells):
    lab = SimulatedBench("threshold", 30, seed=2)
    program(lab, load_policy("ispp", TASK), TASK, TARGETS[:30], tmp_path / "measured.csv")
    return RecordedBench(read_pulses(tmp_path / "measured.csv"), cells, seed=3)


def test_a_recorded_bench_replays_measured_changes_of_the_likest_pulses(tmp_path):
    bench = recorded(tmp_path, 5)
    row = int(np.argmax(bench.amplitude))
    bench.g[:] = bench.before[row]
    cell = np.array([int(bench.device[row])])
    if cell[0] < 5:
        bench.neighbours = 1
        bench.pulse(cell, bench.amplitude[[row]], bench.width[[row]])
        assert bench.read(cell)[0] == pytest.approx(bench.after[row])


def test_a_recorded_bench_refuses_pulses_that_were_not_measured(tmp_path):
    bench = recorded(tmp_path, 5)
    assert bench.driver.set_max <= 1.8 and bench.driver.width_min == pytest.approx(bench.driver.width_max)
    with pytest.raises(BenchError, match="cell 2: pulses of 5 V, 1e-06 s lie outside what was measured"):
        bench.pulse(np.array([2]), np.array([5.0]), np.array([1e-6]))


def test_a_recorded_bench_refuses_pulses_that_are_no_number():
    up = np.arange(5)[:, None] % 2 == np.ones(2)
    amplitude, width = np.where(up, 1.0, -1.0), np.full(up.shape, 1e-6)
    data = PulseData(
        conductance=np.where(up, 2e-4, 1e-5), amplitude=amplitude, width=width, device=np.zeros(2, int), devices=("a",)
    )
    for bench, at in (
        (RecordedBench(data, 1), [np.nan]),
        (RecordedBench(dataclasses.replace(data, gate=1.0 * up + 1), 1), [1e-6, np.nan]),
    ):
        with pytest.raises(BenchError, match=r"nan .* outside what was measured"):
            bench.pulse(np.zeros(1, int), np.ones(1), *(np.array([one]) for one in at))


def test_a_recorded_bench_matches_pulses_by_their_gate_voltage():
    """By default the largest of a polarity; beyond the measured ones they are refused, and where none is told."""
    up = np.arange(25)[:, None] % 2 == np.ones(8)
    volts = np.tile([1.8, 2.6], 4)  # of the SETs of each train
    data = PulseData(
        conductance=np.where(up, np.where(volts > 2, 2e-4, 1.5e-4), 1e-5),
        amplitude=np.where(up, 1.0, -1.0),
        width=np.full(up.shape, 1e-6),
        device=np.zeros(8, int),
        devices=("a",),
        gate=np.where(up, volts, 3.5),
    )
    bench, three = RecordedBench(data, 3), np.arange(3)
    bench.g[:] = 1e-5
    bench.pulse(three, np.ones(3), np.full(3, 1e-6), np.array([1.8, 1.8, 2.6]))
    np.testing.assert_allclose(bench.read(three), [1.5e-4, 1.5e-4, 2e-4])
    bench.pulse(three, -np.ones(3), np.full(3, 1e-6))
    np.testing.assert_allclose(bench.read(three), 1e-5)
    bench.pulse(three, np.ones(3), np.full(3, 1e-6))
    np.testing.assert_allclose(bench.read(three), 2e-4)
    with pytest.raises(BenchError, match="cell 1: pulses of 1 V, 1e-06 s, gate 3 V lie outside what was measured"):
        bench.pulse(np.array([1]), np.array([1.0]), np.array([1e-6]), np.array([3.0]))
    with pytest.raises(BenchError, match="the record has not several gate voltages: hold the gate"):
        RecordedBench(dataclasses.replace(data, gate=None), 3).pulse(three, np.ones(3), np.full(3, 1e-6), np.ones(3))


def test_a_policy_programs_a_recorded_bench(tmp_path):
    data, device = tmp_path / "data.csv", load_device("alox-hfo2")
    lab, rows = SimulatedBench(device, 1, seed=0), ["device,train,pulse,amplitude_V,width_s,conductance_S"]
    for train in range(40):
        for pulse in range(30):
            volts = (1, -1.1)[train % 2] * (0.85, 0.9)[pulse % 2]
            lab.pulse(np.array([0]), np.array([volts]), np.array([1e-4]))
            rows.append(f"1,{train},{pulse},{volts},1e-4,{float(lab.read(np.array([0]))[0])}")
    data.write_text("\n".join(rows))
    bench = RecordedBench(read_pulses(data), 20, seed=0)
    task = WriteVerify(device=device.replace(driver=bench.driver), tolerance=0.05)
    done = program(bench, load_policy("constant", task), task, np.linspace(2.5e-5, 4.5e-5, 20), tmp_path / "b.csv")
    assert (done.outcome == "accepted").mean() > 0.8


def test_the_page_shows_the_example_that_is_run_and_it_has_at_most_thirty_lines():
    root = Path(__file__).parents[1]
    example = (root / "examples/program_on_a_bench.py").read_text(encoding="utf-8")
    assert f"```python\n{example}```" in (root / "docs/lab.md").read_text(encoding="utf-8")
    assert sum(bool(line.strip()) for line in example.splitlines()) <= 30
