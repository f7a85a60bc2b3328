"""What can be said of one node of a program's tree by itself, for `purity.py`."""

from __future__ import annotations

import ast
from string import Formatter

from forklock.sandbox.admitted import METHODS, NOT_RECURSION

STDIN_MODES = ("r", "rb", "rt")
STDIN_KEYWORDS = frozenset({"mode", "encoding", "errors", "newline", "closefd", "buffering"})


class ImpureError(ValueError):
    """Why the tests of this program each need a process of their own."""


def check_copy(node: ast.Call) -> None:
    """A second argument would be handed a list that all calls share."""
    if len(node.args) != 1 or isinstance(node.args[0], ast.Starred) or node.keywords:
        raise ImpureError("a copy with more than one argument")


def is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def is_mangled(name: str) -> bool:
    """In a class it stands for another name than the one that is written."""
    return name.startswith("__") and not name.endswith("__")


def is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def is_plain_format(node: ast.expr) -> bool:
    """A text written out, whose fields name no attribute and no item."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and _has_plain_fields(node.value)


def _has_plain_fields(text: str) -> bool:
    try:
        fields = [(field, spec) for _, field, spec, _ in Formatter().parse(text) if field is not None]
    except ValueError:
        return False
    return all(not field.strip("0123456789") or field.isidentifier() for field, _ in fields) and all(
        _has_plain_fields(spec) for _, spec in fields if spec
    )


def opens_only_stdin(node: ast.Call) -> bool:
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    if not node.args or not all(isinstance(value, ast.Constant) for value in values):
        return False
    constants = [value.value for value in values if isinstance(value, ast.Constant)]
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    modes = [*node.args[1:2], *([named["mode"]] if "mode" in named else [])]
    return (
        type(constants[0]) is int
        and constants[0] == 0
        and all(isinstance(mode, ast.Constant) and mode.value in STDIN_MODES for mode in modes)
        and named.keys() <= STDIN_KEYWORDS
        and len(node.args) <= 2
    )


def check_identifiers(node: ast.AST) -> None:
    """No special or mangled name may be bound, read or passed, but for methods; `__name__` may be read."""
    if isinstance(node, ast.Attribute | ast.Constant) or (isinstance(node, ast.Name) and node.id == "__name__"):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            raise ImpureError("__name__ bound")
        return
    for field, value in ast.iter_fields(node):
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and is_mangled(name):
                raise ImpureError(f"the name {name}")
            if isinstance(name, str) and is_special(name):
                is_definition = isinstance(node, ast.FunctionDef | ast.Name) and name in METHODS
                if not is_definition and not (field == "module" and name == "__future__"):
                    raise ImpureError(f"the name {name}")


def check_generator(function: ast.FunctionDef) -> None:
    """When an abandoned generator is closed depends on the collector, so it may have nothing to do then."""
    kinds = {type(node) for node in ast.walk(function)}
    if kinds & {ast.Yield, ast.YieldFrom} and kinds & {ast.Try, ast.With}:
        raise ImpureError("a generator that does something when it is closed")


def sets_recursion_limit(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="setrecursionlimit") | ast.alias(name="setrecursionlimit" | "*"):
            return True
    return False


def sees_recursion(node: ast.AST) -> bool:
    """A handler of something that a recursion's end may raise."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return not all(isinstance(kind, ast.Name) and kind.id in NOT_RECURSION for kind in caught)
