"""Programming cells on a bench: the task's own observations and pulses, a policy, limits, and a record that resumes."""

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from memenv.arrays import take
from memenv.devices.protocol import one_device
from memenv.envs.scales import given_state
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.locks import locked
from memenv.lab.bench import Bench, BenchError, Limits, named
from memenv.lab.log import GATED, HEADER, Log, read_log
from memenv.lab.session import OnBench, Session

OUTCOMES = ("accepted", "given up", "budget", "limit", "unmoved", "stopped")


class Decides(Protocol):
    """Whoever decides: controllers, policies, stable-baselines3's own models."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Actions of observations (cells, ...), and the next state."""


@dataclass(frozen=True, kw_only=True)
class Programmed:
    """The end of each cell, arrays (cells,)."""

    cells: np.ndarray  # numbers on the bench
    outcome: np.ndarray  # of OUTCOMES
    conductance: np.ndarray  # [S] the last read, NaN without one
    pulses: np.ndarray
    reads: np.ndarray
    energy: np.ndarray  # [J] of pulses and reads, as estimated from the reads

    def of(self, outcome: str) -> np.ndarray:
        """The numbers of the cells that ended so."""
        return self.cells[self.outcome == outcome]

    def summary(self) -> str:
        """Ends, the cells that need a look, pulses and energy, in words."""
        counts = Counter(self.outcome.tolist())
        ends = ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name])
        stuck = f" ({named(self.of('unmoved'))} did not move)" if counts["unmoved"] else ""
        return (
            f"{len(self.cells)} cells: {ends}{stuck}; {self.pulses.mean():.2f} pulses and {self.reads.mean():.2f} "
            f"reads a cell, {self.energy.sum() * 1e12:.4g} pJ in all"
        )


def program(
    bench: Bench,
    policy: Decides,
    task: WriteVerify,
    targets: Any,
    out: Path | str,
    *,
    cells: Any = None,
    limits: Limits | None = None,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Programmed:
    """Bring cells on a bench to their targets: all at once, pulse by pulse, each until it is accepted or has its end.

    A cell whose first read is in the band needs no pulse. Ends are "accepted"; "given up" by the policy; "budget",
    the task's; "limit"; "unmoved", after `limits.unmoved` pulses; "stopped". Whatever ends the run, an exception or
    Ctrl-C among it, the bench is put into its safe state and the record holds what was done.

    Args:
        bench: pulses and reads.
        policy: answers `predict` on the observations of `task`.
        task: what the policy was made for: device (range, driver, read noise), tolerance, budget, confirming reads.
        targets: conductances (n,) [S].
        out: the record, a CSV that `memenv fit` reads: one row a read, with the pulse before it.
        cells: (n,) their numbers on the bench, by default 0 to n - 1.
        limits: of amplitude, width, gate, pulses, energy, reads.
        resume: go on with the record of an interrupted run: its rows are not repeated on the bench, but the policy
            sees them again, and decides as if nothing had happened.
        stop: asked before each step; True ends the run as it is.

    Raises:
        ValueError: limits that contradict the policy's driver, targets out of range, a record that is there already,
            a gate to be chosen that the bench does not take.
        BenchError: the bench failed; the message says on which cells. What is done is kept.
    """
    out, targets = Path(out), np.asarray(targets, float)
    cells = np.arange(len(targets)) if cells is None else np.asarray(cells, int)
    device = one_device(task.device, "a bench")
    header = HEADER if task.gate is None else GATED
    if task.gate is not None and not _takes_gate(bench):
        raise ValueError(
            f"device is {device.name}: the policy chooses a gate of {task.gate.low:g} to {task.gate.high:g} V, and the "
            "bench's pulse takes none: give it one, pulse(cells, amplitude, width, gate), or hold the gate, "
            f"device.at_gate({task.gate.high:g})"
        )
    record = device.record
    limits = (limits or Limits()).filled(device.driver, None if record is None else record.gate)
    first = 1 + task.confirm_reads
    if first > (limits.reads or first) or first * device.read_energy(device.g_max) > limits.energy:
        raise ValueError(
            f"reads is {limits.reads}, energy {limits.energy:g} J: too little for the first reads of a cell"
        )
    if targets.ndim != 1 or cells.shape != targets.shape or len(set(cells.tolist())) < len(cells) or not len(cells):
        raise ValueError(
            f"{targets.shape} targets for {cells.shape} cells: one for each cell is needed, each cell once"
        )
    given_state(device, device, "target", targets)
    if task.rounds > 1:
        raise ValueError(f"rounds is {task.rounds}, a bench has one target for each cell: allowed is 1")
    with locked(out):
        if out.exists() and not resume:
            raise ValueError(f"{out} is there already: go on with resume=True, or choose another name")
        past = read_log(out, header) if out.exists() else {}
        for cell, target in zip(cells.tolist(), targets.tolist(), strict=True):
            if past.get(cell) and past[cell][0].target != target:
                was = past[cell][0].target
                raise ValueError(
                    f"target of cell {cell} is {target:g} S, the record {out} has {was:g} S: resume as it was"
                )
        session = Session(bench, device, cells, targets, limits, Log(out, header), past, task.gate is not None)
        try:
            try:
                outcome = _run(session, policy, task, stop)
            finally:
                session.close()
        except BenchError as error:
            raise BenchError(f"{error}; {out} keeps what is done, go on with resume=True") from error
    return Programmed(
        cells=cells,
        outcome=outcome,
        conductance=session.last,
        pulses=session.pulses,
        reads=session.reads,
        energy=session.energy,
    )


def _run(session: Session, policy: Decides, task: WriteVerify, stop: Callable[[], bool]) -> np.ndarray:
    """The ends (cells,) of all cells."""
    chip, rows = OnBench.of(session), np.arange(len(session.cells))
    outcome = np.full(len(rows), "stopped", dtype="<U8")
    state, start = None, np.ones(len(rows), bool)
    least = max(0.5 * task.tolerance_x, 6.0 * chip.read.noise) * (chip.g_max - chip.g_min)  # noise alone spans 4.5
    if stop():
        return outcome
    episode = task.initial(chip, _silence(task.initial_draws, len(rows)), {"target": session.targets})
    inside = task.within(chip, episode.reading, episode.target)
    for _ in range(task.confirm_reads):
        there = np.flatnonzero(inside)
        again = task.fraction(chip, session.read(rows[there]))
        inside[there] = task.within(chip, again, episode.target[there])
    outcome[inside] = "accepted"
    keep = np.flatnonzero(~inside)
    while len(keep):
        rows, start = rows[keep], start[keep]
        episode, state = take(episode, keep), take(state, keep)
        if stop():
            break
        action, state = policy.predict(task.observe(episode), state, start, True)
        amplitude, width, gave_up = task.decode(action)[:3]
        ends = gave_up | ~session.allowed(rows, amplitude, width, 1 + task.confirm_reads)
        outcome[rows[ends]] = np.where(gave_up, "given up", "limit")[ends]
        goes_on = np.flatnonzero(~ends)
        rows, episode, state, action = rows[goes_on], take(episode, goes_on), take(state, goes_on), action[goes_on]
        if not len(rows):
            break
        episode = task.transition(episode, action, _silence(task.step_draws, len(rows)))
        start = np.zeros(len(rows), bool)
        unmoved = session.unmoved(rows, least)
        done = task.terminated(episode) | unmoved
        ended = np.select([episode.accepted, unmoved], ["accepted", "unmoved"], "budget")
        outcome[rows[done]] = ended[done]
        keep = np.flatnonzero(~done)
    return outcome


def _silence(draws: Any, cells: int) -> tuple[np.ndarray, ...]:
    """The noise of a task whose cells bring their own: none."""
    return tuple(np.zeros((*draw.shape, cells)) for draw in draws)


def _takes_gate(bench: Bench) -> bool:
    """True if a bench's pulse can be given gates [V] as a fourth argument."""
    try:
        inspect.signature(bench.pulse).bind(*"....")
    except TypeError:
        return False
    return True
