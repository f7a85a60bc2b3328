"""The trained model out of its run: as a folder of its own, and on a hub by the hub's own client."""

from __future__ import annotations

import shutil
from pathlib import Path

from forklock.export.errors import ExportError
from forklock.export.samples import require_stage
from forklock.packages import load_package, packages_of
from forklock.run_dir.atomic import temporary_beside
from forklock.running import plan_of, recipe_of
from forklock.students import OWN


def export_model(run_dir: Path, out: Path) -> None:
    """Copy the recipe's own student, whole or not at all; nothing is overwritten.

    Its generation config gets the evaluation-time decoding that the run's recipe has by now: training does not depend
    on it, and so keeps the one it began with.
    """
    if out.exists():
        raise ExportError(f"{out}: is there already; name another folder, or move it away")
    recipe = recipe_of(run_dir)
    training = plan_of(recipe).trainings[OWN]
    require_stage(run_dir, training)
    with packages_of("train"):
        from transformers import GenerationConfig

        from forklock.train.model_folder import generation_config

    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(out.absolute()) as temporary:
        _copy(run_dir / training / "model", temporary)
        kept = GenerationConfig.from_pretrained(temporary)
        generation_config(kept, recipe.evaluate.student_decoding).save_pretrained(temporary)
        temporary.rename(out)


def _copy(source: Path, target: Path) -> None:
    """File by file: where the disk is full that is one error, which `shutil.copytree` would put into a list."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        copied = target / path.relative_to(source)
        if path.is_dir():
            copied.mkdir()
        else:
            shutil.copyfile(path, copied)


def push_model(folder: Path, repo_id: str) -> str:
    """Upload the folder to a model repository, made (private) where there is none; gives its address."""
    hub, http = load_package("huggingface_hub"), load_package("huggingface_hub.utils._http")
    known = load_package("huggingface_hub.errors")
    client_errors = getattr(http, "httpx2", None) or http.httpx  # whichever its client is built on
    errors = (known.HfHubHTTPError, known.HFValidationError, client_errors.HTTPError, OSError)
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
