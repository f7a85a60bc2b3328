"""A benchmark's prelude before a program: every program that Python takes is taken with it, none other is."""

from __future__ import annotations
import __future__

import pytest

from forklock.benchmarks.prelude import MAX_HEAD_TOKENS, MAX_LINE, with_prelude

PRELUDE = "import math\ngiven = math.floor(3.5)\n"
USE = "\nassert given == 3\ndef f(x: Missing): return x\nassert f.__annotations__ == {'x': 'Missing'}\n"
FUTURE = "from __future__ import annotations"
HEADS = {
    "bare": FUTURE,
    "a comment behind": f"{FUTURE}  # as text",
    "a comment that names another": f"{FUTURE}  # from __future__ import division",
    "parentheses": "from __future__ import (annotations)",
    "parentheses over lines": "from __future__ import (  # these\n    annotations,\n    division,\n)  # all",
    "a continued line": "from __future__ \\\n    import \\\n  annotations",
    "wide blanks": "from\t__future__   import\fannotations ",
    "another name": f"{FUTURE} as a, division as d",
    "two lines": f"from __future__ import division\n\n# and\n{FUTURE}",
    "a docstring": f"'''A text.\nfrom __future__ import division\n'''\n{FUTURE}",
    "a docstring in parts": f"('A' 'text.'\n)\n{FUTURE}",
    "comments above": f"#!/usr/bin/python3\n\n  # from here\n{FUTURE}",
    "a statement behind": f"{FUTURE}; import os; os.sep",
    "a semicolon behind": f"{FUTURE};  # so",
    "two on a line": f"'text'; from __future__ import division; {FUTURE}",
    "a statement behind a semicolon on the next line": f"{FUTURE}; \\\n  import os",
    "a form feed and a byte order mark": f"\ufeff\f{FUTURE}",
}
NOT_PYTHON = {
    "behind another import": f"import os\n{FUTURE}",
    "in a function": f"def g():\n    {FUTURE}",
    "no such feature": "from __future__ import nothing",
    "indented": f"  {FUTURE}",
    "two semicolons": f"{FUTURE};; import os",
    "never closed": "from __future__ import (annotations",
    "a text never closed": f"{FUTURE}\n'''",
    "a late one": f"{FUTURE}\nx = 1\n{FUTURE}",
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", HEADS)
def test_future_imports_stay_first(name: str, line_end: str) -> None:
    program = (HEADS[name] + USE).replace("\n", line_end)
    compile(program.encode(), "program", "exec", dont_inherit=True)
    together = with_prelude(PRELUDE, program)
    code = compile(together.encode(), "program", "exec", dont_inherit=True)
    assert code.co_flags & __future__.annotations.compiler_flag
    exec(code, {})


@pytest.mark.parametrize("name", HEADS)
def test_a_program_may_end_with_them(name: str) -> None:
    names: dict[str, object] = {}
    exec(compile(with_prelude(PRELUDE, HEADS[name]).encode(), "program", "exec", dont_inherit=True), names)
    assert names["given"] == 3


@pytest.mark.parametrize("name", NOT_PYTHON)
def test_what_python_refuses_stays_refused(name: str) -> None:
    for program in (NOT_PYTHON[name], with_prelude(PRELUDE, NOT_PYTHON[name])):
        with pytest.raises(SyntaxError):
            compile(program.encode(), "program", "exec", dont_inherit=True)


@pytest.mark.parametrize(
    "program",
    [
        "x = 1\ntext = '''\nfrom __future__ import annotations\n'''",
        "'''\nfrom __future__ import annotations\n'''\nx = 1",
        "# from __future__ import annotations\nx = 1",
        "import __future__\nx = 1",
        "x = 1",
    ],
)
def test_a_text_about_them_splits_nothing(program: str) -> None:
    assert with_prelude(PRELUDE, program) == f"{PRELUDE}\n{program}"


def test_a_text_in_the_program_is_left_whole() -> None:
    text = "text = '''\nfrom __future__ import division\n'''\n"
    together = with_prelude(PRELUDE, f"{FUTURE}\n{text}")
    assert together.startswith(f"{FUTURE}\n{PRELUDE}")
    assert together.endswith(f"\n{text}")


def test_an_endless_head_is_not_read_to_its_end() -> None:
    program = "#\n" * MAX_HEAD_TOKENS + FUTURE
    assert with_prelude(PRELUDE, program) == f"{PRELUDE}\n{program}"


def test_a_long_line_ends_the_head() -> None:
    longest = "#" * MAX_LINE
    assert with_prelude(PRELUDE, f"{FUTURE}\n#{longest}").startswith(f"{FUTURE}\n{PRELUDE}")
    assert with_prelude(PRELUDE, f"{longest[1:]}\n{FUTURE}\n").startswith(f"{longest[1:]}\n{FUTURE}\n{PRELUDE}")
    assert with_prelude(PRELUDE, f"#{longest}\n{FUTURE}") == f"{PRELUDE}\n#{longest}\n{FUTURE}"
