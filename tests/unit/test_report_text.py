"""Text of models, in HTML, in JSON inside a script, in Markdown and in LaTeX; and the tables made of it."""

from __future__ import annotations

import json
import re

import pytest

from forklock.report.markup import Markup, element, raw, together
from forklock.report.tables import Cell, Row, Table, as_html, as_latex, as_markdown, latex, row
from forklock.report.untrusted import script_json, visible

NASTY = "</script><b>\" ' & \x00 \x1b[0m \u202e \u2066 \u200b \ud800 \u2028 \x7f \x85 ```\n\tok é 中"


def test_what_is_invisible_is_shown() -> None:
    shown = visible(NASTY)
    assert "\n\tok é 中" in shown
    assert "␀" in shown
    assert "␛" in shown
    assert "␡" in shown
    for code in ("202E", "2066", "200B", "D800", "2028", "0085"):
        assert f"[U+{code}]" in shown
    assert all(character.isprintable() or character in "\n\t" for character in shown)
    shown.encode()


def test_elements_escape_all_but_markup() -> None:
    made = element("p", "a < b & c", element("b", '"x"'), None, class_="it's", hidden=True, title=None)
    assert made == '<p class="it&#x27;s" hidden>a &lt; b &amp; c<b>&quot;x&quot;</b></p>'
    assert isinstance(together(made, "<"), Markup)
    assert "<" not in element("p", NASTY).removeprefix("<p>").removesuffix("</p>")
    with pytest.raises(AssertionError):
        raw("script", "x = '</ScRiPt>'")


def test_json_cannot_end_its_script_and_comes_back() -> None:
    written = script_json({"text": NASTY, NASTY: [NASTY, 1.5, None]})
    assert not re.search("[<>&\u2028]", written)
    assert written.isascii()
    assert json.loads(written) == {"text": visible(NASTY), visible(NASTY): [visible(NASTY), 1.5, None]}


TABLE = Table(
    "t",
    "All | of 100 %",
    ("", "a_b", "c & d"),
    (
        row("plain", "1", "2"),
        Row(Cell("x | y", "T=1"), (Cell("+1.5", "+0.5 to +2.5", "gain"), Cell("-", word="within noise")), True),
    ),
    'note: 5 < 6 \\ {x} $ # ~ ^ ` "',
)


def test_markdown_has_one_row_a_line_and_no_stray_column() -> None:
    lines = as_markdown(TABLE).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in rows] == [4, 4, 4, 4]
    assert rows[-1] == r"| x \| y (T=1) | +1.5 (+0.5 to +2.5) gain | - within noise |"
    assert lines[0] == r"**All \| of 100 %**"


def test_latex_escapes_every_special_character() -> None:
    specials = '\\{}$&#%_~^<>|"`\n'
    found = latex(specials)
    assert found == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
        r"\textquotedbl{}\textasciigrave{} "
    )
    assert latex("→ 中 \x00") == r"$\rightarrow$ [U+4E2D] [U+2400]"


def test_a_latex_table_is_well_formed() -> None:
    """Braces and environments balance, and each row has as many cells as there are columns."""
    text = as_latex(TABLE)
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1] == ["table", "tabular"]
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns is not None
    assert columns[1] == "lrr"
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in rows] == [2, 2, 2]
    assert text.isascii()


def test_html_says_differences_in_words() -> None:
    made = as_html(TABLE)
    assert '<span class="word gain">gain</span>' in made
    assert '<span class="word within-noise">within noise</span>' in made
    assert '<tr class="comparison">' in made
    assert made.count("<th") == 3 + 2 + 1  # and thead
