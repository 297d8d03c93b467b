"""`memenv/WriteVerify-v0`: the environments in which one cell is programmed, and their manual."""

from typing import Any

from gymnasium.vector import AutoresetMode

from memenv.engine import Engine
from memenv.envs.shells import TaskEnv, TaskVectorEnv
from memenv.envs.variants import arguments
from memenv.envs.write_verify.render import trace_image, trace_text
from memenv.envs.write_verify.task import WriteVerify


class WriteVerifyEnv(TaskEnv):
    """Program one cell of an unknown chip to a target conductance with as few pulses as possible.

    Description:
        Every episode fabricates a new cell of `device`: its step sizes, thresholds and bounds are its own and not
        observed, and some cells are stuck. The agent applies programming pulses; after each pulse the cell is read, and
        the read is noisy. The cell is accepted as soon as a read (and `confirm_reads` further ones) lies within the
        tolerance of the target. Conductances are given as x = (G - g_min) / (g_max - g_min), where g_min and g_max are
        those of the nominal device: a cell whose own range is smaller or shifted cannot reach every target.

    Action space:
        action="continuous": Box(-1, 1, (3,), float32), with give_up=True (4,).

            index  component  meaning
            0      polarity   > 0 SET (raises G), <= 0 RESET (lowers G)
            1      amplitude  [V] linear from the driver's least at -1 to its largest at 1, each polarity with its own
            2      width      [s] logarithmic from the driver's shortest at -1 to its longest at 1
            3      give up    > 0.9: no pulse, the cell is given up; only with give_up=True

        action="discrete": Discrete(2 * amplitudes * widths), with give_up=True one more. `levels` = (amplitudes,
        widths) sets the menu: first all SET pulses from weak to strong, then all RESET pulses from weak to strong, each
        amplitude with all widths from short to long; the last index gives the cell up. Amplitudes divide the driver's
        range above its least into equal parts, widths its range in logarithm without both ends. A mask of the sensible
        actions stands in `info["action_mask"]` and is returned by `action_masks()`: pulses that drive the last read
        away from the target are masked, and giving up before the first pulse.

        A measured table of pulses (.npz) knows only the polarity: a continuous action has that component alone (and
        giving up), and the menu is SET (0), RESET (1), give up (2). `task.encode` and `task.decode` convert between
        actions and volts and seconds. Numbers beyond -1 to 1 are clipped; NaN, and a place outside the menu, raise
        `TaskError`.

    Observation space:
        Box(-1, 1, float32) of 7 numbers (8 with rounds > 1) for each of the last `history` steps, the newest last; at
        the start the first is repeated. Errors are on a symmetric logarithmic scale,
        symlog(e) = sign(e) ln(1 + |e|) / ln(1 + 3 / tolerance) with e in tolerances: they span decades, and the
        amplitude that a step needs grows with its logarithm.

            index  feature    -1 to 1 is
            0      last read  x = -1 to 2, clipped there
            1      target     x = 0 to 1
            2      error      symlog((read - target) / tolerance)
            3      response   symlog(change of the read by the last pulse / tolerance), 0 before the first pulse
            4      last pulse sign: its polarity; magnitude: its amplitude, 0 for the driver's least (and before the
                              first pulse), 1 for its largest
            5      last width as in the action, 0 before the first pulse
            6      budget     none to all of the `max_pulses` for this target are left
            7      rounds     none to rounds - 1 targets are still to come; only with rounds > 1

        A device whose gate is not held has its voltage, on the scale of the driver's, after the width of continuous
        actions and as the last number of each step (`Device.gate`).

        With a list of devices, x refers to the range of the device that the cell was drawn from. `task.view` turns
        observations into a record in volts, seconds and tolerances.

        goal=True: Dict of "observation", the features 3 to 6, and "achieved_goal" and "desired_goal", (1,) each, the
        last read and the target on the scale of feature 0. `compute_reward(achieved_goal, desired_goal, info)`, for one
        or many, is the reward: hindsight experience replay may put other goals in place of the desired ones.

    Rewards:
        The sum of named terms, each also in info as "reward/<name>":

            name              value in a step
            pulses            -weight_pulses for a pulse
            acceptance        +weight_acceptance for an acceptance
            false_acceptance  -weight_false_acceptance for an acceptance whose true conductance is out of tolerance
            failure           -weight_failure (1 + |error|) at an end without the last acceptance, by the budget or by
                              giving up, which saves the pulses that were left; error as observed
            shaping           +weight_shaping times the rise of the potential -|error|, as observed; the potential is 0
                              at the end. Potential-based (Ng, Harada, Russell, ICML 1999): without discounting it sums
                              to the first |error|, whatever is done, and no policy gets better than another by it
            energy            -weight_energy [1/J] times energy of pulse and reads; only with weight_energy > 0
            latency           -weight_latency [1/s] times duration of pulse and reads; only with weight_latency > 0

    Starting state:
        The state is uniform between the cell's own bounds, rested and read once (that read costs nothing). The target
        is uniform in `target_range`, at least two tolerances away from that read; with `target_levels` it is one of
        them in whose band that read is not.

    Episode end:
        Terminated when the last of the `rounds` targets is accepted, when the cell is given up, or when `max_pulses`
        pulses have been spent on one target (the budget in the observation is then 0). With rounds > 1 an acceptance
        before the last sets a new target at least two tolerances away from the last read, and a new budget; cell and
        last pulse stay. `gym.make` and `gym.make_vec` truncate after the id's `max_episode_steps`, the pulses that its
        own arguments allow: with larger `max_pulses` or `rounds`, pass larger `max_episode_steps`, too (else it warns).

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
            reward/<name>            the terms of the last reward, 0 at a reset
            cell/<name>              parameters of the cell as in a record, such as cell/set.dose, those that differ
                                     from cell to cell; only with privileged=True, for critics and beliefs

    Reset options:
            key        meaning
            chip_seed  whole number: the cell is fabricated from it, whatever the seed; noise, start and target are not
                       (of a batch, environment i takes chip_seed + i)
            start      conductance [S] to start from (a cell that cannot hold it starts at its nearest bound)
            target     first target [S]

        start and target must lie between g_min and g_max; with a list of devices, of every device. The vector
        environment takes one number for all cells or one for each, and "reset_mask" (cells,) bool.

    Arguments:
        device: name of a preset (see `memenv devices`), path of a record (.json) or of a measured table (.npz), a
            `Device`, an object of a class of your own that answers `CellModel`, or a list of the parametric ones, from
            which every cell's device is drawn.
        tolerance: half-width of the accepted band; tolerance_unit: "range" (of g_max - g_min) or "S".
        action: "continuous" or "discrete"; levels: amplitudes and widths of the menu, for each polarity.
        give_up: whether giving up is an action.
        goal: observations with goals; the terms that do not follow from them must have weight 0, as in
            memenv/WriteVerifyGoal-v0. privileged: the cell's parameters in info.
        max_pulses: budget for one target; confirm_reads: further reads before an acceptance.
        rounds: targets in an episode; history: steps in the observation; target_range: of x.
        target_levels: a number of levels, evenly spread over `target_range`; a list of targets (of x, in siemens with
            tolerance_unit="S"), or a list of (low, target, high), with None for an open end. A cell is accepted when it
            reads inside the band of its level; the tolerance of observations is the least distance of a target to an
            end of its band. bands: of levels that are not given theirs: the tolerance about the target, of
            "conductance"; of "resistance", as a part of the resistances of `target_range`, over which levels are evenly
            spread then; or "relative", a part of the target.
        weight_pulses, weight_energy, weight_latency, weight_acceptance, weight_false_acceptance, weight_failure,
            weight_shaping: see Rewards.
        variant: the registered id whose fixed arguments are taken, such as "WriteVerifyDiscrete".
        engine: "auto", "numpy" or "numba", see `TaskVectorEnv`; render_mode: "rgb_array" (needs matplotlib) or "ansi".

    Version history:
        v0: first version. Before the first release observations came to be in [-1, 1] with logarithmic errors and the
            response, actions got a polarity of their own, giving up went off by default, failure costs, and shaping
            was added.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        engine: str | Engine = "auto",
        variant: str | None = None,
        **task: Any,
    ) -> None:
        own = WriteVerify(**arguments("WriteVerify", variant, task))
        super().__init__(own, render_mode, trace_image, trace_text, engine)
        if own.goal:  # by this method tools tell environments with goals
            self.compute_reward = own.compute_reward


class WriteVerifyVectorEnv(TaskVectorEnv):
    """`WriteVerifyEnv` natively batched: what `gym.make_vec("memenv/WriteVerify-v0")` makes; see `TaskVectorEnv`.

    What is compiled: parametric devices and lists of them, with history=1 and confirm_reads=0.
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
        own = WriteVerify(**arguments("WriteVerify", variant, task))
        how = autoreset_mode, max_episode_steps, engine, render_mode
        super().__init__(own, num_envs, *how, trace_image, trace_text)
