"""A real headless Chromium with files as its camera and microphone, and what its page saw of a session.

Flags and method: the page reads each numbered frame on its way out and on
its way back, so that glass-to-glass time is one clock's difference.
"""

import base64
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from benchmarks.processor import descendants, used_s

# Where our server has the script by which its own page keeps the picture beside the sound.
LIP_SYNC = "/static/lipsync.js"
_PROBE = Path(__file__).with_name("probe.js")
_FLAGS = (
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--disable-gpu",
    "--mute-audio",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)


def chromium_path() -> str | None:
    """The Chromium of this machine, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def chromium_flags(camera: Path | None, microphone: Path | None) -> list[str]:
    """Command-line flags; without files Chromium's own test picture and beeps are used."""
    flags = list(_FLAGS)
    if camera is not None:
        flags.append(f"--use-file-for-fake-video-capture={camera.resolve()}")
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone.resolve()}")
    return flags


@contextmanager
def open_browser(
    camera: Path | None = None,
    microphone: Path | None = None,
    *,
    flags: Sequence[str] | None = None,
    playwright: Playwright | None = None,
) -> Iterator[Browser]:
    """Start Chromium and close it again.

    Args:
        camera: Y4M that plays as the camera.
        microphone: WAV that plays as the microphone.
        flags: Taken instead of all the usual ones.
        playwright: One that runs already; a thread can have only one.

    Raises:
        FileNotFoundError: No Chromium is installed.
    """
    path = chromium_path()
    if path is None:
        raise FileNotFoundError("no chromium was found on the PATH; install it: apt-get install chromium")
    with nullcontext(playwright) if playwright else sync_playwright() as driver:
        arguments = chromium_flags(camera, microphone) if flags is None else list(flags)
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def processes_with(argument: str, *, parent: int) -> list[int]:
    """Descendants of `parent` whose command line contains `argument`: the processes of one browser."""
    found = []
    for process in descendants(parent):
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if argument in command:
            found.append(process)
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class ServerProcess:
    """A server in its own process, with the processor time it has used."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_s(self) -> float:
        """User and system time so far, all threads."""
        return used_s(self.process.pid)

    def rss_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096 / 1e6


@contextmanager
def serving(
    command: Sequence[str], log: Path, *, wait_s: float = 60.0, port: int | None = None
) -> Iterator[ServerProcess]:
    """Run a server until the block ends; "{port}" in the command is replaced by `port`, or by a free one.

    Raises:
        RuntimeError: It ended or did not answer on /health in `wait_s`; the message carries its last lines.
    """
    port = port or free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command], stdout=out, stderr=subprocess.STDOUT
        )
        server = ServerProcess(f"http://127.0.0.1:{port}", process, log)
        try:
            _await_health(server, wait_s)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_health(server: ServerProcess, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    tail = server.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the server at {server.url} did not come up in {wait_s:.0f} s; its last lines:\n{tail}")


@dataclass(frozen=True, slots=True)
class Sound:
    """What the page heard, as one gapless row of samples with the time of the first.

    Attributes:
        start_ms: `performance.now()` of sample 0, from the least delayed blocks.
        sample_rate_hz: Usually 48,000.
        samples: float32 [n].
    """

    start_ms: float
    sample_rate_hz: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A numbered frame seen by the page: `performance.now()` in ms, its number (-1: misread), its coded width."""

    at_ms: float
    number: int
    width: int


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one run of the probe wrote down."""

    sent: list[Sighting]
    received: list[Sighting]
    sound_sent: Sound | None
    sound_received: Sound | None
    stats: dict[str, Any]


def open_probe(browser: Browser, server: ServerProcess) -> Page:
    """A blank page of the server's origin that carries the probe."""
    page = browser.new_page()
    page.goto(f"{server.url}/health")
    page.add_script_tag(content=_PROBE.read_text())
    return page


def start_probe(
    page: Page,
    width: int,
    height: int,
    fps: int,
    *,
    sound: bool,
    watch: bool = True,
    query: str = "?mode=pass-through",
    lip_sync: str = "",
) -> dict[str, str]:
    """Connect the page's camera to the server; returns the session's `location` and the `answer`.

    Args:
        page: From `open_probe`.
        width: Of the camera's pictures.
        height: Of the camera's pictures.
        fps: Of the camera.
        sound: Whether the microphone is sent too.
        watch: Whether frames and sound are noted.
        query: Of the POST.
        lip_sync: `LIP_SYNC`, or "" to leave the sound and the picture to Chromium.
    """
    options = {"width": width, "height": height, "fps": fps, "sound": sound, "watch": watch, "query": query}
    options["lipSync"] = lip_sync
    answer: dict[str, str] = page.evaluate("options => probe.start(options)", options)
    return answer


def stop_probe(page: Page) -> Observation:
    """End the session and fetch what was seen."""
    raw = page.evaluate("() => probe.stop()")
    page.close()
    return Observation(
        sent=[Sighting(row[0], int(row[1]), int(row[3])) for row in raw["video"]["sent"]],
        received=[Sighting(row[0], int(row[1]), int(row[3])) for row in raw["video"]["received"]],
        sound_sent=_sound(raw["audio"]["sent"], raw["sound"]["sent"]),
        sound_received=_sound(raw["audio"]["received"], raw["sound"]["received"]),
        stats=raw["stats"],
    )


def _sound(blocks: list[list[float]], pcm: str) -> Sound | None:
    if not blocks:
        return None
    rate_hz = int(blocks[0][2])
    ends_ms = np.cumsum([block[1] for block in blocks]) * 1e3 / rate_hz
    # A block is handed over no earlier than its last sample; whatever is above the least is waiting, not playing.
    start_ms = float(np.min(np.array([block[0] for block in blocks]) - ends_ms))
    samples = (np.frombuffer(base64.b64decode(pcm), "<i2") / 32767).astype(np.float32)
    return Sound(start_ms, rate_hz, samples)
