"""A headless Chromium, spoken to through the DevTools protocol; nothing of it is needed to use forklock."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
START_S = 60.0


class Page:
    """One page, and all that it logged, threw or asked the network for."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (message := json.loads(self._socket.recv())).get("id") != self._number:
            self._note(message)
        assert "error" not in message, f"{method}: {message['error']}"
        found: dict[str, Any] = message["result"]
        return found

    def open(self, path: Path, width: int = 1100, height: int = 900) -> None:
        self.resize(width, height)
        self.requests.clear()
        self.complaints.clear()
        self.send("Page.navigate", url=path.as_uri())
        while json.loads(message := self._socket.recv()).get("method") != "Page.loadEventFired":
            self._note(json.loads(message))
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self, *, is_dark: bool = True) -> None:
        value = "dark" if is_dark else "light"
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def hover(self, selector: str) -> str:
        """Moves the pointer there, and gives the tooltip's text."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return self.tooltip()

    def press(self, key: str) -> None:
        codes = {"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "Escape": 27}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    def tooltip(self) -> str:
        text: str = self.run("document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText")
        return text

    def picture(self, path: Path, selector: str | None = None) -> Path:
        """Of the whole page, or of one element of it."""
        box = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector or 'html')}).getBoundingClientRect();"
            "return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height, scale: 1}; })()"
        )
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=box)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def pdf(self) -> bytes:
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(params["args"]))
            case "Log.entryAdded":
                self.complaints.append(str(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])


@contextmanager
def open_browser() -> Iterator[Page]:
    """Skips the test where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install Debian's package `chromium`")
    client = pytest.importorskip("websockets.sync.client", reason="needs the package `websockets`")
    # Not pytest's folder: the path of a Unix socket that Chromium makes in it may only have 108 characters.
    with tempfile.TemporaryDirectory(prefix="forklock-chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stderr is not None
            browser = next(line.split()[-1] for line in process.stderr if line.startswith("DevTools listening on"))
            with client.connect(browser, max_size=None, open_timeout=START_S) as socket:
                socket.send(json.dumps({"id": 0, "method": "Target.getTargets"}))
                targets = _answer(socket, 0)["targetInfos"]
            page = next(target["targetId"] for target in targets if target["type"] == "page")
            address = browser.partition("/devtools/")[0]
            with client.connect(f"{address}/devtools/page/{page}", max_size=None, open_timeout=START_S) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(START_S)
            if process.stderr is not None:
                process.stderr.close()


def _answer(socket: Any, number: int) -> dict[str, Any]:
    while (message := json.loads(socket.recv())).get("id") != number:
        pass
    found: dict[str, Any] = message["result"]
    return found
