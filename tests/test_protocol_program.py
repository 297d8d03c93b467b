"""The protocol of `memenv program`: what a matrix is programmed for and judged on, a chip for each tile, converters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from agents.arrays import programming as command
from agents.arrays import tiles
from agents.arrays.programming import ProgramConfig, build, program
from agents.arrays.report import figures
from agents.arrays.tiles import Programmer
from agents.tuning import Tuned

SAMPLES, INPUTS, OUTPUTS = 20, 8, 3


@pytest.fixture
def weights() -> np.ndarray:
    """For one array of 8 x 8 cells, or more of smaller ones."""
    return np.random.default_rng(0).standard_normal((INPUTS, OUTPUTS))


@pytest.fixture
def inputs() -> np.ndarray:
    """No two rows are alike, in whatever unit; the largest of them is judged on."""
    drawn = np.random.default_rng(1).uniform(-3.0, 3.0, (SAMPLES, INPUTS))
    drawn[5, 2] = 4.0
    return drawn


def made(weights: np.ndarray, inputs: np.ndarray | None = None, **options: Any) -> Programmer:
    """What programs the weights."""
    settings = {"rows": 8, "cols": 8, "controller": "history", "trials": 1, "passes": 0}
    config = ProgramConfig(**{"weights": Path("w.npy"), **settings, **options})
    return build(config, weights, inputs)


def rows_in(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of some rows point into the direction of one of the others."""
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (some, others)]
    return (unit[0] @ unit[1].T > 1 - 1e-9).any(axis=1)


def test_a_product_is_judged_on_inputs_that_it_was_not_programmed_for(weights: np.ndarray, inputs: np.ndarray) -> None:
    programmer = made(weights, inputs, objective="product")
    assert not rows_in(programmer.voltages, programmer.examples).any()
    both = np.concatenate([programmer.voltages, programmer.examples])
    assert len(both) == SAMPLES and rows_in(inputs, both).all()


def test_feedback_is_given_the_examples_and_never_what_is_judged(
    weights: np.ndarray, inputs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[np.ndarray] = []
    write = tiles.write_product

    def noted(*arguments: Any, **more: Any) -> Any:
        given.append(arguments[6])
        return write(*arguments, **more)

    monkeypatch.setattr(tiles, "write_product", noted)
    programmer = made(weights, inputs, objective="product", rows=4)
    for tile in programmer.tiles:
        programmer.program(tile)
        np.testing.assert_array_equal(given[-1], inputs[::2, tile.inputs])
        assert not rows_in(given[-1], programmer.voltages[:, tile.inputs]).any()
    assert len(given) == 2


def test_without_feedback_all_inputs_are_judged_on(weights: np.ndarray, inputs: np.ndarray) -> None:
    programmer = made(weights, inputs)
    assert programmer.examples is None and len(programmer.voltages) == SAMPLES
    assert np.abs(programmer.voltages).max() == pytest.approx(programmer.crossbar.device.read.voltage)


def test_every_tile_has_a_chip_starts_and_noise_of_its_own() -> None:
    programmer = made(np.ones((24, 9)), rows=8, cols=6)
    results = [programmer.program(tile) for tile in programmer.tiles]
    assert len(results) == 9
    for number, one in enumerate(results):
        for other in results[number + 1 :]:
            assert not np.isin(one.conductance, other.conductance).any()
    again = made(np.ones((24, 9)), rows=8, cols=6, seed=1)
    assert not np.isin(again.program(again.tiles[0]).conductance, results[0].conductance).any()


@pytest.mark.parametrize("objective", ["cells", "product"])
def test_a_converter_that_has_the_levels_of_the_inputs_changes_nothing(weights: np.ndarray, objective: str) -> None:
    """Two bits are the levels -1, 0 and 1 of the full scale, which is the largest input."""
    signs = np.random.default_rng(2).integers(-1, 2, (SAMPLES, INPUTS)) * 5.0
    errors = []
    for bits in (0, 2):
        programmer = made(weights, signs, dac_bits=bits, objective=objective)
        errors.append(figures(programmer, [programmer.program(programmer.tiles[0])])["product_error"])
    assert errors[0] == pytest.approx(errors[1]) and errors[0] < 0.5


def test_the_converters_end_where_the_largest_signals_do(weights: np.ndarray, inputs: np.ndarray) -> None:
    crossbar = made(weights, inputs, dac_bits=6, adc_bits=6, adc_range=0.5).crossbar
    device = crossbar.device
    assert crossbar.dac.full_scale == device.read.voltage
    assert crossbar.adc.full_scale == pytest.approx(0.5 * 8 * device.g_max * device.read.voltage)


def test_products_are_judged_with_the_noise_of_reads_and_cells_by_the_truth(weights: np.ndarray) -> None:
    programmer = made(weights, device="hfo2-array-om", products=2000)
    tile = programmer.tiles[0]
    result = programmer.program(tile)
    exact = programmer.voltages @ result.realised
    assert np.std(result.product - exact) > 1e-3 * np.std(exact)
    device = programmer.crossbar.device
    off = np.abs(result.conductance - result.target) / (device.g_max - device.g_min)
    found = figures(programmer, [result])
    assert found["success"] == (off <= 0.02).mean()
    assert found["false_acceptances"] == (result.accepted & (off > 0.02)).sum() > 0
    assert found["pulses_p99"] == np.percentile(result.pulses, 99)


def test_what_programs_has_the_parameters_that_tuning_found(
    weights: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[Any] = []
    programs = Programmer.program

    def noted(self: Programmer, *more: Any) -> Any:
        met.append(self.policy)
        return programs(self, *more)

    def tuned(policy: Any, trials: int, seed: int, *_: Any) -> Tuned:
        assert (trials, seed) == (7, 3)
        return Tuned(policy=replace(policy, step=0.3), cost=0.0, trials=trials, parameters={"step": 0.3})

    monkeypatch.setattr(command, "shipped_or_tuned", tuned)
    monkeypatch.setattr(command, "maps", lambda *_: Figure())
    monkeypatch.setattr(Programmer, "program", noted)
    np.save(tmp_path / "w.npy", weights)
    sizes = {"rows": 8, "cols": 8, "products": 4, "controller": "ispp", "trials": 7, "seed": 3}
    program(ProgramConfig(weights=tmp_path / "w.npy", **sizes, out=tmp_path / "out"))
    assert [policy.step for policy in met] == [0.3]


def test_feedback_hears_reads_and_not_the_truth(weights: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.arrays import product_feedback as array_feedback
    from agents.arrays.writing import Writer

    reads: list[np.ndarray | None] = [None]
    errors: list[tuple[np.ndarray, np.ndarray | None]] = []  # of each plan, and the reads that it has to be made of
    look, verify, moves = Writer.look, Writer.verify_pass, array_feedback.moves

    def looked(*arguments: Any) -> Any:
        found = look(*arguments)
        reads.append(found[0] if not errors else None)  # later looks are averaged with reads before
        return found

    def passed(*arguments: Any) -> Any:
        now = verify(*arguments)
        reads.append(now.reading)
        return now

    def moved(error: np.ndarray, *more: Any) -> np.ndarray:
        errors.append((error, reads[-1]))
        return moves(error, *more)

    monkeypatch.setattr(Writer, "look", looked)
    monkeypatch.setattr(Writer, "verify_pass", passed)
    monkeypatch.setattr(array_feedback, "moves", moved)
    inputs = np.random.default_rng(3).standard_normal((SAMPLES, 1)) + 0.3 * np.random.default_rng(4).standard_normal(
        (SAMPLES, INPUTS)
    )
    programmer = made(weights, inputs, objective="product", device="hfo2-array-om")
    programmer.program(programmer.tiles[0])
    planned = [(error, read) for error, read in errors if read is not None]
    assert len(planned) > 3
    for error, read in planned:  # of the outputs that were pulsed since
        known = (programmer.encoding.decode(read) - weights).T
        assert all((known == output).all(1).any() for output in error.T)
