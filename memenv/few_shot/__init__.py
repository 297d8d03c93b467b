"""Few-shot tasks and the chips that learn them: characters, episodes, pretrained initialisations."""

from memenv.few_shot.characters import Characters, Split
from memenv.few_shot.chips import Hardware
from memenv.few_shot.episodes import Episodes
from memenv.few_shot.initialisations import Initialisation, load_initialisation

__all__ = ["Characters", "Episodes", "Hardware", "Initialisation", "Split", "load_initialisation"]
