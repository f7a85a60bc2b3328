"""An engine without a model: it answers from a script, so that tests of the stages around it are quick and exact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import Completion, EngineError, Request

SCRIPT_FILE = "fake_engine.json"


class FakeEngine:
    """Completions from `fake_engine.json` in the model's folder: `{"completions": [[token ids], ...]}`, all of which
    end with a stop token. A request's seed chooses one; the length limit cuts it."""

    version = "fake 1"

    def __init__(self, config: EngineConfig, model: ModelConfig, *, max_sequence_tokens: int) -> None:
        script = Path(model.path) / SCRIPT_FILE
        if not script.is_file():
            raise EngineError(f'{script}: no such file; engine.kind = "fake" answers from one')
        self._text = script.read_text(encoding="utf-8")
        self._completions: list[list[int]] = json.loads(self._text)["completions"]

    def generate(
        self, requests: Iterable[Request | None], decoding: Decoding, *, record_target: bool = False
    ) -> Iterator[Completion]:
        if record_target:
            raise EngineError('engine.kind = "fake" has no targets to record')
        for request in requests:
            if request is None:
                return
            token_ids = tuple(self._completions[request.seed % len(self._completions)])
            is_cut = len(token_ids) > request.max_new_tokens
            yield Completion(request.request_id, token_ids[: request.max_new_tokens], "length" if is_cut else "stop")

    def weights_digest(self) -> str:
        return hashlib.sha256(self._text.encode()).hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
