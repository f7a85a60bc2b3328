"""Trains on a small file system until it is full, then goes on once there is room.

With "unforeseen" nobody asks for room first, so that the writes themselves fail.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from train_cases import make_recipe, run_training
from training_child import SAMPLES

from forklock.errors import ForklockError
from forklock.train import loop


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    disk, model, plenty = (Path(argument) for argument in sys.argv[1:4])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
    recipe = make_recipe(model, steps=6, checkpoint_every_steps=1)
    message, require_space = "", loop._require_space
    if sys.argv[4] == "unforeseen":
        loop._require_space = lambda *_: None
    try:
        run_training(recipe, disk / "run", SAMPLES)
    except ForklockError as error:
        message = str(error)
    loop._require_space = require_space
    stage = disk / "run" / "train"
    kept = sorted(path.name for path in stage.glob("checkpoint-*"))
    before = [digest(stage / name) for name in kept]
    partial = sorted(path.name for path in (stage / "scratch").glob("partial*"))
    subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
    run_training(recipe, disk / "run", SAMPLES)
    events = [json.loads(line) for line in (disk / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    (trained,) = (event["details"] for event in events if event["event"] == "trained")
    report = {
        "message": message,
        "kept": kept,
        "kept_digests": before,
        "kept_digests_after": [digest(stage / name) for name in kept],
        "partial": partial,
        "num_resumed_steps": trained["num_resumed_steps"],
        "weights": digest(stage / "model"),
        "undisturbed": digest(run_training(recipe, plenty, SAMPLES) / "model"),
    }
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main()
