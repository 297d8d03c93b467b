"""Train a pulse predictor by gradients straight through the differentiable device and the verify loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.evaluate import TRAINING, seeded
from agents.pulse_predictor import FEATURES, OUTPUTS, Sight, decide, features
from agents.recurrent import Weights, forward, initial_weights
from memenv.arrays import tree_map
from memenv.device import Device
from memenv.envs.write_verify import CLEARANCE


@dataclass(frozen=True, kw_only=True)
class PulseTrainingConfig:
    """How a pulse predictor is trained."""

    hidden: int = 64  # units of the network
    memory: bool = True  # a recurrent network, which identifies the device while it programs it
    iterations: int = 1500  # gradient steps
    cells: int = 1024  # fresh cells in a step
    steps: int = 10  # pulses in a step: as many targets as fit, one after another on the same cell
    learning_rate: float = 5e-3  # of Adam, decaying to a hundredth along a cosine
    first_weight: float = 3.0  # weight of a cell's first target against the later ones
    tolerance: tuple[float, float] = (0.007, 0.03)  # [range] drawn log-uniformly for each cell
    target_range: tuple[float, float] = (0.1, 0.9)  # [range]
    seed: int = 0


def train(
    devices: Sequence[Device] | Callable[[np.random.Generator], Device],
    config: PulseTrainingConfig,
    on_step: Callable[[int, dict[str, float], Weights], None] | None = None,
    start: Weights | None = None,
) -> Weights:
    """Weights trained on fresh chips of the `devices` in turn, or of those that a function draws.

    The loss is minus the expected number of acceptances: the probability, over the noise of the next pulse and read,
    that the read falls inside the tolerance (cycle noise propagated to first order), along trajectories with hard
    acceptances. Through the trajectories a pulse also learns what it does for later ones: where it leaves the cell, and
    what it shows.
    """
    rng = seeded(config.seed, TRAINING)
    torch.manual_seed(config.seed)
    first = start or initial_weights(rng, FEATURES, config.hidden, OUTPUTS)
    weights = Weights(*(torch.tensor(np.asarray(part), dtype=torch.float32, requires_grad=True) for part in first))
    optimiser = torch.optim.Adam(list(weights), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.iterations, config.learning_rate / 100)
    for iteration in range(config.iterations):
        device = devices(rng) if callable(devices) else devices[iteration % len(devices)]
        optimiser.zero_grad()
        loss, report = rollout(weights, device, config, rng)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} in step {iteration}; lower the learning rate ({config.learning_rate})"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(weights), 1.0)
        optimiser.step()
        schedule.step()
        if on_step:
            on_step(iteration, report, arrays(weights))
    return arrays(weights)


def arrays(weights: Weights) -> Weights:
    """The weights as NumPy arrays."""
    return Weights(*(part.detach().numpy().astype(np.float64) for part in weights))


def rollout(
    weights: Weights, device: Device, config: PulseTrainingConfig, rng: np.random.Generator
) -> tuple[Any, dict[str, float]]:
    """Loss and figures of one batch of fresh cells of a device."""
    cells = config.cells

    def tensor(value: Any) -> Any:
        return torch.as_tensor(value, dtype=torch.float32) if isinstance(value, np.ndarray) else value

    chip = tree_map(tensor, device.fabricate(rng, cells))
    low, high = config.target_range
    tolerance = tensor(np.exp(rng.uniform(np.log(config.tolerance[0]), np.log(config.tolerance[1]), cells)))

    def normals(rows: int) -> torch.Tensor:
        return torch.randn(rows, cells)

    def fresh_target(read: torch.Tensor) -> torch.Tensor:
        gap = CLEARANCE * tolerance
        below, above = (read - gap).clamp(low, high), (read + gap).clamp(low, high)
        place = low + torch.rand(cells) * (high - low - (above - below))
        return torch.where(place < below, place, place + above - below).detach()

    def fraction(g: torch.Tensor) -> torch.Tensor:
        return (g - device.g_min) / (device.g_max - device.g_min)

    x_lo, x_hi = (torch.zeros(cells) + bound for bound in (chip.x_lo, chip.x_hi))
    state = chip.fresh(x_lo + (x_hi - x_lo) * torch.rand(cells), normals(2))
    seen, state = chip.sense(state, normals(2))
    read = fraction(seen)
    target = fresh_target(read)
    sight = Sight(
        read, target, read, torch.zeros(cells), torch.full((cells,), float(device.driver.width_min)), tolerance
    )
    hidden = torch.zeros(cells, config.hidden) if config.memory else None
    loss, weight_sum = torch.zeros(()), 0.0
    targets_before = torch.zeros(cells)
    spent, first_pulses, later_pulses, later_targets = torch.zeros(cells), 0.0, 0.0, 0.0
    first_done = 0.0
    for _ in range(config.steps):
        outputs, hidden = forward(weights, features(device, sight), hidden)
        decision = decide(device, sight, outputs)
        zero, noise = torch.zeros(cells), normals(3)
        up_z, down_z = (torch.stack([sign + zero, zero, zero]) for sign in (1.0, -1.0))
        branch = [
            chip.pulse(state, decision.amplitude, decision.width, z).x
            for z in (up_z, down_z, torch.stack([zero, 1.0 + zero, zero]))
        ]
        law = chip.law(decision.amplitude > 0)
        middle, cycle = 0.5 * (branch[0] + branch[1]), 0.5 * (branch[0] - branch[1])
        added = (
            0.0
            if isinstance(law.additive_noise, float) and law.additive_noise == 0
            else branch[2] - chip.pulse(state, decision.amplitude, decision.width, torch.stack([zero, zero, zero])).x
        )
        scatter = torch.sqrt(cycle**2 + added**2 + device.read.noise**2 + (0.03 * tolerance) ** 2)
        off = middle - target
        inside = _normal_cdf((tolerance - off) / scatter) - _normal_cdf((-tolerance - off) / scatter)
        weight = torch.where(targets_before == 0, config.first_weight, 1.0)
        reachable = ((target > x_lo - tolerance) & (target < x_hi + tolerance) & (x_hi > x_lo)).float()
        belief = torch.nn.functional.binary_cross_entropy_with_logits(decision.reachable, reachable)
        loss = loss - (weight * inside).mean() + 0.1 * belief
        weight_sum += float(weight.mean())
        state = chip.pulse(state, decision.amplitude, decision.width, noise)
        seen, state = chip.sense(state, normals(2))
        previous, read = read, fraction(seen)
        with torch.no_grad():
            accepted = (read - target).abs() <= tolerance
            spent = spent + 1
            is_first = targets_before == 0
            first_pulses += float(is_first.float().sum())
            first_done += float((accepted & is_first).float().sum())
            later_pulses += float((~is_first).float().sum())
            later_targets += float((accepted & ~is_first).float().sum())
            targets_before = targets_before + accepted.float()
            target = torch.where(accepted, fresh_target(read), target)
        sight = Sight(read, target, previous, decision.amplitude, decision.width, tolerance)
    report = {
        "acceptances": float(-loss.detach()) / weight_sum,
        "first": first_pulses / max(first_done, 1.0),
        "later": later_pulses / max(later_targets, 1.0),
    }
    return loss / config.steps, report


def _normal_cdf(value: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1.0 + torch.erf(value * 0.7071067811865476))
