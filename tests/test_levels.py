"""Tasks by levels: bands, targets, acceptance, and the bits that reading back gets wrong."""

import csv
import math

import numpy as np
import pytest

from agents.classical import Secant
from agents.evaluation import evaluate
from agents.export.decision import variable
from memenv import TaskError, WriteVerify
from memenv.__main__ import main
from memenv.compiler.trace import Symbol
from memenv.envs.write_verify.levels import Level, bit_errors, level_of, read_levels
from memenv.lab import SimulatedBench, program

OPEN = ((None, 0.1, 0.15), (0.3, 0.35, 0.4), (0.8, 0.9, None))


def targets(task, cells=4000):
    """Targets and reads of many fresh episodes."""
    rng = np.random.default_rng(0)
    chip = task.device.replace(uncertainty=None).fabricate(rng, cells)
    noise = rng.random((2, cells)), rng.standard_normal((2, cells)), rng.standard_normal((2, cells))
    return task.initial(chip, noise, {})


def depth(value):
    """How deeply the text of a symbolic value is nested."""
    known = {}

    def found(one):
        if id(one) not in known:
            known[id(one)] = 1 + max(map(found, filter(lambda part: isinstance(part, Symbol), one.operands)), default=0)
        return known[id(one)]

    return found(value)


def test_levels_lie_evenly_in_conductance_with_the_tolerance_about_them():
    bands = WriteVerify(target_levels=4, target_range=(0.1, 0.7)).target_bands
    np.testing.assert_allclose([level.target for level in bands], [0.1, 0.3, 0.5, 0.7])
    np.testing.assert_allclose([level.high - level.low for level in bands], 0.04)


def test_bands_of_resistance_are_even_and_equally_wide_in_ohms():
    task = WriteVerify(target_levels=4, bands="resistance", tolerance=0.05)
    low, at, high = 1.0 / task.siemens(task.device, np.array(task.target_bands).T)
    assert np.ptp(np.diff(at)) < 1e-6 * at[0] and np.ptp(low - at) < 1e-6 * at[0] and np.ptp(at - high) < 1e-6 * at[0]
    np.testing.assert_allclose(low - at, 0.05 * (at[0] - at[-1]), rtol=1e-6)


def test_relative_bands_are_a_part_of_the_target_and_the_tolerance_is_the_narrowest():
    task = WriteVerify(target_levels=(1e-5, 5e-5), tolerance=0.1, tolerance_unit="S", bands="relative")
    low, at, high = task.siemens(task.device, np.array(task.target_bands).T)
    np.testing.assert_allclose([low / at, high / at], [[0.9, 0.9], [1.1, 1.1]])
    assert task.tolerance_x == pytest.approx(1e-6 / (task.device.g_max - task.device.g_min))


def test_targets_are_the_levels_alike_often_and_never_one_in_whose_band_the_cell_is():
    task = WriteVerify(target_levels=OPEN)
    episode = targets(task)
    found, counts = np.unique(episode.target, return_counts=True)
    np.testing.assert_allclose(found, [0.1, 0.35, 0.9])
    assert not task.within(episode.chip, episode.reading, episode.target).any()
    away = (episode.reading > 0.45) & (episode.reading < 0.75)  # in no band
    counts = np.unique(episode.target[away], return_counts=True)[1]
    assert abs(counts / away.sum() - 1 / 3).max() < 4 * math.sqrt(2 / 9 / away.sum())


def test_a_band_with_an_open_end_accepts_whatever_lies_beyond_its_target():
    task = WriteVerify(target_levels=OPEN)
    x, target = np.array([-0.2, 0.15, 0.16, 0.79, 0.8, 1.3]), np.array([0.1, 0.1, 0.1, 0.9, 0.9, 0.9])
    assert task.within(task.device, x, target).tolist() == [True, True, False, False, True, True]


def test_compiled_loops_take_levels():
    task = WriteVerify(target_levels=OPEN)
    assert isinstance(task.within(task.device, variable("x"), variable("target")), Symbol)
    assert isinstance(task._draw_target(task.device, variable("x"), variable("uniform")), Symbol)


def test_compiled_loops_nest_256_levels_a_few_deep():
    with pytest.warns(
        UserWarning, match=r"the narrowest band of target_levels 0.001 \(range\) is below the read noise"
    ):
        task = WriteVerify(target_levels=256, tolerance=1e-3)
    for value in (
        task.within(task.device, variable("x"), variable("target")),
        task._draw_target(task.device, variable("x"), variable("uniform")),
    ):
        assert depth(value) < 50


def test_acceptance_and_false_acceptance_are_those_of_the_band():
    task = WriteVerify(target_levels=OPEN, give_up=True)
    outcomes = evaluate(Secant(task=task), task, 400, 1)
    true, won = outcomes.target + outcomes.error, outcomes.accepted
    inside = task.within(task.device, true, outcomes.target)
    assert won.mean() > 0.95 and (np.abs(outcomes.error[won]) > 0.06).any()
    np.testing.assert_array_equal(outcomes.false_acceptances[won] > 0, ~inside[won])


def test_without_levels_a_task_is_what_it_was():
    task = WriteVerify(target_levels=())
    assert task == WriteVerify() and task.target_bands == () and task.tolerance_x == 0.02
    x, target = np.random.default_rng(0).random((2, 100))
    np.testing.assert_array_equal(task.within(task.device, x, target), np.abs(x - target) <= 0.02)


def test_neighbours_differ_in_one_bit_and_states_are_read_as_the_nearest_band():
    levels = [Level(0.0, 0.1, 0.2), Level(0.4, 0.5, 0.6), Level(0.8, 0.9, math.inf), Level(2.0, 2.1, 2.2)]
    np.testing.assert_array_equal(level_of(levels[:3], np.array([-1.0, 0.29, 0.31, 0.71, 5.0])), [0, 0, 1, 2, 2])
    np.testing.assert_array_equal(bit_errors(np.arange(15), np.arange(1, 16), 16), 0.25)
    np.testing.assert_array_equal(bit_errors(np.array([0, 0, 3]), np.array([0, 2, 0]), 4), [0.0, 1.0, 0.5])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"target_levels": 40}, "bands of levels 0 and 1 of target_levels overlap: .*fewer levels or a smaller tol"),
        ({"target_levels": (0.2, 1.4)}, "level 1 of target_levels, 1.4 of the range of threshold, lies outside"),
        ({"target_levels": ((0.3, 0.2, 0.4), (0.5, 0.6, 0.7))}, "level 0 .* is outside its own band"),
        ({"target_levels": ((None, 0.2, None), (0.5, 0.6, 0.7))}, "level 0 .* has a band without ends"),
        ({"target_levels": 1}, "target_levels is 1, allowed are 2 to 256 of them"),
        (
            {"target_levels": (("low", 0.2, 0.4), (0.5, 0.6, 0.7))},
            r"target_levels is \(\('low', 0.2, 0.4\).*allowed are",
        ),
        ({"target_levels": "many"}, "target_levels is 'many', allowed are"),
        ({"target_levels": 4, "bands": "log"}, 'bands is \'log\', allowed is "conductance" or "resistance" or'),
        ({"bands": "relative"}, "there are no target_levels that could have them"),
        ({"target_levels": 4, "device": ["threshold", "pcm"]}, "levels are those of one device"),
    ],
)
def test_levels_that_cannot_be_are_refused_in_one_line(changes, message):
    with pytest.raises(TaskError, match=message):
        WriteVerify(**changes)


def test_a_command_line_gives_a_number_of_levels_targets_or_bands():
    assert read_levels("8") == 8 and read_levels(None) == () and read_levels("0.1,0.5") == (0.1, 0.5)
    assert read_levels(":0.1:0.2,0.4:0.5:") == ((-math.inf, 0.1, 0.2), (0.4, 0.5, math.inf))
    for wrong in ("few", "0.1,:0.2:0.3", "0.1:0.2"):
        with pytest.raises(TaskError, match="target_levels is"):
            read_levels(wrong)


def test_a_bench_is_programmed_to_levels_and_to_nothing_else(tmp_path):
    task = WriteVerify(target_levels=OPEN, give_up=True)
    goals = task.siemens(task.device, np.array([0.1, 0.35, 0.9] * 4))
    done = program(SimulatedBench("threshold", 12), Secant(task=task), task, goals, tmp_path / "a.csv")
    read = task.fraction(task.device, done.conductance)
    assert task.within(task.device, read, task.fraction(task.device, goals))[done.outcome == "accepted"].all()
    with pytest.raises(TaskError, match=r"target is 0.5 of the range, allowed are the target_levels: 0.1, 0.35, 0.9"):
        program(SimulatedBench("threshold", 1), Secant(task=task), task, [5.1e-5], tmp_path / "b.csv")


def test_a_comparison_tells_bit_errors_and_every_level(tmp_path, capsys):
    out = tmp_path / "compared"
    words = [
        "--device",
        "threshold",
        "--controllers",
        "specialist",
        "--cells",
        "60",
        "--trials",
        "1",
        "--out",
        str(out),
    ]
    assert main(["compare", *words, "--target-levels", "4", "--bands", "relative", "--tolerance", "0.1"]) == 0
    assert (
        "bit errors %" in capsys.readouterr().out and "**threshold, by level**" in (out / "comparison.md").read_text()
    )
    rows = list(csv.DictReader((out / "levels.csv").read_text().splitlines()))
    assert [row["level"] for row in rows] == ["0", "1", "2", "3"] and sum(int(row["cells"]) for row in rows) == 60
    assert float(rows[2]["low_S"]) == pytest.approx(0.9 * float(rows[2]["target_S"]))
