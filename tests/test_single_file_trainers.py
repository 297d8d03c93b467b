"""The trainers of examples/: they learn from transitions only, and meet the classical controllers."""

import importlib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import VectorWrapper

pytest.importorskip("torch")

import torch

TINY = {"total_timesteps": 256, "num_envs": 4, "num_steps": 32, "update_epochs": 1, "num_minibatches": 1}


@pytest.fixture(params=["ppo_continuous", "ppo_discrete"])
def trainer(request, monkeypatch):
    """The module of a trainer."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    return importlib.import_module(request.param)


class Resets(VectorWrapper):
    """Counts steps that only reset."""

    def __init__(self, env):
        super().__init__(env)
        self.done, self.count = np.zeros(env.num_envs, bool), 0

    def step(self, actions):
        """A step, counted where the episode was over."""
        self.count += self.done.sum()
        out = super().step(actions)
        self.done = out[2] | out[3]
        return out


def environments(trainer):
    """Few cells, whose episodes are cut after five steps."""
    action = {"action": "discrete"} if trainer.__name__ == "ppo_discrete" else {}
    return Resets(gym.make_vec(trainer.ID, num_envs=4, max_episode_steps=5, **action))


def test_the_step_that_resets_is_not_learnt_from(trainer, monkeypatch):
    learnt = []
    monkeypatch.setattr(trainer, "improve", lambda _agent, _adam, batch, _config: learnt.append(len(batch[0])))
    envs = environments(trainer)
    trainer.train(trainer.Config(**TINY), envs)
    assert envs.count > 20 and sum(learnt) == TINY["total_timesteps"] - envs.count


def test_advantages_end_with_the_episode_and_take_the_value_of_a_truncated_one(trainer):
    """Three cells: one goes on, one is terminated in its first step, one truncated there; steps of reward 1."""
    value = torch.tensor([[0.5, 0.5, 0.5], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    terminated, truncated = torch.zeros(2, 2, 3, dtype=torch.bool)
    terminated[0, 1] = truncated[0, 2] = True
    config = trainer.Config(gamma=0.5, gae_lambda=0.5)
    found = trainer.advantages(torch.ones(2, 3), value, terminated, terminated | truncated, config)
    # errors: 1 + 0.5 * 2 - 0.5 = 1.5 in the first step (0.5 where terminated), 1 + 0.5 * 4 - 2 = 1 in the second
    torch.testing.assert_close(found, torch.tensor([[1.5 + 0.25, 0.5, 1.5], [1.0, 1.0, 1.0]]))


def test_equal_seeds_train_equal_agents_and_training_changes_them(trainer):
    first, again, other, none = (
        trainer.train(trainer.Config(**TINY | more), environments(trainer)).state_dict()
        for more in ({}, {}, {"seed": 1}, {"total_timesteps": 0})
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))
    assert not all(torch.equal(first[name], none[name]) for name in first)


def test_everyone_is_judged_on_the_same_cells(trainer, capsys):
    told = {**TINY, "cells": 20, "trials": 1}
    trainer.main([f"--{name.replace('_', '-')}={value}" for name, value in told.items()])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ispp", "history", "bayes", "ppo"]
    assert all("success" in line for line in lines[1:])
