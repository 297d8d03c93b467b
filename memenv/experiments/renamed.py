"""Names that earlier versions wrote into the records and journals of runs, and what they are called now."""

import re
from collections.abc import Mapping
from typing import Any

OPTIONS = {"kinship": "correlation", "ignorant": "unknown_faults", "start": "init"}
CONTROLLERS = {"clairvoyant": "oracle"}


def by_current_names(found: Mapping[str, Any]) -> dict[str, Any]:
    """A record's options by their names of now."""
    return {OPTIONS.get(name, name): with_current_names(value) for name, value in found.items()}


def with_current_names(value: Any) -> Any:
    """A value of an option, or a key of a journal, with the controllers' names of now."""
    if isinstance(value, list):
        return [with_current_names(one) for one in value]
    if isinstance(value, str):
        for old, new in CONTROLLERS.items():  # alone, or as a tuning names its controller: "3: oracle on pcm"
            value = re.sub(rf"^((?:\d+: )?){old}(?= on |$)", rf"\g<1>{new}", value)
    return value
