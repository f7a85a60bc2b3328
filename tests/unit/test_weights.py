"""Models that are not whole are refused where sampling, training and analysis read them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from forklock.config import ModelConfig
from forklock.engines.transformers_engine import load_frozen
from forklock.weights import WeightsError, read_weights

TinyModel = Callable[..., Path]
FILE = "model.safetensors"


@pytest.fixture
def folder(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model("qwen3"), tmp_path / "model"))


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_frozen(ModelConfig(path=str(folder)))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"model.path = {str(folder)!r}: ")
    return str(caught.value)


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3_moe", "llama"])
def test_weights_are_those_of_the_file(architecture: str, tiny_model: TinyModel) -> None:
    """Tied heads and fused experts, which the file holds under other names or not at all, are not missing."""
    path = tiny_model(architecture)
    read = read_weights(ModelConfig(path=str(path)))
    name = "model.embed_tokens.weight"
    assert torch.equal(read.state_dict()[name], load_file(path / FILE)[name])


def test_a_config_alone(folder: Path) -> None:
    (folder / FILE).unlink()
    assert "cannot be loaded" in refusal(folder)


def test_a_file_that_is_cut_short(folder: Path) -> None:
    os.truncate(folder / FILE, (folder / FILE).stat().st_size // 2)
    assert "cannot be loaded" in refusal(folder)


def test_a_weight_that_is_missing(folder: Path) -> None:
    weights = load_file(folder / FILE)
    del weights["model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, folder / FILE, {"format": "pt"})
    assert "1 of the weights that its config.json asks for are missing, model.layers.0.self_attn.q_proj.weight" in (
        refusal(folder)
    )


def test_weights_of_another_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["intermediate_size"] //= 2
    (folder / "config.json").write_text(json.dumps(config))
    assert "of the weights that its config.json asks for have other shapes, model.layers.0.mlp." in refusal(folder)
