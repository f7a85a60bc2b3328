"""The settings of a recipe as rows to read, taken from the schema itself."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from forklock.config import Recipe, TruncationConfig
from forklock.decoding import Decoding
from forklock.recipes.problems import fields_of, table_in


@dataclass(frozen=True)
class KeyReference:
    key: str
    type: str
    default: str
    meaning: str


def rows(section: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[KeyReference]:
    """Every key that a recipe may set, depth first, in the order of the pipeline."""
    for name, info in section.model_fields.items():
        inner = table_in(info.annotation)
        is_one_table = inner is not None and not _type_text(info.annotation).startswith("list")
        if is_one_table and isinstance(inner, type) and issubclass(inner, BaseModel):
            is_by_name = typing.get_origin(info.annotation) is dict
            yield from rows(inner, f"{prefix}{name}.{'NAME.' if is_by_name else ''}")
            continue
        meaning = " ".join((info.description or "").split())
        yield KeyReference(prefix + name, _type_text(info.annotation), _default_text(info.get_default()), meaning)


def as_markdown() -> str:
    """The table of `docs/recipes.md`."""
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for row in rows():
        type_text = row.type.replace("|", "\\|")
        lines.append(f"| `{row.key}` | {type_text} | {row.default} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def _type_text(annotation: Any) -> str:
    text = str(annotation) if not isinstance(annotation, type) or "[" in str(annotation) else annotation.__name__
    text = re.sub(r"Annotated\[(.*?), [A-Z]\w*\(.*?\)\]", r"\1", text.replace("typing.", ""))
    text = re.sub(r"forklock\.\w+\.", "", text).replace(" | None", "").replace("NoneType", "none")
    text = re.sub(r"tuple\[(.*), \.\.\.\]", r"list of \1", text)
    text = re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", "").replace(", ", " | "), text)
    text = re.sub(r"Optional\[(.*?)\]", r"\1", text)
    text = re.sub(r"Union\[(.*)\]", lambda match: match[1].replace(", ", " | "), text)
    for table in (Decoding, TruncationConfig):
        text = text.replace(table.__name__, "{ " + ", ".join(fields_of(table)) + " }")
    return re.sub(r"dict\[.*\]", "table of benchmark = text", text)


def _default_text(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None or default == () or default == {}:
        return ""
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)
