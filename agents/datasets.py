"""`memenv datasets`: episodes of controllers, in Minari's format, for offline learning and imitation.

One dataset for each id and policy, `memenv/<id>/<device>/<policy>-v0`: observations, actions, rewards and infos, each
episode on a fresh chip of the seeds for training, which no evaluation sees. Where MINARI_DATASETS_PATH names the
folder, `minari.load_dataset(name).recover_environment()` makes the environment again; the seed of an episode is in its
metadata.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from agents.arrays.each_cell import EachCell
from agents.evaluation import TRAINING, mixed
from agents.library import load_policy
from agents.tuning import tune
from memenv.bounds import MANY, MOST, MOST_SEED
from memenv.envs.crossbar_program.task import CrossbarProgram
from memenv.envs.variants import VARIANTS
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import Options, option, parse
from memenv.experiments.runs import versions

RANDOM = "random"
FOLDER = "MINARI_DATASETS_PATH"
Act = Callable[[Any, Any, np.ndarray], tuple[Any, Any]]  # observation, state, first of an episode -> action, state


@dataclass(frozen=True, kw_only=True)
class DatasetsConfig(Options):
    """Record what policies do in environments as datasets of Minari, with all infos; needs the extra datasets.

    Example: memenv datasets memenv/WriteVerify-v0 --policies random,secant --episodes 200 --out my-datasets
    """

    ids: tuple[str, ...] = option(("memenv/WriteVerify-v0",), positional=True, distinct=True, help="of environments")
    policies: tuple[str, ...] = option(
        (RANDOM, "ispp", "secant", "generalist"),
        distinct=True,
        help=f"{RANDOM}, controllers, shipped policies or paths of policies; for learning on chips {RANDOM} alone",
    )
    device: str | None = option(None, help="a preset, a .json record or a .npz table [that of the id]")
    tolerance: float | None = option(
        None, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range [that of the id]"
    )
    episodes: int = option(1000, bounds=(1, MOST), help="of each dataset")
    trials: int = option(60, bounds=(1, MANY), help="parameter sets that a controller's tuning tries; 1 = no tuning")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of chips, tuning and chance")
    out: Path = option(Path("datasets"), help="folder of the datasets")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(DatasetsConfig, arguments, "memenv datasets")
    for made in record(config):
        print(f"{made.id}: {made.total_episodes} episodes, {made.total_steps} steps", flush=True)
    print(f"in {config.out}: {FOLDER}={config.out} is where Minari looks for them")


def record(config: DatasetsConfig) -> Iterator[Any]:
    """The datasets of `minari`, each as it is written into `config.out`.

    Raises:
        ValueError: Minari is missing, or an unknown id or policy, or one that cannot play the id.
    """
    try:
        minari: Any = importlib.import_module("minari")
    except ImportError:
        raise ValueError("datasets need Minari: pip install 'memenv[datasets]'") from None
    made = {key: getattr(config, key) for key in ("device", "tolerance") if getattr(config, key) is not None}
    known = [f"memenv/{one}-v0" for one in VARIANTS]
    for name in config.ids:
        if name not in known:
            raise ValueError(f"unknown id {name!r}; known are {', '.join(known)}")
    work = [(gym.make(name, **made), policy) for name in config.ids for policy in config.policies]
    check_new([dataset_id(env, policy, config) for env, policy in work], config.out)
    acts = [player(policy, env.unwrapped.task, config) for env, policy in work]  # type: ignore[attr-defined]
    with _folder(config.out):
        for (env, policy), act in zip(work, acts, strict=True):
            yield _dataset(minari, env, policy, act, config)


def player(policy: str, task: Any, config: DatasetsConfig) -> Act | None:
    """Actions of a policy in the environment of a task, None for chance.

    Raises:
        ValueError: an unknown policy, or one that cannot play it.
    """
    if policy == RANDOM:
        return None
    if isinstance(task, WriteVerify) and not task.goal:
        return tune(load_policy(policy, task), config.trials, config.seed).policy.predict  # type: ignore[no-any-return]
    if isinstance(task, CrossbarProgram):
        each = EachCell.of(policy, task)
        return replace(each, policy=tune(each.policy, config.trials, config.seed).policy).predict
    raise ValueError(f"{policy} has no actions for this environment: only {RANDOM} has")


def dataset_id(env: Any, policy: str, config: DatasetsConfig) -> str:
    """What Minari calls the dataset of a policy in an environment."""
    short = env.spec.id.removeprefix("memenv/").removesuffix("-v0")
    device = config.device or env.unwrapped.spec.kwargs.get("device") or "own"
    return f"memenv/{short}/{Path(device).stem}/{Path(policy).stem}-v0"


def check_new(names: Sequence[str], folder: Path) -> None:
    """Refuse what Minari would refuse when all episodes are played.

    Raises:
        ValueError: two datasets of one name, or one that is in the folder.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"two datasets would be {name}: name ids and policies once, and files differently")
        if (folder / name).exists():
            raise ValueError(f"{folder / name} is there already: choose another --out, or remove it")


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Minari writes where an environment variable says."""
    before = os.environ.get(FOLDER)
    os.environ[FOLDER] = str(path.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ[FOLDER]
        else:
            os.environ[FOLDER] = before


def _dataset(minari: Any, plain: gym.Env[Any, Any], policy: str, act: Act | None, config: DatasetsConfig) -> Any:
    """The dataset of one policy in one environment."""
    spec: Any = plain.spec
    env = minari.DataCollector(plain, record_infos=True, data_format="hdf5")
    plain.action_space.seed(config.seed)
    for episode in tqdm(range(config.episodes), f"{policy} in {spec.id}", disable=None, file=sys.stderr):
        observation, _ = env.reset(seed=mixed(TRAINING, config.seed, episode) >> 1)  # of 64 bits, Gymnasium takes 63
        state, first, over = None, np.ones(1, bool), False
        while not over:
            action, state = act(observation, state, first) if act else (plain.action_space.sample(), None)
            observation, _, terminated, truncated, _ = env.step(action)
            first, over = np.zeros(1, bool), terminated or truncated
    found = env.create_dataset(
        dataset_id(plain, policy, config),
        eval_env=spec,
        algorithm_name=policy,
        author="memenv developers",
        author_email="see CITATION.cff",
        code_permalink=f"memenv {versions('memenv')['memenv']}: memenv datasets",
        description=f"{spec.id}, played by {policy}",
        requirements=["memenv"],
    )
    env.close()
    return found
