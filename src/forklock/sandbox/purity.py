"""Says of a program's text whether its tests may share a process, before a line of it has run.

Admitted is only a program that never holds a reference to anything of the process that can be changed. So it reaches
no file, thread, frame or module. Names that it didn't bind come from short lists: values that can't be changed (the
real object is looked at), and what may only be called or annotated with. Names and attributes of the form __x__ are
method definitions and `super().__x__`, nothing else, and what a class would mangle is refused: no way leads from a
value to the insides of its class, function or module. Nothing is imported in a class, where it became an attribute.
What hands such insides to the program's own methods (descriptors, context managers, metaclasses, copying with a memo,
texts and numbers of the program's own, operators on bits) is refused too, and whatever else only looks odd: a refusal
costs time, never a verdict.

`docs/sandbox.md` has the argument; `reuse.py` looks afterwards, as a second line, at what could have changed.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable

from forklock.sandbox.admitted import (
    ALL_BUILTINS,
    BUILTINS,
    CALLED_BUILTINS,
    EXTENDED_BUILTINS,
    INSIDES,
    KNOWN_MODULES,
    METHODS,
    READABLE,
    Kind,
    kind_of,
    names_by_star,
)
from forklock.sandbox.purity_nodes import (
    ImpureError,
    check_copy,
    check_generator,
    check_identifiers,
    is_mangled,
    is_plain_format,
    is_special,
    is_super,
    opens_only_stdin,
    sees_recursion,
    sets_recursion_limit,
)

MAX_SOURCE_BYTES = 1 << 16
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
            check_identifiers(node)
            match node:
                case ast.Name(ctx=ast.Load()):
                    self._check_name(node)
                case ast.Attribute():
                    self._check_attribute(node)
                case ast.Call():
                    self._check_call(node)
                case ast.ClassDef(keywords=[_, *_]):
                    raise ImpureError("a metaclass")
                case ast.ClassDef(bases=bases):
                    if not all(map(self._may_be_extended, bases)):
                        raise ImpureError("a class that extends a text, a number, or what is not known")
                case ast.FunctionDef():
                    check_generator(node)
        if any(map(sets_recursion_limit, nodes)) and any(map(sees_recursion, nodes)):
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
        kinds = names_by_star(module) if alias.name == "*" else {alias.name: kind_of(module, alias.name)}
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
        is_method = name in READABLE or (name in METHODS and is_super(node.value))
        if is_mangled(name):
            raise ImpureError(f"the attribute {name}")
        if is_special(name) and not (is_method and isinstance(node.ctx, ast.Load)):
            raise ImpureError(f"the attribute {name}")
        if name == "format" and not is_plain_format(node.value):
            raise ImpureError("a format that is no plain text")
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            kind = kind_of(self.modules[node.value.id], name)
            if kind is Kind.REFUSED or not isinstance(node.ctx, ast.Load):
                raise ImpureError(f"{node.value.id}.{name}")
            if kind is Kind.CALLED and id(node) not in self.callees | self.annotations:
                raise ImpureError(f"{node.value.id}.{name} as a value")
            if kind is Kind.ANNOTATES and id(node) not in self.annotations:
                raise ImpureError(f"{node.value.id}.{name} as a value")

    def _check_call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name("open"):
                if not opens_only_stdin(node):
                    raise ImpureError("open")
            case ast.Name(name) if name in self.one_argument:
                check_copy(node)
            case ast.Attribute(ast.Name(name)) if self.modules.get(name) == "copy":
                check_copy(node)

    def _may_be_extended(self, base: ast.expr) -> bool:
        """A text or number of the program's own would be asked by the library's functions, with what is theirs."""
        match base:
            case ast.Name(name):
                return name not in self.own and (name in self.classes or name in EXTENDED_BUILTINS)
            case ast.Call(ast.Name("namedtuple")):
                return "namedtuple" not in self.own
            case ast.Call(ast.Attribute(ast.Name(name), "namedtuple")):
                return name not in self.own and self.modules.get(name) == "collections"
        return False


def _is_loaded(module: str) -> bool:
    """Importing it again does nothing."""
    return module in sys.modules and "." not in module and module != "__main__" and not module.startswith("forklock")
