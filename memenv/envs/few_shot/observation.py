"""The observation of a chip that learns: a row of numbers, as Gymnasium's agents take them, and back in plain units."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from memenv.envs.few_shot.actions import Float
from memenv.envs.scales import UNIT, scaled, unscaled

FARTHEST = 10.0  # [ln ways] observed losses are clipped there
FINEST = 0.05  # [ln ways] below it losses are observed on a linear scale, above on a logarithmic one
MOST = 1000.0  # [pulses] for each device, that are observed
FAINTEST = 4.0  # [decades] observed gradients reach down to ten to the minus this


class LearningView(NamedTuple):
    """An observation in plain units; arrays (tasks,) float64, with `layers` (tasks, layers)."""

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
    """A `LearningView`, each number in a bounded range; see the environment's docstring."""

    layers: int

    @cached_property
    def space(self) -> spaces.Box:
        """Box (7 + 4 layers,) float32."""
        return spaces.Box(-1.0, 1.0, (7 + 4 * self.layers,), np.float32)

    def observed(self, view: LearningView) -> np.ndarray:
        """Observations (tasks, 7 + 4 layers) float32."""
        decades = np.log10(np.maximum(view.gradient, 10.0**-FAINTEST)) / FAINTEST
        parts = view._replace(
            budget=scaled(view.budget, UNIT),
            loss=scaled(_compressed(view.loss), UNIT),
            fall=_compressed(view.fall),
            support=scaled(view.support, UNIT),
            worst=scaled(_compressed(view.worst), UNIT),
            pulses=scaled(np.log1p(view.pulses) / np.log1p(MOST), UNIT),
            last_pulses=scaled(np.log1p(view.last_pulses) / np.log1p(MOST), UNIT),
            gradient=1.0 + 2.0 * decades,
            limited=scaled(view.limited, UNIT),
            saturated=scaled(view.saturated, UNIT),
        )
        observation: np.ndarray = np.clip(np.column_stack(parts), -1.0, 1.0).astype(np.float32)
        return observation

    def view(self, observation: np.ndarray) -> LearningView:
        """Observations (tasks, 7 + 4 layers) in plain units: the inverse of `observed`, but for what that clipped."""
        seen = observation.astype(np.float64)
        budget, loss, fall, support, worst, pulses, last_pulses = seen[:, :7].T
        signal, gradient, limited, saturated = np.split(seen[:, 7:], 4, axis=1)
        return LearningView(
            budget=unscaled(budget, UNIT),
            loss=_expanded(unscaled(loss, UNIT)),
            fall=_expanded(fall),
            support=unscaled(support, UNIT),
            worst=_expanded(unscaled(worst, UNIT)),
            pulses=np.expm1(unscaled(pulses, UNIT) * np.log1p(MOST)),
            last_pulses=np.expm1(unscaled(last_pulses, UNIT) * np.log1p(MOST)),
            signal=signal,
            gradient=np.where(gradient > -1, 10.0 ** (FAINTEST * 0.5 * (gradient - 1)), 0.0),
            limited=unscaled(limited, UNIT),
            saturated=unscaled(saturated, UNIT),
        )


def _compressed(loss: Any) -> Any:
    """Up to `FARTHEST` [ln ways] of either sign as -1 to 1: arsinh(loss / FINEST), in units of its largest value."""
    return np.arcsinh(loss / FINEST) / np.arcsinh(FARTHEST / FINEST)


def _expanded(observed: Any) -> Any:
    """The inverse of `_compressed`."""
    return FINEST * np.sinh(observed * np.arcsinh(FARTHEST / FINEST))
