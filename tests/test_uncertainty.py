"""What is not known of a device is drawn once a chip, by every engine alike, and told to whoever decides."""

import dataclasses
import importlib.util
import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from agents.classical.bayes import Bayesian
from agents.predictor.policy import Sight, features
from memenv import (
    CrossbarProgram,
    Device,
    DeviceError,
    FewShot,
    Mismatch,
    Mixture,
    Response,
    WriteVerify,
    from_json,
    load_device,
    presets,
    to_json,
)
from memenv.compiler.counter_rng import Key
from memenv.devices import Uncertainty
from memenv.devices.protocol import parametric
from memenv.devices.spatial import SmoothNormals
from memenv.devices.uncertainty import FARTHEST, expected_spread, of_chips, settled
from memenv.engine import Engine
from memenv.envs import TaskVectorEnv
from memenv.experiments.reporting import uncertain
from memenv.few_shot.chips import Hardware, fresh_chip
from memenv.few_shot.compiled_chips import Chips as CompiledChips

compiled = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]")

SLOPES = Uncertainty(parameters=("set.slope", "reset.slope"), deviations=(0.4, 0.3))
KNOWN = load_device("threshold").replace(uncertainty=None)
UNKNOWN = KNOWN.replace(uncertainty=SLOPES)


def unsure(device: Device = KNOWN, correlations: Any = (), **deviations: float) -> Device:
    """The device with standard deviations of parameters, whose dots are written as double underscores."""
    names = tuple(name.replace("__", ".") for name in deviations)
    deviation = tuple(deviations.values())
    return device.replace(uncertainty=Uncertainty(parameters=names, deviations=deviation, correlations=correlations))


def chips_of(device: Device, count: int, seed: int = 0) -> Device:
    """Cells of as many chips."""
    return device.fabricate(of_chips(np.random.default_rng(seed), count), count)


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_a_chip_has_one_slope_and_each_cell_a_rate_of_its_own():
    chip = UNKNOWN.fabricate(np.random.default_rng(0), 50)
    assert isinstance(chip.set.slope, float) and chip.set.slope != KNOWN.set.slope
    assert len(np.unique(chip.set.dose)) == 50 and chip.uncertainty is None


def test_chips_differ_as_the_record_says():
    chips = chips_of(unsure(set__slope=0.4, reset__threshold=0.1, x_shift=0.005), 4000)
    draws = {
        "slope": np.log(chips.set.slope / KNOWN.set.slope) / 0.4,
        "threshold": (chips.reset.threshold - KNOWN.reset.threshold) / 0.1,
        "shift": (chips_of(unsure(KNOWN.replace(mismatch=Mismatch()), x_shift=0.005), 4000).x_hi - 1) / 0.005,
    }
    for name, draw in draws.items():
        assert np.abs(draw).max() <= FARTHEST + 1e-9, name
        assert kstest(draw, "norm").pvalue > 0.01, name


def test_what_is_correlated_goes_together():
    rows = ((1.0, 0.8), (0.8, 1.0))
    chips = chips_of(unsure(set__slope=0.4, reset__slope=0.3, correlations=rows), 4000)
    logs = np.log([chips.set.slope, chips.reset.slope])
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.8, abs=0.02)
    assert logs.std(axis=1) == pytest.approx([0.4, 0.3], rel=0.04)
    one = chips_of(unsure(set__slope=0.4, reset__slope=0.3, correlations=((1.0, 1.0), (1.0, 1.0))), 50)
    ratio = np.log(one.set.slope / KNOWN.set.slope) / np.log(one.reset.slope / KNOWN.reset.slope)
    np.testing.assert_allclose(ratio, 0.4 / 0.3)


def test_mismatch_is_that_of_the_known_device():
    for rngs in ([np.random.default_rng(1)] * 2, [of_chips(np.random.default_rng(1), 20) for _ in range(2)]):
        one, other = (device.fabricate(rng, 20) for device, rng in zip((UNKNOWN, KNOWN), rngs, strict=True))
        if rngs[0] is not rngs[1]:
            np.testing.assert_array_equal(one.set.dose, other.set.dose)
            np.testing.assert_array_equal(one.x_lo, other.x_lo)


def test_the_reference_pulse_does_what_it_does_whatever_the_slope():
    quiet = unsure(load_device("hfo2-array-om").replace(uncertainty=None), set__slope=0.4, set__threshold=0.1)
    cells, x = 64, np.linspace(0.1, 0.9, 64)
    noise = np.random.default_rng(0).standard_normal((3, cells))
    after = []
    for device in (quiet, quiet.replace(uncertainty=None)):
        chip = device.fabricate(of_chips(np.random.default_rng(3), cells), cells)
        amplitude, width = chip.reference_pulse(np.full(cells, True), x)
        after.append(chip.pulse(chip.fresh(x, noise[:2]), amplitude, width, noise).x)
    np.testing.assert_allclose(*after, rtol=0, atol=1e-12)
    assert np.ptp(after[0] - x) > 0.01


def test_a_common_shift_moves_both_bounds_of_a_cell_and_spares_its_range():
    device = KNOWN.replace(g_min=5e-5, mismatch=Mismatch(x_shift=0.2, x_lo=0.01))
    chip = device.fabricate(np.random.default_rng(0), 4000)
    assert kstest((chip.x_hi - 1) / 0.2, "norm").pvalue > 0.01
    assert (chip.x_hi - chip.x_lo).std() == pytest.approx(0.01, rel=0.05)
    without = device.replace(mismatch=Mismatch(x_lo=0.01)).fabricate(np.random.default_rng(0), 4000)
    np.testing.assert_allclose(chip.x_hi - chip.x_lo, without.x_hi - without.x_lo)


def test_correlated_cells_of_an_array_have_their_slope_in_common():
    rng = SmoothNormals(np.random.default_rng(0), 3, 4, 5, 2.0, 0.5)
    slope = UNKNOWN.fabricate(rng, 60).set.slope.reshape(3, 20)
    assert len(np.unique(slope)) == 3 and (slope == slope[:, :1]).all()


def test_a_mixture_fabricates_and_answers_as_its_settled_devices():
    mixture = Mixture(devices=(UNKNOWN, KNOWN.replace(g_max=2e-4)))
    chip = mixture.fabricate(np.random.default_rng(0), 200)
    known = chip.g_max == 2e-4
    assert (chip.set.slope[known] == KNOWN.set.slope).all() and len(np.unique(chip.set.slope[~known])) == 1
    assert mixture.nominal.uncertainty is None and chip.uncertainty is None


# -- in tasks and engines ----------------------------------------------------------------------------------------------


TASKS = {
    "cells": WriteVerify(device=UNKNOWN),
    "arrays": CrossbarProgram(device=UNKNOWN, rows=3, cols=4),
}


def slopes(task: Any, envs: int, engine: str, seed: int) -> np.ndarray:
    """Slopes of SET of the chips (envs, ...) of new episodes."""
    env = TaskVectorEnv(task, envs, engine=engine)
    env.reset(seed=seed)
    episode = env._runner.episode
    chip = episode.chip if isinstance(task, WriteVerify) else episode.state.chip
    slope: np.ndarray = np.asarray(chip.set.slope)
    return slope


@pytest.mark.parametrize("name", TASKS)
def test_each_environment_has_a_chip_of_its_own_the_same_alone_and_among_others(name):
    many = slopes(TASKS[name], 5, "numpy", 7)
    flat = many.reshape(5, -1)
    assert len(np.unique(flat)) == 5 and (flat == flat[:, :1]).all()
    np.testing.assert_array_equal(slopes(TASKS[name], 1, "numpy", 10)[0], many[3])


@compiled
@pytest.mark.parametrize("name", ["cells", "arrays"])
def test_an_engine_changes_no_chip(name):
    one, other = (slopes(TASKS[name], 5, engine, 7).reshape(5, -1) for engine in ("numba", "numpy"))
    np.testing.assert_allclose(one, np.broadcast_to(other, one.shape), rtol=1e-5)


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=compiled)])
def test_a_few_shot_chip_has_its_slope_in_all_layers(engine):
    task = FewShot(init="random", ways=3, queries=2, network="mlp", device=UNKNOWN, engine=engine)
    env = TaskVectorEnv(task, 4, engine="numpy")
    env.reset(seed=7)
    layers = [np.ravel(one.layer.chip.set.slope) for one in env._runner.episode.written]
    tasks = [np.unique(layer.reshape(4, -1), axis=1) for layer in layers]
    assert tasks[0].shape == (4, 1) and len(np.unique(tasks[0])) == 4
    np.testing.assert_allclose(tasks[0], tasks[1])


def test_chips_of_a_generator_have_their_slope_in_all_layers():
    layers = fresh_chip(Hardware(device=UNKNOWN), np.random.default_rng(0), (6, 5, 3), 4)
    own = [np.unique(layer.chip.set.slope.reshape(4, -1), axis=1) for layer in layers]
    assert own[0].shape == (4, 1) and len(np.unique(own[0])) == 4
    np.testing.assert_array_equal(*own)


@compiled
def test_compiled_chips_have_their_slope_in_all_layers():
    chips = CompiledChips(Hardware(device=UNKNOWN), 0)
    written, _ = chips.written([np.zeros((4, 7, 5)), np.zeros((4, 6, 3))], [1.0, 1.0])
    own = [np.unique(weights.layer.chip.set.slope.reshape(4, -1), axis=1) for weights in written]
    assert own[0].shape == (4, 1) and len(np.unique(own[0])) == 4
    np.testing.assert_array_equal(*own)


@compiled
def test_all_cells_that_an_engine_fabricates_at_once_are_of_one_chip():
    slope = [Engine(name).fabricate(UNKNOWN, Key(5), 20_000).set.slope for name in ("numpy", "numba")]
    assert all(len(np.unique(one)) == 1 for one in slope)
    np.testing.assert_allclose(slope[0], slope[1], rtol=1e-6)
    assert Engine("numpy").fabricate(UNKNOWN, Key(6), 10).set.slope[0] != slope[0][0]


# -- whoever decides ---------------------------------------------------------------------------------------------------


def test_the_bayesian_prior_has_mismatch_and_uncertainty():
    prior, known = (Bayesian(task=WriteVerify(device=one), wrong=0.0)._prior for one in (UNKNOWN, KNOWN))
    assert kstest(np.log(prior.set.slope / KNOWN.set.slope) / 0.4, "norm").pvalue > 0.01
    np.testing.assert_array_equal(prior.set.dose, known.set.dose)


def test_a_controller_is_told_mismatch_and_uncertainty_together():
    rows = ((1.0, 0.5, 0.0), (0.5, 1.0, 0.0), (0.0, 0.0, 1.0))
    device = unsure(KNOWN, rows, set__dose=0.4, reset__dose=0.4, x_shift=0.003)
    spread = expected_spread(device)
    cells = chips_of(device, 100_000)
    up, down = np.log(cells.set.dose), np.log(cells.reset.dose)
    assert spread.rate == pytest.approx(np.std((up + down) / 2), rel=0.02)
    assert spread.asymmetry == pytest.approx(np.std((up - down) / 2), rel=0.02)
    assert spread.x_shift == 0.003 and spread.x_lo == KNOWN.mismatch.x_lo
    assert expected_spread(KNOWN) is KNOWN.mismatch


def test_a_network_sees_an_unknown_slope_as_one_that_differs_from_cell_to_cell():
    sight = Sight(*np.random.default_rng(0).uniform(0.2, 0.8, (6, 9)))
    device = KNOWN.replace(mismatch=Mismatch(rate=0.2))
    unknown = features(unsure(device, set__slope=0.1, reset__slope=0.1), sight)
    told = features(device.replace(mismatch=Mismatch(rate=0.2, slope=0.1)), sight)
    np.testing.assert_array_equal(unknown, told)
    assert (unknown != features(device, sight)).any()


# -- records -----------------------------------------------------------------------------------------------------------


def test_a_record_survives_json_and_older_ones_are_known():
    device = unsure(KNOWN, ((1.0, 0.3), (0.3, 1.0)), set__slope=0.4, x_shift=0.004)
    assert from_json(to_json(device)) == device
    older = {name: value for name, value in json.loads(to_json(KNOWN)).items() if name != "uncertainty"}
    assert from_json(json.dumps(older)) == KNOWN


def test_the_truth_can_be_held_fixed():
    assert UNKNOWN.replace(uncertainty=None) == KNOWN
    one = settled(UNKNOWN, [1.0, -1.0])
    assert one.set.slope == pytest.approx(KNOWN.set.slope * np.exp(0.4)) and one.uncertainty is None
    assert one.reset.slope == pytest.approx(KNOWN.reset.slope * np.exp(-0.3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"parameters": ("set.slop",), "deviations": (0.1,)}, "has 'set.slop', known are set.threshold, reset"),
        ({"parameters": ("g_min",), "deviations": (0.1,)}, "has 'g_min', known are"),
        ({"parameters": ("set.slope",) * 2, "deviations": (0.1, 0.1)}, "'set.slope' 2 times, once is allowed"),
        ({"parameters": ("set.slope",), "deviations": ()}, r"deviations is \(\), one for each of 1 is needed"),
        ({"parameters": "set.slope", "deviations": (0.1,)}, "parameters is 'set.slope', a list of names is needed"),
        ({"parameters": ("set.slope",), "deviations": (-0.1,)}, "uncertainty of set.slope is -0.1, a standard dev"),
        ({"parameters": ("set.slope",), "deviations": ("a",)}, "uncertainty of set.slope is 'a', a number is needed"),
        ({"parameters": ("set.slope",), "deviations": (np.nan,)}, "set.slope is nan, a finite number is needed"),
        ({"parameters": ("set.slope",), "deviations": (3.0,)}, "set.slope is 3.0, wider than the law stands: -3 dev"),
        ({"parameters": ("set.slope",), "deviations": (1e3,)}, "set.slope is 1000.0, wider than the law stands"),
        ({"parameters": ("set.threshold",), "deviations": (0.2,)}, r"stands: \+3 deviations off, set.threshold is 1.3"),
        ({"parameters": ("x_lo",), "deviations": (0.1,)}, "x_lo is -0.3, where conductances are negative"),
        ({"parameters": ("set.kappa",), "deviations": (0.1,)}, "set.kappa is 0, and stays so times any factor"),
        ({"assumed": ("slope",)}, "uncertainty.assumed has 'slope', known are g_min"),
        ({"assumed": ({},)}, "assumed is .* a list of names is needed"),
    ],
)
def test_impossible_uncertainty_is_refused(given, message):
    with pytest.raises(DeviceError, match=message):
        load_device(KNOWN.replace(uncertainty=Uncertainty(**given)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (((1.0, 2.0), (2.0, 1.0)), "no correlation matrix: it must be symmetric"),
        (((1.0, 0.5), (0.4, 1.0)), "no correlation matrix"),
        (((0.9, 0.0), (0.0, 1.0)), "no correlation matrix"),
        (((1.0, np.nan), (np.nan, 1.0)), "uncertainty.correlations is nan, a finite number is needed"),
        (((1.0, "0"), ("0", 1.0)), "uncertainty.correlations is '0', a number is needed"),
        (((True, 0.0), (0.0, 1.0)), "uncertainty.correlations is True, a number is needed"),
        (((1.0,),), "2 rows of 2 numbers are needed"),
        (((1.0, 0.0), (0.0,)), "2 rows of 2 numbers are needed"),
        ("none", "2 rows of 2 numbers are needed"),
    ],
)
def test_correlations_must_be_a_correlation_matrix(rows, message):
    with pytest.raises(DeviceError, match=message):
        load_device(KNOWN.replace(uncertainty=dataclasses.replace(SLOPES, correlations=rows)))


def test_a_record_that_is_no_object_is_refused():
    with pytest.raises(DeviceError, match="uncertainty is 3, an object is needed"):
        from_json('{"uncertainty": 3}')
    with pytest.raises(DeviceError, match="uncertainty is 3, a Uncertainty record is needed"):
        load_device(Device(set=Response(), uncertainty=3))  # type: ignore[arg-type]


# -- presets -----------------------------------------------------------------------------------------------------------


def test_every_preset_that_is_known_for_one_pulse_says_so():
    for name in presets():
        device = parametric(load_device(name), "the test")
        assumed = "assumptions" in device.source
        assert assumed == (device.uncertainty is not None), name
        if device.uncertainty is not None:
            assert {"set.slope", "reset.slope"} <= set(device.uncertainty.parameters), name
            assert {"set.slope", "set.threshold"} <= set(device.uncertainty.assumed), name


def test_learning_by_reference_pulses_goes_the_same_way_whatever_the_slope():
    device = parametric(load_device("hfo2-array-om"), "the test")
    written = []
    for one in (device, device.replace(uncertainty=None)):
        env = TaskVectorEnv(FewShot(init="random", ways=3, queries=2, device=one, engine="numpy"), 2, engine="numpy")
        env.reset(seed=3)
        for _ in range(3):
            env.step(np.zeros(env.action_space.shape, np.float32))
        written.append(env._runner.episode.written[0].layer.state.x)
    np.testing.assert_allclose(*written, rtol=0, atol=1e-4)


def test_a_table_says_what_of_its_devices_is_not_known():
    models = [load_device(name) for name in ("alox-hfo2", "threshold")] + [load_device(["fefet", "threshold"])]
    text = uncertain(models)
    assert text.count("standard deviations of a chip: set.slope, reset.slope ×/÷ 1.65") == 2
    assert "alox-hfo2" in text and "fefet" in text and "threshold, standard" not in text
    assert "assumed: set.slope" in text and uncertain([load_device("threshold")]) == ""
