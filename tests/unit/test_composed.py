"""Two decodings in a row: the torch path against the oracle, the theory, and draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM

from forklock import composed, decoding, theory
from forklock.composed import Composed
from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import EngineError, Request, open_engine, playing

TinyModel = Callable[[str], Path]
TRAINING = [Decoding(0.7, 20, 0.9), Decoding(1.6, 0, 0.8), Decoding(2.0, 5, 1.0), Decoding(1.3, 0, 1.0), Decoding(0.0)]
EVALUATION = [Decoding(1.0), Decoding(1.6, 20, 0.8), Decoding(0.5, 3, 1.0), Decoding(2.0, 0, 0.6), Decoding(0.0)]
PAIRS = [(training, evaluation) for training in TRAINING for evaluation in EVALUATION]


def some_logits(*, with_ties: bool = False) -> np.ndarray:
    logits = np.random.default_rng(0).normal(0, 3, (6, 50))
    return np.round(logits) if with_ties else logits


def oracle(logits: np.ndarray, training: Decoding, evaluation: Decoding) -> np.ndarray:
    """By the definition, over the whole vocabulary: q_s, and then what decoding q_s induces."""
    q = decoding.target(logits, training)
    second: np.ndarray = decoding.target(decoding.logits_from(q), evaluation)
    return second


def dense(ranked: decoding.RankedTarget, vocabulary: int) -> np.ndarray:
    ids, probabilities = np.asarray(ranked.token_ids), np.asarray(ranked.probabilities)
    found = np.zeros((len(ids), vocabulary))
    np.put_along_axis(found, ids, probabilities, axis=-1)
    return found


@pytest.mark.parametrize("with_ties", [False, True])
@pytest.mark.parametrize(("training", "evaluation"), PAIRS, ids=str)
def test_numpy_and_torch_give_the_oracles_law(training: Decoding, evaluation: Decoding, with_ties: bool) -> None:
    logits = some_logits(with_ties=with_ties)
    expected = oracle(logits, training, evaluation)
    for law in (composed.composed(training, evaluation), Composed(training, evaluation)):
        in_numpy = composed.ranked_target(logits, law)
        in_torch = composed.ranked_target(torch.from_numpy(logits), law)
        np.testing.assert_allclose(dense(in_numpy, 50), expected, atol=1e-12)
        np.testing.assert_allclose(dense(in_torch, 50), expected, atol=1e-12)
        np.testing.assert_array_equal(in_numpy.num_retained, (expected > 0).sum(-1))
        np.testing.assert_array_equal(in_torch.num_retained, (expected > 0).sum(-1))
        seeds = np.arange(len(logits))
        drawn = composed.sample(logits, law, seeds, 7)
        np.testing.assert_array_equal(composed.sample(torch.from_numpy(logits), law, seeds, 7).numpy(), drawn)


@pytest.mark.parametrize(("training", "evaluation"), PAIRS[:20], ids=str)
def test_untruncated_evaluation_is_the_ideal_fit_of_the_theory(training: Decoding, evaluation: Decoding) -> None:
    """Eq. 25, and Eq. 28 where training does not truncate either."""
    logits, plain = some_logits(), Decoding(max(evaluation.temperature, 0.1))
    teacher = decoding.target(logits, Decoding())
    support = decoding.retained_support(logits, training)
    expected = theory.ideal_fit(teacher, support, training.temperature, plain.temperature)
    np.testing.assert_allclose(oracle(logits, training, plain), expected, atol=1e-9)
    law = composed.composed(training, plain)
    np.testing.assert_allclose(dense(composed.ranked_target(logits, law), 50), expected, atol=1e-9)
    assert isinstance(law, Composed) == training.truncates


@pytest.mark.parametrize(
    ("training", "evaluation"),
    [
        (Decoding(1.6, 20, 0.8), Decoding()),  # q_s itself
        (Decoding(1.6, 20, 0.9), Decoding(1.4, 4, 0.9)),
        (Decoding(1.5), Decoding(1.2, 20, 0.8)),
    ],
    ids=str,
)
def test_a_played_students_tokens_follow_the_law(
    training: Decoding, evaluation: Decoding, tiny_model: TinyModel
) -> None:
    folder, context, num_draws = tiny_model("qwen3"), (5, 9, 40, 77), 6_000
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([context])).logits[0, -1].double().numpy()
    expected = oracle(logits[None], training, evaluation)[0]
    if evaluation == Decoding():
        np.testing.assert_allclose(expected, decoding.target(logits, training), atol=1e-12)
    requests = [Request(number, context, seed=number, max_new_tokens=1) for number in range(num_draws)]
    config = EngineConfig(kind="transformers")
    with open_engine(config, ModelConfig(path=str(folder)), max_sequence_tokens=400) as engine:
        played = playing(engine, training)
        drawn = [completion.token_ids[0] for completion in played.generate(requests, evaluation)]
        with pytest.raises(EngineError, match="no targets to record"):
            played.generate(requests, evaluation, record_target=True)
        plain = [next(iter(engine.generate(requests[:1], evaluation)))]  # the engine itself is as it was
    assert plain[0].token_ids[0] == decoding.sample(logits, evaluation, 0, 0)
    observed = np.bincount(drawn, minlength=len(expected))
    assert observed[expected == 0].sum() == 0
    likely = expected * num_draws >= 5
    assert likely.sum() > 1
    pooled_observed = np.append(observed[likely], observed[~likely].sum())
    pooled_expected = np.append(expected[likely], expected[~likely].sum()) * num_draws
    present = pooled_expected > 0
    assert stats.chisquare(pooled_observed[present], pooled_expected[present]).pvalue > 1e-3


def test_other_engines_refuse(tiny_model: TinyModel, tmp_path: Path) -> None:
    (tmp_path / "fake_engine.json").write_text('{"completions": [[1]]}')
    with (
        open_engine(EngineConfig(kind="fake"), ModelConfig(path=str(tmp_path)), max_sequence_tokens=9) as engine,
        pytest.raises(EngineError, match=r'can\'t play a student.*engine\.kind = "transformers"'),
    ):
        playing(engine, Decoding(0.7))
