"""Hostile programs get the outcome they deserve; nothing of them leaks, stays, or slows the next."""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import pytest
from corpus import INPUT, PROGRAMS, SECRET, SECRET_FILE
from sandbox_cases import SHORT, open_sandbox

from forklock.sandbox.pool import Sandbox

WHAT_IS_LEFT = """import os
pids = [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]
print(pids, os.listdir('.'), os.stat('.').st_mode & 0o777 == 0o700, os.statvfs('.').f_ffree > 4000, input())
"""
NOTHING = "[] ['solution.py'] True True 2 3\n"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A listener on this machine that nobody inside may reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_ends_as_it_must_and_nothing_stays(
    sandbox: Sandbox, port: int, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    file = tmp_path / SECRET_FILE
    file.write_text(SECRET)
    hostile = PROGRAMS[name]
    [result] = sandbox.run_program(hostile.source_for(port, str(file)), [INPUT])
    assert result.outcome in hostile.outcomes, (result, result.stderr)
    if hostile.text is not None:
        assert result.text == hostile.text
    assert SECRET not in result.text + result.stderr
    assert len(result.stdout) <= SHORT.output_bytes
    assert file.read_text() == SECRET
    [after] = sandbox.run_program(WHAT_IS_LEFT, [INPUT])
    assert (after.text, after.outcome) == (NOTHING, "finished"), after.stderr


RIGHT = """import os, threading
a, b = map(int, input().split())
x = bytearray(20 << 20)
with open('f', 'wb') as file: file.write(x[: 10 << 20])
threads = [threading.Thread(target=int) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if os.fork():
    os.wait()
    print(a + b)
"""


@pytest.mark.parametrize(
    "name",
    [
        "fork bomb",
        "fork bomb of sleepers",
        "thread bomb",
        "busy processes",
        "memory bomb of many processes",
        "infinite output from a grandchild",
        "filling the working folder",
        "all inodes",
        "kill -9 of everything",
    ],
)
def test_a_right_program_beside_it_has_all_that_it_may_use(name: str) -> None:
    """Processes, memory, files, and its time: on the other worker, again and again until the hostile one has ended."""
    limits = replace(SHORT, cpu_s=0.3)
    with open_sandbox(replace(SHORT, cpu_s=6.0), num_workers=2) as sandbox, ThreadPoolExecutor(1) as pool:
        hostile = pool.submit(lambda: list(sandbox.run_program(PROGRAMS[name].source, [INPUT] * 2, limits)))
        is_over = False
        while not is_over:
            is_over = hostile.done()  # asked before: so one runs at least
            [result] = sandbox.run_program(RIGHT, [INPUT])
            assert (result.outcome, result.text) == ("finished", "5\n"), result
        assert {result.outcome.value for result in hostile.result()} <= {*PROGRAMS[name].outcomes, "timeout"}


FUNCTIONS = {
    "right": ("def f(x): return x + 1", "finished", 6),
    "os._exit(0) at once": ("import os\nos._exit(0)", "runtime_error", None),
    "os._exit(0) in the function": ("import os\ndef f(x): os._exit(0)", "runtime_error", None),
    "exit(0) in the function": ("def f(x): exit(0)", "runtime_error", None),
    "a forged value, then an end": (
        "import os\ndef f(x):\n    for d in range(3, 256):\n        try: os.write(d, b'6')\n        except OSError: pass\n    os._exit(0)",
        "finished",
        6,  # no more than `return 6` would have given
    ),
    "a forged value before the true one": (
        "import os\ndef f(x):\n    for d in range(3, 256):\n        try: os.write(d, b'6')\n        except OSError: pass\n    return 7",
        "finished",
        67,  # read as one value, by chance well-formed: still only a value
    ),
    "a forged end": (
        "import os\ndef f(x):\n    for d in range(3, 256):\n        try: os.write(d, b'\"passed\"')\n        except OSError: pass\n"
        "    return 7",
        "runtime_error",
        None,
    ),
    "a pickle": (
        "import os, pickle\nclass A:\n    def __reduce__(s): return (os.system, ('touch /tmp/owned',))\n"
        "def f(x):\n    for d in range(3, 256):\n        try: os.write(d, pickle.dumps(A()))\n        except OSError: pass\n    os._exit(0)",
        "runtime_error",
        None,
    ),
    "marshalled code": (
        "import os, marshal\ndef f(x):\n    for d in range(3, 256):\n        try: os.write(d, b'C' + marshal.dumps(f.__code__))\n"
        "        except OSError: pass\n    os._exit(0)",
        "runtime_error",
        None,
    ),
    "brackets without end": (
        "import os\ndef f(x):\n    os.write(3, b'[' * 900000)\n    os._exit(0)",
        "runtime_error",
        None,
    ),
    "a value without end": ("def f(x):\n    return ['x' * 1000] * 10000", "output_limit", None),
    "a repr without end": (
        "class A:\n    def __repr__(s):\n        while True: pass\ndef f(x): return A()",
        "timeout",
        None,
    ),
    "the harness replaced": (
        "import sys\nfor name in list(sys.modules):\n    if 'forklock' in name:\n        m = sys.modules[name]\n"
        "        for k in list(vars(m)): setattr(m, k, lambda *a, **k: b'6')\ndef f(x): return 6",
        "runtime_error",
        None,
    ),
    "not callable": ("f = 3", "runtime_error", None),
    "not there": ("def g(x): return x", "runtime_error", None),
}


@pytest.mark.parametrize("calls", [[[5]], [[5], [5]]], ids=["one call", "two calls"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_can_only_ever_produce_a_value(sandbox: Sandbox, name: str, calls: list[list[object]]) -> None:
    source, outcome, value = FUNCTIONS[name]
    result, *others = sandbox.call_function(source, "f", calls)
    assert [(other.outcome, other.value) for other in others] == [(outcome, value)] * len(others)
    assert (result.outcome, result.value) == (outcome, value), (result.cause, result.stderr)
    [after] = sandbox.run_program(WHAT_IS_LEFT, [INPUT])
    assert after.text == NOTHING


def test_nothing_that_a_program_says_reaches_the_grader_s_own_output(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    source = (
        "import os, sys\nfor f in range(64):\n    try: os.write(f, b'all tests passed\\n')\n    except OSError: pass\n"
        "print('all tests passed', file=sys.stderr)\nraise SystemExit('all tests passed')"
    )
    list(sandbox.run_program(source, [INPUT, INPUT]))
    list(sandbox.call_function(source, "f", [[1], [2]]))
    assert capfd.readouterr() == ("", "")


def test_the_answer_of_a_hostile_object_is_not_equal_to_anything(sandbox: Sandbox) -> None:
    source = (
        "class Always(int):\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "class Plain:\n    def __eq__(self, other): return True\n"
        "def f(x): return Always(3), Plain()"
    )
    [result] = sandbox.call_function(source, "f", [[5]])
    assert isinstance(result.value, tuple)
    assert result.value[0] == 3
    assert result.value[0] != 6
    assert result.value[1] not in (6, "6", None, True)


LONG = (
    "fork bomb of sleepers",
    "all inodes",
    "folders without a bottom",
    "walking frames, objects and memory",
    "everything that can be read",
    "100 MB of source",
)
QUICK = [
    name for name in PROGRAMS if name not in LONG and not {"timeout", "memory"} & set(PROGRAMS[name].outcomes)
]  # fmt: skip
"""What takes milliseconds: nothing here has to reach a limit first."""


@pytest.mark.parametrize("num_runs", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_batch_leaves_no_process_no_file_no_mount_and_no_memory_behind(num_runs: int) -> None:
    """In a process of its own: what a thousand other tests have left of the heap grows and shrinks by itself."""
    with open_sandbox(SHORT):
        pass  # skipped here where there is none
    child = multiprocessing.get_context("spawn").Process(target=run_batch, args=(num_runs,))
    child.start()
    child.join()
    assert child.exitcode == 0, "the reason stands above"


def run_batch(num_runs: int) -> None:
    """Of the quick ones again and again; where there is time for 10,000, of every other one too, before and after."""
    others = _leaves()
    names = [name for name in PROGRAMS if name not in QUICK] if num_runs > 1000 else []
    with open_sandbox(replace(SHORT, cpu_s=6.0)) as sandbox:

        def run(name: str) -> None:
            source = PROGRAMS[name].source_for(9, "/nowhere/at/all")
            limits = sandbox.limits if name in QUICK else replace(SHORT, cpu_s=0.5)
            [result] = sandbox.run_program(source, [INPUT], limits)
            assert result.outcome in (*PROGRAMS[name].outcomes, *(["timeout"] if name not in QUICK else []))

        def traces() -> tuple[object, ...]:
            mounts = Path("/proc/self/mountinfo").read_text().count("\n")
            return mounts, sorted(os.listdir("/proc/self/fd")), sorted(Path("/tmp").glob("forklock-sandbox*"))  # noqa: PTH208

        def check_what_is_left() -> None:
            [after] = sandbox.run_program(WHAT_IS_LEFT, [INPUT])
            assert after.text == NOTHING

        for name in [*names, *QUICK]:
            run(name)
        check_what_is_left()
        before, memory = traces(), _resident_bytes()
        [zygote] = _leaves() - others
        zygote_memory = _resident_bytes(zygote)
        num_shared = 0
        for number, name in enumerate(islice(cycle(QUICK), num_runs)):
            run(name)
            if number % 5 == 0:
                pair = list(sandbox.call_function("import os\ndef f(x): open(str(x), 'w'); return x", "f", [[1], [2]]))
                assert [result.value for result in pair] == [1, 2]
                num_shared += sum(result.is_shared for result in pair)
            if number % len(QUICK) == 0:
                check_what_is_left()
        for name in names:
            run(name)
        check_what_is_left()
        assert num_shared > num_runs / 50  # of two in five; a busy machine gives the others a process each
        assert traces() == before
        assert _resident_bytes() - memory < 4 << 20
        assert _leaves() - others == {zygote}
        assert _resident_bytes(zygote) - zygote_memory < 4 << 20
    assert _leaves() == others


def _leaves() -> set[int]:
    """This process's descendants without children of their own: the zygotes, and anything that was left behind."""
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        if not children and pid != os.getpid():
            found.add(pid)
        waiting += children
    return found


def _resident_bytes(pid: int | None = None) -> int:
    return int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
