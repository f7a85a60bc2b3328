"""Recipes against the paper's tables, and what happens to wrong ones."""

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from forklock import recipes
from forklock.config import Recipe
from forklock.decoding import Decoding
from forklock.recipes import RecipeError
from forklock.recipes.reference import as_markdown, rows

# Tables 3 and 4: generation, evaluation of the student, baseline of the frozen model.
PAPER_DECODINGS = {
    "llama-3.1-8b-instruct": ((0.8, 20, 0.8), (0.7, 20, 0.8), (0.9, 0, 0.8)),
    "qwen3-4b-instruct": ((1.6, 20, 0.8), (1.1, 20, 0.8), (0.7, 20, 0.8)),
    "qwen3-4b-thinking": ((1.1, 20, 0.95), (0.7, 20, 0.95), (0.6, 20, 0.95)),
    "qwen3-30b-instruct": ((1.6, 20, 0.8), (0.9, 20, 0.8), (0.7, 20, 0.8)),
    "qwen3-30b-thinking": ((1.2, 20, 0.95), (0.7, 20, 0.9), (0.6, 20, 0.95)),
}
SHIPPED = [name for name, _ in recipes.shipped()]


@pytest.mark.parametrize("name", PAPER_DECODINGS)
def test_paper_models_have_the_decodings_of_tables_3_and_4(name: str) -> None:
    recipe = recipes.load([name])
    generation, evaluation, baseline = (Decoding(*setting) for setting in PAPER_DECODINGS[name])
    assert recipe.synthesize.decoding == generation
    assert recipe.evaluate.student_decoding == evaluation
    assert recipe.evaluate.base_decoding == baseline


@pytest.mark.parametrize("name", PAPER_DECODINGS)
def test_paper_models_have_the_schedule_of_section_c1(name: str) -> None:
    recipe = recipes.load([name])
    is_thinking = name.endswith("thinking")
    assert recipe.model.style == ("thinking" if is_thinking else "instruct")
    assert recipe.synthesize.num_samples_per_prompt == 1
    assert recipe.synthesize.max_sequence_tokens == recipe.evaluate.max_sequence_tokens == 128 * 1024
    train = recipe.train
    assert (train.adam_beta1, train.adam_beta2, train.weight_decay) == (0.9, 0.95, 0.1)
    assert (train.learning_rate, train.final_learning_rate) == (5e-6, 1e-6)
    assert (train.global_batch_size, train.max_sequence_tokens) == (32, 65_536)
    expected = (300, 50, 50) if is_thinking else (2500, 250, 250)
    assert (train.steps, train.warmup_steps, train.checkpoint_every_steps) == expected
    assert recipe.evaluate.num_samples_per_problem == 10
    assert recipe.evaluate.pass_k == (1, 5)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_load_bear_their_file_name_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = recipes.load([name])
    assert recipe.name == name
    assert recipe.purpose
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(recipes.to_toml(recipe))
    assert recipes.load([str(resolved)]) == recipe


def test_files_compose_left_to_right_and_overrides_come_last(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('[train]\nsteps = 7\nwarmup_steps = 1\n[model]\npath = "a"')
    second.write_text('[train]\nsteps = 8\n[prompts]\nsource = "jsonl"\npath = "p.jsonl"')
    recipe = recipes.load(
        ["qwen3-4b-instruct", str(first), str(second)],
        ["train.learning_rate=1e-5", "model.path=some/model", "evaluate.pass_k=[1, 10]"],
    )
    assert (recipe.train.steps, recipe.train.warmup_steps, recipe.train.learning_rate) == (8, 1, 1e-5)
    assert recipe.model.path == "some/model"
    assert recipe.model.style == "instruct"
    assert (recipe.prompts.source, recipe.prompts.path) == ("jsonl", str(tmp_path / "p.jsonl"))
    assert recipe.evaluate.pass_k == (1, 10)


def test_a_decoding_composes_key_by_key() -> None:
    recipe = recipes.load(["qwen3-4b-instruct"], ["synthesize.decoding.temperature=1.2"])
    assert recipe.synthesize.decoding == Decoding(1.2, 20, 0.8)


def test_none_takes_an_inherited_key_away(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[train]\nsteps = "none"\nepochs = 2')
    recipe = recipes.load(["qwen3-4b-instruct", str(mine)])
    assert (recipe.train.steps, recipe.train.epochs) == (None, 2.0)


def test_taking_away_what_is_not_there_changes_nothing() -> None:
    assert recipes.load(["qwen3-4b-instruct"], ["train.lora.rank=none"]) == recipes.load(["qwen3-4b-instruct"])


def test_a_recipe_extends_others_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "common.toml").write_text('extends = ["qwen3-4b-instruct"]\nseed = 5')
    (tmp_path / "here" / "mine.toml").write_text('extends = ["../common.toml"]\npurpose = "mine"')
    monkeypatch.chdir(tmp_path)
    recipe = recipes.load(["here/mine.toml"])
    assert (recipe.seed, recipe.purpose, recipe.name) == (5, "mine", "qwen3-4b-instruct")


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        (
            "[synthesize.decoding]\ntopp = 0.8",
            [],
            "FILE: synthesize.decoding.topp: unknown key (did you mean `top_p`?)",
        ),
        ("[trian]\nsteps = 3", [], "FILE: trian: unknown key (did you mean `train`?)"),
        ("[train.lora]\nrnk = 3", [], "FILE: train.lora.rnk: unknown key (did you mean `rank`?)"),
        (
            "[sweep]\ntrain_truncations = [{ topk = 3 }]",
            [],
            "FILE: sweep.train_truncations.0.topk: unknown key (did you mean `top_k`?)",
        ),
        ('[train]\ntarget = "sof"', [], "FILE: train.target: 'sof' is none of hard, soft (did you mean `soft`?)"),
        ('[train]\nlearning_rate = "5e-6"', [], "FILE: train.learning_rate: should be a valid number, not '5e-6'"),
        ("[train]\nsteps = true", [], "FILE: train.steps: should be a valid integer, not True"),
        (
            "[synthesize.decoding]\ntop_p = 3.0",
            [],
            "FILE: synthesize.decoding.top_p: should be less than or equal to 1, not 3.0",
        ),
        (
            "",
            ["train.lora.rank=-3"],
            "--set train.lora.rank=-3: train.lora.rank: should be greater than 0, not -3",
        ),
        (
            "",
            ["train.lerning_rate=none"],
            "--set train.lerning_rate=none: train.lerning_rate: unknown key (did you mean `learning_rate`?)",
        ),
        ("[train]\nlearning_rate = inf", [], "FILE: train.learning_rate: should be a finite number, not inf"),
        (
            '[engine]\nkind = "vllm"\nstrict = true',
            [],
            'FILE: engine: kind = "vllm" has no `strict` mode; it is the transformers engine\'s',
        ),
        ("", ["train=3"], "--set train=3: train: should be a table, not 3"),
        (
            "",
            ["students.x.seed=abc"],
            "--set students.x.seed=abc: students.x.seed: should be a valid integer, not 'abc'",
        ),
        ("", ["train.steps"], "--set train.steps: must look like train.learning_rate=1e-5"),
        ("[train\n", [], "FILE: not TOML: Expected ']' at the end of a table declaration (at line 1, column 7)"),
        ("extends = 'x'", [], 'FILE: extends: must be a list of names, like ["qwen3-4b-instruct"]'),
        ("extends = ['mine.toml']", [], "FILE: extends: goes round in a circle"),
        (
            "extends = ['qwen3-4b-instrct']",
            [],
            "FILE: extends qwen3-4b-instrct: no recipe of that name (did you mean `qwen3-4b-instruct`?); "
            "`forklock recipes` lists them",
        ),
        (
            "[train]\nepochs = 2",
            [],
            'FILE: train: give either `steps` or `epochs` (take an inherited one away with steps = "none")',
        ),
        (
            '[train]\ntarget = "soft"',
            [],
            'qwen3-4b-instruct + mine.toml: train.target = "soft" needs synthesize.record_target = true',
        ),
        (
            '[evaluate.data_paths]\nhumanevl = "x"',
            [],
            "FILE: evaluate.data_paths: 'humanevl' is none of microworld, livecodebench-v5, livecodebench-v6, "
            "humaneval, humaneval-shell, mbpp, cruxeval-input, cruxeval-output, aime-24, aime-25, mmlu "
            "(did you mean `humaneval`?)",
        ),
    ],
)
def test_a_wrong_recipe_gets_one_message(
    text: str, overrides: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        recipes.load(["qwen3-4b-instruct", "mine.toml"], overrides)
    assert str(caught.value) == expected.replace("FILE", str(tmp_path / "mine.toml"))


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('seed = -1\n[train]\nstps = 3\n[evaluate]\nbenchmarks = ["humanevl"]')
    with pytest.raises(RecipeError) as caught:
        recipes.load(["qwen3-4b-instruct", str(mine)])
    assert [problem.key for problem in caught.value.problems] == ["seed", "train.stps", "evaluate.benchmarks.0"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no file .*nothing\.toml"):
        recipes.load([str(tmp_path / "nothing.toml")])


def test_a_recipe_is_frozen() -> None:
    recipe = recipes.load(["qwen3-4b-instruct"])
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]


def test_the_reference_has_every_key_and_the_documentation_is_up_to_date() -> None:
    listed = {row.key for row in rows()}
    # A recipe with everything set has no key that the reference lacks.
    grid = ["evaluate.base_grid.temperatures=[1.0]", "evaluate.base_grid.truncations=[{}]"]
    full = recipes.load(["stress-test"], ["train.lora.rank=8", "students.other.rounds=2", *grid]).model_dump()

    def flatten(table: dict[str, object], prefix: str = "") -> set[str]:
        names: set[str] = set()
        for name, value in table.items():
            is_table = isinstance(value, dict) and not name.endswith(("decoding", "data_paths", "data_revisions"))
            names |= flatten(value, f"{prefix}{name}.") if is_table else {prefix + name}  # type: ignore[arg-type]
        return names

    assert {name.replace(".other.", ".NAME.") for name in flatten(full)} == listed
    documentation = Path(__file__).parents[2] / "docs" / "recipes.md"
    assert as_markdown() in documentation.read_text(encoding="utf-8"), "run: forklock recipes keys --markdown"


def test_recipes_spell_out_what_they_set_in_toml_alone() -> None:
    for _, path in recipes.shipped():
        assert tomllib.loads(path.read_text(encoding="utf-8"))["purpose"]
    assert Recipe.model_config["extra"] == "forbid"


def test_paths_are_found_beside_the_recipe_then_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    for folder in (beside, elsewhere):
        folder.mkdir()
        (folder / "p.jsonl").write_text("")
    (beside / "model").mkdir()
    (elsewhere / "t.jinja").write_text("")
    (beside / "r.toml").write_text(
        '[model]\npath = "model"\n[prompts]\nsource = "jsonl"\npath = "p.jsonl"\ntemplate = "t.jinja"\n'
        '[evaluate.data_paths]\nhumaneval = "../nowhere.jsonl"'
    )
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = recipes.load(["qwen3-4b-instruct", "../beside/r.toml"])
    assert found.model.path == str(beside / "model")
    assert found.prompts.path == str(beside / "p.jsonl")
    assert found.prompts.template == str(elsewhere / "t.jinja")
    assert Path(found.evaluate.data_paths["humaneval"]).resolve() == tmp_path / "nowhere.jsonl"
    typed = recipes.load(["qwen3-4b-instruct", "../beside/r.toml"], ["prompts.path=p.jsonl", "model.path=~/beside"])
    assert typed.prompts.path == str(elsewhere / "p.jsonl")
    assert typed.model.path == str(beside)
    assert recipes.load(["qwen3-4b-instruct"]).model.path == "Qwen/Qwen3-4B-Instruct-2507"
