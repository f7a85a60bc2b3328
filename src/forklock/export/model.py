"""The trained model out of its run: as a folder of its own, and on a hub by the hub's own client."""

from __future__ import annotations

import shutil
from pathlib import Path

from forklock.export.errors import ExportError
from forklock.export.samples import require_stage
from forklock.packages import load_package
from forklock.run_dir.atomic import temporary_beside


def export_model(run_dir: Path, out: Path) -> None:
    """Copy the run's last checkpoint, whole or not at all; nothing is overwritten."""
    if out.exists():
        raise ExportError(f"{out}: is there already; name another folder, or move it away")
    require_stage(run_dir, "train")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(out.absolute()) as temporary:
        shutil.copytree(run_dir / "train" / "model", temporary)
        temporary.rename(out)


def push_model(folder: Path, repo_id: str) -> str:
    """Upload the folder to a model repository, made (private) where there is none; gives its address."""
    hub = load_package("huggingface_hub")
    errors = (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError)  # offline and no network are OSErrors
    try:
        client = hub.HfApi()
        address = client.create_repo(repo_id, private=True, exist_ok=True)
        client.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Add the model")
    except errors as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"{repo_id}: the model was not pushed: {reason}. The folder {folder} is whole; log in with `hf auth login` "
            f"and push it with `hf upload {repo_id} {folder}`"
        ) from error
    return str(address)
