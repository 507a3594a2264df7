"""Recordings with words, phones and the mouth that goes with them: what teaches the ear without a picture."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.mel import SAMPLE_RATE_HZ, mel_spectrogram
from training.config import CONFIG_FOLDER, ConfigError, build
from training.data.articulation import Articulation, Said, fit_articulation
from training.data.cache import TRACK_HZ, CachedClip, CachedSpeech, save_speech
from training.data.clips import MaterialError, read_sound
from training.data.phones import ENGLISH, Phone, align_phones, flite_speech, flite_voices

Samples = NDArray[np.float32]
ARTICULATION_FILE = "articulation.json"
SOUND_SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True, slots=True)
class Recordings:
    """One `[[recordings]]` table: a folder whose texts lie beside the sound, or one file with its text.

    Attributes:
        weight: Over that of a voice whose share grows with the square root of its length: more where several persons
            speak, less where a synthesiser does.
    """

    path: str
    voice: str
    text: str = ""
    language: str = ENGLISH
    weight: float = 1.0
    texts: dict = field(default_factory=dict)  # type: ignore[type-arg]


@dataclass(frozen=True, slots=True)
class Spoken:
    """The `[spoken]` table: texts for a speech synthesiser."""

    texts: list = field(default_factory=list)  # type: ignore[type-arg]
    lines_per_recording: int = 10
    weight: float = 0.25


def prepare_speech(
    material: Path,
    cache: Path,
    clips: list[CachedClip],
    say: Callable[[str], None],
    further: Sequence[Recordings] = (),
) -> None:
    """Fit the articulation model on clips whose phones are known, then align and draw every recording.

    Args:
        material: Folder that `configs/speech.toml` is relative to.
        cache: Folder to write to.
        clips: The clips that may be trained on.
        say: Takes one line of progress.
        further: More recordings than the table's, see `further_recordings`.

    Raises:
        MaterialError, ConfigError: A recording, a list or a program is missing.
    """
    said = [Said(clip.person, clip.phones, clip.pts_ns / 1e9, clip.mouths) for clip in clips if clip.phones]
    if not said:
        say("speech: no clip with known words to fit the articulation model on; left out")
        return
    model = fit_articulation(said)
    model.save(cache / ARTICULATION_FILE)
    say(f"articulation: fitted on {len(said)} clips")
    table = tomllib.loads((CONFIG_FOLDER / "speech.toml").read_text(encoding="utf-8"))
    recordings = [build(Recordings, each, "speech.toml") for each in table.get("recordings", [])]
    recordings += further
    seconds: dict[str, float] = {}
    for name, voice, weight, samples, phones in _everything(
        material, recordings, build(Spoken, table["spoken"], "speech.toml")
    ):
        save_speech(cache, replace(drawn_speech(name, voice, samples, phones, model), weight=weight))
        seconds[voice] = seconds.get(voice, 0.0) + len(samples) / SAMPLE_RATE_HZ
    say("speech: " + ", ".join(f"{voice} {length:.0f} s" for voice, length in seconds.items()))


def further_recordings(argument: str) -> Recordings:
    """Read "FOLDER", "FOLDER:LANGUAGE" or "FOLDER:LANGUAGE:WEIGHT", a folder of one voice with a list of what is said.

    Args:
        argument: The language as espeak-ng calls it; English where it is left out. The weight as in `Recordings`.

    Raises:
        ConfigError: The weight is no number above 0.
    """
    folder, language, weight = (*argument.split(":"), "", "")[:3]
    try:
        counts = float(weight or 1)
    except ValueError:
        counts = 0.0
    if not counts > 0:
        raise ConfigError(f"--recordings {argument}: the weight is {weight!r}, expected a number above 0")
    path = Path(folder).resolve()
    return Recordings(str(path), path.name, language=language or ENGLISH, weight=counts)


def drawn_speech(name: str, voice: str, samples: Samples, phones: list[Phone], model: Articulation) -> CachedSpeech:
    """A recording with the mouth that the model draws for its phones."""
    times_s = np.arange(0, len(samples) / SAMPLE_RATE_HZ, 1 / TRACK_HZ)
    return CachedSpeech(name, voice, mel_spectrogram(samples), model.track(phones, times_s), tuple(phones))


def _everything(
    material: Path, recordings: list[Recordings], spoken: Spoken
) -> Iterator[tuple[str, str, float, Samples, list[Phone]]]:
    """Name, voice, weight, samples and phones of each recording that has phones."""
    for source in recordings:
        for path, text in _texts(material / source.path, source.text, source.texts):
            samples, _ = read_sound(path)
            phones = align_phones(samples, text, source.language)
            if phones is not None:
                yield f"{source.voice}-{path.stem}", source.voice, source.weight, samples, phones
    lines = sorted({line for each in spoken.texts for line in _lines(material / each)})
    for voice in flite_voices():
        for first in range(0, len(lines), spoken.lines_per_recording):
            text = " ".join(lines[first : first + spoken.lines_per_recording])
            yield f"flite_{voice}-{first:04d}", f"flite_{voice}", spoken.weight, *flite_speech(text, voice)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ConfigError(f"no text {path}; check --material")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _texts(path: Path, text: str, texts: dict[str, str]) -> list[tuple[Path, str]]:
    """The sound files of a folder and what is said in each, by the folder's own list."""
    if text:
        return [(path, text)]
    if not path.is_dir():
        raise ConfigError(f"no recordings {path}; check --material")
    said = dict(texts)
    for listed in sorted(path.glob("metadata.csv")):
        rows = (line.split("|") for line in listed.read_text(encoding="utf-8").splitlines())
        said |= {row[0]: row[-1] for row in rows}
    for listed in sorted(path.glob("*transcription")):
        for line in listed.read_text(encoding="utf-8").splitlines():
            words, _, name = line.rstrip(") ").rpartition("(")
            said[name] = words.replace("<s>", "").replace("</s>", "")
    for listed in sorted(path.glob("*.tsv")):
        rows = (line.split("\t") for line in listed.read_text(encoding="utf-8").splitlines())
        said |= {Path(row[0]).stem: row[1] for row in rows if len(row) > 1}
    for listed in sorted(path.glob("*.json")):
        said |= {name: row["wrd"] for name, row in json.loads(listed.read_text(encoding="utf-8")).items()}
    files = {each.stem: each for each in path.iterdir() if each.suffix in SOUND_SUFFIXES}
    found = [(files[name], words) for name, words in sorted(said.items()) if name in files]
    if not found:
        raise MaterialError(f"{path} has no list of what is said in it (metadata.csv, *transcription, *.tsv, *.json)")
    return found
