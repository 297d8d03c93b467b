"""stable-baselines3 models as policies of the write-verify task, and the recipes by which `memenv train` makes them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sb3_contrib import TQC, MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.utils import LinearSchedule

from agents.policy import one_or_many
from memenv.arrays import tree_map
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.observation import SIGNAL
from memenv.envs.write_verify.task import WriteVerify


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training of an algorithm on write-verify."""

    model: Any  # the class
    steps: int  # of the environments, all together
    envs: int
    policy: str = "MlpPolicy"
    action: str = "continuous"
    give_up: bool = False  # whether it learns to; the mask of a menu makes that safe
    history: int = 4  # steps in the observation: the memory of an algorithm without one
    minibatches: int | None = None  # of a rollout (on-policy): a divisor of n_steps fits any number of environments
    settings: dict[str, Any] = field(default_factory=dict)  # of the model, as stable-baselines3 spells them
    network: dict[str, Any] = field(default_factory=dict)  # its policy_kwargs


# Where the numbers come from: they start from stable-baselines3's defaults. PPO's were chosen by hand on `threshold` at
# 2 %, in runs of three and eight million steps: learning rates up to 6e-3 learn faster at first, but without target_kl
# some seeds stay behind (2.9 pulses instead of 2.74); lambda 0.8, eight epochs and 128 units did not pay. The other
# on-policy algorithms share them. The off-policy ones have batches for 64 cells side by side and are not tuned.
_ON_POLICY: dict[str, Any] = {
    "n_steps": 16,
    "n_epochs": 4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "ent_coef": 0.0,
    "learning_rate": LinearSchedule(2e-3, 1e-5, 1.0),
    "target_kl": 0.05,
}
_OFF_POLICY: dict[str, Any] = {
    "batch_size": 1024,
    "gamma": 0.99,
    "learning_rate": 1e-3,
    "learning_starts": 10_000,
    "train_freq": 1,
    "gradient_steps": 2,
    "buffer_size": 500_000,
}
RECIPES: dict[str, Recipe] = {
    "ppo": Recipe(
        model=PPO,
        steps=8_000_000,
        envs=1024,
        minibatches=4,
        settings=_ON_POLICY,
        network={"net_arch": [64, 64], "log_std_init": -1.0, "activation_fn": torch.nn.ReLU},
    ),
    "recurrent_ppo": Recipe(
        model=RecurrentPPO,
        policy="MlpLstmPolicy",
        steps=4_000_000,
        envs=256,
        history=2,
        minibatches=4,
        settings=_ON_POLICY | {"n_steps": 32},
        network={"net_arch": [64], "lstm_hidden_size": 64, "log_std_init": -1.0},
    ),
    "maskable_ppo": Recipe(
        model=MaskablePPO,
        action="discrete",
        give_up=True,
        steps=8_000_000,
        envs=1024,
        minibatches=4,
        settings=_ON_POLICY,
        network={"net_arch": [64, 64]},
    ),
    "sac": Recipe(model=SAC, steps=1_000_000, envs=64, settings=_OFF_POLICY, network={"net_arch": [64, 64]}),
    "tqc": Recipe(model=TQC, steps=1_000_000, envs=64, settings=_OFF_POLICY, network={"net_arch": [64, 64]}),
    "dqn": Recipe(
        model=DQN,
        action="discrete",
        steps=2_000_000,
        envs=64,
        settings=_OFF_POLICY | {"exploration_fraction": 0.3, "target_update_interval": 1000},
        network={"net_arch": [128, 128]},
    ),
}


def recipe(algorithm: str) -> Recipe:
    """The recipe of an algorithm.

    Raises:
        ValueError: there is none of that name.
    """
    if algorithm not in RECIPES:
        raise ValueError(
            f"unknown algorithm {algorithm!r}; known are {', '.join(RECIPES)}, and pulse in `memenv train`"
        )
    return RECIPES[algorithm]


def make_model(algorithm: str, env: Any, seed: int) -> Any:
    """An untrained model of an algorithm for a `GymVecEnv` over write-verify."""
    chosen = recipe(algorithm)
    settings = dict(chosen.settings)
    if chosen.minibatches:
        settings["batch_size"] = env.num_envs * settings["n_steps"] // chosen.minibatches
    return chosen.model(chosen.policy, env, seed=seed, device="cpu", policy_kwargs=chosen.network, **settings)


@dataclass(frozen=True)
class SB3Policy:
    """A stable-baselines3 network that answers for many cells at once, in any task that tells it enough.

    It was trained on `own`; a task with a shorter history or another kind of action is translated: the steps are
    remembered here, the pulse is encoded as the task asks for it.
    """

    algorithm: str
    network: Any  # stable-baselines3's policy of that algorithm
    task: WriteVerify
    own: WriteVerify

    def begin(self, chip: CellModel | None, cells: int) -> None:
        """Nothing is carried before the first observation."""

    @one_or_many
    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Actions and state; see `agents.policy.Policy`."""
        seen, inner = (None, None) if state is None else state
        steps = observation.reshape(len(observation), self.task.history, -1)[
            :, -self.own.history :, : self.own.features
        ]
        if self.task.history < self.own.history:
            steps = seen = self._remember(seen, steps[:, -1:])
        inputs = steps.reshape(len(steps), -1)
        masks = {"action_masks": self.own.masks_of(inputs)} if self.algorithm == "maskable_ppo" else {}
        inner = tree_map(_swapped, inner)  # recurrent states have the cells as second axis, policies as first
        action, inner = self.network.predict(inputs, inner, episode_start, deterministic, **masks)
        if self.own.action_space != self.task.action_space:
            signal, log_width, gave_up, *gate = self.own.actions.signals(action)
            if self.algorithm == "ppo" and not self.own.give_up:
                gave_up = self._hopeless(inputs)
            action = self.task.actions.of_signals(signal, log_width, gave_up, *gate)
        return action, (seen, tree_map(_swapped, inner))

    def _hopeless(self, inputs: np.ndarray) -> np.ndarray:
        """(cells,) bool: where the critic expects less than what giving up is worth, for a task in which one may.

        That is minus `weight_failure`, and what shaping takes away: with equal weights the distances cancel. An actor
        that learns to give up must try it often, while the critic learns from every pulse what cells beyond help cost.
        """
        with torch.no_grad():
            value = self.network.predict_values(torch.as_tensor(inputs))
        hopeless: np.ndarray = (value[:, 0] < -self.own.weight_failure).numpy() & (
            inputs[:, SIGNAL - self.own.features] != 0
        )
        return hopeless

    def _remember(self, seen: np.ndarray | None, newest: np.ndarray) -> np.ndarray:
        """The last `own.history` steps; before the first pulse the first step repeated, as in the observation."""
        repeated = np.repeat(newest, self.own.history, axis=1)
        if seen is None:
            return repeated
        return np.where(newest[:, :, SIGNAL : SIGNAL + 1] == 0, repeated, np.concatenate([seen[:, 1:], newest], axis=1))


def _swapped(part: np.ndarray) -> np.ndarray:
    return np.swapaxes(part, 0, 1)
