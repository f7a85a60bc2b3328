"""The stages of a run: what each reads, what of the recipe decides its work, and which of them models share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from forklock import analyze, evaluate, prompts, synthesize, train, verified_only
from forklock.config import Recipe
from forklock.decoding import Decoding
from forklock.evaluate import PointPlan, Session
from forklock.model_path import local_folder
from forklock.run_dir import Stage, StageDir
from forklock.seeds import derive_seed
from forklock.students import BASE, OWN, Student, base_decodings, students_of

MODEL = "model"
"""The name under which a stage reads the one that made the model it works with; none where that is the recipe's."""

ANALYSIS = "analyze"


@dataclass
class Plan:
    """All stages in an order in which they can run, and what each is for."""

    stages: dict[str, Stage] = field(default_factory=dict)
    syntheses: dict[str, str] = field(default_factory=dict)
    """Of each student: the stage of its last round."""
    trainings: dict[str, str] = field(default_factory=dict)
    points: dict[str, dict[PointPlan, str]] = field(default_factory=dict)
    """Of `base` and of each student: the stage of each point."""
    _names: dict[str, str] = field(default_factory=dict)
    """What decides a stage's work -> the stage that does it."""

    def add(self, kind: str, stage: Stage) -> str:
        """The stage's name, or that of one added before which does the same work."""
        identity = json.dumps(
            [kind, stage.config, dict(stage.reads), sorted(map(str, stage.inputs.values()))], sort_keys=True
        )
        name = self._names.setdefault(identity, stage.name)
        if name == stage.name:
            self.stages[name] = stage
        return name

    def closure(self, wanted: Iterable[str]) -> list[Stage]:
        """These stages and all that they read, in order."""
        needed: set[str] = set()
        todo = list(wanted)
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += self.stages[name].reads.values()
        return [stage for name, stage in self.stages.items() if name in needed]


def plan_stages(
    recipe: Recipe,
    students: Iterable[Student],
    session: Session | None = None,
    base: Iterable[Decoding] = (),
) -> Plan:
    """Every stage of these students and of the frozen model. Points that run share a session.

    `base` are decodings of the frozen model besides those that the recipe's evaluation asks for.
    """
    students = list(students)
    plan, shared = Plan(), session or Session(recipe)
    plan.add("prompts", _prompts(recipe))
    for student in students:
        _add_rounds(plan, student, shared)
    points = {BASE: evaluate.plan_points(recipe, BASE, [*base_decodings(recipe), *base])}
    for student in students:
        points[student.name] = evaluate.plan_points(recipe, student.name, student.decodings, student.checkpoints)
    for model, its_own in points.items():
        reads = {} if model == BASE else {MODEL: plan.trainings[model]}
        plan.points[model] = {point: plan.add("point", _point(recipe, point, shared, reads)) for point in its_own}
    if OWN in plan.trainings:
        plan.add("analyze", _analyze(recipe, plan.trainings[OWN]))
    return plan


def plan_points(recipe: Recipe, points: Iterable[PointPlan], session: Session | None = None) -> Plan:
    """Points of the frozen model alone, played students among them: none reads what the run makes."""
    plan, shared = Plan(), session or Session(recipe)
    plan.points[BASE] = {point: plan.add("point", _point(recipe, point, shared, {})) for point in points}
    return plan


def _add_rounds(plan: Plan, student: Student, session: Session) -> None:
    """Each round's frozen model is the student of the one before."""
    model: dict[str, str] = {}
    for number in range(1, student.recipe.rounds + 1):
        synthesis = plan.add("synthesize", _synthesize(student, number, model))
        reads = {"synthesize": synthesis, **model}
        if student.recipe.train.only_verified_samples:
            reads[train.VERIFIED] = plan.add(verified_only.KIND, _verify(student, number, synthesis, session))
        training = plan.add("train", _train(student, number, reads))
        model = {MODEL: training}
        plan.syntheses[student.name], plan.trainings[student.name] = synthesis, training


def own_synthesis(recipe: Recipe, number: int) -> str:
    """The stage that drew the samples of the recipe's own student in that round."""
    return _name("synthesize", students_of(recipe)[0], number)


def _prompts(recipe: Recipe) -> Stage:
    return Stage(
        name="prompts",
        body=partial(prompts.run, recipe),
        config=prompts.stage_config(recipe),
        inputs=prompts.input_files(recipe.prompts),
    )


def _synthesize(student: Student, number: int, model: Mapping[str, str]) -> Stage:
    recipe = _of_round(student.recipe, number)
    return Stage(
        name=_name("synthesize", student, number),
        body=_on_model(synthesize.run, recipe),
        config=synthesize.stage_config(recipe, is_model_made_by_run=bool(model)),
        reads={"prompts": "prompts", **model},
        derived=("summary.json",),
        inputs=_model_input(recipe, model) | _template_input(recipe),
    )


def _verify(student: Student, number: int, synthesis: str, session: Session) -> Stage:
    """Of a baseline alone: the one stage that lets verdicts pick what is trained on."""
    return Stage(
        name=_name(verified_only.KIND, student, number),
        body=partial(verified_only.run, student.recipe, session),
        config=verified_only.stage_config(student.recipe),
        reads={"synthesize": synthesis},
        derived=("summary.json",),
    )


def _train(student: Student, number: int, reads: Mapping[str, str]) -> Stage:
    recipe = _of_round(student.recipe, number)
    run = partial(train.run, passed_in=verified_only.passed_keys) if train.VERIFIED in reads else train.run
    return Stage(
        name=_name("train", student, number),
        body=_on_model(run, recipe),
        config=train.stage_config(recipe, is_model_made_by_run=MODEL in reads),
        reads=reads,
        derived=("curve.csv", "summary.json"),
        inputs=_model_input(recipe, reads),
    )


def _point(recipe: Recipe, point: PointPlan, session: Session, model: Mapping[str, str]) -> Stage:
    def run(recipe: Recipe, stage_dir: StageDir) -> None:
        evaluate.run(recipe, point, session, stage_dir)

    return Stage(
        name=point.stage_name,
        body=_on_model(run, recipe, train.folder_at(point.checkpoint)),
        config=point.config(recipe),
        reads=model,
        derived=("summary.json",),
        inputs=point.data_files(recipe) | _template_input(recipe) | _model_input(recipe, model),
    )


def _analyze(recipe: Recipe, training: str) -> Stage:
    """Of the recipe's own student, after its last round, on samples of the first: those that the base model drew."""
    return Stage(
        name=ANALYSIS,
        body=partial(analyze.run, recipe),
        config=analyze.stage_config(recipe),
        reads={"synthesize": "synthesize", "train": training},
        version=3,
        derived=("summary.json", "figures"),
        inputs=_model_input(recipe, {}) | analyze.input_files(recipe),
    )


def _of_round(recipe: Recipe, number: int) -> Recipe:
    """Each round has noise of its own: what a model was trained to say would win against the same noise again."""
    return recipe if number == 1 else recipe.model_copy(update={"seed": derive_seed(recipe.seed, "round", number)})


def _name(kind: str, student: Student, number: int) -> str:
    """The recipe's own student has the plain names; those of others stand together in a folder."""
    name = kind if student.name == OWN else f"students/{kind}-{student.name}"
    return name if number == 1 else f"{name}-round{number}"


def _on_model(
    run: Callable[[Recipe, StageDir], None], recipe: Recipe, folder: str = train.folder_at(None)
) -> Callable[[StageDir], None]:
    """A body that works with the model which the run made for it, if its stage reads one."""

    def body(stage_dir: StageDir) -> None:
        if not stage_dir.reads(MODEL):
            run(recipe, stage_dir)
            return
        path = str(stage_dir.upstream(MODEL) / folder)
        made = recipe.model.model_copy(update={"path": path, "revision": None})
        run(recipe.model_copy(update={"model": made}), stage_dir)

    return body


def _model_input(recipe: Recipe, reads: Mapping[str, str]) -> dict[str, Path]:
    """A folder counts by its content; a name on the hub counts by its commit, which stands in the configuration."""
    folder = None if MODEL in reads else local_folder(recipe.model.path)
    return {} if folder is None else {"model.path": folder}


def _template_input(recipe: Recipe) -> dict[str, Path]:
    template = recipe.prompts.template
    return {} if template is None else {"prompts.template": Path(template)}
