"""The world agrees with itself: right styles are right, wrong idioms are wrong, splits share nothing, seeds decide."""

from __future__ import annotations

import copy
import itertools
from random import Random
from typing import Any

import pytest
from sandbox_cases import open_sandbox

from forklock.code_blocks import last_code_block
from forklock.microworld.other_operations import OPERATIONS
from forklock.microworld.problems import (
    SPLITS,
    Problem,
    draw_problems,
    make_problem,
    numbers_for,
    split_of,
)
from forklock.microworld.programs import as_answer, write_in_styles, write_program
from forklock.microworld.rows import NUM_EVALUATION_PROBLEMS

NUM_DRAWN = 600


def alone(name: str, number: int, seed: int = 0) -> Problem:
    """A problem of this one operation."""
    chance = Random(seed)
    return next(found for _ in range(99) if (found := make_problem("alone", (name,), (number,), chance)))


def passes(program: str, problem: Problem) -> bool:
    """For the world's own programs alone: they are run in this process."""
    names: dict[str, Any] = {}
    exec(program, names)
    for value, expected in zip(problem.inputs, problem.outputs, strict=True):
        try:
            found = names["solve"](copy.deepcopy(value))
        except (TypeError, ValueError, IndexError, AttributeError):
            return False
        if type(found) is not type(expected) or found != expected:
            return False
    return True


@pytest.mark.parametrize("name", OPERATIONS)
def test_right_styles_pass_and_the_wrong_idiom_fails_whatever_the_number(name: str) -> None:
    operation, chance = OPERATIONS[name], Random(1)
    for number, seed in itertools.product(numbers_for(name), range(5)):
        problem = alone(name, number, seed)
        for style in operation.right:
            assert passes(write_in_styles(problem, [style], chance), problem), style
        if operation.wrong is not None:
            assert not passes(write_in_styles(problem, [operation.wrong], chance), problem), operation.wrong


def test_right_programs_of_several_operations_pass_whatever_their_names() -> None:
    chance = Random(2)
    for problem in draw_problems("ssd", 5, NUM_DRAWN):
        program = write_program(problem, 0.0, chance)
        assert passes(program, problem), f"{problem.statement}\n{program}"


def test_references_pass_in_the_sandbox() -> None:
    """What is graded is what a model would have to write, by the ordinary way from answer to verdict."""
    chance = Random(3)
    with open_sandbox() as sandbox:
        for name, operation in OPERATIONS.items():
            problem = alone(name, numbers_for(name)[-1])
            calls = [[value] for value in problem.inputs]
            for style in operation.right:
                code = last_code_block(as_answer(write_in_styles(problem, [style], chance)))
                assert code is not None
                values = [result.value for result in sandbox.call_function(code, "solve", calls)]
                assert values == list(problem.outputs), code


def test_there_are_as_many_operations_as_promised_and_their_holes_are_known() -> None:
    assert len(OPERATIONS) >= 30
    assert sum(operation.wrong is not None for operation in OPERATIONS.values()) >= 20
    for operation in OPERATIONS.values():
        assert len(operation.phrases) >= 3
        assert len(operation.right) >= 3
        for phrase in operation.phrases:
            assert ("{k}" in phrase) == operation.has_number


def test_no_two_splits_share_a_sequence_of_operations() -> None:
    for seed in range(3):
        drawn = {split: {problem.operations for problem in draw_problems(split, seed, NUM_DRAWN)} for split in SPLITS}
        for one, other in itertools.combinations(SPLITS, 2):
            assert not drawn[one] & drawn[other]
        assert all(split_of(operations) == split for split in SPLITS for operations in drawn[split])


def test_each_split_has_operations_alone_and_four_together() -> None:
    for split in SPLITS:
        lengths = [len(problem.operations) for problem in draw_problems(split, 0, NUM_DRAWN)]
        assert set(lengths) == {1, 2, 3, 4}
        assert len({name for name in OPERATIONS if split_of((name,)) == split}) >= 6


def test_the_evaluation_set_is_large_enough_and_nothing_is_asked_twice() -> None:
    problems = list(draw_problems("eval", 0, NUM_EVALUATION_PROBLEMS))
    assert len(problems) == NUM_EVALUATION_PROBLEMS >= 400
    assert len({problem.statement for problem in problems}) == len(problems)
    assert len({problem.problem_id for problem in problems}) == len(problems)
    assert {problem.difficulty for problem in problems} == {"easy", "medium", "hard"}


def test_a_seed_decides_its_problems_and_fewer_are_the_first_of_more() -> None:
    many = list(draw_problems("eval", 7, 60))
    assert list(draw_problems("eval", 7, 20)) == many[:20]
    assert {problem.statement for problem in draw_problems("eval", 8, 60)} != {problem.statement for problem in many}


def test_every_problem_has_edge_cases_and_answers_that_differ() -> None:
    for problem in draw_problems("eval", 1, NUM_DRAWN):
        kind = OPERATIONS[problem.operations[0]].takes
        assert len(problem.inputs) == len(problem.outputs) >= 10
        assert len(set(map(repr, problem.outputs))) >= 3
        if kind == "list":
            assert [] in problem.inputs
            assert any(len(set(value)) < len(value) for value in problem.inputs)
        assert kind != "number" or min(problem.inputs) < 0 <= max(problem.inputs)


def test_wrong_idioms_outnumber_any_one_right_style_and_come_at_their_share() -> None:
    """The share is binomial; four standard deviations."""
    share, chance, num = 0.5, Random(4), 4000
    problem = alone("sort_up", 0)
    failed = sum(not passes(write_program(problem, share, chance), problem) for _ in range(num))
    assert abs(failed / num - share) < 4 * (share * (1 - share) / num) ** 0.5
    assert share > (1 - share) / len(OPERATIONS["sort_up"].right)
