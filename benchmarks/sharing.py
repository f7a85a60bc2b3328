"""Whether any result differs when tests of one program share a process: HumanEval's and CRUXEval's programs, and
mutations of them, each run with and without sharing.

    python benchmarks/sharing.py --data FOLDER --mutations 10

FOLDER holds HumanEval.jsonl.gz and cruxeval.jsonl. A mutation is made by chance (fixed seed): operators and constants
changed, statements dropped, and lines put in that keep state where a program can: in defaults, globals, classes,
functions, closures, caches, iterators. A program whose results differ between two runs without sharing is left out.
"""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import argparse
import ast
import copy
import gzip
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from _rows import Row, publish

from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import CallResult

NUM_TESTS = 4
LIMITS = Limits(cpu_s=1.0)
"""A mutation may never end."""
STATE = (
    "def keep(x, seen=[]):\n    seen.append(x)\n    return len(seen)\nprint(keep(1), keep(2))",
    "class Kept:\n    n = 0\n    all = []\nKept.n += 1\nKept.all.append(Kept)\nprint(Kept.n, len(Kept.all))",
    "def count(): count.n += 1; return count.n\ncount.n = 0\nprint(count())",
    "from functools import lru_cache\n@lru_cache(None)\ndef cached(x): print('once'); return x\ncached(1); cached(1)\nprint(cached.cache_info())",
    "from itertools import count, cycle, tee\nnumbers = count()\nprint(next(numbers), next(numbers))",
    "def closure():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    return up\nup = closure()\nprint(up(), up())",
    "once = iter([1, 2])\nprint(next(once))",
    "made = (x for x in range(3))\nprint(next(made))",
    "from collections import Counter, defaultdict, deque, OrderedDict, namedtuple\ncounts = Counter('aab')\ncounts.update('b')\nprint(counts.most_common())",
    "from collections import defaultdict\nd = defaultdict(list)\nd[1].append(d)\nprint(len(d))",
    "import re\np = re.compile('(a)+')\nprint(p.sub(r'<\\1>', 'caat'), re.findall('a', 'aa'))",
    "import math\nprint(math.inf > 1, math.gcd(4, 6))",
    "import sys\nsys.setrecursionlimit(3000)",
    "import heapq\nh = [3, 1]\nheapq.heapify(h)\nprint(heapq.heappop(h), heapq.nlargest(1, [1, 2]))",
    "from decimal import Decimal\nprint(Decimal(1) / 3)",
    "from fractions import Fraction\nprint(Fraction(1, 3) + 1)",
    "from datetime import date\nprint(date(2020, 1, 2))",
    "import copy\nx = [[1]]\ny = copy.deepcopy(x)\ny[0].append(2)\nprint(x, y)",
    "class Loop: pass\na = Loop(); a.a = a\nkept = [a]",
    "try: 1 // 0\nexcept ZeroDivisionError as e: kept_error = e",
    "import random\nrandom.seed(1)\nprint(random.random())",
    "import os\nos.environ['N'] = '1'",
    "import math\nmath.n = 1",
    "open('f', 'w').write('1')",
    "import decimal\ndecimal.getcontext().prec = 5",
    "import warnings\nwarnings.simplefilter('ignore')",
    "print(len(dir()))",
    "print(sorted(globals())[:3])",
    "import string\nprint(string.digits)",
    "import sys\nprint(sys.maxsize)",
    "print(hash('a'), hash((1, 2)))",
)
"""Put in at the top of a program; those that change something of the process are to be refused."""
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And, ast.Div: ast.FloorDiv,
}  # fmt: skip


class Program(NamedTuple):
    source: str
    name: str
    calls: list[list[Any]]


def programs(folder: Path) -> Iterator[Program]:
    with gzip.open(folder / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            calls = list(_calls(row["test"], "candidate"))
            if calls:
                yield Program(row["prompt"] + row["canonical_solution"], row["entry_point"], calls[:NUM_TESTS])
    rows = [json.loads(line) for line in (folder / "cruxeval.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        calls = list(_calls(f"f({row['input']})", "f"))
        yield Program(row["code"], "f", (calls * NUM_TESTS)[:NUM_TESTS])


def _calls(text: str, name: str) -> Iterator[list[Any]]:
    """Arguments of calls whose arguments are written out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            try:
                yield [ast.literal_eval(argument) for argument in node.args]
            except ValueError:
                continue


def mutated(source: str, chance: random.Random) -> str:
    tree = copy.deepcopy(ast.parse(source))
    nodes = list(ast.walk(tree))
    for _ in range(chance.randint(0, 2)):
        node = chance.choice(nodes)
        body = getattr(node, "body", None)
        if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
            node.op = SWAPS[type(node.op)]()  # type: ignore[assignment]
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            node.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[call-overload]
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            node.value += chance.choice((-1, 1))
        elif isinstance(body, list) and len(body) > 1:
            del body[chance.randrange(len(body))]
    put_in = [ast.parse(text).body for text in chance.sample(STATE, chance.randint(0, 3))]
    start = 0
    while start < len(tree.body) and isinstance(tree.body[start], ast.ImportFrom):
        start += 1
    tree.body[start:start] = [statement for body in put_in for statement in body]
    return ast.unparse(ast.fix_missing_locations(tree))


def words(results: list[CallResult]) -> list[object]:
    return [(result.outcome, result.exit_status, result.stdout, repr(result.value)) for result in results]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--mutations", type=int, default=3, help="of each program")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    chance = random.Random(chosen.seed)
    todo: list[Program] = []
    for program in programs(chosen.data):
        todo += [program, *(program._replace(source=mutated(program.source, chance)) for _ in range(chosen.mutations))]
    num_shared, num_unsteady, differing = 0, 0, []
    with Sandbox(LIMITS, num_workers=2, reuse=True) as sharing, Sandbox(LIMITS, num_workers=2) as alone:

        def run(program: Program) -> tuple[list[CallResult], list[CallResult]]:
            arguments = (program.source, program.name, program.calls)
            return list(sharing.call_function(*arguments)), list(alone.call_function(*arguments))

        with ThreadPoolExecutor(2) as pool:
            for program, (together, apart) in zip(todo, pool.map(run, todo), strict=True):
                num_shared += all(result.is_shared for result in together)
                if words(together) != words(apart):
                    again = list(alone.call_function(program.source, program.name, program.calls))
                    num_unsteady += (is_unsteady := words(again) != words(apart))
                    differing += [] if is_unsteady else [program.source]
    for source in differing:
        print(f"differs:\n{source}\n")
    note = f"of {len(todo)} programs; {num_shared} shared to the end; {num_unsteady} left out, not steady by themselves"
    publish([Row("results that differ", len(differing), None, 0.0, None, None, "programs", note)])


if __name__ == "__main__":
    main()
