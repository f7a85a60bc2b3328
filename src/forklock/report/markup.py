"""HTML from parts: whatever is not markup already is escaped."""

from __future__ import annotations

from html import escape
from typing import TypeAlias

from forklock.report.untrusted import visible

_VOID = frozenset({"br", "meta", "img", "hr", "input"})


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


Part: TypeAlias = "Markup | str | None"


def element(name: str, /, *parts: Part, **attributes: str | bool | None) -> Markup:
    """`class_` and `for_` lose their underscore, other underscores become dashes; False and None leave out."""
    written = "".join(
        f" {key.strip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{together(*parts)}</{name}>")


def together(*parts: Part) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts if part is not None))


def raw(name: str, content: str, /, **attributes: str | bool | None) -> Markup:
    """An element whose content HTML does not parse: script and style. The content must not hold its end tag."""
    assert f"</{name}" not in content.lower()
    opening = element(name, **attributes).removesuffix(f"</{name}>")
    return Markup(f"{opening}{content}</{name}>")


def _escaped(text: str) -> str:
    return escape(visible(text), quote=True)
