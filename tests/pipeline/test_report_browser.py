"""The report in a real browser: nothing is loaded, nothing fails, and what it promises happens."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Page, open_browser
from report_folder import HOSTILE, STUDENT_POINT, make_run, report_recipe

from forklock.evaluate import outcome
from forklock.report import build

TinyModel = Callable[[str], Path]
PHONE = 360
FIGURE = "#figure-temperatures-microworld"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_browser() as page:
        yield page


@pytest.fixture(scope="module")
def report(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model that writes what could harm."""
    model = tiny_model("qwen3")
    folder = tmp_path_factory.mktemp("browser")
    run_dir = make_run(report_recipe(model), model, folder / "run", text=HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome.figures, "draw", lambda report, folder: [])
        return build(run_dir).path


@pytest.fixture
def page(browser: Page, report: Path) -> Page:
    browser.dark(is_dark=False)
    browser.open(report)
    return browser


def test_it_loads_alone_without_a_complaint(page: Page, report: Path) -> None:
    assert page.requests == [report.as_uri()]
    assert page.complaints == []
    assert page.run("document.querySelectorAll('svg.chart').length") > 10
    assert page.run("document.querySelectorAll('.tokens .token').length") > 3


def test_the_network_is_forbidden(page: Page) -> None:
    assert page.run("fetch('https://example.org/').then(() => 'reached', () => 'refused')") == "refused"
    assert page.run(
        "new Promise((done) => { const i = new Image(); i.onload = () => done('reached');"
        "i.onerror = () => done('refused'); i.src = 'https://example.org/x.png'; })"
    ) == ("refused")
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


def test_text_of_models_does_nothing(page: Page) -> None:
    """In every solution and every problem that can be chosen."""
    page.run(
        "document.querySelectorAll('.chooser select').forEach((s) => [...s.options].forEach((o) => "
        "{ s.value = o.value; s.dispatchEvent(new Event('change')); }))"
    )
    page.run("document.querySelectorAll('.tabs button').forEach((button) => button.click())")
    assert page.run("window.harmed === undefined")
    assert page.run("document.querySelector('main img, main script, #tip img') === null")
    assert "</script><script>window.harmed = 1</script>" in page.run("document.querySelector('.side pre').textContent")
    assert "[U+202E]" in page.run("document.querySelector('.side pre').textContent")
    assert page.complaints == []


def test_pointing_at_a_mark_shows_its_values(page: Page) -> None:
    shown = page.hover(f"{FIGURE} .series.role-base .mark")
    assert "base, k=20 p=0.8" in shown
    assert "T = 0.5" in shown
    assert "pass@1: " in shown
    assert " to " in shown
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    assert page.tooltip() == ""


def test_pointing_at_a_token_shows_what_else_could_stand_there(page: Page) -> None:
    shown = page.hover(".tokens .token")
    assert "base" in shown
    assert "trained" in shown
    assert "moved by" in shown
    assert shown.count("%") >= 3


def test_the_keyboard_reaches_marks_and_tokens(page: Page) -> None:
    page.run(f"document.querySelector('{FIGURE} .legend button:last-child').focus()")
    page.press("Tab")
    first = page.tooltip()
    assert "pass@1: " in first
    page.press("ArrowRight")
    assert page.tooltip() not in ("", first)
    page.press("Escape")
    assert page.tooltip() == ""
    page.run("document.querySelector('.tokens .token').focus()")
    token = page.tooltip()
    page.press("ArrowRight")
    assert page.tooltip() not in ("", token)
    page.press("ArrowLeft")
    assert page.tooltip() == token
    assert page.run("document.activeElement.getAttribute('aria-describedby')") == "tip"


def test_a_legend_hides_and_shows_its_series(page: Page) -> None:
    count = f"document.querySelectorAll('{FIGURE} .series.role-base').length"
    button = f"document.querySelector('{FIGURE} .legend .role-base')"
    assert page.run(count) == 2  # a panel each for pass@1 and pass@5
    page.run(f"{button}.click()")
    assert page.run(count) == 0
    assert page.run(f"{button}.getAttribute('aria-pressed')") == "false"
    page.run(f"{button}.click()")
    assert page.run(count) == 2


def test_tokens_change_their_colours(page: Page) -> None:
    page.run("document.querySelector('#reader-body input[value=by-move]').click()")
    assert page.run("document.querySelector('.solution').className") == "solution by-move"
    assert page.run("getComputedStyle(document.querySelector('.swatches.by-class')).display") == "none"
    assert page.run("getComputedStyle(document.querySelector('.swatches.by-move')).display") == "flex"


def test_samples_can_be_chosen(page: Page) -> None:
    before = page.run("document.querySelector('.side pre').textContent")
    page.run("document.querySelector('.tabs button:nth-child(2)').click()")
    after = page.run("document.querySelector('.side pre').textContent")
    assert before.endswith("answer 0")
    assert after.endswith("answer 1")


def test_it_follows_the_dark_mode(page: Page, report: Path) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    ink = "getComputedStyle(document.body).color.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    assert page.run(brightness) > 700 > 200 > page.run(ink)
    page.dark()
    assert page.run(brightness) < 150
    assert page.run(ink) > 600


def test_a_phone_has_nothing_to_scroll_sideways(page: Page, report: Path) -> None:
    page.open(report, PHONE, 780)
    assert page.run("document.documentElement.scrollWidth") == PHONE
    assert page.run(
        "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, svg, pre')"
        f" && e.getBoundingClientRect().right > {PHONE} + 1).map((e) => e.tagName + '.' + e.className)"
    ) == ([])


def test_it_prints(page: Page) -> None:
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    page.dark()
    page.send("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    page.send("Emulation.setEmulatedMedia", media="", features=[])


def test_a_damaged_run_s_page_works_too(browser: Page, report: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(report.parent, tmp_path / "run"))
    shutil.rmtree(run_dir / "analyze")
    (run_dir / STUDENT_POINT / "verdicts-00000.parquet").write_bytes(b"broken")
    browser.open(build(run_dir).path)
    assert browser.complaints == []
    assert browser.run("document.querySelectorAll('.alert.bad').length") >= 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here")
def test_tables_compile(report: Path, tmp_path: Path) -> None:
    inputs = "\n".join(f"\\input{{{path}}}" for path in sorted((report.parent / "report").glob("*.tex")))
    source = "\\documentclass{article}\\usepackage{booktabs}\\usepackage[T1]{fontenc}\\begin{document}\n"
    (tmp_path / "all.tex").write_text(source + inputs + "\n\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:]
