"""The chunked loss against logits written out in full: values and gradients, both targets, any chunk and type."""

from __future__ import annotations

import pytest
import torch

from forklock.train import loss as loss_module
from forklock.train.loss import SparseTargets, cross_entropy

T, H, V = 37, 12, 53


def in_full(hidden: torch.Tensor, head: torch.Tensor, dense_TV: torch.Tensor, scale: float) -> torch.Tensor:
    return -(dense_TV * torch.log_softmax(hidden @ head.T, dim=-1)).sum() * scale


def dense(targets: SparseTargets, dtype: torch.dtype) -> torch.Tensor:
    dense_TV = torch.zeros(T, V, dtype=dtype)
    return dense_TV.index_put((targets.rows_E, targets.token_ids_E), targets.probabilities_E.to(dtype))


def make_targets(kind: str, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> SparseTargets:
    if kind == "hard":
        return SparseTargets.hard(torch.randint(V, (T,), generator=generator))
    sizes_T = torch.randint(1, 8, (T,), generator=generator)
    token_ids = torch.cat([torch.randperm(V, generator=generator)[:size] for size in sizes_T.tolist()])
    probabilities = torch.rand(len(token_ids), generator=generator, dtype=torch.float64).to(dtype)
    return SparseTargets.soft(sizes_T, token_ids, probabilities)


@pytest.mark.parametrize("positions_at_once", [1, 5, T, 1000])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_values_and_gradients_are_those_of_full_logits(
    kind: str, positions_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "LOGITS_AT_ONCE", positions_at_once * V)
    generator = torch.Generator().manual_seed(1)
    targets = make_targets(kind, generator)
    hidden = torch.randn(T, H, generator=generator, dtype=torch.float64, requires_grad=True)
    head = (3 * torch.randn(V, H, generator=generator, dtype=torch.float64)).requires_grad_()

    expected = in_full(hidden, head, dense(targets, torch.float64), 0.37)
    expected_gradients = torch.autograd.grad(2 * expected, (hidden, head))
    got = cross_entropy(hidden, head, targets, 0.37)
    gradients = torch.autograd.grad(2 * got, (hidden, head))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-9)
    for mine, reference in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-9)

    narrow = cross_entropy(hidden.detach().float(), head.detach().float(), targets, 0.37)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), expected.detach(), rtol=1e-5, atol=1e-5)


def test_a_head_tied_to_the_embedding_gets_both_gradients() -> None:
    generator = torch.Generator().manual_seed(2)
    token_ids = torch.randint(V, (T,), generator=generator)
    targets = make_targets("soft", generator)
    tied = torch.randn(V, H, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(in_full(tied[token_ids], tied, dense(targets, torch.float64), 1.0), tied)
    got = torch.autograd.grad(cross_entropy(tied[token_ids], tied, targets), tied)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


REAL_VOCABULARY = 151_936
"""Qwen3's."""


@pytest.mark.slow
@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_gradients_at_a_real_vocabulary_are_those_of_full_logits(
    kind: str, is_tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over three chunks: in float64 to the last digits, in float32, as it trains, to the rounding of sums so long."""
    num_positions = 10
    monkeypatch.setattr(loss_module, "LOGITS_AT_ONCE", 4 * REAL_VOCABULARY)
    generator = torch.Generator().manual_seed(5)
    sizes_T = torch.ones(num_positions, dtype=torch.long) if kind == "hard" else torch.arange(1, num_positions + 1)
    token_ids = torch.cat([torch.randperm(REAL_VOCABULARY, generator=generator)[:size] for size in sizes_T.tolist()])
    if kind == "hard":
        targets = SparseTargets.hard(token_ids)
    else:
        targets = SparseTargets.soft(
            sizes_T, token_ids, torch.rand(len(token_ids), generator=generator, dtype=torch.float64)
        )
    dense_TV = torch.zeros(num_positions, REAL_VOCABULARY, dtype=torch.float64)
    dense_TV.index_put_((targets.rows_E, targets.token_ids_E), targets.probabilities_E.double())
    head = torch.randn(REAL_VOCABULARY, 32, generator=generator, dtype=torch.float64)
    free = torch.randn(num_positions, 32, generator=generator, dtype=torch.float64)
    inputs = torch.randint(REAL_VOCABULARY, (num_positions,), generator=generator)

    def gradients(dtype: torch.dtype, *, is_chunked: bool) -> list[torch.Tensor]:
        kept, own = (one.to(dtype).requires_grad_() for one in (head, free))
        hidden, wanted = (kept[inputs], [kept]) if is_tied else (own, [kept, own])
        if is_chunked:
            loss = cross_entropy(hidden, kept, targets, 0.37)
        else:
            loss = in_full(hidden, kept, dense_TV.to(dtype), 0.37)
        return [gradient.double() for gradient in torch.autograd.grad(loss, wanted)]

    exact = gradients(torch.float64, is_chunked=False)
    for mine, reference in zip(gradients(torch.float64, is_chunked=True), exact, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12)
    rounding = torch.finfo(torch.float32).eps * REAL_VOCABULARY**0.5  # of a sum of so many terms
    for mine, reference in zip(gradients(torch.float32, is_chunked=True), exact, strict=True):
        assert (mine - reference).abs().max() < rounding * reference.abs().max()


def test_a_frozen_head_gets_no_gradient() -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(T, H, generator=generator, requires_grad=True)
    head = torch.randn(V, H, generator=generator)
    cross_entropy(hidden, head, make_targets("hard", generator)).backward()
    assert hidden.grad is not None
    assert head.grad is None


@pytest.mark.parametrize("how", ["bfloat16 tensors", "autocast"])
def test_bfloat16_sums_in_float32(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 4,000 equal contributions a sum in bfloat16 would stop growing at 256 of them."""
    monkeypatch.setattr(loss_module, "LOGITS_AT_ONCE", 64 * V)
    num = 4_000
    narrow = torch.bfloat16 if how == "bfloat16 tensors" else torch.float32
    generator = torch.Generator().manual_seed(4)
    row, values = torch.randn(H, generator=generator), torch.randn(V, H, generator=generator)
    hidden = row.bfloat16().to(narrow).expand(num, H).clone().requires_grad_()
    head = values.bfloat16().to(narrow).requires_grad_()
    targets = SparseTargets.hard(torch.full((num,), 3))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        loss = cross_entropy(hidden, head, targets)
    assert loss.dtype == torch.float32
    loss.backward()

    one = row.bfloat16().double().unsqueeze(0).requires_grad_()
    exact_head = values.bfloat16().double().requires_grad_()
    exact = -torch.log_softmax(one @ exact_head.T, dim=-1)[0, 3]
    exact.backward()
    assert head.grad is not None
    assert exact_head.grad is not None
    torch.testing.assert_close(loss.double() / num, exact.detach(), rtol=5e-3, atol=0)
    torch.testing.assert_close(head.grad.double() / num, exact_head.grad, rtol=0, atol=2e-2)


def test_recorded_float16_probabilities_are_made_to_sum_to_one() -> None:
    sizes = torch.tensor([3, 1, 2])
    recorded = torch.tensor([0.3333, 0.3333, 0.3333, 0.9995, 0.7, 0.3], dtype=torch.float16)
    targets = SparseTargets.soft(sizes, torch.tensor([1, 2, 3, 4, 5, 6]), recorded)
    sums = torch.zeros(3).index_add_(0, targets.rows_E, targets.probabilities_E)
    torch.testing.assert_close(sums, torch.ones(3), rtol=0, atol=1e-6)
    assert targets.starts == (0, 3, 4, 6)


def test_parts_add_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(T, H, generator=generator, dtype=torch.float64)
    head = torch.randn(V, H, generator=generator, dtype=torch.float64)
    labels = torch.randint(V, (T,), generator=generator)
    whole = torch.nn.functional.cross_entropy(hidden @ head.T, labels)
    parts = sum(
        cross_entropy(hidden[part], head, SparseTargets.hard(labels[part]), 1 / T)
        for part in (slice(0, 3), slice(3, 30), slice(30, T))
    )
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


def test_the_soft_gradient_is_the_mean_of_hard_ones_with_no_variance() -> None:
    """Over draws from q_s the hard gradient has the soft one as its mean, within the error of so many draws."""
    generator = torch.Generator().manual_seed(6)
    targets = make_targets("soft", generator)
    hidden = torch.randn(T, H, generator=generator, dtype=torch.float64, requires_grad=True)
    head = torch.randn(V, H, generator=generator, dtype=torch.float64)
    (soft,) = torch.autograd.grad(cross_entropy(hidden, head, targets), hidden)
    num_draws = 2000
    draws = torch.multinomial(dense(targets, torch.float64), num_draws, replacement=True, generator=generator)
    repeated = hidden.detach().repeat(num_draws, 1).requires_grad_()
    (hard,) = torch.autograd.grad(cross_entropy(repeated, head, SparseTargets.hard(draws.T.flatten())), repeated)
    gradients = hard.reshape(num_draws, T, H)
    standard_error = gradients.std(dim=0) / num_draws**0.5
    off = (gradients.mean(dim=0) - soft).abs() / (standard_error + 1e-12)
    assert off.max() < 5
    assert (off**2).mean() == pytest.approx(1.0, abs=0.35)


def test_a_model_that_is_its_own_target_is_left_where_it_is() -> None:
    """T=1 without truncation (Appendix B): the gradient is zero, not only small."""
    generator = torch.Generator().manual_seed(7)
    hidden = torch.randn(T, H, generator=generator, dtype=torch.float64, requires_grad=True)
    head = torch.randn(V, H, generator=generator, dtype=torch.float64, requires_grad=True)
    own = torch.softmax(hidden @ head.T, dim=-1).detach()
    targets = SparseTargets.soft(torch.full((T,), V), torch.arange(V).repeat(T), own.flatten())
    for gradient in torch.autograd.grad(cross_entropy(hidden, head, targets), (hidden, head)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


def test_a_second_backward_pass_is_refused() -> None:
    hidden = torch.ones(T, H, requires_grad=True)
    loss = cross_entropy(hidden, torch.ones(V, H), SparseTargets.hard(torch.zeros(T, dtype=torch.long)))
    loss.backward(retain_graph=True)
    with pytest.raises(AttributeError, match="grad_hidden"):
        loss.backward()


def test_hard_gradients_average_to_the_soft_one() -> None:
    """The same contexts, tokens drawn again and again: the mean of the hard gradients is the soft gradient within its
    error, and all of their scatter is what the soft target is without."""
    num_draws = 4000
    generator = torch.Generator().manual_seed(5)
    soft = make_targets("soft", generator)
    hidden = torch.randn(T, H, generator=generator, dtype=torch.float64)
    head = torch.randn(V, H, generator=generator, dtype=torch.float64, requires_grad=True)

    def gradient(targets: SparseTargets) -> torch.Tensor:
        return torch.autograd.grad(cross_entropy(hidden, head, targets, 1 / T), head)[0]

    expected = gradient(soft)
    total, squares = torch.zeros_like(head), torch.zeros_like(head)
    drawn_DT = torch.multinomial(dense(soft, torch.float64), num_draws, replacement=True, generator=generator).T
    for drawn_T in drawn_DT:
        hard = gradient(SparseTargets.hard(drawn_T)).detach()
        total += hard
        squares += hard**2
    mean = total / num_draws
    variance = (squares / num_draws - mean**2).clamp_min(0)
    error = (variance / num_draws).sqrt()
    certain = variance < 1e-24  # rows of tokens that are in no support, or alone in theirs
    torch.testing.assert_close(mean[certain], expected[certain], rtol=0, atol=1e-12)
    deviations = ((mean - expected) / error)[~certain]
    assert deviations.abs().max() < 5
    assert float((deviations**2).mean()) == pytest.approx(1, abs=0.35)
    assert variance.sum() > 0.1 * (expected**2).sum()  # of a draw; the soft gradient is the same every time
