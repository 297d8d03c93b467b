"""Learning on an unknown chip: a trained agent against tuned rates and schedules in `memenv/FewShot-v0`.

    python benchmarks/few_shot_agents.py --agent shipped

Without `--agent` it trains one first, which takes minutes. Everything follows from `--seed`. Training and tuning see
glyphs, chips and noise of the split "train", the table comes from `episodes` of the split "test": the same tasks, chips
and noise for everyone. Controllers are tuned twice: "for the reward", which is also the
agent's, and "at its pulses", for the best accuracy with no more pulses than the agent needs. Intervals are 95 %
bootstrap intervals over episodes, those of differences over pairs of the same episode.

    constant   the same gain in each of some steps; decaying: multiplied by a factor from step to step
    schedule   a gain and a threshold of its own for each step, and how many: the best fixed schedule
    own        the rates that meta-learning gave the initialisation
    until      a constant gain until the loss of the support is small: feedback
    means      class means are written first, then as `constant`; means, then until: then as that; both begin
               with what was good on training tasks

All but `own` also have a threshold of doses tuned, and whether, how large and how exactly class means are written
first, as the agent has all this to choose; the last two begin with it. With `--trials 1` these two alone are judged,
untuned, with class means written more and less exactly: accuracy against pulses.
"""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.evaluation import EVALUATION, TUNING
from agents.few_shot.agent import FewShotAgent, shipped_agent
from agents.few_shot.schedules import (
    ConstantRate,
    Controller,
    DecayingRate,
    Learnt,
    Schedule,
    UntilLoss,
    learn,
    own_schedule,
)
from agents.tuning import one_by_one, tune
from memenv.envs.few_shot.task import DEVICES, FewShot
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown, mean_interval, paired_interval, shown
from memenv.files import write_whole

BUDGETED = 3.0  # loss of accuracy for twice the pulses that are allowed: more than they can ever bring
TOLERANCES = (0.3, 0.4, 0.5, 0.6)  # [size of class means] that is what they cost, where nothing is tuned
OVERALL = 4096  # training episodes on which the agent's pulses are measured
CONTROLLERS: dict[str, Callable[..., Controller]] = {  # what is tuned, of a task, a gain and a threshold to begin with
    "constant": lambda task, **first: ConstantRate(task=task, steps=task.max_steps, **first),
    "decaying": lambda task, **first: DecayingRate(task=task, steps=task.max_steps, decay=1.0, **first),
    "until": lambda task, **first: UntilLoss(task=task, **first),
    "means": lambda task, **_: ConstantRate(task=task, steps=0.5, written=1.0),
    "means, then until": lambda task, **_: UntilLoss(task=task, gain=0.4, threshold=0.8, loss=0.05, written=1.0),
    "schedule": lambda task, gain, threshold: Schedule(
        task=task,
        gains=(gain,) * task.max_steps * len(task.base_rates),
        thresholds=(0.0,) * task.max_steps,
        threshold=threshold,
        steps=task.max_steps,
    ),
}


@dataclass(frozen=True, kw_only=True)
class FewShotAgentsConfig:
    """Judge an agent and tuned controllers on the same few-shot tasks and chips."""

    device: tuple[str, ...] = option(DEVICES, help="of one of which each chip is")
    init: str = option("device-aware", help="initialisation: a name or a .npz")
    agent: str = option("", help="shipped, or the .npz of an agent [train one]")
    steps: int = option(400_000, help="of training, all environments together")
    episodes: int = option(4000, help="of the table")
    trials: int = option(
        100, help="parameter sets that each tuning tries, of simple ones half as many; 1: class means as they come"
    )
    seed: int = option(0, help="of everything")
    save: Path | None = option(None, help="write the agent that was trained here (.npz)")
    out: Path | None = option(None, help="write the table here (.md)")


def main() -> None:
    """Train, tune, judge, print."""
    config = parse(FewShotAgentsConfig, sys.argv[1:], "few_shot_agents.py")
    command = "python benchmarks/few_shot_agents.py " + shlex.join(sys.argv[1:])
    device = config.device[0] if len(config.device) == 1 else config.device
    training = FewShot(device=device, init=config.init)
    agent = chosen_agent(config, training, command)
    policies: dict[str, Any] = {"agent": agent, "own": own_schedule(training)}
    aims: dict[str, Callable[[Any, int, int], float]] = {}
    if config.trials > 1:
        pulses = float(learn(agent, training, OVERALL, config.seed, TUNING).pulses.mean())
        aims = {"for the reward": by_reward, "at its pulses": by_accuracy(pulses)}
    for most in () if aims else TOLERANCES:
        for name in ("means", "means, then until"):
            policies[f"{name}, off by less than {most:g}"] = replace(CONTROLLERS[name](training), tolerance=most)
    for aim, cost in aims.items():
        best: dict[str, float] = {"gain": 1.0, "threshold": 0.0}  # to begin with, and then as of the best constant rate
        for name, make in tqdm(CONTROLLERS.items(), desc=aim, disable=None, file=sys.stderr):
            tuned = tune(make(training, **best), config.trials, config.seed, judged=one_by_one(cost))
            policies[f"{name}, {aim}"] = tuned.policy
            best = {key: getattr(tuned.policy, key) for key in best} if name == "constant" else best
            values = {key: np.round(value, 3).tolist() for key, value in tuned.parameters.items()}
            tqdm.write(f"{name}, {aim}: {json.dumps(values)}", file=sys.stderr)
    table = judged(policies, replace(training, split="test"), config)
    text = f"`{command}`\n\n{table}"
    print(text)
    if config.out:
        write_whole(config.out, text)


def chosen_agent(config: FewShotAgentsConfig, task: FewShot, command: str) -> FewShotAgent:
    """The agent of a file, or one that is trained now."""
    if config.agent:
        return shipped_agent(task) if config.agent == "shipped" else FewShotAgent.load(config.agent).fits(task)
    from agents.few_shot.training import train

    def judge(steps: int, agent: FewShotAgent) -> None:
        learnt = learn(agent, task, 512, config.seed, TUNING)
        figures = ", ".join(f"{name} {getattr(learnt, name).mean():.3f}" for name in ("reward", "accuracy", "pulses"))
        print(f"{steps} steps: {figures}", file=sys.stderr, flush=True)

    card = {
        "command": command,
        "device": config.device,
        "init": config.init,
        "steps": config.steps,
        "seed": config.seed,
    }
    agent = train(task, config.steps, config.seed, json.dumps(card), judge)
    if config.save:
        agent.save(config.save)
    return agent


def by_reward(policy: Any, episodes: int, seed: int) -> float:
    """Minus the mean reward on training tasks."""
    return -float(learn(policy, policy.task, episodes, seed, TUNING).reward.mean())


def by_accuracy(pulses: float) -> Callable[[Any, int, int], float]:
    """Minus the accuracy on training tasks, and a cost for more than so many pulses."""

    def cost(policy: Any, episodes: int, seed: int) -> float:
        learnt = learn(policy, policy.task, episodes, seed, TUNING)
        return float(BUDGETED * max(learnt.pulses.mean() / pulses - 1.0, 0.0) - learnt.accuracy.mean())

    return cost


def judged(policies: dict[str, Any], task: FewShot, config: FewShotAgentsConfig) -> str:
    """The table: everyone on the same episodes."""
    lines, best = [], None
    for name, policy in policies.items():
        learnt = learn(policy, task, config.episodes, config.seed, EVALUATION)
        best = best or learnt
        lines.append([name, *_figures(learnt, best)])
    head = ["", "reward", "accuracy [%]", "pulses", "energy [uJ]", "steps", "agent's accuracy on top", "reward on top"]
    return markdown(head, lines)


def _figures(learnt: Learnt, best: Learnt) -> list[str]:
    own = [
        shown(mean_interval(learnt.reward), "{:.3f}"),
        shown(mean_interval(100 * learnt.accuracy), "{:.1f}"),
        shown(mean_interval(learnt.pulses), "{:.2f}"),
        shown(mean_interval(1e6 * learnt.energy), "{:.3g}"),
        f"{learnt.steps.mean():.1f}",
    ]
    if learnt is best:
        return [*own, "–", "–"]
    accuracy = paired_interval(100 * best.accuracy, 100 * learnt.accuracy)
    return [*own, shown(accuracy, "{:+.1f}"), shown(paired_interval(best.reward, learnt.reward), "{:+.3f}")]


if __name__ == "__main__":
    main()
