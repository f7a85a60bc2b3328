"""What is measured at a position, against `theory` over the whole vocabulary, in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from forklock import theory
from forklock.analyze.classes import classify
from forklock.analyze.measure import Settings, measure
from forklock.decoding import Decoding, logits_from, ranked_target, retained_support, target
from forklock.toy.machine import archetype_probabilities, induced_logits

VOCABULARY = 120
TRAIN = Decoding(1.6, 20, 0.8)
EVALS = tuple(Decoding(temperature, 20, 0.8) for temperature in (0.5, 1.1, 1.5))
DECODINGS = [TRAIN, Decoding(0.7, 0, 0.95), Decoding(2.0), Decoding(0.0), Decoding(1.0, 5, 1.0)]


def some_logits(seed: int, scale: float = 3.0) -> torch.Tensor:
    """Peaked and flat rows, with ties, as float32."""
    generator = torch.Generator().manual_seed(seed)
    logits_TV = torch.randn(40, VOCABULARY, generator=generator) * torch.linspace(0.1, scale, 40)[:, None]
    return (logits_TV * 8).round() / 8


def settings(train: Decoding = TRAIN, evals: tuple[Decoding, ...] = EVALS, max_rank: int = 50) -> Settings:
    return Settings(train, evals, max_rank)


def softmax(logits_TV: torch.Tensor) -> np.ndarray:
    exact = logits_TV.double().numpy()
    weights = np.exp(exact - exact.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities


BASE, TRAINED = some_logits(1), some_logits(2, scale=6.0)
DRAWN = torch.randint(0, VOCABULARY, (40,), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("train", DECODINGS, ids=str)
def test_the_terms_are_those_of_theory(train: Decoding) -> None:
    found = measure(BASE, TRAINED, DRAWN, settings(train))
    support, q = retained_support(BASE.numpy(), train), target(BASE.numpy(), train)
    np.testing.assert_array_equal(found["support_size"], support.sum(axis=-1))
    temperature = 1.0 if train.is_greedy else train.temperature
    for name, logits in (("base", BASE), ("trained", TRAINED)):
        p = softmax(logits)
        loss, entropy = theory.loss_terms(q, p, support, temperature), theory.entropy_terms(p, support)
        expected = {
            "kept_mass": theory.kept_mass(p, support),
            "support_compression": loss.support_compression,
            "within_support_reshaping": loss.within_support_reshaping,
            "alignment": loss.alignment,
            "gate_entropy": entropy.gate,
            "head_entropy": entropy.head,
            "tail_entropy": entropy.tail,
            "entropy": theory.entropy(p),
        }
        for key, values in expected.items():
            np.testing.assert_allclose(found[f"{name}_{key}"], values, rtol=1e-9, atol=1e-11, err_msg=key)
        own = retained_support(logits.numpy(), train)
        np.testing.assert_allclose(found[f"{name}_own_kept_mass"], theory.kept_mass(p, own), rtol=1e-9)
        choices = np.exp(theory.entropy(theory.conditional(p, own)))
        np.testing.assert_allclose(found[f"{name}_choices"], choices, rtol=1e-9)
        loss_sum = sum(
            found[f"{name}_{key}"] for key in ("support_compression", "within_support_reshaping", "alignment")
        )
        np.testing.assert_allclose(loss_sum + found["loss_constant"], theory.cross_entropy(q, p), rtol=1e-9)


@pytest.mark.parametrize("truncation", [(20, 0.8), (0, 0.9), (0, 1.0), (200, 0.5)])
def test_decoded_distributions_are_those_of_the_operator(truncation: tuple[int, float]) -> None:
    evals = tuple(Decoding(temperature, *truncation) for temperature in (0.0, 0.6, 1.4))
    found = measure(BASE, TRAINED, DRAWN, settings(evals=evals, max_rank=7))
    for name, logits in (("base", BASE), ("trained", TRAINED)):
        for place, decoding in enumerate(evals):
            decoded = ranked_target(logits.numpy(), decoding)
            np.testing.assert_array_equal(found[f"{name}_survivors"][:, place], decoded.num_retained)
            entropy = theory.entropy(target(logits.numpy(), decoding))
            np.testing.assert_allclose(
                found[f"{name}_entropy_after_truncation"][:, place], entropy, rtol=1e-9, atol=1e-12
            )


def test_ranks_and_masses_are_those_of_a_full_sort() -> None:
    found = measure(BASE, TRAINED, DRAWN, settings())
    ranks = settings().rank_marks
    assert ranks[-1] == 50
    for name, logits in (("base", BASE), ("trained", TRAINED)):
        p = softmax(logits)
        order = np.argsort(-logits.numpy(), axis=-1, kind="stable")
        cumulative = np.take_along_axis(p, order, axis=-1).cumsum(axis=-1)
        np.testing.assert_allclose(found[f"{name}_mass_by_rank"], cumulative[:, [rank - 1 for rank in ranks]])
        np.testing.assert_allclose(found[f"{name}_top_mass"], cumulative[:, 19])
        np.testing.assert_array_equal(found[f"{name}_top_id"], order[:, 0])
        np.testing.assert_array_equal(found[f"{name}_rank"], np.nonzero(order == DRAWN[:, None].numpy())[1] + 1)
        np.testing.assert_allclose(found[f"{name}_probability"], p[np.arange(40), DRAWN])
    distance = np.abs(softmax(BASE) - softmax(TRAINED)).sum(axis=-1) / 2
    np.testing.assert_allclose(found["total_variation"], distance)


def test_candidates_are_the_top_tokens_of_both_each_once() -> None:
    found = measure(BASE, TRAINED, DRAWN, settings(max_rank=6))
    p, start = {"base": softmax(BASE), "trained": softmax(TRAINED)}, 0
    for row, num in enumerate(found["num_candidates"].tolist()):
        ids = found["candidate_ids"][start : start + num].tolist()
        tops = [np.argsort(-logits[row].numpy(), kind="stable")[:6].tolist() for logits in (BASE, TRAINED)]
        assert ids == tops[0] + [token for token in tops[1] if token not in tops[0]]
        for name, of_model in p.items():
            np.testing.assert_allclose(
                found[f"candidate_{name}_probabilities"][start : start + num], of_model[row, ids]
            )
        start += num
    assert start == len(found["candidate_ids"])


def test_the_same_model_twice_gives_no_difference() -> None:
    found = measure(BASE, BASE.clone(), DRAWN, settings())
    for name in [name for name in found if name.startswith("base_")]:
        np.testing.assert_array_equal(found[name], found["trained_" + name.removeprefix("base_")], err_msg=name)
    assert not found["total_variation"].any()
    assert found["base_alignment"].abs().max() < 1e-12


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 1.7])
def test_a_scaled_head_is_the_base_at_another_temperature(sharpness: float) -> None:
    """Logits times c are Temper_{1/c}: of two logits apart by d, KeptMass and entropies have closed forms."""
    gap, train = 2.0, Decoding(1.0, 1, 1.0)
    base = torch.tensor([[gap, 0.0]], dtype=torch.float64)
    found = measure(base, base * sharpness, torch.tensor([0]), settings(train, (Decoding(1.0, 2, 1.0),), 2))
    kept = 1 / (1 + math.exp(-sharpness * gap))
    binary_entropy = -kept * math.log(kept) - (1 - kept) * math.log(1 - kept)
    assert float(found["trained_kept_mass"]) == pytest.approx(kept, rel=1e-12)
    assert float(found["trained_support_compression"]) == pytest.approx(-math.log(kept), rel=1e-12)
    assert float(found["trained_entropy"]) == pytest.approx(binary_entropy, rel=1e-12)
    assert float(found["trained_gate_entropy"]) == pytest.approx(binary_entropy, rel=1e-12)
    assert float(found["trained_entropy_after_truncation"]) == pytest.approx(binary_entropy, rel=1e-12)
    assert float(found["trained_head_entropy"]) == float(found["trained_tail_entropy"]) == 0.0


def test_an_ideal_fit_leaves_nothing_outside_the_support() -> None:
    """The student is q_s itself (Eq. 23): at T_train = T it is the base at T, inside S."""
    fitted = torch.from_numpy(np.where(q := target(BASE.numpy(), TRAIN), np.log(np.where(q, q, 1.0)), -300.0))
    ideal = measure(BASE, fitted, DRAWN, settings())
    np.testing.assert_allclose(ideal["trained_kept_mass"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(ideal["trained_tail_entropy"], 0.0, atol=1e-12)
    np.testing.assert_allclose(ideal["trained_head_entropy"], theory.entropy(q), atol=1e-12)


def test_the_rule_calls_the_papers_fork_a_fork_and_its_lock_a_lock() -> None:
    """Before and after: Table 6's archetypes, and the student that SSD tends to from them."""
    train = Decoding(0.9, 0, 0.85)
    teacher = logits_from(np.stack([archetype_probabilities("fork"), archetype_probabilities("lock")]))
    student = np.maximum(induced_logits(teacher, train), -300.0)
    found = measure(
        torch.from_numpy(teacher), torch.from_numpy(student), torch.tensor([0, 0]), settings(train, max_rank=16)
    )
    for name in ("base", "trained"):
        classes = classify(found[f"{name}_choices"].numpy(), found[f"{name}_own_kept_mass"].numpy())
        assert classes.tolist() == ["fork", "lock"]
    assert found["base_own_support_size"].tolist() == [5, 2]


def test_the_rules_edges() -> None:
    choices, kept = np.array([2.0, 1.99, 1.5, 1.49, 1.0]), np.array([0.1, 0.9, 0.9, 0.5, 0.49])
    assert classify(choices, kept).tolist() == ["fork", "neither", "neither", "lock", "neither"]
