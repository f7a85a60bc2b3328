"""Runs code as `python3 file.py` would: `__main__`, how it ends, what is still written at the end.

A forked child never leaves through the interpreter's own end (it would take apart what it shares with the zygote), so
the steps of that end which a program can observe are done here, in its order: threads are waited for, `atexit` runs,
the streams are flushed, `__main__` is emptied. `tests/unit/test_sandbox_python.py` compares with the real one.
Differences that remain: frames of this package below the first one, more entries in `sys.modules`, objects that
only a module other than `__main__` holds are not finalised.
"""

# No pathlib in what a zygote loads: each child would pay for it.
# ruff: noqa: PTH120

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import os
import signal
import sys
import weakref
from collections.abc import Callable
from types import CodeType, ModuleType, TracebackType

FILE_NAME = "solution.py"
MODULE_NAME = "solution"
UNFLUSHED = 120
"""Python's own exit status when the last flush fails."""
INTERRUPTED = -int(signal.SIGINT)


def run_as_main(code: CodeType) -> int:
    """The exit status that the interpreter would give; ends by SIGINT where it would."""
    standard = (sys.stdout, sys.stderr)
    main = _new_module("__main__", code)
    sys.argv[:] = [code.co_filename]
    sys.path.insert(0, os.path.dirname(code.co_filename))
    _hide_own_frames()
    status = 0
    try:
        exec(code, main.__dict__)
    except BaseException as error:  # noqa: BLE001 - whatever ends a program ends it here
        status = _status_of(error)
    status = _finish(status)
    left = weakref.ref(main)
    del main
    _empty(left)
    sys.stdout, sys.stderr = standard
    status = status if _flush() or status else UNFLUSHED
    if status == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def call(code: CodeType, entry_point: str, arguments: list[object]) -> tuple[int, object]:
    """Loads the code as a module, calls `entry_point` in it: a name, or `Class.method` on a fresh instance. May be
    called again where it gave 0."""
    module = _new_module(MODULE_NAME, code)
    folder = os.path.dirname(code.co_filename)
    if sys.path[0] != folder:
        sys.path.insert(0, folder)
    _hide_own_frames()
    value: object = None
    status = 0
    try:
        exec(code, module.__dict__)
        value = _find(module, entry_point)(*arguments)
    except SystemExit as error:
        sys.stderr.write(f"SystemExit: {error.code}: ended before it returned\n")
        status = 1
    except BaseException as error:  # noqa: BLE001 - whatever ends a program ends it here
        status = _status_of(error)
    if status:
        return _finish(status), None
    if not _flush():
        return UNFLUSHED, None
    return 0, value


def _find(module: ModuleType, entry_point: str) -> Callable[..., object]:
    found: object = module
    for name in entry_point.split("."):
        found = getattr(found() if isinstance(found, type) else found, name)
    assert callable(found)
    return found


def _new_module(name: str, code: CodeType) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(
        __file__=code.co_filename, __builtins__=builtins, __annotations__={}, __cached__=None, __loader__=None
    )
    sys.modules[name] = module
    return module


def _hide_own_frames() -> None:
    """The program may recurse as deep as if it had been started by the interpreter itself."""
    depth = 0
    frame = sys._getframe(1)
    while (above := frame.f_back) is not None:
        frame = above
        depth += 1
    of_exec = 2 if sys.version_info < (3, 12) else 1  # until then, exec itself was counted too
    sys.setrecursionlimit(sys.getrecursionlimit() + depth + of_exec)


def _status_of(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        code = error.code
        if code is None:
            return 0
        if isinstance(code, int):
            return int.__index__(code) & 0xFF  # of a class of the program's, `&` is its own
        _flush_one(sys.stdout)
        print(code, file=sys.stderr)  # noqa: T201
        return 1
    _show(error, _below_this_file(error.__traceback__))
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _show(error: BaseException, trace: TracebackType | None) -> None:
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except BaseException as other:  # noqa: BLE001 - the hook may be the program's own
        sys.__excepthook__(type(other), other, other.__traceback__)
        sys.__excepthook__(type(error), error, trace)


def _below_this_file(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _finish(status: int) -> int:
    """Threads, `atexit`, streams; 120 where the streams could not be flushed."""
    threading = sys.modules.get("threading")
    if threading is not None:
        try:
            threading._shutdown()
        except BaseException as error:  # noqa: BLE001 - as the interpreter does: shown, then ignored
            _show(error, error.__traceback__)
    atexit._run_exitfuncs()
    return status if _flush() or status else UNFLUSHED


def _empty(main: weakref.ref[ModuleType]) -> None:
    """Lets go of `__main__` as the interpreter does: collected in one go where nothing else holds it, else emptied,
    names with one underscore first. An open file that only a global holds is written out by this."""
    sys.modules.pop("__main__", None)
    gc.collect()
    if (module := main()) is None:
        return
    names = module.__dict__
    for is_first in (True, False):
        for name in list(names):
            is_private = name.startswith("_") and not name.startswith("__")
            if is_private is is_first and name != "__builtins__":
                names[name] = None


def _flush() -> bool:
    is_out_flushed = _flush_one(sys.stdout)
    if not _is_closed(sys.stderr):
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
    return is_out_flushed


def _flush_one(stream: object) -> bool:
    if _is_closed(stream):
        return True
    try:
        stream.flush()  # type: ignore[attr-defined]
    except BaseException as error:  # noqa: BLE001 - the stream may be the program's own object
        os.write(2, f"Exception ignored in: {object.__repr__(stream)}\n".encode())
        sys.__excepthook__(type(error), error, _below_this_file(error.__traceback__))
        return False
    return True


def _is_closed(stream: object) -> bool:
    try:
        return stream is None or bool(stream.closed)  # type: ignore[attr-defined]
    except BaseException:  # noqa: BLE001 - as above
        return False
