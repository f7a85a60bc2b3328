"""Means and their standard errors, and which solutions are measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_cases import analysis_recipe, held_out_samples
from matplotlib.backends.backend_agg import FigureCanvasAgg
from train_cases import make_sample
from transformers import AutoTokenizer

from forklock import figure_style
from forklock.analyze import AnalysisError
from forklock.analyze.changes import MIN_POSITIONS, TokenChanges
from forklock.analyze.clustered import ClusteredSums
from forklock.analyze.contexts import choose_solutions
from forklock.analyze.examples import NUM_RANKS
from forklock.analyze.figures.fork_and_lock import _draw_one
from forklock.analyze.report import words_for
from forklock.sampling import write_shard

VOCABULARY = 295
TinyModel = Callable[[str], Path]


def sums_of(solutions: list[np.ndarray]) -> ClusteredSums:
    sums = ClusteredSums()
    for values in solutions:
        sums.add_solution(values, np.ones((len(values), 1), dtype=np.bool_))
    return sums


def test_with_one_position_a_solution_the_error_is_the_ordinary_one() -> None:
    values = np.random.Generator(np.random.PCG64(0)).normal(size=(50, 2))
    sums = sums_of([row[None] for row in values])
    found = sums.mean(0, [0])
    assert found.mean == pytest.approx(values[:, 0].mean())
    assert found.standard_error == pytest.approx(values[:, 0].std(ddof=1) / np.sqrt(50))
    apart = values[:, 0] - values[:, 1]
    assert sums.mean(0, [0, 1]).mean == pytest.approx(apart.mean())
    assert sums.mean(0, [0, 1]).standard_error == pytest.approx(apart.std(ddof=1) / np.sqrt(50))


def test_a_token_s_change_has_the_error_of_its_solutions() -> None:
    """One that stands once in each of 40 solutions, beside one that stands at too few positions."""
    generator = np.random.Generator(np.random.PCG64(3))
    base, trained = generator.uniform(0, 0.4, size=40), generator.uniform(0.3, 0.7, size=40)
    changes = TokenChanges()
    for number, (before, after) in enumerate(zip(base, trained, strict=True)):
        ids = [7, 8] if number < MIN_POSITIONS - 1 else [7]
        columns = {"token_id": ids, "token_text": ["x", "rare"], "total_variation": [0.25, 1.0]}
        columns |= {"base_probability": [before, 0.0], "trained_probability": [after, 1.0]}
        changes.add_solution({name: np.array(values[: len(ids)]) for name, values in columns.items()})
    found = changes.most_changed()
    assert found["fell"] == []
    (row,) = found["rose"]
    assert (row["token_text"], row["num_positions"], row["total_variation"]) == ("x", 40, 0.25)
    assert row["base_probability"] == pytest.approx(base.mean())
    assert row["change"] == pytest.approx((trained - base).mean())
    assert row["change_standard_error"] == pytest.approx((trained - base).std(ddof=1) / np.sqrt(40))


def test_repeating_positions_within_a_solution_adds_nothing() -> None:
    values = np.random.Generator(np.random.PCG64(1)).normal(size=(20, 1))
    once, often = (sums_of([np.repeat(row[None], times, axis=0) for row in values]) for times in (1, 30))
    assert often.num_positions(0) == 30 * once.num_positions(0)
    assert often.mean(0, [0]).standard_error == pytest.approx(once.mean(0, [0]).standard_error)


def test_the_error_covers_the_truth_as_often_as_it_should() -> None:
    """400 draws of 60 solutions of unequal length whose positions are alike: two errors cover it 19 times of 20."""
    generator, covered = np.random.Generator(np.random.PCG64(2)), 0
    for _ in range(400):
        offsets, lengths = generator.normal(size=60), generator.integers(5, 40, size=60)
        found = sums_of([offset + generator.normal(size=(n, 1)) for offset, n in zip(offsets, lengths, strict=True)])
        mean = found.mean(0, [0])
        assert mean.mean is not None
        assert mean.standard_error is not None
        covered += abs(mean.mean) < 1.96 * mean.standard_error
    assert 0.91 < covered / 400 < 0.98


def test_what_cannot_be_estimated_is_none() -> None:
    assert sums_of([]).mean(0, [0]).as_json() == {"mean": None, "standard_error": None}
    one = sums_of([np.array([[1.0], [3.0]])]).mean(0, [0])
    assert (one.mean, one.standard_error) == (2.0, None)


@pytest.mark.parametrize(
    ("mean", "error", "words"),
    [(0.1, 0.06, "within noise"), (-0.2, 0.06, ""), (0.0, 0.0, "none"), (0.1, None, "too few solutions to tell")],
)
def test_a_difference_in_words(mean: float, error: float | None, words: str) -> None:
    assert words_for({"mean": mean, "standard_error": error}) == words


def choose(recipe: Any, folder: Path) -> list[Any]:
    tokenizer = AutoTokenizer.from_pretrained(recipe.model.path)
    return choose_solutions(recipe, folder, tokenizer, VOCABULARY)


def test_only_solutions_that_training_left_out_are_chosen_by_seed(tiny_model: TinyModel, tmp_path: Path) -> None:
    held, model = held_out_samples(20), tiny_model("qwen3")
    write_shard(tmp_path / "samples-00000.parquet", [*(make_sample(number) for number in range(30)), *held])
    keys = {sample.key for sample in held}
    few, more = (choose(analysis_recipe(model, num_solutions=num), tmp_path) for num in (7, 12))
    assert {sequence.key for sequence in more} < keys
    assert [sequence.key for sequence in few] == [sequence.key for sequence in more][:7]
    other_seed = analysis_recipe(model, num_solutions=12).model_copy(update={"seed": 4})
    assert [sequence.key for sequence in choose(other_seed, tmp_path)] != [sequence.key for sequence in more]


def test_too_few_held_out_is_said(tiny_model: TinyModel, tmp_path: Path) -> None:
    write_shard(tmp_path / "samples-00000.parquet", [*(make_sample(n) for n in range(30)), *held_out_samples(15)])
    with pytest.raises(AnalysisError, match=r"no solution is held out.*16 of them; 45 samples gave fewer.*contexts"):
        choose(analysis_recipe(tiny_model("qwen3")), tmp_path)


def test_given_contexts_may_be_ids_or_text(tiny_model: TinyModel, tmp_path: Path) -> None:
    file, model = tmp_path / "mine.jsonl", tiny_model("qwen3")
    rows = [
        {"prompt_token_ids": [5, 6], "token_ids": [7, 8, 2], "prompt_id": "a", "sample_index": 3},
        {"prompt": "<|im_start|>user\n", "completion": "def f(x):"},
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    tokenizer = AutoTokenizer.from_pretrained(model)
    found = {sequence.key: sequence for sequence in choose(analysis_recipe(model, contexts=str(file)), tmp_path)}
    assert found["a", 3].token_ids.tolist() == [5, 6, 7, 8, 2]
    text = found["line 2", 0]
    assert tokenizer.decode(text.token_ids[: text.num_prompt_tokens]) == "<|im_start|>user\n"
    assert tokenizer.decode(text.token_ids[text.num_prompt_tokens :]) == "def f(x):"

    samples = held_out_samples(3)
    write_shard(tmp_path / "samples-00000.parquet", samples)
    for path in (tmp_path, tmp_path / "samples-00000.parquet"):
        found_keys = {one.key for one in choose(analysis_recipe(model, contexts=str(path)), tmp_path)}
        assert found_keys == {sample.key for sample in samples}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a"}', r"mine\.jsonl, line 1: needs prompt_token_ids and token_ids .*or prompt and completion"),
        ("[1]", "line 1: needs prompt_token_ids"),
        ("{", "line 1: is no JSON"),
        ('{"prompt_token_ids": [1], "token_ids": [9999]}', "token id 9999"),
        ('{"prompt_token_ids": [1], "token_ids": []}', "nothing to predict"),
        ('{"prompt_id": 1, "prompt": "a", "completion": "b"}\n' * 2, "the same prompt id and sample index"),
    ],
)
def test_malformed_contexts_are_named(line: str, message: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(line)
    with pytest.raises(ValueError, match=message):
        choose(analysis_recipe(tiny_model("qwen3"), contexts=str(file)), tmp_path)


def test_contexts_of_no_known_form_are_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, message in (("mine.txt", "is neither .jsonl"), ("empty", r"holds no samples-\*")):
        with pytest.raises(AnalysisError, match=message):
            choose(analysis_recipe(tiny_model("qwen3"), contexts=str(tmp_path / name)), tmp_path)


@pytest.mark.parametrize("token", ["long", "definitely_long"])
def test_tokens_under_neighbouring_bars_do_not_run_together(token: str) -> None:
    found = {
        "candidates": [{"base_probability": 0.1, "trained_probability": 0.1, "token_text": token}] * NUM_RANKS,
        "support_size": NUM_RANKS,
        "text_before": "",
    }
    with figure_style.house_style():
        figure = figure_style.new_figure(9.6, 6.6)
        axes = figure.subplots(2, 2)[0][0]
        _draw_one(axes, found, "fork")
        FigureCanvasAgg(figure).draw()
        labels = axes.get_xticklabels()
        boxes = [label.get_window_extent() for label in labels]
        apart = boxes[1].x1 - boxes[0].x1
        for label in labels:
            turned = math.radians(label.get_rotation())
            label.set_rotation(0)
            flat = label.get_window_extent()
            # Two parallel lines of text miss each other along their own direction, or across it.
            assert apart * math.cos(turned) > flat.width or apart * math.sin(turned) > flat.height
