"""Which clip may teach and which may only judge, read from `configs/clips.toml`.

Whole clips and whole persons are held back; nothing is split frame by frame, because
neighbouring frames are copies of each other.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from training.config import CONFIG_FOLDER, ConfigError, build

SPLITS = ("train", "held_clip", "held_person", "measured")
GRID_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SUFFIXES = {".mpg", ".mp4", ".mov", ".mkv", ".avi", ".webm"}


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """One stretch of one file.

    Attributes:
        name: Unique, also the name of its cache file.
        path: The media file.
        person: Who is seen; two entries of one person are never in train and held_person.
        split: One of `SPLITS`.
        start_s: First instant used.
        end_s: First instant not used.
        words: What is said, where that is known; for the whole file.
        sound_late_ms: How much later than the lips the file's own sound is; known from elsewhere, 0 for most.
    """

    name: str
    path: Path
    person: str
    split: str
    start_s: float = 0.0
    end_s: float = float("inf")
    words: str = ""
    sound_late_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Source:
    """One `[[source]]` table: a folder of clips, or one clip."""

    path: str
    person: str = ""
    held_clip: list = field(default_factory=list)  # type: ignore[type-arg]
    held_person: list = field(default_factory=list)  # type: ignore[type-arg]
    same_person: dict = field(default_factory=dict)  # type: ignore[type-arg]
    held_clip_from_s: float = 0.0
    measured: bool = False
    words: str = ""
    texts: dict = field(default_factory=dict)  # type: ignore[type-arg]
    sound_late_ms: float = 0.0


def read_clips(material: Path, table: Path = CONFIG_FOLDER / "clips.toml") -> list[ClipEntry]:
    """Every clip the table names, with its person and split.

    Raises:
        ConfigError: A file or a held-back name is missing, or a held-back person is trained on.
    """
    sources = tomllib.loads(table.read_text(encoding="utf-8")).get("source", [])
    entries = [entry for each in sources for entry in _entries(material, build(Source, each, str(table)))]
    check_disjoint(entries)
    return entries


def portrait_paths(material: Path, table: Path = CONFIG_FOLDER / "clips.toml") -> list[Path]:
    """Every portrait the table allows; none where it names no folder.

    Raises:
        ConfigError: A portrait that is to be left out does not exist.
    """
    rows = tomllib.loads(table.read_text(encoding="utf-8")).get("portraits")
    if rows is None:
        return []
    paths = sorted((material / rows["path"]).glob("*.jpg"))
    if missing := sorted(set(rows["left_out"]) - {each.stem for each in paths}):
        raise ConfigError(f"{material / rows['path']} has no portrait {', '.join(missing)}")
    return [each for each in paths if each.stem not in rows["left_out"]]


def grid_sentence(code: str) -> str:
    """The words of a GRID file by its six letters, "bbaf2n" being "bin blue at f two now".

    Source: M. Cooke et al., "An audio-visual corpus for speech perception and automatic speech recognition", 2006.
    """
    verb, colour, preposition, letter, digit, adverb = list(code)
    return " ".join(
        (
            {"b": "bin", "l": "lay", "p": "place", "s": "set"}[verb],
            {"b": "blue", "g": "green", "r": "red", "w": "white"}[colour],
            {"a": "at", "b": "by", "i": "in", "w": "with"}[preposition],
            letter,
            GRID_DIGITS["z123456789".index(digit)],
            {"a": "again", "n": "now", "p": "please", "s": "soon"}[adverb],
        )
    )


def check_disjoint(entries: list[ClipEntry]) -> None:
    """Refuse a split in which a held-back person is also trained on.

    Raises:
        ConfigError: Names the persons.
    """
    trained = {each.person for each in entries if each.split in ("train", "held_clip")}
    held = {each.person for each in entries if each.split in ("held_person", "measured")}
    if both := sorted(trained & held):
        raise ConfigError(f"held-back persons are also trained on: {', '.join(both)}; change clips.toml")


def _entries(material: Path, source: Source) -> list[ClipEntry]:
    root = material / source.path
    if not root.exists():
        raise ConfigError(f"no clip or folder {root}; pass the material folder with --material")
    paths = sorted(each for each in root.iterdir() if each.suffix in SUFFIXES) if root.is_dir() else [root]
    named = {*source.held_clip, *source.held_person, *source.same_person, *source.texts}
    if missing := sorted(named - {each.stem for each in paths}):
        raise ConfigError(f"{root} has no clip {', '.join(missing)}")
    return [entry for path in paths for entry in _stretches(path, source)]


def _stretches(path: Path, source: Source) -> list[ClipEntry]:
    folder = Path(source.path).stem if Path(source.path).suffix == "" else ""
    name = f"{folder}-{path.stem}" if folder else path.stem
    person = source.same_person.get(path.stem, source.person or name)
    split = "measured" if source.measured else "train"
    split = "held_clip" if path.stem in source.held_clip else split
    split = "held_person" if path.stem in source.held_person else split
    cut_s = source.held_clip_from_s
    words = grid_sentence(path.stem[-6:]) if source.words == "grid" else source.texts.get(path.stem, "")
    if not cut_s:
        return [ClipEntry(name, path, person, split, words=words, sound_late_ms=source.sound_late_ms)]
    return [
        ClipEntry(f"{name}-a", path, person, split, end_s=cut_s, sound_late_ms=source.sound_late_ms),
        ClipEntry(f"{name}-b", path, person, "held_clip", start_s=cut_s, sound_late_ms=source.sound_late_ms),
    ]
