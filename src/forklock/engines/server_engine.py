"""Any OpenAI-compatible completions endpoint that returns token ids, such as `vllm serve`.

A server that is killed and started again in the middle costs time alone: each request is sent until it is
answered, and its answer counts once. Its seed makes the second answer what the first would have been, as far as
the server's kernels allow (see vllm_engine).
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import Completion, EngineError, RecordedTarget, Request
from forklock.engines.in_flight import keep_in_flight
from forklock.engines.patient_http import PatientClient
from forklock.engines.stop_tokens import stop_token_ids
from forklock.engines.vllm_terms import (
    check_decoding,
    completion,
    greedy_target,
    recorded_target,
    room,
    sampling_parameters,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

LOWEST_LOGPROB = -9000.0
"""Servers write minus infinity as -9999."""


class ServerEngine:
    """`max_concurrent_requests` threads, each with one request at the server."""

    def __init__(self, config: EngineConfig, model: ModelConfig, *, max_sequence_tokens: int) -> None:
        assert config.server_url is not None
        self._url = config.server_url
        self._client = PatientClient(self._url)
        self._model_name = model.path
        self._max_concurrent = config.max_concurrent_requests
        self._stop_token_ids = stop_token_ids(model)
        served = self._served_model()
        self._max_sequence_tokens = min(max_sequence_tokens, served.get("max_model_len") or max_sequence_tokens)
        self.version = f"{served.get('owned_by', 'server')}{self._server_version()} at {self._url}"

    def _served_model(self) -> dict[str, Any]:
        listed = self._client.get("/models")
        try:
            served: dict[str, dict[str, Any]] = {entry["id"]: entry for entry in listed["data"]}
        except (LookupError, TypeError) as error:
            raise EngineError(
                f"engine.server_url = {self._url!r}: not an OpenAI-compatible server; mend the address"
            ) from error
        if self._model_name not in served:
            raise EngineError(
                f"engine.server_url = {self._url!r}: serves {', '.join(served)}, not model.path = "
                f"{self._model_name!r}; start it with --served-model-name {self._model_name}"
            )
        return served[self._model_name]

    def _server_version(self) -> str:
        """As vLLM tells it, beside the API; empty where a server has no such word."""
        try:
            answer = PatientClient(self._url.rstrip("/").removesuffix("/v1")).get("/version")
            return f" {answer['version']}"
        except (EngineError, LookupError, TypeError):
            return ""

    def generate(
        self, requests: Iterable[Request | None], decoding: Decoding, *, record_target: bool = False
    ) -> Iterator[Completion]:
        check_decoding(decoding, record_target=record_target)
        if record_target and not decoding.is_greedy:
            requests = self._after_probe(requests)
        return self._generate(requests, decoding, record_target)

    def _generate(
        self, requests: Iterable[Request | None], decoding: Decoding, record_target: bool
    ) -> Iterator[Completion]:
        finished: queue.SimpleQueue[Future[Completion | EngineError]] = queue.SimpleQueue()
        client = self._client = PatientClient(self._url)

        def draw(request: Request, content: dict[str, Any]) -> Completion | EngineError:
            try:
                return self._completion(request, client.post("/completions", content), decoding, record_target)
            except EngineError as error:
                return error

        def submit(request: Request) -> None:
            content = self._content(request, decoding, record_target)
            threads.submit(draw, request, content).add_done_callback(finished.put)

        def take() -> Completion | EngineError:
            return finished.get().result()

        with ThreadPoolExecutor(self._max_concurrent, thread_name_prefix="forklock-server") as threads:
            try:
                yield from keep_in_flight(requests, submit, take, limit=self._max_concurrent)
            finally:
                client.close()

    def _content(self, request: Request, decoding: Decoding, record_target: bool) -> dict[str, Any]:
        max_new_tokens = room(request, max_sequence_tokens=self._max_sequence_tokens)
        content: dict[str, Any] = sampling_parameters(request, decoding, max_new_tokens=max_new_tokens)
        content.update(
            model=self._model_name,
            prompt=request.prompt_token_ids,
            stop_token_ids=self._stop_token_ids,
            return_token_ids=True,
        )
        if record_target and not decoding.is_greedy:
            content.update(logprobs=decoding.top_k, return_tokens_as_token_ids=True)
        return content

    def _completion(self, request: Request, answer: Any, decoding: Decoding, record_target: bool) -> Completion:
        token_ids, logprobs, finish_reason = self._read(answer)
        target = None
        if record_target and decoding.is_greedy:
            target = greedy_target(token_ids)
        elif record_target:
            target = _target(token_ids, logprobs, decoding.top_k)
        return completion(request, token_ids, finish_reason, self._stop_token_ids, target)

    def _read(self, answer: Any) -> tuple[list[int], list[dict[int, float]], str | None]:
        """Token ids, log-probabilities (where they were asked for) and finish reason."""
        try:
            choice = answer["choices"][0]
            token_ids, finish_reason = choice.get("token_ids"), choice["finish_reason"]
            top_logprobs = (choice.get("logprobs") or {}).get("top_logprobs") or []
            logprobs = [
                {int(token.removeprefix("token_id:")): logprob for token, logprob in entries.items()}
                for entries in top_logprobs
            ]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(
                f"engine.server_url = {self._url!r}: an answer is not a completion as vLLM writes them: "
                f"{str(answer)[:200]}"
            ) from error
        if token_ids is None:
            raise EngineError(
                f"engine.server_url = {self._url!r}: its answers hold no `token_ids`, and text tokenised again is "
                "not what was drawn; use a server that honours `return_token_ids`, such as vLLM"
            )
        if logprobs and len(logprobs) != len(token_ids):
            raise EngineError(
                f"engine.server_url = {self._url!r}: an answer has {len(token_ids)} tokens, and log-probabilities for "
                f"{len(logprobs)} of them"
            )
        return token_ids, logprobs, finish_reason

    def _after_probe(self, requests: Iterable[Request | None]) -> Iterator[Request | None]:
        """Asks for two log-probabilities where one token survives: processed, the second is minus infinity."""
        source = iter(requests)
        for first in source:
            if first is None:
                return
            content = self._content(first, Decoding(temperature=1.0, top_k=1), record_target=True)
            answer = self._client.post("/completions", {**content, "logprobs": 2, "max_tokens": 1})
            _, logprobs, _ = self._read(answer)
            if not logprobs or min(logprobs[0].values()) > LOWEST_LOGPROB:
                raise EngineError(
                    f"engine.server_url = {self._url!r}: its log-probabilities are not those that it draws from, "
                    "so targets cannot be recorded; start it with `vllm serve --logprobs-mode processed_logprobs`"
                )
            yield from chain([first], source)

    def weights_digest(self) -> None:
        """A server's weights are out of reach."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


def _target(drawn: list[int], logprobs: list[dict[int, float]], top_k: int) -> RecordedTarget:
    token_ids_PK = np.full((len(drawn), top_k + 1), -1)
    logprobs_PK = np.full((len(drawn), top_k + 1), -np.inf)
    for position, (token_id, entries) in enumerate(zip(drawn, logprobs, strict=True)):
        ranked = [token_id, *(other for other in entries if other != token_id)]
        token_ids_PK[position, : len(ranked)] = ranked
        logprobs_PK[position, : len(ranked)] = [entries[other] for other in ranked]
    logprobs_PK[logprobs_PK < LOWEST_LOGPROB] = -np.inf
    return recorded_target(token_ids_PK, logprobs_PK, top_k)
