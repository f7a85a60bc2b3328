"""A table of results, written as HTML, Markdown and LaTeX from the same cells."""

from __future__ import annotations

from dataclasses import dataclass

from forklock.report.markup import Markup, Part, element, together
from forklock.report.untrusted import visible

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "\n": " ",
    "\t": " ",
}
_LATEX_WORDS = {"→": r"$\rightarrow$", "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "é": r"\'e"}
_MARKDOWN = str.maketrans({**{c: f"\\{c}" for c in "\\|*_`[]<>#"}, "\n": " ", "\t": " "})


@dataclass(frozen=True)
class Cell:
    text: str
    detail: str = ""
    """Smaller, behind it: an interval."""
    word: str = ""
    """What may be said about a difference: `gain`, `loss`, `within noise`."""

    @property
    def flat(self) -> str:
        return " ".join(part for part in (self.text, f"({self.detail})" if self.detail else "", self.word) if part)


@dataclass(frozen=True)
class Row:
    label: Cell
    cells: tuple[Cell, ...]
    is_comparison: bool = False


@dataclass(frozen=True)
class Table:
    name: str
    """Of its files."""
    title: str
    columns: tuple[str, ...]
    """The first is that of the labels."""
    rows: tuple[Row, ...]
    note: str = ""
    look: str = ""
    """How the page sets it: `compact`, `text` (cells are words, not numbers)."""

    def __post_init__(self) -> None:
        assert all(len(row.cells) + 1 == len(self.columns) for row in self.rows), self.name


def row(label: str, *cells: str) -> Row:
    return Row(Cell(label), tuple(map(Cell, cells)))


def as_html(table: Table) -> Markup:
    head = element("tr", *(element("th", name, scope="col") for name in table.columns))
    body = [
        element(
            "tr",
            element("th", _cell(one.label), scope="row"),
            *(element("td", _cell(cell)) for cell in one.cells),
            class_="comparison" if one.is_comparison else None,
        )
        for one in table.rows
    ]
    inner = element(
        "table",
        element("caption", table.title),
        element("thead", head),
        element("tbody", *body),
    )
    note = element("p", table.note, class_="note") if table.note else None
    scroll = element("div", inner, class_=f"scroll {table.look}", tabindex="0", role="region", aria_label=table.title)
    return element("div", scroll, note)


def _cell(cell: Cell) -> Markup:
    parts: list[Part] = [cell.text]
    if cell.detail:
        parts += [" ", element("span", cell.detail, class_="detail")]
    if cell.word:
        parts += [" ", element("span", cell.word, class_=f"word {cell.word.replace(' ', '-')}")]
    return together(*parts)


def as_markdown(table: Table) -> str:
    """GitHub's tables."""
    lines = [
        f"**{_markdown(table.title)}**",
        "",
        f"| {' | '.join(map(_markdown, table.columns))} |",
        f"| --- |{' ---: |' * (len(table.columns) - 1)}",
        *(f"| {' | '.join(_markdown(cell.flat) for cell in (one.label, *one.cells))} |" for one in table.rows),
    ]
    return "\n".join([*lines, *(["", _markdown(table.note)] if table.note else [])]) + "\n"


def as_latex(table: Table) -> str:
    """Needs booktabs, and T1 font encoding for straight quotes."""
    rows = []
    for number, one in enumerate(table.rows):
        if one.is_comparison and number and not table.rows[number - 1].is_comparison:
            rows.append(r"\midrule")
        rows.append(f"{' & '.join(latex(cell.flat) for cell in (one.label, *one.cells))} \\\\")
    return "\n".join(
        [
            r"% \usepackage{booktabs} \usepackage[T1]{fontenc}",
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{latex(' '.join(filter(None, (table.title + '.', table.note))))}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            f"{' & '.join(map(latex, table.columns))} \\\\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    """Plain text for LaTeX; what its usual fonts lack comes as a code point."""
    known = _LATEX | _LATEX_WORDS
    return "".join(known.get(c, c if ord(c) < 127 else f"[U+{ord(c):04X}]") for c in visible(text))


def _markdown(text: str) -> str:
    return visible(text).translate(_MARKDOWN)
