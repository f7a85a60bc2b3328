"""Programs in the sandbox behave as under `python3 solution.py < input`: the real interpreter is the oracle."""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_cases import open_sandbox

from forklock.sandbox.pool import Sandbox
from forklock.sandbox.worker import ENVIRONMENT

INPUT = "3 4\nhello world\nlast"

PROGRAMS = {
    "stdin.buffer.readline twice": "import sys\nr=sys.stdin.buffer.readline\nprint(r(), r())",
    "stdin.buffer.readlines": "import sys\nprint(sys.stdin.buffer.readlines())",
    "input, then the rest": "import sys\nprint(input())\nprint(repr(sys.stdin.read()))",
    "number of lines": "import sys\nprint(len(sys.stdin.readlines()))",
    "open(0)": "print(open(0).read())",
    "open /dev/stdin": "print(open('/dev/stdin').read())",
    "iterate over stdin": "import sys\nfor line in sys.stdin: print(line, end='|')",
    "fileinput": "import fileinput\nfor line in fileinput.input(): print(line, end='|')",
    "fstat of stdin": "import os\nprint(os.read(0, os.fstat(0).st_size))",
    "mmap of stdin": "import mmap\nprint(mmap.mmap(0, 0, prot=mmap.PROT_READ)[:])",
    "seek in stdin": "import sys\nsys.stdin.read(); sys.stdin.seek(0); print(sys.stdin.read())",
    "stdout.buffer.write": "import sys\nsys.stdout.buffer.write(b'a\\xffb\\n')",
    "os.write": "import os\nos.write(1, b'direct\\n')",
    "os.write after print": "import os\nprint('first', flush=True)\nos.write(1, b'direct\\n')",
    "os.write before the buffer": "import os\nprint('buffered')\nos.write(1, b'direct\\n')",
    "os.read": "import os\nprint(os.read(0, 100))",
    "__stdout__": "import sys\nsys.__stdout__.write('hi\\n')",
    "stdout replaced": "import sys, io\nsys.stdout = io.StringIO()\nprint(1)\nsys.__stdout__.write(sys.stdout.getvalue())",
    "stdout closed": "import sys\nprint('x')\nsys.stdout.close()",
    "stdout detached": "import sys\nprint('x')\nsys.stdout.detach().write(b'y')",
    "descriptor 1 closed": "import os\nprint('x')\nos.close(1)",
    "second file on descriptor 1": "out = open(1, 'w')\nout.write('kept only by a global')",
    "raw writer as a global": "import io\nout = io.BufferedWriter(io.FileIO(1, 'w'))\nout.write(b'buffered')",
    "stdout is no terminal": "import sys\nprint(sys.stdout.isatty(), sys.stdin.isatty(), sys.stdout.seekable())",
    "encodings": "import sys\nprint(sys.stdin.encoding, sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering)",
    "global in a function": "x = 1\ndef f():\n    global x, y\n    x += 1; y = 5\nf()\nprint(x, y)",
    "exec": "exec('y=1')\nprint(y)",
    "exit()": "print(1)\nexit()\nprint(2)",
    "exit(3)": "print(1)\nexit(3)",
    "quit()": "print(1)\nquit()\nprint(2)",
    "exit with a message": "import sys\nprint(1)\nsys.exit('bad')",
    "exit(True)": "import sys\nsys.exit(True)",
    "exit(256)": "import sys\nsys.exit(256)",
    "exit(-1)": "import sys\nsys.exit(-1)",
    "SystemExit caught": "try:\n    exit()\nexcept SystemExit:\n    print('caught')",
    "exit after output": "import sys\nprint(7)\nsys.exit(1)",
    "guard that is not last": "def main():\n    print(f())\nif __name__ == '__main__':\n    pass\ndef f(): return 1\nmain()",
    "guard in try": "try:\n    if __name__ == '__main__':\n        print(input())\nexcept EOFError:\n    print('no')",
    "future import": "from __future__ import annotations\ndef f(x: Missing): return x\nprint(f(1), f.__annotations__)",
    "no future leaks in": "def f(x: int): pass\nprint(f.__annotations__)",
    "main's names": "print(sorted(n for n in dir()), __name__, __doc__, __package__, __spec__)",
    "docstring": "'about'\nprint(__doc__)",
    "variable annotation": "x: int = 3\nprint(__annotations__)",
    "main can be imported": "import __main__\nx = 3\nprint(__main__.x)",
    "pickle of a class in main": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))).__module__)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(1))",
    "own source": "print(open(__file__).read().count('open'))",
    "inspect own source": "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))",
    "argv": "import sys, os\nprint(len(sys.argv), os.path.basename(sys.argv[0]))",
    "resource": "import resource as r\ns, h = r.getrlimit(r.RLIMIT_STACK)\nr.setrlimit(r.RLIMIT_STACK, (h, h))\nprint(1)",
    "environ": "import os\nos.environ['K'] = 'v'\nprint(os.getenv('K'), os.popen('echo $K').read())",
    "unjoined thread": "import threading, sys\nthreading.Thread(target=lambda: print(sys.stdin.read())).start()",
    "thread with a big stack": (
        "import threading, sys\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nt = threading.Thread(target=lambda: print(f(20000)))\n"
        "t.start()\nt.join()"
    ),
    "thread that raises": "import threading\nt = threading.Thread(target=lambda: 1/0)\nt.start(); t.join(); print('on')",
    "daemon thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nprint(1)",
    "atexit": "import atexit\natexit.register(print, 'last')\nprint('first')",
    "atexit after exit": "import atexit, sys\natexit.register(print, 'last')\nsys.exit(2)",
    "atexit that raises": "import atexit\natexit.register(lambda: 1/0)\natexit.register(print, 'last')",
    "atexit after an exception": "import atexit\natexit.register(print, 'last')\n1/0",
    "os._exit after output": "import os\nprint('x', flush=True)\nos._exit(0)",
    "os._exit without a flush": "import os\nprint('lost')\nos._exit(0)",
    "end of file": "while True:\n    try:\n        print(input())\n    except EOFError:\n        print('eof'); break",
    "end of file uncaught": "while True:\n    print(input())",
    "exception after output": "print('x')\nraise KeyError(3)",
    "KeyboardInterrupt": "print('x')\nraise KeyboardInterrupt",
    "missing import": "print(math.pi)",
    "own excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\n1/0",
    "kill itself": "import os\nprint('x', flush=True)\nos.kill(os.getpid(), 9)",
    "abort": "import os\nprint('x', flush=True)\nos.abort()",
    "alarm": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print('rang'))\nsignal.raise_signal(14)",
    "SIGINT": "import signal, os\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    print('int')",
    "fork": "import os\np = os.fork()\nif p: os.waitpid(p, 0)\nprint('child' if p == 0 else 'parent')",
    "subprocess": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True).stdout)",
    "process pool": "from multiprocessing import Pool\nif __name__ == '__main__':\n    print(Pool(2).map(abs, [-1, 2]))",
    "a file of its own": "open('t.txt', 'w').write('q')\nprint(open('t.txt').read())",
    "temporary file": "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f:\n    f.write('q'); f.seek(0); print(f.read())",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 1\nprint(asyncio.run(f()))",
    "hash of text": "print(hash('abc') % 1000, {'b', 'a', 'c'})",
    "del at the end": "class A:\n    def __del__(self): print('del')\na = A()",
    "del of a private name first": "class A:\n    def __init__(s, n): s.n = n\n    def __del__(s): print(s.n)\nb = A(1)\n_a = A(2)",
    "generator at the end": "def g():\n    try:\n        yield\n    finally:\n        print('closed')\nx = g()\nnext(x)",
    "limit of recursion": "print(__import__('sys').version_info[0])\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(990))",
    "depth at which recursion ends": "d = 0\ndef f():\n    global d\n    d += 1\n    f()\ntry: f()\nexcept RecursionError: print(d)",
    "recursion to 5000": "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(5000))",
    "recursion to 50000": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(50000))",
    "lone surrogate": "print('\\ud800')",
    "NUL in output": "print('a\\0b')",
    "coding cookie": "# -*- coding: latin-1 -*-\nprint(len('\u00e9'))",
    "byte order mark": "\ufeffprint(1)",
    "carriage returns": "print(1)\r\nprint(2)\r\n",
    "int too long": "print(int('1' * 5000))",
    "exception group": "raise ExceptionGroup('g', [ValueError(1)])",
    "flush of a broken stdout": "import sys\nclass B:\n    def write(s, t): pass\n    def flush(s): raise OSError\nsys.stdout = B()",
    "stdout is None": "import sys\nsys.stdout = None\nprint(1)",
    "not UTF-8 from stdin": "import sys\nprint(len(sys.stdin.buffer.read()))",
    "stderr has a descriptor": "import sys\nprint(sys.stderr.fileno())",
    "faulthandler": "import faulthandler\nfaulthandler.enable()\nprint(1)",
    "empty": "",
    "only a comment": "# class Solution:",
    "a comment with a class": "# class Solution:\nprint(input())",
    "a code fence in a string": "print('```python')",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_what_the_interpreter_does(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    source = PROGRAMS[name].encode()
    (tmp_path / "solution.py").write_bytes(source)
    (tmp_path / "input").write_text(INPUT)
    python = getattr(sys, "_base_executable", sys.executable)
    with (tmp_path / "input").open("rb") as stdin:
        real = subprocess.run(
            [python, "solution.py"], stdin=stdin, capture_output=True, env=ENVIRONMENT, cwd=tmp_path, timeout=60
        )
    for result in sandbox.run_program(source, [INPUT, INPUT]):  # the second runs the code that the first compiled
        assert (result.stdout, result.exit_status) == (real.stdout, real.returncode), result.stderr
        last = real.stderr.decode().strip().rpartition("\n")[2].rstrip(":")
        assert last in result.stderr


def test_what_one_test_changes_the_next_does_not_see(sandbox: Sandbox) -> None:
    source = (
        "import math, os, sys, json, builtins\n"
        "print(hasattr(math, 'mark'), os.environ.get('MARK'), os.path.exists('mark'), hasattr(builtins, 'mark'))\n"
        "math.mark = builtins.mark = 1; os.environ['MARK'] = '1'; open('mark', 'w').close(); json.loads = None\n"
        "os.makedirs('d/e/f'); os.chmod('d', 0); sys.setrecursionlimit(50)"
    )
    assert [result.text for result in sandbox.run_program(source, [""] * 3)] == ["False None False False\n"] * 3


def test_the_first_seeds_are_the_same_in_every_worker_and_on_every_day(sandbox: Sandbox) -> None:
    """`random.seed(0)` gives this number in every version of Python; `hash` differs between them."""
    source = "import random\nprint(random.random(), hash('text'))"
    with open_sandbox() as other:
        [one], [two] = (list(each.run_program(source, [""])) for each in (sandbox, other))
    assert one.text == two.text
    assert one.text.startswith("0.8444218515250481 ")
    [asked] = sandbox.run_program("import random\nrandom.seed()\nprint(random.random())", [""])
    assert not asked.text.startswith("0.8444218515250481")


def test_a_program_that_does_not_compile_never_runs(sandbox: Sandbox) -> None:
    for source in (
        "print(1)\nif",
        "print(1)\n\0",
        "print('\ud800')",
        b"print(1)\n\xff",
        b"x" * 100_000_000,
        "(" * 9999,
    ):
        [result] = sandbox.run_program(source, [""])
        assert (result.outcome, result.stdout) == ("compile_error", b""), source[:30]
        assert result.cause


def test_tests_run_only_when_their_results_are_asked_for(sandbox: Sandbox) -> None:
    asked: list[int] = []

    def inputs() -> Iterator[str]:
        for number in range(3):
            asked.append(number)
            yield str(number)

    results = sandbox.run_program("print(input())", inputs())
    assert next(results).text == "0\n"
    assert asked == [0]


def test_scripts_get_a_shell_without_python_s_signals(sandbox: Sandbox) -> None:
    source = "read a b\necho $((a + b))\nyes | head -n 1\necho bad >&2\nexit 3"
    [result] = sandbox.run_script(["bash"], source, ["2 3\n"])
    assert (result.text, result.exit_status, result.stderr) == ("5\ny\n", 3, "bad\n")
    [result] = sandbox.run_script(["no-such-command"], "", [""])
    assert (result.outcome, result.exit_status) == ("runtime_error", 127)
