"""Liger's kernel against the chunked loss: values and gradients, run by Triton's interpreter where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from train_cases import VOCABULARY, make_recipe, make_sample

from forklock.train import TrainingError
from forklock.train.batches import collate, split
from forklock.train.data import load_data
from forklock.train.fused_loss import Wanted, fused_sums, require_liger
from forklock.train.loss import SparseTargets, chunked_sums, cross_entropy
from forklock.train.objective import load_objective

TinyModel = Callable[[str], Path]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
T, H, V = 41, 24, 157


@pytest.fixture(scope="module")
def _liger() -> None:
    pytest.importorskip("liger_kernel.transformers.functional", reason="liger-kernel and triton are not installed")


def tensors(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(T, H, generator=generator)
    head = torch.randn(V, H, generator=generator)
    token_ids = torch.randint(V, (T,), generator=generator)
    return hidden.to(DEVICE, dtype), head.to(DEVICE, dtype), token_ids.to(DEVICE)


@pytest.mark.usefixtures("_liger")
@pytest.mark.parametrize("wanted", [Wanted(True, True), Wanted(True, False), Wanted(False, True), Wanted(False, False)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_and_gradients_are_those_of_the_chunked_loss(dtype: torch.dtype, wanted: Wanted) -> None:
    hidden, head, token_ids = tensors(dtype)
    expected = chunked_sums(hidden, head, SparseTargets.hard(token_ids), wanted)
    got = fused_sums(hidden, head, token_ids, wanted)
    assert got[0].dtype == expected[0].dtype == torch.float32
    torch.testing.assert_close(got[0], expected[0], rtol=1e-6 if dtype == torch.float32 else 1e-4, atol=0)
    rounding = 4 * torch.finfo(dtype).eps
    for mine, reference in zip(got[1:], expected[1:], strict=True):
        assert (mine is None) == (reference is None)
        if mine is not None and reference is not None:
            scale = float(reference.abs().max())
            torch.testing.assert_close(mine.float(), reference.float(), rtol=0, atol=rounding * scale)
    assert not hidden.requires_grad
    assert not head.requires_grad


@pytest.mark.usefixtures("_liger")
def test_a_head_tied_to_the_embedding_gets_both_gradients_and_the_scale() -> None:
    _, tied, token_ids = tensors(torch.float32)
    tied.requires_grad_()
    inputs = token_ids.roll(1)
    losses = {
        kernel: cross_entropy(tied[inputs], tied, SparseTargets.hard(token_ids), 0.37, kernel)
        for kernel in ("chunked", "liger")
    }
    torch.testing.assert_close(losses["liger"], losses["chunked"], rtol=1e-6, atol=0)
    gradients = [torch.autograd.grad(2 * losses[kernel], tied)[0] for kernel in ("chunked", "liger")]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-5)


@pytest.mark.usefixtures("_liger")
@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
@pytest.mark.parametrize("layout", ["bucketed", "packed"])
def test_a_step_in_several_passes_is_divided_by_its_tokens_once(
    architecture: str, layout: str, tiny_model: TinyModel
) -> None:
    """The mean over all completion tokens of the step, however it is cut, as with the chunked loss."""
    samples = [make_sample(number) for number in range(9)]
    results = {}
    for kernel in ("chunked", "liger"):
        recipe = make_recipe(tiny_model(architecture), layout=layout, tokens_per_device=64, loss_kernel=kernel)
        data = load_data(recipe, samples, VOCABULARY)
        objective = load_objective(recipe)[0].to(DEVICE)
        passes = split({number: one.num_positions for number, one in enumerate(data.sequences)}, recipe.train)[0]
        assert len(passes) > 2
        total = 0.0
        for one in passes:
            batch = collate([data.sequences[number] for number in one.samples], packed=layout == "packed").to(DEVICE)
            loss = objective(batch, 1 / data.counts.num_completion_tokens)
            loss.backward()
            total += float(loss.detach())
        weights = {name: weight.grad for name, weight in objective.named_parameters() if weight.grad is not None}
        results[kernel] = total, weights
    assert results["liger"][0] == pytest.approx(results["chunked"][0], rel=1e-6)
    assert results["liger"][1].keys() == results["chunked"][1].keys()
    for name, gradient in results["chunked"][1].items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(results["liger"][1][name], gradient, rtol=0, atol=1e-5 * largest)


def test_other_devices_and_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="knows the hard target alone"):
        make_recipe(record_target=True, target="soft", loss_kernel="liger")
    with pytest.raises(TrainingError, match='loss_kernel = "liger" runs on CUDA alone, and this training is on cpu'):
        require_liger(torch.device("cpu"))
