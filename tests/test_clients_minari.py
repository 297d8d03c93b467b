"""Minari as a client: what a controller did is recorded, and recovered with its environment."""

import numpy as np
import pytest

pytest.importorskip("minari", reason="Minari is not installed: extra clients")
pytest.importorskip("h5py", reason="h5py is not installed: extra clients")

import minari

from agents.tuning import Tuned
from memenv.__main__ import main

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),  # Minari removes that folder itself
    pytest.mark.filterwarnings("ignore:Package memenv is not installed"),  # from a checkout
]
EPISODES = 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The dataset of ISPP, made by the command and loaded again."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("datasets"))
        few = ("--episodes", str(EPISODES), "--trials", "1", "--policies", "ispp,random")
        assert main(["datasets", "--device", "pcm", *few, "--out", folder]) == 0
        patch.setenv("MINARI_DATASETS_PATH", folder)
        yield minari.load_dataset("memenv/WriteVerify/pcm/ispp-v0")


def test_a_dataset_recovers_its_environment_in_which_its_actions_give_its_observations_again(recorded):
    env = recorded.recover_environment()
    assert env.unwrapped.task.device.name == "pcm" and recorded.total_episodes == EPISODES
    seeds = [int(told["seed"]) for told in recorded.storage.get_episode_metadata(range(EPISODES))]
    for episode, seed in zip(recorded.iterate_episodes(), seeds, strict=True):
        observation, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(observation, episode.observations[0])
        for step, action in enumerate(episode.actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            np.testing.assert_array_equal(observation, episode.observations[step + 1])
            assert reward == pytest.approx(episode.rewards[step])
        assert (terminated, truncated) == (episode.terminations[-1], episode.truncations[-1])


def test_a_dataset_holds_the_infos_of_the_reset_and_of_every_step(recorded):
    for episode in recorded.iterate_episodes():
        np.testing.assert_array_equal(episode.infos["pulses"], np.arange(len(episode) + 1))
        terms = sum(episode.infos["reward"].values())  # Minari makes groups of names with a slash
        np.testing.assert_allclose(terms[1:], episode.rewards, rtol=1e-6)


def test_every_cell_is_another_one(recorded):
    targets = {episode.observations[0].tobytes() for episode in recorded.iterate_episodes()}
    assert len(targets) == EPISODES


def test_arrays_are_played_cell_by_cell_and_chance_plays_learning_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("agents.datasets.tune", lambda policy, *_: Tuned(policy=policy, cost=0.0, trials=0))
    words = ["datasets", "--episodes", "1", "--trials", "1", "--out", str(tmp_path / "out")]
    assert main([*words, "memenv/CrossbarProgram-v0", "--policies", "secant"]) == 0
    assert main([*words, "memenv/FewShotMLP-v0", "--policies", "random"]) == 0
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "out"))
    names = set(minari.list_local_datasets())
    assert names == {"memenv/CrossbarProgram/own/secant-v0", "memenv/FewShotMLP/own/random-v0"}
    assert main([*words, "memenv/FewShot-v0", "--policies", "secant"]) == 2
    assert "secant has no actions for this environment" in capsys.readouterr().err
    assert main([*words, "memenv/Nothing-v0"]) == 2 and "unknown id 'memenv/Nothing-v0'" in capsys.readouterr().err
