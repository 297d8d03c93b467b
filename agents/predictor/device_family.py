"""A broad family of devices for domain randomisation: presets with every parameter spread well beyond its value."""

import dataclasses
from collections.abc import Callable

import numpy as np

from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Device, Mismatch, Read
from memenv.devices.law import Response
from memenv.devices.protocol import parametric

HELD_OUT = ("fefet", "pcm", "epiram", "hfo2-neurram")  # never seen by the generalist: its test
QUIET = 0.25  # share of devices without mismatch and without more noise than their preset has


def family(held_out: tuple[str, ...] = HELD_OUT) -> Callable[[np.random.Generator], Device]:
    """A function that draws a device of the family: a preset that is not held out, with its parameters changed.

    Doses, exponents, slopes and noise are multiplied by log-normal factors; the mismatch is drawn anew, from none
    to that of the worst preset, so that the next device of a user lies inside.
    """
    bases = [parametric(load_device(name), "the family") for name in presets() if name not in held_out]

    def draw(rng: np.random.Generator) -> Device:
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

        return base.replace(
            set=vary(base.set),
            reset=vary(base.reset),
            mismatch=Mismatch(
                rate=0.8 * loud * float(rng.beta(1.0, 1.5)),
                asymmetry=0.2 * loud * float(rng.beta(1.0, 2.0)),
                threshold=0.15 * loud * float(rng.beta(0.7, 1.5)),
                x_lo=0.3 * loud * float(rng.beta(0.7, 2.0)),
                x_hi=0.25 * loud * float(rng.beta(0.7, 2.0)),
                stuck_anywhere=0.15 * loud * float(rng.beta(0.5, 1.5)),
            ),
            read=dataclasses.replace(base.read, noise=0.006 * float(rng.beta(1.0, 1.5))) if base.read.noise else Read(),
        )

    return draw
