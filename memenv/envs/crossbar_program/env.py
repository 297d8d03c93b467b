"""`memenv/CrossbarProgram-v0`: the environments in which an array is programmed, and their manual."""

from typing import Any

from gymnasium.vector import AutoresetMode

from memenv.engine import Engine
from memenv.envs.crossbar_program.render import maps_image, maps_text
from memenv.envs.crossbar_program.task import CrossbarProgram
from memenv.envs.shells import TaskEnv, TaskVectorEnv
from memenv.envs.variants import arguments


class CrossbarProgramEnv(TaskEnv):
    """Bring an array of unknown cells to a target matrix of conductances, with few pulses and little time and energy.

    Description:
        Every episode fabricates a new array (`memenv.Crossbar`) of `rows` x `cols` cells of `device`: each cell has
        step sizes, thresholds and bounds of its own, not observed, and some are stuck. In each step the agent asks for
        pulses; the write scheme disturbs neighbours (V/2, V/3), lines may share pulses, wires drop voltage. Then the
        cells that were pulsed are read, with noise; with objective="product" the array also multiplies `inputs`.
        Conductances are given as x = (G - g_min) / (g_max - g_min) of the nominal device, "of the range".

    Action space:
        action="cells": Box(-1, 1, (rows, cols, 2), float32), with `width`, and for measured tables, (rows, cols, 1).

            index  component  meaning
            0      signal     magnitude below 0.1: no pulse; else > 0 SET (raises G), < 0 RESET (lowers G), amplitude
                              linear from the driver's least [V] at 0.1 to its largest [V] at 1
            1      log-width  width [s], logarithmic from the driver's shortest at -1 to its longest at 1

        With writing="rows" or "columns" the pulses of a line are grouped into operations as `Crossbar.plan` says, and a
        cell gets its group's mean pulse. A measured table of pulses (.npz) knows only the polarity.

        action="lines": MultiDiscrete([lines, pulses, 2, ..., 2]), one operation: the line (a row; a column with
        writing="columns"), a pulse from the menu, and for each cell of the line whether it is enabled. The menu has
        first all SETs from weak to strong, then all RESETs, each amplitude with all widths from short to long: as many
        as `crossbar.levels` says, (8, 3). All enabled cells get that pulse: at once with writing="rows" or "columns",
        one after another with writing="cells". A flat MultiDiscrete is what stable-baselines3 takes; masks for
        MaskablePPO stand in info["action_mask"] and are returned by `action_masks()`: lines, and places on them,
        without an open cell are masked.

        A cell that got `max_pulses` pulses gets no more. `task.actions.encode` makes actions of volts and seconds.
        Numbers beyond -1 to 1 are clipped; NaN, and a place outside a menu, raise `TaskError`.

    Observation space:
        Dict. Maps are flat, (rows * cols,) in C order, as stable-baselines3 wants vectors; `task.view` turns
        observations (arrays, ...) into maps (arrays, rows, cols).

            key            shape   unit        meaning, range
            reading        cells   x           last read of the cell, -1 to 2, clipped there
            target         cells   x           0 to 1
            error          cells   tolerances  (reading - target) / tolerance, -3 to 3 in x, clipped there
            within         cells               0 or 1 (int8): that is -1 to 1
            open           cells               0 or 1 (int8): has pulses left and, with objective="cells", is not within
            pulses         cells   1           share of the cell's `max_pulses` that is spent
            budget         (1,)    1           share of the episode's steps that is left
            gradient       cells   tolerances  only with objective="product": the gradient of half the mean squared
                                               product error by the cell's conductance, scaled so that for independent
                                               random inputs it is the cell's error in the mean
            product_error  (cols,) tolerances  only with objective="product": root mean square error of each column's
                                               product, scaled so that independent errors of the cells keep their size

    Rewards:
        The sum of named terms, each also in info as "reward/<name>"; differences sum to what an episode achieved.

            name              value in a step
            pulses            -weight_pulses times the mean number of pulses of the cells
            acceptance        objective="cells": weight_acceptance times the growth of the share of cells within
            false_acceptance  objective="cells": -weight_false_acceptance times the growth of the share of cells that
                              are within by their last read and not in truth (disturbed later, read noise, IR drop)
            product           objective="product": weight_product times the reduction of the product error [x]
            accuracy          weight_accuracy times the reduction of the mean |reading - target| [x]; only with a weight
            energy            -weight_energy [1/J] times energy of pulses, half-select pulses, reads and products; only
                              with a weight
            latency           -weight_latency [1/s] times duration of operations, reads and products; only with a weight

    Starting state:
        States uniform between each cell's own bounds, targets uniform in `target_range`, rested, all cells read once
        and (objective="product") one product: these cost nothing.

    Episode end:
        Terminated, after a step, when the objective is reached (all cells within by their last read; product error
        within the tolerance), when no cell is open, or when the steps are spent: `max_pulses`, with action="lines"
        times the lines. Never truncated, unless `max_episode_steps` is passed to `gym.make` or `gym.make_vec`.

    Info:
            key                unit  meaning
            true_conductance   S     (rows, cols) without read noise
            true_error         x     root mean square over the cells, of these
            is_success               the objective is reached
            accepted           1     share of the cells within the tolerance by their last read
            false_acceptances  1     share of the cells that are so by that read alone
            pulses             1     in the episode so far
            energy             J     in the episode so far
            latency            s     in the episode so far
            product_error      x     only with objective="product": root mean square over inputs and columns
            action_mask              (sum of nvec,) bool, only with action="lines"
            reward/<name>            the terms of the last reward, zero at the start

    Reset options:
        key        meaning
        chip_seed  whole number: the array is fabricated from it, whatever the seed; noise, start and target are not
                   (of a batch, environment i takes chip_seed + i)
        start      conductances [S] to start from (a cell that cannot hold one starts at its nearest bound)
        target     [S]

        start and target are a matrix (rows, cols) or one number for all cells, between g_min and g_max of every device;
        the vector environment takes (num_envs, rows, cols), too, and "reset_mask" (num_envs,) bool.

    Arguments:
        device: name of a preset (see `memenv devices`), path of a record (.json) or of a measured table (.npz), a
            `Device`, or a list of those, from which every cell's device is drawn.
        rows, cols: of the array; scheme: "1T1R", "V/2" or "V/3"; writing: "cells", "rows" or "columns".
        crossbar: a `memenv.Crossbar` in place of these five: with wires, converters, levels, correlations.
        objective: "cells" or "product"; action: "cells" or "lines"; width: [s] of all pulses, in place of a choice.
        tolerance: [x] half-width of the accepted band, and the product error that is accepted.
        max_pulses: that a cell may get; sets the steps of an episode.
        verify: "pulsed" reads the cells that got a pulse, "all" all of them (what half-select pulses did shows only
            so), "none", with objective="product", reads nothing: programming by gradients of the product alone.
        inputs: of the product: so many in each step, uniform between plus and minus the read voltage (from 0 if the DAC
            has one sign), or a matrix (n, rows) [V].
        target_range: of x.
        weight_pulses, weight_energy, weight_latency, weight_accuracy, weight_acceptance, weight_false_acceptance,
            weight_product: see Rewards.
        engine: "auto", "numpy" or "numba", see `TaskVectorEnv`.
        render_mode: "rgb_array" (maps; needs matplotlib) or "ansi".
        variant: the registered id whose fixed arguments are taken, such as "CrossbarProgramLines".

    Version history:
        v0: first version.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        engine: str | Engine = "auto",
        variant: str | None = None,
        **task: Any,
    ) -> None:
        own = CrossbarProgram(**arguments("CrossbarProgram", variant, task))
        super().__init__(own, render_mode, maps_image, maps_text, engine)


class CrossbarProgramVectorEnv(TaskVectorEnv):
    """`CrossbarProgramEnv` natively batched, what `gym.make_vec("memenv/CrossbarProgram-v0")` makes: `TaskVectorEnv`.

    What is compiled: a pulse for every cell, objective="cells", 1T1R without wires, and parametric devices or lists of
    them.
    """

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        engine: str | Engine = "auto",
        render_mode: str | None = None,
        variant: str | None = None,
        **task: Any,
    ) -> None:
        own = CrossbarProgram(**arguments("CrossbarProgram", variant, task))
        how = autoreset_mode, max_episode_steps, engine, render_mode
        super().__init__(own, num_envs, *how, maps_image, maps_text)
