"""Fine-tuning on raw samples: exact token ids, hard or soft targets, one loss over the whole global batch (Eq. 2)."""

from forklock.train.errors import TrainingError
from forklock.train.stage import follow, model_folder, run, stage_config

__all__ = ["TrainingError", "follow", "model_folder", "run", "stage_config"]
