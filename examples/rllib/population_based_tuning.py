"""Population-based tuning of RLlib's PPO by Ray Tune, on an environment by id: `pip install ".[all,rllib]"`.

A population trains side by side; at each interval its last members go on from the networks of the first, with other
settings. The same file serves a cluster: `ray start` on its machines, then `RAY_ADDRESS=auto` before the command.
"""

import os

from gymnasium import VectorizeMode
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.schedulers import PopulationBasedTraining

QUICK = "MEMENV_QUICK" in os.environ
MEMBERS, ITERATIONS, BATCH = (2, 2, 256) if QUICK else (8, 60, 4096)
SETTINGS = {
    "lr": tune.loguniform(1e-4, 3e-3),
    "clip_param": tune.uniform(0.1, 0.4),
    "entropy_coeff": tune.loguniform(1e-4, 1e-2),
}
SCORE = "env_runners/episode_return_mean"

config = PPOConfig().environment("memenv:memenv/WriteVerify-v0", env_config={"device": "threshold"})
config.env_runners(
    num_env_runners=0, num_envs_per_env_runner=64, gym_env_vectorize_mode=VectorizeMode.VECTOR_ENTRY_POINT
)
config.training(train_batch_size_per_learner=BATCH, minibatch_size=256, num_epochs=10, **SETTINGS)
population = PopulationBasedTraining(
    time_attr="training_iteration", perturbation_interval=max(1, ITERATIONS // 10), hyperparam_mutations=SETTINGS
)
found = tune.Tuner(
    "PPO",
    param_space=config,
    tune_config=tune.TuneConfig(metric=SCORE, mode="max", scheduler=population, num_samples=MEMBERS),
    run_config=tune.RunConfig(stop={"training_iteration": ITERATIONS}, verbose=1),
).fit()
best = found.get_best_result()
settings = ", ".join(f"{name} {best.config[name]:.3g}" for name in SETTINGS)
print(f"best of {len(found)}: return {best.metrics['env_runners']['episode_return_mean']:.3f} with {settings}")
