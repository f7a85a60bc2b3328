"""Says of a program's text whether its tests may share a process, before a line of it has run.

Admitted is only a program that never holds a reference to anything of the process that can be changed. So it reaches
no file, thread, frame or module. Names that it didn't bind come from short lists: values that can't be changed (the
real object is looked at), and what may only be called or annotated with. Names and attributes of the form __x__ are
method definitions and `super().__x__`, nothing else, and what a class would mangle is refused: no way leads from a
value to the insides of its class, function or module. Nothing is imported in a class, where it became an attribute.
What hands such insides to the program's own methods (descriptors, context managers, metaclasses, copying
with a memo) is refused too, and whatever else only looks odd: a refusal costs time, never a verdict.

`docs/sandbox.md` has the argument; `reuse.py` looks afterwards, as a second line, at what could have changed.
"""

# ruff: noqa: SIM905 - lists of words

from __future__ import annotations

import ast
import builtins
import functools
import sys
import warnings
from collections.abc import Iterable
from enum import Enum, auto
from string import Formatter
from types import BuiltinFunctionType

MAX_SOURCE_BYTES = 1 << 16

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
    "next reversed contains call add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or radd rsub "
    "rmul rmatmul rtruediv rfloordiv rmod rpow rlshift rrshift rand rxor ror iadd isub imul itruediv ifloordiv imod "
    "ipow ilshift irshift iand ixor ior neg pos abs invert int float index round trunc floor ceil slots".split()
)
READABLE = frozenset({"__next__", "__iter__", "__getitem__", "__contains__", "__len__"})
"""Read of any value, they give a bound method, which can't be changed."""
INSIDES = frozenset(
    "gi_frame gi_code gi_yieldfrom tb_frame tb_next f_back f_builtins f_code f_globals f_locals f_trace obj mro "
    "with_traceback add_note format_map raw detach reconfigure register "
    "_field_defaults _fields _make _replace _asdict".split()
)
"""Attributes that lead from a value into the interpreter, into a class of the library, or to a file of one's choice."""
REFUSED_NODES = (
    ast.AsyncFunctionDef,
    ast.Await,
    ast.AsyncFor,
    ast.AsyncWith,
    ast.MatchClass,
    ast.TryStar,
)
HARMLESS_NODES = frozenset(
    {
        ast.Load,
        ast.Store,
        ast.Del,
        ast.Constant,
        ast.Expr,
        ast.BinOp,
        ast.BoolOp,
        ast.UnaryOp,
        ast.Compare,
        ast.Subscript,
    }
    | {ast.Tuple, ast.List, ast.Assign, ast.AugAssign, ast.For, ast.While, ast.If, ast.IfExp, ast.Return, ast.Slice}
    | {ast.Pass, ast.Break, ast.Continue, ast.arguments, ast.Lambda, ast.comprehension, ast.ListComp, ast.GeneratorExp}
    | {*ast.operator.__subclasses__(), *ast.cmpop.__subclasses__(), *ast.unaryop.__subclasses__()}
)
"""They hold no identifier and ask for nothing; what they hold is looked at itself."""
ANNOTATION_NODES = (
    ast.Name,
    ast.Load,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.BinOp,
    ast.BitOr,
)
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
STDIN_MODES = ("r", "rb", "rt")
STDIN_KEYWORDS = frozenset({"mode", "encoding", "errors", "newline", "closefd", "buffering"})


class Kind(Enum):
    """How a name of a module may be used."""

    VALUE = auto()
    CALLED = auto()
    ANNOTATES = auto()
    REFUSED = auto()


class ImpureError(ValueError):
    """Why the tests of this program each need a process of their own."""


def check(source: bytes) -> frozenset[str]:
    """The modules that the program names; `ImpureError` unless its tests may share a process."""
    if len(source) > MAX_SOURCE_BYTES:
        raise ImpureError("longer than what is looked at")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler will say it again
        tree = ast.parse(source)
    program = _Check()
    program.run(tree)
    return frozenset(program.imported)


class _Check:
    def __init__(self) -> None:
        self.modules: dict[str, str] = {}
        """Name in the program -> module."""
        self.imported: set[str] = set()
        self.called = set(CALLED_BUILTINS)
        """Names that may only be called, whatever else the program binds to them."""
        self.annotates: set[str] = set()
        self.refused: set[str] = set()
        self.own: set[str] = set()
        """Names that the program binds, imported values included."""
        self.classes: set[str] = set()
        """Classes of the program's, and imported ones that can't be changed; in `own` too where bound otherwise."""
        self.one_argument: set[str] = set()
        self.sets = {
            Kind.VALUE: self.own,
            Kind.CALLED: self.called,
            Kind.ANNOTATES: self.annotates,
            Kind.REFUSED: self.refused,
        }
        self.callees: set[int] = set()
        self.annotations: set[int] = set()
        self.module_uses: set[int] = set()

    def run(self, tree: ast.Module) -> None:
        nodes = [node for node in ast.walk(tree) if type(node) not in HARMLESS_NODES]
        for node in nodes:
            if isinstance(node, REFUSED_NODES):
                raise ImpureError(f"{type(node).__name__}")
            self._note(node)
        if CALLED_BUILTINS & (self.own | self.classes | self.modules.keys()):
            raise ImpureError("a builtin's name bound")
        for node in nodes:
            _check_identifiers(node)
            match node:
                case ast.Name(ctx=ast.Load()):
                    self._check_name(node)
                case ast.Attribute():
                    self._check_attribute(node)
                case ast.Call():
                    self._check_call(node)
                case ast.ClassDef(keywords=[_, *_]):
                    raise ImpureError("a metaclass")
                case ast.FunctionDef():
                    _check_generator(node)
        if any(map(_sets_recursion_limit, nodes)) and any(map(_sees_recursion, nodes)):
            raise ImpureError("a handler that can see a recursion limit of its own")

    def _note(self, node: ast.AST) -> None:
        match node:
            case ast.Import(names):
                for alias in names:
                    if not _is_loaded(alias.name):
                        raise ImpureError(f"import of {alias.name}")
                    if alias.name not in KNOWN_MODULES:
                        self.refused.add(alias.asname or alias.name)
                        continue
                    if self.modules.setdefault(alias.asname or alias.name, alias.name) != alias.name:
                        raise ImpureError("one name for two modules")
                    self.imported.add(alias.name)
            case ast.ImportFrom(module, names, level):
                if level or module is None:
                    raise ImpureError("a relative import")
                for alias in names:
                    if module == "__future__":
                        self.refused |= {alias.name, alias.asname or alias.name}
                    else:
                        self._note_import(module, alias)
            case ast.ClassDef(name, decorator_list=decorators):
                if any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node)):
                    raise ImpureError("an import in a class")
                (self.own if decorators else self.classes).add(name)
            case ast.FunctionDef(name=name, decorator_list=decorators, args=args, returns=returns):
                self.own.add(name)
                self.callees.update(map(id, decorators))
                every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
                self._note_annotations([*(one.annotation for one in every if one), returns])
            case ast.AnnAssign(annotation=annotation):
                self._note_annotations([annotation])
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                self.own.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                self.own.add(name)
            case ast.MatchMapping(rest=str(name)):
                self.own.add(name)
            case ast.Call(func=func):
                self.callees.add(id(func))
            case ast.Attribute(value=ast.Name() as value):
                self.module_uses.add(id(value))

    def _note_import(self, module: str, alias: ast.alias) -> None:
        """What may not be used may still be imported: many programs begin with more than they need."""
        if not _is_loaded(module):
            raise ImpureError(f"import of {module}")
        if module in KNOWN_MODULES:
            self.imported.add(module)
        kinds = _star(module) if alias.name == "*" else {alias.name: _kind(module, alias.name)}
        for original, kind in kinds.items():
            name = original if alias.asname is None else alias.asname
            is_class = kind is Kind.VALUE and isinstance(getattr(sys.modules[module], original), type)
            (self.classes if is_class else self.sets[kind]).add(name)
            if module == "copy":
                self.one_argument.add(name)

    def _note_annotations(self, tops: Iterable[ast.expr | None]) -> None:
        for top in tops:
            for node in ast.walk(top) if top is not None else ():
                if not isinstance(node, ANNOTATION_NODES):
                    raise ImpureError(f"{type(node).__name__} in an annotation")
                self.annotations.add(id(node))

    def _check_name(self, node: ast.Name) -> None:
        name = node.id
        if name in self.refused:
            raise ImpureError(f"the name {name}")
        if name in self.modules:
            if id(node) not in self.module_uses:
                raise ImpureError(f"the module {name} as a value")
        elif name in self.called:
            if id(node) not in self.callees | self.annotations:
                raise ImpureError(f"{name} as a value")
        elif id(node) in self.annotations:
            is_class = name in self.annotates or name in BUILTINS or name in self.classes
            if not is_class or name in self.own:
                raise ImpureError(f"{name} in an annotation")
        elif name in self.annotates:
            raise ImpureError(f"{name} as a value")
        elif name == "open":
            if id(node) not in self.callees:
                raise ImpureError("open as a value")
        elif name in ALL_BUILTINS:
            if name not in BUILTINS:
                raise ImpureError(f"the name {name}")
        elif name not in self.own and name not in self.classes and name != "__name__":
            raise ImpureError(f"the unknown name {name}")

    def _check_attribute(self, node: ast.Attribute) -> None:
        name = node.attr
        if name in INSIDES:
            raise ImpureError(f"the attribute {name}")
        is_method = name in READABLE or (name in METHODS and _is_super(node.value))
        if _is_mangled(name):
            raise ImpureError(f"the attribute {name}")
        if _is_special(name) and not (is_method and isinstance(node.ctx, ast.Load)):
            raise ImpureError(f"the attribute {name}")
        if name == "format" and not _is_plain_format(node.value):
            raise ImpureError("a format that is no plain text")
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            kind = _kind(self.modules[node.value.id], name)
            if kind is Kind.REFUSED or not isinstance(node.ctx, ast.Load):
                raise ImpureError(f"{node.value.id}.{name}")
            if kind is Kind.CALLED and id(node) not in self.callees | self.annotations:
                raise ImpureError(f"{node.value.id}.{name} as a value")
            if kind is Kind.ANNOTATES and id(node) not in self.annotations:
                raise ImpureError(f"{node.value.id}.{name} as a value")

    def _check_call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name("open"):
                if not _opens_only_stdin(node):
                    raise ImpureError("open")
            case ast.Name(name) if name in self.one_argument:
                _check_copy(node)
            case ast.Attribute(ast.Name(name)) if self.modules.get(name) == "copy":
                _check_copy(node)


def _is_loaded(module: str) -> bool:
    """Importing it again does nothing."""
    return module in sys.modules and "." not in module and module != "__main__" and not module.startswith("forklock")


@functools.cache
def _kind(module: str, name: str) -> Kind:
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
def _star(module: str) -> dict[str, Kind]:
    if module == "builtins":  # the rest is what it was
        return dict.fromkeys(ALL_BUILTINS - BUILTINS - CALLED_BUILTINS - {"open"}, Kind.REFUSED)
    loaded = sys.modules[module]
    names = getattr(loaded, "__all__", None) or [name for name in vars(loaded) if not name.startswith("_")]
    return {name: _kind(module, name) for name in names}


def _check_copy(node: ast.Call) -> None:
    """A second argument would be handed a list that all calls share."""
    if len(node.args) != 1 or isinstance(node.args[0], ast.Starred) or node.keywords:
        raise ImpureError("a copy with more than one argument")


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_mangled(name: str) -> bool:
    """In a class it stands for another name than the one that is written."""
    return name.startswith("__") and not name.endswith("__")


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _is_unchangeable(value: object) -> bool:
    if isinstance(value, type):
        return bool(value.__flags__ & IMMUTABLE_TYPE) or not value.__flags__ & HEAP_TYPE
    return isinstance(value, BuiltinFunctionType | int | float | complex | str)


def _is_plain_format(node: ast.expr) -> bool:
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


def _opens_only_stdin(node: ast.Call) -> bool:
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


def _check_identifiers(node: ast.AST) -> None:
    """No special or mangled name may be bound, read or passed, but for methods; `__name__` may be read."""
    if isinstance(node, ast.Attribute | ast.Constant) or (isinstance(node, ast.Name) and node.id == "__name__"):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            raise ImpureError("__name__ bound")
        return
    for field, value in ast.iter_fields(node):
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and _is_mangled(name):
                raise ImpureError(f"the name {name}")
            if isinstance(name, str) and _is_special(name):
                is_definition = isinstance(node, ast.FunctionDef | ast.Name) and name in METHODS
                if not is_definition and not (field == "module" and name == "__future__"):
                    raise ImpureError(f"the name {name}")


def _check_generator(function: ast.FunctionDef) -> None:
    """When an abandoned generator is closed depends on the collector, so it may have nothing to do then."""
    kinds = {type(node) for node in ast.walk(function)}
    if kinds & {ast.Yield, ast.YieldFrom} and kinds & {ast.Try, ast.With}:
        raise ImpureError("a generator that does something when it is closed")


def _sets_recursion_limit(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="setrecursionlimit") | ast.alias(name="setrecursionlimit" | "*"):
            return True
    return False


def _sees_recursion(node: ast.AST) -> bool:
    """A handler of something that a recursion's end may raise."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return not all(isinstance(kind, ast.Name) and kind.id in NOT_RECURSION for kind in caught)
