"""Every source in its true schema, by the path that the real dataset takes; and the hub out of reach."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prompts_cases import (
    HUMANEVAL_ROW,
    MBPP_ROW,
    MBPP_SANITIZED_ROW,
    livecodebench_row,
    rstar_folder,
    rstar_table,
    write_jsonl,
)
from pydantic import ValidationError

from forklock.config import ColumnsConfig, PromptsConfig
from forklock.prompts import Prompt, PromptsError, input_files, load_prompts
from forklock.prompts.sources import KNOWN_SOURCES, resolve

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


def texts(config: PromptsConfig) -> list[tuple[str, str, str]]:
    return [(prompt.statement, prompt.starter_code, prompt.form) for prompt in load_prompts(config, 0).prompts]


RSTAR_PROMPTS = [
    ("Add two numbers.", "", "program"),
    ("Sort a list.", "def sort(xs):", "function"),
    ("Reverse it.", "", "program"),
]


@pytest.mark.parametrize("has_card", [True, False])
def test_rstar_coder_as_downloaded_reads_its_seed_subset_and_no_solution(has_card: bool, tmp_path: Path) -> None:
    folder = rstar_folder(tmp_path / "rStar-Coder", has_card=has_card)
    loaded = load_prompts(PromptsConfig(source="rstar-coder", path=str(folder)), 0)
    assert [(p.statement, p.starter_code, p.form) for p in loaded.prompts] == RSTAR_PROMPTS
    counts = loaded.counts
    assert (counts.num_rows_read, counts.num_duplicates, counts.num_unique, counts.num_kept) == (5, 2, 3, 3)
    assert counts.num_other_starter_code == 1  # "Sort a list." came with `def order` later
    assert [Path(origin).name for origin in loaded.origins] == ["data-00000.parquet", "data-00001.parquet"]


def test_of_a_parquet_dataset_only_the_two_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = rstar_folder(tmp_path / "r", has_card=True)
    asked = []
    read = pq.ParquetFile.iter_batches

    def spy(self: pq.ParquetFile, *args: object, columns: list[str], **kwargs: object) -> object:
        asked.append(columns)
        return read(self, *args, columns=columns, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    load_prompts(PromptsConfig(source="rstar-coder", path=str(folder)), 0)
    assert asked == [["question", "starter_code"]] * 2


def test_one_file_of_rstar_coder(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(rstar_table(["A?", "B?"], ["", ""]), path)
    config = PromptsConfig(source="rstar-coder", path=str(path))
    assert [statement for statement, _, _ in texts(config)] == ["A?", "B?"]
    assert input_files(config) == {"prompts.path": path}


def test_livecodebench_reads_the_files_of_a_release(tmp_path: Path) -> None:
    for number, name in ((1, "test.jsonl"), (2, "test2.jsonl"), (3, "test3.jsonl")):
        code = "class Solution:\n    def f(self):\n        " if number == 2 else ""
        write_jsonl(tmp_path / name, [livecodebench_row(number, code)])

    def ids(subset: str) -> list[str]:
        config = PromptsConfig(source="livecodebench", path=str(tmp_path), subset=subset)
        return [prompt.prompt_id for prompt in load_prompts(config, 0).prompts]

    assert ids("release_v3") == ["lcb_1", "lcb_2", "lcb_3"]
    assert ids("v2") == ["lcb_2"]
    assert ids("v2_v3") == ["lcb_2", "lcb_3"]
    release = PromptsConfig(source="livecodebench", path=str(tmp_path), subset="release_v2")
    assert texts(release) == [
        ("Problem number 1.", "", "program"),
        ("Problem number 2.", "class Solution:\n    def f(self):\n        ", "function"),
    ]
    assert input_files(release) == {name: tmp_path / name for name in ("test.jsonl", "test2.jsonl")}
    with pytest.raises(PromptsError, match=r"prompts\.subset: 'release_v9' is no release .* release_v1"):
        ids("release_v9")


def test_livecodebench_folder_that_lacks_a_file_of_the_release(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [livecodebench_row(1)])
    config = PromptsConfig(source="livecodebench", path=str(tmp_path), subset="release_v2")
    with pytest.raises(PromptsError, match=r"test2\.jsonl: cannot be read: No such file"):
        load_prompts(config, 0)


def test_humaneval_is_code_to_complete(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "HumanEval.jsonl.gz", [HUMANEVAL_ROW])
    loaded = load_prompts(PromptsConfig(source="humaneval", path=str(path)), 0)
    assert loaded.prompts == [Prompt("HumanEval/0", str(HUMANEVAL_ROW["prompt"]), "", "completion")]


def test_humaneval_as_downloaded_from_the_hub(tmp_path: Path) -> None:
    (tmp_path / "openai_humaneval").mkdir()
    table = pa.Table.from_pylist([HUMANEVAL_ROW])
    pq.write_table(table, tmp_path / "openai_humaneval" / "test-00000-of-00001.parquet")
    loaded = load_prompts(PromptsConfig(source="humaneval", path=str(tmp_path)), 0)
    assert [prompt.prompt_id for prompt in loaded.prompts] == ["HumanEval/0"]


def test_the_real_humaneval() -> None:
    path = SHARED_DATA / "HumanEval.jsonl.gz"
    if not path.is_file():
        pytest.skip("HumanEval.jsonl.gz is not there")
    loaded = load_prompts(PromptsConfig(source="humaneval", path=str(path)), 0)
    assert (loaded.counts.num_rows_read, loaded.counts.num_kept) == (164, 164)
    assert [prompt.prompt_id for prompt in loaded.prompts] == [f"HumanEval/{number}" for number in range(164)]
    assert all("canonical_solution" not in prompt.statement for prompt in loaded.prompts)


def test_mbpp_has_other_columns_when_sanitized(tmp_path: Path) -> None:
    full = write_jsonl(tmp_path / "mbpp.jsonl", [MBPP_ROW])
    loaded = load_prompts(PromptsConfig(source="mbpp", path=str(full)), 0)
    assert loaded.prompts == [Prompt("601", "Write a function to find the longest chain.", "", "function")]

    (tmp_path / "hub" / "sanitized").mkdir(parents=True)
    table = pa.Table.from_pylist([MBPP_SANITIZED_ROW])
    pq.write_table(table, tmp_path / "hub" / "sanitized" / "train-00000-of-00001.parquet")
    loaded = load_prompts(PromptsConfig(source="mbpp", path=str(tmp_path / "hub"), subset="sanitized"), 0)
    assert loaded.prompts == [Prompt("2", "Write a function to find the shared elements.", "", "function")]


def test_any_dataset_with_columns_named_also_where_it_is_not_parquet(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [{"task": "First.", "code": "def f():", "name": "a", "answer": "SECRET"}]
    write_jsonl(folder / "train.jsonl", [*rows, {"task": "Second.", "code": None, "name": "b", "answer": "SECRET"}])
    columns = ColumnsConfig(statement="task", starter_code="code", id="name")
    config = PromptsConfig(source="huggingface", path=str(folder), columns=columns)
    assert load_prompts(config, 0).prompts == [
        Prompt("a", "First.", "def f():", "function"),
        Prompt("b", "Second.", "", "program"),
    ]
    wrong = config.model_copy(update={"columns": ColumnsConfig(statement="tsk")})
    with pytest.raises(PromptsError, match="mine: has no column `tsk`, only task, code, name, answer"):
        load_prompts(wrong, 0)
    wrong = config.model_copy(update={"split": "tst"})
    with pytest.raises(PromptsError, match=r"mine: cannot be loaded: Bad split: tst\. Available splits: \['train'\]"):
        load_prompts(wrong, 0)


@pytest.mark.parametrize("source", KNOWN_SOURCES)
def test_nothing_but_the_problem_is_ever_asked_for(source: str) -> None:
    forbidden = {"response", "code", "test", "test_list", "canonical_solution", "private_test_cases", "verified"}
    assert not forbidden & set(KNOWN_SOURCES[source].column_names)


def test_what_the_paper_names_is_the_default() -> None:
    source = resolve(PromptsConfig(source="rstar-coder"))
    assert (source.path, source.subset, source.split) == ("microsoft/rStar-Coder", "seed_sft", "train")
    assert input_files(PromptsConfig(source="rstar-coder")) == {}


OFFLINE = """
import json, sys
from forklock.config import PromptsConfig
from forklock.prompts import PromptsError, load_prompts
for settings in json.loads(sys.argv[1]):
    try:
        load_prompts(PromptsConfig(**settings), 0)
    except PromptsError as error:
        print(json.dumps(str(error)))
"""


def test_without_the_hub_one_message_says_what_to_download(tmp_path: Path) -> None:
    settings = [
        {"source": "rstar-coder"},
        {"source": "livecodebench"},
        {"source": "huggingface", "path": "some/dataset"},
    ]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE, json.dumps(settings)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    rstar, livecodebench, other = map(json.loads, result.stdout.splitlines())
    command = 'run `hf download {} --local-dir DIR` where there is one, and set prompts.path = "DIR"'
    assert rstar.startswith("microsoft/rStar-Coder: is not a path here, and cannot be loaded from the Hugging Face hub")
    assert rstar.endswith(command.format("microsoft/rStar-Coder --repo-type dataset --include 'seed_sft/*'"))
    assert livecodebench.endswith(
        command.format("livecodebench/code_generation_lite --repo-type dataset --include 'test*.jsonl'")
    )
    assert other.endswith(command.format("some/dataset --repo-type dataset"))


@pytest.mark.parametrize("path", ["nowhere.jsonl", "nowhere", "./nowhere/x", "a/b/c"])
def test_a_path_that_is_not_there_is_no_name_on_the_hub(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PromptsError, match=r"no such file or folder; see prompts\.path"):
        load_prompts(PromptsConfig(source="huggingface", path=path), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "jsonl"}, 'source = "jsonl" needs `path`'),
        ({"source": "huggingface"}, 'source = "huggingface" needs `path`'),
        ({"source": "csv", "path": "a.csv", "split": "test"}, 'source = "csv" has no `subset`, `split` or `revision`'),
        ({"source": "mbpp", "columns": {"statement": "x"}}, 'source = "mbpp" has `columns` of its own'),
    ],
)
def test_settings_that_would_go_unheard_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PromptsConfig.model_validate(settings)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "datasets", "pyarrow", "jinja2", "huggingface_hub")
    code = f"import sys, forklock.prompts; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
