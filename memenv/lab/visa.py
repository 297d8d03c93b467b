"""An instrument behind VISA: a pulse and a read as the texts that its manual tells (extra `visa`: pyvisa)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from memenv.lab.bench import BenchError


@dataclass(frozen=True, kw_only=True)
class Commands:
    """SCPI texts of a source-measure unit and a matrix; `{cell}`, `{amplitude}` [V], `{width}` [s], `{voltage}` [V].

    Texts of a pulse with `{gate}` [V] are those of cells whose gate is chosen.
    """

    select: tuple[str, ...] = (":ROUT:CLOS (@{cell})",)
    pulse: tuple[str, ...] = (":SOUR:PULS:WIDT {width:.6e}", ":SOUR:VOLT {amplitude:.6e}", ":OUTP ON", ":TRIG")
    read: tuple[str, ...] = (":SOUR:VOLT {voltage:.6e}", ":OUTP ON")
    query: str = ":MEAS:CURR?"  # answers a current [A] at the read voltage
    off: tuple[str, ...] = (":OUTP OFF", ":ROUT:OPEN:ALL")
    complete: str = "*OPC?"  # answers when a pulse is over; "" if the instrument knows no such question
    errors: str = ":SYST:ERR?"  # answers 0 or +0 before the text if there is none; "" for none


class VisaBench:
    """Cells behind one instrument, one after the other; its output is off after every pulse and every read."""

    def __init__(
        self,
        resource: str,
        commands: Commands | None = None,
        *,
        read_voltage: float = 0.1,
        set_sign: int = 1,
        timeout: float = 5.0,
        library: str = "",
        **attributes: Any,
    ) -> None:
        """Open the instrument.

        Args:
            resource: its VISA address, as `GPIB0::17::INSTR`.
            commands: its texts.
            read_voltage: [V].
            set_sign: -1 where negative voltages at the cell's terminals SET it.
            timeout: [s] until an answer that does not come is an error.
            library: of VISA, as `@py` or `@sim`; the one that is installed by default.
            attributes: of pyvisa's resource, as read_termination.

        Raises:
            ImportError: pyvisa is missing.
        """
        import pyvisa

        self.commands, self.read_voltage, self.set_sign = commands or Commands(), read_voltage, set_sign
        self.instrument: Any = pyvisa.ResourceManager(library).open_resource(
            resource, timeout=round(timeout * 1e3), **attributes
        )

    def pulse(self, cells: np.ndarray, amplitude: np.ndarray, width: np.ndarray, *gate: np.ndarray) -> None:
        """One pulse on each of `cells`, in turn."""
        if bool(gate) != ("{gate" in "".join(self.commands.pulse)):
            raise BenchError(
                f"the texts of a pulse are {self.commands.pulse}: with {{gate}} the policy has to choose a gate, "
                "without it must have none to choose"
            )
        for cell, volts, seconds, *gates in zip(
            *(part.tolist() for part in (cells, amplitude, width, *gate)), strict=True
        ):
            own = dict(zip(("gate",), gates, strict=False))
            self._at(cell, self.commands.pulse, amplitude=self.set_sign * volts, width=seconds, **own)

    def read(self, cells: np.ndarray) -> np.ndarray:
        """Conductances (n,) [S], in turn."""
        query = self.commands.query
        read = [self._at(cell, self.commands.read, query, voltage=self.read_voltage) for cell in cells.tolist()]
        return np.array(read) / self.read_voltage

    def off(self) -> None:
        """Output off, matrix open."""
        for text in self.commands.off:
            self.instrument.write(text)

    def close(self) -> None:
        """Let go of the instrument, its output off."""
        try:
            self.off()
        finally:
            self.instrument.close()

    def _at(self, cell: int, texts: tuple[str, ...], query: str = "", **numbers: float) -> float:
        """The answer of a cell to some texts; the output is off again whatever happens.

        Raises:
            BenchError: no answer, no number, or an error that the instrument reports.
        """
        answer = "nan"
        try:
            try:
                for text in (*self.commands.select, *texts):
                    self.instrument.write(text.format(cell=cell, **numbers))
                if query:
                    answer = self.instrument.query(query)
                elif self.commands.complete:
                    self.instrument.query(self.commands.complete)
            finally:
                self.off()
            said = self.instrument.query(self.commands.errors).strip() if self.commands.errors else "0"
            if not said.lstrip("+").startswith("0"):
                raise BenchError(f"cell {cell}: the instrument reports {said}")
            return float(answer)
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(f"cell {cell}: {type(error).__name__}: {error}") from error
