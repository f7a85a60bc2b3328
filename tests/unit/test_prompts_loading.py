"""What counts as the same problem, what is kept, and what is said of rows that are none."""

import gzip
import hashlib
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompts_cases import rstar_table, write_jsonl

from forklock.config import ColumnsConfig, PromptsConfig
from forklock.prompts import BadRow, Prompt, PromptsError, load_prompts
from forklock.prompts.loading import normalize
from forklock.prompts.rows import read_file

checked = settings(derandomize=True, deadline=None, max_examples=60)


def jsonl(path: Path, **settings: Any) -> PromptsConfig:
    return PromptsConfig.model_validate({"source": "jsonl", "path": str(path), **settings})


def questions(path: Path, *statements: str) -> Path:
    return write_jsonl(path, [{"question": statement} for statement in statements])


@checked
@given(st.text())
def test_normalization_is_idempotent_and_leaves_single_spaces(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert once.split(" ") == (text.split() or [""])


@checked
@given(words=st.lists(st.integers(0, 8), min_size=1, max_size=40), seed=st.integers(0, 1000))
def test_the_first_of_equal_statements_is_kept_in_order(
    words: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spaces = random.Random(seed)
    gaps = [" ", "  ", "\n\n", "\t"]
    statements = [f"{spaces.choice(gaps)}task{spaces.choice(gaps)}{word}" for word in words]
    path = questions(tmp_path_factory.mktemp("p") / "p.jsonl", *statements)
    loaded = load_prompts(jsonl(path), 0)
    first = dict(reversed(list(zip(words, statements, strict=True))))
    assert [prompt.statement for prompt in loaded.prompts] == [first[word] for word in dict.fromkeys(words)]
    counts = loaded.counts
    assert counts.num_rows_read == len(words) == counts.num_unique + counts.num_duplicates
    ids = [prompt.prompt_id for prompt in loaded.prompts]
    assert len(set(ids)) == len(ids)


def test_an_id_is_the_hash_of_the_normalized_statement(tmp_path: Path) -> None:
    one, other = (
        questions(tmp_path / "a.jsonl", "Add  two\nnumbers."),
        questions(tmp_path / "b.jsonl", "Add two numbers."),
    )
    ids = {load_prompts(jsonl(path), 0).prompts[0].prompt_id for path in (one, other)}
    assert ids == {hashlib.sha256(b"Add two numbers.").hexdigest()[:20]}


def test_the_first_starter_code_wins_and_others_are_counted(tmp_path: Path) -> None:
    rows = [
        {"question": "Sort.", "starter_code": None},
        {"question": "Sort. ", "starter_code": "def sort(xs):"},
        {"question": "Add.", "starter_code": "def add(a, b):\n"},
        {"question": "Add.", "starter_code": "def  add(a, b):"},
    ]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    loaded = load_prompts(jsonl(path, columns={"starter_code": "starter_code"}), 0)
    assert [(p.starter_code, p.form) for p in loaded.prompts] == [("", "program"), ("def add(a, b):\n", "function")]
    assert (loaded.counts.num_duplicates, loaded.counts.num_other_starter_code) == (2, 1)


def test_a_limit_ends_the_reading(tmp_path: Path) -> None:
    path = questions(tmp_path / "p.jsonl", "A", "A", "B", "C")
    path.write_text(path.read_text() + "not json\n")
    loaded = load_prompts(jsonl(path, limit=2), 0)
    assert [prompt.statement for prompt in loaded.prompts] == ["A", "B"]
    assert (loaded.counts.num_rows_read, loaded.counts.num_kept) == (3, 2)


def test_a_shuffle_depends_on_the_seed_alone_and_a_limit_takes_its_beginning(tmp_path: Path) -> None:
    names = [f"Problem {number}" for number in range(50)]
    path = questions(tmp_path / "p.jsonl", *names)
    backwards = questions(tmp_path / "q.jsonl", *reversed(names))

    def order(file: Path, seed: int, **settings: Any) -> list[str]:
        return [p.statement for p in load_prompts(jsonl(file, shuffle=True, **settings), seed).prompts]

    shuffled = order(path, 3)
    assert sorted(shuffled) == sorted(names) != shuffled
    assert order(backwards, 3) == shuffled
    assert order(path, 4) != shuffled
    assert order(path, 3, limit=7) == shuffled[:7]
    # Fixed for good: a run that goes on after an upgrade has to find the order it began with.
    assert shuffled[:3] == ["Problem 12", "Problem 32", "Problem 26"]


BAD_LINES = [
    (b"{'question': 1}", r"is not JSON \(Expecting property name"),
    (b"[" * 100_000, r"is not JSON \("),
    (b'["question"]', "is a JSON list, not an object"),
    (b"null", "is a JSON NoneType, not an object"),
    (b'{"text": "x"}', r"`question` is missing \(there are text\)"),
    (b"{}", r"`question` is missing \(there are no fields\)"),
    (b'{"question": null}', "`question` is missing$"),
    (b'{"question": " \\n\\t"}', "`question` is empty"),
    (b'{"question": 3}', "`question` is of type int, not text"),
    (b'{"question": ["x"]}', "`question` is of type list, not text"),
    (b'{"question": "caf\xe9"}', "`question` is not UTF-8 text"),
    (b'{"question": "\\ud800"}', "`question` is not UTF-8 text"),
]


@pytest.mark.parametrize(("line", "fault"), BAD_LINES)
def test_a_malformed_line_stops_or_is_counted_and_listed(line: bytes, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"question": "A"}\n\n' + line + b'\n{"question": "B"}\n')
    mend = re.escape('; mend the row, or skip such rows with prompts.on_bad_row = "skip"')
    with pytest.raises(PromptsError, match=rf"^{re.escape(str(path))} line 3: {fault.rstrip('$')}.*{mend}$"):
        load_prompts(jsonl(path), 0)
    loaded = load_prompts(jsonl(path, on_bad_row="skip"), 0)
    assert [prompt.statement for prompt in loaded.prompts] == ["A", "B"]
    assert (loaded.counts.num_rows_read, loaded.counts.num_malformed) == (3, 1)
    assert loaded.bad_rows[0].place == f"{path} line 3"
    assert re.match(fault, loaded.bad_rows[0].fault)


def test_a_summary_names_the_first_malformed_rows(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "A"}\n{"question": "A"}\n' + "x\n" * 1200)
    loaded = load_prompts(jsonl(path, on_bad_row="skip"), 0)
    assert len(loaded.bad_rows) == loaded.counts.num_malformed == 1200
    lines = loaded.summary().splitlines()
    assert lines[0] == "1 prompts, of 1,202 rows: 1 unique, 1 duplicates (0 with other starter code), 1,200 malformed"
    assert lines[1] == f"{path} line 3: is not JSON (Expecting value, character 1)"
    assert lines[-1] == "and 1,195 malformed rows more"


def test_ids_are_unique_and_named_where_they_are_not(tmp_path: Path) -> None:
    rows = [
        {"question": "A", "id": 7},
        {"question": "A", "id": 7},  # the same problem again
        {"question": "B", "id": "7"},
        {"question": "C", "id": ""},
        {"question": "D", "id": True},
        {"question": "E"},
    ]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    with pytest.raises(
        PromptsError, match=r"line 3: `id` is '7' as in .*p\.jsonl line 1, with another statement; mend"
    ):
        load_prompts(jsonl(path, columns={"id": "id"}), 0)
    loaded = load_prompts(jsonl(path, columns={"id": "id"}, on_bad_row="skip"), 0)
    assert loaded.prompts == [Prompt("7", "A")]
    assert [row.fault for row in loaded.bad_rows[1:]] == [
        "`id` is empty",
        "`id` is of type bool, not text",
        "`id` is missing (there are question)",
    ]


def test_a_misspelt_starter_code_does_not_pass_for_none(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"question": "A", "starter_code": "def a():"}])
    with pytest.raises(PromptsError, match=r"no row has `startr`; mend prompts\.columns\.starter_code or leave it out"):
        load_prompts(jsonl(path, columns={"starter_code": "startr"}), 0)


def test_nothing_left_is_an_error_that_says_what_was_there(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [3, 4])
    with pytest.raises(PromptsError, match=r"(?s)no prompts left\. 0 prompts, of 2 rows.* line 2: is a JSON int"):
        load_prompts(jsonl(path, on_bad_row="skip"), 0)


def test_jsonl_with_a_byte_order_mark_and_compressed(tmp_path: Path) -> None:
    text = '\ufeff{"question": "Größe"}\r\n'.encode()
    (tmp_path / "p.jsonl").write_bytes(text)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(text))
    for name in ("p.jsonl", "p.jsonl.gz"):
        assert load_prompts(jsonl(tmp_path / name), 0).prompts[0].statement == "Größe"


@pytest.mark.parametrize("cut", [0, 5, 30])
def test_a_damaged_gzip_file_stops_whatever_is_skipped(cut: int, tmp_path: Path) -> None:
    data = gzip.compress(b'{"question": "A"}\n' * 1000)
    (tmp_path / "p.jsonl.gz").write_bytes(b"x" + data if cut == 0 else data[:-cut])
    with pytest.raises(PromptsError, match=r"p\.jsonl\.gz( line \d+)?: cannot be read: .*; see prompts\.path"):
        load_prompts(jsonl(tmp_path / "p.jsonl.gz", on_bad_row="skip"), 0)


def csv_config(path: Path, **settings: Any) -> PromptsConfig:
    return PromptsConfig.model_validate({"source": "csv", "path": str(path), **settings})


def test_csv_with_quoted_lines_and_long_fields(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    long = "x" * 200_000
    path.write_text(f'\ufeffquestion,code\n"Add\ntwo, ""now"".",def f():\n\n{long},\n', encoding="utf-8")
    loaded = load_prompts(csv_config(path, columns={"starter_code": "code"}), 0)
    assert [(p.statement, p.starter_code) for p in loaded.prompts] == [('Add\ntwo, "now".', "def f():"), (long, "")]


def test_malformed_csv_rows_are_named_by_the_line_they_begin_on(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'id,question\n1,"A\nA"\n2\n3,B,C\n4,caf\xe9\n5, \n6,"C"x\n7,D\n8,"E\n9,F\n')
    with pytest.raises(PromptsError, match=r"p\.csv line 4: has 1 fields, and there are 2 columns; mend the row"):
        load_prompts(csv_config(path), 0)
    loaded = load_prompts(csv_config(path, on_bad_row="skip"), 0)
    assert [prompt.statement for prompt in loaded.prompts] == ["A\nA", "D"]
    assert [(row.place.rpartition("line ")[2], row.fault) for row in loaded.bad_rows] == [
        ("4", "has 1 fields, and there are 2 columns"),
        ("5", "has 3 fields, and there are 2 columns"),
        ("6", "`question` is not UTF-8 text"),
        ("7", "`question` is empty"),
        ("8", "is not CSV (',' expected after '\"')"),
        ("10", "is not CSV (unexpected end of data)"),
    ]


def test_csv_without_the_column(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(PromptsError, match=r"p\.csv: has no column `question`, only a, b; set prompts\.columns"):
        load_prompts(csv_config(path), 0)
    path.write_text("")
    with pytest.raises(PromptsError, match="has no column `question`, only none"):
        load_prompts(csv_config(path), 0)


def parquet_config(path: Path, **settings: Any) -> PromptsConfig:
    return PromptsConfig.model_validate({"source": "parquet", "path": str(path), **settings})


def test_malformed_parquet_rows_are_numbered_through_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    broken = pa.array([b"A", b"caf\xe9", None, b" ", b"B"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"question": broken}), path, row_group_size=2)
    loaded = load_prompts(parquet_config(path, on_bad_row="skip"), 0)
    assert [prompt.statement for prompt in loaded.prompts] == ["A", "B"]
    assert loaded.bad_rows == [
        BadRow(f"{path} row 2", "`question` is not UTF-8 text"),
        BadRow(f"{path} row 3", "`question` is missing"),
        BadRow(f"{path} row 4", "`question` is empty"),
    ]


def test_parquet_of_other_types_or_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"question": [1, 2]}), path)
    with pytest.raises(PromptsError, match=r"p\.parquet row 1: `question` is of type int, not text"):
        load_prompts(parquet_config(path), 0)
    path.write_bytes(b"not parquet at all")
    with pytest.raises(PromptsError, match=r"p\.parquet: cannot be read as Parquet: .*; make or download it again"):
        load_prompts(parquet_config(path), 0)
    pq.write_table(pa.table({"task": ["x"]}), path)
    with pytest.raises(PromptsError, match=r"p\.parquet: has no column `question`, only task"):
        load_prompts(parquet_config(path), 0)
    columns = ColumnsConfig(statement="task")
    assert load_prompts(parquet_config(path, columns=columns.model_dump()), 0).counts.num_kept == 1


def test_missing_file_and_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=r"nothing\.jsonl: no such file or folder; see prompts\.path"):
        load_prompts(jsonl(tmp_path / "nothing.jsonl"), 0)
    (tmp_path / "a.txt").write_text("x")
    config = PromptsConfig(source="mbpp", path=str(tmp_path / "a.txt"))
    with pytest.raises(
        PromptsError, match=r"a\.txt: must end in one of \.jsonl, \.gz, \.parquet, \.csv, or be a folder"
    ):
        load_prompts(config, 0)


def test_rows_come_as_a_stream(tmp_path: Path) -> None:
    """A reader holds one batch: the first row is there before the last is looked at."""
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"question": "A"}\n' * 3 + b"\xff not json")
    rows = read_file(path, "jsonl", ["question"])
    assert next(rows).values == {"question": "A"}
    big = tmp_path / "p.parquet"
    pq.write_table(rstar_table([f"Q{number}" for number in range(5000)], [""] * 5000), big, row_group_size=100)
    assert sum(1 for _ in read_file(big, "parquet", ["question"])) == 5000
