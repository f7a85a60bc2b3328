"""Functions, limits that don't depend on load, workers that are lost, and places where nothing can be isolated."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_cases import SHORT, open_sandbox

from forklock.sandbox.kept import SHARE_OF_LIMIT
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import RunResult
from forklock.sandbox.supervise import LOOK_S

SOURCE = str(Path(__file__).resolve().parents[2] / "src")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def test_arguments_arrive_with_their_types(sandbox: Sandbox) -> None:
    arguments = [1, True, "2", 2.5, None, (1, [2]), {"a": {3}}, b"x", "\ud800", float("inf"), 10**50]
    arguments += ["a = b", 'it\'s "quoted"', "back\\slash", "a, b", "```python\nx\n```"]
    [result] = sandbox.call_function("def f(*a): return list(a)", "f", [arguments])
    assert repr(result.value) == repr(arguments)


def test_a_function_s_printing_is_kept_apart_from_its_value(sandbox: Sandbox) -> None:
    [result] = sandbox.call_function("def f():\n    print('[1]')\n    return None", "f", [[]])
    assert (result.outcome, result.value, result.text) == ("finished", None, "[1]\n")


def test_a_main_guard_does_not_run_when_a_function_is_called(sandbox: Sandbox) -> None:
    source = "def f(): return __name__\nif __name__ == '__main__':\n    raise SystemExit(3)"
    [result] = sandbox.call_function(source, "f", [[]])
    assert result.value == "solution"


def test_what_was_used_is_reported(sandbox: Sandbox) -> None:
    source = "import time\nx = bytearray(60 << 20)\nwhile time.process_time() < 0.2: pass"
    [result] = sandbox.run_program(source, [""])
    assert result.outcome == "finished"
    assert 0.2 <= result.cpu_s < 0.5
    assert result.wall_s >= 0.2
    assert 60 << 20 < result.peak_memory_bytes < 120 << 20


def test_children_s_time_counts(sandbox: Sandbox) -> None:
    source = (
        "import os, time\nif os.fork() == 0:\n    while time.process_time() < 0.2: pass\n    os._exit(0)\nos.wait()"
    )
    [result] = sandbox.run_program(source, [""])
    assert result.cpu_s >= 0.2


def test_a_limit_of_its_own_for_one_program(sandbox: Sandbox) -> None:
    source = "print('x' * 1000)"
    [result] = sandbox.run_program(source, [""], Limits(output_bytes=100))
    assert (result.outcome, result.stdout) == ("output_limit", b"x" * 100)
    [result] = sandbox.run_program(source, [""])
    assert result.outcome == "finished"


@pytest.mark.parametrize("cpu_s", [1.0, 6.0, 60.0])
def test_a_hang_costs_at_most_one_and_a_half_times_its_limit(cpu_s: float) -> None:
    """Also one of several calls, which is given up before it is made alone."""
    assert SHARE_OF_LIMIT * cpu_s + Limits(cpu_s=cpu_s).wall_s + LOOK_S <= 1.5 * cpu_s


SEES = """import os, resource
status = dict(line.split(":\\t") for line in open("/proc/self/status"))
print(*[status[name].strip() for name in ("NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff", "CapAmb")])
print(*[os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "net", "mnt", "ipc", "uts")])
for name in ("AS", "NPROC", "NOFILE", "FSIZE", "CORE"): print(*resource.getrlimit(getattr(resource, f"RLIMIT_{name}")))
"""


def test_a_program_finds_itself_in_every_layer(sandbox: Sandbox) -> None:
    [result] = sandbox.run_program(SEES, [""])
    privileges, namespaces, *limits = result.text.splitlines()
    assert privileges == " ".join(["1", "2", *[16 * "0"] * 4])
    own = [str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("user", "pid", "net", "mnt", "ipc", "uts")]
    assert not set(own) & set(namespaces.split())
    wanted = (SHORT.memory_bytes, SHORT.num_processes, SHORT.num_open_files, SHORT.file_bytes, 0)
    assert limits == [f"{number} {number}" for number in wanted]


def test_there_is_a_worker_for_each_core_where_nothing_else_is_said() -> None:
    assert Sandbox().num_workers == len(os.sched_getaffinity(0))


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="cpu_s"):
        Limits(cpu_s=0)


def run_at_once(sandbox: Sandbox, source: str, num_copies: int) -> list[RunResult]:
    results: list[RunResult] = []
    threads = [
        threading.Thread(target=lambda: results.extend(sandbox.run_program(source, [""]))) for _ in range(num_copies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize(
    ("used_s", "limit_s"), [(0.25, 1.0), pytest.param(1.2, 6.0, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_verdicts_do_not_depend_on_the_number_of_workers(used_s: float, limit_s: float) -> None:
    source = f"import time\nwhile time.process_time() < {used_s}: pass\nprint('right')"
    for num_workers in (2, 16):
        with open_sandbox(Limits(cpu_s=limit_s), num_workers=num_workers) as sandbox:
            results = run_at_once(sandbox, source, 16)
        assert [(result.outcome, result.text) for result in results] == [("finished", "right\n")] * 16


def test_a_hang_is_ended_by_wall_time_however_many_run_beside_it() -> None:
    with open_sandbox(SHORT, num_workers=6) as sandbox:
        results = run_at_once(sandbox, "import time\ntime.sleep(1000)", 6)
    for result in results:
        assert (result.outcome, result.cause) == ("timeout", "wall time")


def test_a_worker_that_is_lost_is_replaced_and_the_run_repeated() -> None:
    with open_sandbox() as sandbox:
        lost = sandbox._idle[-1]
        assert lost is not None
        lost._process.kill()
        lost._process.wait()
        [result] = sandbox.run_program("print(1)", [""])
        assert (result.outcome, result.text) == ("finished", "1\n")


def test_the_second_loss_in_a_row_is_a_harness_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_sandbox() as sandbox:
        start = sandbox._new_worker

        def start_dead() -> object:
            worker = start()
            worker._process.kill()
            worker._process.wait()
            return worker

        monkeypatch.setattr(sandbox, "_new_worker", start_dead)
        lost = sandbox._idle[-1]
        assert lost is not None
        lost._process.kill()
        lost._process.wait()
        [result] = sandbox.run_program("print(1)", [""])
        assert result.outcome == "harness_error"
        assert result.cause
        assert result.exit_status is None


ONE_RUN = """
from forklock.sandbox.pool import Sandbox
from forklock.errors import ForklockError
import sys
try:
    with Sandbox(num_workers=1, unsafe="unsafe" in sys.argv) as sandbox:
        [result] = sandbox.run_program(sys.argv[1], ["2 3\\n"])
        print(result.outcome, result.is_isolated, repr(result.text))
except ForklockError as error:
    print(type(error).__name__, error)
"""


def run_elsewhere(command: list[str], *arguments: str) -> str:
    """Runs `ONE_RUN` under another user or with other rights."""
    done = subprocess.run(
        [*command, "-c", ONE_RUN, *arguments],
        env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FORKS = """import os, time
for _ in range(100):
    try:
        if os.fork() == 0: time.sleep(99)
    except OSError:
        print('few', os.getuid()); break
"""


def test_an_ordinary_user_gets_the_same_isolation(sandbox: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip("this user is an ordinary one: every other test here shows it")
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for python in (sys.executable, "/usr/bin/python3"):
        can = (
            f"import subprocess, sys; sys.path.insert(0, {SOURCE!r}); import forklock; "
            "assert sys.version_info >= (3, 11); subprocess.check_call([sys._base_executable, '-c', ''])"
        )
        if (
            shutil.which("setpriv")
            and subprocess.run([*as_nobody, python, "-c", can], capture_output=True).returncode == 0
        ):
            assert run_elsewhere([*as_nobody, python], FORKS) == "finished True 'few 1000\\n'\n"
            return
    pytest.skip("no Python that an ordinary user may run, or no setpriv")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux")
def test_root_under_another_number_is_found_out(sandbox: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    answer = run_elsewhere(["unshare", "--user", "--map-user=1234", "--map-group=1234", sys.executable], FORKS)
    assert answer.startswith("SandboxUnavailableError")
    assert "limit on processes" in answer


PROBE = (
    "from forklock.sandbox.layers import probe\nfor layer in probe():\n    print(layer.name, layer.works, layer.detail)"
)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux")
def test_what_doctor_tries_is_what_grading_needs(sandbox: Sandbox) -> None:
    """Each layer for itself works under another number too; only together they show what is missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    command = ["unshare", "--user", "--map-user=1234", "--map-group=1234", sys.executable]
    told = [
        subprocess.run(
            [*before, sys.executable, "-c", PROBE], env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]},
            capture_output=True, text=True, check=True,
        ).stdout
        for before in ([], command[:-1])
    ]  # fmt: skip
    for text in told:
        assert "user namespace True works" in text
    assert "all of them together True programs are isolated" in told[0]
    assert "all of them together False missing: limit on processes: the kernel does not apply it" in told[1]


WITHOUT_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$0" "$@"'


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux")
def test_where_nothing_can_be_isolated_it_refuses_and_says_what_is_missing(sandbox: Sandbox) -> None:
    nowhere = ["unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT_NAMESPACES, sys.executable]
    answer = run_elsewhere(nowhere, "print(1)")
    assert answer.startswith("SandboxUnavailableError")
    for name in ("user", "process", "network", "mount", "ipc"):
        assert f"{name} namespace" in answer


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux")
def test_unsafely_it_runs_anyway_and_every_result_says_so(sandbox: Sandbox) -> None:
    nowhere = ["unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT_NAMESPACES, sys.executable]
    assert (
        run_elsewhere(nowhere, "a, b = map(int, input().split())\nprint(a + b)", "unsafe") == "finished False '5\\n'\n"
    )
    sleeper = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\nprint('left')"
    assert run_elsewhere(nowhere, sleeper, "unsafe") == "finished False 'left\\n'\n"


def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, sandbox: Sandbox) -> None:
    code = (
        "from forklock.sandbox.pool import Sandbox\nsandbox = Sandbox(num_workers=1).__enter__()\n"
        "print(sandbox._idle[-1]._process.pid, flush=True)\n"
        "list(sandbox.run_program('import time; time.sleep(1000)', ['']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": SOURCE}) as parent:
        assert parent.stdout is not None
        launcher = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    try:
        poll = select.poll()
        poll.register(launcher, select.POLLIN)
        assert poll.poll(30_000), "the launcher, and so the namespace, outlived its parent"
    finally:
        os.close(launcher)
