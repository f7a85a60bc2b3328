"""One process of a training, and how several are started on one machine.

A worker reads samples and writes to scratch alone: finished model folders stand in `scratch/ready`, and the process
that holds the run folder makes them outputs.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn
from transformers import AutoConfig, PreTrainedTokenizerBase

from forklock.config import Recipe
from forklock.engines.stop_tokens import stop_token_ids
from forklock.errors import ForklockError
from forklock.prompts import load_tokenizer
from forklock.run_dir.atomic import remove, sync_tree, write_text
from forklock.sampling import tokens_in
from forklock.sampling.draw import FROZEN_MODEL_FILE, tokenizer_digest
from forklock.sandbox import linux
from forklock.train.data import Counts, load_data
from forklock.train.devices import open_accelerator, place
from forklock.train.endings import save_endings
from forklock.train.errors import TrainingError, writing_checkpoint
from forklock.train.fused_loss import require_liger
from forklock.train.launch import Plan, errors_said_once, following, tell
from forklock.train.loop import Job, Outcome, train
from forklock.train.model_folder import gather_weights, write_card, write_model
from forklock.train.objective import Objective
from forklock.train.state import PARTIAL, CurvePoint
from forklock.train.stop_health import StopHealth

READY = "ready"
_OUTCOME_FILE = "outcome.json"
_TRACE_FILE = "traceback.txt"


def work(plan: Plan, on_ready: Callable[[Path], None]) -> tuple[Counts, Outcome]:
    """Train as one process, or as one of several that were started together; `on_ready` is the main one's."""
    recipe = plan.recipe
    accelerator = open_accelerator(recipe.train, plan.run_dir)
    if recipe.train.loss_kernel == "liger":
        require_liger(accelerator.device)
    stops = stop_token_ids(recipe.model)  # where a model that is not there is found out
    config = AutoConfig.from_pretrained(recipe.model.path, revision=recipe.model.revision or "main")
    tokens = tokens_in(plan.samples, with_targets=recipe.train.target == "soft")
    data = load_data(recipe, tokens, config.get_text_config().vocab_size, plan.passed)
    tokenizer = load_tokenizer(recipe.model)
    _check_tokenizer(plan.samples, tokenizer, recipe.model.path)
    objective, saved_type = place(recipe, accelerator)
    ready = plan.scratch / READY
    ready.mkdir(exist_ok=True)
    if accelerator.is_main_process:
        for left in plan.scratch.glob(f"{PARTIAL}*"):  # by a kill; the next checkpoint may need the room
            remove(left)
        save_endings(plan.scratch, data.endings)
    there = _finished(plan, ready, accelerator)

    def write(name: str, step: int, num_steps: int, objective: Objective) -> None:
        weights = gather_weights(objective, recipe, saved_type)
        if not accelerator.is_main_process:
            return
        partial = plan.scratch / f"{PARTIAL}{name}"
        with writing_checkpoint(partial):
            partial.mkdir()
            write_model(partial, objective, weights, tokenizer, recipe)
            write_card(partial, recipe, data.counts, step, num_steps)
            sync_tree(partial)
        partial.rename(ready / name)
        on_ready(ready / name)

    job = Job(
        recipe=recipe,
        data=data,
        stop_token_ids=stops,
        scratch=plan.scratch,
        tracked_as=plan.tracked_as,
        model_bytes=_checkpoint_bytes(objective, recipe, saved_type),
        write=write,
        has=lambda name: name in there,
    )
    outcome = train(job, objective, accelerator)
    if accelerator.is_main_process:
        record = {"counts": data.counts.as_json(), **asdict(outcome)}
        write_text(plan.scratch / _OUTCOME_FILE, json.dumps(record))
    return data.counts, outcome


def _checkpoint_bytes(objective: Objective, recipe: Recipe, saved_type: torch.dtype) -> int:
    if recipe.train.keeps_adapter:
        return sum(weight.numel() * 4 for weight in objective.parameters() if weight.requires_grad)
    return sum(weight.numel() * saved_type.itemsize for weight in objective.causal.parameters())


def _check_tokenizer(samples: Path, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Samples from elsewhere may lack the record."""
    record = samples / FROZEN_MODEL_FILE
    if record.exists() and json.loads(record.read_text(encoding="utf-8"))["tokenizer"] != tokenizer_digest(tokenizer):
        raise TrainingError(
            f"model.path = {name!r}: its tokenizer is not the one that the samples in {samples} were drawn with, so "
            "that their token ids mean something else; train the model that was sampled from, or sample again"
        )


def follow() -> None:
    """A process that a launcher started, but rank 0: does its part of the training that rank 0 plans."""
    with following() as plan:
        if plan is not None:
            with errors_said_once(plan.scratch):
                work(plan, on_ready=lambda folder: None)


def lead(plan: Plan, on_ready: Callable[[Path], None]) -> tuple[Counts, Outcome]:
    """Rank 0 of a launcher."""
    tell(plan)
    with errors_said_once(plan.scratch):
        return work(plan, on_ready)


def _finished(plan: Plan, ready: Path, accelerator: Accelerator) -> set[str]:
    """Names of checkpoints that need not be written, as the main process found them before anyone wrote one."""
    found = [plan.done | {folder.name for folder in ready.iterdir()}]
    return set(broadcast_object_list(found)[0]) if accelerator.num_processes > 1 else set(found[0])


def work_in_processes(plan: Plan) -> tuple[Counts, Outcome]:
    """`train.num_processes` workers on this machine, one a GPU where there are GPUs. If one fails, all end."""
    num_processes, scratch = plan.recipe.train.num_processes, plan.scratch
    if torch.cuda.is_available() and torch.cuda.device_count() < num_processes:
        raise TrainingError(
            f"train.num_processes = {num_processes}, and this machine has {torch.cuda.device_count()} GPUs"
        )
    forget_outcome(scratch, num_processes)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (plan, port, os.getpid())
    try:
        spawn(_work_in_process, arguments, nprocs=num_processes)  # type: ignore[no-untyped-call]
    except ProcessExitedException as error:
        if said := said_errors(scratch, num_processes):
            raise TrainingError(said[0]) from error
        raise TrainingError(f"a training process ended: {error}; run the same command again to go on") from error
    except ProcessRaisedException as error:
        if said := said_errors(scratch, num_processes):
            raise TrainingError(said[0]) from error
        trace = scratch / _TRACE_FILE
        trace.write_text(str(error), encoding="utf-8")
        reason = str(error).strip().splitlines()[-1]
        raise TrainingError(
            f"a training process failed: {reason} ({trace} has the whole of it); run the same command again to go on"
        ) from error
    return load_outcome(scratch)


def _work_in_process(rank: int, plan: Plan, port: int, command: int) -> None:
    linux.die_with(command)  # one that outlived the command would write into the next one's scratch
    num_processes = plan.recipe.train.num_processes
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))
    try:
        work_as_rank(plan, rank)
    except ForklockError as error:
        raise SystemExit(1) from error
    torch.distributed.destroy_process_group()


def work_as_rank(plan: Plan, rank: int) -> None:
    """For whoever started several processes that hear of each other by scratch alone, where the outcome is too."""
    try:
        work(plan, on_ready=lambda folder: None)
    except ForklockError as error:
        _error_file(plan.scratch, rank).write_text(str(error), encoding="utf-8")
        raise


def forget_outcome(scratch: Path, num_processes: int) -> None:
    remove(scratch / _OUTCOME_FILE)
    for rank in range(num_processes):
        remove(_error_file(scratch, rank))


def said_errors(scratch: Path, num_processes: int) -> list[str]:
    files = [_error_file(scratch, rank) for rank in range(num_processes)]
    return [file.read_text(encoding="utf-8") for file in files if file.exists()]


def has_outcome(scratch: Path) -> bool:
    """Whether a training came to its end there; its model is written before that is said."""
    return (scratch / _OUTCOME_FILE).exists()


def load_outcome(scratch: Path) -> tuple[Counts, Outcome]:
    outcome = json.loads((scratch / _OUTCOME_FILE).read_text(encoding="utf-8"))
    return Counts(**outcome["counts"]), Outcome(
        curve=[CurvePoint(**point) for point in outcome["curve"]],
        stop_health=StopHealth(**outcome["stop_health"]),
        num_resumed_steps=outcome["num_resumed_steps"],
    )


def _error_file(scratch: Path, rank: int) -> Path:
    return scratch / f"error-{rank}.txt"
