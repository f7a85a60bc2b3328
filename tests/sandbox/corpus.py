"""Hostile programs, each with what must become of it. `INPUT` goes in; `SECRET` must never be seen inside.

In a source PORT stands for a port where this machine listens, GRADERS_FILE for one of its files, MUCH for 100 MB of text.
"""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

from typing import NamedTuple

SECRET = "expected-answer-48151623"
SECRET_FILE = "secret-48151623.txt"
INPUT = "2 3\n"


class Hostile(NamedTuple):
    source: str
    outcomes: tuple[str, ...]
    text: str | None = None
    """Standard output wanted, where it says whether the attempt was refused."""

    def source_for(self, port: int, file: str) -> str:
        source = self.source.replace("PORT", str(port)).replace("GRADERS_FILE", file)
        return source.replace("MUCH", "x" * 100_000_000) if "MUCH" in source else source


REFUSED = "refused\n"

CTYPES = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
"""Followed by a call that must fail: `check(result)`."""
CHECK = "def check(result): print('refused' if result == -1 else 'done')\n"

RESOURCES = {
    "fork bomb": Hostile("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", ("timeout",)),
    "fork bomb of sleepers": Hostile(
        "import os, time\nn = 0\nwhile True:\n    try:\n        if os.fork() == 0: time.sleep(1000)\n        n += 1\n"
        "    except OSError: break\nprint(n < 100)",
        ("finished",),
        "True\n",
    ),
    "thread bomb": Hostile(
        "import threading\ne = threading.Event()\nwhile True: threading.Thread(target=e.wait, daemon=True).start()",
        ("runtime_error", "timeout", "memory"),
    ),
    "memory bomb": Hostile("x = []\nwhile True: x.append(bytearray(10**7))", ("memory",)),
    "memory bomb that catches it": Hostile(
        "x = []\nwhile True:\n    try: x.append(bytearray(10**7))\n    except MemoryError: pass", ("timeout", "memory")
    ),
    "memory bomb of many processes": Hostile(
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(100 << 20)\n        time.sleep(100)\n"
        "time.sleep(100)",
        ("memory",),
    ),
    "memory behind a mapping": Hostile(
        "import mmap\nm = []\nwhile True:\n    a = mmap.mmap(-1, 1 << 25)\n    a.write(b'x' * (1 << 25))\n    m.append(a)",
        ("memory", "runtime_error"),
    ),
    "infinite output": Hostile("while True: print('x' * 1000)", ("output_limit",)),
    "infinite output from a grandchild": Hostile(
        "import os\nif os.fork():\n    os.wait()\nwhile True: os.write(1, b'x' * 1000)", ("output_limit",)
    ),
    "infinite errors": Hostile("import os\nwhile True: os.write(2, b'x' * 65536)", ("output_limit", "timeout")),
    "endless sleep": Hostile("import time\ntime.sleep(10**6)", ("timeout",)),
    "waits for itself": Hostile("import threading\nl = threading.Lock()\nl.acquire(); l.acquire()", ("timeout",)),
    "busy loop": Hostile("while True: pass", ("timeout",)),
    "busy threads": Hostile(
        "import threading\ndef f():\n    while True: pass\nfor _ in range(4): threading.Thread(target=f).start()",
        ("timeout",),
    ),
    "busy processes": Hostile("import os\nos.fork(); os.fork()\nwhile True: pass", ("timeout",)),
    "busy generations": Hostile(
        "import os\nwhile True:\n    if os.fork(): os._exit(0)\n    sum(range(10**5))", ("finished",), ""
    ),
    "busy children nobody waits for": Hostile(
        "import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n    p = os.fork()\n"
        "    if p == 0:\n        sum(range(10**6)); os._exit(0)\n    try: os.waitpid(p, 0)\n    except OSError: pass",
        ("timeout",),
    ),
    "stops itself": Hostile("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", ("timeout",)),
    "catching the timeout": Hostile(
        "import signal, time\nfor s in range(1, 64):\n    try: signal.signal(s, lambda *a: None)\n    except (OSError, ValueError): pass\n"
        "signal.alarm(0)\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass",
        ("timeout",),
    ),
    "catching BaseException": Hostile(
        "import time\nwhile True:\n    try: time.sleep(1000)\n    except BaseException: pass", ("timeout",)
    ),
    "never ends in atexit": Hostile("import atexit\n@atexit.register\ndef f():\n    while True: pass", ("timeout",)),
    "deep recursion": Hostile(
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()", ("memory", "runtime_error", "timeout")
    ),
    "deep recursion in C": Hostile(
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(s): return repr(s)\nrepr(A())",
        ("runtime_error", "memory"),
    ),
    "filling the working folder": Hostile(
        "n = 0\ntry:\n    for i in range(100):\n        with open(str(i), 'wb') as f:\n            n += f.write(b'x' * (1 << 20))\n"
        "except OSError: pass\nprint(n < 40 << 20)",
        ("finished",),
        "True\n",
    ),
    "a file that is too large": Hostile(
        "import os\nf = os.open('f', os.O_CREAT | os.O_RDWR)\ntry: os.truncate(f, 1 << 40)\nexcept OSError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "all inodes": Hostile(
        "try:\n    for i in range(10**6): open(str(i), 'w').close()\nexcept OSError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "folders without a bottom": Hostile(
        "import os\ntry:\n    while True:\n        os.mkdir('d' * 200); os.chdir('d' * 200)\nexcept OSError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "folders that cannot be read": Hostile(
        "import os\nos.makedirs('a/b/c')\nopen('a/b/f', 'w').close()\nos.chmod('a/b/f', 0); os.chmod('a/b', 0); os.chmod('a', 0)\n"
        "os.chmod('.', 0)\nprint('left')",
        ("finished",),
        "left\n",
    ),
    "odd things left": Hostile(
        "import os, socket\nos.symlink('/', 'root'); os.symlink('.', 'loop'); os.mkfifo('fifo')\n"
        "open(b'\\xff\\n', 'w').close(); open('lifted-0', 'w').close(); os.mkdir('lifted-1'); os.mkdir('lifted-1/x')\n"
        "socket.socket(socket.AF_UNIX).bind('s'); os.mkdir('lifted-1/x/y')\nos.link('lifted-0', 'hard')\nprint('left')",
        ("finished",),
        "left\n",
    ),
}

PROCESSES = {
    "os._exit(0) at once": Hostile("import os\nos._exit(0)", ("finished",), ""),
    "sys.exit(0) before the end": Hostile("import sys\nsys.exit(0)\nprint(5)", ("finished",), ""),
    "daemonised grandchild": Hostile(
        "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
        "os.write(1, b'')\ntime.sleep(1000)",
        ("finished",),
        "",
    ),
    "grandchild that holds stdout": Hostile(
        "import os, time\nif os.fork() == 0: time.sleep(1000)\nprint(5)", ("finished",), "5\n"
    ),
    "kill -9 of its parent": Hostile("import os\nos.kill(os.getppid(), 9)\nprint('on')", ("finished",), "on\n"),
    "every signal to its parent": Hostile(
        "import os\nfor s in range(1, 65):\n    os.kill(os.getppid(), s)\nprint('on')", ("finished",), "on\n"
    ),
    "kill -9 of everything": Hostile(
        "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass\nprint('on')", ("finished",), "on\n"
    ),
    "signals to the group": Hostile("import os, signal\nos.killpg(0, signal.SIGKILL)", ("runtime_error",), ""),
    "group of its parent": Hostile(
        "import os\ntry: os.setpgid(0, os.getpgid(os.getppid()))\nexcept OSError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "limits of its parent": Hostile(
        "import os, resource\ntry: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))\n"
        "except PermissionError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "priority of all": Hostile(
        "import os\ntry: os.setpriority(os.PRIO_USER, 0, 19)\nexcept PermissionError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "affinity of its parent": Hostile(
        "import os\ntry: os.sched_setaffinity(os.getppid(), [0])\nexcept PermissionError: print('refused')",
        ("finished",),
        REFUSED,
    ),
}

REACHING_OUT = {
    "reading /etc/passwd": Hostile(
        "try: print(open('/etc/passwd').read())\nexcept OSError: print('refused')", ("finished",), REFUSED
    ),
    "environment of process 1": Hostile(
        "try: print(open('/proc/1/environ').read())\nexcept OSError: print('refused')", ("finished",), REFUSED
    ),
    "memory of process 1": Hostile(
        "try: print(open('/proc/1/mem', 'r+b'))\nexcept OSError: print('refused')", ("finished",), REFUSED
    ),
    "descriptors of process 1": Hostile(
        "import os\ntry: print(os.listdir('/proc/1/fd'))\nexcept OSError: print('refused')", ("finished",), REFUSED
    ),
    "other processes": Hostile(
        "import os\nprint([p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()])",
        ("finished",),
        "[]\n",
    ),
    "its own environment": Hostile(
        "import os\nprint(sorted(os.environ))\nprint(open('/proc/self/environ').read().count('SECRET'))",
        ("finished",),
        "['HOME', 'LANG', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'PATH', 'PYTHONHASHSEED']\n0\n",
    ),
    "everything that can be read": Hostile(
        "import os, sys\nfor top, folders, files in os.walk('/'):\n"
        "    folders[:] = [f for f in folders if os.path.join(top, f) not in ('/usr', '/proc', sys.base_prefix) and f != 'site-packages']\n"
        f"    for name in [*folders, *files]:\n        if name == '{SECRET_FILE}': print(top)",
        ("finished",),
        "",
    ),
    "the grader's files": Hostile(
        "import os, shutil\nfor act in (\n    lambda f: print(open(f).read()),\n    lambda f: print(os.listdir(os.path.dirname(f))),\n"
        "    lambda f: open(f, 'w').write('owned'),\n    lambda f: os.truncate(f, 0),\n    lambda f: os.rename(f, f + '.old'),\n"
        "    os.remove,\n    lambda f: shutil.rmtree(os.path.dirname(f)),\n"
        "):\n    try: act('GRADERS_FILE'); print('done')\n    except OSError: print('refused')",
        ("finished",),
        REFUSED * 7,
    ),
    "writing outside its folder": Hostile(
        "import os\nfor f in ('/', '/usr', '/usr/bin', '/dev', '/proc', '/etc', os.path.dirname(os.__file__)):\n"
        "    try: open(f + '/x', 'w'); print('wrote', f)\n    except OSError: pass\nprint('refused')",
        ("finished",),
        REFUSED,
    ),
    "out through ..": Hostile(
        "import os\nos.chdir('/../../..')\nprint('secret' in str(os.listdir('.')), os.getcwd())",
        ("finished",),
        "False /\n",
    ),
    "out through a descriptor": Hostile(
        "import os\nfor f in range(3, 256):\n    try: os.fchdir(f); print('a folder', f)\n    except OSError: pass\nprint('refused')",
        ("finished",),
        REFUSED,
    ),
    "network on the same machine": Hostile(
        "import socket\ntry: socket.create_connection(('127.0.0.1', PORT), 1); print('done')\nexcept OSError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "network outside": Hostile(
        "import socket\nfor a in ('8.8.8.8', '::1'):\n    try: socket.create_connection((a, 53), 1); print('done')\n"
        "    except OSError: print('refused')",
        ("finished",),
        REFUSED * 2,
    ),
    "the machine's host": Hostile(
        "import socket\ntry: socket.socket(socket.AF_VSOCK); print('done')\nexcept OSError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "netlink": Hostile(
        "import socket\ntry: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); print('done')\nexcept OSError: print('refused')",
        ("finished",),
        REFUSED,
    ),
    "ptrace of its parent": Hostile(
        CTYPES + CHECK + "check(libc.ptrace(16, os.getppid(), 0, 0))", ("finished",), REFUSED
    ),
    "reading its parent's memory": Hostile(
        CTYPES + CHECK + "check(libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0))", ("finished",), REFUSED
    ),
    "mounting": Hostile(CTYPES + CHECK + "check(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))", ("finished",), REFUSED),
    "unmounting": Hostile(CTYPES + CHECK + "check(libc.umount2(b'/proc', 2))", ("finished",), REFUSED),
    "new namespaces": Hostile(CTYPES + CHECK + "check(libc.unshare(0x10000000))", ("finished",), REFUSED),
    "cloning into a namespace": Hostile(
        CTYPES + CHECK + "check(libc.syscall(56, 0x10000011, 0, 0, 0, 0))", ("finished",), REFUSED
    ),
    "another root": Hostile(CTYPES + CHECK + "check(libc.chroot(b'/tmp'))", ("finished",), REFUSED),
    "memory outside the limits": Hostile(CTYPES + CHECK + "check(libc.memfd_create(b'x', 0))", ("finished",), REFUSED),
    "becoming root": Hostile(CTYPES + CHECK + "check(libc.setuid(0))", ("finished",), REFUSED),
    "another host name": Hostile(CTYPES + CHECK + "check(libc.sethostname(b'x', 1))", ("finished",), REFUSED),
    "crash in C": Hostile("import ctypes\nctypes.string_at(0)", ("runtime_error",), ""),
    "stdin written to": Hostile(
        "import os\nfor name in ('/dev/stdin', '/proc/self/fd/0'):\n    try: open(name, 'r+b', 0).write(b'x'); print('wrote')\n"
        "    except OSError: pass\ntry: os.write(0, b'x')\nexcept OSError: pass\nprint(input())",
        ("finished",),
        INPUT,
    ),
}

SEARCH = """import gc, sys, os, re
def texts():
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            yield repr(value)
        frame = frame.f_back
    for thing in gc.get_objects():
        yield str(type(thing))
        if isinstance(thing, (list, tuple, dict, set)): yield repr(thing)[:100000]
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb') as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split('-'))
            if ' r' in line and '[v' not in line:
                memory.seek(start)
                try: yield memory.read(end - start).decode('latin-1')
                except OSError: pass
needle = re.compile('expected-[a]nswer-[0-9]{8}')
print(sum(bool(needle.search(text)) for text in texts()))
"""

CHEATING = {
    "walking frames, objects and memory": Hostile(SEARCH, ("finished",), "0\n"),
    "comparison replaced": Hostile(
        "import builtins, operator, json, sys\nbuiltins.str = lambda *a: 'x'\noperator.eq = lambda *a: True\n"
        "json.dumps = json.loads = lambda *a: 'x'\nsys.stdout.write('wrong\\n')",
        ("finished",),
        "wrong\n",
    ),
    "stdout replaced": Hostile(
        "import sys\nclass Right:\n    def __eq__(self, other): return True\n    def write(self, text): pass\n"
        "    def flush(self): pass\nsys.stdout = Right()\nprint(5)",
        ("finished",),
        "",
    ),
    "end replaced": Hostile(
        "import os, sys\nos._exit = lambda code: None\nsys.excepthook = lambda *a: None\nraise SystemError",
        ("runtime_error",),
    ),
    "inherited descriptors": Hostile(
        "import os\nfor f in range(3, 256):\n    try: os.write(f, b'passed'); print('wrote', f)\n    except OSError: pass\nprint('none')",
        ("finished",),
        "none\n",
    ),
    "a verdict on stderr": Hostile(
        "import sys\nprint('MemoryError passed finished', file=sys.stderr)\nprint(5)", ("finished",), "5\n"
    ),
}

ODD_TEXTS = {
    "100 MB of source": Hostile("x = 'MUCH'", ("compile_error",), ""),
    "NUL bytes in the source": Hostile("print(1)\n\0", ("compile_error",), ""),
    "a lone surrogate in the source": Hostile("print('\ud800')", ("compile_error",), ""),
    "NUL bytes and a lone surrogate on stdout": Hostile(
        "import sys\nsys.stdout.buffer.write(b'\\0' + '\\ud800'.encode('utf-8', 'surrogatepass') + b'\\0')",
        ("finished",),
        "\0\udced\udca0\udc80\0",
    ),
    "brackets without end in the source": Hostile("(" * 100_000, ("compile_error",), ""),
    "50,000-deep recursion": Hostile(
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(50000))",
        ("finished",),
        "50000\n",
    ),
    "50,000-deep recursion without leave": Hostile(
        "def f(n): return n and 1 + f(n - 1)\nprint(f(50000))", ("runtime_error",), ""
    ),
}

PROGRAMS = {**RESOURCES, **PROCESSES, **REACHING_OUT, **CHEATING, **ODD_TEXTS}
