"""The program that speaks with a voice of Piper; only ever run as a process of its own."""

import json
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import ConfigError
from stream.speech.model_list import MODELS
from stream.speech.onnx_voice import TIE, Network, Part, Phonemisers, Sound, model_folder, phones_of, speak_parts
from stream.speech.speak_request import SpeakRequest, read_request
from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, serve

# One frame of its durations, whatever the sample rate.
HOP = 256
_DURATIONS = "/Ceil_output_0"
_START, _END, _BLANK = "^", "$", "_"


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """What the JSON beside a voice says.

    Attributes:
        rate_hz: Samples a second.
        espeak: The name that espeak-ng has for its language.
        languages: BCP 47 tags, with and without the region.
        numbers: Those of each symbol.
        length_scale: How slow it is.
        noise_scale: How much its sound varies.
        noise_w: How much its durations vary.
        speakers: Number of each speaker by name; none where there is only one.
    """

    rate_hz: int
    espeak: str
    languages: tuple[str, ...]
    numbers: Mapping[str, tuple[int, ...]]
    length_scale: float
    noise_scale: float
    noise_w: float
    speakers: Mapping[str, int]


def read_config(path: Path) -> VoiceConfig:
    """Read a voice's `.onnx.json`.

    Raises:
        OSError: It is not there.
        ValueError: It is not what Piper writes, or its voice takes letters instead of espeak-ng's phonemes.
    """
    try:
        said = json.loads(path.read_text("utf-8"))
        kind = said.get("phoneme_type", "espeak")
        if kind != "espeak":
            raise ValueError(f"its phonemes are of type {kind!r}, only 'espeak' can be spoken")
        inference, espeak = said["inference"], str(said["espeak"]["voice"])
        code = str(said.get("language", {}).get("code", espeak)).replace("_", "-")
        return VoiceConfig(
            rate_hz=int(said["audio"]["sample_rate"]),
            espeak=espeak,
            languages=tuple(dict.fromkeys((code, code.partition("-")[0]))),
            numbers={symbol: tuple(map(int, numbers)) for symbol, numbers in said["phoneme_id_map"].items()},
            length_scale=float(inference["length_scale"]),
            noise_scale=float(inference["noise_scale"]),
            noise_w=float(inference["noise_w"]),
            speakers={name: int(number) for name, number in said.get("speaker_id_map", {}).items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the description of a Piper voice: {error!r} is missing or wrong") from None
    except ValueError as error:
        raise ValueError(f"{path} is not the description of a Piper voice that can be spoken: {error}") from None


def find_voice(folder: Path) -> Path:
    """The network of a folder.

    Raises:
        ValueError: There is none in it, or more than one.
    """
    found = sorted(folder.glob("*.onnx"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"{folder} must have one voice, an .onnx file and its .onnx.json; found {names}")
    return found[0]


def symbols_of(spoken: str, numbers: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The symbols that a network is given, with a blank after each; those that it does not know are left out.

    Args:
        spoken: Phonemes and punctuation.
        numbers: Those of each symbol.
    """
    known = [symbol for symbol in unicodedata.normalize("NFD", spoken.replace(TIE, "")) if symbol in numbers]
    # What marks start, end and blank is not for a text to say.
    known = [symbol for symbol in known if symbol not in (_START, _END, _BLANK)]
    return [_START, _BLANK, *(each for symbol in known for each in (symbol, _BLANK)), _END]


class Piper:
    """Answers requests.

    Args:
        name: Of the voice.
        network: The voice.
        config: What it says of itself.
        phonemisers: espeak-ng.
        terms: Licence of the voice, and whether commercial use is allowed.
    """

    def __init__(
        self, name: str, network: Network, config: VoiceConfig, phonemisers: Phonemisers, terms: tuple[str, bool]
    ) -> None:
        self._name = name
        self._network = network
        self._config = config
        self._phonemisers = phonemisers
        self._terms = terms

    def describe(self) -> dict[str, Any]:
        """What it can do, as `Caps` has it."""
        licence, commercial = self._terms
        return {
            "name": f"Piper {self._name}",
            "licence": licence,
            "commercial": commercial,
            "quality": "good",
            "languages": self._config.languages,
            "voices": sorted(self._config.speakers),
            "phone_times": self._network.phone_times,
        }

    def speak(self, message: Message, answer: Answer) -> None:
        """Speak one clause."""
        asked = read_request(message, languages=self._config.languages, voices=self._config.speakers)
        speak_parts(asked.text, answer, self._config.rate_hz, lambda part: self._part(part, asked))

    def _part(self, part: Part, asked: SpeakRequest) -> Sound | None:
        spoken = " ".join(self._phonemisers.phonemes(piece.words, self._config.espeak) + piece.mark for piece in part)
        symbols = symbols_of(spoken, self._config.numbers)
        return self._make(symbols, asked) if any(symbol.isalpha() for symbol in symbols) else None

    def _make(self, symbols: list[str], asked: SpeakRequest) -> Sound:
        config = self._config
        numbers = [number for symbol in symbols for number in config.numbers[symbol]]
        scales = [config.noise_scale, config.length_scale / asked.rate, config.noise_w]
        feed = {
            "input": np.array([numbers], np.int64),
            "input_lengths": np.array([len(numbers)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if "sid" in self._network.inputs:
            feed["sid"] = np.array([config.speakers[asked.voice] if asked.voice else 0], np.int64)
        sound, frames = self._network.run(feed)
        each = [symbol for symbol in symbols for _ in config.numbers[symbol]]
        return sound, [] if frames is None else phones_of(each, frames * HOP, {})


def open_piper(model: str, models: Path, threads: int) -> Piper:
    """Load a voice, and start espeak-ng to see that it is there.

    Raises:
        ConfigError: The catalogue's model is not what it should be.
        ImportError: onnxruntime is not installed.
        OSError: espeak-ng, its voice or a file is not there.
        ValueError: A file is not what it should be.
    """
    path = find_voice(model_folder(model, models))
    config = read_config(path.with_suffix(".onnx.json"))
    phonemisers = Phonemisers()
    phonemisers.phonemes("a", config.espeak)
    known = MODELS.get(model)
    # Of a voice that somebody brought, nobody said under which terms it is.
    terms = ("NOASSERTION", False) if known is None else (known.licence, known.commercial)
    return Piper(path.stem, Network(path, threads, _DURATIONS), config, phonemisers, terms)


def main() -> None:
    """Speak until the pipe is closed."""
    model, models, threads = sys.argv[1:]
    channel = Channel()
    try:
        piper = open_piper(model, Path(models), int(threads))
    except (ConfigError, ImportError, OSError, ValueError) as error:
        channel.send({"kind": "missing", "what": str(error)})
        return
    serve(channel, piper.describe(), {"speak": piper.speak})


if __name__ == "__main__":
    main()
