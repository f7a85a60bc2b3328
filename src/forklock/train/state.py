"""What a killed training goes on from: a folder, there whole or not at all.

Learning rate, samples and random numbers of a step follow from its number, so that the weights that are trained, the
optimizer's moments and the curve so far are all there is to keep. Each process writes what it holds (torch's
distributed checkpoint): a sharded training gathers nothing, and another number of processes can read it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from forklock.run_dir.atomic import remove, sync_tree
from forklock.train.errors import writing_checkpoint

_CURVE_FILE = "curve.json"
PARTIAL = "partial-"
"""How the names of folders begin that are being written."""


@dataclass(frozen=True)
class CurvePoint:
    """One optimizer step."""

    step: int
    """From 1."""
    loss: float
    """Mean over the step's completion tokens."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    num_completion_tokens: int


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_state(scratch: Path, model: nn.Module, optimizer: torch.optim.Optimizer, curve: list[CurvePoint]) -> None:
    """Every process calls this; a new state is named before the one before it goes."""
    partial, is_main = scratch / f"{PARTIAL}state", _rank() == 0
    if is_main:
        remove(partial)
        partial.mkdir()
    _wait()
    with writing_checkpoint(partial):
        with _quiet_alone():
            save(_tensors(model, optimizer), checkpoint_id=partial, no_dist=not _is_distributed())
        if is_main:
            text = json.dumps([asdict(point) for point in curve])
            (partial / _CURVE_FILE).write_text(text, encoding="utf-8")
            sync_tree(partial)
    if is_main:
        earlier = _states(scratch)
        partial.rename(scratch / f"state-{len(curve):06d}")
        for folder in earlier:
            remove(folder)
    _wait()


def load_state(scratch: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[CurvePoint]:
    """The curve up to the newest state's step; model and optimizer are as they were after it."""
    if not (states := _states(scratch)):
        return []
    _start_moments(model, optimizer)
    with _quiet_alone():
        load(_tensors(model, optimizer), checkpoint_id=states[-1], no_dist=not _is_distributed())
    points: list[dict[str, Any]] = json.loads((states[-1] / _CURVE_FILE).read_text(encoding="utf-8"))
    return [CurvePoint(**point) for point in points]


def num_state_bytes(model: nn.Module) -> int:
    """Weights and two moments, of all processes together."""
    return 3 * sum(weight.numel() * weight.element_size() for weight in trained_weights(model).values())


def _states(scratch: Path) -> list[Path]:
    return sorted(scratch.glob("state-*"))


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """By names that do not depend on how many processes there are; written and read in place."""
    tensors = {}
    for name, weight in trained_weights(model).items():
        tensors[f"weight/{name}"] = weight.detach()
        tensors |= {f"{kind}/{name}": value for kind, value in optimizer.state[weight].items()}
    return tensors


def _start_moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """As AdamW does at its first step."""
    for weight in trained_weights(model).values():
        moments = {kind: torch.zeros_like(weight.detach()) for kind in ("exp_avg", "exp_avg_sq")}
        optimizer.state[weight] = {"step": torch.zeros((), dtype=torch.float32), **moments}


@contextmanager
def _quiet_alone() -> Iterator[None]:
    """torch warns about one process even where it is told that there is one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _rank() -> int:
    return torch.distributed.get_rank() if _is_distributed() else 0


def _wait() -> None:
    if _is_distributed():
        torch.distributed.barrier()
