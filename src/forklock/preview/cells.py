"""The settings that a recipe asks about: decodings of training, each with those of evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from forklock.config import Recipe, TruncationConfig
from forklock.decoding import Decoding
from forklock.errors import ForklockError
from forklock.evaluate import PointPlan
from forklock.students import BASE, students_of


class PreviewError(ForklockError):
    """The recipe's engine can't play students."""


def check_engine(recipe: Recipe) -> None:
    """Before anything is loaded."""
    if recipe.engine.kind != "transformers":
        raise PreviewError(
            f"engine.kind = \"{recipe.engine.kind}\" can't play a student: it decodes its model's own distribution and "
            "no other. Preview with --set engine.kind=transformers, or with a smaller number of problems there"
        )
    if recipe.cluster.address is not None:
        raise PreviewError(
            f"cluster.address = {recipe.cluster.address!r}: a student is played by a single engine.kind = "
            "\"transformers\" on the machine of the command; a cluster's pool of engines can't play. Preview with "
            "--set cluster.address=none"
        )


def cells_of(recipe: Recipe) -> list[tuple[Decoding, Decoding]]:
    """(training, evaluation): the recipe's sweep, where it has one; else its own student and those it names."""
    sweep = recipe.sweep
    if sweep is None:
        students = students_of(recipe)
        found = [(each.recipe.synthesize.decoding, decoding) for each in students for decoding in each.decodings]
        return list(dict.fromkeys(found))
    trained = _grid(sweep.train_temperatures, sweep.train_truncations, recipe.synthesize.decoding)
    evaluated = _grid(sweep.eval_temperatures, sweep.eval_truncations, recipe.evaluate.student_decoding)
    return list(product(trained, evaluated))


def played_points(recipe: Recipe) -> list[PointPlan]:
    return [
        PointPlan(BASE, benchmark, evaluation, plays=training)
        for benchmark in recipe.evaluate.benchmarks
        for training, evaluation in cells_of(recipe)
    ]


def base_points(recipe: Recipe) -> list[PointPlan]:
    """The frozen model at its own decoding, which predictions stand beside."""
    return [PointPlan(BASE, benchmark, recipe.evaluate.base_decoding) for benchmark in recipe.evaluate.benchmarks]


def _grid(temperatures: Iterable[float], truncations: Iterable[TruncationConfig], own: Decoding) -> list[Decoding]:
    """An absent axis stays at the recipe's value."""
    cuts = [(cut.top_k, cut.top_p) for cut in truncations] or [(own.top_k, own.top_p)]
    grid = [Decoding(t, top_k, top_p) for top_k, top_p in cuts for t in tuple(temperatures) or (own.temperature,)]
    return list(dict.fromkeys(grid))
