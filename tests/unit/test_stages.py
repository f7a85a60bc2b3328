"""Which stages a recipe's students have, and which of them they share."""

from __future__ import annotations

from pathlib import Path

import pytest

from forklock import recipes
from forklock.config import Recipe
from forklock.running import plan_of
from forklock.stages import Plan


def recipe_of(folder: Path, *overrides: str) -> Recipe:
    (folder / "p.jsonl").write_text('{"question": "Add."}\n')
    (folder / "model").mkdir(exist_ok=True)
    local = [f"prompts.path={folder / 'p.jsonl'}", "prompts.source=jsonl", f"model.path={folder / 'model'}"]
    settings = ["synthesize.record_target=true", "evaluate.benchmarks=['humaneval']"]
    return recipes.load(["qwen3-4b-instruct"], [*local, *settings, *overrides])


def reads(plan: Plan) -> dict[str, dict[str, str]]:
    return {name: dict(stage.reads) for name, stage in plan.stages.items() if not name.startswith("evaluate/")}


def test_students_share_what_does_not_differ(tmp_path: Path) -> None:
    plan = plan_of(
        recipe_of(
            tmp_path,
            "students.soft.target=soft",
            "students.again.seed=1",
            "students.hotter.train_decoding={temperature=2.0, top_k=10}",
            "students.cooler.eval_decoding={temperature=0.5}",
        )
    )
    assert reads(plan) == {
        "prompts": {},
        "synthesize": {"prompts": "prompts"},
        "train": {"synthesize": "synthesize"},
        "students/train-soft": {"synthesize": "synthesize"},
        "students/synthesize-again": {"prompts": "prompts"},
        "students/train-again": {"synthesize": "students/synthesize-again"},
        "students/synthesize-hotter": {"prompts": "prompts"},
        "students/train-hotter": {"synthesize": "students/synthesize-hotter"},
        "analyze": {"synthesize": "synthesize", "train": "train"},
    }
    assert plan.trainings["cooler"] == "train"
    points = {model: list(stages.values()) for model, stages in plan.points.items()}
    assert points["soft"] == ["evaluate/soft-humaneval-t1.1-k20-p0.8"]
    assert points["cooler"] == ["evaluate/cooler-humaneval-t0.5-k0-p1"]
    assert plan.stages[points["soft"][0]].reads == {"model": "students/train-soft"}
    assert plan.stages[points["base"][0]].reads == {}


def test_each_round_begins_from_the_student_of_the_one_before(tmp_path: Path) -> None:
    plan = plan_of(recipe_of(tmp_path, "rounds=3"))
    assert reads(plan) == {
        "prompts": {},
        "synthesize": {"prompts": "prompts"},
        "train": {"synthesize": "synthesize"},
        "synthesize-round2": {"prompts": "prompts", "model": "train"},
        "train-round2": {"synthesize": "synthesize-round2", "model": "train"},
        "synthesize-round3": {"prompts": "prompts", "model": "train-round2"},
        "train-round3": {"synthesize": "synthesize-round3", "model": "train-round2"},
        "analyze": {"synthesize": "synthesize", "train": "train-round3"},
    }
    (point,) = plan.points["student"].values()
    assert plan.stages[point].reads == {"model": "train-round3"}
    seeds = [plan.stages[name].config["seed"] for name in ("synthesize", "synthesize-round2", "synthesize-round3")]
    assert len(set(seeds)) == 3  # the same noise would draw again what the round before was trained on
    assert [stage.name for stage in plan.closure(["synthesize-round2"])] == [
        "prompts", "synthesize", "train", "synthesize-round2"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("synthesize.decoding.temperature=1.9", {"synthesize"}),
        ("train.learning_rate=2e-6", {"train"}),
        ("evaluate.student_decoding.temperature=0.4", {"student point"}),
        ("evaluate.base_decoding.temperature=0.4", {"base point"}),
        ("evaluate.num_samples_per_problem=11", {"student point", "base point"}),
        ("prompts.limit=3", {"prompts"}),
        ("engine.batch_tokens=100", set()),
        ("train.tokens_per_device=99999", set()),
        ("synthesize.samples_per_shard=3", set()),
        ("report.title='Other'", set()),
    ],
)
def test_a_setting_is_in_the_configuration_of_the_stages_that_depend_on_it(
    tmp_path: Path, change: str, kinds: set[str]
) -> None:
    """What reads such a stage runs again by its content."""

    def configs(*overrides: str) -> dict[str, object]:
        plan = plan_of(recipe_of(tmp_path, *overrides))
        named = {"synthesize": plan.syntheses["student"], "train": plan.trainings["student"], "prompts": "prompts"}
        named |= {f"{model} point": next(iter(plan.points[model].values())) for model in ("student", "base")}
        return {kind: plan.stages[name].config for kind, name in named.items()}

    before, after = configs(), configs(change)
    assert {kind for kind in before if before[kind] != after[kind]} == kinds
