"""The exact optimum on measured tables: each tabulated device is a known Markov chain with two actions, SET and RESET.

Reads of a table are noise-free, so that a cell's state is known, and dynamic programming over the pulses that are left
gives the least expected cost of every start and target,

    W_k(x) = min(max_pulses, 1 + min over a of E[W_(k-1)(x') (x' outside the band)]),   W_0 = max_pulses      (1)

a pulse each, and max_pulses for a cell that is given up or runs out of pulses: the cost by which controllers are tuned.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from agents.classical.write_verify import driven
from agents.policy import one_or_many
from memenv.devices.measured import TableDevice
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.task import WriteVerify

QUANTILES = 500  # equally likely outcomes that stand for one pulse's distribution
SETTLED = 1e-4  # [pulses] a further pulse in the budget changes nothing below this
SET, RESET, GIVE_UP = 0, 1, 2


class Plan(NamedTuple):
    """The best choices on one device; nodes and targets are `low` plus multiples of the step, the last node its end."""

    low: float  # [range] first node, the lower end of the device's range
    first: int  # of the targets, in steps above `low`
    cost: np.ndarray  # (nodes, targets) expected with the full budget
    choice: (
        np.ndarray
    )  # (pulses, nodes, targets) uint8 SET, RESET or GIVE_UP by the pulses left less one; the last for more


class Cells(NamedTuple):
    """The oracle's knowledge of its cells."""

    which: np.ndarray  # (cells,) row of the cell's device in the tables


@dataclass(frozen=True, kw_only=True)
class TableOptimum:
    """An oracle: knows which tabulated device each cell is and plays the optimum of equation (1) for its target.

    With several rounds each target is reached at the least cost, whatever start that leaves for the next.

    Raises:
        ValueError: the device is not a measured table, or is read with noise.
    """

    task: WriteVerify
    towards_only: bool = False  # never pulse away from the target: the best that can follow from the sign of the error
    resolution: int = 4  # nodes between a target and each edge of its band; the edges lie half-way between nodes

    def __post_init__(self) -> None:
        device = _measured(self.task.device)
        if device.read.noise or device.read.telegraph or device.read.adc_bits:
            raise ValueError(f"device is {device.name} with noisy or rounded reads: the optimum is known without only")

    def begin(self, chip: CellModel | None, cells: int) -> Cells:
        """The devices of the chip's cells."""
        if chip is None:
            raise ValueError("the optimum needs the chip: start it with begin(chip, cells) and hand its state on")
        return Cells(_measured(chip).which)

    @one_or_many
    def predict(self, observation: np.ndarray, state: Cells | None = None) -> tuple[np.ndarray, Cells]:
        """Actions of the task and the same cells; see `agents.policy.Policy`."""
        view, driver = self.task.view(observation), self.task.device.driver
        state = self.begin(None, len(view.read)) if state is None else state
        left = np.round(view.budget * self.task.max_pulses).astype(int)
        choice = np.empty(len(left), np.uint8)
        for device in np.unique(state.which):
            rows = state.which == device
            plan = self.plans[device]
            place = self._places(plan, view.read[rows], view.target[rows])
            choice[rows] = plan.choice[np.minimum(left[rows], len(plan.choice)) - 1, *place]
        up = choice == SET
        amplitude = driven(driver, up, 1.0)
        width = np.full(len(up), driver.width_max)
        return self.task.encode(np.where(up, amplitude, -amplitude), width, choice == GIVE_UP), state

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """A plan for each tabulated device."""
        return tuple(self._plan(device) for device in range(len(_measured(self.task.device).tables.device)))

    @property
    def _step(self) -> float:
        """Distance of the nodes [range]; an odd number of them fills the band exactly."""
        return float(self.task.tolerance_x) / (self.resolution + 0.5)

    def _places(self, plan: Plan, x: Any, target: Any) -> tuple[Any, Any]:
        """Nearest node and target."""
        nodes, targets = plan.cost.shape
        node = np.rint((x - plan.low) / self._step).astype(int)
        goal = np.rint((target - plan.low) / self._step).astype(int) - plan.first
        return np.clip(node, 0, nodes - 1), np.clip(goal, 0, targets - 1)

    def _plan(self, device: int) -> Plan:
        """Equation (1) on the device's nodes, for all targets at once."""
        task, step, table = self.task, self._step, _measured(self.task.device)
        size = table.g_max - table.g_min
        low, high = ((ends[device] - table.g_min) / size for ends in (table.tables.low, table.tables.high))
        nodes = np.append(np.arange(low, high - 1e-6 * step, step), high)
        first, last = (int(np.rint((end - low) / step)) for end in task.target_range)
        targets = low + step * np.arange(first, last + 1)
        outside = (np.abs(nodes[:, None] - targets) > task.tolerance_x).astype(np.float32)
        below = nodes[:, None] < targets
        allowed = (below, ~below) if self.towards_only else (True, True)
        pulses = [self._transition(device, nodes, up) for up in (True, False)]
        cost = np.full(outside.shape, task.max_pulses, np.float32)
        choice: list[np.ndarray] = []
        change = np.inf
        while len(choice) < task.max_pulses and change > SETTLED:
            missed = cost * outside
            costs = [np.where(may, 1.0 + by @ missed, np.inf) for may, by in zip(allowed, pulses, strict=True)]
            costs += [np.full_like(missed, task.max_pulses)] * task.give_up
            choice.append(np.argmin(costs, axis=0).astype(np.uint8))
            least = np.min(costs, axis=0).astype(np.float32)
            change, cost = float(np.abs(cost - least).max()), least
        return Plan(low, first, cost, np.stack(choice))

    def _transition(self, device: int, nodes: np.ndarray, up: bool) -> np.ndarray:
        """(nodes, nodes) probability of each node after one pulse from each; an outcome between two belongs to both.

        Shared in proportion, an outcome keeps its mean: steps smaller than the nodes' distance are not rounded away.
        """
        table, count = _measured(self.task.device), len(nodes)
        size = table.g_max - table.g_min
        start = np.repeat(table.g_min + nodes * size, QUANTILES)
        quantile = np.tile((np.arange(QUANTILES) + 0.5) / QUANTILES, count)
        which, polarity = np.full(len(start), device), np.full(len(start), up)
        x = (table.tables.after(start, which, polarity, quantile) - table.g_min) / size
        right = np.clip(np.searchsorted(nodes, x), 1, count - 1)
        part = np.clip((x - nodes[right - 1]) / (nodes[right] - nodes[right - 1]), 0.0, 1.0)
        row = np.repeat(np.arange(count), QUANTILES) * count
        mass = np.bincount(row + right, part, count**2) + np.bincount(row + right - 1, 1.0 - part, count**2)
        return (mass.reshape(count, count) / QUANTILES).astype(np.float32)


def _measured(device: CellModel) -> TableDevice:
    """The table of a measured device."""
    if not isinstance(device, TableDevice):
        raise ValueError(f"device is {device.name}: the optimum is known for measured tables (.npz) only")
    return device
