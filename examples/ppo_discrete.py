"""PPO on a menu of pulses in one file, with masks: it learns to program cells, then meets the classical controllers.

    python examples/ppo_discrete.py --seed 1 --total-timesteps 300000

The environments are one native batch in Gymnasium's own mode NEXT_STEP: the step after the end of an episode resets it,
whatever the action. Such a step is no transition and enters no minibatch; the observation before it is the last one of
the episode, from which the value of a truncated episode is taken.
Pulses away from the target are masked (`action_mask` in info).
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

import memenv
from agents import evaluate, load_policy, tune
from memenv.experiments.options import Options, option, parse

QUICK = "MEMENV_QUICK" in os.environ
ID = "memenv/WriteVerify-v0"
RIVALS = ("ispp", "history", "bayes")


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Train PPO on a menu of pulses and compare it with tuned write-verify."""

    device: str = option("threshold", help="preset, .json record or .npz table")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    seed: int = option(0, help="of cells, noise and weights")
    total_timesteps: int = option(10_000 if QUICK else 300_000, help="of the environments together")
    num_envs: int = option(8, bounds=(1, 10**6), help="cells side by side")
    num_steps: int = option(256, bounds=(1, 10**6), help="of each cell before an update")
    num_minibatches: int = option(8, bounds=(1, 10**6), help="of a rollout")
    update_epochs: int = option(10, bounds=(1, 10**6), help="passes over a rollout")
    learning_rate: float = option(1e-3, help="of Adam at the beginning, falling to zero")
    gamma: float = option(0.99, help="discount")
    gae_lambda: float = option(0.95, help="of the advantages")
    clip_coef: float = option(0.2, help="by which a probability may change in an update")
    ent_coef: float = option(0.01, help="weight of the entropy")
    vf_coef: float = option(0.5, help="weight of the critic's loss")
    max_grad_norm: float = option(0.5, help="to which gradients are clipped")
    cells: int = option(100 if QUICK else 1000, bounds=(1, 10**6), help="fresh cells on which everyone is judged")
    trials: int = option(1 if QUICK else 60, bounds=(1, 10**6), help="parameter sets that a rival's tuning tries")


def network(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    """Two hidden layers of 64, orthogonal weights, those of the last layer scaled."""
    layers = [nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs)]
    for layer, scale in zip(layers[::2], (2**0.5, 2**0.5, gain), strict=True):
        nn.init.orthogonal_(layer.weight, scale)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class Agent(nn.Module):
    """Actor and critic; answers `predict` as every policy of memenv does."""

    def __init__(self, features: int, menu: int, masks_of: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.actor, self.critic = network(features, menu, 0.01), network(features, 1, 1.0)
        self.masks_of = masks_of

    def distribution(self, observation: torch.Tensor, mask: torch.Tensor) -> Categorical:
        """Of choices (cells,) given observations (cells, features) and masks (cells, menu)."""
        return Categorical(logits=self.actor(observation).masked_fill(~mask, -1e8))

    def begin(self, chip: Any, cells: int) -> None:
        """Nothing is carried from one observation to the next."""

    @torch.no_grad()
    def predict(
        self, observation: np.ndarray, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """The most likely choice, or a random one."""
        mask = torch.as_tensor(self.masks_of(observation))
        distribution = self.distribution(torch.as_tensor(observation), mask)
        choice = distribution.probs.argmax(-1) if deterministic else distribution.sample()
        return choice.numpy(), state


def advantages(
    reward: torch.Tensor, value: torch.Tensor, terminated: torch.Tensor, done: torch.Tensor, config: Config
) -> torch.Tensor:
    """Generalised advantage estimates (steps, cells) of rewards (steps, cells) and values (steps + 1, cells)."""
    out, later = torch.zeros_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        error = reward[t] + config.gamma * value[t + 1] * ~terminated[t] - value[t]
        out[t] = later = error + config.gamma * config.gae_lambda * later * ~done[t]
    return out


def train(config: Config, envs: gym.vector.VectorEnv[Any, Any, Any]) -> Agent:
    """A trained agent."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    features, menu = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    agent = Agent(features, menu, envs.unwrapped.task.masks_of)
    adam = torch.optim.Adam(agent.parameters(), lr=config.learning_rate, eps=1e-5)
    shape = config.num_steps, config.num_envs
    seen, chosen = torch.zeros(config.num_steps + 1, config.num_envs, features), torch.zeros(shape, dtype=torch.long)
    reward, (terminated, done) = torch.zeros(shape), torch.zeros(2, *shape, dtype=torch.bool)
    masks = torch.ones(*shape, menu, dtype=torch.bool)
    updates = config.total_timesteps // (config.num_steps * config.num_envs)
    observation, info = envs.reset(seed=config.seed)
    over = np.zeros(config.num_envs, bool)
    for update in range(updates):
        adam.param_groups[0]["lr"] = config.learning_rate * (1.0 - update / updates)
        transition = torch.zeros(shape, dtype=torch.bool)
        for t in range(config.num_steps):
            seen[t], transition[t] = torch.as_tensor(observation), torch.as_tensor(~over)  # after an end: the reset
            masks[t] = torch.as_tensor(info["action_mask"])
            with torch.no_grad():
                chosen[t] = agent.distribution(seen[t], masks[t]).sample()
            observation, paid, ended, cut, info = envs.step(chosen[t].numpy())
            over = ended | cut
            reward[t], terminated[t], done[t] = (torch.as_tensor(part) for part in (paid, ended, over))
        seen[-1] = torch.as_tensor(observation)
        with torch.no_grad():
            value = agent.critic(seen)[..., 0]
            advantage = advantages(reward, value, terminated, done, config)
            before = agent.distribution(seen[:-1], masks).log_prob(chosen)
        told = seen[:-1], masks, chosen, before, advantage, advantage + value[:-1]
        rollout = [part[transition] for part in told]
        for _ in range(config.update_epochs):
            for rows in torch.randperm(len(rollout[0])).chunk(config.num_minibatches):
                improve(agent, adam, [part[rows] for part in rollout], config)
    return agent


def improve(agent: Agent, adam: torch.optim.Optimizer, batch: Sequence[torch.Tensor], config: Config) -> None:
    """One gradient step on observations, masks, choices, their log-probabilities, advantages and returns."""
    observation, mask, choice, before, advantage, value = batch
    distribution = agent.distribution(observation, mask)
    ratio = (distribution.log_prob(choice) - before).exp()
    advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
    clipped = ratio.clamp(1.0 - config.clip_coef, 1.0 + config.clip_coef)
    actor = -torch.min(ratio * advantage, clipped * advantage).mean()
    critic = 0.5 * (agent.critic(observation)[..., 0] - value).square().mean()
    loss = actor + config.vf_coef * critic - config.ent_coef * distribution.entropy().mean()
    adam.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    adam.step()


def main(arguments: Sequence[str]) -> None:
    """Train, then let everyone program the same fresh cells."""
    config = parse(Config, arguments, "ppo_discrete.py")
    told = {"action": "discrete", "device": config.device, "tolerance": config.tolerance}
    envs = gym.make_vec(ID, num_envs=config.num_envs, **told)
    agent = train(config, envs)
    task: memenv.WriteVerify = envs.unwrapped.task
    rivals = {name: tune(load_policy(name, task), config.trials).policy for name in RIVALS}
    print(f"{ID}, {config.device}, {config.total_timesteps} steps, seed {config.seed}, {config.cells} fresh cells")
    for name, policy in (rivals | {"ppo": agent}).items():
        outcomes = evaluate(policy, task, config.cells, seed=1)
        mean = outcomes.returns.mean(), outcomes.pulses.mean(), outcomes.accepted.mean()
        print("{:<8} return {:6.3f}, {:5.2f} pulses, success {:.1%}".format(name, *mean))


if __name__ == "__main__":
    main(sys.argv[1:])
