"""The learned pulse predictor: a small recurrent network, on NumPy when it programs."""

from agents.predictor.policy import PulsePredictor, load_pulse_predictor

__all__ = ["PulsePredictor", "load_pulse_predictor"]
