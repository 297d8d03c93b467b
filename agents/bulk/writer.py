"""Programming millions of cells that do not disturb each other (1T1R) with a policy for one cell, chunk by chunk.

All that is element-wise runs in compiled loops, traced from the text of the task and of the policy. A chunk stays in
the processor's caches, cells that are done make room, and memory is bounded by a chunk a worker besides the result.
Noise depends on the number of a cell, not on who takes it: any number of workers gives the same result.

    write = mass_writer(load_policy("specialist", task))
    result = write(4096 * 4096, seed=0, workers=2)
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from agents.bulk.policies import CompiledPolicy, compiled_policy
from memenv.arrays import Array, take, tree_map
from memenv.compiler.counter_rng import Key, Noise
from memenv.compiler.runtime import prepare
from memenv.crossbars.memory_budget import check_room
from memenv.devices.protocol import one_device
from memenv.engine import check_threads, load_engine
from memenv.envs.compiled_runner import Programs
from memenv.envs.noise import drawn
from memenv.envs.pulse_actions import signals_of
from memenv.envs.write_verify.episode import Episode
from memenv.envs.write_verify.observation import View
from memenv.envs.write_verify.task import WriteVerify

CHUNK = 2**15  # cells that a worker takes together
CELL_BYTES = 500  # of a cell in work, besides a network's memory


class Programmed(NamedTuple):
    """Outcomes of the cells, arrays (cells,)."""

    pulses: np.ndarray  # int32
    accepted: np.ndarray  # bool: every target of the episode
    false_acceptances: np.ndarray  # int16, out of tolerance in truth
    energy: np.ndarray  # [J] float32
    latency: np.ndarray  # [s] float32
    conductance: np.ndarray | None  # [S] float32, the true one at the end, if asked for


KINDS = (np.int32, np.bool_, np.int16, np.float32, np.float32)  # of these arrays but the last


def mass_writer(policy: Any, varied: Collection[str] = ()) -> "MassWriter":
    """Bulk programming with a controller that remembers numbers (`ISPP`), or with a `PulsePredictor`.

    Of a controller, parameters may be `varied`: each call gives their values.

    Raises:
        ValueError: a policy or a task that cannot be compiled, or numba not installed.
    """
    load_engine("numba")
    parts, task = compiled_policy(policy, varied), policy.task
    reason = task.not_compiled or ("" if task.action == "continuous" else f"action={task.action!r}")
    if reason:
        raise ValueError(f"bulk programming does not take {reason}: use agents.evaluation")
    return MassWriter(task, parts)


@dataclass(frozen=True, eq=False)
class MassWriter:
    """Bulk programming of cells; `mass_writer` makes one.

    Loops are traced by the first call, and stay. Methods that take `noise` are programs, which run on symbolic values.
    """

    task: WriteVerify
    policy: CompiledPolicy

    def __call__(
        self,
        cells: int,
        seed: int,
        *,
        targets: np.ndarray | None = None,
        variants: Mapping[str, np.ndarray] | None = None,
        conductances: bool = False,
        workers: int = 2,
        chunk: int = CHUNK,
        on_chunk: Callable[[int], None] | None = None,
    ) -> Programmed:
        """Fabricate cells and run an episode of the task on each.

        The threads of NumPy's BLAS come on top of the workers: set OMP_NUM_THREADS=1.

        Args:
            cells: how many, >= 1.
            seed: of chips, starts, targets and noise, >= 0.
            targets: (cells,) [S]; None draws them as the task does.
            variants: (variants,) each, of the parameters that are varied. Every variant programs the same cells with
                the same noise: the arrays of the result are (cells * variants,) then, variants of a cell side by side.
            conductances: whether they are kept.
            workers: threads.
            chunk: cells that a worker takes together.
            on_chunk: called with the number of cells of each chunk that is done, by its worker.

        Raises:
            ValueError: targets of another number or out of range, more cells than memory is free for, or a number of
                workers that is not allowed.
        """
        check_threads(workers, "workers")
        goals = None if targets is None else self._checked(targets, cells)
        values = [np.asarray((variants or {})[name], np.float32) for name in self.policy.varied]
        copies = len(values[0]) if values else 1
        cells *= copies
        kinds = (*KINDS, np.float32 if conductances else None)
        each = sum(np.dtype(kind).itemsize for kind in kinds if kind)
        needed = each * cells + workers * chunk * (CELL_BYTES + 8 * self.policy.hidden)
        check_room(needed, f"{cells:,} cells", "program fewer")
        results = Programmed(*tree_map(lambda kind: np.empty(cells, kind), kinds))

        idle: list[np.ndarray] = []  # memories of networks: pages that are known need not be fetched for each chunk

        def work(number: int) -> None:
            rows = slice(number * chunk, min((number + 1) * chunk, cells))
            hidden = idle.pop() if idle else np.empty((self.policy.hidden, chunk), np.float32)
            cell, variant = np.divmod(np.arange(rows.start, rows.stop), copies)
            own = [part[variant] for part in values]
            self._program(Key(seed), cell, own, None if goals is None else goals[cell], take(results, rows), hidden)
            idle.append(hidden)
            if on_chunk:
                on_chunk(rows.stop - rows.start)

        work(0)  # alone, so that what is to be compiled is compiled once
        with ThreadPoolExecutor(workers, thread_name_prefix="memenv-chunk") as pool:
            try:
                for _ in pool.map(work, range(1, -(-cells // chunk))):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return results

    def _checked(self, targets: np.ndarray, cells: int) -> np.ndarray:
        """Targets [range]."""
        if targets.shape != (cells,):
            raise ValueError(f"targets of shape {targets.shape} for {cells} cells")
        device = one_device(self.task.device, "programming of given targets")
        inside = (targets >= device.g_min) & (targets <= device.g_max)  # not true of NaN
        if not inside.all():
            wrong = f"{targets[~inside][0]:.4g} S, the range is {device.g_min:.4g} to {device.g_max:.4g} S"
            raise ValueError(f"target is {wrong} of {device.name}")
        x: np.ndarray = self.task.fraction(device, targets).astype(np.float32)
        return x

    def _program(
        self,
        key: Key,
        numbers: np.ndarray,
        parameters: list[np.ndarray],
        goals: np.ndarray | None,
        results: Programmed,
        hidden: np.ndarray,
    ) -> None:
        """Programs the cells of these numbers, a row of `results` each, and writes there what became of them.

        `parameters` are those that are varied, `goals` [range] the targets, `hidden` (hidden, cells or more) is for the
        network's memory.
        """
        cells = len(numbers)
        rows, waiting, done = np.arange(cells), np.ones(cells, bool), np.zeros(cells, bool)
        streams = numbers.astype(np.uint32)
        start = prepare(self.start, cells, (streams,))
        start.launch(key, 1)
        episode: Episode = start.result()
        if goals is not None:
            episode = episode._replace(target=goals.copy())
        memory, first = self.policy.initial_memory(self.view(episode), parameters), True
        while len(rows):
            step = self._stepping(streams, episode, memory, hidden[:, : len(rows)], done)
            left = rows
            while len(left) > self.policy.crowded * len(rows):
                key = key.next()
                step(key, first)
                first = False
                ended = np.flatnonzero(waiting & done)
                if len(ended):
                    _write(results, rows, ended, episode)
                    waiting[ended] = False
                    left = np.flatnonzero(waiting)
            open_cells = rows, streams, waiting, done, episode, memory
            rows, streams, waiting, done, episode, memory = take(open_cells, left)
            for unit in hidden:
                unit[: len(left)] = unit[left]

    def _stepping(
        self, streams: np.ndarray, episode: Any, memory: Any, hidden: np.ndarray, done: np.ndarray
    ) -> Callable[[Key, bool], None]:
        """A function that takes one step of all these cells, in place; cells that are done stay as they are.

        `streams` (cells,) uint32 tell their noise apart. The function takes the key of the noise, and whether this is
        the first step of all, when `hidden` is empty.
        """
        cells = len(done)
        inputs, outputs = (np.empty((number, cells), np.float32) for number in self.policy.channels)
        look = prepare(self.look, cells, (episode, memory), tuple(inputs), filled=True)
        out = episode._replace(chip=None), memory, done
        pulse = prepare(self.pulse, cells, (streams, episode, memory, done, tuple(outputs)), out, filled=True)

        def step(key: Key, first: bool) -> None:
            look.launch(key, 1)
            self.policy.forward(inputs, hidden, outputs, first)
            pulse.launch(key, 1)

        return step

    def view(self, episode: Episode) -> View:
        """The view of a policy; symbolic values or arrays."""
        return self.task.view_of(episode)

    # -- what is compiled --------------------------------------------------------------------------------------------

    def start(self, noise: Noise, cells: int, streams: Array) -> Episode:
        """New episodes on new chips, for cells of these streams of noise (cells,) uint32."""
        own = Noise.under(noise.key, streams)
        episode: Episode = Programs(self.task).started(own, own, cells, streams.ndim)[0]
        return episode

    def look(self, noise: Noise, cells: int, episode: Episode, memory: Any) -> tuple[Array, ...]:
        """Inputs of the policy's network."""
        return self.policy.inputs(self.view(episode), memory)

    def pulse(
        self, noise: Noise, cells: int, streams: Array, episode: Any, memory: Any, done: Array, outputs: Any
    ) -> tuple[Any, Any, Any]:
        """Policy and task: the episode after the step but for its chip, the memory, and whether the cell is done."""
        task = self.task
        (amplitude, width, gave_up, *gate), known = self.policy.decide(self.view(episode), memory, outputs)
        signal, log_width = signals_of(amplitude, width, task.device.driver)
        giving_up = gave_up if task.give_up else np.zeros_like(signal, bool)
        decoded_action = signal, log_width, giving_up, *task.actions.gate_signal(signal, *gate)
        own = Noise.under(noise.key, streams)
        following: Any = task.advance(episode, decoded_action, drawn(task.step_draws, own))
        carried = following._replace(chip=None, **dict.fromkeys(task.of_one_step))

        def kept(new: Any, old: Any) -> Any:  # in place, what is written over a number must depend on it: see Apart
            return new if new is old else np.where(done, old, new)

        before = episode._replace(chip=None), memory
        return *tree_map(kept, (carried, known), before), done | task.terminated(following)


def _write(results: Programmed, rows: np.ndarray, ended: np.ndarray, episode: Episode) -> None:
    """Puts the episodes at the places `ended`, whose cells are `rows`, into the results."""
    became = Programmed(
        pulses=episode.pulses,
        accepted=episode.rounds_left < 0,
        false_acceptances=episode.false_acceptances,
        energy=episode.energy,
        latency=episode.latency,
        conductance=episode.true_conductance,
    )
    for place, values in zip(results, became, strict=True):
        if place is not None and values is not None:
            place[rows[ended]] = values[ended]
