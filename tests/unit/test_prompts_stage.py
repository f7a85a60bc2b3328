"""The Parquet file of prompts, and the stage that writes it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompts_cases import write_jsonl

from forklock import prompts, recipes
from forklock.config import Recipe
from forklock.prompts import Prompt, read_prompts, write_prompts
from forklock.run_dir import Stage, StageError, StageResult, open_run, run_stages
from forklock.run_dir.stage import StageDir
from forklock.tables import TableError

text = st.text(st.characters(exclude_categories=["Cs"]))
any_prompt = st.builds(Prompt, text, text, text, st.sampled_from(["program", "function", "completion"]))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(rows=st.lists(any_prompt, max_size=20))
def test_prompts_survive_the_file_and_equal_prompts_give_equal_bytes(
    rows: list[Prompt], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("prompts")
    write_prompts(folder / "a.parquet", rows)
    write_prompts(folder / "b.parquet", rows)
    assert read_prompts(folder / "a.parquet") == rows
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()


def test_other_versions_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    write_prompts(path, [Prompt("1", "A")])
    schema = pq.read_schema(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"forklock.prompts.version": "2"}), path)
    with pytest.raises(
        TableError, match=r"holds prompts of version 2 .* reads version 1 .*make the prompts stage again"
    ):
        read_prompts(path)
    pq.write_table(pa.table({"prompt_id": ["1"]}).replace_schema_metadata(schema.metadata), path)
    with pytest.raises(TableError, match=r"version 1 \(prompt_id\), and this forklock reads version 1 \(prompt_id, "):
        read_prompts(path)
    pq.write_table(pa.table({"question": ["A"]}), path)
    with pytest.raises(TableError, match="does not hold prompts that forklock wrote"):
        read_prompts(path)
    path.write_bytes(b"x")
    with pytest.raises(TableError, match="cannot be read as prompts"):
        read_prompts(path)
    with pytest.raises(TableError, match=r"nothing\.parquet: cannot be read as prompts"):
        read_prompts(tmp_path / "nothing.parquet")


def recipe_for(source: Path, *overrides: str) -> Recipe:
    prompts_of_file = ['prompts.source="jsonl"', f'prompts.path="{source}"', 'prompts.on_bad_row="skip"']
    return recipes.load(["qwen3-4b-instruct"], [*prompts_of_file, *overrides])


def make(run_dir: Path, recipe: Recipe) -> StageResult:
    def body(stage_dir: StageDir) -> None:
        prompts.run(recipe, stage_dir)

    stage = Stage(
        name="prompts",
        body=body,
        config=prompts.stage_config(recipe),
        inputs=prompts.input_files(recipe.prompts),
    )
    with open_run(run_dir) as run:
        return run_stages(run, [stage])[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows: list[Any] = [{"question": f"Problem {number % 5}"} for number in range(8)]
    return write_jsonl(tmp_path / "source.jsonl", [*rows, 3])


def test_the_stage_writes_prompts_and_counts(source: Path, tmp_path: Path) -> None:
    result = make(tmp_path / "run", recipe_for(source))
    assert [prompt.statement for prompt in read_prompts(result.path / "prompts.parquet")] == [
        f"Problem {number}" for number in range(5)
    ]
    assert json.loads((result.path / "counts.json").read_text()) == {
        "counts": {
            "num_rows_read": 9,
            "num_malformed": 1,
            "num_duplicates": 3,
            "num_other_starter_code": 0,
            "num_unique": 5,
            "num_kept": 5,
        },
        "origins": [str(source)],
        "bad_rows": [{"place": f"{source} line 9", "fault": "is a JSON int, not an object"}],
    }
    other = make(tmp_path / "again", recipe_for(source))
    assert other.manifest.outputs == result.manifest.outputs


def test_the_stage_runs_again_for_what_matters_alone(source: Path, tmp_path: Path) -> None:
    run_dir, moved = tmp_path / "run", tmp_path / "moved.jsonl"
    moved.write_bytes(source.read_bytes())
    actions = [
        make(run_dir, recipe_for(source)).action,
        make(run_dir, recipe_for(moved, 'prompts.template="t.jinja"', "seed=5")).action,
        make(run_dir, recipe_for(source, "prompts.limit=2")).action,
        make(run_dir, recipe_for(source, "prompts.shuffle=true")).action,
        make(run_dir, recipe_for(source, "prompts.shuffle=true", "seed=5")).action,
    ]
    assert actions == ["ran", "skipped", "ran", "ran", "ran"]
    source.write_text('{"question": "Another"}\n')
    assert make(run_dir, recipe_for(source)).action == "ran"


def test_a_source_that_changed_between_a_kill_and_the_next_call_is_told(source: Path, tmp_path: Path) -> None:
    recipe = recipe_for(source)

    class KilledError(Exception):
        pass

    def body(stage_dir: StageDir) -> None:
        prompts.run(recipe, stage_dir)

    def killed(stage_dir: StageDir) -> None:
        loaded = prompts.load_prompts(recipe.prompts, recipe.seed)
        with stage_dir.new_file("prompts.parquet") as path:
            write_prompts(path, loaded.prompts)
        raise KilledError

    def call(a_body: Any) -> None:
        with open_run(tmp_path / "run") as run:
            run_stages(run, [Stage(name="prompts", body=a_body)])

    with pytest.raises(KilledError):
        call(killed)
    original = source.read_text()
    source.write_text('{"question": "Another"}\n')
    with pytest.raises(StageError, match="made it again with other content"):
        call(body)
    source.write_text(original)
    call(body)
    assert (tmp_path / "run" / "prompts" / "counts.json").is_file()
