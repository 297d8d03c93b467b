"""`memenv fit`: from a lab's pulse measurements to a device record, with a report and a picture of the fit."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from memenv.devices.records import to_json
from memenv.experiments.options import option, parse
from memenv.experiments.runs import OutputOptions, check_picture, new_file
from memenv.files import write_whole
from memenv.fitting.headers import READINGS
from memenv.fitting.marks import DECIMALS
from memenv.fitting.pulse_data import ORDERS, PulseData
from memenv.fitting.trains import fit, read_pulses


@dataclass(frozen=True, kw_only=True)
class FitConfig(OutputOptions):
    """Fit a device record to pulse trains (text, .xlsx) or to measured dG tables (.npz).

    Example: memenv fit pulses.csv -o mine.json --plot fit.png
    """

    data: tuple[Path, ...] = option(distinct=True, help="files of trains, or one .npz of tables", positional=True)
    out: Path = option(Path("device.json"), help="the record's file", short="o")
    plot: Path | None = option(None, help="draw the fit into this file; its ending is the format")
    name: str | None = option(None, help="the device's name [the record's file name]")
    source: str = option("", help="where the data come from, kept in the record")
    quantity: str | None = option(None, help="what the reads are, if the header does not tell", choices=READINGS)
    unit: str | None = option(None, help="of the reads, as uS, kOhm or nA, in place of the header's")
    read: str = option("after", help="whether a row's read follows its pulse or precedes it", choices=ORDERS)
    decimal: str | None = option(None, help="what is decimal, where 1,234 does not tell", choices=DECIMALS)
    read_voltage: float | None = option(None, help="[V] at which currents were read [as the file tells, else 0.1]")
    g_min: float | None = option(None, help="[S] conductance at x = 0 [fitted; the least read if no train rests]")
    g_max: float | None = option(None, help="[S] conductance at x = 1 [fitted; the largest read if no train rests]")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(FitConfig, arguments, "memenv fit")
    if config.plot:
        check_picture(config.plot)
        if config.plot.resolve() == config.out.resolve():
            raise ValueError(f"{config.out} is to be the record (--out) and its picture (--plot): name two files")
    with ExitStack() as places:
        for path in (config.out, config.plot) if config.plot else (config.out,):
            places.enter_context(new_file(path, config.overwrite))
        stated = {name: getattr(config, name) for name in ("read_voltage", "quantity", "unit", "read", "decimal")}
        data = read_pulses(*config.data, **stated)
        if isinstance(data, PulseData):
            print(*data.understood, f"Understood: {data.summary()}", sep="\n", file=sys.stderr, flush=True)
        name = config.name or config.out.stem
        found = fit(data, name=name, source=config.source, g_min=config.g_min, g_max=config.g_max)
        print(found.report())
        write_whole(config.out, to_json(found.device))
        print(f"written: {config.out}")
        if config.plot:
            from memenv.fitting.plots import plot

            plot(found, data, config.plot)
            print(f"written: {config.plot}")
