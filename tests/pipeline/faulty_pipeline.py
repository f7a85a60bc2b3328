"""A three-stage pipeline in a process of its own, with faults at chosen file system operations.

Run as a script it serves requests, one JSON object a line: it forks a child for each, which imports nothing and so
costs milliseconds, and answers with how the child ended.
"""

# What is wrapped, and so what is called, are functions of `os`.
# ruff: noqa: PTH102, PTH104, PTH108, PTH110, PTH115, PTH118

import errno
import hashlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forklock.run_dir import Stage, StageDir, StorageError, open_run, run_stages
from forklock.run_dir.provenance import describe_machine

EXIT_STORAGE_ERROR = 3
WRAPPED = ("write", "pwrite", "open", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "ftruncate")
NEEDS_SPACE = ("write", "pwrite", "mkdir", "rename", "replace")

real = {name: getattr(os, name) for name in WRAPPED}


class Faults:
    """Counts the wrapped calls, and at the chosen one kills the process or fills the disk up."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.kind = request.get("kind", "none")
        self.at = request.get("at", -1)
        self.count = 0
        self.disk_is_full = False
        self.trace: list[tuple[Any, ...]] = []

    def wrap(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            index, self.count = self.count, self.count + 1
            if index == self.at:
                if self.kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.kind == "half" and name in ("write", "pwrite"):
                    real[name](args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                if self.kind == "half":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.kind == "enospc":
                    self.disk_is_full = True
                    if name == "write":  # a full disk takes what still fits
                        return real["write"](args[0], bytes(args[1])[: len(args[1]) // 2])
            creates = name == "open" and args[1] & os.O_CREAT and not os.path.exists(args[0])
            if self.disk_is_full and (name in NEEDS_SPACE or creates):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.kind == "trace":
                return self.traced(name, args, kwargs)
            if name == "fsync":  # a kill loses nothing that was written; power cuts have their own test
                return None
            return real[name](*args, **kwargs)

        return call

    def traced(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        base = os.readlink(f"/proc/self/fd/{kwargs['dir_fd']}") if kwargs.get("dir_fd") is not None else ""
        paths = name not in ("write", "pwrite", "fsync", "ftruncate")
        spelled = [os.path.join(base, os.fspath(arg)) if paths and not isinstance(arg, int) else arg for arg in args]
        spelled = [bytes(arg) if isinstance(arg, memoryview) else arg for arg in spelled]
        try:
            result = None if name == "fsync" else real[name](*args, **kwargs)
        except OSError:
            self.trace.append(("failed", None, *spelled))
            raise
        self.trace.append((name, result, *spelled))
        return result


def make_shards(num_shards: int, log: int, stage_dir: StageDir) -> None:
    seed = stage_dir.input("seed").read_text()
    for number in range(num_shards):
        name = f"shard-{number:05}.bin"
        if not stage_dir.is_done(name):
            real["write"](log, f"make/{name}\n".encode())
            content = hashlib.shake_256(f"{seed} {number}".encode()).digest(500 + 97 * number)
            stage_dir.write_bytes(name, content)


def transform_shards(reverse: bool, log: int, stage_dir: StageDir) -> None:
    for source in sorted(stage_dir.upstream("make").glob("shard-*.bin")):
        if stage_dir.is_done(source.name):
            continue
        real["write"](log, f"{'transform' if reverse else 'unreversed'}/{source.name}\n".encode())
        content = source.read_bytes()[:: -1 if reverse else 1]
        with stage_dir.new_file(source.name) as path:
            write_in_pieces(path, content)


def reduce_shards(log: int, stage_dir: StageDir) -> None:
    shards = [path.read_bytes() for path in sorted(stage_dir.upstream("transform").glob("shard-*.bin"))]
    if not stage_dir.is_done("total.bin"):
        real["write"](log, b"reduce/total.bin\n")
        stage_dir.write_bytes("total.bin", hashlib.sha256(b"".join(shards)).digest())
    if not stage_dir.is_done("table"):
        real["write"](log, b"reduce/table\n")
        with stage_dir.new_folder("table") as folder:
            os.mkdir(folder / "inner")
            for index in range(2):
                write_in_pieces(folder / "inner" / f"part-{index}.bin", shards[index])
            write_in_pieces(folder / "index.bin", shards[-1])
    if not stage_dir.is_done("model"):
        work = stage_dir.scratch() / "model"
        if not work.exists():
            os.mkdir(work)
        for index in range(3):  # a trainer with checkpoints of its own: it goes on from what it finds
            if not (work / f"step-{index}").exists():
                real["write"](log, f"reduce/scratch/model/step-{index}\n".encode())
                write_in_pieces(work / f"step-{index}.part", shards[0][index : 64 + index])
                fsync(work / f"step-{index}.part")
                os.rename(work / f"step-{index}.part", work / f"step-{index}")
        for part in work.glob("*.part"):
            os.unlink(part)
        stage_dir.adopt(work, "model")


def write_in_pieces(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    for start in range(0, len(content), 600):
        piece = memoryview(content)[start : start + 600]
        while piece:
            piece = piece[os.write(descriptor, piece) :]
    os.close(descriptor)


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def pipeline(request: dict[str, Any], log: int) -> list[Stage]:
    num_shards, reverse = request["num_shards"], request.get("reverse", True)
    return [
        Stage(
            name="make",
            body=lambda stage_dir: make_shards(num_shards, log, stage_dir),
            config={"num_shards": num_shards},
            inputs={"seed": Path(request["seed_file"])},
        ),
        Stage(
            name="transform",
            body=lambda stage_dir: transform_shards(reverse, log, stage_dir),
            config={"how": {"reverse": reverse}},
            reads={"make": "make"},
        ),
        Stage(name="reduce", body=lambda stage_dir: reduce_shards(log, stage_dir), reads={"transform": "transform"}),
    ]


def run_child(request: dict[str, Any]) -> int:
    log = real["open"](request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    faults = Faults(request)
    for name in WRAPPED:
        setattr(os, name, faults.wrap(name))
    try:
        with open_run(Path(request["run_dir"])) as run:
            run_stages(run, pipeline(request, log))
    except StorageError as error:
        real["write"](log, f"error: {error}\n".encode())
        return EXIT_STORAGE_ERROR
    finally:
        for name in WRAPPED:
            setattr(os, name, real[name])
        if "report" in request:
            Path(request["report"]).write_bytes(pickle.dumps((faults.count, faults.trace)))
    return 0


def serve() -> None:
    describe_machine()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(run_child(json.loads(line)))  # or an exception goes out, with its traceback
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps(code), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
