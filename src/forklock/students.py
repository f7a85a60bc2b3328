"""The models that a recipe trains: its own, and those that it names besides."""

from __future__ import annotations

from dataclasses import dataclass

from forklock.config import Recipe, StudentConfig
from forklock.decoding import Decoding

BASE = "base"
"""Stands for the frozen model where a student's name would stand."""
OWN = "student"
"""The model that the recipe describes by itself."""


@dataclass(frozen=True)
class Student:
    """One trained model. Which stages it shares with others follows from their configurations alone."""

    name: str
    recipe: Recipe
    """As if this model were its only one."""
    decodings: tuple[Decoding, ...]
    """How it is evaluated, its own decoding first."""
    checkpoints: tuple[int, ...] = ()
    """Steps at which it is evaluated besides, before its training is over."""


def students_of(recipe: Recipe) -> list[Student]:
    """The recipe's own model, then those of its `students` table."""
    named = [(name, changed(recipe, student)) for name, student in recipe.students.items()]
    return [_with_its_decodings(name, changed) for name, changed in [(OWN, recipe), *named]]


def replicates_of(recipe: Recipe) -> list[tuple[str, ...]]:
    """Names of students that differ in the seed of their samples and training alone; none where nothing is repeated."""
    alike: dict[str, list[str]] = {}
    for student in students_of(recipe):
        key = student.recipe.model_copy(update={"seed": 0}).model_dump_json()
        alike.setdefault(key, []).append(student.name)
    return [tuple(names) for names in alike.values() if len(names) > 1]


def labels_of(recipe: Recipe) -> dict[str, str]:
    """What tables, figures and sentences call each model. A baseline that is not self-distillation is no `+SSD`."""
    kind = "verified-only" if recipe.train.only_verified_samples else "+SSD"
    return {BASE: BASE, OWN: kind, **{name: f"{kind} {name}" for name in recipe.students}}


def base_decodings(recipe: Recipe) -> list[Decoding]:
    """The frozen model's own decoding, its temperatures, and its grid."""
    settings = recipe.evaluate
    found = [settings.base_decoding, *_at(settings.base_temperatures, settings.base_decoding)]
    if (grid := settings.base_grid) is not None:
        found += [Decoding(t, cut.top_k, cut.top_p) for cut in grid.truncations for t in grid.temperatures]
    return list(dict.fromkeys(found))


def slug(decoding: Decoding) -> str:
    """For names of folders."""
    temperature, top_p = (repr(float(value)).removesuffix(".0") for value in (decoding.temperature, decoding.top_p))
    return f"t{temperature}-k{decoding.top_k}-p{top_p}"


def changed(recipe: Recipe, student: StudentConfig) -> Recipe:
    """The recipe as if this student were its own. Without top-k there is no target to record, whatever it says."""
    changes: dict[str, object] = {}
    if (decoding := student.train_decoding) is not None:
        has_target = recipe.synthesize.record_target and (decoding.top_k > 0 or decoding.is_greedy)
        changes["synthesize"] = recipe.synthesize.model_copy(update={"decoding": decoding, "record_target": has_target})
    if student.target is not None:
        changes["train"] = recipe.train.model_copy(update={"target": student.target})
    if student.eval_decoding is not None:
        changes["evaluate"] = recipe.evaluate.model_copy(update={"student_decoding": student.eval_decoding})
    if student.seed is not None:
        changes["seed"] = student.seed
    if student.rounds is not None:
        changes["rounds"] = student.rounds
    return recipe.model_copy(update=changes)


def _with_its_decodings(name: str, recipe: Recipe) -> Student:
    own = recipe.evaluate.student_decoding
    decodings = dict.fromkeys([own, *_at(recipe.evaluate.student_temperatures, own)])
    return Student(name, recipe, tuple(decodings))


def _at(temperatures: tuple[float, ...], decoding: Decoding) -> list[Decoding]:
    return [Decoding(temperature, decoding.top_k, decoding.top_p) for temperature in temperatures]
