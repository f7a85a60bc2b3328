"""A plan for the terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from forklock.planning.estimate import Estimate
from forklock.planning.rates import Known
from forklock.planning.work import StageWork

UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
MAGNITUDES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))


def render(plan: Estimate) -> RenderableType:
    parts: list[RenderableType] = [*_heading(plan), "", _stages(plan), "", _memory(plan), "", *_words(plan)]
    return Group(*parts)


def _heading(plan: Estimate) -> Iterator[RenderableType]:
    shape = plan.shape
    active = "" if not shape.dims.num_experts else f" ({_large(shape.num_active_parameters)} active)"
    yield Text(f"model: {_large(shape.num_parameters)} parameters{active}, by {shape.source}")
    yield Text(f"prompts: {_with_source(plan.prompts.number)}")
    rates = plan.rates
    yield Text(
        f"a completion: {_with_source(rates.synthesis_tokens)} tokens; in evaluation: "
        f"{_with_source(rates.evaluation_tokens)}"
    )
    yield Text(
        f"a device draws {_with_source(rates.sampling_tokens_per_s)} tokens/s, trains on "
        f"{_with_source(rates.training_tokens_per_s)}; a worker grades {_with_source(rates.graded_per_s)} answers/s"
    )
    machines = plan.machines
    if machines.num_nodes > 1:
        yield Text(
            f"{machines.num_nodes} nodes of {machines.devices_per_node} devices: {machines.num_engines} engines of "
            f"{machines.tensor_parallel}, {machines.num_training_devices} devices train"
        )
    if machines.num_training_devices_at_work < machines.num_training_devices:
        yield Text(
            f"a step has {machines.num_training_devices_at_work} samples (train.global_batch_size): so many devices "
            f"have work while it trains, {machines.num_training_devices - machines.num_training_devices_at_work} idle"
        )
    if rates.measured is not None:
        yield Text(f"measured in {rates.measured.run_dir}")


def _stages(plan: Estimate) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", overflow="fold")
    for name in ("samples", "tokens", "steps", "graded", "disk", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, group in _rows(plan):
        done = all(work.is_done for work in group)
        time = "done" if done else _sum(plan.seconds([work for work in group if not work.is_done]))
        table.add_row(name, *_numbers(group), time, style="dim" if done else "")
    table.add_row("all", *_numbers(plan.work), _sum(plan.seconds(plan.work)), style="bold")
    if plan.swept:
        table.add_row("of it the sweep", *_numbers(plan.swept), _sum(plan.seconds(plan.swept)), style="bold")
    if any(work.is_done for work in plan.work):
        remaining = plan.remaining
        table.add_row("still to do", *_numbers(remaining), _sum(plan.seconds(remaining)), style="bold")
    return table


def _rows(plan: Estimate) -> Iterator[tuple[str, list[StageWork]]]:
    """A stage a row, the points of one model together."""
    groups: dict[str, list[StageWork]] = {}
    for work in plan.work:
        is_point = work.kind == "evaluate"
        name = f"{work.stage.rpartition('-t')[0]}" if is_point else work.stage
        groups.setdefault(name, []).append(work)
    for name, group in groups.items():
        yield (f"{name} ({len(group)} points)" if len(group) > 1 else group[0].stage), group


def _numbers(group: Sequence[StageWork]) -> list[str]:
    """A training's tokens are those it passes over, its samples those of an epoch: not added to the drawn ones."""
    drawn = [work for work in group if work.kind != "train"] if len(group) > 1 else group
    counts = [sum(work.num_trained_on if work.kind == "train" else work.num_samples for work in drawn)]
    counts += [round(sum(work.num_tokens for work in drawn)), sum(work.num_steps for work in group)]
    counts.append(sum(work.num_graded for work in group))
    return [*(_large(count) if count else "" for count in counts), _bytes(sum(work.num_bytes for work in group))]


def _memory(plan: Estimate) -> Table:
    table = Table(title="memory of one device", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for name, memory in plan.memory.items():
        limit = "" if memory.limit_bytes is None else f", of {_bytes(memory.limit_bytes)} that it may use"
        table.add_row(f"[bold]{name}[/]{limit}", _bytes(memory.total))
        for part, size in memory.parts.items():
            table.add_row(f"  {part}", _bytes(size))
    return table


def _words(plan: Estimate) -> Iterator[RenderableType]:
    if plan.recipe.engine.kind == "vllm" and (number := plan.sequences_at_once()) is not None:
        yield Text(
            f"an engine's cache has room for some {number:,.0f} sequences of mean length; vLLM draws no more at once "
            "than its own max_num_seqs"
        )
    if scratch := plan.scratch_bytes():
        yield Text(f"while it trains, {_bytes(scratch)} of disk more for the state to go on from")
    if (bottleneck := plan.bottleneck()) is not None:
        yield Text(f"bottleneck: {bottleneck[0]} ({_duration(bottleneck[1])})")
    for missing in plan.unknown():
        yield Text(f"time unknown: {missing}")
    for warning in plan.warnings():
        yield Text.from_markup(f"[bold yellow]does not fit[/]: {escape(warning)}")


def _with_source(known: Known) -> str:
    if known.value is None:
        return "(unknown)"
    number = f"{known.value:,.0f}" if known.value >= 100 else f"{known.value:.3g}"
    return f"{number} ({known.source})"


def _large(number: float) -> str:
    for size, letter in MAGNITUDES:
        if number >= size:
            return f"{number / size:,.2f} {letter}" if letter != "k" else f"{number:,.0f}"
    return f"{number:,.0f}"


def _bytes(number: float) -> str:
    for size, unit in UNITS:
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,.0f} B"


def _sum(found: tuple[float, bool]) -> str:
    """More than so much, where a part of it is not known."""
    seconds, is_all = found
    if is_all:
        return _duration(seconds)
    return f"> {_duration(seconds)}" if seconds else "unknown"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"
