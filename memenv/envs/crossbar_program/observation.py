"""The observation of an array: maps of its cells, flat as Gymnasium's agents take them, and back in plain units."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from memenv.envs.crossbar_program.actions import Maps
from memenv.envs.crossbar_program.product import ProductError

FARTHEST = 3.0  # [range] observed errors are clipped there


class ArrayView(NamedTuple):
    """What an observation says, maps (arrays, rows, cols) float64 unless said otherwise."""

    reading: Maps  # [range]
    target: Maps  # [range]
    error: Maps  # [tolerances] (reading - target) / tolerance
    within: Maps  # bool
    open: Maps  # bool
    pulses: Maps  # [1] share of each cell's pulses that is spent
    budget: np.ndarray  # (arrays,) [1] share of the steps that is left
    gradient: Maps | None  # [tolerances] only with objective="product"
    product_error: np.ndarray | None  # (arrays, cols) [tolerances] only with objective="product"


@dataclass(frozen=True, kw_only=True)
class ArrayObservation:
    """Dictionaries of flat maps; see the environment's docstring."""

    shape: tuple[int, int]  # (rows, cols)
    tolerance: float  # [range]
    bounds: tuple[float, float] | None  # [range] of errors of columns and of gradients, None without a product

    @cached_property
    def space(self) -> spaces.Dict:
        """Dict of flat maps (rows * cols,) in C order."""
        cells, far = self.shape[0] * self.shape[1], FARTHEST / self.tolerance

        def box(low: float, high: float, size: int = cells) -> spaces.Box:
            return spaces.Box(low, high, (size,), np.float32)

        parts: dict[str, spaces.Space[Any]] = {
            "reading": box(-1.0, 2.0),
            "target": box(0.0, 1.0),
            "error": box(-far, far),
            "within": spaces.MultiBinary(cells),
            "open": spaces.MultiBinary(cells),
            "pulses": box(0.0, 1.0),
            "budget": box(0.0, 1.0, 1),
        }
        if self.bounds is not None:
            column, cell = (far * bound for bound in self.bounds)
            parts |= {"gradient": box(-cell, cell), "product_error": box(0.0, column, self.shape[1])}
        return spaces.Dict(parts)

    def parts(
        self, reading: Maps, target: Maps, within: Maps, opened: Maps, pulses: Maps, budget: Any, product: Any
    ) -> dict[str, Maps]:
        """Maps (arrays, rows, cols) and numbers (arrays,), within the space; element-wise.

        Args:
            reading: [range].
            target: [range].
            within: bool.
            opened: bool.
            pulses: share of each cell's pulses that is spent.
            budget: (arrays,) share of the steps that is left.
            product: the `ProductError`, or None.
        """
        parts = {
            "reading": np.clip(reading, -1.0, 2.0),
            "target": target,
            "error": np.clip(reading - target, -FARTHEST, FARTHEST) / self.tolerance,
            "within": within,
            "open": opened,
            "pulses": pulses,
            "budget": budget,
        }
        if self.bounds is not None:
            assert isinstance(product, ProductError)
            column, cell = (FARTHEST * bound for bound in self.bounds)
            parts["gradient"] = np.clip(product.gradient, -cell, cell) / self.tolerance
            parts["product_error"] = np.minimum(product.columns, column) / self.tolerance
        return parts

    def observed(self, parts: dict[str, Maps]) -> dict[str, np.ndarray]:
        """Observations, flat maps (arrays, rows * cols) float32 (masks int8)."""
        return {
            name: part.reshape(len(part), -1).astype(np.int8 if part.dtype == bool else np.float32, copy=False)
            for name, part in parts.items()
        }

    def view(self, observation: dict[str, np.ndarray]) -> ArrayView:
        """Observations (arrays, ...) as maps."""
        shape = (len(observation["budget"]), *self.shape)

        def maps(name: str) -> Maps:
            return observation[name].reshape(shape).astype(np.float64)

        product = self.bounds is not None
        return ArrayView(
            reading=maps("reading"),
            target=maps("target"),
            error=maps("error"),
            within=maps("within") == 1,
            open=maps("open") == 1,
            pulses=maps("pulses"),
            budget=observation["budget"][:, 0].astype(np.float64),
            gradient=maps("gradient") if product else None,
            product_error=observation["product_error"].astype(np.float64) if product else None,
        )
