"""The write-verify task: what an episode consists of, computed by hand where it can be; noise is an argument."""

import dataclasses
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from memenv import Device, DeviceError, Mismatch, Mixture, Read, Response, WriteVerify, load_device
from memenv.arrays import take, tree_map
from memenv.devices.law import dose_to_reach
from memenv.envs import TaskError
from memenv.envs.noise import Episodes, cells_of
from memenv.envs.task import NormalDraw
from memenv.envs.variants import arguments

CELLS = 200


def linear(dose: float = 0.2, **changes) -> Device:
    """A noise-free linear device: a reference pulse (1 V, 1 us) moves the state by `dose`."""
    step = Response(amplitude=1.0, width=1e-6, threshold=0.5, slope=0.1, dose=dose, gamma=0.0)
    return Device(g_min=1e-6, g_max=1e-4, set=step, reset=step, **changes)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The path of a table of two devices whose every pulse moves the conductance by 2 uS, more or less."""
    grid = np.array([np.linspace(1e-6, 5e-5, 6), np.linspace(2e-6, 6e-5, 6)])
    cdf = np.array([0.0, 0.5, 1.0])
    step = np.broadcast_to(np.array([1e-6, 2e-6, 3e-6])[None, :, None], (2, 3, 6))
    path = tmp_path_factory.mktemp("table") / "two.npz"
    np.savez(path, device=np.arange(2), conductance=grid, cdf=cdf, dg_set=step, dg_reset=-step)
    return path


class Game:
    """Episodes of a task in a batch of cells."""

    def __init__(self, task: WriteVerify, cells: int = CELLS, seed: int = 0, **options) -> None:
        self.task, self.cells = task, cells
        noise = Episodes.of(seed, range(cells)).noise(cells_of(task))
        chip, self.noise = task.fabricate(noise.chip, cells), noise.next()
        self.episode = task.initial(chip, self.noise.drawn(task.initial_draws), options)

    def step(self, action, noise=None):
        """One step; with the noise given or drawn."""
        self.noise = self.noise.next()
        noise = self.noise.drawn(self.task.step_draws) if noise is None else noise
        self.episode = self.task.transition(self.episode, np.asarray(action), noise)
        return self.episode

    def pulse(self, amplitude: float, width: float, noise=None):
        """The same pulse on all cells."""
        return self.step(self.task.encode(np.full(self.cells, amplitude), np.full(self.cells, width)), noise)

    def hit(self):
        """The pulse that takes cells of `linear` to their targets exactly."""
        chip, x, goal = self.episode.chip, self.episode.cell.x, self.episode.target
        up = goal > x
        dose = dose_to_reach(chip.law(up), x, goal, chip.x_lo, chip.x_hi, up)
        return self.step(self.task.encode(np.where(up, 1.0, -1.0), 1e-6 * dose / chip.set.dose))

    def quiet(self):
        """The noise of a step, all zero: every draw at its median."""
        return tuple(np.zeros((*draw.shape, self.cells)) for draw in self.task.step_draws)


def random_action(task: WriteVerify, rng: np.random.Generator, cells: int = CELLS) -> np.ndarray:
    """Actions uniform in the space, without giving up."""
    if task.action == "discrete":
        return rng.integers(task.action_space.n - task.give_up, size=cells)
    action = rng.uniform(-1, 1, (cells, *task.action_space.shape)).astype(np.float32)
    if task.give_up:
        action[:, -1] = -1
    return action


# -- the start ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.02, 0.1])
def test_a_target_is_in_its_range_and_two_tolerances_away_from_the_first_read(tolerance):
    episode = Game(WriteVerify(tolerance=tolerance, target_range=(0.2, 0.7)), 5000).episode
    assert (episode.target.min(), episode.target.max()) == pytest.approx((0.2, 0.7), abs=0.01)
    assert np.all(episode.target >= 0.2) and np.all(episode.target <= 0.7)
    assert np.abs(episode.target - episode.reading).min() >= 2 * tolerance * (1 - 1e-9)


def test_starts_are_uniform_in_the_range_of_each_cell():
    episode = Game(WriteVerify(device="threshold"), 2000).episode
    chip = episode.chip
    assert np.ptp(chip.x_lo) > 0.1
    share = (episode.cell.x - chip.x_lo) / (chip.x_hi - chip.x_lo)
    assert stats.kstest(share, "uniform").pvalue > 0.01


def test_start_and_target_can_be_given_in_siemens():
    task = WriteVerify(device=linear())
    episode = Game(task, 3, start=1e-5, target=np.array([2e-5, 3e-5, 4e-5])).episode
    np.testing.assert_allclose(episode.true_conductance, 1e-5)
    np.testing.assert_allclose(task.siemens(episode.chip, episode.target), [2e-5, 3e-5, 4e-5])


def test_a_start_beyond_a_cells_own_bounds_begins_at_the_bound():
    device = linear(mismatch=Mismatch(x_lo=0.2))
    episode = Game(WriteVerify(device=device), start=device.g_min).episode
    np.testing.assert_array_equal(episode.cell.x, np.maximum(episode.chip.x_lo, 0.0))


@pytest.mark.parametrize("name", ["start", "target"])
@pytest.mark.parametrize("value", [9e-7, 1.1e-4, np.nan, [5e-5, 2.0]])
def test_a_conductance_out_of_reach_is_refused(name, value):
    with pytest.raises(
        TaskError, match=rf"{name} is (9e-07|0\.00011|nan|2) S, outside the reachable range 1e-06 to 0\.0001 S"
    ):
        Game(WriteVerify(device=linear()), 2, **{name: value})


# -- actions and observations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["threshold", "ag-asi", "pcm"])
def test_decode_inverts_encode(device, rng):
    task = WriteVerify(device=device, give_up=True)
    driver = task.device.driver
    up = rng.random(CELLS) < 0.5
    magnitude = np.where(
        up, rng.uniform(driver.set_min, driver.set_max, CELLS), rng.uniform(driver.reset_min, driver.reset_max, CELLS)
    )
    amplitude = np.where(up, magnitude, -magnitude)
    width = np.exp(rng.uniform(np.log(driver.width_min), np.log(driver.width_max), CELLS))
    give_up = rng.random(CELLS) < 0.3
    action = task.encode(amplitude, width, give_up)
    assert task.action_space.contains(action[0])
    decoded = task.decode(action)
    np.testing.assert_allclose(decoded[0], amplitude, rtol=1e-5)
    np.testing.assert_allclose(decoded[1], width, rtol=1e-5)
    np.testing.assert_array_equal(decoded[2], give_up)


def test_encode_clips_what_the_driver_lacks():
    task = WriteVerify(device=linear())
    driver = task.device.driver
    amplitude, width, _ = task.decode(
        task.encode(np.array([9.0, -9.0, 0.1, -0.1, 1.0]), np.array([1.0, 0.0, -1.0, 1e-9, 1e-6]))
    )
    np.testing.assert_allclose(
        amplitude, [driver.set_max, -driver.reset_max, driver.set_min, -driver.reset_min, 1.0], rtol=1e-5
    )
    np.testing.assert_allclose(width, [driver.width_max, *[driver.width_min] * 3, 1e-6], rtol=1e-5)


@pytest.mark.parametrize("give_up", [True, False])
def test_every_pulse_of_the_menu_encodes_to_its_own_index(give_up):
    task = WriteVerify(action="discrete", levels=(5, 4), give_up=give_up)
    index = np.arange(2 * 5 * 4)
    amplitude, width, gave_up = task.decode(index)
    assert not gave_up.any()
    assert len({(a, w) for a, w in zip(amplitude, width, strict=True)}) == len(index)
    np.testing.assert_array_equal(task.encode(amplitude, width), index)
    assert task.action_space.n == len(index) + give_up
    if give_up:
        assert task.encode(amplitude, width, np.full(len(index), True)).tolist() == [len(index)] * len(index)
        assert task.decode(np.array([len(index)]))[2].all()


def test_the_menu_keeps_the_polarity_that_was_asked_for(rng):
    task = WriteVerify(action="discrete", levels=(1, 1))
    amplitude = rng.uniform(0.5, 1.8, CELLS) * rng.choice([-1, 1], CELLS)
    np.testing.assert_array_equal(
        np.sign(task.decode(task.encode(amplitude, np.full(CELLS, 1e-6)))[0]), np.sign(amplitude)
    )


@pytest.mark.parametrize("action", ["continuous", "discrete"])
def test_view_inverts_the_observation(action, rng):
    task = WriteVerify(action=action, history=3, rounds=2)
    game = Game(task)
    for step in range(1, 6):
        choice = random_action(task, rng)
        episode = game.step(choice)
        amplitude, width, _ = task.decode(choice)
        view = task.view(task.observe(episode))
        np.testing.assert_allclose(view.read, episode.reading, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(view.target, episode.target, rtol=1e-6)
        np.testing.assert_allclose(view.error, (episode.reading - episode.target) / task.tolerance, rtol=1e-5)
        np.testing.assert_allclose(view.response, episode.response / task.tolerance, rtol=1e-5, atol=1e-6)
        for seen, exact in zip(view[:-1], task.view_of(episode)[:-1], strict=True):
            np.testing.assert_allclose(seen, exact, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(view.amplitude, amplitude, rtol=1e-6)
        np.testing.assert_allclose(view.width, width, rtol=1e-6)
        fresh = episode.accepted & (episode.rounds_left >= 0)
        np.testing.assert_allclose(
            view.budget[~fresh & (episode.pulses == step) & (episode.rounds_left == 1)], 1 - step / 50, rtol=1e-6
        )


def test_before_the_first_pulse_there_is_none_in_view():
    task = WriteVerify()
    view = task.view(task.observe(Game(task).episode))
    assert not view.amplitude.any() and not view.width.any() and not view.response.any()
    assert np.all(view.budget == 1)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_an_action_of_zero_is_a_reset_in_the_middle_of_the_driver(zero):
    task = WriteVerify(device=linear())
    game = Game(task, 1)
    view = task.view(task.observe(game.step(np.array([[zero, 0.0, 0.0]], np.float32))))
    driver = task.device.driver
    assert view.amplitude[0] == pytest.approx(-0.5 * (driver.reset_min + driver.reset_max), rel=1e-5)
    assert view.width[0] == pytest.approx(1e-6)


def test_the_weakest_pulse_of_either_polarity_is_seen_as_a_pulse():
    task = WriteVerify(device=linear())
    episode = Game(task, 2).step(np.array([[1.0, -1.0, 0.0], [-1.0, -1.0, 0.0]], np.float32))
    driver = task.device.driver
    np.testing.assert_allclose(
        task.view(task.observe(episode)).amplitude, [driver.set_min, -driver.reset_min], rtol=1e-5
    )


def test_the_response_is_the_change_of_the_read_by_the_last_pulse():
    task = WriteVerify(device=linear(0.2), rounds=2)
    game = Game(task, 2, start=task.siemens(task.device, 0.3), target=task.siemens(task.device, np.array([0.5, 0.9])))
    episode = game.pulse(1.0, 1e-6)
    assert episode.accepted.tolist() == [True, False]
    np.testing.assert_allclose(task.view(task.observe(episode)).response, 0.2 / task.tolerance, rtol=1e-4)


def test_history_stacks_the_last_observations_newest_last(rng):
    short, long = WriteVerify(rounds=2), WriteVerify(rounds=2, history=3)
    games = Game(short), Game(long)
    seen = [short.observe(games[0].episode)] * 3
    for _ in range(6):
        np.testing.assert_array_equal(long.observe(games[1].episode), np.concatenate(seen[-3:], axis=1))
        action = random_action(short, rng)
        seen.append(short.observe(games[0].step(action)))
        games[1].step(action)


VARIANTS = {
    "continuous": {},
    "discrete": {"action": "discrete"},
    "rounds": {"rounds": 3, "tolerance": 0.1},
    "history": {"history": 3},
    "giving up": {"give_up": True},
    "confirmed": {"confirm_reads": 2, "tolerance": 0.1},
    "siemens": {"tolerance": 1e-6, "tolerance_unit": "S"},
    "mixture": {"device": ["threshold", "pcm", "hfo2-array-om"]},
    "drift": {"device": "pcm"},
    "table": {"device": None},
    "table, discrete": {"device": None, "action": "discrete"},
}


@pytest.fixture(params=VARIANTS)
def variant(request, table):
    """A task of each kind."""
    arguments = VARIANTS[request.param]
    return WriteVerify(
        **arguments | ({"device": table} if "device" in arguments and arguments["device"] is None else {})
    )


def test_no_observation_element_is_constant(variant, rng):
    game = Game(variant)
    seen = [variant.observe(game.episode)]
    for _ in range(12):
        seen.append(variant.observe(game.step(random_action(variant, rng))))
    assert np.all(np.ptp(np.concatenate(seen), axis=0) > 0)


def test_observations_stay_in_their_space(variant, rng):
    game = Game(variant)
    for _ in range(12):
        observation = variant.observe(game.step(random_action(variant, rng)))
        assert observation.dtype == np.float32
        assert np.all(observation >= variant.observation_space.low) and np.all(
            observation <= variant.observation_space.high
        )


def test_inputs_are_never_written(variant, rng):
    game = Game(variant)

    def frozen(leaf):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
        return leaf

    for step in range(6):
        action = random_action(variant, rng)
        noise = tuple(
            (rng.standard_normal if isinstance(draw, NormalDraw) else rng.random)((*draw.shape, CELLS))
            for draw in variant.step_draws
        )
        if variant.give_up and step == 5:
            action = (
                np.full(CELLS, variant.action_space.n - 1) if variant.action == "discrete" else np.ones_like(action)
            )
        for part in (action, *noise):
            part.flags.writeable = False
        tree_map(frozen, game.episode)
        game.step(action, noise)


# -- a step ------------------------------------------------------------------------------------------------------------


def test_energy_and_latency_of_one_pulse_are_those_computed_by_hand():
    device = linear(0.2, read=Read(voltage=0.2, duration=3e-7))
    task = WriteVerify(device=device, weight_energy=1e9, weight_latency=1e5)
    game = Game(task, 1, start=device.g_min + 0.3 * 9.9e-5, target=9e-5)
    before, after = 1e-6 + 0.3 * 9.9e-5, 1e-6 + 0.5 * 9.9e-5
    episode = game.pulse(1.0, 1e-6)
    energy = 1.0**2 * (before + after) / 2 * 1e-6 + 0.2**2 * after * 3e-7
    info = task.info(episode)
    assert info["true_conductance"][0] == pytest.approx(after, rel=1e-5)
    assert info["true_error"][0] == pytest.approx(after - 9e-5, rel=1e-5)
    assert info["energy"][0] == pytest.approx(energy, rel=1e-5)
    assert info["latency"][0] == pytest.approx(1.3e-6, rel=1e-5)
    assert task.reward(episode)["energy"][0] == pytest.approx(-1e9 * energy, rel=1e-5)
    assert task.reward(episode)["latency"][0] == pytest.approx(-0.13, rel=1e-5)
    again = game.pulse(-1.0, 2e-6)
    assert task.info(again)["true_conductance"][0] == pytest.approx(1e-6 + 0.1 * 9.9e-5, rel=1e-5)
    assert again.latency[0] == pytest.approx(1.3e-6 + 2.3e-6, rel=1e-5)
    assert again.energy[0] == pytest.approx(episode.energy[0] + again.step_energy[0])


def test_a_read_inside_the_tolerance_is_accepted_and_ends_the_episode():
    task = WriteVerify(device=linear())
    game = Game(task)
    assert not task.terminated(game.episode).any()
    episode = game.hit()
    info = task.info(episode)
    assert episode.accepted.all() and task.terminated(episode).all() and info["is_success"].all()
    assert np.all(info["pulses"] == 1) and not info["false_acceptances"].any()
    np.testing.assert_allclose(info["true_error"], 0, atol=1e-10)
    terms = task.reward(episode)
    assert {name: term.tolist() for name, term in terms.items() if name != "shaping"} == {
        "pulses": [-0.02] * CELLS,
        "acceptance": [1.0] * CELLS,
        "false_acceptance": [0.0] * CELLS,
        "failure": [0.0] * CELLS,
    }


@pytest.mark.parametrize("end", ["budget", "given up", "accepted"])
def test_shaping_sums_to_minus_the_potential_of_the_first_state_however_the_episode_ends(end, rng):
    task = WriteVerify(device=linear(0.2), give_up=True, max_pulses=6, rounds=2)
    game = Game(task)
    first = np.abs(task.observe(game.episode)[:, 2])
    shaping = np.zeros(CELLS)
    ends = {"budget": [], "given up": [lambda: game.step(give_up_action(task))], "accepted": [game.hit, game.hit]}[end]
    for step in [lambda: game.pulse(rng.choice([-0.6, 0.6]), 1e-7)] * (6 - len(ends)) + ends:
        episode = step()
        shaping += task.reward(episode)["shaping"]
    assert task.terminated(episode).all()
    np.testing.assert_allclose(shaping, first, atol=1e-6)  # minus the potential, which is minus the observed error


def test_a_cell_that_is_left_unprogrammed_costs_up_to_twice_by_budget_or_by_giving_up_which_saves_pulses():
    task = WriteVerify(device=linear(1e-6), max_pulses=3, give_up=True, weight_failure=2.0, weight_shaping=0.0)
    spent, given_up = Game(task), Game(task)
    returns = np.zeros((2, CELLS))
    for _ in range(3):
        returns[0] += sum(task.reward(spent.pulse(1.0, 1e-6)).values())
    last = given_up.step(give_up_action(task))
    returns[1] += sum(task.reward(last).values())
    np.testing.assert_allclose(returns[1] - returns[0], 3 * 0.02, atol=1e-4)
    np.testing.assert_allclose(returns[1], -2.0 * (1.0 + np.abs(task.observe(last)[:, 2])), rtol=1e-6)
    assert np.all((returns[1] < -2.0) & (returns[1] > -4.0))


@pytest.mark.parametrize("miss, accepted", [(0.019, True), (-0.019, True), (0.021, False), (-0.021, False)])
def test_the_tolerance_is_a_half_width(miss, accepted):
    task = WriteVerify(device=linear(), tolerance=0.02)
    g = task.siemens(task.device, np.array([0.3, 0.5 + miss]))
    episode = Game(task, 1, start=g[0], target=g[1]).pulse(1.0, 1e-6)
    assert episode.accepted[0] == accepted
    assert episode.reading[0] - episode.target[0] == pytest.approx(-miss, abs=1e-6)


def test_a_tolerance_in_siemens_is_the_same_as_its_fraction_of_the_range(rng):
    device = load_device("threshold")
    size = device.g_max - device.g_min
    games = (
        Game(WriteVerify(device=device, tolerance=0.05)),
        Game(WriteVerify(device=device, tolerance=0.05 * size, tolerance_unit="S")),
    )
    assert games[1].task.tolerance_x == pytest.approx(0.05)
    for _ in range(10):
        action = random_action(games[0].task, rng)
        first, second = (game.step(action) for game in games)
        np.testing.assert_array_equal(first.accepted, second.accepted)
        np.testing.assert_allclose(games[0].task.observe(first), games[1].task.observe(second), rtol=1e-5, atol=1e-6)
    assert first.spent.max() == 10


def test_an_acceptance_needs_every_confirming_read():
    task = WriteVerify(device=linear(read=Read(noise=0.01)), confirm_reads=2)
    game = Game(task, 4, start=1e-6, target=task.siemens(task.device, 0.2))
    pulse, reads = game.quiet()
    assert reads.shape == (3, 2, 4)
    reads[0, 0] = [1.0, 1.0, 1.0, 5.0]  # the verify read, 1 = half a tolerance
    reads[1, 0] = [-1.0, 1.0, 4.0, 0.0]  # the first confirming read ...
    reads[2, 0] = [0.5, -3.0, 0.0, 0.0]  # ... and the second: each for the cells accepted so far
    episode = game.pulse(1.0, 1e-6, (pulse, reads))
    assert episode.accepted.tolist() == [True, False, False, False]
    np.testing.assert_allclose(episode.reading, 0.2 + 0.01 * np.array([0.5, -3.0, 4.0, 5.0]), atol=1e-6)
    read, count = task.device.read, np.array([3, 3, 2, 1])
    np.testing.assert_allclose(episode.latency, 1e-6 + count * read.duration, rtol=1e-5)
    one_read = read.voltage**2 * episode.true_conductance * read.duration
    write = 0.5 * (1e-6 + episode.true_conductance) * 1e-6
    np.testing.assert_allclose(episode.energy, write + count * one_read, rtol=1e-5)


def test_an_acceptance_out_of_tolerance_in_truth_is_a_false_one():
    task = WriteVerify(device=linear(read=Read(noise=0.01)), rounds=2, weight_false_acceptance=3.0)
    game = Game(task, 3, start=1e-6, target=task.siemens(task.device, np.array([0.2, 0.23, 0.25])))
    pulse, reads, target = game.quiet()
    reads[0, 0] = [0.0, 2.0, 2.0]
    episode = game.pulse(1.0, 1e-6, (pulse, reads, target))
    assert episode.accepted.tolist() == [True, True, False]
    assert task.info(episode)["false_acceptances"].tolist() == [0, 1, 0]
    assert task.reward(episode)["false_acceptance"].tolist() == [0, -3, 0]
    np.testing.assert_allclose(episode.true_error, np.array([0.0, -0.03, -0.05]) * 9.9e-5, atol=1e-10)
    later = game.hit()
    assert task.info(later)["false_acceptances"].tolist() == [0, 1, 0]
    assert not task.reward(later)["false_acceptance"].any()


def give_up_action(task: WriteVerify, cells: int = CELLS) -> np.ndarray:
    return task.encode(np.ones(cells), np.full(cells, 1e-6), np.full(cells, True))


@pytest.mark.parametrize("action", ["continuous", "discrete"])
@pytest.mark.parametrize("kind", ["threshold", "table"])
def test_giving_up_ends_the_episode_unaccepted_and_does_nothing_else(kind, action, table, rng):
    task = WriteVerify(device=table if kind == "table" else kind, action=action, give_up=True)
    game = Game(task)
    before = game.step(random_action(task, rng))
    after = game.step(give_up_action(task))
    assert task.terminated(after).all() and not after.accepted.any()
    assert not task.info(after)["is_success"][~before.accepted].any()
    assert {name for name, term in task.reward(after).items() if term.any()} == {"failure", "shaping"}
    np.testing.assert_array_equal(task.observe(after), task.observe(before))
    for name in ("pulses", "energy", "latency", "true_conductance"):
        np.testing.assert_array_equal(task.info(after)[name], task.info(before)[name])


def test_a_cell_given_up_inside_the_tolerance_is_not_accepted():
    task = WriteVerify(device=linear(), give_up=True)
    game = Game(task, 1, start=5e-5, target=5e-5)
    episode = game.step(give_up_action(task, 1))
    assert not episode.accepted[0] and not task.info(episode)["is_success"][0]


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_spent_budget_ends_the_episode_with_nothing_left_in_the_observation(rounds):
    task = WriteVerify(device=linear(1e-6), max_pulses=4, rounds=rounds)
    game = Game(task)
    for left in (0.75, 0.5, 0.25, 0.0):
        assert not task.terminated(game.episode).any()
        episode = game.pulse(1.0, 1e-6)
        np.testing.assert_allclose(task.view(task.observe(episode)).budget, left, atol=1e-7)
    assert task.terminated(episode).all() and not task.info(episode)["is_success"].any()


def test_after_an_acceptance_a_round_begins_with_a_new_target_and_a_new_budget():
    task = WriteVerify(device=linear(read=Read(noise=0.001)), rounds=4, max_pulses=7)
    game = Game(task)
    assert task.max_steps == 28
    np.testing.assert_array_equal(task.observe(game.episode)[:, 7], 1.0)
    for left in (2, 1, 0):
        missed = game.pulse(0.5, 1e-7)  # below threshold
        np.testing.assert_allclose(task.view(task.observe(missed)).budget, 6 / 7, rtol=1e-6)
        old = missed.target
        episode = game.hit()
        assert (
            episode.accepted.all() and not task.terminated(episode).any() and not task.info(episode)["is_success"].any()
        )
        view = task.view(task.observe(episode))
        assert np.all(np.abs(episode.reading - episode.target) >= 2 * task.tolerance * (1 - 1e-9))
        assert np.all(episode.target != old) and np.all((episode.target >= 0.1) & (episode.target <= 0.9))
        np.testing.assert_array_equal(view.budget, 1.0)
        np.testing.assert_allclose(view.error, (view.read - view.target) / task.tolerance, rtol=1e-4)
        np.testing.assert_allclose(task.observe(episode)[:, 7], 2 * left / 3 - 1, rtol=1e-6)
        np.testing.assert_allclose(
            episode.true_error, task.siemens(episode.chip, episode.cell.x) - task.siemens(episode.chip, old)
        )
    last = game.hit()
    assert task.terminated(last).all() and task.info(last)["is_success"].all()
    np.testing.assert_array_equal(task.info(last)["pulses"], 7)
    np.testing.assert_array_equal(task.observe(last)[:, 7], -1.0)


def test_an_acceptance_with_the_last_pulse_of_the_budget_counts():
    task = WriteVerify(device=linear(), max_pulses=1, rounds=2)
    game = Game(task)
    assert not task.terminated(game.hit()).any()
    last = game.hit()
    assert task.terminated(last).all() and task.info(last)["is_success"].all()


def test_masks_forbid_pulses_away_from_the_target_and_giving_up_before_a_pulse(rng):
    task = WriteVerify(action="discrete", levels=(3, 2), give_up=True)
    game = Game(task)
    mask = task.info(game.episode)["action_mask"]
    assert mask.shape == (CELLS, task.action_space.n) and not mask[:, -1].any()
    for _ in range(5):
        mask = task.info(game.episode)["action_mask"]
        amplitude = task.decode(np.arange(12))[0]
        towards = (amplitude > 0)[None] == (game.episode.target > game.episode.reading)[:, None]
        np.testing.assert_array_equal(mask[:, :-1], towards)
        game.step(random_action(task, rng))
    assert task.info(game.episode)["action_mask"][:, -1].all()
    assert "action_mask" not in WriteVerify().info(Game(WriteVerify()).episode)


@pytest.mark.parametrize("more", [{}, {"history": 3}, {"rounds": 3}, {"give_up": True}, {"device": "table"}])
def test_the_masks_that_a_policy_derives_from_its_observation_are_those_of_the_episode(rng, table, more):
    task = WriteVerify(
        action="discrete", **{"levels": (3, 2)} | more | ({"device": str(table)} if "device" in more else {})
    )
    game = Game(task)
    for _ in range(4):
        masks = task.masks_of(task.observe(game.episode))
        np.testing.assert_array_equal(masks, task.info(game.episode)["action_mask"])
        up = task.decode(np.arange(len(task.actions.menu[0])))[0] > 0
        np.testing.assert_array_equal(
            masks[:, : len(up)], up[None] == (game.episode.reading < game.episode.target)[:, None]
        )
        if task.give_up:
            np.testing.assert_array_equal(masks[:, -1], game.episode.pulses > 0)
        game.step(random_action(task, rng))


# -- devices -----------------------------------------------------------------------------------------------------------


def test_cells_of_a_mixture_behave_as_the_devices_they_were_drawn_from(rng):
    devices = linear(0.1), linear(0.3).replace(g_min=2e-5, g_max=4e-5, read=Read(duration=1e-5))
    task = WriteVerify(device=list(devices))
    assert isinstance(task.device, Mixture)
    game = Game(task)
    x = game.episode.cell.x
    second = game.episode.chip.g_max == 4e-5
    assert 0.3 < second.mean() < 0.7
    np.testing.assert_allclose(game.episode.true_conductance, np.where(second, 2e-5 + x * 2e-5, 1e-6 + x * 9.9e-5))
    episode = game.pulse(1.0, 1e-6)
    np.testing.assert_allclose(episode.cell.x, np.minimum(x + np.where(second, 0.3, 0.1), 1.0), rtol=1e-5)
    np.testing.assert_allclose(episode.latency, np.where(second, 1.1e-5, 2e-6), rtol=1e-5)


def test_a_tolerance_in_siemens_is_each_devices_own_fraction_of_its_range():
    task = WriteVerify(device=[linear(), linear().replace(g_max=5.05e-5)], tolerance=2e-6, tolerance_unit="S")
    np.testing.assert_allclose(task.tolerance_x, [2 / 99, 2 / 49.5])
    chip = Game(task).episode.chip
    np.testing.assert_allclose(task.tolerance_of(chip), np.where(chip.g_max == 1e-4, 2 / 99, 2 / 49.5))


def test_a_mixture_of_many_devices_uses_them_all():
    task = WriteVerify(device=[linear(0.001 * k) for k in range(1, 101)])
    chip = task.fabricate(np.random.default_rng(0), 3000)
    assert len(np.unique(chip.set.dose)) == 100


def test_given_conductances_must_be_in_reach_of_every_device_of_a_mixture():
    task = WriteVerify(device=[linear(), linear().replace(g_min=2e-5, g_max=4e-5)])
    Game(task, start=3e-5, target=3.5e-5)
    with pytest.raises(TaskError, match="target is 5e-05 S, outside the reachable range 2e-05 to 4e-05 S"):
        Game(task, target=5e-5)


def test_a_mixture_with_different_drivers_asks_for_that_of_the_chip(rng):
    task = WriteVerify(device=["threshold", "ag-asi"])
    game = Game(task)
    with pytest.raises(DeviceError, match="different drivers: pass the driver of the chip"):
        task.view(task.observe(game.episode))
    driver = game.episode.chip.driver
    action = random_action(task, rng)
    amplitude, width, _ = task.decode(action, driver)
    action[:, 0] = np.sign(action[:, 0])
    np.testing.assert_allclose(task.encode(amplitude, width, driver=driver), action, atol=1e-5)
    view = task.view(task.observe(game.step(action)), driver)
    np.testing.assert_allclose(view.amplitude, amplitude, rtol=1e-5)


def test_a_table_offers_the_two_polarities(table):
    task = WriteVerify(device=table, action="discrete", give_up=False)
    assert task.action_space.n == 2
    game = Game(task)
    before = game.episode.true_conductance
    up = task.encode(np.ones(CELLS), np.ones(CELLS))
    assert set(up) == {0} and set(task.encode(-np.ones(CELLS), np.ones(CELLS))) == {1}
    after = game.step(up).true_conductance
    rise = (after - before)[after < 4.5e-5]
    assert rise.min() >= 1e-6 * (1 - 1e-9) and rise.max() <= 3e-6 * (1 + 1e-9) and 1.5e-6 < rise.mean() < 2.5e-6


def test_a_table_takes_continuous_actions_by_their_sign(table):
    task = WriteVerify(device=table)
    games = Game(task), Game(task)
    for game, strength in zip(games, (1.0, 0.01), strict=True):
        game.step(np.where(np.arange(CELLS) % 2, strength, -strength)[:, None].astype(np.float32))
    np.testing.assert_array_equal(games[0].episode.cell.x, games[1].episode.cell.x)


# -- bad input ---------------------------------------------------------------------------------------------------------


class Bad(NamedTuple):
    """An argument that is refused, and what the message says."""

    arguments: dict
    message: str


@pytest.mark.parametrize(
    "arguments, message",
    [
        Bad({"tolerance": 0.0}, "tolerance is 0.0, allowed is a number > 0"),
        Bad({"tolerance": float("nan")}, "tolerance is nan, allowed is a number > 0"),
        Bad({"tolerance": "2 %"}, "tolerance is '2 %', allowed is a number > 0"),
        Bad({"tolerance": 0.3}, "tolerance is 0.3: 0.3 of the range leaves no room for targets in 0.1 to 0.9"),
        Bad({"tolerance": 1e-4, "tolerance_unit": "S"}, "tolerance is 0.0001: 1.02 of the range leaves no room"),
        Bad({"tolerance_unit": "uS"}, 'tolerance_unit is \'uS\', allowed is "range" or "S"'),
        Bad({"action": "menu"}, 'action is \'menu\', allowed is "continuous" or "discrete"'),
        Bad({"levels": (0, 3)}, "levels is 0, allowed is a whole number >= 1"),
        Bad({"levels": 8}, "levels is 8, allowed is two whole numbers >= 1"),
        Bad({"max_pulses": 0}, "max_pulses is 0, allowed is a whole number >= 1"),
        Bad({"max_pulses": None}, "max_pulses is None, allowed is a whole number >= 1"),
        Bad({"rounds": 1.5}, "rounds is 1.5, allowed is a whole number >= 1"),
        Bad({"history": 0}, "history is 0, allowed is a whole number >= 1"),
        Bad({"confirm_reads": -1}, "confirm_reads is -1, allowed is a whole number >= 0"),
        Bad({"target_range": (0.9, 0.1)}, r"target_range is \(0.9, 0.1\), allowed is 0 <= low < high <= 1"),
        Bad({"target_range": 0.5}, "target_range is 0.5, allowed is 0 <= low < high <= 1"),
        Bad({"weight_energy": float("inf")}, "weight_energy is inf, allowed is a number >= 0"),
        Bad({"weight_pulses": -1.0}, "weight_pulses is -1.0, allowed is a number >= 0"),
    ],
)
def test_an_impossible_argument_is_named_with_its_value_and_what_is_allowed(arguments, message):
    with pytest.raises(TaskError, match=message):
        WriteVerify(**arguments)


@pytest.mark.parametrize(
    "device", ["no-such-device", "missing.json", "missing.npz", 7, [], None, ["threshold", "no-such-device"]]
)
def test_an_unusable_device_is_named(device):
    name = device[-1] if isinstance(device, list) and device else device
    with pytest.raises(DeviceError, match=str(name).replace("[", r"\[")):
        WriteVerify(device=device)


def test_a_tolerance_below_the_read_noise_warns():
    noisy = linear(read=Read(noise=0.01, telegraph=0.02))
    with pytest.warns(
        UserWarning, match="tolerance 0.015 .* is below the read noise, 0.02 of the range: false acceptances"
    ):
        WriteVerify(device=noisy, tolerance=0.015)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WriteVerify(device=noisy, tolerance=0.021)


@pytest.mark.parametrize("value", [np.inf, 1.0001, -2.0, 1e300, -7])
def test_an_action_outside_the_box_is_clipped(value):
    task = WriteVerify()
    action = np.zeros((3, 3))
    action[1, 0] = value
    for one, other in zip(task.decode(action), task.decode(np.clip(action, -1, 1)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_action_that_is_no_number_is_refused():
    action = np.zeros((3, 3))
    action[1, 0] = np.nan
    with pytest.raises(TaskError, match="action has a component nan, allowed is -1 to 1"):
        Game(WriteVerify(), 3).step(action)


@pytest.mark.parametrize(
    "action, message",
    [
        ([0, 48, 3], "action is 48, allowed is 0 to 47"),
        ([5, -1, 9], "action is -1, allowed is 0 to 47"),
        ([1.0, 2.0, 3.0], "action is of type float64, whole numbers 0 to 47 are needed"),
    ],
)
def test_an_action_outside_the_menu_is_refused_by_its_value(action, message):
    with pytest.raises(TaskError, match=message):
        Game(WriteVerify(action="discrete"), 3).step(np.array(action))


def test_a_task_is_varied_with_replace():
    task = dataclasses.replace(WriteVerify(), tolerance=0.05, rounds=2)
    assert (task.tolerance_x, task.features, task.max_steps) == (0.05, 8, 100)
    assert take(Game(task).episode, np.array([3, 1])).target.shape == (2,)


# -- goals and privileged information ----------------------------------------------------------------------------------


def goal_task(**more) -> WriteVerify:
    return WriteVerify(**arguments("WriteVerify", "WriteVerifyGoal", more))


def test_with_goals_the_reward_follows_from_them_and_the_view_is_the_same(rng):
    task, plain = goal_task(tolerance=0.1), WriteVerify(tolerance=0.1)
    games = Game(task), Game(plain)
    accepted = 0
    for _ in range(8):
        action = random_action(task, rng)
        episode, same = (game.step(action) for game in games)
        observation = task.observe(episode)
        assert task.observation_space.contains({name: part[0] for name, part in observation.items()})
        reward = sum(task.reward(episode).values())
        goals = observation["achieved_goal"], observation["desired_goal"]
        np.testing.assert_allclose(task.compute_reward(*goals), reward)
        for seen, flat in zip(task.view(observation)[:-1], plain.view(plain.observe(same))[:-1], strict=True):
            np.testing.assert_allclose(seen, flat, rtol=1e-4, atol=2e-5)
        accepted += episode.accepted.sum()
    assert accepted > 10
    assert np.all(task.compute_reward(goals[0], goals[0]) == task.weight_acceptance - task.weight_pulses)


@pytest.mark.parametrize("more", [{"rounds": 2}, {"history": 2}, {"give_up": True}, {"weight_energy": 1.0}])
def test_goals_are_refused_with_what_a_reward_of_goals_does_not_know(more):
    name = next(iter(more))
    with pytest.raises(TaskError, match=f"{name} is .*, with goal=True allowed is"):
        goal_task(**more)


def test_privileged_information_is_the_cells_own_parameters():
    task = WriteVerify(privileged=True)
    episode = Game(task).episode
    info = task.info(episode)
    np.testing.assert_array_equal(info["cell/set.dose"], episode.chip.set.dose)
    np.testing.assert_array_equal(info["cell/x_lo"], episode.chip.x_lo)
    assert all(part.shape == (CELLS,) for name, part in info.items() if name.startswith("cell/"))
    assert not any(name.startswith("cell/") for name in WriteVerify().info(episode))
