"""The observation of a chip that learns: a row of numbers, as Gymnasium's agents take them, and back in plain units."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from memenv.envs.few_shot.actions import Float

FARTHEST = 10.0  # [ln ways] observed losses are clipped there
FAINTEST = 4.0  # [decades] observed gradients reach down to ten to the minus this


class LearningView(NamedTuple):
    """What an observation says; arrays (tasks,) float64, with `layers` (tasks, layers)."""

    budget: Float  # [1] share of the steps that is left
    loss: Float  # [ln ways] mean cross-entropy of the support
    fall: Float  # [ln ways] of it in the last step
    support: Float  # share of the support that is right
    worst: Float  # [ln ways] largest cross-entropy of a support example
    pulses: Float  # for each device in the mean, so far
    last_pulses: Float  # the same of the last step
    signal: np.ndarray  # layers: component of the gain in the last action
    gradient: np.ndarray  # layers: root mean square of the weights' gradient in the last step
    limited: np.ndarray  # layers: share of the devices of which more than max_pulses were wanted
    saturated: np.ndarray  # layers: share of the pulsed devices that ended at a bound


@dataclass(frozen=True, kw_only=True)
class LearningObservation:
    """What a `LearningView` says, each number in a bounded range; see the environment's docstring."""

    layers: int
    max_steps: int
    max_pulses: int  # at most per device and step

    @cached_property
    def space(self) -> spaces.Box:
        """Box (7 + 4 layers,) float32."""
        layers, most = self.layers, np.log1p(self.max_pulses * self.max_steps)
        low = [0.0, 0.0, -FARTHEST, 0.0, 0.0, 0.0, 0.0, *[-1.0] * layers, *[-1.0] * layers, *[0.0] * 2 * layers]
        high = [1.0, FARTHEST, FARTHEST, 1.0, FARTHEST, most, np.log1p(self.max_pulses), *[1.0] * 4 * layers]
        return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    def observed(self, view: LearningView) -> np.ndarray:
        """Observations (tasks, 7 + 4 layers) float32."""
        decades = 1.0 + 2.0 / FAINTEST * np.log10(np.maximum(view.gradient, 10.0**-FAINTEST))
        bounded = view._replace(
            loss=np.minimum(view.loss, FARTHEST),
            fall=np.clip(view.fall, -FARTHEST, FARTHEST),
            worst=np.minimum(view.worst, FARTHEST),
            pulses=np.log1p(view.pulses),
            last_pulses=np.log1p(view.last_pulses),
            gradient=np.minimum(decades, 1.0),
        )
        return np.column_stack(bounded).astype(np.float32)

    def view(self, observation: np.ndarray) -> LearningView:
        """Observations (tasks, 7 + 4 layers) in plain units: the inverse of `observed`, but for what that clipped."""
        told = observation.astype(np.float64)
        signal, gradient, limited, saturated = np.split(told[:, 7:], 4, axis=1)
        plain = dict(zip(LearningView._fields, told[:, :7].T, strict=False))
        plain |= {name: np.expm1(plain[name]) for name in ("pulses", "last_pulses")}
        gradient = np.where(gradient > -1, 10.0 ** (FAINTEST * 0.5 * (gradient - 1)), 0.0)
        return LearningView(**plain, signal=signal, gradient=gradient, limited=limited, saturated=saturated)
