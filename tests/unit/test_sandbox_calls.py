"""Calls of one program share a process as long as each ends plainly. Whatever a program does with that, a call that does
not end plainly gets the result that it has alone, in its time, and nothing stays behind."""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox_cases import SHORT, open_sandbox

from forklock.benchmarks.compare import same_value
from forklock.benchmarks.score import Calls, Difference, Score, score_calls, score_tests
from forklock.sandbox import wire
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import CallResult, RunResult

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sandbox.md"
LONG = Limits(cpu_s=100.0, memory_bytes=SHORT.memory_bytes, output_bytes=SHORT.output_bytes)
"""4% of this is long enough for any call here, however busy the machine is."""
WHAT_IS_LEFT = (
    "import os\nprint([p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()], os.listdir('.'))"
)
NOTHING = "[] ['solution.py']\n"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def words(result: CallResult) -> tuple[object, ...]:
    return result.outcome, result.exit_status, result.value


def alone(sandbox: Sandbox, source: str, arguments: list[Any], limits: Limits) -> CallResult:
    [result] = sandbox.call_function(source, "f", [arguments], limits)
    assert not result.is_shared
    return result


PLAIN = {
    "a list at the top": "seen = []\ndef f(x):\n    seen.append(x)\n    return seen",
    "a default": "def f(x, seen=[]):\n    seen.append(x)\n    return seen",
    "a cache": "from functools import lru_cache\nn = 0\n@lru_cache(None)\ndef g(x):\n    global n\n    n += 1\n    return n\ndef f(x): return g(1)",
    "an attribute of a function": "def f(x):\n    f.n = getattr(f, 'n', 0) + 1\n    return f.n",
    "an attribute of a class": "class A: n = 0\ndef f(x):\n    A.n += 1\n    return A.n",
    "the depth of recursion": "d = 0\ndef g():\n    global d\n    d += 1\n    g()\ndef f(x):\n    try: g()\n    except RecursionError: return d",
    "the limit of recursion": "import sys\ndef g(n): return n and 1 + g(n - 1)\ndef f(x):\n    before = sys.getrecursionlimit()\n    sys.setrecursionlimit(10**6)\n    return g(20000), before < 2000",
    "stdin at its end": "import sys\ndef f(x): return sys.stdin.read(), open(0, closefd=False).read()",
    "its own module": "import sys\ndef f(x):\n    m = sys.modules[__name__]\n    m.n = getattr(m, 'n', 0) + 1\n    return m.n, __name__",
    "types": "def f(x): return [x, (1, 2.5), {'a': {1}}, None, '\\ud800', b'x', 10**30, object]",
    "nested without end": "def f(x):\n    a = []\n    for _ in range(3000): a = [a]\n    return a",
    "much": "def f(x): return [x] * 10**5",
    "garbage": "class A: pass\ndef f(x):\n    for _ in range(1000):\n        a = A(); a.a = a\n    return x",
}
"""No call sees another, though they share a process."""


@pytest.mark.parametrize("name", PLAIN)
def test_modules_of_the_program_s_own_start_afresh_with_every_call(sandbox: Sandbox, name: str) -> None:
    results = list(sandbox.call_function(PLAIN[name], "f", [[x] for x in range(8)], LONG))
    assert all(result.is_shared for result in results)
    for x, result in enumerate(results):
        assert words(result) == words(alone(sandbox, PLAIN[name], [x], LONG))


def test_a_method_is_called_on_a_new_instance(sandbox: Sandbox) -> None:
    source = "class S:\n    memo = {}\n    def __init__(self): self.n = 0\n    def f(self, x):\n        self.n += 1; S.memo[x] = 1\n        return self.n, len(S.memo)"
    results = list(sandbox.call_function(source, "S.f", [[x] for x in range(30)], LONG))
    assert [(result.value, result.is_shared) for result in results] == [((1, 1), True)] * 30


def test_long_arguments_arrive_whole(sandbox: Sandbox) -> None:
    calls = [[list(range(number))] for number in (3, 10**5, 3, 2 * 10**5)]
    results = list(sandbox.call_function("def f(a): return len(a), a[-1:]", "f", calls, LONG))
    assert [(result.value, result.is_shared) for result in results] == [((len(a), a[-1:]), True) for [a] in calls]


def test_what_calls_used_that_were_answered_together_is_shared_out_among_them(sandbox: Sandbox) -> None:
    """The second takes more than a moment, so that the third is not made before the first two are answered."""
    source = "import time\ndef f(x):\n    end = time.process_time() + x / 10\n    while time.process_time() < end: pass"
    results = list(sandbox.call_function(source, "f", [[x] for x in (0, 4, 0, 0)], LONG))
    assert all(result.is_shared for result in results)
    assert [int(10 * result.cpu_s) for result in results] == [2, 2, 0, 0]
    assert all(5 << 20 < result.peak_memory_bytes < 60 << 20 for result in results)


NOT_PLAIN = {
    "raises": "def f(x): return 1 // (x - 2)",
    "raises while it is loaded": "import os\nassert not os.path.exists('here')\nopen('here', 'w').close()\ndef f(x): return x",
    "exits": "def f(x):\n    if x == 2: exit(0)\n    return x",
    "exits at once": "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x",
    "is missing": "def g(x): return x",
    "is not Python": "def f(x): return x\nif",
    "too deep": "def f(x): return x if x != 2 else f(x)",
    "a repr that raises": "class A:\n    def __repr__(self): raise BaseException\ndef f(x): return A() if x == 2 else x",
    "much memory": "def f(x): return x, len(bytearray(100 << 20)) if x == 2 else 0",
    "too much memory": "def f(x): return x, len(bytearray(1 << 30)) if x == 2 else 0",
    "too large a value": "def f(x): return 'x' * (2 << 20) if x == 2 else x",
    "too much output": "def f(x):\n    if x == 2: print('x' * (2 << 20))\n    return x",
    "many errors": "import sys\ndef f(x):\n    if x == 2: sys.stderr.write('x' * 100000)\n    return x",
    "a thread": "import threading\ndef f(x):\n    if x != 2: return x\n    t = threading.Thread(target=print)\n    t.start(); t.join()\n    return 'done'",
    "a process": "import subprocess\ndef f(x): return x if x != 2 else subprocess.run(['true']).returncode",
    "a fork": "import os\ndef f(x):\n    if x != 2: return x\n    p = os.fork()\n    if p == 0: os._exit(7)\n    return os.waitpid(p, 0)[1] >> 8",
    "an end by a signal": "import os\ndef f(x):\n    if x == 2: os.kill(os.getpid(), 9)\n    return x",
    "a crash": "import ctypes\ndef f(x): return x if x != 2 else ctypes.string_at(0)",
    "the channel closed": "import os\ndef f(x):\n    if x == 2: os.close(3)\n    return x",
    "another program": "import os\ndef f(x):\n    if x == 2: os.execv('/bin/true', ['true'])\n    return x",
    "a lower limit": "import resource\ndef f(x):\n    if x == 2: resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20)); return len(bytearray(1 << 22))\n    return x",
}
"""Call 2 does not end plainly. It is made again, alone, and no later one is shared."""


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_a_call_that_does_not_end_plainly_is_made_again_alone(sandbox: Sandbox, name: str) -> None:
    source = NOT_PLAIN[name]
    results = list(sandbox.call_function(source, "f", [[x] for x in range(5)], LONG))
    for x, result in enumerate(results):
        assert words(result) == words(alone(sandbox, source, [x], LONG)), (x, result)
    assert not any(result.is_shared for result in results[2:])
    [after] = sandbox.run_program(WHAT_IS_LEFT, [""])
    assert after.text == NOTHING


FRAME = "import os\ndef framed(text): return len(text).to_bytes(4, 'little') + text\ndef answer(*texts): os.write(3, framed(b''.join(map(framed, texts))))\n"

HOSTILE = {
    "two answers at once": FRAME + "def f(x):\n    answer(b'6')\n    return x",
    "two answers, the second late": FRAME + "import time\ndef f(x):\n    answer(b'6'); time.sleep(0.05)\n    return x",
    "an answer after the end": FRAME
    + "import atexit, signal\ndef late(*a): answer(b'6')\nsignal.signal(signal.SIGALRM, late)\ndef f(x):\n    signal.setitimer(signal.ITIMER_REAL, 0.001)\n    return x",
    "answers for all to come": FRAME + "def f(x):\n    for _ in range(20): answer(b'6')\n    return x",
    "an answer, then an end": FRAME + "def f(x):\n    answer(b'6')\n    os._exit(0)",
    "an answer, then another program": FRAME + "def f(x):\n    answer(b'6')\n    os.execv('/bin/true', ['true'])",
    "an answer in the place of its code": "import os\nos.write(3, b'\\1\\0\\0\\x007')\ndef f(x): return 6",
    "empty answers in great number": FRAME + "def f(x):\n    os.write(3, framed(bytes(1 << 15)))\n    return x",
    "more answers than calls": FRAME + "def f(x):\n    answer(*[b'6'] * 20)\n    os.read(3, 1)\n    return x",
    "half an answer": "import os\ndef f(x):\n    os.write(3, b'\\x05\\0')\n    return x",
    "an answer without end": "import os\ndef f(x):\n    os.write(3, b'\\xff\\xff\\xff\\x7f')\n    while True: os.write(3, b'x' * 4096)",
    "an answer that can't be read": FRAME
    + "def f(x):\n    answer(b'{}')\n    while True: os.read(3, 9); answer(b'{}')",
    "marshalled code as an answer": FRAME
    + "import marshal\ndef f(x):\n    answer(b'C' + marshal.dumps(f.__code__))\n    return x",
    "stops itself": "import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return x",
    "an alarm that ends it": "import signal\ndef f(x):\n    signal.setitimer(signal.ITIMER_REAL, 0.0005)\n    return x",
    "an alarm for later": "import signal\ndef ring(*a): raise SystemExit\nsignal.signal(signal.SIGALRM, ring)\ndef f(x):\n    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.001)\n    return x",
    "a fork bomb": "import os\ndef f(x):\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "a process that goes on": "import os, time\ndef f(x):\n    if os.fork() == 0: time.sleep(1000)\n    return x",
    "a thread that goes on": "import threading, time\ndef f(x):\n    threading.Thread(target=time.sleep, args=[1000], daemon=True).start()\n    return x",
    "slow in the middle of what it is asked": "import os, time\ndef f(x):\n    while True: os.read(3, 1); time.sleep(0.005)",
    "descriptors in great number": "import os\ndef f(x):\n    for _ in range(30): os.dup(1)\n    return x",
    "the harness replaced": "import sys\nfor name in list(sys.modules):\n    if 'forklock' in name:\n        m = sys.modules[name]\n        for k in list(vars(m)): setattr(m, k, lambda *a, **k: b'6')\ndef f(x): return x",
    "os.write replaced": "import os\nw = os.write\nos.write = lambda d, b: w(d, bytes(b).replace(b'5', b'6'))\ndef f(x): return x",
    "a full folder": "import os\ndef f(x):\n    try:\n        for i in range(99): open(f'{os.urandom(4).hex()}', 'wb').write(b'x' * (1 << 20))\n    except OSError: pass\n    return x",
    "hidden from the zygote": "import ctypes\ndef f(x):\n    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n    return x",
    "no wish to run": "import os\ndef f(x):\n    os.nice(19)\n    return x",
}
"""Each does what it can with a process that lives on. None can say more than a value, as if it had returned it; none
outlives its program; and its score is what it is when its calls are made alone, one by one."""
TIMED = {
    "stops itself",
    "a fork bomb",
    "an answer without end",
    "an answer that can't be read",
    "slow in the middle of what it is asked",
}

BY_THE_CLOCK = {"an answer after the end", "an alarm that ends it", "an alarm for later"}
"""How these end is a matter of when their alarm rings, alone too."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_process_that_lives_on_gains_a_program_nothing(sandbox: Sandbox, name: str) -> None:
    limits = Limits(cpu_s=0.3, file_bytes=SHORT.file_bytes) if name in TIMED else SHORT
    calls = [[5], [5], [list(range(10**5))], [5]] if name not in TIMED else [[5], [5]]
    results = list(sandbox.call_function(HOSTILE[name], "f", calls, limits))
    for arguments, result in zip(calls, results, strict=True):
        if name in BY_THE_CLOCK:
            assert result.outcome == "runtime_error" or result.value in (arguments[0], 6), result
        elif not result.is_shared:
            assert words(result) == words(alone(sandbox, HOSTILE[name], arguments, limits)), result

    def judge(number: int, result: RunResult) -> Difference | None:
        assert isinstance(result, CallResult)
        return None if result.value == calls[number][0] else Difference("", "")

    together = score_calls(Calls(sandbox, HOSTILE[name], "f", calls, limits), judge)
    one_by_one = score_tests((alone(sandbox, HOSTILE[name], arguments, limits) for arguments in calls), judge)
    if name not in BY_THE_CLOCK:
        assert (together.verdict, together.failing_test) == (one_by_one.verdict, one_by_one.failing_test)
    [after] = sandbox.run_program(WHAT_IS_LEFT, [""])
    assert after.text == NOTHING


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (wire.pack_frame(b"1") + wire.pack_frame(b""), [b"1", b""]),
        (wire.pack_frame(b"1") * 3, []),
        (wire.pack_frame(b"1")[:-1], []),
        (wire.pack_frame(b"1") + b"\0", []),
        (b"\xff\xff\xff\xff1", []),
        (b"", []),
    ],
)
def test_answers_count_where_they_fill_what_was_said_and_are_no_more_than_asked(
    data: bytes, frames: list[bytes]
) -> None:
    assert wire.split_frames(data, 2) == frames


def test_no_program_changes_the_code_that_its_later_processes_load(sandbox: Sandbox) -> None:
    """It was said before the first line ran: a program that rewrites all it writes can't reach it."""
    source = (
        "import os\nword = 'w0rd'\nw = os.write\nos.write = lambda d, b: w(d, bytes(b).replace(b'w0rd', b'W0RD'))\n"
        "def f(x):\n    if x == 2: os._exit(0)\n    return x, word == ''.join(['w0', 'rd'])"
    )
    results = list(sandbox.call_function(source, "f", [[x] for x in range(4)], LONG))
    assert [(result.value, result.is_shared) for result in results] == [
        ((0, True), False),
        ((1, True), False),
        (None, False),
        ((3, True), False),
    ]


def test_a_program_that_is_given_up_leaves_nothing(sandbox: Sandbox) -> None:
    """Its process ends when no more calls come, not when another program needs its place."""
    results = sandbox.call_function("open('here', 'w').close()\ndef f(x): return x", "f", [[x] for x in range(9)], LONG)
    assert next(results).is_shared
    [worker] = sandbox._idle
    assert worker is not None
    assert worker.session
    results.close()  # type: ignore[attr-defined]
    assert not worker.session
    [after] = sandbox.run_program(WHAT_IS_LEFT, [""])
    assert after.text == NOTHING


def test_time_used_between_two_calls_is_the_next_one_s(sandbox: Sandbox) -> None:
    """The process answers, then works on: it can't have what it does then for nothing."""
    source = (
        FRAME + "import time\ndef f(x):\n    answer(b'5')\n    end = time.process_time() + 0.5\n"
        "    while time.process_time() < end: pass\n    os.read(3, 99)\n    answer(b'5')\n    while True: pass"
    )
    results = sandbox.call_function(source, "f", [[5], [5]], LONG)
    assert next(results).value == 5
    assert next(results).cpu_s > 0.4


def test_a_hang_among_several_calls_costs_little_more_than_one_alone() -> None:
    source = "def f(x):\n    while x == 2: pass\n    return x"
    with open_sandbox(Limits(cpu_s=2.0)) as sandbox:
        results = list(sandbox.call_function(source, "f", [[x] for x in range(4)]))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert [result.outcome for result in results] == ["finished", "finished", "timeout", "finished"]
    all_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    assert results[2].cpu_s <= all_s <= 1.5 * 2.0


@pytest.mark.slow
def test_a_process_that_has_used_much_time_is_replaced() -> None:
    """Before the kernel ends it: its own limit is of one test. On a busy machine a call may have to wait for more than 4%
    of the limit, and is then made alone: so there are several tries."""
    source = "import time\ndef f(x):\n    end = time.process_time() + 0.05\n    while time.process_time() < end: pass\n    return x"
    fates: list[int] = []
    with open_sandbox(Limits(cpu_s=10.0)) as opened:
        run = opened._run

        def watched(job: wire.Job, stdin: bytes) -> list[wire.Report] | str:
            found = run(job, stdin)
            assert not isinstance(found, str)
            fates.extend(report.fate for report in found)
            return found

        opened._run = watched  # type: ignore[method-assign]
        for _ in range(10):
            fates.clear()
            for x, result in enumerate(opened.call_function(source, "f", [[x] for x in range(110)])):
                assert result.value == x
                if wire.ALONE in fates:
                    break
            if wire.RENEWED in fates:
                break
    assert fates.index(wire.RENEWED) < 101
    assert set(fates[: fates.index(wire.RENEWED)]) == {wire.KEPT}


def test_programs_taken_in_turns_each_go_on_where_they_were(sandbox: Sandbox) -> None:
    one, two = (
        sandbox.call_function(f"def f(x): return '{name}', x", "f", iter([[x] for x in range(9)]))
        for name in ("one", "two")
    )
    values = [result.value for pair in zip(one, two, strict=True) for result in pair]
    assert values == [(name, x) for x in range(9) for name in ("one", "two")]


def test_a_program_on_stdin_never_shares_a_process(sandbox: Sandbox) -> None:
    source = "import os\nprint(os.path.exists('here'))\nopen('here', 'w').close()"
    results = list(sandbox.run_program(source, ["", "", ""]))
    assert [(result.text, result.is_shared) for result in results] == [("False\n", False)] * 3


def score(sandbox: Sandbox, source: str, *, num_tests: int = 6, runs_all: bool = False) -> Score:
    """`f(x)` has to be x + 1."""

    def judge(number: int, result: RunResult) -> Difference | None:
        assert isinstance(result, CallResult)
        return None if same_value(result.value, number + 1) else Difference(str(number + 1), repr(result.value))

    calls = Calls(sandbox, source, "f", [[x] for x in range(num_tests)], LONG)
    return score_calls(calls, judge, runs_all=runs_all)


RIGHT = {
    "a module's attribute": "import math\ndef f(x):\n    math.n = getattr(math, 'n', 0) + 1\n    return x + math.n",
    "a module that was patched": "import json\ndef f(x):\n    y = json.loads(str(x + 1))\n    json.loads = lambda text: -1\n    return y",
    "a class of the library": "from collections import Counter\ndef f(x):\n    if hasattr(Counter, 'n'): return -1\n    Counter.n = 1\n    return x + 1",
    "the environment": "import os\ndef f(x):\n    os.environ['N'] = os.environ.get('N', '') + '1'\n    return x + len(os.environ['N'])",
    "a file": "import os\ndef f(x):\n    if os.path.exists('n'): return -1\n    open('n', 'w').close()\n    return x + 1",
    "chance": "import random\ndef f(x): return x + (random.randint(0, 99) == first)\nstate = random.Random()\nstate.setstate(random.getstate())\nfirst = 0\nif not hasattr(random, 'first'): random.first = state.randint(0, 99)\nfirst = random.first",
    "the collector": "import gc\ndef f(x):\n    if not gc.isenabled(): return -1\n    gc.disable()\n    return x + 1",
    "the working folder": "import os\ndef f(x):\n    if not os.path.exists('solution.py'): return -1\n    os.chdir('/')\n    return x + 1",
    "its own file": "import os\ndef f(x):\n    if not os.path.exists('solution.py'): return -1\n    os.remove('solution.py')\n    return x + 1",
    "modules taken away": "import sys\ndef f(x):\n    import bisect\n    if len(sys.modules) < 9: return -1\n    sys.modules.clear()\n    return x + 1",
    "a module put in another's place": "import sys\ndef f(x):\n    import fractions\n    sys.modules['fractions'] = None\n    return x + int(fractions.Fraction(1))",
    "a builtin replaced": "import builtins\ndef f(x):\n    y = sum([x, 1])\n    builtins.sum = lambda a: -1\n    return y",
    "stdout closed": "import sys\ndef f(x):\n    print(x)\n    sys.stdout.close()\n    return x + 1",
    "stdout at the descriptor": "import os\ndef f(x):\n    os.write(1, b'x')\n    os.close(1)\n    return x + 1",
    "stdin closed": "import sys\ndef f(x):\n    sys.stdin.read()\n    sys.stdin.close()\n    return x + 1",
    "a tracer": "import sys\ndef f(x):\n    if sys.gettrace(): return -1\n    sys.settrace(lambda *a: None)\n    return x + 1",
    "an audit hook": "import os, sys\ndef no(name, args):\n    if name == 'open': raise OSError\ndef f(x):\n    open('solution.py').close()\n    sys.addaudithook(no)\n    return x + 1",
    "a signal ignored": "import signal\ndef f(x):\n    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: return -1\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n    return x + 1",
    "a limit of its own": "import resource\ndef f(x):\n    n = len(bytearray(40 << 20))\n    resource.setrlimit(resource.RLIMIT_AS, (0, 0))\n    return x + (n > 0)",
    "few digits": "import sys\ndef f(x):\n    n = len(str(10**1000))\n    sys.set_int_max_str_digits(640)\n    return x + (n > 0)",
    "a precision": "import decimal\ndef f(x):\n    y = decimal.Decimal(x) + decimal.Decimal('1.001')\n    decimal.getcontext().prec = 1\n    return int(y) if y != x + 1 else -1",
    "all descriptors": "import os\ndef f(x):\n    open('solution.py').close()\n    try:\n        while True: os.dup(0)\n    except OSError: return x + 1",
    "the folder filled": "def f(x):\n    with open(f'before{x}', 'w') as file: file.write('x')\n    try:\n        with open('all', 'wb') as file:\n            while True: file.write(b'x' * (1 << 20))\n    except OSError: return x + 1",
    "an object that ends with the next call": "import math\nclass A:\n    def __del__(self): math.n = -1\ndef f(x):\n    if hasattr(math, 'n'): return -1\n    math.a = A()\n    math.a = None\n    return x + 1",
    "an assertion": "import math\nassert not hasattr(math, 'n')\nmath.n = 1\ndef f(x): return x + 1",
    "an unreadable value": "import math\nclass H(int):\n    def __hash__(self): return 1\ndef f(x):\n    if hasattr(math, 'n'):\n        import os\n        os.write(3, b'\\2\\0\\0\\0{}')\n        os.read(3, 99)\n    math.n = 1\n    return x + 1",
}
"""Right in a process of their own; each would fail after an earlier call of itself."""


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_never_fails_by_what_an_earlier_call_has_left(sandbox: Sandbox, name: str) -> None:
    for x in range(3):
        assert alone(sandbox, RIGHT[name], [x], LONG).value == x + 1
    together = sandbox.call_function(RIGHT[name], "f", [[x] for x in range(3)], LONG)
    assert any(result.value != x + 1 or not result.is_shared for x, result in enumerate(together))
    assert score(sandbox, RIGHT[name]).verdict == "passed"
    found = score(sandbox, RIGHT[name], runs_all=True)
    assert (found.verdict, found.num_tests_run, found.num_tests_passed) == ("passed", 6, 6)


def test_a_wrong_program_fails_at_the_test_that_it_fails(sandbox: Sandbox) -> None:
    found = score(sandbox, "def f(x): return x + 1 if x < 4 else 0")
    assert (found.verdict, found.failing_test, found.expected, found.got) == ("wrong_answer", 4, "5", "0")
    found = score(sandbox, "def f(x): return x + 1 if x % 2 else 0", runs_all=True)
    assert (found.verdict, found.failing_test, found.num_tests_passed) == ("wrong_answer", 0, 3)


def test_state_of_its_own_does_not_help_a_wrong_program(sandbox: Sandbox) -> None:
    for source in PLAIN["an attribute of a function"], PLAIN["an attribute of a class"]:
        assert score(sandbox, source).verdict == "wrong_answer"


def program_on_page(word: str) -> str:
    section = PAGE.read_text(encoding="utf-8").partition("## Calls of one program share a process")[2]
    programs = [block.partition("```")[0] for block in section.partition("\n## ")[0].split("```python\n")[1:]]
    [found] = [program for program in programs if word in program]
    return found


def test_state_in_a_module_helps_as_the_page_says(sandbox: Sandbox) -> None:
    """The one way that is left, named openly: each call alone would give 1."""
    source = program_on_page("math.n")
    assert score(sandbox, source).verdict == "passed"
    assert [alone(sandbox, source, [x], LONG).value for x in range(3)] == [1, 1, 1]


def test_a_table_made_bit_by_bit_is_none_that_one_call_alone_could_not_make(sandbox: Sandbox) -> None:
    """A process that has used half of the limit, 2 s, is asked no more, and no answer takes more than 4% of it. So none
    that shares a process finds more than 54 entries of 0.02 s."""
    results = sandbox.call_function(program_on_page("math.table"), "f", [[x] for x in range(60)], Limits(cpu_s=2.0))
    for x, result in enumerate(results):
        assert result.value == x + 1
        if not result.is_shared:
            assert result.cpu_s >= (x + 1) * 0.02
            break
        assert x < 54


def test_chance_is_given_a_second_look(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the program draws, a test is passed where one of its looks was right. That none of 200 is first wrong and
    then right has a chance of (3/4)^200, below 1e-24."""
    looks: list[list[bool]] = [[] for _ in range(200)]
    call = Sandbox.call_function

    def watched(self: Sandbox, source: str, name: str, calls: list[list[int]], limits: Limits) -> Iterator[CallResult]:
        for [x], result in zip(calls, call(self, source, name, calls, limits), strict=True):
            looks[x].append(result.value == x + 1)
            assert result.is_shared is (len(looks[x]) == 1)
            yield result

    monkeypatch.setattr(Sandbox, "call_function", watched)
    found = score(sandbox, program_on_page("os.urandom"), num_tests=200, runs_all=True)
    assert found.num_tests_passed == sum(map(any, looks))
    assert all(look in ([True], [False, True], [False, False]) for look in looks)
    assert [False, True] in looks


def test_what_a_call_can_read_ahead_are_arguments_alone(sandbox: Sandbox) -> None:
    source = (
        "import sys, marshal\ndef f(x):\n    frame = sys._getframe()\n"
        "    while 'asked' not in frame.f_locals: frame = frame.f_back\n"
        "    return [marshal.loads(arguments) for arguments in frame.f_locals['asked']]"
    )
    results = list(sandbox.call_function(source, "f", [[x] for x in range(20)], LONG))
    assert results[0].is_shared
    asked = [result.value for result in results]
    assert asked[0] == [[x] for x in range(16)]
    assert all(value in [[[x] for x in range(16)], [[x] for x in range(16, 20)]] for value in asked if value)
    assert alone(sandbox, source, [0], LONG).outcome == "runtime_error"
