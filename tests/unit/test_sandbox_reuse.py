"""Tests of one program may share a process only where nothing can tell: with and without, the results are the same."""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_cases import SHORT, open_sandbox

from forklock.benchmarks.livecodebench import FUNCTION_PRELUDE
from forklock.sandbox import purity
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.purity_nodes import ImpureError
from forklock.sandbox.results import RunResult

PACKAGE = Path(purity.__file__).parents[1]
INPUTS = ["3 4\nhello\n", "5 6\nworld\n", "3 4\nhello\n", "1 1\n\n"]

SHARED = {
    "input": "a, b = map(int, input().split())\nprint(a + b)",
    "readline kept as input": "import sys\ninput = sys.stdin.readline\nprint(input(), repr(sys.stdin.read()))",
    "buffer": "import sys\nprint(sys.stdin.buffer.read().split())\nsys.stdout.buffer.write(b'raw\\n')\nsys.stdout.write('x\\n')",
    "lines as an iterator": "import sys\ninput = iter(sys.stdin.read().splitlines()).__next__\nprint(input(), input())",
    "open(0)": "print(open(0).read())",
    "open(0) kept in a cycle": "class A: pass\na = A(); a.a = a; a.f = open(0)\nprint(a.f.readline())",
    "exit": "print(1)\nexit()\nprint(2)",
    "sys.exit": "from sys import exit\nprint(1)\nexit(0)",
    "stdout closed": "import sys\nprint('x')\nsys.stdout.close()",
    "function attribute": "def f(): pass\nf.n = getattr_free = 1\nf.n += 1\nprint(f.n)",
    "mutable default": "def f(x, seen=[]):\n    seen.append(x)\n    return seen\nprint(f(1), f(2))",
    "class attribute": "class A:\n    n = 0\n    def __init__(self): A.n += 1\nA(); A()\nprint(A.n)",
    "memory of calls": "from functools import lru_cache\ncalls = []\n@lru_cache(maxsize=None)\ndef f(x):\n    calls.append(x)\n    return x\nf(1); f(1)\nprint(calls, f.cache_info())",
    "memory of a class": "from typing import List, Dict\nclass S:\n    memo: Dict[int, List[int]] = {}\n    def f(self, x: List[int]) -> int:\n        self.memo[len(self.memo)] = x\n        return len(self.memo)\nprint(S().f([]), S().f([]))",
    "generator left open": "def g():\n    n = 0\n    while True:\n        n += 1\n        yield n\nk = g()\nprint(next(k), next(k))",
    "closure": "def counter():\n    n = 0\n    def f():\n        nonlocal n\n        n += 1\n        return n\n    return f\nc = counter()\nprint(c(), c())",
    "global": "n = 0\ndef f():\n    global n, m\n    n += 1; m = n\nf()\nprint(n, m)",
    "a builtin's name": "n = 0\ndef print_(x, p=print): p('mine', x)\nmap = print_\nmap(1)",
    "recursion limit": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(20000))",
    "depth of recursion": "d = 0\ndef f():\n    global d\n    d += 1\n    f()\ntry: f()\nexcept RecursionError: print(d)",
    "standard modules": "import math, heapq, bisect, itertools, string\nfrom collections import Counter, defaultdict, deque, namedtuple\nfrom fractions import Fraction\nfrom decimal import Decimal\nfrom datetime import date\nimport re\nfrom copy import deepcopy\nP = namedtuple('P', 'x y')\nh = [3, 1]\nheapq.heapify(h)\nprint(math.gcd(4, 6), h, bisect.bisect([1, 2], 1), list(itertools.accumulate([1, 2])), Counter('aab').most_common(1), deque([1]), P(1, 2), Fraction(1, 3) + 1, Decimal('1.10') + 1, date(2026, 1, 1), re.findall('a+', 'aaba'), deepcopy([[1]]), string.digits, defaultdict(list))",
    "a star": "from collections import *\nfrom math import *\nfrom heapq import *\nprint(gcd(4, 6), Counter('ab'), deque())",
    "imports that are not used": "import os, json, random, threading\nfrom random import *\nfrom builtins import *\nprint(input())",
    "a prelude": FUNCTION_PRELUDE
    + "a = sorted(map(int, input().split()), key=itemgetter and abs)\nprint(a, gcd(4, 6), Counter('aab').most_common(1), pow(2, 3), deepcopy(a))\nclass Solution:\n    def f(self, x: List[int], y: Optional[int] = None) -> Dict[int, int]: return {1: x}\nprint(Solution().f(a))",
    "hash order": "print({'b', 'a', 'c'}, hash('x') % 7)",
    "format": "print('{:>5}|{x:{w}}'.format(1, x=2, w=3), '%s' % 4, f'{5!r:>3}')",
    "dataclass by hand": "class P:\n    __slots__ = ('x',)\n    def __init__(self, x): self.x = x\n    def __lt__(self, o): return self.x < o.x\n    def __repr__(self): return f'P({self.x})'\n    __str__ = __repr__\nprint(sorted([P(2), P(1)]), P(3))",
    "linked list": "class N:\n    def __init__(self, v): self.v = v; self.next = None\nh = N(1); h.next = N(2); h.next.next = h\nprint(h.next.next.v)",
    "super": "class A:\n    def __init__(self): self.x = 1\nclass B(A):\n    def __init__(self):\n        super().__init__(); self.y = 2\nprint(B().x + B().y)",
    "lone surrogate out": "import sys\nprint(ascii(sys.stdin.read()))",
    "classes": "from collections import deque, namedtuple\nclass A(object): pass\nclass B(A, dict): pass\nclass C(deque): pass\nclass D(namedtuple('D', 'x')): pass\nclass E(ValueError): pass\nprint(B(a=1), C([1]), D(2))",
    "guard": "def main(): print(input())\nif __name__ == '__main__':\n    main()",
}
"""Shared, from the first test to the last."""

SNEAKY = {
    "builtins": "__builtins__.n = getattr(__builtins__, 'n', 0) + 1\nprint(__builtins__.n)",
    "builtins imported": "import builtins\nbuiltins.n = getattr(builtins, 'n', 0) + 1\nprint(builtins.n)",
    "a module's attribute": "import math\nmath.n = getattr(math, 'n', 0) + 1\nprint(math.n)",
    "a module's attribute, plainly": "import math\ntry: print(math.n)\nexcept AttributeError: print('none')\nmath.n = 1",
    "a module's dict": "import math\nmath.__dict__['n'] = math.__dict__.get('n', 0) + 1\nprint(math.__dict__['n'])",
    "a module as a value": "import math\nm = [math][0]\ntry: print(m.n)\nexcept AttributeError: print('none')\nm.n = 1",
    "a class of the library": "from collections import Counter\ntry: print(Counter.n)\nexcept AttributeError: print('none')\nCounter.n = 1",
    "a class by another name": "from collections import Counter as C\nD = C\ntry: print(D.n)\nexcept AttributeError: print('none')\nD.n = 1",
    "a class as an argument": "from collections import Counter, defaultdict\nd = defaultdict(Counter)\nprint(hasattr(d.default_factory, 'n'))\nd.default_factory.n = 1",
    "a class by type": "from collections import Counter\nt = type(Counter())\nprint(hasattr(t, 'n'))\nt.n = 1",
    "a class by __class__": "from collections import Counter\nt = Counter().__class__\nprint(hasattr(t, 'n'))\nt.n = 1",
    "a class by inheritance": "from collections import Counter\nclass A(Counter): pass\nprint(hasattr(A.most_common, 'n'))\nA.most_common.n = 1",
    "a class by a pattern": "from collections import Counter\nmatch Counter():\n    case object(__class__=t): pass\nprint(hasattr(t, 'n'))\nt.n = 1",
    "a method replaced": "from collections import Counter\nprint(Counter('aab').most_common())\nCounter.most_common = lambda self: 'mine'",
    "a class by typing": "import typing\nfrom collections import Counter\nt = typing.Type(Counter())\nprint(hasattr(t, 'n'))\nt.n = 1",
    "an exception's class": "from decimal import Decimal\nclass M:\n    def __enter__(self): return self\n    def __exit__(self, t, e, b):\n        print(hasattr(t, 'n')); t.n = 1\n        return True\nwith M(): Decimal(1) / 0",
    "setattr": "from collections import Counter\nprint(hasattr(Counter, 'n'))\nsetattr(Counter, 'n', 1)",
    "setattr in disguise": "import operator, builtins\nf = vars(builtins)['set' + 'attr']\nprint(hasattr(operator, 'n'))\nf(operator, 'n', 1)",
    "attrgetter": "from operator import attrgetter\ndef f(): pass\ng = attrgetter('__globals__')(f)\nb = g['__builtins__']\nprint(hasattr(b, 'n'))\nb.n = 1",
    "methodcaller": "from operator import methodcaller\nf = methodcaller('__setattr__', 'n', 1)\nimport math\nprint(hasattr(math, 'n'))\nf(math)",
    "format reads": "import sys, fractions\nclass A:\n    def f(self): pass\nprint(len('{0.f.__globals__}'.format(A())) > 0)",
    "format of the library": "from collections import Counter\ns = '{0.most_common.__func__.__globals__[_sys].modules[__main__]}'\nprint(s.format(Counter())[:20])",
    "format as a value": "f = '{0.__class__}'.format\nprint(f(1))",
    "sys.modules": "import sys\nprint('mine' in sys.modules)\nsys.modules['mine'] = sys",
    "sys attribute": "import sys\nprint(hasattr(sys, 'n'))\nsys.n = 1",
    "sys.stdin replaced": "import sys, io\nprint(type(sys.stdin).__name__)\nsys.stdin = io.StringIO('x')",
    "int digits": "import sys\nprint(sys.get_int_max_str_digits())\nsys.set_int_max_str_digits(0)",
    "switch interval": "import sys\nprint(sys.getswitchinterval())\nsys.setswitchinterval(1)",
    "recursion limit seen": "import sys\nd = 0\ndef f():\n    global d\n    d += 1\n    f()\nsys.setrecursionlimit(500)\ntry: f()\nexcept RecursionError: print(d)",
    "traceback": "try: 1 / 0\nexcept Exception as e:\n    f = e.__traceback__.tb_frame\n    while f.f_back: f = f.f_back\n    print('n' in f.f_globals)\n    f.f_globals['n'] = 1",
    "generator frame": "g = (x for x in [1])\nb = g.gi_frame.f_builtins\nprint('n' in b)\nb['n'] = 1",
    "subclasses": "print(sum(c.__name__ == 'Mine' for c in object.__subclasses__()))\nclass Mine: pass\nkeep = Mine\nimport builtins; builtins.keep = Mine",
    "metaclass": "class M(type):\n    n = 0\n    def __call__(cls): M.n += 1; return M.n\nclass A(metaclass=M): pass\nprint(A())",
    "abc registry": "from collections.abc import Sized\nclass A: pass\nprint(isinstance(A(), Sized), isinstance(1, Sized))\nSized.register(int)",
    "decimal context": "from decimal import Decimal, getcontext\nprint(Decimal(1) / 3)\ngetcontext().prec = 5",
    "decimal context by star": "from decimal import *\nprint(Decimal(1) / 3)\ngetcontext().prec = 5",
    "random": "import random\nrandom.seed(1)\nprint(random.random())",
    "random state": "import random\nprint(hasattr(random, 'n'))\nrandom.n = 1",
    "random unseeded": "from random import random\nprint(random() < 2)",
    "environment": "import os\nprint(os.environ.get('N'))\nos.environ['N'] = '1'",
    "a file": "import os\nprint(os.path.exists('n'))\nopen('n', 'w').close()",
    "a file by open": "try: print(open('n').read())\nexcept OSError: print('none')\nopen('n', 'w').write('1')",
    "a file by a raw stream": "import sys\nr = sys.stdin.buffer.raw\nr.__init__('n', 'a+')\nr.seek(0)\nprint(r.read())\nr.write(b'1')",
    "descriptor": "import os\nprint(os.dup(1))",
    "folder": "import os\nprint(os.getcwd())\nos.mkdir('d'); os.chdir('d')",
    "thread left": "import threading\nprint(threading.active_count())\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    "atexit": "import atexit\nprint(1)\natexit.register(print, 'last')",
    "signal": "import signal\nprint(signal.getsignal(signal.SIGALRM))\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)",
    "collector": "import gc\nprint(gc.isenabled())\ngc.disable()",
    "kept by the collector": "import gc\nprint(len(gc.callbacks))\ngc.callbacks.append(lambda *a: None)",
    "warnings": "import warnings\nprint(len(warnings.filters))\nwarnings.simplefilter('ignore')",
    "main imported": "import __main__\nprint(hasattr(__main__, 'n'))\n__main__.n = 1",
    "own import": "import solution\nprint(1)",
    "deepcopy's default": "from copy import deepcopy\nclass M(dict):\n    def get(self, k, d=None):\n        print(len(d)) if isinstance(d, list) else None\n        d.append(1)\n        return super().get(k, None)\ntry: deepcopy([], M())\nexcept Exception as e: print('no')",
    "field's default": "from dataclasses import field\nx = field()\nprint(hasattr(x.default, 'n'))\nx.default.n = 1",
    "total_ordering's functions": "from functools import total_ordering\n@total_ordering\nclass A:\n    def __lt__(self, o): return True\n    def __eq__(self, o): return True\nprint(hasattr(A.__ge__, 'n'))\nA.__ge__.n = 1",
    "wraps": "from functools import wraps, update_wrapper\nfrom collections import Counter\nprint(hasattr(Counter, 'n'))\ndef f(): pass\nf.n = 1\nupdate_wrapper(Counter, f, assigned=('n',), updated=())",
    "del at the end": "class A:\n    def __del__(self): print('del')\na = A(); a.a = a",
    "finally at the end": "def g():\n    try: yield 1\n    finally: print('closed')\nk = g(); next(k); c = [k]; c.append(c)",
    "hook at import": "import sys\nprint(len(sys.meta_path))\nsys.meta_path.append(None)",
    "exec": "exec('import math; math.n = getattr(math, \"n\", 0) + 1; print(math.n)')",
    "own super": "import sys\ndef super(x): return x\nsuper(sys.stdin.buffer).__init__(open(0, 'rb', 0))\nprint(sys.stdin.buffer.read(3))",
    "never bound name": "import math\nfor getattr in []: pass\nfor setattr in []: pass\nprint(getattr(math, 'n', 0))\nsetattr(math, 'n', 1)",
    "one name, two modules": "import math as m\nimport sys as m\nprint(hasattr(m, 'n'))\nm.n = 1",
    "special name by global": "def f():\n    global __builtins__\n    __builtins__ = {'print': print}\nf()\nprint(1)",
    "compile after a prelude": FUNCTION_PRELUDE + "compile('import math; math.n = 1', 'x', 'exec')\nprint(1)",
    "random after a prelude": FUNCTION_PRELUDE + "print(choice([1]))\nseed(3)",
    "an alias of typing after a prelude": FUNCTION_PRELUDE + "d = OrderedDict\nprint(d._name)\nd._name = 'n'",
    "a module that is not used, used": "import os\nprint(os.getpid() > 0)",
    "help": "print(hasattr(help, 'n'))\nhelp.n = 1",
    "a module in a class": "class C:\n    import json\nprint(hasattr(C.json, 'n'))\nC.json.n = 1",
    "a module in a class in an if": "class C:\n    if 1:\n        import math as m\nprint(hasattr(C.m, 'n'))\nC.m.n = 1",
    "a name in a class": "class C:\n    from collections import Counter\nprint(hasattr(C.Counter, 'n'))\nC.Counter.n = 1",
    "os in a class": "class C:\n    import os\no = C.os\nprint(o.path.exists('kept'), sum(p.isdigit() for p in o.listdir('/proc')))\no.close(o.open('kept', o.O_CREAT | o.O_WRONLY))\nif o.fork() == 0:\n    while True: pass",
    "a mangled name": "import json as _C__m\n__m = 0\nclass C:\n    def f(self):\n        print(hasattr(__m, 'n'))\n        __m.n = 1\nC().f()",
    "a mangled attribute": "class A:\n    _C__f = print\nclass C:\n    def f(self, a): a.__f(1)\nC().f(A)",
    "a feature": "from __future__ import annotations\nif 0: annotations = 0\nprint(hasattr(annotations, 'n'))\nannotations.n = 1",
    "a feature by another name": "from __future__ import annotations as a\nif 0: a = 0\nprint(hasattr(a, 'n'))\na.n = 1",
    **{
        f"{name}, never bound": f"if 0: {name} = 0\nprint(hasattr({name}, 'n'))\n{name}.n = 1"
        for name in ("copyright", "credits", "license", "help")
    },
    "a tuple of the library": "from functools import lru_cache\n@lru_cache(None)\ndef f(x): return x\nd = f.cache_info()._field_defaults\nd[0] = d.get(0, 0) + 1\nprint(d)",
    "a tuple of decimals": "from decimal import Decimal\nd = Decimal(1).as_tuple()._field_defaults\nd[0] = d.get(0, 0) + 1\nprint(d)",
    **{
        f"a tuple's {name}": f"from decimal import Decimal\nprint(hasattr(Decimal(1).as_tuple().{name}, 'n'))"
        for name in ("_fields", "_make", "_replace", "_asdict")
    },
    "exit's attribute": "print(hasattr(exit, 'n'))\nexit.n = 1",
    "a fault of decimals": "from decimal import Decimal\ntry: Decimal(1) / Decimal(0)\nexcept ZeroDivisionError as e:\n    c = e.args[0][0]\n    print(hasattr(c, 'n'))\n    c.n = 1",
    "flags of a pattern": "import re\nclass F:\n    def __and__(self, other):\n        print(hasattr(other, 'n'))\n        other.n = 1\n        return 0\ntry: re.compile('x', F())\nexcept Exception: pass",
    "flags of a pattern, the other way round": "import re\nclass F:\n    def __rand__(self, other):\n        print(hasattr(other, 'n'))\n        other.n = 1\n        return 0\ntry: re.compile('x', F())\nexcept Exception: pass",
    "a text that is escaped": "import re\nclass S(str):\n    def translate(self, table):\n        print(len(table))\n        table[len(table) + 1000] = 'x'\n        return 'a'\nre.escape(S('a'))",
    "a text by another name": "import re\nT = str\nclass S(T):\n    def translate(self, table):\n        print(len(table))\n        table[len(table) + 1000] = 'x'\n        return 'a'\nre.escape(S('a'))",
    "a text by a builtin's name": "import re\ndict = str\nclass S(dict):\n    def translate(self, table):\n        print(len(table))\n        table[len(table) + 1000] = 'x'\n        return 'a'\nre.escape(S('a'))",
    "a text that a function gives": "import re\nfrom collections import namedtuple\nif 0: pass\nelse:\n    def namedtuple(*a): return str\nclass S(namedtuple('P', 'x')):\n    def translate(self, table):\n        print(len(table))\n        table[len(table) + 1000] = 'x'\n        return 'a'\nre.escape(S('a'))",
    "weak reference": "import weakref\nclass A: pass\nprint(weakref.ref(A())())",
    "asyncio": "import asyncio\nasync def f(): return 1\nprint(asyncio.run(f()))",
}
"""Each has a way to leave something behind, or looks as if it had; none is shared."""

NO_PLAIN_END = {
    "exception": "print(input())\n1 / 0",
    "exit status": "import sys\nprint(input())\nsys.exit(3)",
    "exception on one input": "a, b = map(int, input().split())\nprint(6 // (a - 5))",
    "too much output on one input": "n = int(input().split()[0])\nprint('x' * (n == 5) * 2000000)",
    "a long one": "n = int(input().split()[0])\nx = 0\nwhile n == 5 and x < 3000000: x += 1\nprint(n)",
    "busy on one input": "n = int(input().split()[0])\nwhile n == 5: pass\nprint(n)",
    "memory on one input": "n = int(input().split()[0])\nx = [0] * (10**8 * (n == 5))\nprint(n)",
    "memory kept to the end": "n = int(input().split()[0])\nx = [n] * (12 * 10**6)\nprint(len(x))",
    "memory caught": "n = 0\nx = []\ntry:\n    while True: x.append(bytearray(1 << 24)); n += 1\nexcept MemoryError: x = 0\nprint(n > 5)",
    "too deep": "def f(): return f()\nif input()[0] == '5': f()\nprint(1)",
    "does not compile": "print(1)\nif",
    "too long an int": "print(int('1' * 5000))",
}
"""The process is shared at most until the first test that doesn't end plainly."""

PROGRAMS = {**SHARED, **SNEAKY, **NO_PLAIN_END}


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with open_sandbox(SHORT, reuse=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def alone() -> Iterator[Sandbox]:
    with open_sandbox(SHORT) as opened:
        yield opened


def words(results: list[RunResult]) -> list[object]:
    return [(result.outcome, result.exit_status, result.stdout, getattr(result, "value", None)) for result in results]


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_the_same_with_and_without(shared: Sandbox, alone: Sandbox, name: str) -> None:
    with_reuse = list(shared.run_program(PROGRAMS[name], INPUTS))
    without = list(alone.run_program(PROGRAMS[name], INPUTS))
    assert words(with_reuse) == words(without), (with_reuse, without)
    assert not any(result.is_shared for result in without)
    if name in SHARED:
        assert all(result.is_shared for result in with_reuse), [result.is_shared for result in with_reuse]
    if name in SNEAKY:
        assert not any(result.is_shared for result in with_reuse)


FUNCTIONS = {
    "method": (
        "class S:\n    n = 0\n    def f(self, x):\n        self.n += 1; S.n += 1\n        return self.n, S.n, x",
        "S.f",
        True,
    ),
    "list changed": ("seen = []\ndef f(x):\n    seen.append(x)\n    print(len(seen))\n    return seen", "f", True),
    "objects": (
        "class A:\n    def __repr__(self): return 'A'\ndef f(x): return [A(), {x: (1, None)}, range(3)]",
        "f",
        True,
    ),
    "raises": ("def f(x): return 1 // (x - 2)", "f", None),
    "exits": ("def f(x): exit(0)", "f", False),
    "os": ("import os\ndef f(x): return os.getpid() > 1", "f", False),
    "missing": ("def g(x): return 1", "f", False),
    "large": ("def f(x): return [x] * 10**5", "f", None),
    "long, after a short one": (
        "def f(x):\n    i = 0\n    while x == 2 and i < 3 * 10**6: i += 1\n    return x",
        "f",
        None,
    ),
    "memory, after little": ("def f(x):\n    a = [x] * (12 * 10**6 * (x == 2))\n    return x, len(a)", "f", None),
    "unreadable": ("def f(x):\n    a = []\n    for _ in range(3000): a = [a]\n    return a", "f", None),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_give_the_same_with_and_without(shared: Sandbox, alone: Sandbox, name: str) -> None:
    source, entry_point, is_shared = FUNCTIONS[name]
    calls = [[x] for x in (1, 2, 3, 1)]
    with_reuse = list(shared.call_function(source, entry_point, calls))
    assert words(list(with_reuse)) == words(list(alone.call_function(source, entry_point, calls)))
    if is_shared is not None:
        assert {result.is_shared for result in with_reuse} == {is_shared}


@pytest.mark.parametrize("name", SNEAKY)
def test_what_is_sneaky_is_refused_before_it_runs(name: str) -> None:
    with pytest.raises(ImpureError):
        purity.check(SNEAKY[name].encode())


PIECES = """
n = 0
import math
x = [1]
x.append(2)
print(x)
print(math.pi)
def f(a, s=[]): s.append(a); return s
print(f(1))
class A: k = 0
A.k += 1
print(A.k)
f.n = 1
print(f.n)
from collections import Counter
Counter.z = 1
print(Counter('ab'))
c = Counter(input())
print(c)
import sys
print(sys.stdin.readline())
math.z = 1
print(math.z)
y = Counter
print(y)
A.f = f
print(A().k)
print(globals().get('q'))
q = 1
print(len(dir()))
sys.setrecursionlimit(300)
g = (i for i in x)
print(next(g))
A.a = A
del x
exit()
""".strip().splitlines()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), min_size=2, max_size=10))
def test_programs_put_together_by_chance_give_the_same(shared: Sandbox, alone: Sandbox, lines: list[str]) -> None:
    source = "\n".join(lines)
    assert words(list(shared.run_program(source, INPUTS[:3]))) == words(list(alone.run_program(source, INPUTS[:3])))


LEAVES_SOMETHING = {
    "a module": "import math\nprint(hasattr(math, 'n'))\nmath.n = 1",
    "a class": "from collections import Counter\nprint(hasattr(Counter, 'n'))\nCounter.n = 1",
    "a builtin": "import builtins\nprint(hasattr(builtins, 'n'))\nbuiltins.n = 1",
    "a value replaced": "import math\nprint(math.pi)\nmath.pi = 3",
    "an object": "import sys\nprint(len(sys.path_hooks))\nsys.path_hooks.append(lambda path: 1 / 0)",
    "a descriptor": "import os\nprint(len(os.listdir('/proc/self/fd')))\nos.dup(1)",
    "a context": "import decimal\nprint(decimal.getcontext().prec)\ndecimal.getcontext().prec = 5",
    "an environment": "import os\nprint(len(os.environ))\nos.environ['N'] = '1'",
}


ADMITS_ALL = """
def check(source):
    return frozenset({"math", "collections"})
"""
RUN_ALL = """
import sys, json
from sandbox_cases import SHORT
from forklock.sandbox.pool import Sandbox
with Sandbox(SHORT, num_workers=1, reuse=True) as sandbox:
    for source in json.load(sys.stdin):
        results = list(sandbox.run_program(source, ["", "", ""]))
        print(json.dumps([[r.text for r in results], [r.is_shared for r in results]]))
"""


def test_were_they_admitted_what_they_leave_would_be_seen(alone: Sandbox, tmp_path: Path) -> None:
    """The second line, by itself: in a copy of the package the first one admits everything."""
    shutil.copytree(PACKAGE, tmp_path / "forklock")
    with (tmp_path / "forklock/sandbox/purity.py").open("a") as file:
        file.write(ADMITS_ALL)
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps([*LEAVES_SOMETHING.values(), "print(1)"]),
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[1]}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *answers, harmless = map(json.loads, done.stdout.splitlines())
    assert harmless == [["1\n"] * 3, [True] * 3]
    for name, (texts, is_shared) in zip(LEAVES_SOMETHING, answers, strict=True):
        expected = [result.text for result in alone.run_program(LEAVES_SOMETHING[name], [""] * 3)]
        assert (texts, is_shared) == (expected, [False] * 3), name
