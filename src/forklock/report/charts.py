"""Figures of an evaluation and of training, as data for `charts.js`: what is drawn, and one sentence how to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forklock.evaluate.figures import curves, fixed_stages, shown_contests
from forklock.evaluate.metrics import ALL
from forklock.report.contents import Training
from forklock.students import BASE, OWN

Spec = dict[str, Any]
MOST_LOSSES = 90
"""Points of a loss curve; more are averaged in equal windows."""
_OTHERS = ("other1", "other2", "other3")
_GRIDS = ("grid1", "grid2", "grid3")


def temperatures(name: str, benchmark: dict[str, Any], pass_k: Sequence[int]) -> Spec:
    """pass@k over the evaluation temperature (the paper's Figure 2)."""
    found = sorted(curves(benchmark), key=lambda curve: curve.is_light)
    roles = _roles([(curve.points[0]["model"], curve.is_light) for curve in found])
    own = fixed_stages(benchmark)
    panels = [
        {
            "kind": "lines",
            "title": f"pass@{k} (%)",
            "x": {"label": "evaluation temperature T", "short": "T"},
            "y": {"short": f"pass@{k}", "percent": True, "unit": "%"},
            "series": [
                {"points": [_point(point, f"pass@{k}", own) for point in curve.points if _has(point, f"pass@{k}")]}
                for curve in found
            ],
        }
        for k in pass_k
    ]
    return {
        "id": f"figure-temperatures-{name}",
        "title": f"{name}: pass@k over temperature",
        "look": (
            "Look at the best point of each base curve against the ringed point of each student: only a student above "
            "all of the base's curves says more than a better decoding would. Bands are 95 % intervals; a ring marks a "
            "model's own decoding, set beforehand."
        ),
        "series": [{"label": curve.label, "role": role} for curve, role in zip(found, roles, strict=True)],
        "panels": panels,
        "files": f"figures/temperatures-{name}",
    }


def gains(name: str, benchmark: dict[str, Any], pass_k: Sequence[int]) -> Spec:
    """Student minus base, by difficulty."""
    contests = shown_contests(benchmark)
    groups = {group: found["num_problems"] for group, found in benchmark["points"][0]["pass_at_k"].items()}
    kinds = list(dict.fromkeys((contest["model"], contest["base"]) for contest in contests))
    rivals = {"usual": "base at its own decoding", "temperature": "base at its best temperature"}
    panels = []
    for k in pass_k:
        series = []
        for kind in kinds:
            contest = next(each for each in contests if (each["model"], each["base"], each["k"]) == (*kind, k))
            series.append({"points": [_bounds(i, contest["differences"][group]) for i, group in enumerate(groups)]})
        panels.append(
            {
                "kind": "points",
                "title": f"pass@{k} (points)",
                "categories": [f"{group}\n({number:,})" for group, number in groups.items()],
                "y": {"short": "difference", "percent": True, "signed": True, "zero": True, "unit": "points"},
                "series": series,
            }
        )
    models = list(dict.fromkeys(model for model, _ in kinds))
    roles = dict(zip(models, _roles([(model, False) for model in models]), strict=True))
    return {
        "id": f"figure-gains-{name}",
        "title": f"{name}: gain by difficulty",
        "look": (
            "Look at whether a bar crosses the zero line: if it does, these problems do not tell the student and the "
            "base apart. Bars are 95 % intervals of differences paired by problem."
        ),
        "series": [
            {
                "label": f"{benchmark['labels'][model]} minus {rivals[base]}",
                "role": roles[model],
                "hollow": base == "temperature",
            }
            for model, base in kinds
        ],
        "panels": panels,
        "files": f"figures/gains-{name}",
    }


def losses(trainings: Mapping[str, Training], labels: Mapping[str, str]) -> Spec | None:
    """Cross-entropy on the model's own samples, step by step."""
    shown = {name: training for name, training in trainings.items() if training.curve}
    if not shown:
        return None
    roles = _roles([(name, False) for name in shown])
    series = [{"points": list(_thinned(training.curve))} for training in shown.values()]
    return {
        "id": "figure-loss",
        "title": "Training loss",
        "look": (
            "Look for a curve that settles without jumps. Its level says little: the samples hold noise that no "
            "model can predict, and soft and hard targets have different floors. Long curves are means over windows."
        ),
        "series": [
            {"label": f"{labels[name]} ({(training.summary or {}).get('target', 'hard')} targets)", "role": role}
            for (name, training), role in zip(shown.items(), roles, strict=True)
        ],
        "panels": [
            {
                "kind": "lines",
                "dense": True,
                "title": "loss a token (nats)",
                "x": {"label": "step", "short": "step"},
                "y": {"short": "loss", "unit": ""},
                "series": series,
            }
        ],
    }


def _thinned(curve: list[dict[str, float]]) -> Iterator[Spec]:
    size = -(-len(curve) // MOST_LOSSES)
    for start in range(0, len(curve), size):
        window = curve[start : start + size]
        yield {"x": window[-1]["step"], "y": sum(row["loss"] for row in window) / len(window)}


def _roles(models: Sequence[tuple[str, bool]]) -> list[str]:
    """A colour, dash and marker for each curve; those of the base's other truncations are light."""
    others = iter(_OTHERS * len(models))
    grids = iter(_GRIDS * len(models))
    fixed = {BASE: "base", OWN: "student"}
    return [next(grids) if is_light else fixed.get(model) or next(others) for model, is_light in models]


def _has(point: dict[str, Any], metric: str) -> bool:
    return point["pass_at_k"][ALL][metric] is not None


def _point(point: dict[str, Any], metric: str, own: set[str]) -> Spec:
    found = _bounds(point["decoding"]["temperature"], point["pass_at_k"][ALL][metric])
    return {**found, "own": True, "notes": ["its own decoding"]} if point["stage"] in own else found


def _bounds(x: float, found: Mapping[str, float] | None) -> Spec:
    return (
        {"x": x, "y": None}
        if found is None
        else {"x": x, "y": found["mean"], "low": found["low"], "high": found["high"]}
    )
