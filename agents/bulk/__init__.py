"""Cells by the million: a policy and its task as one compiled loop."""

from agents.bulk.writer import MassWriter, Programmed, mass_writer

__all__ = ["MassWriter", "Programmed", "mass_writer"]
