"""Figures of the analysis as data for `charts.js`, of what its `summary.json` holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forklock.analyze.classes import CLASSES
from forklock.analyze.examples import MOVED_MORE_THAN, SHOWN
from forklock.analyze.figures.classes import NUM_SYNTAX_SHOWN
from forklock.analyze.figures.curves import FEWEST_POSITIONS
from forklock.analyze.rows import MODELS
from forklock.report.charts import Spec

FILES = "analyze/figures"
BOTH: list[Spec] = [{"label": "base", "role": "base"}, {"label": "after training", "role": "student"}]
TERMS = ("gate", "head", "tail")
ERRORS = 2.0
"""Standard errors to either side."""


def analysis_figures(summary: dict[str, Any]) -> Iterator[Spec]:
    if any(summary.get("examples", {}).get(name) for name in SHOWN):
        yield _fork_and_lock(summary["examples"])
    yield _figure_06(summary)
    yield _moves(summary["moves"])
    yield _entropies(summary["classes"])
    yield _syntax(summary["syntax"])


def _fork_and_lock(examples: dict[str, Any]) -> Spec:
    """Figure 5 on real weights."""
    panels = []
    for name in SHOWN:
        one = examples[name]
        if one is None:
            continue
        candidates = one["candidates"]
        panels.append(
            {
                "kind": "bars",
                "title": f"A {name}: what comes next here? (%)",
                "before": f"{one['text_before'][-160:]}▁",
                "x": {"label": "next token, in the base model's order"},
                "code": True,
                "categories": [_blanks(candidate["token_text"]) for candidate in candidates],
                "cut": one["support_size"],
                "y": {"short": "probability", "percent": True, "zero": True, "unit": "%"},
                "series": [
                    {"points": [{"x": i, "y": c[f"{model}_probability"]} for i, c in enumerate(candidates)]}
                    for model in MODELS
                ],
            }
        )
        ranks = examples["mass_by_base_rank"][name]
        panels.append(
            {
                "kind": "bars",
                "title": f"All {one['num_positions_of_class']:,} {name}s, mean (%)",
                "categories": [str(row["rank"]) for row in ranks],
                "x": {"label": "next token by its rank in the base model"},
                "y": {"short": "probability", "percent": True, "zero": True, "unit": "%"},
                "series": [{"points": [_mean(i, row[model]) for i, row in enumerate(ranks)]} for model in MODELS],
            }
        )
    return {
        "id": "figure-fork-and-lock",
        "title": "A fork and a lock of this model",
        "look": (
            "Look at the bars right of the dashed line, which sampling cut off: training should shrink them. At a "
            "fork several choices should stay open, at a lock one token stand alone. The positions shown moved "
            f"further than {MOVED_MORE_THAN:.0%} of their class, and were not picked by eye."
        ),
        "series": BOTH,
        "panels": panels,
        "files": f"{FILES}/figure_05_fork_and_lock",
    }


def _figure_06(summary: dict[str, Any]) -> Spec:
    data, decoding = summary["figures"], summary["eval_decoding"]
    cut = f"evaluation temperature T (k={decoding['top_k']}, p={decoding['top_p']:g})"
    ranks = [rank for rank in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if rank <= summary["ranks"][-1]]

    def lines(title: str, key: str, x: Spec, y: Spec, points: list[dict[str, Any]]) -> Spec:
        series = [{"points": [_mean(point[key], point[model]) for point in points]} for model in MODELS]
        return {"kind": "lines", "title": title, "x": x, "y": y, "series": series}

    temperature = {"label": cut, "short": "T"}
    bins = [one for one in data["entropy_by_top_mass"] if any(_is_full(one[model]) for model in MODELS)]
    mass = {"short": "mass", "percent": True, "unit": "%"}
    panels = [
        lines(
            "(a) Mass of the most likely tokens (%)",
            "rank",
            {"label": "number of most likely tokens", "short": "rank", "log": True, "ticks": ranks},
            mass,
            data["cumulative_mass"],
        ),
        lines(
            "(b) Tokens that survive truncation",
            "temperature",
            temperature,
            {"short": "tokens", "unit": ""},
            data["surviving_tokens"],
        ),
        lines(
            "(c) Entropy after truncation (nats)",
            "temperature",
            temperature,
            {"short": "entropy", "unit": "nats"},
            data["entropy_after_truncation"],
        ),
        {
            "kind": "points",
            "title": f"(d) That entropy at T={decoding['temperature']:g}, by top-20 mass",
            "categories": [f"{100 * one['top_mass_from']:.4g}–\n{100 * one['top_mass_to']:.4g} %" for one in bins],
            "x": {"label": "mass of the 20 most likely tokens"},
            "y": {"short": "entropy", "unit": "nats"},
            "series": [
                {"points": [_mean(i, one[model]) for i, one in enumerate(bins) if _is_full(one[model])]}
                for model in MODELS
            ],
        },
    ]
    return {
        "id": "figure-06",
        "title": "Head and tail of the distribution (the paper's Figure 6)",
        "look": (
            "Look at (a) first: a higher curve after training means less mass on distractors. (b) and (c) show what "
            "temperature then has to work with. Bands are two standard errors, solutions taken as independent."
        ),
        "series": BOTH,
        "panels": panels,
        "files": f"{FILES}/figure_06",
    }


def _moves(moves: dict[str, dict[str, int]]) -> Spec:
    totals = {before: sum(moves[before].values()) for before in CLASSES}
    shown = [before for before in CLASSES if totals[before]]
    return {
        "id": "figure-moves",
        "title": "Where forks and locks went",
        "look": (
            "Each bar is one class of the base model; its parts say what those positions are after training. Locks "
            "that stay locks and forks that stay forks are what the paper predicts."
        ),
        "series": [{"label": f"{name} after training", "short": name, "role": name} for name in CLASSES],
        "panels": [
            {
                "kind": "stack",
                "horizontal": True,
                "title": "Positions of each class of the base model (%)",
                "categories": [f"{before} ({totals[before]:,})" for before in shown],
                "y": {"short": "share", "percent": True, "zero": True, "unit": "%", "range": [0, 1]},
                "series": [
                    {
                        "points": [
                            {"x": i, "y": moves[before][after] / totals[before], "notes": [f"{moves[before][after]:,}"]}
                            for i, before in enumerate(shown)
                        ]
                    }
                    for after in CLASSES
                ],
            }
        ],
        "files": f"{FILES}/figure_class_moves",
    }


def _entropies(classes: dict[str, Any]) -> Spec:
    shown = [name for name in ("all", *CLASSES) if classes[name]["num_positions"]]
    return {
        "id": "figure-entropies",
        "title": "What the entropy is made of (Eq. 30)",
        "look": (
            "Gate and tail are noise outside the tokens that sampling kept, the head is choice among them. Training "
            "should remove the gate and the tail, and leave a fork its head."
        ),
        "series": BOTH,
        "panels": [
            {
                "kind": "bars",
                "title": f"{name} ({classes[name]['num_positions']:,} positions), nats",
                "categories": list(TERMS),
                "y": {"short": "entropy", "zero": True, "unit": "nats"},
                "series": [
                    {"points": [_mean(i, classes[name][f"{term}_entropy"][model]) for i, term in enumerate(TERMS)]}
                    for model in MODELS
                ],
            }
            for name in shown
        ],
        "files": f"{FILES}/figure_entropy_terms",
    }


def _syntax(syntax: list[dict[str, Any]]) -> Spec:
    shown = syntax[:NUM_SYNTAX_SHOWN]
    return {
        "id": "figure-syntax",
        "title": "Which tokens are forks and locks",
        "look": (
            "Rows are kinds of Python token, most frequent first. Look for kinds far to the right: where a program is "
            "decided (forks), and where only one token is right (locks). Bars are two standard errors."
        ),
        "series": BOTH,
        "panels": [
            {
                "kind": "points",
                "horizontal": True,
                "title": f"Positions that are {name} (%)",
                "categories": [f"{one['syntax']} ({one['num_positions']:,})" for one in shown],
                "y": {"short": "share", "percent": True, "zero": True, "unit": "%"},
                "series": [
                    {"points": [_share(i, one[f"share_of_{name}"][model]) for i, one in enumerate(shown)]}
                    for model in MODELS
                ],
            }
            for name in ("forks", "locks")
        ],
        "files": f"{FILES}/figure_syntax",
    }


def _mean(x: float, found: dict[str, Any]) -> Spec:
    mean, error = found["mean"], found["standard_error"]
    if mean is None or error is None:
        return {"x": x, "y": mean}
    return {"x": x, "y": mean, "low": mean - ERRORS * error, "high": mean + ERRORS * error}


def _share(x: float, found: dict[str, Any]) -> Spec:
    """Its error bar ends where shares do."""
    point = _mean(x, found)
    return {**point, "low": max(0.0, point["low"]), "high": min(1.0, point["high"])} if "low" in point else point


def _is_full(one: dict[str, Any]) -> bool:
    return bool(one["num_positions"] >= FEWEST_POSITIONS)


def _blanks(text: str) -> str:
    return text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
