"""Program one cell with a classical controller through Gymnasium, and print what happened."""

import gymnasium as gym

import memenv  # noqa: F401  registers the environments
from agents.classical import HistoryInverse
from memenv import WriteVerify

wanted = {"device": "threshold", "tolerance": 0.02, "give_up": True}
env = gym.make("memenv/WriteVerify-v0", render_mode="ansi", **wanted)
policy = HistoryInverse(task=WriteVerify(**wanted))

observation, info = env.reset(seed=3)
state, done = None, False
while not done:
    action, state = policy.predict(observation[None], state)
    observation, reward, terminated, truncated, info = env.step(action[0])
    done = terminated or truncated
print(env.render())
print(
    f"accepted: {info['is_success']}, {info['pulses']:.0f} pulses, "
    f"{info['energy'] * 1e12:.1f} pJ, {info['latency'] * 1e6:.1f} us"
)
