"""A run's samples as a file (or a dataset's folder) that another trainer reads.

Left out is what training leaves out: samples marked degenerate, where the recipe drops those, and samples longer than
`train.max_sequence_tokens`. None is held out. Rows stand in the order in which samples were finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock.config import Recipe
from forklock.export.errors import ExportError
from forklock.export.formats import Format, Row, Texts, row_of
from forklock.packages import load_package
from forklock.prompts import Renderer, load_tokenizer, read_prompts
from forklock.prompts.stage import PROMPTS_FILE
from forklock.run_dir import atomic_file, read_manifest
from forklock.run_dir.atomic import remove, temporary_beside
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.running import recipe_of
from forklock.sampling import Sample, samples_in
from forklock.stages import own_synthesis
from forklock.train.schedule import TOO_LONG, left_out

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEXT_FORMATS = ("messages", "megatron-bridge")


@dataclass
class ExportCounts:
    """Where every sample went."""

    num_samples: int = 0
    num_exported: int = 0
    num_degenerate: dict[str, int] = field(default_factory=dict)
    num_too_long: int = 0
    num_without_stop_token: int = 0
    """Of those exported: cut by the length limit."""
    num_other_tokens: int = 0
    """Of those exported as text: their text does not tokenise to the tokens that were drawn."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def export_samples(run_dir: Path, form: Format, out: Path, round_number: int | None = None) -> ExportCounts:
    """Write every sample that training would take, of the last round or of another; nothing is overwritten."""
    if out.exists():
        raise ExportError(f"{out}: is there already; name another place, or move it away")
    recipe = recipe_of(run_dir)
    number = recipe.rounds if round_number is None else round_number
    if not 1 <= number <= recipe.rounds:
        raise ExportError(f"{run_dir}: has no round {number}; its recipe has rounds 1 to {recipe.rounds}")
    if recipe.train.only_verified_samples:
        raise ExportError(f"{run_dir}: is a verified-only baseline, whose choice of samples is not exported")
    synthesis = own_synthesis(recipe, number)
    require_stage(run_dir, synthesis)
    tokenizer = load_tokenizer(recipe.model)
    counts = ExportCounts()
    texts = _texts(recipe, run_dir, tokenizer, form)
    measure = _measure_of(tokenizer, form)
    kept = _kept(recipe, run_dir / synthesis, counts)

    def rows() -> Iterator[Row]:
        for sample in kept:
            counts.num_other_tokens += measure(sample)
            yield row_of(sample, form, texts)

    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    if form == "llama-factory":
        _write_dataset(out, rows)
    else:
        with atomic_file(out.absolute()) as path, path.open("w", encoding="utf-8") as file:
            for row in rows():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return counts


def require_stage(run_dir: Path, name: str) -> None:
    if not (manifest := run_dir / name / MANIFEST_NAME).exists():
        command = "synthesize" if name == "synthesize" else "train"  # which draws later rounds' samples too
        raise ExportError(f"{run_dir}: {name} is not complete; run `forklock {command}` with this folder first")
    read_manifest(manifest)


def _kept(recipe: Recipe, folder: Path, counts: ExportCounts) -> Iterator[Sample]:
    for sample in samples_in(folder):
        counts.num_samples += 1
        reason = left_out(recipe, sample.degenerate, len(sample.prompt_token_ids) + len(sample.token_ids))
        if reason == TOO_LONG:
            counts.num_too_long += 1
        elif reason is not None:
            counts.num_degenerate[reason] = counts.num_degenerate.get(reason, 0) + 1
        else:
            counts.num_exported += 1
            counts.num_without_stop_token += sample.finish_reason == "length"
            yield sample


def _texts(recipe: Recipe, run_dir: Path, tokenizer: PreTrainedTokenizerBase, form: Format) -> Texts:
    messages: dict[str, list[dict[str, str]]] = {}
    if form == "messages":
        renderer = Renderer(tokenizer, recipe.model, recipe.prompts.template)
        for prompt in read_prompts(run_dir / "prompts" / PROMPTS_FILE):
            messages[prompt.prompt_id] = renderer.messages(prompt)

    def decode(token_ids: Any) -> str:
        return str(tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    return Texts(decode=decode, messages=messages.__getitem__)


def _measure_of(tokenizer: PreTrainedTokenizerBase, form: Format) -> Callable[[Sample], bool]:
    """Whether a trainer that tokenises a sample's text again would train on other tokens."""
    special = set(tokenizer.all_special_ids)

    def differs(sample: Sample) -> bool:
        drawn = [token for token in sample.token_ids if token not in special]
        return list(tokenizer(sample.text, add_special_tokens=False)["input_ids"]) != drawn

    return differs if form in _TEXT_FORMATS else lambda sample: False


def _write_dataset(out: Path, rows: Callable[[], Iterator[Row]]) -> None:
    """As `datasets` saves one to disk, with its one split called train."""
    datasets = load_package("datasets")
    ids = datasets.List(datasets.Value("int32"))
    features = datasets.Features({"input_ids": ids, "attention_mask": ids, "labels": ids})
    with temporary_beside(out.absolute()) as temporary:
        temporary.mkdir()
        with datasets.arrow_writer.ArrowWriter(path=str(temporary / "rows.arrow"), features=features) as writer:
            for row in rows():
                writer.write(row)
            writer.finalize()
        made = datasets.Dataset.from_file(str(temporary / "rows.arrow"))
        with _without_bars(datasets):
            datasets.DatasetDict({"train": made}).save_to_disk(str(temporary / "saved"))
        (temporary / "saved").rename(out)
        remove(temporary)


@contextmanager
def _without_bars(datasets: Any) -> Iterator[None]:
    """Its bars go into logs too, where they are only noise."""
    is_quiet = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not is_quiet:
            datasets.enable_progress_bars()
