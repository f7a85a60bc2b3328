"""Training on a file system that is really full: a small tmpfs, mounted where only this test's child sees it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TinyModel = Callable[[str], Path]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["foreseen", "unforeseen"])
def test_a_disk_that_fills_up_costs_no_checkpoint(kind: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Given more room, the same call goes on to the same weights."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1) here")
    trial = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True, text=True)
    if trial.returncode != 0:
        pytest.skip(f"no mount in a user namespace of our own: {trial.stderr.strip()}")
    script = Path(__file__).with_name("full_disk_training.py")
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, script, disk, tiny_model("qwen3"), tmp_path / "plenty", kind],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    num_kept = len(report["kept"])
    assert 1 <= num_kept < 5
    assert report["kept"] == [f"checkpoint-{step:06d}" for step in range(1, num_kept + 1)]
    if kind == "foreseen":
        assert report["message"].startswith(f"checkpoint-{num_kept + 1:06d} needs ")
        assert "Nothing was written; earlier checkpoints are safe" in report["message"]
        assert report["num_resumed_steps"] == num_kept
    else:
        assert re.search(r"partial-.* could not be written, with 0\.\d MiB free there: ", report["message"])
        assert report["num_resumed_steps"] in (num_kept - 1, num_kept)  # the disk was full for the model or its state
    assert report["partial"] == []
    assert report["weights"] == report["undisturbed"]
    assert report["kept_digests"] == report["kept_digests_after"]
