"""The ids under which Gymnasium knows the environments."""

import gymnasium as gym

from memenv.envs.variants import VARIANTS


def register() -> None:
    """Register memenv's ids with Gymnasium (once)."""
    for name, variant in VARIANTS.items():
        if f"memenv/{name}-v0" not in gym.registry:
            gym.register(
                f"memenv/{name}-v0",
                entry_point=f"memenv.envs:{variant.base}Env",
                vector_entry_point=f"memenv.envs:{variant.base}VectorEnv",
                max_episode_steps=variant.max_episode_steps,
                reward_threshold=variant.reward_threshold,
                kwargs={"variant": name} if variant.fixed else {},
            )
