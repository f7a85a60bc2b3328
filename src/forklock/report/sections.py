"""What each section of the page says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forklock.evaluate.words import sentences_about
from forklock.report import analysis_charts, charts
from forklock.report.alerts import alerts
from forklock.report.analysis_tables import analysis_tables
from forklock.report.contents import SWEEP_FIGURES, Contents
from forklock.report.markup import Markup, Part, element, together
from forklock.report.page import Section, alert_box, figure_home, file_links
from forklock.report.provenance import provenance_section, provenance_tables, seconds_text, total_seconds
from forklock.report.result_tables import (
    budget_table,
    claims_table,
    length_table,
    points_table,
    result_tables,
)
from forklock.report.sweep_section import sweep_section, sweep_tables
from forklock.report.tables import Table, as_html
from forklock.students import OWN, labels_of

SELF_DISTILLATION = (
    "Simple self-distillation: the frozen model (base) answers prompts, and the same model is then trained on those "
    "raw answers, right or wrong (+SSD)."
)
BASELINE = (
    "A baseline, not self-distillation: the frozen model (base) answers prompts, and the same model is then trained on "
    "those answers alone that pass their problems' tests (verified-only)."
)
WHAT_FOLLOWS = (
    "Both answer test problems afterwards, each at a decoding of its own (temperature T, top-k, top-p). pass@k is the "
    "chance that at least one of k answers passes all hidden tests."
)
CAUTIONS = ("Caution", "A tie")


class Report:
    """Sections, tables and figures of one run, each made once."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        outcome = contents.outcome
        self.benchmarks: dict[str, dict[str, Any]] = outcome["benchmarks"]
        self.pass_k: list[int] = outcome["pass_k"]
        self.results = {name: self._results(name) for name in self.benchmarks}
        self.chosen = {name: self._chosen(name) for name in self.benchmarks}
        self.lengths = {name: self._lengths(name) for name in self.benchmarks}
        self.points = [points_table(name, found, self.pass_k) for name, found in self.benchmarks.items()]
        self.sweeps = contents.attempt(self._sweeps) or []
        self.analysis = (contents.attempt(self._analysis_tables) if contents.analysis else None) or []
        self.figures = list(self._figures())
        self.provenance = provenance_tables(contents)

    @property
    def tables(self) -> list[Table]:
        """All that are written as files too."""
        of_benchmarks = [*self.results.values(), *self.chosen.values(), *self.lengths.values()]
        parts = [*of_benchmarks, self.points, self.sweeps, self.analysis, self.provenance]
        return [table for part in parts for table in part]

    def top(self) -> Markup:
        found = alerts(self.contents)
        boxes = [alert_box(alert) for alert in found] or [_all_clear(self.contents)]
        return together(*boxes)

    def sections(self, *, has_reader: bool, pairs: list[str]) -> list[Section]:
        found = [
            Section("summary", "Summary", self._summary()),
            Section("figures", "Figures", self._figure_section()),
            Section("solutions", "Solutions", self._solutions(has_reader=has_reader, pairs=pairs)),
            Section("more", "Lengths, points, sweeps", self._more()),
            Section("provenance", "Provenance", provenance_section(self.contents, self.provenance)),
        ]
        return [section for section in found if section.body]

    def _summary(self) -> Markup:
        is_baseline = self.contents.recipe.train.only_verified_samples
        words = f"{BASELINE if is_baseline else SELF_DISTILLATION} {WHAT_FOLLOWS}"
        about = together(element("p", words, class_="look"), _facts(self.contents))
        if not self.benchmarks:
            nothing = "Nothing is evaluated yet, so there is no verdict: see below for what there is."
            return together(element("p", nothing, class_="lead"), about)
        parts: list[Part] = []
        for number, (name, benchmark) in enumerate(self.benchmarks.items()):
            if len(self.benchmarks) > 1:
                parts.append(element("h3", name))
            parts.append(self._lead(benchmark))
            if number == 0:
                parts.append(about)
            parts += [as_html(table) for table in self.results[name]]
            sentences = [one for one in benchmark["verdict"] if not one.startswith(CAUTIONS)]
            if sentences:
                listed = element("ul", *(element("li", sentence) for sentence in sentences))
                chosen = [as_html(table) for table in self.chosen[name]]
                named = element("summary", "Every claim in a sentence, and students at the best of their decodings")
                parts.append(element("details", named, listed, *chosen))
        return together(*parts)

    def _lead(self, benchmark: dict[str, Any]) -> Markup:
        if not benchmark["contests"]:
            text = "Only one of the two models is evaluated yet, so that there is nothing to compare."
            return element("p", text, class_="lead")
        first = list(sentences_about(benchmark, OWN, "own", self.pass_k[0])) or [
            ("undefined", sentence) for sentence in benchmark["verdict"][:1]
        ]
        classes = {"beats": "beats", "is behind": "behind", "ties with": "ties"}
        lines = [element("li", sentence, class_=classes.get(claim)) for claim, sentence in first]
        cautions = [element("li", one) for one in benchmark["verdict"] if one.startswith(CAUTIONS)]
        return together(element("ul", *lines, class_="lead"), element("ul", *cautions, class_="cautions"))

    def _results(self, name: str) -> list[Table]:
        benchmark = self.benchmarks[name]
        claims = claims_table(name, benchmark, self.pass_k, ["own"])
        return [*([claims] if claims else []), *result_tables(name, benchmark, self.pass_k)]

    def _chosen(self, name: str) -> list[Table]:
        claims = claims_table(name, self.benchmarks[name], self.pass_k, ["best"])
        return [claims] if claims else []

    def _lengths(self, name: str) -> list[Table]:
        budgets = budget_table(name, self.benchmarks[name])
        return [length_table(name, self.benchmarks[name]), *([budgets] if budgets else [])]

    def _sweeps(self) -> list[Table]:
        found = (self.contents.sweep or {}).get("benchmarks", {})
        return [table for name, benchmark in found.items() for table in sweep_tables(name, benchmark, self.pass_k)]

    def _analysis_tables(self) -> list[Table]:
        return list(analysis_tables(self.contents.analysis or {}))

    def _figures(self) -> Iterator[charts.Spec]:
        for name, benchmark in self.benchmarks.items():
            yield charts.temperatures(name, benchmark, self.pass_k)
            if benchmark["contests"]:
                yield charts.gains(name, benchmark, self.pass_k)
        summary = self.contents.analysis
        if summary is not None:
            yield from self.contents.attempt(lambda: list(analysis_charts.analysis_figures(summary))) or []
        if (loss := charts.losses(self.contents.trainings, labels_of(self.contents.recipe))) is not None:
            yield loss

    def _figure_section(self) -> Markup:
        if not self.figures:
            return element("p", "Nothing to draw yet.")
        hint = (
            "Point at a mark, or reach it with Tab and the arrow keys, to read its values; press a name in a legend to "
            "hide that series."
        )
        parts: list[Part] = [element("p", hint, class_="note")]
        parts += [figure_home(spec, self.contents.run_dir) for spec in self.figures]
        if (summary := self.contents.analysis) is not None:
            words = (
                f"Forks and locks are measured on {summary['num_positions']:,} positions of "
                f"{summary['num_solutions']:,} solutions ({summary['contexts']}), which both models read. The rule: "
                f"{summary['rule']['words']}."
            )
            parts += [element("h3", "Forks and locks in numbers"), element("p", words, class_="look")]
            parts += [as_html(table) for table in self.analysis]
        else:
            parts.append(element("p", "There is no analysis of forks and locks: `forklock analyze` makes it."))
        return together(*parts)

    def _solutions(self, *, has_reader: bool, pairs: list[str]) -> Markup:
        parts: list[Part] = []
        if pairs:
            words = (
                "The same problem, answered by both models, each at its own decoding. Problems were chosen by the "
                "recipe's seed, not by what became of them."
            )
            parts += [element("h3", "Side by side"), element("p", words, class_="look")]
            parts += [element("div", id=home) for home in pairs]
        if has_reader:
            reader = element(
                "div",
                _reader_words((self.contents.analysis or {})["contexts"]),
                element("div", id="reader-body"),
                class_="mode-by-class",
            )
            parts += [element("h3", "Token by token"), reader]
        if not parts:
            return element("p", "There are no graded solutions of both models and no analysis, so nothing to read yet.")
        return together(*parts)

    def _more(self) -> Markup:
        parts: list[Part] = []
        if self.lengths:
            words = (
                "A model that writes more may be right more often for that alone. Graders take the last code block of "
                "an answer; more than one means that the model went on after its first."
            )
            parts += [element("h3", "Length"), element("p", words, class_="look")]
            parts += [as_html(table) for tables in self.lengths.values() for table in tables]
        if self.points:
            parts.append(element("h3", "Every point"))
            for table in self.points:
                named = element("summary", f"{len(table.rows)} decodings of {table.title.partition(':')[0]}")
                parts.append(element("details", named, as_html(table)))
        if self.contents.sweep is not None:
            parts.append(element("h3", "Sweep"))
            parts.append(sweep_section(self.sweeps, self.contents.run_dir, SWEEP_FIGURES))
        if not parts:
            return element("p", "Nothing is evaluated yet.")
        links = [f"report/{table.name}.{kind}" for table in self.tables for kind in ("md", "tex")]
        named = element("summary", "All tables as Markdown and LaTeX")
        return together(*parts, element("details", named, element("p", *file_links(links), class_="note")))


def _all_clear(contents: Contents) -> Markup:
    parts = [f"all {len(contents.status.stages)} stages are complete"]
    if any(((training.summary or {}).get("stop_health") or {}).get("base") for training in contents.trainings.values()):
        parts.append("trained models still stop where they should")
    if contents.outcome["benchmarks"]:
        parts.append("programs ran isolated")
    return element("p", f"✓ Nothing to warn of: {', '.join(parts)}.", class_="clear")


def _facts(contents: Contents) -> Markup:
    facts: dict[str, str] = {}
    own = contents.trainings.get(OWN)
    if own is not None and own.summary is not None:
        summary = own.summary
        if "num_samples" in summary:
            facts["samples drawn from the frozen model"] = f"{summary['num_samples']:,}"
        if "num_trained_on" in summary:
            kind = "verified" if contents.recipe.train.only_verified_samples else "unverified"
            facts[f"trained on, {kind}"] = f"{summary['num_trained_on']:,} in {summary['num_steps']:,} steps"
        health = summary.get("stop_health") or {}
        if health.get("base") is not None:
            facts["probability of stopping where samples stop"] = f"{health['base']:.1%} → {health['trained']:.1%}"
    for name, benchmark in contents.outcome["benchmarks"].items():
        point = benchmark["points"][0]
        problems, answers = point["num_problems"], point["num_samples_per_problem"]
        facts[f"{name}, by each model"] = f"{problems:,} problems × {answers:,} answers"
    if seconds := total_seconds(contents):
        facts["time in which stages were at work"] = seconds_text(seconds)
    items = [element("div", element("dt", name), element("dd", value)) for name, value in facts.items()]
    return element("dl", *items, class_="facts") if items else Markup("")


def _reader_words(contexts: str) -> Markup:
    words = (
        f"One of the solutions that were measured ({contexts}), as both models read it. Point at a token, or walk with "
        "the arrow keys, to see what else could have stood there, before and after training."
    )

    def swatch(classes: str, text: str, meaning: str) -> Markup:
        return element("li", element("span", text, class_=f"token {classes}"), f" {meaning}")

    by_class = element(
        "ul",
        element("li", element("span", "fork", class_="token is-fork"), " several tokens open"),
        element("li", element("span", "lock", class_="token is-lock"), " one token right"),
        element("li", element("span", "crossed", class_="token is-fork crossed"), " line above: of another class now"),
        class_="swatches by-class",
    )
    steps = ("0.5 %", "5 %", "15 %", "34 %", "60 %")
    by_move = element(
        "ul",
        *(swatch(f"moved-{step}", f"from {words_}", "") for step, words_ in enumerate(steps, start=1)),
        element("li", "of the probability moved to other tokens"),
        class_="swatches by-move",
    )
    return together(element("p", words, class_="look"), by_class, by_move)
