"""What one run of a program may use."""

from __future__ import annotations

from dataclasses import dataclass

from forklock.sandbox import wire

MIB = 1 << 20
WALL_PER_CPU = 1.4
WALL_UNDER_LOAD_PER_CPU = 40.0


@dataclass(frozen=True)
class Limits:
    """Limits of one child and all that it starts. Time and memory are looked at every 0.05 s, so that a tree of
    processes may overshoot by what it uses in that time; one process alone can't overshoot its memory at all."""

    cpu_s: float = 6.0
    """CPU time of the whole tree. The limit that decides: it doesn't depend on what else the machine does."""
    memory_bytes: int = 1024 * MIB
    """Address space of each process, resident memory of the tree."""
    output_bytes: int = 16 * MIB
    """Standard output; for a function its value. One byte more ends the program."""
    file_bytes: int = 64 * MIB
    """The largest file; that of the sandbox also bounds the working folder as a whole."""
    num_processes: int = 64
    """Processes and threads."""
    num_open_files: int = 128
    source_bytes: int = 4 * MIB
    """A longer program is not run at all."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"Limits.{name} is {value}: it must be above 0")

    @property
    def wall_s(self) -> float:
        """Ends what sleeps or waits. Time that others than the program kept it from a core doesn't count."""
        return self.cpu_s * WALL_PER_CPU

    @property
    def wall_under_load_s(self) -> float:
        """Ends a program however busy the machine is."""
        return self.cpu_s * WALL_UNDER_LOAD_PER_CPU

    def bounds(self) -> wire.Bounds:
        return wire.Bounds(
            cpu_s=self.cpu_s,
            wall_s=self.wall_s,
            wall_under_load_s=self.wall_under_load_s,
            memory_bytes=self.memory_bytes,
            output_bytes=self.output_bytes,
            file_bytes=self.file_bytes,
            num_processes=self.num_processes,
            num_open_files=self.num_open_files,
        )
