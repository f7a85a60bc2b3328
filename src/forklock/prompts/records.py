"""A prompt as it passes between stages, and the Parquet file that holds prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from forklock.tables import RowFormat

if TYPE_CHECKING:
    import pyarrow

Form = Literal["program", "function", "completion", "shell", "question"]
"""What a problem asks for: a program that reads standard input and prints; a function or class; the rest of the Python
code, or of the bash script, that the statement itself is; or an answer in the form that the statement says."""


@dataclass(frozen=True)
class Prompt:
    """One problem, as its source words it. Never its solutions, never its tests."""

    prompt_id: str
    """From the source, or a hash of the whitespace-normalised statement; unique among the prompts of a run."""
    statement: str
    starter_code: str = ""
    """Code that a solution has to begin from; empty where there is none."""
    form: Form = "program"


def write_prompts(path: Path, prompts: Sequence[Prompt]) -> None:
    PROMPTS.write(path, [dataclasses.asdict(prompt) for prompt in prompts])


def read_prompts(path: Path) -> list[Prompt]:
    """All prompts of a file that `write_prompts` wrote."""
    return [Prompt(**row) for row in PROMPTS.open(path).read().to_pylist()]


def _fields() -> list[pyarrow.Field]:
    import pyarrow as pa

    return [pa.field(field.name, pa.string(), nullable=False) for field in dataclasses.fields(Prompt)]


PROMPTS = RowFormat("prompts", version=1, fields=_fields, mend="make the prompts stage again")
