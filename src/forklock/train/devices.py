"""What a training runs on: devices and processes by accelerate, and the model laid over them.

Sharded (FSDP2) means torch's `fully_shard`: each decoder layer is gathered for its own forward and backward pass, the
rest (embeddings, last norm, head) for the whole of them. Only rank 0 reads the weights; the others build an empty
model and are sent their shares one tensor at a time, so that a machine holds one copy of the model, not one a device.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from forklock.config import Recipe, TrainConfig
from forklock.train.errors import TrainingError
from forklock.train.objective import Objective, empty_objective, load_objective
from forklock.train.trackers import TRACKERS_FOLDER, installed_trackers

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that reads or writes a large model; torch's own minutes are over before that."""


def join_processes() -> None:
    """Meet the other processes of a launcher, if there are any; needed before anything is sent to them."""
    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def open_accelerator(settings: TrainConfig, run_dir: Path) -> Accelerator:
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM"):
        if os.environ.get(name, "false").lower() in ("true", "1"):
            raise TrainingError(
                f"{name} is set: accelerate launch was told how to shard the model; the recipe says so instead "
                '(train.sharding = "fsdp2"). Launch with --multi_gpu and no other plugin'
            )
    AcceleratorState._reset_state()  # a process may train twice, in other precisions (Trainer does the same)
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="bf16" if settings.dtype == "bfloat16" else "no",
        log_with=installed_trackers(settings) or None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        project_config=ProjectConfiguration(str(run_dir), logging_dir=str(run_dir / TRACKERS_FOLDER)),
    )


def place(recipe: Recipe, accelerator: Accelerator) -> tuple[Objective, torch.dtype]:
    """The recipe's model on this process's device, whole or its share, and the type its weights are saved in."""
    if recipe.train.sharding == "off" or accelerator.num_processes == 1:
        objective, saved_type = load_objective(recipe, accelerator.device)
        return objective.to(accelerator.device), saved_type
    source: tuple[Objective, torch.dtype] | None = load_objective(recipe) if accelerator.is_main_process else None
    told: list[torch.dtype | None] = [source[1] if source else None]
    torch.distributed.broadcast_object_list(told, src=0)
    sent = told[0]
    assert sent is not None
    objective = empty_objective(recipe, sent)
    _shard(objective, recipe.train, init_device_mesh(accelerator.device.type, (accelerator.num_processes,)))
    _send_shares(objective, source[0] if source else None, accelerator.device)
    return objective, sent


def wrap(objective: Objective, accelerator: Accelerator) -> nn.Module:
    """What forward passes go through in training."""
    if isinstance(objective, FSDPModule):
        return objective
    wrapped: nn.Module = accelerator.prepare_model(objective)
    return wrapped


def release(objective: Objective) -> None:
    """After forward passes without a backward pass: give gathered weights back, so that parameters are shares."""
    if isinstance(objective, FSDPModule):
        objective.reshard()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that may be sharded. Every process has to ask at the same time."""
    gathered: torch.Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return gathered


def _shard(objective: Objective, settings: TrainConfig, mesh: DeviceMesh) -> None:
    """Weights stay float32 in what optimizer and gradients see; layers are gathered in the type they compute in."""
    layer_type = torch.bfloat16 if settings.dtype == "bfloat16" else None
    layers = MixedPrecisionPolicy(param_dtype=layer_type, reduce_dtype=torch.float32, cast_forward_inputs=False)
    rest = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    names = set(objective.causal._no_split_modules or ())
    found = [module for module in objective.modules() if type(module).__name__ in names]
    if not found:
        raise TrainingError(
            f'train.sharding = "fsdp2": {type(objective.causal).__name__} does not say which of its parts are layers, '
            'so it cannot be sharded; use train.sharding = "off"'
        )
    for layer in found:
        fully_shard(layer, mesh=mesh, mp_policy=layers)
    fully_shard(objective, mesh=mesh, mp_policy=rest)
    register_fsdp_forward_method(objective, "stop_mass")


def _send_shares(objective: Objective, source: Objective | None, device: torch.device) -> None:
    weights = {} if source is None else dict(source.named_parameters())
    shares: dict[str, nn.Parameter] = {}
    by_id: dict[int, nn.Parameter] = {}
    for name, empty in objective.named_parameters(remove_duplicate=False):
        assert isinstance(empty, DTensor)
        if id(empty) not in by_id:  # tied weights are sent once, and stay tied
            full = torch.empty(empty.shape, dtype=empty.dtype, device=device)
            if source is not None:
                full.copy_(weights[name].detach())
            share = distribute_tensor(full, empty.device_mesh, empty.placements)
            by_id[id(empty)] = nn.Parameter(share, requires_grad=empty.requires_grad)
        shares[name] = by_id[id(empty)]
    missing, unexpected = objective.load_state_dict(shares, strict=False, assign=True)
    assert not unexpected
    assert not set(missing) & set(shares)
    objective.to(device)  # buffers, which every process computed for itself
