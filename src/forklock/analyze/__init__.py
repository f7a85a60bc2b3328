"""Forks and locks measured: base and trained model over the same contexts, position by position (Figure 6)."""

from forklock.analyze.errors import AnalysisError
from forklock.analyze.stage import input_files, run, stage_config

__all__ = ["AnalysisError", "input_files", "run", "stage_config"]
