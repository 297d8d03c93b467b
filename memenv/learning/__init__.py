"""Learning as the chip does it: noisy products forwards and back, outer products turned into whole pulses."""

from memenv.learning.layers import Layer
from memenv.learning.step import Step, adapt_step, draw_noise
from memenv.learning.updates import Adaptation, Counters

__all__ = ["Adaptation", "Counters", "Layer", "Step", "adapt_step", "draw_noise"]
