"""The page: sections in the order of a first reading, and the policy that nothing in it may reach out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from forklock import __version__
from forklock.report.alerts import Alert
from forklock.report.charts import Spec
from forklock.report.markup import Markup, Part, element, raw, together
from forklock.report.untrusted import script_json

SCRIPTS = ("tooltip.js", "charts.js", "reader.js", "page.js")
STYLE = "report.css"


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    body: Markup


def page(title: str, purpose: str, top: Markup, sections: Sequence[Section], data: dict[str, Any]) -> str:
    script = "(() => {\n'use strict';\n" + "\n".join(map(_asset, SCRIPTS)) + "\n})();\n"
    style = _asset(STYLE)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    links = [element("a", section.title, href=f"#{section.id}") for section in sections]
    head = together(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=f"forklock {__version__}"),
        element("title", title),
        raw("style", style),
    )
    body = together(
        element(
            "header",
            element("h1", title),
            element("p", purpose, class_="purpose"),
            element("nav", *links, aria_label="Sections"),
            class_="top",
        ),
        element("main", top, *map(_section, sections)),
        element("footer", f"Made by forklock {__version__} from the files of this run folder; nothing is loaded."),
        element("div", id="tip", role="tooltip", hidden=True),
        raw("script", script_json(data), type="application/json", id="data"),
        raw("script", script),
    )
    return f"<!doctype html>\n{element('html', element('head', head), element('body', body), lang='en')}\n"


def alert_box(alert: Alert) -> Markup:
    mark = {"bad": "⚠", "warning": "△"}[alert.level]
    text = element("p", element("strong", f"{mark} {alert.title}"), " ", alert.text)
    return element("div", text, class_=f"alert {alert.level}", role="note")


def figure_home(spec: Spec, run_dir: Path) -> Markup:
    """Where the script draws; links to its files where they are beside the page."""
    return element(
        "div",
        element("h3", spec["title"]),
        element("p", spec["look"], class_="look"),
        element("div", element("noscript", "This figure needs JavaScript."), id=spec["id"]),
        _files(spec.get("files"), run_dir),
        class_="figure",
    )


def picture(path: Path, caption: str, *links: Part) -> Markup:
    """A figure made elsewhere. As an image: whatever it holds, it can neither run nor load."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    image = element("img", src=f"data:image/svg+xml;base64,{encoded}", alt=caption)
    return element("figure", image, element("figcaption", caption, " Files: ", *links), class_="picture")


def file_links(paths: Iterable[str]) -> Iterator[Markup | str]:
    for number, path in enumerate(paths):
        if number:
            yield ", "
        yield element("a", path.rpartition("/")[2], href=path)


def _files(stem: str | None, run_dir: Path) -> Markup | None:
    names = sorted(path.name for path in (run_dir / stem).parent.glob(f"{Path(stem).name}*")) if stem else []
    if stem is None or not names:
        return None
    folder = Path(stem).parent.as_posix()
    return element("p", "Files: ", *file_links(f"{folder}/{name}" for name in names), class_="note")


def _section(section: Section) -> Markup:
    return element("section", element("h2", section.title), section.body, id=section.id)


def _asset(name: str) -> str:
    return (resources.files("forklock.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
