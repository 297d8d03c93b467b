"""A broad family of devices for domain randomisation: presets with every parameter spread well beyond its value."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from memenv.arrays import Array
from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Device, Mismatch
from memenv.devices.law import GAMMAS, Response
from memenv.devices.protocol import parametric
from memenv.devices.reads import Read

HELD_OUT = ("fefet", "pcm", "epiram", "hfo2-neurram")  # never seen by the generalist: its test
AS_THEY_ARE = 0.5  # share of the draws that are presets as they are, in equal parts but for ...
FOCUS = ("threshold", "enode-sandia", "alox-hfo2", "hfo2-array-om", "hfo2-array-baseline")
FOCUSED = 2 * (FOCUS[0], *FOCUS)  # ... these once more each time that they stand here
USUAL = (0.005, 0.04)  # [range] of targets on them
CERTAIN = 0.5  # share of the draws of those whose record claims to be certain in which it is mistaken all the same
QUIET = 0.25  # share of devices without mismatch and without more noise than their preset has
TOLERANCES = (0.001, 0.06)  # [range] of targets in the family
MISTAKEN = 0.6  # share of cells whose record is wrong in ...
OFTEN = 0.35  # ... each of the ways of `mistaken`, with this probability
WIDE_ALARM = 150.0  # sum of surprises at which a policy so trained hands a cell over: it knows wrong records


def family(
    held_out: tuple[str, ...] = HELD_OUT,
) -> Callable[[np.random.Generator], tuple[Device, dict[str, Any]]]:
    """A function that draws a device of the family, and what is special about a gradient step on it.

    The device is a preset that is not held out, as it is or with its parameters changed: then doses, exponents, slopes
    and noise are multiplied by log-normal factors; the mismatch is drawn anew, from none to that of the worst preset,
    so that the next device of a user lies inside.
    """

    def record(name: str) -> Device:
        return parametric(load_device(name), "the family")

    bases = [record(name) for name in presets() if name not in held_out]
    asked = [*bases, *(record(name) for name in FOCUSED if name not in held_out)]

    def draw(rng: np.random.Generator) -> tuple[Device, dict[str, Any]]:
        if rng.random() < AS_THEY_ARE:
            base = asked[rng.integers(len(asked))]
            wrong = base.uncertainty is None and rng.random() < CERTAIN
            return base, {"tolerance": USUAL, "mistaken": MISTAKEN * wrong}
        base = bases[rng.integers(len(bases))]
        loud = float(rng.random() > QUIET)

        def factor(spread: float) -> float:
            return float(np.exp(spread * rng.standard_normal()))

        def vary(response: Response) -> Response:
            changed = dataclasses.replace(
                response,
                dose=response.dose * factor(0.4),
                gamma=response.gamma * factor(0.15),
                slope=max(response.slope * factor(0.2), 0.01 * response.amplitude),
                margin=response.margin * factor(0.3),
                cycle_noise=min(response.cycle_noise * factor(0.5) + 0.3 * loud * float(rng.beta(0.6, 2.0)), 2.0),
                additive_noise=response.additive_noise * factor(0.4),
            )
            reach = base.x_hi - base.x_lo + changed.margin
            return dataclasses.replace(changed, kappa=min(changed.kappa, 0.998 / reach))

        changed = base.replace(
            set=vary(base.set),
            reset=vary(base.reset),
            mismatch=Mismatch(
                rate=0.8 * loud * float(rng.beta(1.0, 1.5)),
                asymmetry=0.2 * loud * float(rng.beta(1.0, 2.0)),
                threshold=0.15 * loud * float(rng.beta(0.7, 1.5)),
                x_lo=0.3 * loud * float(rng.beta(0.7, 2.0)),
                x_hi=0.25 * loud * float(rng.beta(0.7, 2.0)),
                x_shift=0.8 * loud * float(rng.beta(0.3, 2.0)),
                stuck_anywhere=0.15 * loud * float(rng.beta(0.5, 1.5)),
            ),
            read=dataclasses.replace(base.read, noise=0.006 * float(rng.beta(1.0, 1.5))) if base.read.noise else Read(),
        )
        return changed, {}

    return draw


def mistaken(chip: Device, cells: int, share: float, rng: np.random.Generator) -> Device:
    """A chip of `cells` cells a `share` of which are of other devices than their record says.

    Each of the ways in which a record can be wrong is taken `OFTEN`, for the cells together: slopes of the amplitude by
    a factor of 0.22 to 2.2, thresholds by up to 2.5 slopes, exponents by a factor of 0.5 to 2, doses by 50 %, noise of
    cycles up to fourfold, of writing up to 3 % more and of reading up to 1.5 % more of the range, bounds by up to 0.12.
    """

    def wrong(low: float, high: float, none: float) -> Array:
        if rng.random() >= OFTEN:
            return none
        return np.where(rng.random(cells) < share, rng.uniform(low, high, cells), none)

    def factor(low: float, high: float) -> Array:
        return np.exp(wrong(np.log(low), np.log(high), 0.0))

    slope, gamma, dose = factor(0.22, 2.2), factor(0.5, 2.0), factor(0.4, 2.5)
    noise, writing = factor(1.0, 4.0), wrong(0.0, 0.03, 0.0)
    shift, window = wrong(-2.5, 2.5, 0.0), wrong(-0.12, 0.12, 0.0)

    def changed(response: Response) -> Response:
        return dataclasses.replace(
            response,
            slope=response.slope * slope,
            shift=response.shift + shift * response.slope,
            gamma=np.clip(response.gamma * gamma, *GAMMAS) if np.ndim(gamma) else response.gamma,
            dose=response.dose * dose,
            cycle_noise=response.cycle_noise * noise,
            additive_noise=np.hypot(response.additive_noise * noise, writing),
        )

    read = dataclasses.replace(chip.read, noise=float(np.hypot(chip.read.noise, max(rng.uniform(-0.03, 0.015), 0.0))))
    return chip.replace(
        set=changed(chip.set), reset=changed(chip.reset), x_lo=chip.x_lo + window, x_hi=chip.x_hi + window, read=read
    )
