"""Time that a tree of processes lets go by, told apart from time that others keep it from a core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sandbox_cases import open_sandbox

from forklock.sandbox.limits import Limits
from forklock.sandbox.waiting import Idleness, Thread, read_thread

# As Linux 6.18 wrote them: state, .., niceness (field 19), threads, .., policy (field 41); ran, waited, turns.
STAT = (
    "1288 (a) b) {state} 1285 1285 4529 0 -1 4194304 219 0 1 0 0 0 0 0 20 {nice} 1 0 3222930 2990080 411 "
    "18446744073709551615 94227142733824 94227142751753 140725927393280 0 0 0 0 6 0 1 0 0 17 0 0 {policy} 0 0 0 "
    "94227142765840 94227142767104 94227762655232 140725927398111 140725927398119 140725927398119 140725927399401 0"
)
SPINNER = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.setsid()
os.nice(-20)
if os.path.exists("/proc/self/autogroup"):
    open("/proc/self/autogroup", "w").write("-20")
print(flush=True)
end = time.monotonic() + 60
while time.monotonic() < end: pass
"""


def thread(state: str, schedstat: str, *, nice: int = 0, policy: int = 0) -> Thread:
    found = read_thread(STAT.format(state=state, nice=nice, policy=policy), schedstat, 0)
    assert found is not None
    return found


def idle_s(*looks: tuple[float, dict[int, Thread]]) -> float:
    idleness = Idleness()
    for passed_s, threads in looks:
        idleness.look(threads, passed_s)
    return round(idleness.certain_s, 6)


def test_what_proc_says_of_a_thread() -> None:
    assert thread("R", "900000 40000000 3") == Thread(True, False, 0.0009, 0.04, 3)
    assert thread("D", "0 0 0") == Thread(False, False, 0.0, 0.0, 0)
    assert thread("S", "0 0 0", nice=19).gives_way
    assert thread("S", "0 0 0", policy=5).gives_way
    assert read_thread("", "", 0) is None


@pytest.mark.parametrize("turns", ["0 0 0", "900000 0 1"], ids=["never ran", "ran a little"])
def test_a_wait_that_has_not_ended_is_no_idleness(turns: str) -> None:
    """The kernel books it when it ends: until then these two files stay as they are."""
    assert idle_s((0.02, {7: thread("R", turns)}), *[(0.05, {7: thread("R", turns)})] * 60) == 0.0


def test_a_wait_that_began_between_two_looks_is_taken_back_when_it_ends() -> None:
    looks = [(0.05, {7: thread("R", f"{3 * n}000000 {57 * n - 20}000000 {n}")}) for n in range(1, 40)]
    assert idle_s(*looks) == 0.0


@pytest.mark.parametrize("state", ["S", "D", "T", "Z"])
def test_sleeping_in_any_way_is_idleness(state: str) -> None:
    assert idle_s(*[(0.05, {7: thread(state, "900000 0 1")})] * 20) == pytest.approx(1.0 - 0.0009)


def test_of_several_threads_the_most_wakeful_counts() -> None:
    waiting = [(0.05, {7: thread("D", "900000 0 1"), 8: thread("R", "0 0 0")})] * 20
    assert idle_s(*waiting) == 0.0  # as under vfork, whose child gets no core
    asleep = [(0.05, {7: thread("D", "900000 0 1"), 8: thread("S", "0 0 0")})] * 20
    assert idle_s(*asleep) == pytest.approx(1.0 - 0.0009)
    turns = [(0.05, {number: thread("S", "1000000 49000000 1") for number in range(20)})] * 2
    assert idle_s(*turns) == 0.05  # twenty that waited at the same time


def test_who_asks_to_come_last_waits_by_his_own_choice() -> None:
    for own in ({"nice": 19}, {"policy": 5}):
        starved = [(0.05, {7: thread("S", "900000 0 1"), 8: thread("R", "0 0 0", **own)})] * 20
        assert idle_s(*starved) == pytest.approx(1.0 - 0.0009)


def test_being_ready_whenever_one_is_looked_at_defers_a_verdict_by_one_tenth_of_a_second_at_most() -> None:
    """A thread that slept all the while and wakes for each look: each of its turns says that it had a core."""
    looks = [(0.05, {7: thread("R", f"{100_000 * n} 0 {n}")}) for n in range(1, 41)]
    assert idle_s(*looks) >= 2.0 - 0.1 - 40 * 0.0001


def test_a_look_that_comes_late_charges_little() -> None:
    assert idle_s((5.0, {7: thread("S", "900000 0 1")})) == 0.1


@contextmanager
def starved(core: int) -> Iterator[None]:
    """Two processes that leave next to nothing of this core to others."""
    start = [sys.executable, "-c", SPINNER, str(core)]
    spinners = [subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    try:
        for spinner in spinners:
            assert spinner.stdout is not None
            if not spinner.stdout.readline():
                pytest.skip("this user may not raise a priority")
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.communicate()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count waits here")
def test_a_program_that_only_waits_for_a_core_does_not_run_out_of_time() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with open_sandbox(Limits(cpu_s=0.1)) as sandbox:
            os.sched_setaffinity(0, cores)  # the worker stays there
            with starved(min(cores)):
                results = list(sandbox.run_program("print(input())", ["right"] * 5))
    finally:
        os.sched_setaffinity(0, cores)
    assert [(result.outcome, result.text) for result in results] == [("finished", "right\n")] * 5
