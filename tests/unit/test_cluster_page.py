"""The worked examples of docs/cluster.md, reckoned anew by the commands that the page gives; and its scripts."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forklock import recipes
from forklock.planning.estimate import Estimate, estimate
from forklock.planning.report import _bytes, _duration, _large

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
RECIPE = "qwen3-30b-instruct"
SLOW = "plan.network_gib_per_s=11.6"


def machines(folder: Path) -> Path:
    """The file that the page gives."""
    [content] = re.findall(r"^    # b200\.toml\n((?:    .*\n)+)", PAGE, re.MULTILINE)
    (folder / "b200.toml").write_text(re.sub("^    ", "", content, flags=re.MULTILINE))
    return folder / "b200.toml"


def commands() -> list[list[str]]:
    """What each sets."""
    found = re.findall(rf"^    forklock plan {RECIPE} b200\.toml ((?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    return [shlex.split(options.replace("\\\n", " "))[1::2] for options in found]


def column(number: int) -> dict[str, str]:
    """Of the page's table, by the row's name; `the same` is what the column before it has."""
    [table] = re.findall(r"^\| \| 8 GPUs .*\n\| --- .*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows: dict[str, str] = {}
    for line in table.splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for place in range(1, len(cells)):
            cells[place] = cells[place].replace("the same", cells[place - 1])
        rows[name] = cells[number]
    return rows


def seconds(plan: Estimate, kind: str) -> float:
    return plan.seconds([work for work in plan.work if work.kind == kind])[0]


def reckoned(plan: Estimate, slow: Estimate, with_targets: Estimate) -> Iterator[tuple[str, str]]:
    [drawn] = [work for work in plan.work if work.kind == "synthesize"]
    [trained] = [work for work in plan.work if work.kind == "train"]
    [targets] = [work for work in with_targets.work if work.kind == "synthesize"]
    points = [work for work in plan.work if work.kind == "evaluate"]
    sums = plan.as_json()["total"]
    yield "tokens drawn for training", _large(drawn.num_tokens)
    yield "tokens trained on", f"{_large(trained.num_tokens)} in {trained.num_steps:,} steps"
    answers = sum(point.num_graded for point in points)
    yield "tokens drawn in evaluation", f"{_large(sum(point.num_tokens for point in points))}, {answers:,} answers"
    yield "synthesis", _duration(seconds(plan, "synthesize"))
    yield "training", _duration(seconds(plan, "train"))
    yield "evaluation, base and student", _duration(seconds(plan, "evaluate"))
    yield "all, without prompts and analysis", _duration(sums["seconds"])
    yield "disk", f"{_bytes(sums['num_bytes'])}, and {_bytes(plan.scratch_bytes())} more while it trains"
    yield (
        "of it samples for training (q_s: `synthesize.record_target`)",
        f"{_bytes(drawn.num_bytes)}; {_bytes(targets.num_bytes)} with q_s",
    )
    sampling, training = (plan.memory[name].total / 2**30 for name in ("sampling", "training"))
    yield "memory of a GPU, sampling / training", f"{sampling:.1f} / {training:.1f} GiB"
    yield "bottleneck", bottleneck(plan)
    all_of_it = _duration(slow.as_json()["total"]["seconds"])
    yield f"with `--set {SLOW}` (one link of 100 Gbit/s)", f"{all_of_it}: {bottleneck(slow)}"


def bottleneck(plan: Estimate) -> str:
    found = plan.bottleneck()
    assert found is not None
    return f"{found[0]} ({_duration(found[1])})"


@pytest.mark.parametrize("number", range(3))
def test_the_page_has_what_the_plan_says(number: int, tmp_path: Path) -> None:
    recipe = [RECIPE, str(machines(tmp_path))]
    plan, slow, with_targets = (
        estimate(recipes.load(recipe, [*commands()[number], *more]), tmp_path / "run")
        for more in ([], [SLOW], ["synthesize.record_target=true"])
    )
    assert column(number) == dict(reckoned(plan, slow, with_targets))


def test_the_scripts_for_slurm_are_bash() -> None:
    section = PAGE.partition("\n## Slurm\n")[2]
    scripts = re.findall(r"^ {4}\S.*\n(?: {4}.*\n)*", section, re.MULTILINE)
    assert len(scripts) == 2
    for script in scripts:
        read = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")
