"""The microworld meets the pipeline as any source, benchmark and model does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from pydantic import ValidationError
from sandbox_cases import open_sandbox

from forklock import hub_commits, recipes
from forklock.benchmarks import VerdictName, load_benchmark
from forklock.benchmarks.problem import BenchmarkError
from forklock.config import PromptsConfig, Recipe
from forklock.microworld.other_operations import OPERATIONS
from forklock.microworld.problems import draw_problems, split_of
from forklock.microworld.programs import as_answer, write_in_styles, write_program
from forklock.microworld.rows import NUM_EVALUATION_PROBLEMS, OutputError, SeedError, write_problems
from forklock.microworld.settings import base_folder
from forklock.prompts import Prompt, load_prompts, stage_config

RECIPE = """
name = "small"
purpose = "a test"
[model]
path = "microworld"
[prompts]
source = "microworld"
limit = 20
[synthesize]
decoding = { temperature = 0.7, top_k = 20, top_p = 0.9 }
[train]
steps = 1
[evaluate]
benchmarks = ["microworld"]
base_decoding = { temperature = 0.7, top_k = 20, top_p = 0.8 }
student_decoding = { temperature = 1.6, top_k = 20, top_p = 0.8 }
"""


def load(tmp_path: Path, *overrides: str) -> Recipe:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return recipes.load([str(path)], overrides)


def test_prompts_are_of_their_split_and_bring_no_tests() -> None:
    loaded = load_prompts(PromptsConfig(source="microworld", limit=50), 0)
    expected = [Prompt(one.problem_id, one.statement, form="function") for one in draw_problems("ssd", 0, 50)]
    assert loaded.prompts == expected
    assert (loaded.counts.num_duplicates, loaded.counts.num_kept) == (0, 50)


def test_the_revision_of_prompts_is_their_seed(tmp_path: Path) -> None:
    config = PromptsConfig(source="microworld", limit=20, revision="4")
    statements = [one.statement for one in draw_problems("ssd", 4, 20)]
    assert [prompt.statement for prompt in load_prompts(config, 0).prompts] == statements
    plain, other = load(tmp_path), load(tmp_path, 'prompts.revision="4"')
    assert stage_config(plain) != stage_config(other)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"path": "here"}, "has no `path`"),
        ({"split": "eval"}, "has no `path`, `subset` or `split`"),
        ({"revision": "main"}, "is a seed"),
        ({"columns": {"statement": "x"}}, "has `columns` of its own"),
    ],
)
def test_what_the_source_does_not_have_is_refused(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PromptsConfig.model_validate({"source": "microworld", **setting})


def test_model_path_means_the_base_that_the_recipe_names(tmp_path: Path) -> None:
    assert load(tmp_path).model.path == str(base_folder("leaky"))
    firm = load(tmp_path, "microworld.base=firm")
    assert firm.model.path == str(base_folder("firm"))
    again = tmp_path / "again.toml"
    again.write_text(recipes.to_toml(firm))
    assert recipes.load([str(again)]) == firm
    assert load(tmp_path, "model.path=Qwen/Qwen3-4B").model.path == "Qwen/Qwen3-4B"


def test_nothing_is_asked_of_the_hub(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    assert hub_commits.pin(recipe, tmp_path, with_benchmarks=True) == recipe
    assert not (tmp_path / hub_commits.HUB_COMMITS_FILE).exists()


def test_the_benchmark_is_the_evaluation_split_and_its_revision_a_seed(tmp_path: Path) -> None:
    loaded = load_benchmark("microworld")
    assert len(loaded.problems) == NUM_EVALUATION_PROBLEMS
    assert not loaded.notes
    operations = {one.problem_id: one.operations for one in draw_problems("eval", 0, NUM_EVALUATION_PROBLEMS)}
    assert {split_of(operations[problem.problem_id]) for problem in loaded.problems} == {"eval"}
    fresh = load_benchmark("microworld", revision="9")
    assert [one.prompt.statement for one in fresh.problems] != [one.prompt.statement for one in loaded.problems]
    path = tmp_path / "fresh.jsonl"
    write_problems(path, "eval", 9, NUM_EVALUATION_PROBLEMS)
    from_file = load_benchmark("microworld", str(path)).problems
    assert [(one.prompt, one.difficulty) for one in from_file] == [
        (one.prompt, one.difficulty) for one in fresh.problems
    ]
    with pytest.raises(SeedError, match="must be a seed"):
        load_benchmark("microworld", revision="main")


def test_right_answers_pass_and_others_get_the_verdict_they_earn() -> None:
    chance = Random(0)
    drawn = {one.problem_id: one for one in draw_problems("eval", 0, NUM_EVALUATION_PROBLEMS)}
    problems = load_benchmark("microworld").problems[:25]
    with open_sandbox() as sandbox:
        for problem in problems:
            code = problem.answer_in(as_answer(write_program(drawn[problem.problem_id], 0.0, chance)), "instruct")
            assert code is not None
            score = problem.score(code, sandbox)
            assert (score.verdict, score.num_tests_run) == (VerdictName.PASSED, 10), code
        verdicts = {
            "def solve(x):\n    return 'no'": VerdictName.WRONG_ANSWER,
            "def solve(x):\n    return x.nothing": VerdictName.RUNTIME_ERROR,
            "def solve(x): return )": VerdictName.COMPILE_ERROR,
            "def solve(x):\n    while True: pass": VerdictName.TIMEOUT,
            "def other(x): return x": VerdictName.RUNTIME_ERROR,
        }
        for code, verdict in verdicts.items():
            assert problems[0].score(code, sandbox).verdict is verdict, code
        assert problems[0].answer_in("no block", "instruct") is None


def test_wrong_idioms_fail_in_the_benchmark() -> None:
    names = {name for name, one in OPERATIONS.items() if one.wrong is not None and split_of((name,)) == "eval"}
    drawn = {one.problem_id: one for one in draw_problems("eval", 0, NUM_EVALUATION_PROBLEMS)}
    seen = set()
    with open_sandbox() as sandbox:
        for problem in load_benchmark("microworld").problems:
            one = drawn[problem.problem_id]
            if one.operations[0] in names - seen and len(one.operations) == 1:
                seen.add(one.operations[0])
                wrong = OPERATIONS[one.operations[0]].wrong
                assert wrong is not None
                score = problem.score(write_in_styles(one, [wrong], Random(0)), sandbox)
                assert score.verdict in (VerdictName.WRONG_ANSWER, VerdictName.RUNTIME_ERROR)
    assert seen == names != set()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"difficulty": "odd"}, "`difficulty` is 'odd'"), ({"tests": "[1]"}, "`tests` is not a JSON list of pairs")],
)
def test_a_malformed_file_is_named(changes: dict[str, str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    write_problems(path, "eval", 1, 1)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BenchmarkError, match=said):
        load_benchmark("microworld", str(path))


def test_prompts_written_to_a_file_hold_no_tests(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    write_problems(path, "ssd", 1, 5)
    assert all("tests" not in json.loads(line) for line in path.read_text().splitlines())
    assert len(load_prompts(PromptsConfig(source="jsonl", path=str(path)), 0).prompts) == 5


def test_the_command_writes_problems_of_a_seed(tmp_path: Path) -> None:
    path = tmp_path / "fresh.jsonl"
    command = [sys.executable, "-m", "forklock", "microworld", "problems", "--seed", "5", "--num", "3"]
    done = subprocess.run([*command, "--out", str(path), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["num_problems"] == 3
    assert [json.loads(line)["question"] for line in path.read_text().splitlines()] == [
        problem.statement for problem in draw_problems("eval", 5, 3)
    ]


def test_a_missing_folder_for_problems_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("none/deep", "file"):
        with pytest.raises(OutputError, match=rf"x\.jsonl: there is no folder {tmp_path / name}; make it first"):
            write_problems(tmp_path / name / "x.jsonl", "eval", 1, 1)
