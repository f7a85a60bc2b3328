"""Samples on disk, the degeneracy filter, and the counts reported with every synthesis."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forklock.code_blocks import count_code_blocks, last_code_block, last_code_span
from forklock.decoding import Decoding
from forklock.engines import RecordedTarget
from forklock.sampling import Sample, degeneracy_of, read_keys, read_shard, write_shard
from forklock.seeds import derive_seed
from forklock.synthesize import summarize
from forklock.tables import TableError

TARGET = RecordedTarget(
    sizes=np.array([2, 1], dtype=np.int32),
    token_ids=np.array([7, 3, 9], dtype=np.int32),
    probabilities=np.array([0.75, 0.25, 1.0], dtype=np.float16),
    kept_mass=np.array([0.5, 0.25], dtype=np.float32),
)
SAMPLE = Sample(
    prompt_id="p",
    sample_index=0,
    prompt_token_ids=(1, 2, 3),
    token_ids=(7, 9),
    text="a\nb",
    finish_reason="stop",
    seed=2**63 - 1,
    decoding=Decoding(1.6, 20, 0.8),
    engine="engine 1",
    weights_digest="abc",
)

samples = st.builds(
    Sample,
    prompt_id=st.text(min_size=1),
    sample_index=st.integers(0, 2**31 - 1),
    prompt_token_ids=st.lists(st.integers(0, 2**31 - 1)).map(tuple),
    token_ids=st.lists(st.integers(0, 2**31 - 1), min_size=1).map(tuple),
    text=st.text(),
    finish_reason=st.sampled_from(["stop", "length"]),
    seed=st.integers(0, 2**63 - 1),
    decoding=st.builds(Decoding, st.floats(0, 5), st.integers(0, 99), st.floats(0.01, 1)),
    engine=st.text(),
    weights_digest=st.text(),
    degenerate=st.sampled_from([None, "empty", "single_line"]),
)


@given(st.lists(samples, min_size=1, max_size=5))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_a_shard_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, written: list[Sample]) -> None:
    path = tmp_path_factory.mktemp("shard") / "samples.parquet"
    write_shard(path, written)
    assert list(read_shard(path)) == written
    assert read_keys(path) == [sample.key for sample in written]


def test_a_recorded_target_survives_to_the_bit(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.parquet", [dataclasses.replace(SAMPLE, target=TARGET), SAMPLE])
    with_target, without = read_shard(tmp_path / "s.parquet")
    assert without.target is None
    assert with_target.target is not None
    for field in dataclasses.fields(RecordedTarget):
        mine, expected = getattr(with_target.target, field.name), getattr(TARGET, field.name)
        assert mine.dtype == expected.dtype
        assert mine.tobytes() == expected.tobytes()


def test_what_is_no_shard_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cut = tmp_path / "cut.parquet"
    write_shard(cut, [SAMPLE])
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"cut\.parquet: cannot be read as samples"):
        read_keys(cut)
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(TableError, match=r"foreign\.parquet: does not hold samples that forklock wrote"):
        list(read_shard(foreign))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t\n", "empty"),
        ("pass", "single_line"),
        ("\n\n  print(1)  \n\n", "single_line"),
        ("```python\nprint(1)\n```", None),
        ("<think>\nlong\nthought\n</think>\n\n", "empty"),
        ("<think>\nlong\nthought\n</think>\nno idea", "single_line"),
        ("<think>\nstill at it", None),
        ("wrong()\nanswer(", None),  # nobody asks whether it is right
    ],
)
def test_degenerate_is_a_matter_of_form(text: str, reason: str | None) -> None:
    assert degeneracy_of(text) == reason


SHOWS_ITS_USE = 'def f():\n    """\n    ```py\n    f()\n    ```\n    """\n'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no code", None),
        ("```python\na = 1\n```", "a = 1\n"),
        ("```\na\n```\nthen\n```py\nb\n```\n", "b\n"),
        ("```python\na\n```\n```\n\n```", "a\n"),  # a blank last block is none
        ("```python\nnever closed", None),
        ("<think>```python\nx\n```</think> sorry", None),
        ("  ```python\n  a\n  ```", "  a\n"),
        ("text ```inline``` text", None),
        ("```python\nprint('```')\nprint(\"```\")  # ```\n```", "print('```')\nprint(\"```\")  # ```\n"),
        ("```python\ns = '''\n```\n'''\nb\n```\n.", "s = '''\n```\n'''\nb\n"),
        (f"```python\n{SHOWS_ITS_USE}```", SHOWS_ITS_USE),
        ('```python\ns = """\n```\nno:\n```python\nb\n```\n', "b\n"),  # quotes that never end
        ('```python\ns = """\'\'\'"""\n```\n```python\nb\n```\n', "b\n"),  # quotes in quotes
    ],
)  # fmt: skip
def test_the_last_closed_code_block_of_the_answer(text: str, code: str | None) -> None:
    assert last_code_block(text) == code


FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
"""What a closed block is; takes time that grows with the square of the fences that are never closed."""


@given(st.lists(st.sampled_from(["```", "``", "`", "\n", "\n", "a", " ", "\t", "\r", "\f", "py"]), max_size=30))
@settings(max_examples=1_000)
def test_blocks_are_those_of_the_regular_expression(parts: list[str]) -> None:
    text = "".join(parts)
    spans = [block.span(1) for block in FENCED.finditer(text) if block[1].strip()]
    assert last_code_span(text) == (spans[-1] if spans else None)
    assert count_code_blocks(text) == len(spans)
    thought = "x```\n</think>"
    moved = [(start + len(thought), end + len(thought)) for start, end in spans]
    assert last_code_span(thought + text, "thinking") == (moved[-1] if moved else None)
    assert count_code_blocks(thought + text) == len(spans)


def test_fences_that_are_never_closed_take_no_time() -> None:
    text = "```a\n" * 400_000  # by the regular expression above, hours
    assert last_code_block(text) is None
    assert last_code_span(text + "```\n") == (5, len(text))
    assert count_code_blocks(text) == 0
    assert count_code_blocks("```\na = '''\n" + "```\nb\n" * 400_001) == 200_001


@pytest.mark.parametrize(
    ("text", "style", "code"),
    [
        ("I would write\n```python\nx\n```\nbut", "thinking", None),  # cut while thinking
        ("```python\nx\n```\n</think>\n```python\ny\n```", "thinking", "y\n"),
        ("x = 1\n```\nand so on", "base", "x = 1\n"),
        ("    return sorted(xs)", "base", "    return sorted(xs)"),
        ("\n```", "base", None),
    ],
)
def test_where_the_answer_is_depends_on_the_style(text: str, style: Any, code: str | None) -> None:
    assert last_code_block(text, style) == code


def test_the_summary_counts() -> None:
    block = "```python\nx\n```"
    given_samples = [
        dataclasses.replace(SAMPLE, token_ids=(1,) * 10, text=block, target=TARGET),
        dataclasses.replace(SAMPLE, token_ids=(1,) * 20, text="", degenerate="empty", finish_reason="length"),
        dataclasses.replace(SAMPLE, token_ids=(1,) * 30, text=block),
        dataclasses.replace(SAMPLE, token_ids=(1,) * 40, text="one line", degenerate="single_line"),
    ]
    summary = summarize(given_samples)
    assert (summary.num_samples, summary.num_tokens, summary.max_length) == (4, 100, 40)
    assert summary.length_percentiles[50] == 20
    assert summary.length_percentiles[99] == 40
    assert (summary.share_at_limit, summary.share_without_code) == (0.25, 0.5)
    assert summary.num_degenerate == {"empty": 1, "single_line": 1}
    assert summary.target is not None
    assert summary.target.mean_support == 1.5
    assert summary.target.mean_kept_mass == 0.375
    assert summary.target.bytes_per_token == (3 * 6 + 2 * 4) / 2


def test_seeds_differ_wherever_their_parts_do() -> None:
    parts = [(s, p, i) for s in (0, 1) for p in ("a", "b", "a1", "1") for i in range(50)]
    seeds = [derive_seed(*part) for part in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed("a", 12) != derive_seed("a1", 2)
    assert derive_seed(1) != derive_seed("1")
    assert derive_seed(7, "prompt", 0) == 2156753585226769118  # as in runs of earlier versions
