"""The environments: tasks (pure) and the two Gymnasium shells that run them; importing `memenv` registers their ids."""

from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from memenv.engine import Engine
from memenv.envs.actions import TaskError
from memenv.envs.array_maps import maps_image, maps_text
from memenv.envs.array_observation import ArrayView
from memenv.envs.cell_observation import View
from memenv.envs.crossbar_program import CrossbarProgram
from memenv.envs.few_shot import FewShot
from memenv.envs.few_shot_observation import LearningView
from memenv.envs.few_shot_pictures import learning_image, learning_text
from memenv.envs.shells import TaskEnv, TaskVectorEnv
from memenv.envs.task import Task
from memenv.envs.write_verify import WriteVerify

__all__ = [
    "ArrayView",
    "CrossbarProgram",
    "CrossbarProgramEnv",
    "CrossbarProgramVectorEnv",
    "FewShot",
    "FewShotEnv",
    "FewShotVectorEnv",
    "LearningView",
    "Task",
    "TaskEnv",
    "TaskError",
    "TaskVectorEnv",
    "View",
    "WriteVerify",
    "WriteVerifyEnv",
    "WriteVerifyVectorEnv",
]


class WriteVerifyEnv(TaskEnv):
    """Program one cell of an unknown chip to a target conductance with as few pulses as possible.

    Description:
        Every episode fabricates a new cell of `device`: its step sizes, thresholds and bounds are its own and not
        observed, and some cells are stuck. The agent applies programming pulses; after each pulse the cell is read, and
        the read is noisy. The cell is accepted as soon as a read (and `confirm_reads` further ones) lies within the
        tolerance of the target. Conductances are given as x = (G - g_min) / (g_max - g_min), where g_min and g_max are
        those of the nominal device: a cell whose own range is smaller or shifted cannot reach every target.

    Action space:
        action="continuous": Box(-1, 1, (3,), float32), with give_up=False (2,).

            index  component  meaning
            0      signal     sign: > 0 SET (raises G), <= 0 RESET (lowers G); magnitude: amplitude, linear from the
                              driver's least [V] at 0 to its largest [V] at 1, each polarity with its own
            1      log-width  width [s], logarithmic from the driver's shortest at -1 to its longest at 1
            2      give up    > 0.9: no pulse, the cell is given up

        action="discrete": Discrete(2 * amplitudes * widths + 1), with give_up=False one fewer. `levels` = (amplitudes,
        widths) sets the menu: first all SET pulses from weak to strong, then all RESET pulses from weak to strong, each
        amplitude with all widths from short to long; the last index gives the cell up. Amplitudes divide the driver's
        range above its least into equal parts, widths its range in logarithm without both ends. A mask of the sensible
        actions stands in `info["action_mask"]` and is returned by `action_masks()`: pulses that drive the last read
        away from the target are masked, and giving up before the first pulse.

        A measured table of pulses (.npz) knows only the polarity: of a continuous action the sign counts, and the menu
        is SET (0), RESET (1), give up (2). `task.encode` and `task.decode` convert between actions and volts and
        seconds. A step with an action that is outside the space or not finite raises `TaskError`.

    Observation space:
        Box(float32) of 6 numbers (7 with rounds > 1) for each of the last `history` steps, the newest last; at the
        start the first is repeated.

            index  feature      unit           range
            0      last read    x              -1 to 2, clipped there
            1      target       x              0 to 1
            2      error        tolerances     (read - target) / tolerance, -3 to 3 in x, clipped there
            3      last signal  1              -1 to 1 as in the action, 0 before the first pulse
            4      last width   1              -1 to 1 as in the action, 0 before the first pulse
            5      budget       1              0 to 1, share of `max_pulses` left for this target
            6      rounds       1              0 to 1, targets still to come / (rounds - 1); only with rounds > 1

        With a list of devices, x refers to the range of the device that the cell was drawn from. `task.view` turns
        observations into a record in volts, seconds and tolerances.

    Rewards:
        The sum of named terms, each also in info as "reward/<name>":

            name              value in a step
            pulses            -weight_pulses for a pulse (giving up is free)
            acceptance        +weight_acceptance for an acceptance
            false_acceptance  -weight_false_acceptance for an acceptance whose true conductance is out of tolerance
            energy            -weight_energy [1/J] times energy of pulse and reads; only with weight_energy > 0
            latency           -weight_latency [1/s] times duration of pulse and reads; only with weight_latency > 0

    Starting state:
        The state is uniform between the cell's own bounds, rested and read once (that read costs nothing). The target
        is uniform in `target_range`, at least two tolerances away from that read.

    Episode end:
        Terminated when the last of the `rounds` targets is accepted, when the cell is given up, or when `max_pulses`
        pulses have been spent on one target (the budget in the observation is then 0). With rounds > 1 an acceptance
        before the last sets a new target at least two tolerances away from the last read, and a new budget; cell and
        last pulse stay. Never truncated, unless `max_episode_steps` is passed to `gym.make` or `gym.make_vec`.

    Info:
            key                unit  meaning
            true_conductance   S     without read noise, after the step
            true_error         S     of that, to the target that the step was made for
            is_success               the last target was accepted
            pulses             1     in the episode so far
            energy             J     of pulses and reads in the episode so far
            latency            s     of pulses and reads in the episode so far
            false_acceptances  1     in the episode so far
            action_mask              (actions,) bool, only with action="discrete"
            reward/<name>            the terms of the last reward, only after a step

    Reset options:
            key        meaning
            chip_seed  whole number: the cell is fabricated from it, whatever the seed; noise, start and target are not
            start      conductance [S] to start from (a cell that cannot hold it starts at its nearest bound)
            target     first target [S]

        start and target must lie between g_min and g_max; with a list of devices, of every device. The vector
        environment takes one number for all cells or one for each, and "reset_mask" (cells,) bool.

    Arguments:
        device: name of a preset (see `memenv devices`), path of a record (.json) or of a measured table (.npz), a
            `Device`, or a list of those, from which every cell's device is drawn.
        tolerance: half-width of the accepted band; tolerance_unit: "range" (of g_max - g_min) or "S".
        action: "continuous" or "discrete"; levels: amplitudes and widths of the menu, for each polarity.
        give_up: whether giving up is an action.
        max_pulses: budget for one target; confirm_reads: further reads before an acceptance.
        rounds: targets in an episode; history: steps in the observation; target_range: of x.
        weight_pulses, weight_energy, weight_latency, weight_acceptance, weight_false_acceptance: see Rewards.
        render_mode: "rgb_array" (needs matplotlib) or "ansi".

    Version history:
        v0: first version.
    """

    def __init__(self, render_mode: str | None = None, **task: Any) -> None:
        super().__init__(WriteVerify(**task), render_mode)


class WriteVerifyVectorEnv(TaskVectorEnv):
    """`WriteVerifyEnv` natively batched: what `gym.make_vec("memenv/WriteVerify-v0")` makes; see `TaskVectorEnv`.

    `engine="numba"` compiles a step, and the start of episodes, into a loop over cells each: of parametric devices and
    lists of them, with history=1 and confirm_reads=0.
    """

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        engine: str | Engine = "numpy",
        **task: Any,
    ) -> None:
        super().__init__(WriteVerify(**task), num_envs, autoreset_mode, max_episode_steps, engine)


class CrossbarProgramEnv(TaskEnv):
    """Bring an array of unknown cells to a target matrix of conductances, with few pulses and little time and energy.

    Description:
        Every episode fabricates a new array (`memenv.crossbar.Crossbar`) of `rows` x `cols` cells of `device`: each
        cell has step sizes, thresholds and bounds of its own, not observed, and some are stuck. In each step the agent
        asks for pulses; the write scheme disturbs neighbours (V/2, V/3), lines may share pulses, wires drop voltage.
        Then the cells that were pulsed are read, with noise; with objective="product" the array also multiplies
        `inputs`. Conductances are given as x = (G - g_min) / (g_max - g_min) of the nominal device, "of the range".

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

        A cell that got `max_pulses` pulses gets no more. `task.actions.encode` makes actions of volts and seconds. An
        action outside the space or not finite raises `TaskError`.

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
            reward/<name>            the terms of the last reward, only after a step

    Reset options:
        key        meaning
        chip_seed  whole number: the array is fabricated from it, whatever the seed; noise, start and target are not
        start      conductances [S] to start from (a cell that cannot hold one starts at its nearest bound)
        target     [S]

        start and target are a matrix (rows, cols) or one number for all cells, between g_min and g_max of every device;
        the vector environment takes (num_envs, rows, cols), too, and "reset_mask" (num_envs,) bool.

    Arguments:
        device: name of a preset (see `memenv devices`), path of a record (.json) or of a measured table (.npz), a
            `Device`, or a list of those, from which every cell's device is drawn.
        rows, cols: of the array; scheme: "1T1R", "V/2" or "V/3"; writing: "cells", "rows" or "columns".
        crossbar: a `memenv.crossbar.Crossbar` in place of these five: with wires, converters, levels, correlations.
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
        render_mode: "rgb_array" (maps; needs matplotlib) or "ansi".

    Version history:
        v0: first version.
    """

    def __init__(self, render_mode: str | None = None, **task: Any) -> None:
        super().__init__(CrossbarProgram(**task), render_mode, maps_image, maps_text)


class CrossbarProgramVectorEnv(TaskVectorEnv):
    """`CrossbarProgramEnv` natively batched, what `gym.make_vec("memenv/CrossbarProgram-v0")` makes: `TaskVectorEnv`.

    `engine="numba"` compiles a step, and the start of episodes: of a pulse for every cell, objective="cells", 1T1R
    without wires, and parametric devices or lists of them.
    """

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        engine: str | Engine = "numpy",
        **task: Any,
    ) -> None:
        super().__init__(CrossbarProgram(**task), num_envs, autoreset_mode, max_episode_steps, engine)


class FewShotEnv(TaskEnv):
    """Teach a network on an unknown chip new classes from a few examples, with few pulses.

    Description:
        Every episode is a task: `ways` classes of invented characters that no pretraining has seen, `shots` drawings of
        each to learn from (the support) and `queries` others to be judged by. The network starts from `init`, its
        adapting layers on a fresh chip: crossbars of differential pairs of `device`, whose step sizes and bounds are
        each cell's own and not observed; of several devices a chip is wholly of one, and neither the agent nor the
        circuits are told of which: these know each chip's range of conductances, and take its pulses for the mean of
        the listed devices (`memenv.synapses`). In each step the chip learns as chips do (`memenv.onchip`): it reads the
        support, forwards and back, turns the outer product of activations and errors into whole pulses, and gives
        them. The agent chooses how: how boldly, which pulses are not worth giving, from which examples, and when to
        stop.

    Action space:
        Box(-1, 1, (layers + 3,), float32); network="conv" has one layer, the head, "mlp" as many as it is deep. Zeros
        are a step at the initialisation's mean rates, from all examples.

            index       component  meaning
            0 ...       gain       of a layer: its rate is 30 to the power of this times the initialisation's mean rate;
                                   below -0.95 the layer gets no pulses
            layers      threshold  above 0: doses below twice this [pulses] are not given
            layers + 1  share      below 0: only the share 1 + this of the support teaches, at least one example: those
                                   with the largest errors
            layers + 2  stop       > 0.5: no more learning

        `task.encode` makes actions of gains, threshold, share and stop. An action outside the space or not finite
        raises `TaskError`.

    Observation space:
        Box(float32), 7 + 4 layers numbers; `task.view` turns observations into a record with plain units.

            index  feature      unit    range
            0      budget       1       0 to 1, share of the steps that is left
            1      loss         ln ways 0 to 10, mean cross-entropy of the support, from a read after the last step
            2      fall         ln ways -10 to 10, of the loss in the last step, 0 before the first
            3      support      1       0 to 1, share of the support that is right
            4      worst        ln ways 0 to 10, largest cross-entropy of a support example
            5      pulses       1       ln(1 + pulses for each device in the mean, so far)
            6      last pulses  1       the same of the last step
            then of every layer
                   gain         1       -1 to 1 as in the last action, 0 before the first
                   gradient     1       -1 to 1 for 1e-4 to 1, logarithmic: root mean square of the weights' gradient in
                                        the last step
                   limited      1       0 to 1, share of the devices of which more than max_pulses were wanted
                   saturated    1       0 to 1, share of the pulsed devices that ended at a bound or are stuck

    Rewards:
        The sum of named terms, each also in info as "reward/<name>"; differences sum to what an episode achieved.

            name      value in a step
            accuracy  weight_accuracy times the growth of the share of the queries that is right
            pulses    -weight_pulses times the mean number of pulses of the chip's devices
            energy    -weight_energy [1/J] times energy of pulses and of the reads that learning takes, not of those
                      that observations come from; only with a weight

    Starting state:
        Classes and drawings uniform over the glyphs of the split, the start's weights written and verified (with an
        error of 1 % of the range), support and queries read once: these cost nothing. The head starts at zero.

    Episode end:
        Terminated when the agent stops or after `max_steps` steps. Never truncated, unless `max_episode_steps` is
        passed to `gym.make` or `gym.make_vec`.

    Info:
            key            unit  meaning
            accuracy       1     share of the queries that is right, by a noisy read after the last step
            support_loss   1     mean cross-entropy of the support
            pulses         1     for each device in the mean, in the episode so far
            energy         J     in the episode so far
            reward/<name>        the terms of the last reward, only after a step

    Reset options:
        key        meaning
        chip_seed  whole number: the chip is fabricated from it, whatever the seed; noise and task are not

        The vector environment also takes "reset_mask" (num_envs,) bool.

    Arguments:
        device: name of a preset (see `memenv devices`), path of a record (.json) or of a measured table (.npz), a
            `Device`, or a list of those (parametric), of one of which each chip is.
        init: "random", "maml" (pretrained with ideal updates), "device-aware" (rates learnt through devices), or the
            path of a .npz that `memenv pretrain` wrote.
        network: "conv" (a fixed encoder, 64 features, and a head on the chip) or "mlp" (every layer on the chip).
        split: "train", or "test" with other classes: agents are trained on the one and judged on the other.
        characters: `memenv.fewshot.characters.Characters` in place of the glyphs, such as Omniglot's.
        ways, shots, queries: of a task; max_steps: of an episode.
        devices_per_weight: plus devices of a weight, and as many minus devices; pulsed: which learn ("both", "set",
            "reset", "plus"); max_pulses: at most per device and step; reads: averaged in each product; know_stuck:
            whether a test has found the cells that do not move, which then get no pulses.
        weight_accuracy, weight_pulses, weight_energy: see Rewards.
        render_mode: "rgb_array" (needs matplotlib) or "ansi".

    Version history:
        v0: first version.
    """

    def __init__(self, render_mode: str | None = None, **task: Any) -> None:
        super().__init__(FewShot(**task), render_mode, learning_image, learning_text)


class FewShotVectorEnv(TaskVectorEnv):
    """`FewShotEnv` natively batched: what `gym.make_vec("memenv/FewShot-v0")` makes; see `TaskVectorEnv`."""

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        **task: Any,
    ) -> None:
        super().__init__(FewShot(**task), num_envs, autoreset_mode, max_episode_steps)


def register() -> None:
    """Register memenv's ids with Gymnasium (once)."""
    for name in ("WriteVerify", "CrossbarProgram", "FewShot"):
        if f"memenv/{name}-v0" not in gym.registry:
            gym.register(
                f"memenv/{name}-v0",
                entry_point=f"memenv.envs:{name}Env",
                vector_entry_point=f"memenv.envs:{name}VectorEnv",
            )
