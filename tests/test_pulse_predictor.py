"""The pulse predictor: one text for NumPy and torch, gradients that teach it, files without pickle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.evaluation import evaluate
from agents.library import load_policy
from agents.predictor.gru import Weights, forward, initial_weights
from agents.predictor.policy import FEATURES, OUTPUTS, PulsePredictor, Sight, decide, features, load_pulse_predictor
from memenv import WriteVerify, load_device
from memenv.archives import load_card, save_archive
from memenv.devices.device import Device
from memenv.devices.law import equivalent_pulses

TASK = WriteVerify(give_up=True, device="threshold")


def untrained(task: WriteVerify = TASK, memory: bool = True) -> PulsePredictor:
    """A predictor with random weights."""
    weights = initial_weights(np.random.default_rng(0), FEATURES, 16, OUTPUTS)
    return PulsePredictor(weights=weights, device=task.device, task=task, memory=memory)


def sight(cells: int) -> Sight:
    """Random sights, the first cell before its first pulse."""
    rng = np.random.default_rng(1)
    read, target, previous = rng.random((3, cells))
    amplitude = rng.uniform(0.6, 1.6, cells) * np.sign(read - previous)
    amplitude[0] = 0.0
    return Sight(read, target, previous, amplitude, 10 ** rng.uniform(-7, -5, cells), np.full(cells, 0.02))


@pytest.mark.parametrize("device", ["threshold", "fefet", "pcm", "hfo2-array-om", "taox-sandia"])
def test_network_and_pulses_agree_between_numpy_and_torch(device: str) -> None:
    torch = pytest.importorskip("torch")
    nominal, seen = load_device(device), sight(40)
    weights = untrained().weights
    tensors, memory = Sight(*map(torch.tensor, seen)), np.full((40, 16), 0.1)
    outputs, kept = forward(weights, features(nominal, seen), memory)
    other, also = forward(Weights(*map(torch.tensor, weights)), features(nominal, tensors), torch.tensor(memory))
    np.testing.assert_allclose(other.numpy(), outputs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(also.numpy(), kept, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(decide(nominal, seen, outputs), decide(nominal, tensors, other), strict=True):
        np.testing.assert_allclose(theirs.numpy(), mine, rtol=1e-3)


def test_an_untrained_predictor_gives_about_the_nominal_pulse() -> None:
    seen, device = sight(200), TASK.device
    outputs = np.zeros((200, OUTPUTS))
    decision = decide(device, seen, outputs)
    assert ((decision.amplitude > 0) == (seen.target > seen.read)).all()
    chip = device.replace(mismatch=type(device.mismatch)())
    after = chip.pulse(
        chip.fresh(seen.read, np.zeros((2, 200))), decision.amplitude, decision.width, np.zeros((3, 200))
    )
    inside = (seen.target > 0.1) & (seen.target < 0.9)
    np.testing.assert_allclose(after.x[inside], seen.target[inside], atol=0.02)


def test_pulses_keep_to_the_reference_amplitude_as_far_as_widths_go_where_others_are_unknown() -> None:
    seen, device = sight(200), load_device("fefet")
    outputs = np.random.default_rng(3).standard_normal((200, OUTPUTS))
    ours, free = (decide(one, seen, outputs) for one in (device, device.replace(uncertainty=None)))
    up, driver = ours.amplitude > 0, device.driver
    volts = np.where(up, device.set.amplitude, device.reset.amplitude)
    inside = (ours.width > driver.width_min * 1.001) & (ours.width < driver.width_max / 1.001)
    assert 50 < inside.sum() < 200
    np.testing.assert_allclose(np.abs(ours.amplitude)[inside], volts[inside], rtol=1e-9)
    assert (np.abs(np.abs(free.amplitude) / volts - 1)[inside] > 0.01).mean() > 0.8
    doses = [equivalent_pulses(device.law(up), np.abs(one.amplitude), one.width) for one in (ours, free)]
    np.testing.assert_allclose(doses[0][inside], doses[1][inside], rtol=1e-9)


def test_of_pulses_that_cross_the_range_it_matters_not_how_strong_the_reference_is() -> None:
    device, seen, outputs = load_device("threshold"), sight(200), np.full((200, OUTPUTS), 2.0)

    def referred(factor: float) -> Device:
        """The same device, whose reference pulse is longer by a factor."""
        longer = (replace(one, width=one.width * factor, dose=one.dose * factor) for one in (device.set, device.reset))
        return device.replace(**dict(zip(("set", "reset"), longer, strict=True)))

    one, other = referred(1e3), referred(1e5)
    np.testing.assert_allclose(features(one, seen), features(other, seen), rtol=1e-9)
    assert not np.allclose(features(device, seen), features(other, seen), atol=0.1)
    weak, strong = (decide(a, seen, outputs) for a in (one, other))
    assert (np.abs(strong.amplitude) >= np.abs(weak.amplitude) - 1e-12).all()  # it may ask for more to pass a threshold


def test_where_cycles_are_loud_training_sees_the_acceptance_of_this_pulse_or_the_next() -> None:
    torch = pytest.importorskip("torch")
    from agents.predictor.policy import Decision
    from agents.predictor.training import within_two
    from memenv.devices.law import dose_to_reach, move

    device, cells, rng = load_device("taox-sandia").record, 20_000, np.random.default_rng(0)
    x, target, zero = np.full(cells, 0.6), np.full(cells, 0.5), np.zeros(cells)
    amplitude, width = np.full(cells, -1.0), np.full(cells, 1e-6)
    state = device.pulse(device.fresh(x, np.zeros((2, cells))), amplitude, width, rng.standard_normal((3, cells)))
    hit, up = np.abs(state.x - target) <= 0.02, state.x < target
    law, reach = device.law(up), np.where(up, 0.02, -0.02)
    edges = (dose_to_reach(law, state.x, target + edge, zero, zero + 1.0, up) + 1e-9 for edge in (-reach, reach))
    dose = np.sqrt(np.prod([*edges], axis=0)) * np.exp(law.cycle_noise * rng.standard_normal(cells))
    later = np.abs(move(law, state.x, zero, zero + 1.0, up, dose) - target) <= 0.02
    one = torch.ones(1)
    decision = Decision(one * float(amplitude[0]), one * float(width[0]), one)
    begun = device.fresh(0.6 * one, torch.zeros(2, 1))
    told = within_two(device, begun, decision, 0.5 * one, 0.02 * one, 0.0)
    assert hit.mean() + 0.1 < (hit | later).mean() == pytest.approx(float(told[0]), abs=0.03)


def test_a_batch_equals_batches_of_one() -> None:
    policy = untrained()
    observation = np.random.default_rng(2).uniform(0.1, 0.9, (5, 7)).astype(np.float32)
    together, state = policy.predict(observation)
    for row in range(5):
        alone, own = policy.predict(observation[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)
        np.testing.assert_allclose(own.hidden[0], state.hidden[row], atol=1e-12)


@pytest.mark.parametrize("memory", [True, False])
def test_training_through_the_device_programs_cells_in_fewer_pulses(memory: bool) -> None:
    pytest.importorskip("torch")
    from agents.predictor.training import PulseTrainingConfig, train

    before = untrained(memory=memory)
    config = PulseTrainingConfig(hidden=16, memory=memory, iterations=80, streams=256, steps=6, learning_rate=1e-2)
    after = replace(before, weights=train([TASK.device], config, init=before.weights))
    mean = [evaluate(policy, TASK, 500, 0).pulses.mean() for policy in (before, after)]
    assert mean[1] < 0.7 * mean[0]


@pytest.mark.parametrize("settings", [{}, {"correlation": 0.9, "visits": 4}, {"memory": False, "latency": 1e5}])
def test_training_repeats_itself_from_a_seed(settings: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    from agents.predictor.training import PulseTrainingConfig, train

    config = PulseTrainingConfig(hidden=8, iterations=2, streams=32, steps=6, stay=0.5, **settings)
    first, second = (train([TASK.device], config) for _ in range(2))
    for mine, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_training_for_short_pulses_makes_them_shorter() -> None:
    pytest.importorskip("torch")
    from agents.predictor.training import PulseTrainingConfig, train

    policy, outcomes = untrained(), []
    for latency in (0.0, 1e7):
        config = PulseTrainingConfig(hidden=16, iterations=40, streams=128, steps=4, latency=latency)
        weights = train([TASK.device], config, init=policy.weights)
        outcomes.append(evaluate(replace(policy, weights=weights), TASK, 300, 0))
    least = TASK.device.driver.width_min + TASK.device.read.duration
    longer = [np.sum(one.latency) / np.sum(one.pulses) - least for one in outcomes]
    assert longer[1] < 0.5 * longer[0]


def test_a_saved_predictor_answers_as_before(tmp_path: Path) -> None:
    policy = untrained()
    policy.save(tmp_path / "policy.npz")
    loaded = load_policy(tmp_path / "policy.npz", TASK)
    first, second = (evaluate(one, TASK, 100, 0).pulses for one in (policy, loaded))
    assert np.mean(first != second) < 0.05  # float32 on disk
    with np.load(tmp_path / "policy.npz", allow_pickle=False) as file:
        assert set(Weights._fields) < set(file.files)


def test_the_largest_weights_that_are_allowed_shut_a_gate_without_a_warning() -> None:
    policy = untrained()
    weights = policy.weights._replace(b_gates=np.full_like(policy.weights.b_gates, -1e6))
    outputs, memory = forward(weights, np.ones((3, FEATURES)), np.full((3, 16), 0.5))
    assert np.isfinite(outputs).all() and np.all(memory == 0.5)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "policy.npz"
    untrained().save(whole)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.npz").write_text("not a policy")
    np.savez(tmp_path / "other.npz", head=np.frombuffer(b'{"format": "else"}', np.uint8))
    for name in ("missing", "cut", "text", "other"):
        with pytest.raises(ValueError, match=f"{name}.npz"):
            load_pulse_predictor(tmp_path / f"{name}.npz", TASK)


@pytest.mark.parametrize(
    ("card", "arrays", "message"),
    [
        ({"memory": "x"}, {}, "memory is 'x' in its card; a value of type bool is needed"),
        ({"memory": 1}, {}, "memory is 1 in its card"),
        ({"give_up_below": 1.5}, {}, "give_up_below is 1.5"),
        ({"more": 1}, {}, "its card has 'more'"),
        ({"device": {"g_min": -1}}, {}, "g_min is -1"),
        ({"device": []}, {}, "device is [] in its card"),
        ({"format": "else"}, {}, "its format is 'else'"),
        ({}, {"w_in": np.full((22, 16), np.nan)}, "352 of 352 numbers in w_in are NaN"),
        ({}, {"w_in": np.ones((22, 16), complex)}, "w_in is of type complex128"),
        ({}, {"w_in": np.ones((20, 16))}, "w_in has the shape (20, 16), (22, 16) is needed"),
        ({}, {"w_gates": np.ones((32, 16))}, "w_gates has the shape (32, 16), (32, 32) is needed"),
        ({}, {"b_out": np.full(3, 1e30)}, "3 of 3 numbers in b_out are NaN or beyond 1e+06"),
        ({}, {"more": np.ones(3)}, "it has 'more'"),
    ],
)
def test_nothing_of_a_predictor_is_taken_in_part(card: dict, arrays: dict, message: str, tmp_path: Path) -> None:
    untrained().save(tmp_path / "whole.npz")
    own = load_card(tmp_path / "whole.npz", "predictor")
    with np.load(tmp_path / "whole.npz") as file:
        whole = {name: file[name] for name in Weights._fields}
    save_archive(tmp_path / "changed.npz", own | card, whole | arrays)
    with pytest.raises(ValueError) as error:
        load_policy(tmp_path / "changed.npz", TASK)
    assert "changed.npz is no pulse predictor: " in str(error.value) and message in str(error.value)


def test_a_hopeless_cell_is_given_up() -> None:
    """A network that is sure that nothing can be reached gives up after the first pulse, not before."""
    weights = untrained().weights
    policy = replace(untrained(), weights=weights._replace(w_out=0 * weights.w_out, b_out=np.array([0.0, 0.0, -9.0])))
    result = evaluate(policy, TASK, 50, 0)
    assert (result.pulses == 1).all() and result.accepted.mean() < 0.5
