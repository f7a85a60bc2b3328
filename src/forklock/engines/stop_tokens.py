"""Which tokens end a completion. Every engine asks here, so that all of them stop at the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forklock.config import ModelConfig
from forklock.engines import EngineError
from forklock.model_path import check_model_path
from forklock.packages import packages_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def stop_token_ids(model: ModelConfig) -> tuple[int, ...]:
    """`eos_token_id` of the model's generation_config.json, else of its config.json, else of its tokenizer.

    Reads no weights, and is where a model that is not there is found out.
    """
    config = _load_config(model)
    import transformers
    from transformers.utils.hub import has_file

    revision = model.revision or "main"
    try:
        generation = transformers.GenerationConfig.from_pretrained(model.path, revision=revision)
    except OSError:
        generation = None
    for source in (generation, config.get_text_config()):
        if found := _as_ids(getattr(source, "eos_token_id", None)):
            return found
    # Without the file there would be a tokenizer all the same: an empty one, with a made-up stop token.
    if has_file(model.path, "tokenizer_config.json", revision=revision):
        tokenizer = transformers.AutoTokenizer.from_pretrained(model.path, revision=revision)
        if found := _as_ids(tokenizer.eos_token_id):
            return found
    raise EngineError(
        f"model.path = {model.path!r}: names no stop token, so no sample would ever end; "
        "set eos_token_id in its generation_config.json"
    )


def _load_config(model: ModelConfig) -> PreTrainedConfig:
    with packages_of("train"):
        import transformers

    check_model_path(model.path)
    revision = model.revision or "main"
    try:
        config: PreTrainedConfig = transformers.AutoConfig.from_pretrained(model.path, revision=revision)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"model.path = {model.path!r}: neither a model's folder here nor a model that the hub gives: "
            f"{_first_line(error)} (mend the name, the network, or point it at a downloaded folder)"
        ) from error
    return config


def context_tokens(model: ModelConfig) -> int | None:
    """The longest sequence that the model's configuration allows; None where it names none."""
    longest = getattr(_load_config(model).get_text_config(), "max_position_embeddings", None)
    return longest if isinstance(longest, int) else None


def _as_ids(eos: int | Sequence[int] | None) -> tuple[int, ...]:
    if eos is None:
        return ()
    return tuple(dict.fromkeys([eos] if isinstance(eos, int) else eos))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
