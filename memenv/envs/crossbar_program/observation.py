"""The observation of an array: maps of its cells, flat as Gymnasium's agents take them, and back in plain units."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from memenv.envs.crossbar_program.actions import Maps
from memenv.envs.crossbar_program.product import ProductError
from memenv.envs.scales import FARTHEST, READS, UNIT, scaled, symlog, symlog_inverse, unscaled

ERRORS = ("error", "gradient", "product_error")  # on a logarithmic scale


class ArrayView(NamedTuple):
    """An observation in physical terms, maps (arrays, rows, cols) float64 unless said otherwise."""

    reading: Maps  # [range]
    target: Maps  # [range]
    error: Maps  # [tolerances] (reading - target) / tolerance
    within: Maps  # bool
    open: Maps  # bool
    signal: Maps  # of the last pulse, as in an action, 0 before the first
    log_width: Maps | None  # of it, None where all pulses have one width
    pulses: Maps  # [1] share of each cell's pulses that is spent
    budget: np.ndarray  # (arrays,) [1] share of the steps that is left
    gradient: Maps | None  # [tolerances] only with objective="product"
    product_error: np.ndarray | None  # (arrays, cols) [tolerances] only with objective="product"


@dataclass(frozen=True, kw_only=True)
class ArrayObservation:
    """Dictionaries of flat maps; see the environment's docstring."""

    shape: tuple[int, int]  # (rows, cols)
    tolerance: float  # [range]
    widths: bool  # pulses differ in width
    bounds: tuple[float, float] | None  # [range] of errors of columns and of gradients, None without a product

    @cached_property
    def farthest(self) -> dict[str, float]:
        """[tolerances] the largest magnitude that is shown of each kind of error."""
        column, cell = self.bounds or (1.0, 1.0)
        return {
            name: bound * FARTHEST / self.tolerance for name, bound in zip(ERRORS, (1.0, cell, column), strict=True)
        }

    @cached_property
    def space(self) -> spaces.Dict:
        """Dict of flat maps (rows * cols,) in C order, in [-1, 1]."""
        cells = self.shape[0] * self.shape[1]

        def box(size: int = cells, low: float = -1.0) -> spaces.Box:
            return spaces.Box(low, 1.0, (size,), np.float32)

        parts: dict[str, spaces.Space[Any]] = {name: box() for name in ("reading", "target", "error")}
        parts |= {name: spaces.MultiBinary(cells) for name in ("within", "open")}
        parts |= {name: box() for name in ("signal", "spent", *["log_width"][: self.widths])}
        parts["budget"] = box(1)
        if self.bounds is not None:
            parts |= {"gradient": box(), "product_error": box(self.shape[1], 0.0)}
        return spaces.Dict(parts)

    def scaled_error(self, name: str, error: Any) -> Any:
        """Errors [range] of a kind of `ERRORS` in [-1, 1]; element-wise."""
        return symlog(error / self.tolerance, self.farthest[name])

    def parts(
        self,
        reading: Maps,
        target: Maps,
        within: Maps,
        opened: Maps,
        pulse: tuple[Maps, Maps],
        spent: Maps,
        budget: Any,
        product: Any,
    ) -> dict[str, Maps]:
        """Maps (arrays, rows, cols) and numbers (arrays,), within the space; element-wise.

        Args:
            reading: [range].
            target: [range].
            within: bool.
            opened: bool.
            pulse: signal and log-width of each cell's last one.
            spent: share of each cell's pulses.
            budget: (arrays,) share of the steps that is left.
            product: the `ProductError`, or None.
        """
        parts = {
            "reading": scaled(reading, READS),
            "target": scaled(target, UNIT),
            "error": self.scaled_error("error", reading - target),
            "within": within,
            "open": opened,
            "signal": pulse[0],
            "spent": scaled(spent, UNIT),
            "budget": scaled(budget, UNIT),
        }
        if self.widths:
            parts["log_width"] = pulse[1]
        if self.bounds is not None:
            assert isinstance(product, ProductError)
            parts["gradient"] = self.scaled_error("gradient", product.gradient)
            parts["product_error"] = self.scaled_error("product_error", product.columns)
        return parts

    def observed(self, parts: dict[str, Maps]) -> dict[str, np.ndarray]:
        """Observations, flat maps (arrays, rows * cols) float32 (masks int8)."""
        return {
            name: part.reshape(len(part), -1).astype(np.int8 if part.dtype == bool else np.float32, copy=False)
            for name, part in parts.items()
        }

    def view(self, observation: dict[str, np.ndarray]) -> ArrayView:
        """Observations (arrays, ...) as maps, in plain units."""
        shape = (len(observation["budget"]), *self.shape)
        shown = {name: part.astype(np.float64) for name, part in observation.items()}
        for name, error in self.farthest.items():
            if name in shown:
                shown[name] = symlog_inverse(shown[name], error)

        def maps(name: str) -> Any:
            return shown[name].reshape(shape) if name in shown else None

        return ArrayView(
            reading=unscaled(maps("reading"), READS),
            target=unscaled(maps("target"), UNIT),
            error=maps("error"),
            within=maps("within") == 1,
            open=maps("open") == 1,
            signal=maps("signal"),
            log_width=maps("log_width"),
            pulses=unscaled(maps("spent"), UNIT),
            budget=unscaled(shown["budget"][:, 0], UNIT),
            gradient=maps("gradient"),
            product_error=shown.get("product_error"),
        )
