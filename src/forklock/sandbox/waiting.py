"""How much time a tree of processes lets go by, told apart from the time that others keep it from a core.

The kernel books a wait for a core only when it has ended, so that a thread which waits right now has to be recognised
by what it did not do since it was last looked at.
"""

from __future__ import annotations

from typing import NamedTuple

READY = "R"
USUAL_POLICY = 0
MOST_CHARGED_S = 0.1
"""Of the time between two looks. When more went by, it was the one who looks that was kept from a core."""


class Thread(NamedTuple):
    """One thread as `/proc` has it."""

    is_ready: bool
    """It runs, or would if it had a core."""
    gives_way: bool
    """It has asked to come after others: its waits are its own choice."""
    ran_s: float
    waited_s: float
    """Ready without a core; up to when it last got one."""
    num_turns: int
    """How often it got one."""


def read_thread(stat: str, schedstat: str, usual_nice: int) -> Thread | None:
    """From the two files of a thread; None where it is gone."""
    fields, times = stat.rpartition(")")[2].split(), schedstat.split()
    if not fields or not times:
        return None
    gives_way = int(fields[16]) > usual_nice or int(fields[38]) != USUAL_POLICY
    return Thread(fields[0] == READY, gives_way, int(times[0]) / 1e9, int(times[1]) / 1e9, int(times[2]))


class Idleness:
    """Of one tree. Together with the CPU time that it used, this is the time that it is answerable for: all but what
    others kept it waiting. While one thread waits for another of its tree, that one uses CPU time: so a tree that gets
    in its own way answers for all of its time, and one that only waits for others answers for none.

    Not counted as a wait: what a process waited after the last look that saw it, if it ended before the next."""

    def __init__(self) -> None:
        self._idle_s = 0.0
        self._doubtful_s = 0.0
        """The part of it that may turn out to have been a wait, while a thread is ready."""
        self._seen: dict[int, tuple[Thread, float]] = {}
        """Of each thread by its number: what was seen last, and for how long it has certainly been waiting."""

    @property
    def certain_s(self) -> float:
        return self._idle_s - self._doubtful_s

    def look(self, threads: dict[int, Thread], passed_s: float) -> None:
        """`passed_s` since the last look. What the most wakeful thread ran and waited was not idle. A wait that began
        between two looks is known only when it ends: what was charged for it is then taken back."""
        seen: dict[int, tuple[Thread, float]] = {}
        awake_s = 0.0
        for number, thread in threads.items():
            before, stint_s = self._seen.get(number, (None, 0.0))
            if before is None or before.num_turns > thread.num_turns:  # new; its number may have been another's
                before, stint_s = Thread(thread.is_ready, thread.gives_way, 0.0, 0.0, 0), 0.0
            kept_s = 0.0
            if thread.is_ready and before.is_ready and thread[2:] == before[2:]:
                kept_s = stint_s + passed_s  # ready then and now, and no turn between: it had no core all the while
            ran_s = thread.ran_s - before.ran_s
            waited_s = thread.waited_s + kept_s - before.waited_s - stint_s
            awake_s = max(awake_s, ran_s + (0.0 if thread.gives_way else waited_s))
            seen[number] = thread, kept_s
        self._seen = seen
        charge_s = max(min(passed_s - awake_s, MOST_CHARGED_S), -self._doubtful_s)
        self._idle_s += charge_s
        is_ready = any(thread.is_ready and not thread.gives_way for thread in threads.values())
        self._doubtful_s = min(self._doubtful_s + charge_s, MOST_CHARGED_S) if is_ready else 0.0
