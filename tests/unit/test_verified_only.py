"""The baseline whose training may see verdicts: no recipe becomes one by accident, and it is trained on what passed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from report_cases import concluded
from rich.console import Console
from sandbox_cases import open_sandbox
from train_cases import VOCABULARY, make_recipe, make_sample

from forklock import recipes, running
from forklock.benchmarks.microworld import training_problems
from forklock.evaluate import verdicts_in
from forklock.evaluate.figures import curves
from forklock.evaluate.report import NOT_DISTILLATION
from forklock.evaluate.table import render
from forklock.prompts import load_prompts
from forklock.recipes import RecipeError
from forklock.sampling import samples_in
from forklock.train import VERIFIED, TrainingError
from forklock.train.data import load_data

BASELINE = "demo-verified-only-baseline"


@pytest.mark.parametrize(
    ("layers", "overrides", "said"),
    [
        (["demo"], ["train.only_verified_samples=true"], 'has "verified-only" in its `name`'),
        (["stress-test"], ["train.only_verified_samples=true"], 'has "verified-only" in its `name`'),
        (
            ["stress-test"],
            ["train.only_verified_samples=true", "name=stress-verified-only"],
            'source = "rstar-coder" are not known',
        ),
    ],
)
def test_a_recipe_has_to_say_it_by_its_name_and_know_the_tests(
    layers: list[str], overrides: list[str], said: str
) -> None:
    with pytest.raises(RecipeError, match="only_verified_samples") as error:
        recipes.load(layers, overrides)
    assert said in str(error.value)


def test_no_other_recipe_lets_a_verdict_near_its_training() -> None:
    for name, _ in recipes.shipped():
        recipe = recipes.load([name])
        plan = running.plan_of(recipe)
        readers = {stage.name for stage in plan.stages.values() if VERIFIED in stage.reads}
        assert readers == ({"train"} if name == BASELINE else set())
        for stage in plan.stages.values():
            is_known = "only_verified_samples" in json.dumps(stage.config)
            assert is_known is (name == BASELINE and stage.name == "train")


def test_its_stages_are_in_order_and_named_for_what_they_are() -> None:
    plan = running.plan_of(recipes.load([BASELINE], ["students.again.seed=1"]))
    reads = {name: dict(stage.reads) for name, stage in plan.stages.items() if not name.startswith("evaluate/")}
    assert reads["verified-only"] == {"synthesize": "synthesize"}
    assert reads["train"] == {"synthesize": "synthesize", VERIFIED: "verified-only"}
    again = "students/verified-only-again"
    assert reads["students/train-again"] == {"synthesize": "students/synthesize-again", VERIFIED: again}


def test_only_what_passed_is_trained_on_and_the_rest_is_counted() -> None:
    samples = [make_sample(number) for number in range(24)]
    passed = {sample.key for sample in samples[::3]}
    data = load_data(make_recipe(), samples, VOCABULARY, passed)
    assert {sequence.key for sequence in data.sequences} == passed
    assert (data.counts.num_failed_tests, data.counts.num_trained_on) == (16, 8)
    with pytest.raises(TrainingError, match="24 failed their problems' tests"):
        load_data(make_recipe(), samples, VOCABULARY, set())


def test_the_tests_are_those_of_the_prompts() -> None:
    recipe = recipes.load([BASELINE], ["prompts.limit=40"])
    problems = training_problems(recipe.prompts.revision, recipe.prompts.limit)
    prompts = load_prompts(recipe.prompts, recipe.seed).prompts
    assert {prompt.prompt_id: prompt.statement for prompt in prompts} == {
        name: problem.prompt.statement for name, problem in problems.items()
    }


def test_no_result_calls_it_self_distillation(tmp_path: Path) -> None:
    recipe = recipes.load([BASELINE], ["students.again.seed=1", "evaluate.num_samples_per_problem=10"])
    report = concluded(recipe, tmp_path, lambda point: [5, 6, 7] * 10)
    benchmark = report["benchmarks"]["microworld"]
    assert any(sentence.startswith("pass@1: verified-only again (T=1.6") for sentence in benchmark["verdict"])
    console = Console(width=80, record=True)
    console.print(render(report))
    text = console.export_text()
    assert re.search(r"^verified-only  .*\nT=1.6", text, re.MULTILINE)
    assert f"note: {NOT_DISTILLATION}" in " ".join(text.split())
    drawn = [curve.label.partition(",")[0] for curve in curves(benchmark)]
    assert set(drawn) == {"base", "verified-only", "verified-only again"}
    assert "+SSD" not in json.dumps(report) + text


@pytest.mark.slow
def test_the_baseline_trains_on_the_samples_that_pass(tmp_path: Path) -> None:
    with open_sandbox():
        pass  # or skip
    overrides = ["prompts.limit=60", "train.steps=2", "train.warmup_steps=0", "synthesize.decoding.temperature=0.3"]
    recipe = recipes.load([BASELINE], overrides)
    summary = running.run_until(recipe, tmp_path / "run", "train")
    verdicts = {verdict.key: verdict.passed for verdict in verdicts_in(tmp_path / "run" / "verified-only")}
    assert set(verdicts) == {sample.key for sample in samples_in(tmp_path / "run" / "synthesize")}
    assert 0 < sum(verdicts.values()) < len(verdicts) == 60
    assert summary["num_failed_tests"] == 60 - sum(verdicts.values())
    assert summary["num_trained_on"] == sum(verdicts.values())
    card = (tmp_path / "run" / "train" / "model" / "README.md").read_text()
    assert "on those of its own samples alone that passed their problems' tests." in card
    assert "No sample was checked" not in card
