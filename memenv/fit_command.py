"""`memenv fit`: from a lab's pulse measurements to a device record, with a report and a picture of the fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memenv.command import Options, option, parse, write_whole
from memenv.fit import fit, read_data
from memenv.records import to_json


@dataclass(frozen=True, kw_only=True)
class FitConfig(Options):
    """Fit a device record to pulse trains (CSV) or to measured dG tables (.npz)."""

    data: tuple[Path, ...] = option(help="CSV files of trains, or one .npz of tables", positional=True)
    out: Path = option(Path("device.json"), help="the record's file", short="o")
    plot: Path | None = option(None, help="draw the fit into this PNG file")
    name: str | None = option(None, help="the device's name [the record's file name]")
    source: str = option("", help="where the data come from, kept in the record")
    read_voltage: float = option(0.1, help="[V] at which the currents of a matrix CSV were read")
    g_min: float | None = option(None, help="[S] conductance at x = 0 [least read]")
    g_max: float | None = option(None, help="[S] conductance at x = 1 [largest read]")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(FitConfig, arguments, "memenv fit")
    data = read_data(*config.data, read_voltage=config.read_voltage)
    found = fit(data, name=config.name or config.out.stem, source=config.source, g_min=config.g_min, g_max=config.g_max)
    print(found.report())
    if config.plot:
        from memenv.fit_plot import plot

        plot(found, data, config.plot)
        print(f"written: {config.plot}")
    write_whole(config.out, to_json(found.device))
    print(f"written: {config.out}")
