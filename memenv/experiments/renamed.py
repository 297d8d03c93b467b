"""Names that earlier versions wrote into the records and journals of runs, and what they are called now."""

import json
import re
from collections.abc import Mapping
from typing import Any

OPTIONS = {"kinship": "correlation", "ignorant": "unknown_faults", "start": "init"}
CONTROLLERS = {"clairvoyant": "oracle"}


def by_current_names(found: Mapping[str, Any]) -> dict[str, Any]:
    """A record's options by their names of now."""
    return {OPTIONS.get(name, name): with_current_names(value) for name, value in found.items()}


def with_current_names(value: Any) -> Any:
    """An option's value, or a journal's key, with the names of now; tunings are named as in "3: oracle on pcm"."""
    text = json.dumps(value)
    for old, new in CONTROLLERS.items():
        text = re.sub(rf'"((?:\d+: )?){old}(?="| on )', rf'"\g<1>{new}', text)
    return json.loads(text)
