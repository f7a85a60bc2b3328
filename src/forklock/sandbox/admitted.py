"""What a program may name whose tests share a process: short lists, of which each object is looked at as well.

`purity.py` holds a program's text against them. Not in a list means not shared, which costs time and nothing else.
"""

# ruff: noqa: SIM905 - lists of words

from __future__ import annotations

import builtins
import functools
import sys
from enum import Enum, auto
from types import BuiltinFunctionType

BUILTINS = frozenset(
    "abs all any ascii bin bool bytearray bytes callable chr complex dict divmod enumerate filter float frozenset "
    "format hasattr hash hex id input int isinstance issubclass iter len list map max memoryview min next object oct "
    "ord pow print property range repr reversed round set slice sorted staticmethod classmethod str sum tuple zip "
    "NotImplemented Ellipsis "
    "ArithmeticError AssertionError AttributeError BaseException EOFError Exception FloatingPointError GeneratorExit "
    "ImportError IndexError KeyError KeyboardInterrupt LookupError MemoryError NameError NotImplementedError OSError "
    "OverflowError RecursionError RuntimeError StopIteration SystemExit TypeError UnboundLocalError UnicodeError "
    "ValueError ZeroDivisionError".split()
)
"""Builtins that may be used as any value."""
EXTENDED_BUILTINS = frozenset({"object", "dict", "list", "set", "frozenset", "tuple"}) | frozenset(
    name for name in BUILTINS if isinstance(found := getattr(builtins, name), type) and issubclass(found, BaseException)
)
"""Builtin classes that a class of the program's may extend."""
CALLED_BUILTINS = frozenset({"exit", "quit", "super"})
VALUES = {
    "math": "",
    "cmath": "",
    "heapq": "heapify heappop heappush heappushpop heapreplace",
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "itertools": "",
    "operator": "add sub mul truediv floordiv mod pow neg and_ or_ xor not_ lt le eq ne ge gt lshift rshift itemgetter "
    "getitem setitem delitem contains abs index inv invert is_ is_not pos truth matmul concat countOf indexOf",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits hexdigits octdigits punctuation",
    "collections": "deque defaultdict OrderedDict",
    "functools": "reduce cmp_to_key partial",
    "decimal": "Decimal",
    "datetime": "date time datetime timedelta",
    "sys": "maxsize stdin stdout stderr",
}
"""Module -> what of it may be used as any value (empty: every public name). Each is looked at as well."""
CALLED = {
    "collections": "Counter namedtuple",
    "copy": "copy deepcopy",
    "functools": "lru_cache cache",
    "heapq": "merge nlargest nsmallest",
    "fractions": "Fraction",
    "re": "compile match search fullmatch split sub subn findall finditer escape",
    "sys": "exit setrecursionlimit",
}
"""Module -> what of it may only be called: written in Python, so whoever holds it could change it."""
ANNOTATES = {
    "typing": "List Dict Set FrozenSet Tuple Optional Union Any Callable Iterable Iterator Generator Sequence Deque "
    "DefaultDict Counter Mapping MutableMapping Hashable Collection"
}
STREAMS = ("stdin", "stdout", "stderr")
"""Of sys: made anew for every test."""

METHODS = frozenset(
    f"__{name}__"
    for name in "init new repr str bytes format lt le eq ne gt ge hash bool len getitem setitem delitem missing iter "
    "next reversed contains call add sub mul matmul truediv floordiv mod divmod pow radd rsub rmul rmatmul rtruediv "
    "rfloordiv rmod rpow iadd isub imul itruediv ifloordiv imod ipow neg pos abs int float index round trunc floor "
    "ceil slots".split()
)
"""Of classes of the program's. None on bits: `re` has its own constants meet what it is given as flags."""
READABLE = frozenset({"__next__", "__iter__", "__getitem__", "__contains__", "__len__"})
"""Read of any value, they give a bound method, which can't be changed."""
INSIDES = frozenset(
    "gi_frame gi_code gi_yieldfrom tb_frame tb_next f_back f_builtins f_code f_globals f_locals f_trace obj mro "
    "args with_traceback add_note format_map raw detach reconfigure register "
    "_field_defaults _fields _make _replace _asdict".split()
)
"""Attributes that lead from a value into the interpreter, into a class of the library (those of decimals' faults hold
some), or to a file of one's choice."""
NOT_RECURSION = frozenset(
    "EOFError IndexError KeyError LookupError StopIteration TypeError ValueError ZeroDivisionError OverflowError "
    "AssertionError ArithmeticError AttributeError NameError UnicodeError".split()
)
"""Exceptions whose handlers can't see how deep a recursion went."""
IMMUTABLE_TYPE, HEAP_TYPE = 1 << 8, 1 << 9
OF_SITE = frozenset({"copyright", "credits", "license", "help", "exit", "quit"})
"""Builtins that `site` adds, maybe only after this module was loaded."""
ALL_BUILTINS = (frozenset(vars(builtins)) | OF_SITE) - {"__name__"}
KNOWN_MODULES = VALUES.keys() | CALLED.keys() | ANNOTATES.keys()


class Kind(Enum):
    """How a name of a module may be used."""

    VALUE = auto()
    CALLED = auto()
    ANNOTATES = auto()
    REFUSED = auto()


@functools.cache
def kind_of(module: str, name: str) -> Kind:
    if name in CALLED.get(module, "").split():
        return Kind.CALLED
    if name in ANNOTATES.get(module, "").split():
        return Kind.ANNOTATES
    if module == "sys" and name in STREAMS:
        return Kind.VALUE
    if module == "builtins":
        return Kind.VALUE if name in BUILTINS else Kind.REFUSED
    if module in VALUES and not name.startswith("_") and _is_unchangeable(getattr(sys.modules[module], name, None)):
        return Kind.VALUE if not VALUES[module] or name in VALUES[module].split() else Kind.REFUSED
    return Kind.REFUSED


@functools.cache
def names_by_star(module: str) -> dict[str, Kind]:
    if module == "builtins":  # the rest is what it was
        return dict.fromkeys(ALL_BUILTINS - BUILTINS - CALLED_BUILTINS - {"open"}, Kind.REFUSED)
    loaded = sys.modules[module]
    names = getattr(loaded, "__all__", None) or [name for name in vars(loaded) if not name.startswith("_")]
    return {name: kind_of(module, name) for name in names}


def _is_unchangeable(value: object) -> bool:
    if isinstance(value, type):
        return bool(value.__flags__ & IMMUTABLE_TYPE) or not value.__flags__ & HEAP_TYPE
    return isinstance(value, BuiltinFunctionType | int | float | complex | str)
