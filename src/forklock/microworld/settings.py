"""Sizes, rates and mixtures of a base model: what `bases/*.toml` may set."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError

from forklock.config import Section, TrainConfig
from forklock.errors import ForklockError
from forklock.microworld.problems import LENGTH_SHARES

BASES_FOLDER = Path(__file__).parent / "bases"
BaseName = Literal["leaky", "firm"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class BaseSettingsError(ForklockError):
    """A base's settings cannot be read; the message names the file and each fault."""


class SlipRates(Section):
    """How often a token of each class is replaced by another of its class (`slips.CLASSES`)."""

    comparison: Share = 0.0
    arithmetic: Share = 0.0
    digit: Share = 0.0
    name: Share = 0.0
    builtin: Share = 0.0
    method: Share = 0.0
    bracket: Share = 0.0
    keyword: Share = 0.0


class CorpusSettings(Section):
    """What a base is trained on: programs for problems of the pre-training split."""

    num_programs: PositiveInt
    seed: Annotated[int, Field(ge=0)] = 0
    length_shares: Annotated[tuple[Share, ...], Field(min_length=1)] = LENGTH_SHARES
    """How many problems have one, two, three, ... operations; need not sum to 1."""
    wrong_idiom_share: Share
    """Where an operation has a wrong idiom, how often a program has it."""
    slip_rates: SlipRates = SlipRates()


class ShapeSettings(Section):
    """The network, a Qwen3 with tied embeddings. Heads of 32: vLLM has no smaller ones on a CPU."""

    num_layers: PositiveInt = 3
    hidden_size: PositiveInt = 96
    intermediate_size: PositiveInt = 256
    num_heads: PositiveInt = 3
    num_key_value_heads: PositiveInt = 3
    max_sequence_tokens: PositiveInt = 384


class BaseSettings(Section):
    """One base model."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    purpose: str
    seed: Annotated[int, Field(ge=0)] = 0
    starts_from: BaseName | None = None
    """A shipped base that is tuned further; absent: random weights."""
    shape: ShapeSettings = ShapeSettings()
    """Of a base that starts from random weights."""
    corpus: CorpusSettings
    train: TrainConfig


def load_settings(base: str) -> BaseSettings:
    """Of a shipped base by its name, or of a TOML file."""
    path = BASES_FOLDER / f"{base}.toml" if not base.endswith(".toml") else Path(base)
    try:
        return BaseSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")), strict=False)
    except OSError as error:
        raise BaseSettingsError(f"{base}: neither `leaky` nor `firm` nor a TOML file that can be read") from error
    except tomllib.TOMLDecodeError as error:
        raise BaseSettingsError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise BaseSettingsError(f"{path}: {faults}") from error


def base_folder(base: BaseName) -> Path:
    """Where a shipped base is: an ordinary model folder."""
    return BASES_FOLDER / base
