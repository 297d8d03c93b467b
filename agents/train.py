"""`memenv train`: a policy for a device, by reinforcement learning or by gradients through the device; resumable."""

import csv
import importlib.util
import io
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from tqdm import tqdm

from agents import pulse_training
from agents.domain import family
from agents.evaluate import TRAINING, TUNING, Outcomes, evaluate
from agents.policies import Policy
from agents.pulse_predictor import PulsePredictor, load_pulse_predictor
from agents.recurrent import Weights
from agents.sb3 import GymVecEnv
from agents.sb3_policy import RECIPES, SB3Policy, head_of, load_model, make_model, recipe
from memenv.bounds import MANY, MOST
from memenv.command import Options, option, parse, write_whole
from memenv.device import Device
from memenv.envs import TaskVectorEnv
from memenv.envs.write_verify import WriteVerify
from memenv.runs import RECORD, check_folder, csv_text, versions

PULSE = "pulse"
FAMILY = "family"  # in place of devices: the generalist's, drawn anew in each gradient step ...
JUDGED = ("threshold", "alox-hfo2", "hfo2-array-om")  # ... and judged on these of it
EVALUATION_SEED = 0  # of the chips on which progress is judged: the same in every run
ALIKE = 0.01  # costs that differ by less are taken for equal
CONTINUABLE = {"out", "resume", "steps", "threads", "evaluations"}  # options that a resumed run may change


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Options):
    """Train a policy for a device; agents.load_policy(path, task) loads the policy.zip or policy.npz that it saves."""

    device: tuple[str, ...] = option(
        ("threshold",), help="names, .json records or .npz tables; several are mixed; family (pulse)"
    )
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    algo: str = option("ppo", help="algorithm; pulse = gradients through the device", choices=(*RECIPES, PULSE))
    steps: int = option(
        0, bounds=(0, 10**12), help="steps of the environments together, for pulse gradient steps [the recipe's]"
    )
    envs: int = option(0, bounds=(0, MANY), help="cells side by side [the recipe's]")
    history: int = option(0, bounds=(0, 10_000), help="steps in the observation [the recipe's]")
    seed: int = option(0, bounds=(0, 2**32 - 1), help="of chips, noise and weights")
    rounds: int = option(1, bounds=(1, MANY), help="targets written one after another to the same cell")
    kinship: float = option(
        0.0, bounds=(0.0, 1.0), help="pulse: share of the variance that the cells of a row have in common; with rounds"
    )
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    confirm_reads: int = option(0, bounds=(0, MANY), help="further reads that must be inside before a cell is accepted")
    weight_energy: float = option(0.0, bounds=(0.0, 1e300), help="reward for energy: minus this [1/J]")
    weight_latency: float = option(0.0, bounds=(0.0, 1e300), help="reward for time: minus this [1/s]")
    hidden: int = option(0, bounds=(0, 4096), help="pulse: units of the network [64]; 32 programs twice as fast")
    memoryless: bool = option(False, help="pulse: without memory, for the one pulse after the first read")
    evaluations: int = option(40, bounds=(1, MANY), help="how often the policy is judged and a checkpoint written")
    evaluation_cells: int = option(2000, bounds=(1, MOST), help="cells on which it is judged, always the same")
    threads: int = option(1, help="of torch: small networks are not faster with more")
    out: Path = option(Path("policy"), help="folder of the policy, checkpoint, eval.csv, run.json, TensorBoard's files")
    resume: bool = option(False, help="continue the run in that folder from its last checkpoint")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(TrainConfig, arguments, "memenv train")
    command = "memenv train " + shlex.join(arguments)
    try:
        best = train(config, command)
    except KeyboardInterrupt:
        again = command if config.resume else f"{command} --resume"
        print(f"memenv train: the last checkpoint is kept in {config.out}; continue with: {again}", file=sys.stderr)
        raise
    print(f"{best['pulses']:.3f} pulses, success {best['success']:.1%}, after {best['steps']:.0f} steps")
    print(f"written: {policy_file(config)}, eval.csv, run.json")


def policy_file(config: TrainConfig) -> Path:
    """Where the best policy of a run is put."""
    return config.out / ("policy.npz" if config.algo == PULSE else "policy.zip")


def train(config: TrainConfig, command: str = "") -> dict[str, float]:
    """Run, or continue, a training and write its files into `config.out`; the best row of eval.csv.

    Raises:
        ValueError: an unusable option, a folder that already holds a run, nothing to resume.
    """
    config = _completed(config)
    torch.set_num_threads(config.threads)
    record = {
        "command": command,
        "config": json.loads(json.dumps(asdict(config), default=str)),
        "versions": versions("memenv", "gymnasium", "numpy", "torch", "stable-baselines3", "sb3-contrib"),
    }
    tasks = _tasks(config)
    check_folder(checkpoint_file(config), record["config"], config.resume, CONTINUABLE)
    write_whole(config.out / RECORD, json.dumps(record, indent=2) + "\n")
    with _journal(config, tasks) as journal:
        if config.algo == PULSE:
            _pulse(config, tasks, journal, {"command": command, "seed": config.seed})
        else:
            _reinforce(config, tasks, journal)
    best = journal.best()
    write_whole(config.out / RECORD, json.dumps(record | {"best": best, "last": journal.rows[-1]}, indent=2) + "\n")
    return best


def _completed(config: TrainConfig) -> TrainConfig:
    """The configuration with the recipe's numbers where none were given."""
    if config.threads < 1:
        raise ValueError(f"threads is {config.threads}, allowed is a whole number >= 1")
    if config.kinship and (config.algo != PULSE or config.rounds < 2):
        raise ValueError(f"kinship is {config.kinship}: it needs --algo {PULSE} and --rounds of at least 2")
    if config.algo == PULSE:
        defaults = pulse_training.PulseTrainingConfig
        steps, envs, history = defaults.iterations, defaults.streams, 1
    else:
        chosen = recipe(config.algo)
        steps, envs, history = chosen.steps, chosen.envs, chosen.history
    return replace(config, steps=config.steps or steps, envs=config.envs or envs, history=config.history or history)


def _tasks(config: TrainConfig) -> list[WriteVerify]:
    """What the policy is trained for: one task, of mixed devices; for pulse one task a device."""
    shared = ("tolerance", "rounds", "max_pulses", "confirm_reads", "history", "weight_energy", "weight_latency")
    own: dict[str, Any] = {name: getattr(config, name) for name in shared}
    if config.algo != PULSE:
        own["weight_acceptance"] = WriteVerify.weight_pulses * config.max_pulses  # minus the cost of `agents.tune`
        device = config.device[0] if len(config.device) == 1 else list(config.device)
        return [WriteVerify(device=device, action=recipe(config.algo).action, **own)]
    tasks = [WriteVerify(device=device, **own) for device in (JUDGED if config.device == (FAMILY,) else config.device)]
    for task in tasks:
        if not isinstance(task.device, Device):
            raise ValueError(
                f"{task.device.name}: algo pulse needs a parametric device, to differentiate through; use ppo"
            )
    return tasks


def checkpoint_file(config: TrainConfig) -> Path:
    """From where a run is resumed."""
    return config.out / policy_file(config).with_stem("checkpoint").name


# -- what is written as the training goes ----------------------------------------------------------------------------


@dataclass
class Journal:
    """Judges the policy on fixed chips now and then; writes checkpoints, the best policy, eval.csv, TensorBoard's."""

    config: TrainConfig
    bar: Any
    logger: Logger
    rows: list[dict[str, float]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def due(self, steps: int) -> bool:
        """Whether it is time to judge."""
        every = self.config.steps / self.config.evaluations
        return not self.rows or steps // every > self.rows[-1]["steps"] // every

    def best(self) -> dict[str, float]:
        """The row of the policy that is kept: the latest whose cost is the least but for the noise of judging."""
        least = min(row["cost"] for row in self.rows)
        return next(row for row in reversed(self.rows) if row["cost"] <= (1 + ALIKE) * least)

    def resume(self, steps: int) -> None:
        """Take up eval.csv as it was after `steps`."""
        with (self.config.out / "eval.csv").open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        self.rows = [row for row in rows if row["steps"] <= steps]
        self.began -= self.rows[-1]["seconds"] if self.rows else 0.0
        self.bar.update(steps - self.bar.n)

    def judge(self, steps: int, policies: Sequence[tuple[WriteVerify, Policy]], save: Callable[[Path], None]) -> None:
        """Evaluate on each task, write a row, a checkpoint, and the policy if it is the best so far."""
        outcomes = [
            evaluate(policy, task, self.config.evaluation_cells, EVALUATION_SEED, purpose=TUNING)
            for task, policy in policies
        ]
        row = {
            "steps": float(steps),
            "seconds": time.perf_counter() - self.began,
            **_figures(outcomes, self.config.max_pulses),
        }
        self.rows.append(row)
        if row is self.best():
            save(policy_file(self.config))
        write_whole(self.config.out / "eval.csv", csv_text(self.rows))
        save(checkpoint_file(self.config))
        for name, value in row.items():
            self.logger.record(f"eval/{name}", value)
        self.logger.dump(steps)
        self.bar.set_postfix_str(f"{row['pulses']:.2f} pulses, success {row['success']:.1%}")


def _figures(outcomes: Sequence[Outcomes], max_pulses: int) -> dict[str, float]:
    """Means over all cells; the cost is that of `agents.tune`: a cell that is not accepted costs max_pulses on top."""

    def mean(part: Callable[[Outcomes], np.ndarray]) -> float:
        return float(np.mean(np.concatenate([part(one) for one in outcomes])))

    return {
        "pulses": mean(lambda one: one.pulses),
        "success": mean(lambda one: one.accepted),
        "cost": mean(lambda one: one.pulses + max_pulses * ~one.accepted),
        "false_acceptances": mean(lambda one: one.false_acceptances),
        "energy": mean(lambda one: one.energy),
        "latency": mean(lambda one: one.latency),
    }


@contextmanager
def _journal(config: TrainConfig, tasks: Sequence[WriteVerify]) -> Iterator[Journal]:
    folder = str(config.out)
    logger = Logger(folder, [TensorBoardOutputFormat(folder)] if importlib.util.find_spec("tensorboard") else [])
    unit = "update" if config.algo == PULSE else "step"
    with tqdm(total=config.steps, unit=unit, unit_scale=True, disable=None, file=sys.stderr) as bar:
        bar.set_description(f"{config.algo} on {'+'.join(task.device.name for task in tasks)}")
        try:
            yield Journal(config, bar, logger)
        finally:
            logger.close()


# -- the two ways of training ----------------------------------------------------------------------------------------


class _Progress(BaseCallback):
    """The journal's and the progress bar's place in stable-baselines3's loop."""

    def __init__(self, journal: Journal, judge: Callable[[], None]) -> None:
        super().__init__()
        self.journal, self.judge = journal, judge

    def _on_rollout_start(self) -> None:
        if self.journal.due(self.num_timesteps):
            self.judge()

    def _on_step(self) -> bool:
        self.journal.bar.update(self.training_env.num_envs)
        return True


def _reinforce(config: TrainConfig, tasks: Sequence[WriteVerify], journal: Journal) -> None:
    """Reinforcement learning by stable-baselines3."""
    (task,) = tasks
    env = GymVecEnv(TaskVectorEnv(task, config.envs, AutoresetMode.SAME_STEP))
    if config.resume:
        model = load_model(config.algo, checkpoint_file(config), env)
        model.set_random_seed(_fresh_seed(config.seed, model.num_timesteps))
        journal.resume(model.num_timesteps)
        if hasattr(model, "learning_starts"):  # the replay buffer is not saved: it is filled again first
            model.learning_starts += model.num_timesteps
    else:
        model = make_model(config.algo, env, config.seed)
    model.set_logger(journal.logger)
    policy, head = SB3Policy(model, task, task), head_of(config.algo, task)

    def save(path: Path) -> None:
        buffer = io.BytesIO()
        model.save(buffer, exclude=["_last_obs", "_last_original_obs", "_last_episode_starts", "_last_lstm_states"])
        write_whole(path.with_suffix(".json"), head)
        write_whole(path, buffer.getvalue())

    def judge() -> None:
        journal.judge(model.num_timesteps, [(task, policy)], save)

    left = config.steps - model.num_timesteps
    if left > 0:
        model.learn(left, _Progress(journal, judge), log_interval=10, reset_num_timesteps=not config.resume)
        judge()


def _pulse(config: TrainConfig, tasks: Sequence[WriteVerify], journal: Journal, card: dict[str, Any]) -> None:
    """Gradients through the device, by `agents.pulse_training`."""
    start, done = None, 0
    defaults = pulse_training.PulseTrainingConfig
    settings = pulse_training.PulseTrainingConfig(
        streams=config.envs,
        seed=config.seed,
        iterations=config.steps,
        hidden=config.hidden or defaults.hidden,
        memory=not config.memoryless,
        steps=1 if config.memoryless else max(defaults.steps, 3 * config.rounds),
        tolerance=(config.tolerance * 0.35, config.tolerance * 1.5),
        visits=config.rounds if config.kinship else defaults.visits,
        stay=0.5 if config.kinship else defaults.stay,
        kinship=config.kinship,
        energy=config.weight_energy / WriteVerify.weight_pulses,
        latency=config.weight_latency / WriteVerify.weight_pulses,
    )
    if config.resume:
        before = load_pulse_predictor(checkpoint_file(config), tasks[0])
        start, done = before.weights, int(json.loads(before.card)["steps"])
        rate = 0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * min(done / config.steps, 1.0)))  # where the cosine had come to
        settings = replace(
            settings,
            iterations=config.steps - done,
            seed=_fresh_seed(config.seed, done),
            learning_rate=settings.learning_rate * float(rate),
        )
        journal.resume(done)

    def on_step(iteration: int, report: dict[str, float], weights: Weights) -> None:
        steps = done + iteration + 1
        journal.bar.update()
        if not journal.due(steps) and steps < config.steps:
            return
        policy = PulsePredictor(weights=weights, device=tasks[0].device, task=tasks[0], memory=not config.memoryless)

        def save(path: Path) -> None:
            figures = {name: float(f"{value:.5g}") for name, value in journal.rows[-1].items() if name != "seconds"}
            replace(policy, card=json.dumps(card | figures)).save(path)

        for name, value in report.items():
            journal.logger.record(f"train/{name}", value)
        journal.judge(steps, [(task, policy.on(task, task.device)) for task in tasks], save)

    if done < config.steps:
        devices = family() if config.device == (FAMILY,) else [task.device for task in tasks]
        pulse_training.train(devices, settings, on_step, start)


def _fresh_seed(seed: int, done: int) -> int:
    """A seed for the rest of a run, so that it does not see its first chips again."""
    return int(np.random.SeedSequence((TRAINING, seed, done)).generate_state(1)[0])
