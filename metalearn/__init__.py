"""Learning on the device: pretraining through it, adaptation to a few examples, evaluation on fresh chips."""

from typing import TYPE_CHECKING

from memenv.few_shot.initialisations import load_initialisation
from memenv.lazy import lazily
from metalearn.evaluation import evaluate
from metalearn.learners import adapt

if TYPE_CHECKING:
    from metalearn.pretraining import PretrainConfig, pretrain

__all__ = ["PretrainConfig", "adapt", "evaluate", "load_initialisation", "pretrain"]

__getattr__ = lazily(__name__, {"metalearn.pretraining": ("PretrainConfig", "pretrain")})
