"""Fine-tuning on raw samples: exact token ids, hard or soft targets, one loss over the whole global batch (Eq. 2)."""

from forklock.train.errors import TrainingError
from forklock.train.stage import VERIFIED, folder_at, follow, run, stage_config

__all__ = ["VERIFIED", "TrainingError", "folder_at", "follow", "run", "stage_config"]
