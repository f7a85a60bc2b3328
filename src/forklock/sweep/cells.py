"""The cells of a sweep: each is one evaluation point of one trained model. Which stages they share is the plan's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from forklock.config import Recipe, StudentConfig, SweepConfig
from forklock.decoding import Decoding
from forklock.errors import ForklockError
from forklock.evaluate import PointPlan, Session
from forklock.stages import Plan, plan_stages
from forklock.students import Student, changed, slug, students_of


class SweepError(ForklockError):
    """A recipe that cannot be swept."""

    exit_code = 2


@dataclass(frozen=True)
class Training:
    """What decides a trained model of the sweep, beside the recipe."""

    decoding: Decoding
    """T_train and its truncation."""
    target: Literal["hard", "soft"]
    seed: int


@dataclass(frozen=True)
class Cell:
    training: Training
    point: PointPlan
    stage: str
    """Of the evaluation point; cells that agree with another model of the recipe share that one's."""

    @property
    def effective_temperature(self) -> float:
        """T_eff = T_train T_eval (Section 3.4)."""
        return self.training.decoding.temperature * self.point.decoding.temperature


@dataclass(frozen=True)
class SweepPlan:
    """Everything in a run folder whose recipe has a sweep, and what of it is the sweep's."""

    plan: Plan
    cells: tuple[Cell, ...]

    @property
    def wanted(self) -> list[str]:
        """The frozen model's points and the cells."""
        return [*self.base_points.values(), *(cell.stage for cell in self.cells)]

    @property
    def base_points(self) -> dict[PointPlan, str]:
        return self.plan.points["base"]


def plan_sweep(recipe: Recipe, session: Session | None = None) -> SweepPlan:
    """The recipe's own models come first, so that cells share what those have done in the same folder."""
    sweep = sweep_of(recipe)
    trainings = dict(_trainings(recipe, sweep))
    models = students_of(recipe)
    if taken := {student.name for student in models} & trainings.keys():
        raise SweepError(f"students.{taken.pop()}: the sweep has a cell of that name; give the student another")
    decodings = _decodings(recipe, sweep)
    students = [
        Student(name, _with(recipe, training), decodings, _checkpoints(recipe, sweep))
        for name, training in trainings.items()
    ]
    plan = plan_stages(recipe, [*models, *students], session, decodings)
    cells = [
        Cell(training, point, stage)
        for name, training in trainings.items()
        for point, stage in plan.points[name].items()
    ]
    return SweepPlan(plan, tuple(cells))


def whole_plan(recipe: Recipe, session: Session | None = None) -> Plan:
    """All that a recipe asks for, with its sweep."""
    if recipe.sweep is None:
        return plan_stages(recipe, students_of(recipe), session)
    return plan_sweep(recipe, session).plan


def stages_of_sweep(recipe: Recipe) -> frozenset[str]:
    """The stages that cells and the frozen model's points need; none without a sweep. The recipe may ask for more."""
    if recipe.sweep is None:
        return frozenset()
    planned = plan_sweep(recipe)
    return frozenset(stage.name for stage in planned.plan.closure(planned.wanted))


def sweep_of(recipe: Recipe) -> SweepConfig:
    if recipe.sweep is None:
        raise SweepError(f"recipe {recipe.name}: has no [sweep]; docs/sweeps.md says what one may hold")
    return recipe.sweep


def _trainings(recipe: Recipe, sweep: SweepConfig) -> Iterator[tuple[str, Training]]:
    """Names follow from the cell alone: a wider grid keeps the folders of the narrower one."""
    own = recipe.synthesize.decoding
    truncations = [(cut.top_k, cut.top_p) for cut in sweep.train_truncations] or [(own.top_k, own.top_p)]
    for (top_k, top_p), temperature, target, seed in itertools.product(
        truncations,
        sweep.train_temperatures or (own.temperature,),
        sweep.targets or (recipe.train.target,),
        sweep.seeds or (recipe.seed,),
    ):
        training = Training(Decoding(temperature, top_k, top_p), target, seed)
        is_soft, is_other_seed = target == "soft", seed != recipe.seed
        yield f"{slug(training.decoding)}{'-soft' * is_soft}{f'-seed{seed}' * is_other_seed}", training


def _with(recipe: Recipe, training: Training) -> Recipe:
    return changed(recipe, StudentConfig(train_decoding=training.decoding, target=training.target, seed=training.seed))


def _decodings(recipe: Recipe, sweep: SweepConfig) -> tuple[Decoding, ...]:
    own = recipe.evaluate.student_decoding
    truncations = [(cut.top_k, cut.top_p) for cut in sweep.eval_truncations] or [(own.top_k, own.top_p)]
    temperatures = sweep.eval_temperatures or (own.temperature,)
    return tuple(Decoding(temperature, *cut) for cut in truncations for temperature in temperatures)


def _checkpoints(recipe: Recipe, sweep: SweepConfig) -> tuple[int, ...]:
    """Those before the last step, after which the model itself stands."""
    if not sweep.all_checkpoints:
        return ()
    steps, every = recipe.train.steps, recipe.train.checkpoint_every_steps
    assert steps is not None
    assert every is not None, "checked with the recipe"
    return tuple(range(every, steps, every))
