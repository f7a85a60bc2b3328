"""Which samples are trained on, as what, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from train_cases import STOP, VOCABULARY, make_recipe, make_sample

from forklock.config import Recipe
from forklock.sampling import samples_in, tokens_in, write_shard
from forklock.train import TrainingError
from forklock.train.batches import collate
from forklock.train.data import load_data
from forklock.train.schedule import HELD_OUT_ONE_IN

SAMPLES = [make_sample(number) for number in range(24)]


def test_a_sequence_is_the_tokens_drawn_with_the_stop_token_where_there_was_one() -> None:
    data = load_data(make_recipe(), reversed(SAMPLES), VOCABULARY)
    assert [sequence.key for sequence in data.sequences] == [sample.key for sample in SAMPLES]
    for sequence, sample in zip(data.sequences, SAMPLES, strict=True):
        assert tuple(sequence.token_ids) == sample.prompt_token_ids + sample.token_ids
        assert sequence.token_ids.dtype == np.int32
        assert (sequence.token_ids[-1] == STOP) == sequence.is_finished == (sample.finish_reason == "stop")
        assert sequence.num_completion_tokens == len(sample.token_ids)
        assert sequence.target is None  # nothing of it is kept in memory for the hard target
    assert data.counts.num_trained_on == data.counts.num_samples == 24
    assert data.counts.num_without_stop_token == 6
    assert data.counts.num_completion_tokens == sum(len(sample.token_ids) for sample in SAMPLES)


@pytest.mark.parametrize("packed", [False, True])
def test_every_completion_token_is_predicted_once_from_the_token_before_it(packed: bool) -> None:
    sequences = load_data(make_recipe(), SAMPLES[:5], VOCABULARY).sequences
    batch = collate(sequences, packed=packed)
    inputs, positions = batch.input_ids_BL.flatten(), batch.position_ids_BL.flatten()
    expected_labels = torch.cat([torch.tensor(sample.token_ids) for sample in SAMPLES[:5]])
    assert torch.equal(batch.targets.token_ids_E, expected_labels)
    before = [
        (*sample.prompt_token_ids, *sample.token_ids)[len(sample.prompt_token_ids) - 1 : -1] for sample in SAMPLES[:5]
    ]
    assert inputs[batch.predicting_T].tolist() == [token for tokens in before for token in tokens]
    places = [
        len(sample.prompt_token_ids) - 1 + number for sample in SAMPLES[:5] for number in range(len(sample.token_ids))
    ]
    assert positions[batch.predicting_T].tolist() == places
    if packed:
        assert batch.input_ids_BL.shape == (1, sum(sequence.num_positions for sequence in sequences))
        assert int((positions == 0).sum()) == 5


@pytest.mark.parametrize("target", ["hard", "soft"])
def test_what_is_read_without_texts_is_what_whole_samples_hold(target: str, tmp_path: Path) -> None:
    """Over two shards of several batches, in which some samples are marked and too long."""
    marked = make_sample(500, degenerate="empty", with_target=False, sample_index=3)
    shards = [[make_sample(number) for number in range(150)], [*map(make_sample, range(150, 200)), marked]]
    for number, samples in enumerate(shards):
        write_shard(tmp_path / f"samples-{number:05d}.parquet", samples)
    recipe = make_recipe(record_target=True, target=target, max_sequence_tokens=45)
    by_hand = load_data(recipe, samples_in(tmp_path), VOCABULARY)
    read = list(tokens_in(tmp_path, with_targets=target == "soft"))
    assert [one.target is not None for one in read] == [target == "soft"] * 200 + [False]
    assert all(one.prompt_token_ids.base is None and one.token_ids.base is None for one in read)  # no views of a batch
    data = load_data(recipe, read, VOCABULARY)
    assert (data.counts, data.endings) == (by_hand.counts, by_hand.endings)
    assert data.counts.num_too_long > 0
    for mine, other in zip(data.sequences, by_hand.sequences, strict=True):
        assert (mine.key, mine.num_prompt_tokens, mine.is_finished) == (
            other.key, other.num_prompt_tokens, other.is_finished
        )  # fmt: skip
        assert mine.token_ids.dtype == other.token_ids.dtype
        assert np.array_equal(mine.token_ids, other.token_ids)
        if mine.target is not None and other.target is not None:
            for name in ("sizes", "token_ids", "probabilities"):
                ours, theirs = getattr(mine.target, name), getattr(other.target, name)
                assert ours.dtype == theirs.dtype
                assert np.array_equal(ours, theirs)
        else:
            assert mine.target is other.target


def test_soft_targets_follow_their_positions() -> None:
    recipe = make_recipe(record_target=True, target="soft")
    sequences = load_data(recipe, SAMPLES[:3], VOCABULARY).sequences
    targets = collate(sequences, packed=False).targets
    expected = [(sample.target.sizes, sample.target.token_ids) for sample in SAMPLES[:3] if sample.target is not None]
    assert np.diff(targets.starts).tolist() == np.concatenate([sizes for sizes, _ in expected]).tolist()
    assert targets.token_ids_E.tolist() == np.concatenate([ids for _, ids in expected]).tolist()
    sums = torch.zeros(len(targets.starts) - 1).index_add_(0, targets.rows_E, targets.probabilities_E)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_what_is_left_out_is_counted() -> None:
    marked = [make_sample(30, degenerate="empty"), make_sample(31, degenerate="single_line")]
    long = make_sample(32, token_ids=tuple([5] * 200))
    recipe = make_recipe(max_sequence_tokens=100)
    counts = load_data(recipe, [*SAMPLES, *marked, long], VOCABULARY).counts
    assert counts.num_samples == 27
    assert counts.num_degenerate == {"empty": 1, "single_line": 1}
    assert counts.num_too_long == 1
    assert counts.num_trained_on == 24

    kept = recipe.model_copy(update={"synthesize": recipe.synthesize.model_copy(update={"drop_degenerate": False})})
    assert load_data(kept, [*SAMPLES, *marked], VOCABULARY).counts.num_trained_on == 26


def test_held_out_prompts_are_trained_on_by_no_sample() -> None:
    many = [make_sample(number, with_target=False) for number in range(1500)]
    again = [make_sample(number, with_target=False, sample_index=1) for number in range(1500)]
    data = load_data(make_recipe(), [*many, *again], VOCABULARY)
    held, trained = {one.key[0] for one in data.held_out}, {one.key[0] for one in data.sequences}
    assert not held & trained
    assert all(sequence.is_finished for sequence in data.held_out)
    assert len(data.held_out) == data.counts.num_held_out
    assert data.counts.num_held_out_unfinished > 0
    accounted = data.counts.num_trained_on + data.counts.num_held_out + data.counts.num_held_out_unfinished
    assert accounted == data.counts.num_samples
    share = data.counts.num_held_out / (0.75 * data.counts.num_samples)
    assert 0.5 / HELD_OUT_ONE_IN < share < 2 / HELD_OUT_ONE_IN
    assert load_data(make_recipe(), many[:60], VOCABULARY).held_out == []


def refused(recipe: Recipe, *samples: object, vocabulary: int = VOCABULARY) -> str:
    with pytest.raises(TrainingError) as caught:
        load_data(recipe, samples, vocabulary)  # type: ignore[arg-type]
    return str(caught.value)


def test_what_cannot_be_trained_on_is_said_in_one_message() -> None:
    assert "no samples" in refused(make_recipe())
    assert "all 1 are degenerate (1 empty)" in refused(make_recipe(), make_sample(1, degenerate="empty"))
    short = refused(make_recipe(max_sequence_tokens=4), *SAMPLES)
    shortest = min(len(sample.prompt_token_ids + sample.token_ids) for sample in SAMPLES)
    assert f"train.max_sequence_tokens = 4 is under the shortest sample, which has {shortest} tokens" in short
    stopped = refused(make_recipe(max_sequence_tokens=30, too_long="stop"), *SAMPLES)
    assert 'train.too_long = "drop"' in stopped
    assert "train.tokens_per_device = 20 is under" in refused(make_recipe(tokens_per_device=20), *SAMPLES)
    foreign = refused(make_recipe(), make_sample(1, token_ids=(7, VOCABULARY), target=None))
    assert (
        f"sample 0 of prompt prompt-001: holds token id {VOCABULARY}, and the model's vocabulary ends at 294" in foreign
    )
    soft = make_recipe(record_target=True, target="soft")
    assert "has no recorded target" in refused(soft, make_sample(1, with_target=False))
    assert "does not cover its 1 tokens" in refused(soft, make_sample(1, token_ids=(7,)))
    assert "has no prompt or no completion" in refused(make_recipe(), make_sample(1, prompt_token_ids=()))
