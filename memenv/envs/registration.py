"""The ids under which Gymnasium knows the environments."""

import gymnasium as gym


def register() -> None:
    """Register memenv's ids with Gymnasium (once)."""
    for name in ("WriteVerify", "CrossbarProgram", "FewShot"):
        if f"memenv/{name}-v0" not in gym.registry:
            gym.register(
                f"memenv/{name}-v0",
                entry_point=f"memenv.envs:{name}Env",
                vector_entry_point=f"memenv.envs:{name}VectorEnv",
            )
