"""`memenv import-policy`: a .zip of stable-baselines3 as arrays that `load_policy` reads, if the user trusts it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.sb3.files import head_of, save_model
from agents.sb3.policy import RECIPES, recipe
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.runs import OutputOptions, new_file
from memenv.files import named, regular_file


@dataclass(frozen=True, kw_only=True)
class ImportConfig(OutputOptions):
    """Make plain arrays of a model that stable-baselines3 trained on WriteVerify and saved as a .zip.

    Example: memenv import-policy model.zip --trust --out model.npz
    """

    file: Path = option(positional=True, help="the .zip; to open it can run any code that its maker put there")
    trust: bool = option(False, help="I trust whoever made that file; without it nothing is opened")
    algo: str = option("ppo", help="that trained it", choices=(*RECIPES,))
    device: tuple[str | CellModel, ...] = option(("threshold",), help="what it was trained for")
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="at which it was trained, fraction of the range")
    history: int = option(1, bounds=(1, 1000), help="steps in its observation")
    rounds: int = option(1, bounds=(1, 1000), help="targets in an episode of its training")
    give_up: bool = option(False, help="giving up was an action")
    out: Path | None = option(None, help="the .npz to write [the name of the .zip]")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(ImportConfig, arguments, "memenv import-policy")
    print(f"written: {import_policy(config)}")


def import_policy(config: ImportConfig) -> Path:
    """Write a trusted policy as arrays; the path of what was written.

    Raises:
        ValueError: no trust, a missing or damaged file, a model of another algorithm, observation or action, or
            something where it would be written.
    """
    out = config.out or config.file.with_suffix(".npz")
    if not config.trust:
        raise ValueError(
            f"{config.file}: a .zip of stable-baselines3 can run any code when it is opened; if you made it, or trust "
            "whoever did, add --trust"
        )
    chosen = recipe(config.algo)
    device = config.device[0] if len(config.device) == 1 else list(config.device)
    own = {name: getattr(config, name) for name in ("tolerance", "history", "rounds", "give_up")}
    task = WriteVerify(device=device, action=chosen.action, **own)
    what = f"model of {config.algo} that stable-baselines3 saved"
    with new_file(out, config.overwrite), named(config.file, what), regular_file(config.file) as file:
        trusted = f"{config.file} is trusted: whatever code its pickles hold runs now"
        print(f"memenv import-policy: {trusted}", file=sys.stderr)
        model = chosen.model.load(file, device="cpu")
        for name in ("observation_space", "action_space"):
            if getattr(model, name) != getattr(task, name):
                raise ValueError(
                    f"its {name} is {getattr(model, name)}, these options make {getattr(task, name)}: give those of "
                    "its training, or train it on the environments of this version"
                )
        save_model(out, model, head_of(config.algo, task))
    return out
