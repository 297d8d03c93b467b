"""`memenv train`: a policy for a device, by reinforcement learning or by gradients through the device; resumable."""

import csv
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from tqdm import tqdm

from agents.evaluation import TRAINING, TUNING, Outcomes, evaluate
from agents.policy import Policy
from agents.predictor import training as pulse_training
from agents.predictor.device_family import FOCUS, MISTAKEN, TOLERANCES, WIDE_ALARM, family
from agents.predictor.gru import Weights
from agents.predictor.handover import Domain, loudest
from agents.predictor.policy import PulsePredictor, load_pulse_predictor, outputs_of
from agents.sb3.files import head_of, resume_model, save_model
from agents.sb3.policy import RECIPES, SB3Policy, make_model, recipe
from agents.sb3.vec_env import GymVecEnv
from memenv.bounds import MANY, MOST, MOST_WEIGHT
from memenv.devices.device import Device
from memenv.devices.protocol import CellModel, parametric
from memenv.engine import check_threads
from memenv.envs.shells import TaskVectorEnv
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text
from memenv.experiments.runs import RECORD, Curve, Run, RunOptions, begun, command_line
from memenv.files import named, parse_json, read_text, write_whole

PULSE = "pulse"
FAMILY = "family"  # in place of devices: the generalist's, drawn anew in each gradient step, judged on its FOCUS
EVALUATION_SEED = 0  # of the chips on which progress is judged: the same in every run
FINE = 0.2  # factor on the learning rate where training begins with weights that are good already
ALIKE = 0.01  # costs that differ by less are taken for equal
CONTINUABLE = ("steps", "threads", "evaluations")  # options that a resumed run may change
FILES = ("policy.*", "checkpoint.*", "eval.csv", "events.out.tfevents.*")
PACKAGES = ("memenv", "gymnasium", "numpy", "torch", "stable-baselines3", "sb3-contrib")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunOptions):
    """Train a policy for a device; agents.load_policy(path, task) loads the policy.npz that it saves.

    Example: memenv train --device threshold --algo ppo --steps 100000 --out ppo
    """

    device: tuple[str | CellModel, ...] = option(
        ("threshold",), help="names, .json records or .npz tables; several are mixed; family (pulse)"
    )
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    algo: str = option("ppo", help="algorithm; pulse = gradients through the device", choices=(*RECIPES, PULSE))
    steps: int = option(
        0, bounds=(0, 10**12), help="of all environments, in whole rollouts; pulse: gradient steps [the recipe's]"
    )
    envs: int = option(0, bounds=(0, MANY), help="cells side by side [the recipe's]")
    history: int = option(0, bounds=(0, 10_000), help="steps in the observation [the recipe's]")
    seed: int = option(0, bounds=(0, 2**32 - 1), help="of chips, noise and weights")
    rounds: int = option(1, bounds=(1, MANY), help="targets written one after another to the same cell")
    correlation: float = option(
        0.0, bounds=(0.0, 1.0), help="pulse: share of the variance that is spatially correlated in a row; with rounds"
    )
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    confirm_reads: int = option(0, bounds=(0, MANY), help="further reads that must be inside before a cell is accepted")
    weight_energy: float = option(0.0, bounds=(0.0, MOST_WEIGHT), help="reward for energy: minus this [1/J]")
    weight_latency: float = option(0.0, bounds=(0.0, MOST_WEIGHT), help="reward for time: minus this [1/s]")
    hidden: int = option(0, bounds=(0, 4096), help="pulse: units of the network [64]; 32 programs twice as fast")
    init: Path | None = option(
        None, help="pulse: a policy.npz, or a shipped policy's file, whose weights it begins with"
    )
    memoryless: bool = option(False, help="pulse: without memory, for the one pulse after the first read")
    evaluations: int = option(40, bounds=(1, MANY), help="how often the policy is judged and a checkpoint written")
    evaluation_cells: int = option(2000, bounds=(1, MOST), help="cells on which it is judged, always the same")
    threads: int = option(1, help="of torch: small networks are not faster with more")
    out: Path = option(Path("policy"), help="folder of the policy, checkpoint, eval.csv, run.json, TensorBoard's files")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(TrainConfig, arguments, "memenv train")
    best = train(config, command_line("memenv train", arguments))
    print(f"{best['pulses']:.3f} pulses, success {best['success']:.1%}, after {best['steps']:.0f} steps")
    print(f"in {config.out}: {policy_file(config).name}, eval.csv, {RECORD}")


def policy_file(config: TrainConfig) -> Path:
    """The file of a run's best policy."""
    return config.out / "policy.npz"


def train(config: TrainConfig, command: str = "") -> dict[str, float]:
    """Run, or continue, a training and write its files into `config.out`; the best row of eval.csv.

    Raises:
        ValueError: an unusable option, a folder that already holds a run, nothing to resume.
    """
    config = _completed(config)
    torch.set_num_threads(config.threads)
    tasks = _tasks(config)
    _check_earlier(config)
    place, fixed = config.out / RECORD, {"packages": PACKAGES, "files": FILES, "continuable": CONTINUABLE}
    with begun(place, config, command=command, checkpoint=checkpoint_file(config).name, **fixed) as run:
        if not run.again:
            with _judge(config, tasks) as judge:
                if config.algo == PULSE:
                    _pulse(config, tasks, judge, run)
                else:
                    _reinforce(config, tasks, judge, run)
            run.write({}, best=judge.best(), last=judge.curve.rows[-1], complete=True)
        best: dict[str, float] = run.record["best"]
        return best


def _completed(config: TrainConfig) -> TrainConfig:
    """The configuration with the recipe's numbers where none were given."""
    check_threads(config.threads)
    if config.correlation and (config.algo != PULSE or config.rounds < 2):
        raise ValueError(f"correlation is {config.correlation}: it needs --algo {PULSE} and --rounds of at least 2")
    if config.init and config.algo != PULSE:
        raise ValueError(f"init is {config.init}: it needs --algo {PULSE}")
    if config.algo == PULSE:
        defaults = pulse_training.PulseTrainingConfig
        steps, envs, history = defaults.iterations, defaults.streams, 1
    else:
        chosen = recipe(config.algo)
        steps, envs, history = chosen.steps, chosen.envs, chosen.history
    return replace(config, steps=config.steps or steps, envs=config.envs or envs, history=config.history or history)


def _tasks(config: TrainConfig) -> list[WriteVerify]:
    """The tasks to train for: one task, of mixed devices; for pulse one task a device."""
    shared = ("tolerance", "rounds", "max_pulses", "confirm_reads", "history", "weight_energy", "weight_latency")
    own: dict[str, Any] = {name: getattr(config, name) for name in shared}
    if config.algo != PULSE:
        chosen = recipe(config.algo)
        own |= {"action": chosen.action, "give_up": chosen.give_up, "weight_pulses": 1.0 / config.max_pulses}
        return [WriteVerify(device=config.device[0] if len(config.device) == 1 else list(config.device), **own)]
    tasks = [
        WriteVerify(device=device, give_up=True, **own)
        for device in (FOCUS if config.device == (FAMILY,) else config.device)
    ]
    outputs = {outputs_of(_record(task)) for task in tasks}
    if len(outputs) > 1:
        raise ValueError(f"device is {','.join(map(str, config.device))}: some have a gate to choose, others none")
    return tasks


def _record(task: WriteVerify) -> Device:
    """The device that a pulse predictor is trained through."""
    return parametric(task.device, f"--algo {PULSE}, to differentiate through it (others, such as ppo, do not),")


def checkpoint_file(config: TrainConfig) -> Path:
    """From where a run is resumed."""
    return config.out / "checkpoint.npz"


def _check_earlier(config: TrainConfig) -> None:
    """Refuse a folder with a run of a version that saved pickles.

    Raises:
        ValueError: with what to do.
    """
    old, new = config.out / "checkpoint.zip", checkpoint_file(config)
    if old.exists() and not new.exists() and not config.overwrite:
        raise ValueError(
            f"{old}: of an earlier version, whose environments were others, and can run any code when it is opened: "
            "choose another --out"
        )


# -- what is written as the training goes ----------------------------------------------------------------------------


@dataclass
class Judge:
    """Judges the policy on fixed chips now and then; writes checkpoints, the best policy, eval.csv, TensorBoard's."""

    config: TrainConfig
    bar: Any
    logger: Logger
    curve: Curve = field(default_factory=Curve)

    def due(self, steps: int) -> bool:
        """True when it is time to judge."""
        every = self.config.steps / self.config.evaluations
        return not self.curve.rows or steps // every > self.curve.done // every

    def best(self) -> dict[str, float]:
        """The row of the policy that is kept: the latest whose cost is the least but for the noise of judging."""
        least = min(row["cost"] for row in self.curve.rows)
        return next(row for row in reversed(self.curve.rows) if row["cost"] <= (1 + ALIKE) * least)

    def resume(self, steps: int, save: Callable[[Path], None]) -> None:
        """Take up eval.csv as it was after `steps`, and the policy, which a killed run may have left as of later."""
        path = self.config.out / "eval.csv"
        with named(path, "table of this run"):
            lines = csv.DictReader(read_text(path).splitlines())
            rows = [{name: float(value) for name, value in row.items()} for row in lines]
            self.curve.resume([row for row in rows if row["steps"] <= steps])
            best = self.curve.rows[-1] is self.best()
        if best:
            save(policy_file(self.config))
        self.bar.update(steps - self.bar.n)

    def __call__(
        self, steps: int, policies: Sequence[tuple[WriteVerify, Policy]], save: Callable[[Path], None]
    ) -> None:
        """Evaluate on each task, write a row, a checkpoint, and the policy if it is the best so far."""
        outcomes = [
            evaluate(policy, task, self.config.evaluation_cells, EVALUATION_SEED, purpose=TUNING)
            for task, policy in policies
        ]
        row = self.curve.add(float(steps), _figures(outcomes, self.config.max_pulses))
        write_whole(self.config.out / "eval.csv", csv_text(self.curve.rows))
        save(checkpoint_file(self.config))
        if row is self.best():
            save(policy_file(self.config))
        for name, value in row.items():
            self.logger.record(f"eval/{name}", value)
        self.logger.dump(steps)
        self.bar.set_postfix_str(f"{row['pulses']:.2f} pulses, success {row['success']:.1%}")


def _figures(outcomes: Sequence[Outcomes], max_pulses: int) -> dict[str, float]:
    """Means over all cells; the cost is `agents.tuning`'s: a cell that is not accepted costs max_pulses on top."""

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
def _judge(config: TrainConfig, tasks: Sequence[WriteVerify]) -> Iterator[Judge]:
    folder = str(config.out)
    logger = Logger(folder, [TensorBoardOutputFormat(folder)] if importlib.util.find_spec("tensorboard") else [])
    unit = "update" if config.algo == PULSE else "step"
    with tqdm(total=config.steps, unit=unit, unit_scale=True, disable=None, file=sys.stderr) as bar:
        bar.set_description(f"{config.algo} on {'+'.join(task.device.name for task in tasks)}")
        try:
            yield Judge(config, bar, logger)
        finally:
            logger.close()


# -- the two ways of training ----------------------------------------------------------------------------------------


class _Progress(BaseCallback):
    """The judge's and the progress bar's place in stable-baselines3's loop."""

    def __init__(self, judge: Judge, due: Callable[[], None]) -> None:
        super().__init__()
        self.judge, self.due = judge, due

    def _on_rollout_start(self) -> None:
        if self.judge.due(self.num_timesteps):
            self.due()

    def _on_step(self) -> bool:
        self.judge.bar.update(self.training_env.num_envs)
        return True


def _reinforce(config: TrainConfig, tasks: Sequence[WriteVerify], judge: Judge, run: Run) -> None:
    """Reinforcement learning by stable-baselines3."""
    (task,) = tasks
    env = GymVecEnv(TaskVectorEnv(task, config.envs, AutoresetMode.SAME_STEP))
    model = make_model(config.algo, env, _fresh_seed(config.seed, 0))
    if run.resumed:
        resume_model(checkpoint_file(config), model, config.algo)
        model.set_random_seed(_fresh_seed(config.seed, model.num_timesteps))
        if hasattr(model, "learning_starts"):  # the replay buffer is not saved: it is filled again first
            model.learning_starts += model.num_timesteps
    model.set_logger(judge.logger)
    judged = replace(task, give_up=True)
    policy, head = SB3Policy(config.algo, model.policy, judged, task), head_of(config.algo, task)

    def save(path: Path) -> None:
        save_model(path, model, head)

    def due() -> None:
        judge(model.num_timesteps, [(judged, policy)], save)

    if run.resumed:
        judge.resume(model.num_timesteps, save)
    left = config.steps - model.num_timesteps
    if left > 0:
        model.learn(left, _Progress(judge, due), log_interval=10, reset_num_timesteps=not run.resumed)
        due()
        if model.num_timesteps > config.steps:
            done = f"{model.num_timesteps:,} steps taken of {config.steps:,}: {config.algo} learns from whole rollouts"
            print(done, file=sys.stderr)


def _pulse(config: TrainConfig, tasks: Sequence[WriteVerify], judge: Judge, run: Run) -> None:
    """Gradients through the device, by `agents.predictor.training`."""
    begun_with = load_pulse_predictor(config.init, tasks[0]) if config.init else None
    init, done = begun_with.weights if begun_with else None, 0
    head = {"command": run.record["command"], "seed": config.seed}
    defaults, wide = pulse_training.PulseTrainingConfig, config.device == (FAMILY,)
    settings = pulse_training.PulseTrainingConfig(
        streams=config.envs,
        seed=config.seed,
        iterations=config.steps,
        learning_rate=(FINE if init else 1.0) * defaults.learning_rate,
        hidden=len(init.b_in) if init else config.hidden or defaults.hidden,
        memory=not config.memoryless,
        steps=1 if config.memoryless else max(defaults.steps, 3 * config.rounds),
        tolerance=TOLERANCES if wide else (config.tolerance * 0.35, config.tolerance * 1.5),
        mistaken=MISTAKEN if wide else 0.0,
        visits=config.rounds if config.correlation else defaults.visits,
        stay=0.5 if config.correlation else defaults.stay,
        correlation=config.correlation,
        energy=config.weight_energy / WriteVerify.weight_pulses,
        latency=config.weight_latency / WriteVerify.weight_pulses,
    )
    if run.resumed:
        before = load_pulse_predictor(checkpoint_file(config), tasks[0])
        with named(checkpoint_file(config), "checkpoint"):
            init, done = before.weights, int(parse_json(before.card)["steps"])
        rate = 0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * min(done / config.steps, 1.0)))  # where the cosine had come to
        settings = replace(
            settings,
            iterations=config.steps - done,
            seed=_fresh_seed(config.seed, done),
            learning_rate=settings.learning_rate * float(rate),
        )
        judge.resume(done, before.save)

    low, high = settings.tolerance
    noise = max([Domain.cycle_noise[1], *(loudest(_record(task)) for task in tasks)])
    domain = Domain(alarm=WIDE_ALARM) if wide else Domain(tolerance=(0.5 * low, 2.0 * high), cycle_noise=(0.0, noise))

    def on_step(iteration: int, report: dict[str, float], weights: Weights) -> None:
        steps = done + iteration + 1
        judge.bar.update()
        if not judge.due(steps) and steps < config.steps:
            return
        own: dict[str, Any] = {"device": _record(tasks[0]), "task": tasks[0], "memory": not config.memoryless}
        policy = PulsePredictor(weights=weights, domain=domain, **own)

        def save(path: Path) -> None:
            figures = {name: float(f"{value:.5g}") for name, value in judge.curve.rows[-1].items() if name != "seconds"}
            replace(policy, card=json.dumps(head | figures)).save(path)

        for name, value in report.items():
            judge.logger.record(f"train/{name}", value)
        judge(steps, [(task, policy.on(task, _record(task))) for task in tasks], save)

    if done < config.steps:
        devices = family() if wide else [_record(task) for task in tasks]
        pulse_training.train(devices, settings, on_step, init)


def _fresh_seed(seed: int, done: int) -> int:
    """A seed for what a run does after `done` steps: it sees neither its first chips again nor those of other purposes.

    A plain seed would not do: Gymnasium's streams of 0 are those of (0, 0), an evaluation's with the seed 0.
    """
    return int(np.random.SeedSequence((TRAINING, seed, done)).generate_state(1)[0])
