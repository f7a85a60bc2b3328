"""Sampling from the frozen model: prompts in, raw samples out (Eq. 1). Nothing here knows what a right answer is."""

from forklock.synthesize.stage import run, stage_config
from forklock.synthesize.summary import Summary, TargetSummary, summarize

__all__ = ["Summary", "TargetSummary", "run", "stage_config", "summarize"]
