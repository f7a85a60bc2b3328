"""Engines draw completions from a frozen model: requests in, finished completions out, in any order.

Nothing outside this package knows which engine runs. All of them decode as `forklock.decoding` defines, end a
completion at the first of the model's stop tokens (which is kept) or at its length limit (which adds none), and
draw each request by its own seed. `open_engine` is the registry; it imports the package that the recipe asks for,
and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.errors import ForklockError
from forklock.packages import packages_of

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

FinishReason = Literal["stop", "length"]
STRICT_GROUP = 16
"""Requests that a strict engine draws together, in the order given; a constant, so that no setting of a recipe
changes a sample's last bits."""


class EngineError(ForklockError):
    """The engine cannot run, or a request cannot be served; the message says which and what to do."""


@dataclass(frozen=True)
class Request:
    """One completion wanted."""

    request_id: int
    """The caller's own number for it; comes back with the completion."""
    prompt_token_ids: tuple[int, ...]
    seed: int
    """63 bits; with the prompt and the decoding it determines the draw (bit for bit in the transformers engine)."""
    max_new_tokens: int


@dataclass(frozen=True)
class RecordedTarget:
    """q_s (Eq. 7) at each position of a completion, retained tokens only, by decreasing probability."""

    sizes: NDArray[np.int32]
    """How many tokens were retained at each position."""
    token_ids: NDArray[np.int32]
    """All positions' tokens, one position after another."""
    probabilities: NDArray[np.float16]
    kept_mass: NDArray[np.float32] | None = None
    """The frozen model's untempered mass on each position's support (Eq. 10), where the engine can tell."""


@dataclass(frozen=True)
class Completion:
    """What was drawn for a request: exact token ids, the stop token included where the model drew one."""

    request_id: int
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    target: RecordedTarget | None = None


class Engine(Protocol):
    """A model, loaded and frozen. Leaving its context releases what it holds."""

    version: str
    """Package and version that draws, such as `vllm 0.32.0`."""

    def generate(
        self, requests: Iterable[Request | None], decoding: Decoding, *, record_target: bool = False
    ) -> Iterator[Completion]:
        """Complete every request. `requests` is read as room becomes free, not all at once; a None among them says
        that none is ready now: the engine goes on with those it has, and ends when it has none."""
        ...

    def weights_digest(self) -> str | None:
        """A digest of the weights as they stand in memory now; None where they cannot be reached (a server)."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class PlayingEngine(Engine, Protocol):
    """An engine that can decode another law than its model's."""

    def playing(self, training: Decoding) -> Engine:
        """The same model as if it were its own student, fitted ideally to samples drawn at `training` (Eq. 23)."""
        ...


def playing(engine: Engine, training: Decoding) -> Engine:
    if not isinstance(engine, PlayingEngine):
        raise EngineError(
            f"{engine.version} can't play a student: it decodes its model's own distribution and no other; "
            'use engine.kind = "transformers"'
        )
    return engine.playing(training)


def open_engine(config: EngineConfig, model: ModelConfig, *, max_sequence_tokens: int) -> Engine:
    """Load the model into the engine that the recipe names."""
    match config.kind:
        case "transformers":
            with packages_of("train"):
                from forklock.engines.transformers_engine import TransformersEngine

            return TransformersEngine(config, model, max_sequence_tokens=max_sequence_tokens)
        case "vllm":
            from forklock.engines.vllm_engine import VllmEngine

            return VllmEngine(config, model, max_sequence_tokens=max_sequence_tokens)
        case "server":
            from forklock.engines.server_engine import ServerEngine

            return ServerEngine(config, model, max_sequence_tokens=max_sequence_tokens)
        case "fake":
            from forklock.engines.fake_engine import FakeEngine

            return FakeEngine(config, model, max_sequence_tokens=max_sequence_tokens)
