"""Train a pulse predictor by gradients straight through the differentiable device and the verify loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.evaluate import TRAINING, seeded
from agents.pulse_predictor import FEATURES, OUTPUTS, Decision, Sight, decide, features
from agents.recurrent import Weights, forward, initial_weights
from memenv.arrays import is_zero, tree_map
from memenv.device import Device, State
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
            raise ValueError(
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
    """Loss of one batch of fresh cells of a device, and mean pulses for first and later targets, failures counted."""
    cells = config.cells
    chip = tree_map(_tensor, device.fabricate(rng, cells))
    tolerance = _tensor(np.exp(rng.uniform(np.log(config.tolerance[0]), np.log(config.tolerance[1]), cells)))
    x_lo, x_hi = (torch.zeros(cells) + bound for bound in (chip.x_lo, chip.x_hi))

    def sense(state: Any) -> tuple[Any, Any]:
        seen, state = chip.sense(state, torch.randn(2, cells))
        return (seen - device.g_min) / (device.g_max - device.g_min), state

    read, state = sense(chip.fresh(x_lo + (x_hi - x_lo) * torch.rand(cells), torch.randn(2, cells)))
    target = _fresh_target(read, tolerance, config.target_range)
    shortest = torch.full((cells,), float(device.driver.width_min))
    sight = Sight(read, target, read, torch.zeros(cells), shortest, tolerance)
    hidden = torch.zeros(cells, config.hidden) if config.memory else None
    loss, weight_sum = torch.zeros(()), 0.0
    first = torch.ones(cells, dtype=torch.bool)
    pulses, targets = {"first": 0.0, "later": 0.0}, {"first": 0.0, "later": 0.0}
    for _ in range(config.steps):
        outputs, hidden = forward(weights, features(device, sight), hidden)
        decision = decide(device, sight, outputs)
        noise = torch.randn(3, cells)
        inside = acceptance(chip, state, decision, target, tolerance, device.read.noise)
        reachable = ((target > x_lo - tolerance) & (target < x_hi + tolerance) & (x_hi > x_lo)).float()
        belief = torch.nn.functional.binary_cross_entropy_with_logits(decision.reachable, reachable)
        weight = torch.where(first, config.first_weight, 1.0)
        loss = loss - (weight * inside).mean() + 0.1 * belief
        weight_sum += float(weight.mean())
        previous = read
        read, state = sense(chip.pulse(state, decision.amplitude, decision.width, noise))
        accepted = ((read - target).abs() <= tolerance).detach()
        for name, which in (("first", first), ("later", ~first)):
            pulses[name] += float(which.sum())
            targets[name] += float((accepted & which).sum())
        first = first & ~accepted
        target = torch.where(accepted, _fresh_target(read, tolerance, config.target_range), target)
        sight = Sight(read, target, previous, decision.amplitude, decision.width, tolerance)
    report = {name: pulses[name] / max(targets[name], 1.0) for name in pulses}
    return loss / config.steps, {"acceptances": float(-loss.detach()) / weight_sum, **report}


def acceptance(
    chip: Device, state: State, decision: Decision, target: Any, tolerance: Any, read_noise: float
) -> torch.Tensor:
    """Probability (cells,) that the read after the pulse is inside the tolerance, noise propagated to first order."""
    zero = torch.zeros_like(target)
    one = 1.0 + zero

    def after(cycle: Any, additive: Any) -> Any:
        return chip.pulse(state, decision.amplitude, decision.width, torch.stack([cycle, additive, zero])).x

    strong, weak = after(one, zero), after(-one, zero)
    variance = (0.5 * (strong - weak)) ** 2
    if not is_zero(chip.set.additive_noise) or not is_zero(chip.reset.additive_noise):
        variance = variance + (after(zero, one) - after(zero, zero)) ** 2
    scatter = torch.sqrt(variance + read_noise**2 + (0.03 * tolerance) ** 2)  # the last term keeps it smooth
    off = 0.5 * (strong + weak) - target
    return _normal_cdf((tolerance - off) / scatter) - _normal_cdf((-tolerance - off) / scatter)


def _fresh_target(read: torch.Tensor, tolerance: torch.Tensor, span: tuple[float, float]) -> torch.Tensor:
    """New targets, as `WriteVerify` draws them."""
    low, high = span
    gap = CLEARANCE * tolerance
    below, above = (read - gap).clamp(low, high), (read + gap).clamp(low, high)
    place = low + torch.rand(len(read)) * (high - low - (above - below))
    return torch.where(place < below, place, place + above - below).detach()


def _tensor(value: Any) -> Any:
    """Arrays as float32 tensors, anything else as it is."""
    return torch.as_tensor(value, dtype=torch.float32) if isinstance(value, np.ndarray) else value


def _normal_cdf(value: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1.0 + torch.erf(value * 0.7071067811865476))
