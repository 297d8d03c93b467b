"""The common part of commands: options from a record, the folder of a run, figures and tables."""

from memenv.experiments.options import Options, option, parse
from memenv.experiments.reporting import csv_text
from memenv.experiments.runs import Run, RunOptions, begun, versions

__all__ = ["Options", "Run", "RunOptions", "begun", "csv_text", "option", "parse", "versions"]
