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
            0      signal     magnitude below 0.02: no pulse; else > 0 SET (raises G), < 0 RESET (lowers G), amplitude
                              linear from the driver's least [V] at 0.02 to its largest [V] at 1
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

        Cells that are not open get no pulse, whatever is asked. `task.actions.encode` makes actions of volts and
        seconds. Numbers beyond -1 to 1 are clipped; NaN, and a place outside a menu, raise `TaskError`.

    Observation space:
        Dict in [-1, 1]. Maps are flat, (rows * cols,) in C order, as stable-baselines3 wants vectors; `task.view` turns
        observations (arrays, ...) into maps (arrays, rows, cols) in the units below. Errors e in tolerances are shown
        as sign(e) ln(1 + |e|) / ln(1 + f) with f their farthest: a read at most 3 off its target in x, or what such
        errors of all cells make of a product (`memenv.envs.scales`).

            key            shape   shown in [-1, 1]
            reading        cells   last read of the cell, x from -1 to 2, clipped there
            target         cells   x from 0 to 1
            error          cells   (reading - target) / tolerance, logarithmic
            within         cells   0 or 1 (int8): |error| is at most one tolerance
            open           cells   0 or 1 (int8): has pulses left and, with objective="cells", is not within
            signal         cells   of the cell's last pulse, as in an action for cells; 0 before the first
            log_width      cells   of the cell's last pulse; not where all pulses have one width
            spent          cells   share of the cell's `max_pulses` that is spent, from 0 to 1
            budget         (1,)    share of the episode's steps that is left, from 0 to 1
            gradient       cells   only with objective="product": the gradient of half the mean squared product error by
                                   the cell's conductance, scaled so that for independent random inputs it is the cell's
                                   error in the mean; in tolerances, logarithmic
            product_error  (cols,) only with objective="product": root mean square error of each column's product,
                                   scaled so that independent errors of the cells keep their size; likewise

    Rewards:
        The sum of named terms, each also in info as "reward/<name>": means over the cells. What a cell contributed to
        the reward is in info["reward_map"], with reward_map=True. With objective="product" all cells are within when
        the product is, and their error is that of the product.

            name              value in a step
            pulses            -weight_pulses times the pulses of the cell
            acceptance        weight_acceptance as the cell comes within, minus that as it falls out
            false_acceptance  objective="cells": -weight_false_acceptance as the cell comes within by its last read and
                              not in truth (disturbed, read noise, IR drop), plus that as it ceases to be
            failure           -weight_failure (1 + d) if the episode ends and the cell is not within
            waiting           -weight_waiting / steps of an episode while the cell is not within
            shaping           weight_shaping times the growth of the potential -d (Ng, Harada and Russell 1999), 0 after
                              the end
            energy            -weight_energy [1/J] times energy of pulses, half-select pulses, reads and products of all
                              cells; only with a weight
            latency           -weight_latency [1/s] times duration of operations, reads and products; only with a weight

        d is the magnitude of the cell's error as shown, 0 within the tolerance.

    Starting state:
        States uniform between each cell's own bounds, targets uniform in `target_range`, rested, all cells read once
        and (objective="product") one product: these cost nothing.

    Episode end:
        Terminated, after a step, when the objective is reached (all cells within by their last read; product error
        within the tolerance), when no cell is open, or when the steps are spent: `max_pulses`, with action="lines"
        times the lines. `gym.make` and `gym.make_vec` truncate after the id's `max_episode_steps`, the steps of its own
        arguments: with larger `max_pulses`, or by lines, pass larger `max_episode_steps`, too (else it warns).

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
            reward_map               (rows, cols) what each cell contributed: the reward is the mean; only with
                                     reward_map=True
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
        target_range: of x; reward_map: whether info has one.
        weight_pulses, weight_acceptance, weight_false_acceptance, weight_failure, weight_waiting, weight_shaping,
            weight_energy, weight_latency: see Rewards.
        engine: "auto", "numpy" or "numba", see `TaskVectorEnv`.
        render_mode: "rgb_array" (maps; needs matplotlib) or "ansi".
        variant: the registered id whose fixed arguments are taken, such as "CrossbarProgramLines".

    Version history:
        v0: first version. Before the first release observations came into [-1, 1] and failure, waiting and shaping into
            the reward, in place of accuracy and product.
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
