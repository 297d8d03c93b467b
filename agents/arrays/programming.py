"""`memenv program`: a matrix of weights into crossbars, tile by tile; what is finished survives an interruption."""

import dataclasses
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.arrays import tiles
from agents.arrays.matrix_files import load_inputs, load_weights
from agents.arrays.product_feedback import METHODS
from agents.arrays.pulse_list import Step, header, pulse_lines
from agents.arrays.report import figures, maps, page
from agents.arrays.tiles import CELLS_ALONE, Programmer, Tile, TileResult, joined
from agents.arrays.writing import PASSES
from agents.by_level import LevelOptions
from agents.evaluation import EVALUATION
from agents.library import load_policy
from agents.tuned import shipped_or_tuned
from agents.tuning import TRIALS_HELP, by_generation, priced
from memenv.bounds import MANY, MOST, MOST_SEED
from memenv.circuits.solver import Wires
from memenv.crossbars.converters import Converter
from memenv.crossbars.crossbar import WRITING, Crossbar
from memenv.crossbars.encoding import KINDS, Encoding
from memenv.crossbars.memory_budget import FEW, check_room
from memenv.crossbars.schemes import SCHEMES
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments import web_page
from memenv.experiments.kept import in_files
from memenv.experiments.options import option, parse
from memenv.experiments.parallel import Finished, WorkerOptions, keep, workers
from memenv.experiments.reporting import rendered, uncertain
from memenv.experiments.runs import RECORD, RunOptions, begun, check_picture, command_line
from memenv.files import write_whole

MAPS = ("asked", "target", "conductance", "pulses", "energy", "accepted", "failed", "outside", "openings")
OBJECTIVES = (CELLS_ALONE, *METHODS)
FILES = ("conductances.npz", "report.json", "report.md", "maps.png", "report.html")
TILES = "tiles/tile_*.npz"
TILE_PULSES = "tiles/tile_*.csv"
PACKAGES = ("memenv", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class ProgramConfig(LevelOptions, RunOptions, WorkerOptions):
    """Program a matrix of weights into crossbars, as many as it takes.

    Example: memenv program --weights W.npy --device threshold --controller secant --out programmed
    """

    weights: Path = option(help="(inputs, outputs): an .npy file, or a .pt file with a tensor or a state dict")
    key: str | None = option(None, help="which entry of the state dict [its only matrix]")
    transpose: bool = option(False, help="the matrix is (outputs, inputs), as torch.nn.Linear keeps it")
    inputs: Path | None = option(None, help="(samples, inputs) in any unit, .npy: products are judged on these")
    objective: str = option(
        "cells",
        choices=OBJECTIVES,
        help="each cell is aimed at, or products with half of --inputs, judged on half: by feedback (product) or as "
        "its opponents do (agents/arrays/product_feedback.py)",
    )
    device: str = option("threshold", help="a name, a .json record or a .npz table")
    rows: int = option(64, bounds=(1, MANY), help="lines of an array that are driven: inputs")
    cols: int = option(64, bounds=(1, MANY), help="lines of an array that are sensed: a pair takes two")
    scheme: str = option("1T1R", choices=tuple(SCHEMES), help="what cells see that are not written")
    writing: str = option("rows", choices=WRITING, help="cells that are written together")
    levels: tuple[int, int] = option(
        (8, 3), bounds=(1, 10_000), help="amplitudes of a polarity, and widths, that a line distinguishes"
    )
    wires: float = option(0.0, bounds=(0.0, 1e9), help="resistance of a line from one cell to the next [ohm]")
    dac_bits: int = option(0, bounds=(0, 24), help="of the voltages of the products that are judged; 0 = not rounded")
    adc_bits: int = option(0, bounds=(0, 24), help="of their currents; 0 = not rounded")
    adc_range: float = option(0.25, help="full scale of that converter, part of the largest current of a column")
    encoding: str = option("pairs", choices=KINDS, help="weights as pairs of cells, or against a reference column")
    span: tuple[float, ...] = option((0.1, 0.9), help="part of the device's range that weights use")
    spares: int = option(
        0, bounds=(0, MANY), help="further pairs (or columns) of an array, for outputs that their own serve badly"
    )
    controller: str = option("generalist", help="a controller, a shipped policy or the path of one")
    tolerance: float = option(
        0.02, bounds=(1e-9, 1.0), help="half-width of a cell's target band, fraction of the range"
    )
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget of a cell in each verify pass")
    passes: int = option(PASSES, bounds=(0, MANY), help="verify passes after the first, for cells out of tolerance")
    trials: int | None = option(None, bounds=(1, MANY), help=TRIALS_HELP)
    products: int = option(256, bounds=(1, MOST), help="random inputs on which products are judged without --inputs")
    pulses: str | None = option(None, help="also write every pulse of every cell, in order, to this .csv in the folder")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of chips, noise, tuning and inputs")
    out: Path = option(Path("programmed"), help="folder of conductances.npz, report.json, .md, .html, maps.png, tiles/")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(ProgramConfig, arguments, "memenv program")
    program(config, command_line("memenv program", arguments))
    print((config.out / "report.md").read_text(encoding="utf-8"))
    print(f"in {config.out}: {', '.join((*FILES, *_pulse_file(config)))}")


def program(config: ProgramConfig, command: str = "") -> dict[str, Any]:
    """Program the weights of a file and write the files of `config.out`; the figures of report.json.

    Raises:
        ValueError: weights, settings or a folder that cannot be used; nothing is written then.
    """
    check_picture()
    weights = load_weights(config.weights, config.key)
    matrix = weights.T if config.transpose else weights
    inputs = None if config.inputs is None else load_inputs(config.inputs, len(matrix))
    programmer = build(config, matrix, inputs)
    programmer.check_memory()
    place = config.out / RECORD
    files = (*FILES, *_pulse_file(config), TILES, TILE_PULSES)
    with (
        workers(config.jobs, config.cluster, PACKAGES) as finished,
        begun(place, config, command=command, packages=PACKAGES, files=files, checkpoint=TILES) as run,
    ):
        tuned = shipped_or_tuned(programmer.policy, config.trials, config.seed, by_generation(run.kept.of("tuning")))
        programmer, parameters = dataclasses.replace(programmer, policy=tuned.policy), tuned.parameters
        results = _program_tiles(programmer, config, finished)
        found = figures(programmer, results)
        if not run.again:
            record = run.record | {"parameters": parameters}
            text = page(found, record["config"], command) + uncertain([programmer.crossbar.device])
            figure = maps(programmer, results)
            contents: tuple[str | bytes, ...] = (
                _arrays(programmer, results),
                json.dumps(record | {"report": found}, indent=2) + "\n",
                text,
                rendered(figure),
                web_page.page(text, {"Maps of the cells": figure}, record),
            )
            parts = (_tile_file(config, tile).with_suffix(".csv") for tile in programmer.tiles)
            tables = {
                name: header(_gate(programmer)) + "".join(part.read_text() for part in parts)
                for name in _pulse_file(config)
            }
            run.write(dict(zip(FILES, contents, strict=True)) | tables, parameters=parameters, complete=True)
    return found


def build(config: ProgramConfig, weights: np.ndarray, inputs: np.ndarray | None = None) -> Programmer:
    """A programmer of weights (inputs, outputs), not tuned; `inputs` (samples, inputs) are those of `config.inputs`.

    Raises:
        ValueError: an impossible setting.
    """
    if not 0 < config.adc_range <= 1:
        raise ValueError(
            f"adc_range is {config.adc_range}, allowed is a part > 0 and <= 1 of a column's largest current"
        )
    if config.pulses is not None and (Path(config.pulses).name != config.pulses or not config.pulses.endswith(".csv")):
        raise ValueError(f"pulses is {config.pulses!r}, the name of a .csv in the folder of --out is needed")
    if config.pulses and config.objective != CELLS_ALONE:
        raise ValueError(f"pulses is {config.pulses!r} with objective {config.objective!r}: allowed is {CELLS_ALONE!r}")
    if len(config.span) != 2:
        raise ValueError(f"span is {','.join(map(str, config.span))}, two numbers are needed")
    product = config.objective != CELLS_ALONE
    if product and (inputs is None or len(inputs) < 2):
        raise ValueError(
            f"objective is {config.objective!r} with {0 if inputs is None else len(inputs)} inputs: give --inputs with "
            "two samples or more, every other one to learn from"
        )
    if product and inputs is not None and not (inputs[::2].any() and inputs[1::2].any()):
        raise ValueError(f"{config.inputs}: every other input is zero; each half is needed, to learn from and to judge")
    if config.target_levels and config.objective != CELLS_ALONE:
        raise ValueError(f"target_levels with objective {config.objective!r}: allowed is {CELLS_ALONE!r}")
    own = {name: getattr(config, name) for name in ("device", "tolerance", "max_pulses")}
    task = priced(WriteVerify(**own, **config.level_arguments(), give_up=True), None)
    task.check_gate("programming an array")
    low, high = config.span
    volts = task.device.read.voltage
    largest = config.rows * task.device.g_max * volts
    crossbar = Crossbar(
        device=task.device,
        rows=config.rows,
        cols=config.cols,
        scheme=config.scheme,
        writing=config.writing,
        levels=config.levels,
        wires=Wires(row_segment=config.wires, col_segment=config.wires) if config.wires else None,
        dac=Converter(bits=config.dac_bits, full_scale=volts),
        adc=Converter(bits=config.adc_bits, full_scale=config.adc_range * largest if config.adc_bits else 1.0),
    )
    rng = np.random.default_rng((EVALUATION, config.seed))
    if inputs is None:
        if config.products > FEW:
            needed = 8 * config.products * (2 * len(weights) + 4 * weights.shape[1])
            check_room(needed, f"products is {config.products:,}: so many of them", "judge on fewer")
        voltages = rng.uniform(-volts, volts, (config.products, len(weights)))
    else:
        voltages = volts / np.abs(inputs).max() * (inputs[1::2] if product else inputs)
    return Programmer(
        weights=weights,
        encoding=Encoding.of(weights, task.device, kind=config.encoding, span=(low, high), spares=config.spares),
        crossbar=crossbar,
        task=task,
        policy=load_policy(config.controller, task),
        passes=config.passes,
        voltages=voltages,
        examples=inputs[::2] if product and inputs is not None else None,
        objective=config.objective,
        seed=config.seed,
    )


def _pulse_file(config: ProgramConfig) -> tuple[str, ...]:
    """The name of the file of pulses, if there is to be one."""
    return () if config.pulses is None else (config.pulses,)


def _tile_file(config: ProgramConfig, tile: Tile) -> Path:
    return config.out / "tiles" / tile.name


def _program_tiles(programmer: Programmer, config: ProgramConfig, finished: Finished) -> list[TileResult]:
    """All tiles in order, from their files where they are finished."""

    def load(path: Path, key: tuple[int, int]) -> TileResult:
        result, listed = tiles.load(path, programmer.sizes(by_key[key])), path.with_suffix(".csv")
        if config.pulses and not (listed.is_file() and listed.read_bytes().count(b"\n") == result.pulses.sum()):
            raise ValueError(f"{listed} does not hold the pulses of its array")
        return result

    def save(path: Path, _: tuple[int, int], found: tuple[TileResult, str]) -> None:
        result, lines = found
        if config.pulses:
            write_whole(path.with_suffix(".csv"), lines)
        tiles.save(path, result)

    by_key = {(tile.row, tile.col): tile for tile in programmer.tiles}
    kept = in_files({key: _tile_file(config, tile) for key, tile in by_key.items()}, load, save)
    pieces = {
        key: partial(_programmed, programmer, tile, config.pulses is not None, config.alone)
        for key, tile in by_key.items()
    }
    found = dict(keep(kept, finished, pieces, "array"))
    return [found[key] for key in by_key]


def _programmed(programmer: Programmer, tile: Tile, listed: bool, shown: bool) -> tuple[TileResult, str]:
    """The result of a tile, whose progress is `shown`, and, if they are to be `listed`, the lines of its pulses."""
    steps, crossbar = list[Step](), programmer.array(tile)
    all_cells = crossbar.rows * crossbar.cols
    disable = None if shown else True
    with tqdm(total=all_cells, unit="cell", unit_scale=True, leave=False, disable=disable, file=sys.stderr) as bar:

        def on_step(left: int) -> None:
            bar.update(max(all_cells - left - bar.n, 0))

        result = programmer.program(tile, on_step, (lambda *step: steps.append(step)) if listed else None)
    return result, pulse_lines((tile.row, tile.col), crossbar.cols, steps, _gate(programmer))


def _gate(programmer: Programmer) -> float | None:
    """[V] where the gates of all cells are held, if they have any."""
    record = programmer.crossbar.device.record
    return None if record is None or record.gate is None else float(record.gate.high)


def _arrays(programmer: Programmer, results: list[TileResult]) -> bytes:
    """The .npz of what every cell and every weight became."""
    parts: dict[str, Any] = {
        name: joined(programmer.tiles, [getattr(result, name) for result in results]) for name in (*MAPS, "realised")
    }
    encoding, buffer = programmer.encoding, io.BytesIO()
    np.savez_compressed(
        buffer,
        **parts,
        weights=programmer.weights,
        scale=encoding.scale,
        low=encoding.low,
        high=encoding.high,
    )
    return buffer.getvalue()
