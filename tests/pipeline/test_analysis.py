"""Analyses from samples and weights to figures: against dense logits in NumPy, killed and taken up, and in words."""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analysis_child import analyze
from analyze_cases import analysis_recipe, held_out_samples, run_analysis
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from forklock import theory
from forklock.analyze import AnalysisError, solution_rows
from forklock.analyze.classes import CLASSES, classify
from forklock.analyze.report import render
from forklock.analyze.rows import COLUMNS, TOKEN_STATS, read_columns, shards_in
from forklock.decoding import Decoding, logits_from, ranked_target, retained_support, target
from forklock.running import read_status

TinyModel = Callable[[str], Path]
SAMPLES = held_out_samples(20)
NUM_POSITIONS = sum(len(sample.token_ids) for sample in SAMPLES)
FIGURES = (
    "figure_05_fork_and_lock",
    "figure_06_real_model",
    "figure_class_moves",
    "figure_entropy_terms",
    "figure_syntax",
)


def nudged(model: Path, folder: Path, scale: float = 0.3) -> Path:
    """Another model of the same shape."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    for name, weight in sorted(weights.items()):
        weights[name] = weight + scale * weight.std() * torch.randn(weight.shape, generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def two_models(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tiny_model("qwen3")
    return base, nudged(base, tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def analyzed(two_models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    base, trained = two_models
    return run_analysis(analysis_recipe(base), tmp_path_factory.mktemp("run"), SAMPLES, trained)


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def all_rows(folder: Path) -> dict[str, np.ndarray]:
    names = [name for name in COLUMNS if not name.startswith("candidate_")]
    parts = [read_columns(path, names) for path in shards_in(folder)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def dense_probabilities(model: Path) -> np.ndarray:
    """Of every completion position of every sample, one sequence a pass, softmax in float64."""
    causal = AutoModelForCausalLM.from_pretrained(model).eval()
    found = []
    for sample in SAMPLES:
        ids = torch.tensor([[*sample.prompt_token_ids, *sample.token_ids]])
        with torch.no_grad():
            logits_TV = causal(ids).logits[0, len(sample.prompt_token_ids) - 1 : -1].double()
        found.append(torch.softmax(logits_TV, dim=-1).numpy())
    return np.concatenate(found)


def test_aggregates_equal_a_dense_computation(analyzed: Path, two_models: tuple[Path, Path]) -> None:
    summary = summary_of(analyzed)
    p = dict(zip(("base", "trained"), map(dense_probabilities, two_models), strict=True))
    logits = {name: logits_from(values) for name, values in p.items()}
    train = Decoding(1.6, 20, 0.8)
    support, q = retained_support(logits["base"], train), target(logits["base"], train)
    assert summary["num_solutions"] == len(SAMPLES)
    assert summary["num_positions"] == NUM_POSITIONS
    assert summary["num_solutions_without_code"] == len(SAMPLES)
    everywhere, expected_classes = summary["classes"]["all"], {}
    for name in ("base", "trained"):
        loss, entropy = theory.loss_terms(q, p[name], support, 1.6), theory.entropy_terms(p[name], support)
        own = retained_support(logits[name], train)
        choices = np.exp(theory.entropy(theory.conditional(p[name], own)))
        expected_classes[name] = classify(choices, theory.kept_mass(p[name], own))
        expected = {
            "kept_mass": theory.kept_mass(p[name], support),
            "support_compression": loss.support_compression,
            "within_support_reshaping": loss.within_support_reshaping,
            "alignment": loss.alignment,
            "gate_entropy": entropy.gate,
            "head_entropy": entropy.head,
            "tail_entropy": entropy.tail,
            "entropy": theory.entropy(p[name]),
            "top_mass": np.sort(p[name], axis=-1)[:, -20:].sum(axis=-1),
            "choices": choices,
            "share_of_forks": expected_classes[name] == "fork",
        }
        for key, values in expected.items():
            assert everywhere[key][name]["mean"] == pytest.approx(float(values.mean()), rel=1e-4, abs=1e-6), key
        cumulative = np.sort(p[name], axis=-1)[:, ::-1].cumsum(axis=-1)
        for point in summary["figures"]["cumulative_mass"]:
            assert point[name]["mean"] == pytest.approx(cumulative[:, point["rank"] - 1].mean(), rel=1e-4)
        for point in summary["figures"]["entropy_after_truncation"]:
            decoding = Decoding(point["temperature"], 20, 0.8)
            entropies = theory.entropy(target(logits[name], decoding))
            assert point[name]["mean"] == pytest.approx(entropies.mean(), rel=1e-4)
        for point in summary["figures"]["surviving_tokens"]:
            decoding = Decoding(point["temperature"], 20, 0.8)
            survivors = ranked_target(logits[name], decoding).num_retained
            assert point[name]["mean"] == pytest.approx(survivors.mean(), rel=1e-3)
    moves = {
        before: {
            after: int(((expected_classes["base"] == before) & (expected_classes["trained"] == after)).sum())
            for after in CLASSES
        }
        for before in CLASSES
    }
    assert summary["moves"] == moves
    assert sum(sum(row.values()) for row in moves.values()) == NUM_POSITIONS
    assert [point["temperature"] for point in summary["figures"]["surviving_tokens"]] == [0.7, 1.1, 1.5]


def test_figure_6d_bins_positions_by_their_own_top_20_mass(analyzed: Path) -> None:
    rows, bins = all_rows(analyzed), summary_of(analyzed)["figures"]["entropy_by_top_mass"]
    for name in ("base", "trained"):
        assert sum(one[name]["num_positions"] for one in bins) == NUM_POSITIONS
        for one in bins:
            mass = rows[f"{name}_top_mass"].astype(np.float64)
            is_in = (1 - mass <= 1 - one["top_mass_from"] + 1e-12) & (1 - mass > 1 - one["top_mass_to"] + 1e-12)
            if one["top_mass_to"] == 1.0:
                continue
            assert one[name]["num_positions"] == is_in.sum()
            if is_in.any():
                entropy = rows[f"{name}_entropy_after_truncation"][is_in, 1].mean()
                assert one[name]["mean"] == pytest.approx(entropy, rel=1e-5)


def test_rows_say_what_was_drawn_and_candidates_hold_the_top_tokens(analyzed: Path) -> None:
    rows, tokens = all_rows(analyzed), {sample.key: sample.token_ids for sample in SAMPLES}
    seen: dict[tuple[str, int], list[int]] = {}
    columns = (rows[name].tolist() for name in ("prompt_id", "sample_index", "position", "token_id"))
    for prompt_id, index, position, token_id in zip(*columns, strict=True):
        assert len(seen.setdefault((prompt_id, index), [])) == position
        seen[prompt_id, index].append(token_id)
    assert {key: tuple(ids) for key, ids in seen.items()} == tokens  # without the one that was trained on
    assert set(rows["syntax"]) == {"prose", "special token"}
    for path in shards_in(analyzed):
        for row in TOKEN_STATS.open(path).read().to_pylist():
            best = row["candidate_base_probabilities"][0]
            assert row["candidate_ids"][0] == row["base_top_id"]
            assert best == max(row["candidate_base_probabilities"])
            assert best == pytest.approx(row["base_mass_by_rank"][0])
            assert row["trained_top_id"] in row["candidate_ids"]
            assert len(set(row["candidate_ids"])) == len(row["candidate_ids"]) >= 20


def test_positions_at_once_and_batches_change_nothing(
    analyzed: Path, two_models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solution_rows, "LOGITS_AT_ONCE", 295 * 3)
    base, trained = two_models
    recipe = analysis_recipe(base)
    alone = recipe.model_copy(update={"train": recipe.train.model_copy(update={"tokens_per_device": 62})})
    other = run_analysis(alone, tmp_path, SAMPLES, trained)
    one, two = all_rows(analyzed), all_rows(other)
    for name, kind in COLUMNS.items():
        if name.startswith("candidate_"):
            continue
        if "float" in kind:
            np.testing.assert_allclose(one[name], two[name], rtol=2e-4, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_the_base_beside_itself_has_not_changed(tiny_model: TinyModel, tmp_path: Path) -> None:
    base = tiny_model("llama")
    summary = summary_of(run_analysis(analysis_recipe(base), tmp_path, SAMPLES, base))
    differences = list(find(summary, "difference"))
    assert len(differences) > 50
    # Not exactly zero: threads may add up one model's hidden states in another order than the other's.
    found = [one["mean"] for one in differences if one["mean"] is not None]
    assert max(map(abs, found)) < 1e-6, max(map(abs, found))
    moves = summary["moves"]
    assert all(moves[before][after] == 0 for before in CLASSES for after in CLASSES if after != before)
    assert sum(moves[name][name] for name in CLASSES) == NUM_POSITIONS
    assert summary["most_changed_tokens"] == {"rose": [], "fell": []}
    assert summary["classes"]["all"]["top_token_changed"]["mean"] == 0.0


def find(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from find(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from find(inner, key)


def test_a_sharper_head_is_the_base_at_a_lower_temperature(tiny_model: TinyModel, tmp_path: Path) -> None:
    """Head weights times c: the trained model is Temper_{1/c}[base], whose KeptMass and entropy theory gives."""
    base, sharper, factor = tiny_model("qwen3"), tmp_path / "sharper", 1.5
    shutil.copytree(base, sharper)
    weights = load_file(sharper / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"] * factor
    save_file(weights, sharper / "model.safetensors", metadata={"format": "pt"})
    everywhere = summary_of(run_analysis(analysis_recipe(base), tmp_path / "run", SAMPLES, sharper))["classes"]["all"]
    p = dense_probabilities(base)
    support = retained_support(logits_from(p), Decoding(1.6, 20, 0.8))
    kept_mass = theory.tempered_kept_mass(p, support, 1 / factor).mean()
    entropy = theory.entropy(theory.temper(p, 1 / factor)).mean()
    assert everywhere["kept_mass"]["trained"]["mean"] == pytest.approx(kept_mass, rel=1e-4)
    assert everywhere["entropy"]["trained"]["mean"] == pytest.approx(entropy, rel=1e-4)
    assert everywhere["kept_mass"]["difference"]["mean"] > 0.0 > everywhere["entropy"]["difference"]["mean"]
    assert everywhere["top_token_changed"]["mean"] == 0.0


def test_an_adapter_is_added_to_the_base(two_models: tuple[Path, Path], tmp_path: Path) -> None:
    import peft

    base, _ = two_models
    causal = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted: Any = peft.get_peft_model(causal, config)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    means = [
        summary_of(run_analysis(analysis_recipe(base), tmp_path / f"run-{name}", SAMPLES, tmp_path / name))["classes"][
            "all"
        ]
        for name in ("adapter", "merged")
    ]
    assert means[0]["kept_mass"]["trained"]["mean"] == pytest.approx(means[1]["kept_mass"]["trained"]["mean"], rel=1e-5)
    assert abs(means[0]["kept_mass"]["difference"]["mean"]) > 1e-3


def test_bfloat16_is_measured_too(two_models: tuple[Path, Path], tmp_path: Path) -> None:
    base, trained = two_models
    recipe = analysis_recipe(base)
    narrow = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": "bfloat16"})})
    folder = run_analysis(narrow, tmp_path, SAMPLES, trained)
    rows = all_rows(folder)
    for name in ("base", "trained"):
        terms = sum(rows[f"{name}_{term}_entropy"] for term in ("gate", "head", "tail"))
        np.testing.assert_allclose(terms, rows[f"{name}_entropy"], rtol=1e-4, atol=1e-5)


def test_code_is_told_from_prose(two_models: tuple[Path, Path], tmp_path: Path) -> None:
    base, trained = two_models
    text = "Sorted:\n```python\ndef solve(xs):\n    return sorted(xs)\n```"
    lines = [{"prompt": f"<|im_start|>user\n{n}", "completion": text + "<|im_end|>"} for n in range(3)]
    contexts = tmp_path / "contexts.jsonl"
    contexts.write_text("\n".join(map(json.dumps, lines)))
    folder = run_analysis(analysis_recipe(base, contexts=str(contexts)), tmp_path / "run", SAMPLES, trained)
    summary = summary_of(folder)
    assert summary["num_solutions_without_code"] == 0
    assert summary["contexts"] == str(contexts)
    by_syntax = {one["syntax"]: one for one in summary["syntax"]}
    assert by_syntax["keyword"]["num_positions"] == 3 * 2
    assert by_syntax["special token"]["num_positions"] == 3
    assert by_syntax["new name"]["num_solutions"] == 3
    assert sum(one["num_positions"] for one in summary["syntax"]) == summary["num_positions"]
    rows = all_rows(folder)
    assert "".join(rows["token_text"][: len(rows["token_text"]) // 3]) == text + "<|im_end|>"


def test_the_example_of_each_class_moved_further_than_three_quarters_of_it(analyzed: Path) -> None:
    examples, rows = summary_of(analyzed)["examples"], all_rows(analyzed)
    for name in ("fork", "lock"):
        example, is_of_class = examples[name], rows["base_class"] == name
        assert (example is None) == (not is_of_class.any())
        if example is None:  # a model of random weights has no lock
            continue
        moved = rows["total_variation"][is_of_class]
        at_most, below = (moved <= example["total_variation"]).mean(), (moved < example["total_variation"]).mean()
        assert below < 0.75 <= at_most
        assert example["num_positions_of_class"] == len(moved)
        assert example["base_class"] == name
        top = examples["mass_by_base_rank"][name][0]
        assert top["base"]["mean"] == pytest.approx(rows["base_mass_by_rank"][is_of_class, 0].mean(), rel=1e-5)
        is_same = is_of_class & (rows["prompt_id"] == example["prompt_id"])
        place = np.flatnonzero(is_same & (rows["position"] == example["position"]))[0]
        assert example["text_before"].endswith("".join(rows["token_text"][place - 2 : place]))
        drawn = [one for one in example["candidates"] if one["token_id"] == rows["token_id"][place]]
        assert all(one["trained_probability"] == pytest.approx(rows["trained_probability"][place]) for one in drawn)
        assert sum(one["is_retained"] for one in example["candidates"]) == min(10, rows["support_size"][place])


def test_figures_and_their_data_are_written(analyzed: Path) -> None:
    folder = analyzed / "figures"
    summary = summary_of(analyzed)
    for name in FIGURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.svg").read_text().rstrip().endswith("</svg>")
    with (folder / "figure_06b_surviving_tokens.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, point in zip(rows, summary["figures"]["surviving_tokens"], strict=True):
        assert float(row["temperature"]) == point["temperature"]
        assert float(row["trained_mean"]) == point["trained"]["mean"]
        assert float(row["difference_standard_error"]) == point["difference"]["standard_error"]
    with (folder / "figure_class_moves.csv").open() as file:
        assert sum(int(row["num_positions"]) for row in csv.DictReader(file)) == NUM_POSITIONS
    assert len(list(folder.glob("*.csv"))) == 9


def test_the_terminal_says_which_differences_are_noise(analyzed: Path) -> None:
    from rich.console import Console

    console = Console(width=120, record=True)
    summary = summary_of(analyzed)
    console.print(render(summary))
    text = console.export_text()
    assert f"{NUM_POSITIONS:,}" in text
    assert "held-out samples" in text
    assert "no Python token classes there" in text
    difference = summary["classes"]["all"]["kept_mass"]["difference"]
    assert f"{difference['mean']:+.4f} ({difference['standard_error']:.4f})" in text


def test_a_missing_model_is_said(two_models: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"train/model: there is no trained model; run `forklock train` first"):
        run_analysis(analysis_recipe(two_models[0]), tmp_path, SAMPLES, None)


@pytest.mark.slow
def test_killed_anywhere_and_run_again_gives_the_same_bytes(two_models: tuple[Path, Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["analysis_child", "pyarrow.parquet", "transformers.models.qwen3.modeling_qwen3"])
    base, trained = two_models
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"

    def run(folder: Path, *fault: Any) -> int | None:
        child = context.Process(target=analyze, args=(str(base), str(trained), str(folder), *fault))
        child.start()
        child.join()
        return child.exitcode

    assert run(undisturbed) == 0
    for fault in (("keep", 1), ("kept", 1), ("rows", 0), ("kept", 1), ("draw", 0)):
        assert run(disturbed, *fault) == -signal.SIGKILL
    assert (disturbed / "analyze" / "tokens-00002.parquet").exists()
    assert not (disturbed / "analyze" / "manifest.json").exists()
    assert run(disturbed) == 0
    for path in sorted((undisturbed / "analyze").rglob("*")):
        if path.suffix in (".parquet", ".csv", ".png", ".svg") or path.name == "summary.json":
            assert path.read_bytes() == (disturbed / "analyze" / path.relative_to(undisturbed / "analyze")).read_bytes()
    assert not (disturbed / "analyze" / "scratch").exists()


@pytest.mark.slow
def test_the_command_makes_what_is_missing_and_no_evaluation(tmp_path: Path) -> None:
    contexts, run_dir = tmp_path / "contexts.jsonl", tmp_path / "run"
    lines = [{"prompt": f"{n}\n", "completion": "```python\ndef solve(xs):\n    return xs\n```"} for n in range(3)]
    contexts.write_text("\n".join(map(json.dumps, lines)))
    settings = ["prompts.limit=8", "train.epochs=none", "train.steps=2", "train.warmup_steps=1"]
    command = [sys.executable, "-m", "forklock", "analyze", "demo", "--run-dir", str(run_dir), "--json"]
    command += [part for setting in settings for part in ("--set", setting)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "no solution is held out" in json.loads(refused.stdout)["error"]
    command += ["--set", f"analyze.contexts={contexts}"]
    done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert done["num_solutions"] == 3
    assert done["num_solutions_without_code"] == 0
    assert {"synthesize", "train", "analyze"} <= {path.name for path in run_dir.iterdir()}
    assert not (run_dir / "evaluate").exists()
    states = {stage.stage: stage.state for stage in read_status(run_dir).stages}
    assert states["analyze"] == "done"
    contexts.write_text(contexts.read_text().replace("return xs", "return sorted(xs)"))
    states = {stage.stage: stage.state for stage in read_status(run_dir).stages}
    assert (states["train"], states["analyze"]) == ("done", "stale")
