"""The program that speaks with Kokoro-82M; only ever run as a process of its own."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import ConfigError
from stream.speech.model_list import MODELS
from stream.speech.onnx_voice import (
    TIE,
    Network,
    Part,
    Phonemisers,
    Samples,
    Sound,
    model_folder,
    phones_of,
    speak_parts,
)
from stream.speech.speak_request import read_request
from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, serve

RATE_HZ = 24_000
# One frame of its durations, 40 a second.
HOP = 600
_DURATIONS = "/encoder/Clip_output_0"
# Its sound is two frames ahead of its durations: in Spanish, 57 starts and ends of s lay 50 ms before theirs, half of
# them within 8 ms; those of eSpeak NG lay 0 to 3 ms beside theirs.
_EARLY = 2
_PAD = 0
# Its text encoder has 512 positions, two of them for the pads; a voice has a style for each length.
_MOST_SYMBOLS = 510

LANGUAGES = {"en": "en-us", "es": "es"}
"""The languages that were tried, and espeak-ng's names of them."""

# How its authors' misaki writes what espeak-ng gives.
_SHARED = {
    "a^ɪ": "I",
    "a^ʊ": "W",
    "d^ʒ": "ʤ",
    "d^z": "ʣ",
    "e^ɪ": "A",
    "o^ʊ": "O",
    "t^s": "ʦ",
    "t^ʃ": "ʧ",
    "ə^ʊ": "Q",
    "ɔ^ɪ": "Y",
}
_AMERICAN = {
    "ʔn̩": "tᵊn",
    "n̩": "ᵊn",
    "ə^l": "ᵊl",
    "i^ə": "iə",
    "ɜːɹ": "ɜɹ",
    "ɜː": "ɜɹ",
    "ɚ": "əɹ",
    "ɐ": "ə",
    "ɬ": "l",
    "x": "k",
    "ç": "k",
    "r": "ɹ",
    "ɾ": "T",
    "ʔ": "t",
    "o": "ɔ",
    "e": "A",
    "ː": "",
    "̃": "",
}
_WRITTEN: Mapping[str, Mapping[str, str]] = {"en": {**_SHARED, **_AMERICAN}, "es": _SHARED}
_LONGEST = 3

SPELT = {
    "A": "eɪ",
    "I": "aɪ",
    "O": "oʊ",
    "Q": "əʊ",
    "W": "aʊ",
    "Y": "ɔɪ",
    "T": "ɾ",
    "ʣ": "dz",
    "ʤ": "dʒ",
    "ʦ": "ts",
    "ʧ": "tʃ",
    "ᵊ": "ə",
    "ᵻ": "ɪ",
}
"""IPA of the symbols of Kokoro that are not IPA."""


def symbols_of(phonemes: str, language: str, vocabulary: Mapping[str, int]) -> str:
    """Write espeak-ng's phonemes in Kokoro's symbols; what it has none for is left out.

    Args:
        phonemes: With ties.
        language: One of `LANGUAGES`.
        vocabulary: Number of each symbol.
    """
    table = _WRITTEN[language]
    written = []
    at = 0
    while at < len(phonemes):
        length = next((n for n in range(_LONGEST, 0, -1) if phonemes[at : at + n] in table), 1)
        found = phonemes[at : at + length]
        written.append(table.get(found, found))
        at += length
    return "".join(symbol for symbol in "".join(written).replace(TIE, "") if symbol in vocabulary)


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read `vocab.json`.

    Raises:
        OSError: It is not there.
        ValueError: It is not one.
    """
    try:
        vocabulary = json.loads(path.read_text("utf-8"))["vocab"]
        return {str(symbol): int(number) for symbol, number in vocabulary.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError(f'{path} must be an object with "vocab": symbols and their numbers') from None


def read_voices(folder: Path) -> dict[str, Samples]:
    """Read the styles of all voices in `voices*.npz`, float32 [510, 1, 256] each.

    Raises:
        ValueError: There is none, or one has another shape.
    """
    voices: dict[str, Samples] = {}
    for path in sorted(folder.glob("voices*.npz")):
        with np.load(path) as archive:
            voices.update({name: archive[name].astype(np.float32) for name in archive.files})
    if not voices:
        raise ValueError(f"{folder} has no voices*.npz with a voice in it")
    for name, styles in voices.items():
        if styles.shape != (_MOST_SYMBOLS, 1, 256):
            raise ValueError(f"voice {name} has shape {styles.shape}, expected ({_MOST_SYMBOLS}, 1, 256)")
    return voices


class Kokoro:
    """Answers requests.

    Args:
        network: The model.
        vocabulary: Number of each of its symbols.
        voices: Styles by name.
        phonemisers: espeak-ng.
        terms: Licence of the model, and whether commercial use is allowed.
    """

    def __init__(
        self,
        network: Network,
        vocabulary: Mapping[str, int],
        voices: Mapping[str, Samples],
        phonemisers: Phonemisers,
        terms: tuple[str, bool],
    ) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._voices = voices
        self._phonemisers = phonemisers
        self._terms = terms

    def describe(self) -> dict[str, Any]:
        """What it can do, as `Caps` has it."""
        licence, commercial = self._terms
        return {
            "name": "Kokoro-82M",
            "licence": licence,
            "commercial": commercial,
            "quality": "good",
            "languages": sorted(LANGUAGES),
            "voices": sorted(self._voices),
            "phone_times": self._network.phone_times,
        }

    def speak(self, message: Message, answer: Answer) -> None:
        """Speak one clause."""
        asked = read_request(message, languages=LANGUAGES, voices=self._voices)
        styles = self._voices[asked.voice or min(self._voices)]

        def part_of(part: Part) -> Sound | None:
            symbols = self._symbols(part, asked.language)
            return self._make(symbols, styles, asked.rate) if any(each.isalpha() for each in symbols) else None

        speak_parts(asked.text, answer, RATE_HZ, part_of)

    def _symbols(self, part: Part, language: str) -> str:
        spoken = []
        for piece in part:
            phonemes = self._phonemisers.phonemes(piece.words, LANGUAGES[language])
            spoken.append(symbols_of(phonemes, language, self._vocabulary) + piece.mark)
        return "".join(symbol for symbol in " ".join(spoken) if symbol in self._vocabulary)[:_MOST_SYMBOLS]

    def _make(self, symbols: str, styles: Samples, rate: float) -> Sound:
        numbers = [_PAD, *(self._vocabulary[symbol] for symbol in symbols), _PAD]
        sound, frames = self._network.run(
            {
                "tokens": np.array([numbers], np.int64),
                "style": styles[len(symbols) - 1],
                "speed": np.array([rate], np.float32),
            }
        )
        if frames is None:
            return sound, []
        early = min(_EARLY, int(frames[0]))
        frames[0] -= early
        frames[-1] += early
        return sound, phones_of(["^", *symbols, "$"], frames * HOP, SPELT)


def open_kokoro(model: str, models: Path, threads: int) -> Kokoro:
    """Load it, and start espeak-ng to see that it is there.

    Raises:
        ConfigError: The catalogue's model is not what it should be.
        ImportError: onnxruntime is not installed.
        OSError: espeak-ng or a file is not there.
        ValueError: A file is not what it should be.
    """
    folder = model_folder(model, models)
    vocabulary, voices = read_vocabulary(folder / "vocab.json"), read_voices(folder)
    phonemisers = Phonemisers()
    phonemisers.phonemes("a", LANGUAGES["en"])
    known = MODELS.get(model)
    # Of a folder that somebody made, nobody said under which terms its voices are.
    terms = ("NOASSERTION", False) if known is None else (known.licence, known.commercial)
    return Kokoro(Network(folder / "model.onnx", threads, _DURATIONS), vocabulary, voices, phonemisers, terms)


def main() -> None:
    """Speak until the pipe is closed."""
    model, models, threads = sys.argv[1:]
    channel = Channel()
    try:
        kokoro = open_kokoro(model, Path(models), int(threads))
    except (ConfigError, ImportError, OSError, ValueError) as error:
        channel.send({"kind": "missing", "what": str(error)})
        return
    serve(channel, kokoro.describe(), {"speak": kokoro.speak})


if __name__ == "__main__":
    main()
