"""Train a pulse predictor by gradients straight through the differentiable device and the verify loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from agents.evaluation import TRAINING, seeded
from agents.predictor.device_family import mistaken
from agents.predictor.gru import Weights, forward, initial_weights
from agents.predictor.handover import loudest
from agents.predictor.policy import FEATURES, OUTPUTS, Decision, Sight, decide, features, gates, outputs_of
from memenv.arrays import clip, is_zero, take, tree_map
from memenv.devices.device import Device
from memenv.devices.law import Law, dose_to_reach, equivalent_pulses, move
from memenv.devices.reads import State
from memenv.devices.spatial import SmoothNormals
from memenv.devices.uncertainty import of_chips
from memenv.envs.write_verify.arguments import CLEARANCE

LOUD = 1.0  # [ln] noise of cycles from which gradients do not go through the states that pulses leave
NODES = np.linspace(-2.5, 2.5, 16).tolist()  # [standard deviations] doses after which the next pulse is judged
FAINT, LEAST = 1e-9, 0.01  # dose, and spread [ln], that logarithms and quotients need


@dataclass(frozen=True, kw_only=True)
class PulseTrainingConfig:
    """The training of a pulse predictor: on streams of targets, each on a cell or on one cell after another."""

    hidden: int = 64  # units of the network
    memory: bool = True  # a recurrent network, which identifies the device while it programs it
    iterations: int = 3000  # gradient steps
    streams: int = 1536  # side by side in a gradient step
    steps: int = 10  # pulses of a stream: as many targets as fit
    learning_rate: float = 5e-3  # of Adam, decaying to a hundredth along a cosine
    first_weight: float = 3.0  # weight of the first target against the later ones, of which more is known
    tolerance: tuple[float, float] = (0.007, 0.03)  # [range] drawn log-uniformly for each stream
    target_range: tuple[float, float] = (0.1, 0.9)  # [range]
    mistaken: float = 0.0  # share of the cells whose record is wrong, as `device_family.mistaken` has it
    visits: int = 3  # cells made for a stream, which leaves one that it gives up ...
    stay: float = 1.0  # [probability] ... and stays on one that it has programmed
    correlation: float = 0.0  # share of the variance that is correlated in a stream: then the memory goes along
    reach: float = 4.0  # [cells] of that correlation
    patience: float = 3.5  # [logit] that the target is out of reach at which keeping on and giving up are even
    miss: float = 40.0  # [acceptances] what giving up a reachable target costs
    belief: float = 0.1  # weight of the cross-entropy of the target's being reachable
    energy: float = 0.0  # [pulses/J] that energy is worth
    latency: float = 0.0  # [pulses/s] that time is worth
    seed: int = 0


def train(
    devices: Sequence[Device] | Callable[[np.random.Generator], tuple[Device, dict[str, Any]]],
    config: PulseTrainingConfig,
    on_step: Callable[[int, dict[str, float], Weights], None] | None = None,
    init: Weights | None = None,
) -> Weights:
    """Weights trained on fresh chips of the `devices` in turn, or of those that a function draws.

    The function returns, with a device, in what the configuration of its gradient step differs.

    What is maximised is the expected number of acceptances: the probability, over the noise of the next pulse and read,
    that the read falls inside the tolerance (cycle noise propagated to first order), along streams with hard
    acceptances. Through the stream a pulse also learns what it does for later ones: where it leaves the cell, and what
    it shows; from `LOUD` on no gradient goes that way, and the pulse after is looked at instead (`within_two`). Giving
    up is soft: what a target earns is weighted with the probability of having kept on, and the rest of the stream earns
    what pulses earn on average; a reachable target that was given up costs `miss`.
    """
    rng = seeded(config.seed, TRAINING)
    torch.manual_seed(config.seed)
    outputs = OUTPUTS if callable(devices) else outputs_of(devices[0])
    first = init or initial_weights(rng, FEATURES, config.hidden, outputs)
    weights = Weights(*(torch.tensor(np.asarray(part), dtype=torch.float32, requires_grad=True) for part in first))
    optimiser = torch.optim.Adam(list(weights), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.iterations, config.learning_rate / 100)
    for iteration in range(config.iterations):
        device, special = devices(rng) if callable(devices) else (devices[iteration % len(devices)], {})
        optimiser.zero_grad()
        loss, report = rollout(weights, device, replace(config, **special), rng)
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
    """Loss of one batch of streams on a device, and mean pulses for first and later targets, failures counted."""
    streams, none = config.streams, torch.zeros(config.streams)
    normals: Any = of_chips(rng, streams)
    if config.correlation:
        normals = SmoothNormals(rng, streams, 1, config.visits, config.reach, config.correlation)
    made = device.fabricate(normals, streams * config.visits)
    cells = tree_map(
        _tensor, mistaken(made, streams * config.visits, config.mistaken, rng) if config.mistaken else made
    )
    tolerance = _tensor(np.exp(rng.uniform(np.log(config.tolerance[0]), np.log(config.tolerance[1]), streams)))
    shortest, loud = none + float(device.driver.width_min), loudest(device) >= LOUD

    def sense(chip: Device, state: State) -> tuple[Any, State]:
        seen, state = chip.sense(state, torch.randn(2, streams))
        return (seen - device.g_min) / (device.g_max - device.g_min), state

    def fresh(chip: Device) -> tuple[Any, State]:
        x_lo, x_hi = chip.x_lo + none, chip.x_hi + none
        return sense(chip, chip.fresh(x_lo + (x_hi - x_lo) * torch.rand(streams), torch.randn(2, streams)))

    here = torch.arange(streams) * config.visits
    last = here + config.visits - 1
    chip = take(cells, here)
    read, state = fresh(chip)
    target = _fresh_target(read, tolerance, config.target_range)
    sight = Sight(read, target, read, none, shortest, tolerance)
    hidden: Any = torch.zeros(streams, config.hidden) if config.memory else None
    going, first = 1.0 + none, none == 0
    gain, weight_sum = torch.zeros(()), 0.0
    pulses, targets = {"first": 0.0, "later": 0.0}, {"first": 0.0, "later": 0.0}
    for _ in range(config.steps):
        outputs, hidden = forward(weights, features(device, sight), hidden)
        decision = decide(device, sight, outputs)

        x_lo, x_hi = chip.x_lo + none, chip.x_hi + none
        reachable = ((target > x_lo - tolerance) & (target < x_hi + tolerance) & (x_hi > x_lo)).float()
        belief = torch.nn.functional.binary_cross_entropy_with_logits(decision.reachable, reachable)
        keep = torch.where(sight.amplitude == 0, 1.0, torch.sigmoid(decision.reachable + config.patience))
        missed = config.miss * going * (1 - keep) * reachable
        going = going * keep

        gate = gates(device, sight, decision.width, outputs)
        opened = chip.driven(*gate) if gate else chip
        judged = within_two if loud else acceptance
        inside = judged(opened, state, decision, target, tolerance, chip.verify_noise)
        usual = ((going * inside).sum() / going.sum()).detach()  # what a pulse earns on average
        before = chip.conductance(state)
        state = opened.pulse(state, decision.amplitude, decision.width, torch.randn(3, streams))
        if loud:
            state = tree_map(lambda part: part.detach() if torch.is_tensor(part) else part, state)
        energy = chip.pulse_energy(before, chip.conductance(state), decision.amplitude, decision.width)
        spent = usual * (config.energy * energy + config.latency * decision.width)
        weight = torch.where(first, config.first_weight, 1.0)
        earned = weight * (going * (inside - spent) + (1 - going) * usual)
        gain = gain + (earned - missed).mean() - config.belief * belief
        weight_sum += float(weight.mean())

        previous = read
        read, state = sense(chip, state)
        accepted = ((read - target).abs() <= tolerance).detach()
        for name, which in (("first", first), ("later", ~first)):
            pulses[name] += float(which.sum())
            targets[name] += float((accepted & which).sum())
        sight = Sight(read, target, previous, decision.amplitude, decision.width, tolerance)

        leaving = ((accepted & (torch.rand(streams) >= config.stay)) | (going < 0.5)).detach() & (here < last)
        if leaving.any():
            if hidden is not None:
                kept: Any = forward(weights, features(device, sight), hidden)[1] if config.correlation else 0.0 * hidden
                hidden = torch.where(leaving[:, None], kept, hidden)
            here = here + leaving
            chip = take(cells, here)
            new_read, new_state = fresh(chip)
            read = torch.where(leaving, new_read, read)
            state = _where(leaving, new_state, state)
            sight = _where(leaving, Sight(read, target, read, none, shortest, tolerance), sight)
        renewed = accepted | leaving
        first = (first & ~accepted) | (leaving & (config.correlation == 0))
        going = torch.where(renewed, 1.0, going)
        target = torch.where(renewed, _fresh_target(read, tolerance, config.target_range), target)
        sight = sight._replace(target=target)
    report = {name: pulses[name] / max(targets[name], 1.0) for name in pulses}
    return -gain / config.steps, {"acceptances": float(gain.detach()) / weight_sum, **report}


def acceptance(
    chip: Device, state: State, decision: Decision, target: Any, tolerance: Any, noise: float
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
    scatter = torch.sqrt(variance + noise**2 + (0.03 * tolerance) ** 2)  # the last term keeps it smooth
    off = 0.5 * (strong + weak) - target
    return _normal_cdf((tolerance - off) / scatter) - _normal_cdf((-tolerance - off) / scatter)


def within_two(
    chip: Device, state: State, decision: Decision, target: Any, tolerance: Any, noise: float
) -> torch.Tensor:
    """Expected acceptances (cells,) by the pulse or, if it misses, the next one: the likeliest of who knows the cell.

    For much noise of cycles, which is normal in the logarithm of the dose: there a target is a band. What comes after a
    miss is summed over doses that do not depend on the policy: gradients of their probabilities are of use where those
    through the states that pulses leave are not. Other noise counts to first order.
    """
    none = 0.0 * target
    bounds = chip.x_lo + none, chip.x_hi + none

    def aim(x: Any, up: Any) -> tuple[Law, Any, Any]:
        """The law, and the logarithms of the doses from a state to the edges of the band."""
        law, reach = chip.law(up, x), torch.where(up, tolerance, -tolerance)
        near, far = (dose_to_reach(law, x, end, *bounds, up) for end in (target - reach, target + reach))
        return law, torch.log(near + FAINT), torch.log(far + FAINT)

    def share(law: Law, near: Any, far: Any, middle: Any) -> Any:
        """Probability of the band, of doses of this median."""
        blur = (noise**2 + law.additive_noise**2) * ((far - near) / (2.0 * tolerance)) ** 2
        spread = torch.sqrt(law.cycle_noise**2 + blur + LEAST**2)
        return _normal_cdf((far - middle) / spread) - _normal_cdf((near - middle) / spread)

    x, up = state.x, decision.amplitude > 0
    law, near, far = aim(x, up)
    count = equivalent_pulses(law, decision.amplitude.abs(), decision.width)
    middle, spread = torch.log(law.dose * count + FAINT) - 0.5 * law.cycle_noise**2, law.cycle_noise + LEAST
    later, total = none, none
    for node in NODES:
        log_dose = (middle + node * spread).detach()
        weight = torch.exp(-0.5 * ((log_dose - middle) / spread) ** 2)
        after = move(law, x.detach(), *bounds, up, torch.exp(log_dose))
        back, close, beyond = aim(after, target > after)
        missed = (after - target).abs() > tolerance
        later = later + weight * (missed * share(back, close, beyond, 0.5 * (close + beyond))).detach()
        total = total + weight
    expected: torch.Tensor = share(law, near, far, middle) + later / total
    return expected


def _fresh_target(read: torch.Tensor, tolerance: torch.Tensor, span: tuple[float, float]) -> torch.Tensor:
    """New targets, as `WriteVerify` draws them."""
    low, high = span
    gap = CLEARANCE * tolerance
    below, above = clip(read - gap, low, high), clip(read + gap, low, high)
    place = low + torch.rand(len(read)) * (high - low - (above - below))
    return torch.where(place < below, place, place + above - below).detach()


def _where(mask: torch.Tensor, new: Any, old: Any) -> Any:
    """A record whose arrays are those of `new` where the mask says so, else those of `old`."""
    return tree_map(lambda a, b: torch.where(mask, a, b), new, old)


def _tensor(value: Any) -> Any:
    """Arrays as float32 tensors, anything else as it is."""
    return torch.as_tensor(value, dtype=torch.float32) if isinstance(value, np.ndarray) else value


def _normal_cdf(value: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1.0 + torch.erf(value * 0.7071067811865476))
