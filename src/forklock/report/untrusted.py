"""Text that a model wrote, or anyone else: made fit to stand in a page where it can neither act nor deceive the eye."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

_KEPT = "\n\t"
_CONTROL_PICTURES = 0x2400


def visible(text: str) -> str:
    """Control characters as pictures; what is invisible, turns the direction of writing or is half a character as its
    code point in brackets. Line breaks and tabs stay."""
    return text if text.isprintable() else "".join(map(_shown, text))


def visible_all(value: Any) -> Any:
    """The same for every text inside lists and mappings, keys too."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_all(key): visible_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [visible_all(inner) for inner in value]
    return value


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element: no `<` can end it, and no separator ends a line."""
    text = json.dumps(visible_all(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _shown(character: str) -> str:
    code = ord(character)
    if character in _KEPT or character == " ":
        return character
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    if code == 0x7F:
        return "\u2421"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"[U+{code:04X}]"
    return character
