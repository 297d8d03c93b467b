"""`memenv/FewShot-v0`: the environments in which a chip learns new classes, and their manual."""

from typing import Any

from gymnasium.vector import AutoresetMode

from memenv.envs.few_shot.render import learning_image, learning_text
from memenv.envs.few_shot.task import FewShot
from memenv.envs.shells import TaskEnv, TaskVectorEnv
from memenv.envs.variants import arguments


class FewShotEnv(TaskEnv):
    """Teach a network on an unknown chip new classes from a few examples, with few pulses.

    Description:
        Every episode is a task: `ways` classes of invented characters that no pretraining has seen, `shots` drawings of
        each to learn from (the support) and `queries` others to be judged by. The network starts from `init`, its
        adapting layers on a fresh chip: crossbars of differential pairs of `device`, whose step sizes and bounds are
        each cell's own and not observed; of several devices a chip is wholly of one, and neither the agent nor the
        circuits are told of which: these know each chip's range of conductances, and take its pulses for the mean of
        the listed devices (`memenv.learning.layers`). In each step the chip learns as chips do
        (`memenv.learning.step`): it reads the support, forwards and back, turns the outer product of activations and
        errors into whole pulses, and gives them. The agent chooses how: how boldly, which pulses are not worth giving,
        from which examples, and when to stop. Or it has the support's class means written to the head
        (`memenv.few_shot.heads`), with which learning may begin, or end: the head is read, each weight gets a pulse
        worth what is missing, and is read again, sixteen times at most (`memenv.learning.writing`). The circuits that
        write know the law of the chip's device and every amplitude of its driver; of a measured table reference pulses.

    Action space:
        Box(-1, 1, (layers + 4,), float32); network="conv" has one layer, the head, "mlp" as many as it is deep. Zeros
        are a step at the initialisation's mean rates, from all examples.

            index       component  meaning
            0 ...       gain       of a layer: its rate is 30 to the power of this times the initialisation's mean rate;
                                   below -0.95 the layer gets no pulses; the same factor of the class means' size
            layers      threshold  above 0: doses below twice this [pulses] are not given; of class means weights stay
                                   that read as being off by less than twice this [size], or by 2 % of the range
            layers + 1  share      below 0: only the share 1 + this of the support teaches, at least one example: those
                                   with the largest errors
            layers + 2  means      above 0: class means are written over what the head holds; no other layer learns
            layers + 3  stop       > 0.5: no more learning

        `task.encode` makes actions of gains, threshold, share, stop and means. Actions are clipped to the space; one
        that is no number raises `TaskError`.

    Observation space:
        Box(-1, 1, (7 + 4 layers,), float32); `task.view` turns observations into a record with plain units. A loss, in
        units of ln ways, is shown on the scale of arsinh(loss / 0.05).

            index  feature      shown as -1 to 1
            0      budget       0 to 1, share of the steps that is left
            1      loss         0 to 10 ln ways, mean cross-entropy of the support, from a read after the last step
            2      fall         -10 to 10 ln ways, of the loss in the last step, 0 before the first
            3      support      0 to 1, share of the support that is right
            4      worst        0 to 10 ln ways, largest cross-entropy of a support example
            5      pulses       0 to 1000 pulses for each device in the mean, so far, logarithmic: of 1 + pulses
            6      last pulses  the same of the last step
            then of every layer
                   gain         as in the last action, 0 before the first
                   gradient     1e-4 to 1, logarithmic: root mean square of the weights' gradient in the last step,
                                of class means of what is missing
                   limited      0 to 1, share of the devices of which more than max_pulses were wanted
                   saturated    0 to 1, share of the pulsed devices that ended at a bound or are stuck; of class means
                                share of the weights that are off

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
        Terminated when the agent stops or after `max_steps` steps. Of a `stream` of tasks that ends a task: the next
        one has other classes, which the same head has to learn, on the chip as it is after `interval` seconds; budget
        and loss are the new task's, and the last task ends the episode. `gym.make` and `gym.make_vec` truncate after
        the id's `max_episode_steps`: pass max_episode_steps=stream * max_steps where that is more (else it warns).

    Info:
            key            unit  meaning
            accuracy       1     share of the queries that is right, by a noisy read after the last step
            support_loss   1     mean cross-entropy of the support
            pulses         1     for each device in the mean, in the episode so far
            energy         J     in the episode so far
            number         1     of a stream: tasks before this one
            newest         1     of a stream: accuracy with which the task before was left
            kept           1     of a stream: accuracy on the task before that one, asked again at that time
            reward/<name>        the terms of the last reward, zero at the start

    Reset options:
        key        meaning
        chip_seed  whole number: the chip is fabricated from it, whatever the seed; noise and task are not
                   (of a batch, environment i takes chip_seed + i)

        The vector environment also takes "reset_mask" (num_envs,) bool.

    Arguments:
        device: name of a preset (see `memenv devices`), path of a record (.json) or of a measured table (.npz), a
            `Device`, or a list of those (parametric), of one of which each chip is.
        init: "random", "maml" (pretrained with ideal updates), "device-aware" (rates learnt through devices), or the
            path of a .npz that `memenv pretrain` wrote.
        network: "conv" (a fixed encoder, 64 features, and a head on the chip) or "mlp" (every layer on the chip).
        split: "train", or "test" with other classes: agents are trained on the one and judged on the other.
        characters: `memenv.few_shot.characters.Characters` in place of the glyphs, such as Omniglot's.
        ways, shots, queries, max_steps: of a task.
        stream: tasks of an episode, one after the other on the same ageing chip; interval: [s] between two of them, in
            which cells drift.
        devices_per_weight: plus devices of a weight, and as many minus devices; pulsed: which learn ("both", "set",
            "reset", "plus"); max_pulses: at most per device and step; reads: averaged in each product; know_stuck:
            whether a test has found the cells that do not move, which then get no pulses.
        engine: "numpy"; "numba" compiles the chips (extra `numba`): the same episodes, to the rounding of single
            precision; "auto" compiles where numba is installed, the device can be and there are cells enough.
        weight_accuracy, weight_pulses, weight_energy: see Rewards.
        render_mode: "rgb_array" (needs matplotlib) or "ansi".
        variant: the registered id whose fixed arguments are taken, such as "FewShotMLP".

    Version history:
        v0: first version.
    """

    def __init__(self, render_mode: str | None = None, variant: str | None = None, **task: Any) -> None:
        own = FewShot(**arguments("FewShot", variant, task))
        super().__init__(own.sized(1), render_mode, learning_image, learning_text)


class FewShotVectorEnv(TaskVectorEnv):
    """`FewShotEnv` natively batched: what `gym.make_vec("memenv/FewShot-v0")` makes; see `TaskVectorEnv`."""

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        variant: str | None = None,
        **task: Any,
    ) -> None:
        own = FewShot(**arguments("FewShot", variant, task))
        how = autoreset_mode, max_episode_steps, "auto", render_mode
        super().__init__(own.sized(num_envs), num_envs, *how, learning_image, learning_text)
