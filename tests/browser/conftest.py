"""A real Chromium, the real server in its own process, and files as the browser's camera and microphone."""

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from benchmarks import chromium, clips

_SAMPLE = Path(__file__).parents[2] / "stream" / "assets" / "sample.mp4"
_SIZE = (640, 480)


def server_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "stream", "run", "--port", "{port}", *options]


def ask(url: str, method: str = "GET", body: bytes | None = None, content_type: str = "") -> tuple[int, Any]:
    """Status and JSON of one request; a refused connection is status 0."""
    headers = {"Content-Type": content_type} if content_type else {}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            text = reply.read()
            return reply.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except urllib.error.URLError:
        return 0, None


def wait_until(holds: Callable[[], bool], within_s: float) -> float:
    """Wait for the outside world; returns how long it took, fails when it takes too long."""
    start = time.monotonic()
    while not holds():
        took = time.monotonic() - start
        assert took < within_s, f"it did not happen within {within_s} s"
        time.sleep(0.1)
    return time.monotonic() - start


@pytest.fixture(scope="session", autouse=True)
def installed_chromium() -> str:
    path = chromium.chromium_path()
    if path is not None:
        return path
    how = "make browser" if shutil.which("apt-get") else "install chromium with this system's package manager"
    message = f"no Chromium on the PATH, so no browser test ran: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def devices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundled speaker as a camera at 25 frames a second, and his sound as a microphone."""
    folder = tmp_path_factory.mktemp("devices")
    camera, microphone = folder / "camera.y4m", folder / "microphone.wav"
    clips.write_y4m(camera, clips.clip_frames(_SAMPLE, *_SIZE, 25), *_SIZE, 25)
    clips.write_wav(microphone, clips.clip_sound(_SAMPLE))
    return camera, microphone


# Playwright's loop runs as long as it is open, and other tests need the thread's loop for themselves: so not longer
# than a module.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.ServerProcess]:
    with chromium.serving(server_command(), tmp_path_factory.mktemp("server") / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def browser(devices: tuple[Path, Path], playwright: Playwright) -> Iterator[Browser]:
    with chromium.open_browser(*devices, playwright=playwright) as opened:
        yield opened


class Desk:
    """The page as a person uses it."""

    def __init__(self, page: Page, server: chromium.ServerProcess) -> None:
        self.page, self.server = page, server
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(server.url)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def start(self, source: str) -> None:
        self.page.get_by_role("button", name=source).click()
        self.page.wait_for_selector("body[data-state=live]", timeout=15_000)

    def choose(self, mode: str) -> None:
        self.page.get_by_role("radio", name=mode).check()

    def seconds_shown(self) -> float:
        return float(self.page.evaluate("document.getElementById('result').currentTime"))

    def wait_for(self, condition: str, within_s: float = 15.0) -> None:
        self.page.wait_for_function(condition, timeout=within_s * 1e3)

    def wait_for_message(self, words: str, within_s: float = 15.0) -> str:
        self.page.wait_for_function(
            "words => document.getElementById('message-text').textContent.includes(words)",
            arg=words,
            timeout=within_s * 1e3,
        )
        return self.text("#message-text")

    def picture(self) -> np.ndarray:
        """Grey values [48, 64] of what the result shows now."""
        values = self.page.evaluate(
            """() => { const c = new OffscreenCanvas(64, 48), g = c.getContext('2d');
            g.drawImage(document.getElementById('result'), 0, 0, 64, 48);
            return [...g.getImageData(0, 0, 64, 48).data.filter((_, i) => i % 4 === 1)]; }"""
        )
        return np.array(values, np.float32).reshape(48, 64)

    def hear(self, seconds: float) -> tuple[float, float]:
        """Loudest level (0 to 1) of the result's sound, and the frequency that led when it was loudest."""
        level, frequency_hz = self.page.evaluate(
            """async (seconds) => {
            const context = new AudioContext(), ear = context.createAnalyser();
            ear.fftSize = 8192;
            await context.resume();
            context.createMediaStreamSource(document.getElementById('result').srcObject).connect(ear);
            const wave = new Float32Array(2048), bins = new Float32Array(ear.frequencyBinCount);
            let best = [0, 0];
            for (const end = performance.now() + seconds * 1000; performance.now() < end;) {
              await new Promise((done) => setTimeout(done, 50));
              ear.getFloatTimeDomainData(wave);
              const level = Math.max(...wave.map(Math.abs));
              if (level <= best[0]) continue;
              ear.getFloatFrequencyData(bins);
              best = [level, bins.indexOf(Math.max(...bins)) * context.sampleRate / ear.fftSize];
            }
            await context.close();
            return best; }""",
            seconds,
        )
        return float(level), float(frequency_hz)


@contextmanager
def opened(
    browser: Browser, server: chromium.ServerProcess, *, viewport: tuple[int, int] = (1280, 900)
) -> Iterator[Desk]:
    page = browser.new_page(viewport={"width": viewport[0], "height": viewport[1]})
    try:
        yield Desk(page, server)
    finally:
        page.close()


@pytest.fixture
def desk(browser: Browser, server: chromium.ServerProcess) -> Iterator[Desk]:
    """A fresh page on the shared server, which is empty again before the next test begins."""
    with opened(browser, server) as fresh:
        yield fresh
        assert fresh.faults == []
    wait_until(lambda: ask(f"{server.url}/health")[1]["sessions"] == 0, 6.0)
