"""`memenv import-policy`: a .zip of stable-baselines3 from an earlier memenv becomes arrays, if the user trusts it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memenv.experiments.options import option, parse
from memenv.experiments.runs import OutputOptions, new_file
from memenv.files import load_json, named

FORMAT = "memenv stable-baselines3 policy 1"  # of the .json that stands beside such a .zip
WHAT = "policy or checkpoint of stable-baselines3 that memenv train saved"


@dataclass(frozen=True, kw_only=True)
class ImportConfig(OutputOptions):
    """Make plain arrays of a policy.zip or checkpoint.zip that an earlier memenv train saved, beside its .json."""

    file: Path = option(positional=True, help="the .zip; to open it can run any code that its maker put there")
    trust: bool = option(False, help="I trust whoever made that file; without it nothing is opened")
    out: Path | None = option(None, help="the .npz to write [the name of the .zip]")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(ImportConfig, arguments, "memenv import-policy")
    print(f"written: {import_policy(config)}")


def import_policy(config: ImportConfig) -> Path:
    """Write a trusted policy as arrays; the path of what was written.

    Raises:
        ValueError: no trust, a missing or damaged file, no head beside it, or something where it would be written.
    """
    out = config.out or config.file.with_suffix(".npz")
    if not config.trust:
        raise ValueError(
            f"{config.file}: a .zip of stable-baselines3 can run any code when it is opened; if you made it, or trust "
            "whoever did, add --trust"
        )
    from agents.sb3.files import HEAD, check_head, save_model
    from agents.sb3.policy import recipe

    beside = config.file.with_suffix(".json")
    with named(beside, f"head of {config.file.name}, which stands beside it"):
        head: dict[str, Any] = load_json(beside)
        check_head(head, HEAD, FORMAT)
    with new_file(out, config.overwrite), named(config.file, WHAT):
        trusted = f"{config.file} is trusted: whatever code its pickles hold runs now"
        print(f"memenv import-policy: {trusted}", file=sys.stderr)
        save_model(out, recipe(head["algorithm"]).model.load(config.file, device="cpu"), head)
    return out
