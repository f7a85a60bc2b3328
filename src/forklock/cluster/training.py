"""The training function on every node: Ray Train starts a worker a GPU, and starts them anew when a node is lost.

What a worker does is what a process under torchrun does: it reads the samples and writes to scratch, which lies in the
run folder, on storage that all nodes reach. A training that is started anew goes on from the last checkpoint there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from forklock.cluster.nodes import fit_training
from forklock.train.data import Counts
from forklock.train.errors import TrainingError
from forklock.train.launch import Plan
from forklock.train.loop import Outcome
from forklock.train.worker import forget_outcome, load_outcome, said_errors, work_as_rank

MAX_FAILURES = 10
"""Restarts of one command; the next command has as many again."""
NOTES = "ray-train"
"""Ray Train's own records, in scratch."""


def train_on_cluster(plan: Plan) -> tuple[Counts, Outcome]:
    """As `train.worker.work` would, to the last bits of sums over workers."""
    fit = fit_training(plan.recipe)
    forget_outcome(plan.scratch, fit.num_workers)
    absolute = plan.for_other_machines()
    resources = {"CPU": fit.num_cpus} | ({"GPU": fit.num_gpus} if fit.num_gpus else {})
    trainer = TorchTrainer(
        _work,
        train_loop_config={"plan": absolute},
        scaling_config=ScalingConfig(
            num_workers=fit.num_workers,
            use_gpu=fit.num_gpus > 0,
            resources_per_worker=resources,
            placement_strategy="SPREAD" if not fit.num_gpus else "PACK",
        ),
        run_config=RunConfig(
            name=NOTES,
            storage_path=str(absolute.scratch),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    try:
        trainer.fit()
    except ray.train.v2.api.exceptions.TrainingFailedError as error:
        if said := said_errors(plan.scratch, fit.num_workers):
            raise TrainingError(said[0]) from error
        raise TrainingError(
            f"the training failed {MAX_FAILURES + 1} times: {str(error).splitlines()[0]}; run the same command again "
            "to go on from the last checkpoint"
        ) from error
    return load_outcome(plan.scratch)


def _work(settings: dict[str, Any]) -> None:
    context, plan = ray.train.get_context(), settings["plan"]
    assert isinstance(plan, Plan)
    _refuse_other_storage(plan.scratch, context.get_world_size())
    if said := said_errors(plan.scratch, context.get_world_size()):
        raise TrainingError(said[0])  # it would be met again
    work_as_rank(plan, context.get_world_rank())


def _refuse_other_storage(scratch: Path, num_workers: int) -> None:
    if not scratch.is_dir():
        raise TrainingError(
            f"{scratch}: is not there on {ray.util.get_node_ip_address()}, one of {num_workers} training nodes; keep "
            "the run folder on storage that all nodes reach under the same path"
        )
