"""Whoever decides: controllers and learned policies, their tuning and training, and comparisons on the same cells."""

from typing import TYPE_CHECKING

from memenv.lazy import lazily

if TYPE_CHECKING:
    from agents.comparison import CompareConfig, compare, text_table
    from agents.evaluation import Outcomes, evaluate
    from agents.library import controller, controllers, load_policy
    from agents.policy import Policy
    from agents.training import TrainConfig, train
    from agents.tuning import Tuned, tune

# fmt: off
__all__ = [
    "CompareConfig", "Outcomes", "Policy", "TrainConfig", "Tuned", "compare", "controller", "controllers", "evaluate",
    "load_policy", "text_table", "train", "tune",
]

__getattr__ = lazily(
    __name__,
    {
        "agents.comparison": ("CompareConfig", "compare", "text_table"),
        "agents.evaluation": ("Outcomes", "evaluate"),
        "agents.library": ("controller", "controllers", "load_policy"),
        "agents.policy": ("Policy",),
        "agents.training": ("TrainConfig", "train"),
        "agents.tuning": ("Tuned", "tune"),
    },
)
