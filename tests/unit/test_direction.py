"""One direction: no stage imports a later one, nor does what it imports. So no verdict gets into training."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import forklock

STAGES = ["prompts", "synthesize", "train", "evaluate", "analyze", "report"]
SOURCES = Path(forklock.__file__).parent
HANDS_OUT_WHOLE_STAGES = "cluster"
"""To other machines, which then run them as this one would."""


def name_of(path: Path) -> str:
    return ".".join(["forklock", *path.relative_to(SOURCES).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {name_of(path): path for path in SOURCES.rglob("*.py")}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported_by(node: ast.AST) -> Iterator[str]:
    """Inside functions too; types alone do not count."""
    if isinstance(node, ast.ImportFrom):
        for name in (f"{node.module}.{alias.name}" for alias in node.names):
            yield name if name in MODULES else str(node.module)
    if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from imported_by(child)


IMPORTS = {
    name: {found for found in imported_by(ast.parse(path.read_text(encoding="utf-8"))) if found in MODULES}
    for name, path in MODULES.items()
}


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_a_later_one(stage: str) -> None:
    later = STAGES[STAGES.index(stage) + 1 :]
    routes = {name: [name] for name in MODULES if part_of(name) == stage}
    todo = list(routes)
    assert todo
    while todo:
        name = todo.pop()
        for found in IMPORTS[name] - routes.keys():
            if part_of(found) != HANDS_OUT_WHOLE_STAGES:
                routes[found] = [*routes[name], found]
                todo.append(found)
    assert [route for name, route in routes.items() if part_of(name) in later] == []
