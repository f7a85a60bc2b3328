"""What is wrong with a recipe, in words: file, key, fault, and the nearest right name."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import UnionType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import ErrorDetails

from forklock.config import Recipe
from forklock.errors import ForklockError

Key = tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    where: str
    """The file or the command-line argument that holds it."""
    key: str
    """Dotted path, empty where the fault is not one key's."""
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)

    @classmethod
    def about_name(cls, mentioned_in: str | None, name: str, names: Iterable[str]) -> Problem:
        message = f"no recipe of that name{_did_you_mean(name, names)}; `forklock recipes` lists them"
        return cls(mentioned_in or name, f"extends {name}" if mentioned_in else "", message)


class RecipeError(ForklockError):
    """One or more problems; nothing has been created or loaded."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


def problems_of(error: ValidationError, origin_of: Callable[[Key], str]) -> list[Problem]:
    details = error.errors(include_url=False)
    inside_another = {
        tuple(map(str, detail["loc"][:length])) for detail in details for length in range(len(detail["loc"]))
    }
    problems = []
    for detail in details:
        location = tuple(map(str, detail["loc"]))
        if location in inside_another:
            continue  # what is wrong inside it is said already
        known = _every_key()
        last = len(location) - 1
        key = tuple(
            part
            for i, part in enumerate(location)
            if i == last or part in known or part.isdigit() or location[:i] == ("students",)  # a name of the user's
        )
        if location[-1:] == ("[key]",):  # pydantic's word for: the name itself
            key = location[:-2]
        problems.append(Problem(origin_of(location), ".".join(key), _in_words(detail)))
    return problems


def unknown_key(key: Key, origin: str) -> Problem | None:
    """The problem of a dotted path that the schema does not have, or None."""
    for length in range(1, len(key) + 1):
        names = _names_beside(key[:length])
        if key[length - 1] not in names:
            return Problem(origin, ".".join(key), f"unknown key{_did_you_mean(key[length - 1], names)}")
    return None


def _in_words(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            name = str(detail["loc"][-1])
            return f"unknown key{_did_you_mean(name, _names_beside(detail['loc']))}"
        case "missing":
            return "missing"
        case "literal_error":
            allowed = [word.strip("' ") for word in str(context["expected"]).replace(" or ", ", ").split(",")]
            hint = _did_you_mean(str(detail["input"]), allowed)
            return f"{detail['input']!r} is none of {', '.join(allowed)}{hint}"
        case "value_error":
            return str(context["error"])
        case _:
            message = detail["msg"].removeprefix("Input ").replace("an object", "a table")
            return f"{message[0].lower()}{message[1:]}, not {detail['input']!r}"


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean `{nearest[0]}`?)" if nearest else ""


def _names_beside(location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that are right in the table that holds this one."""
    table: Any = Recipe
    for part in location[:-1]:
        if isinstance(part, str) and part in fields_of(table):
            table = table_in(fields_of(table)[part])
    return list(fields_of(table))


def fields_of(table: Any) -> dict[str, Any]:
    """Names and types of a section's keys."""
    if table is None:
        return {}
    if is_pydantic_dataclass(table):
        return {name: info.annotation for name, info in table.__pydantic_fields__.items()}
    return {name: info.annotation for name, info in table.model_fields.items()}


def table_in(annotation: Any) -> Any:
    """The section inside an annotation such as `LoraConfig | None`, `tuple[X, ...]` or `dict[str, X]`."""
    if isinstance(annotation, type) and not typing.get_origin(annotation):
        is_section = issubclass(annotation, BaseModel) or is_pydantic_dataclass(annotation)
        return annotation if is_section else None
    if typing.get_origin(annotation) in (tuple, dict, typing.Union, UnionType, typing.Annotated):
        return next(filter(None, map(table_in, typing.get_args(annotation))), None)
    return None


def _every_key() -> set[str]:
    """All names of the schema: pydantic puts names of union branches, which are none, into error locations."""

    def collect(table: Any) -> Iterable[str]:
        for name, annotation in fields_of(table).items():
            yield name
            yield from collect(table_in(annotation))

    return set(collect(Recipe))
