"""The instrument behind VISA, against pyvisa's simulator: what it is told, what it answers, and its output."""

from pathlib import Path

import numpy as np
import pytest

from agents.library import load_policy
from memenv import WriteVerify
from memenv.lab import BenchError, Commands, VisaBench, program

pytest.importorskip("pyvisa", reason="pyvisa is not installed (extra visa)")
pytest.importorskip("pyvisa_sim", reason="pyvisa-sim is not installed")

CELLS = np.array([3, 4])


@pytest.fixture
def smu():
    made = []

    def make(**commands):
        library = f"{Path(__file__).with_name('bench.yaml')}@sim"
        own = {"write_termination": "\n", "read_termination": "\n"}
        made.append(VisaBench("GPIB0::17::INSTR", Commands(**commands), timeout=0.2, library=library, **own))
        made[-1].instrument.write(":SIM:CURR 5.0e-06")
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def test_a_pulse_sets_amplitude_width_and_cell_and_leaves_the_output_off(smu):
    bench = smu()
    bench.pulse(CELLS, np.array([1.2, -0.8]), np.array([1e-6, 2e-6]))
    asked = {
        name: bench.instrument.query(f"{name}?") for name in (":SOUR:VOLT", ":SOUR:PULS:WIDT", ":ROUT:CLOS", ":OUTP")
    }
    assert float(asked[":SOUR:VOLT"]) == -0.8 and float(asked[":SOUR:PULS:WIDT"]) == 2e-6
    assert asked[":ROUT:CLOS"] == "4" and asked[":OUTP"] == "OFF"


def test_a_gate_is_a_text_of_the_pulse_or_an_error(smu):
    pulse = np.array([1.2, -0.8]), np.array([1e-6, 2e-6])
    bench = smu(pulse=(":SOUR:PULS:WIDT {width:.6e}", ":SOUR:VOLT {gate:.6e}", ":OUTP ON", ":TRIG"))
    bench.pulse(CELLS, *pulse, np.array([2.0, 2.5]))
    assert float(bench.instrument.query(":SOUR:VOLT?")) == 2.5
    for made, gate in ((bench, ()), (smu(), (np.ones(2),))):
        with pytest.raises(BenchError, match=r"with \{gate\} the policy has to choose a gate"):
            made.pulse(CELLS, *pulse, *gate)


def test_a_read_is_a_current_at_the_read_voltage(smu):
    bench = smu()
    np.testing.assert_allclose(bench.read(CELLS), 5e-5)
    assert float(bench.instrument.query(":SOUR:VOLT?")) == 0.1


def test_an_overload_of_the_instrument_is_no_conductance(smu, tmp_path):
    bench, task = smu(), WriteVerify()
    bench.instrument.write(":SIM:CURR 9.9e+37")
    with pytest.raises(BenchError, match=r"the read of cell 7 is 9.9e\+38 S, an overload"):
        program(bench, load_policy("ispp", task), task, [5e-5], tmp_path / "bench.csv", cells=[7])


def test_an_instrument_that_does_not_answer_is_named_with_its_cell_and_its_output_is_off(smu):
    bench = smu(complete=":TRIG", errors="")
    with pytest.raises(BenchError, match="cell 3: "):
        bench.pulse(CELLS, np.ones(2), np.full(2, 1e-6))
    assert bench.instrument.query(":OUTP?") == "OFF"


def test_an_error_that_the_instrument_reports_ends_the_run(smu):
    bench = smu(errors=":OUTP?")
    with pytest.raises(BenchError, match="cell 3: the instrument reports OFF"):
        bench.read(CELLS)


def test_a_policy_programs_cells_behind_the_instrument(smu, tmp_path):
    bench, task = smu(), WriteVerify()
    done = program(bench, load_policy("ispp", task), task, [5.1e-5, 9e-5], tmp_path / "bench.csv", cells=CELLS)
    assert done.outcome.tolist() == ["accepted", "unmoved"]  # the simulated current stays as it is
    assert done.pulses.tolist() == [0, 20] and "cell 4 did not move" in done.summary()
