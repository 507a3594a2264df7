"""The program that speaks with Pocket TTS; only ever run as a process of its own.

It uses the package by what its documentation promises: `TTSModel.load_model`, `sample_rate`,
`get_state_for_audio_prompt` and `generate_audio_stream`.
"""

import importlib
import inspect
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import ConfigError
from stream.speech.speak_request import SpeakRequest, read_request
from stream.speech.stretch import stretch
from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, Refused, serve

MODELS = {
    "en": ("english",),
    "fr": ("french", "french_24l"),
    "de": ("german", "german_24l"),
    "pt": ("portuguese", "portuguese_24l"),
    "it": ("italian", "italian_24l"),
    "es": ("spanish", "spanish_24l"),
}
"""What the package calls each language's model. Versions differ: the larger one is taken where there is no other."""

# Those that come with it from recordings that may be used commercially; others of its list, from Expresso and EARS,
# may not.
VOICES = (
    "alba",
    "anna",
    "azelma",
    "bill_boerst",
    "caro_davy",
    "charles",
    "eponine",
    "eve",
    "fantine",
    "george",
    "jane",
    "javert",
    "marius",
    "mary",
    "michael",
    "paul",
    "peter_yearsley",
    "stuart_bell",
    "vera",
)
_DEFAULT_VOICE = "alba"

Samples = Any  # float32 [n]
Model = Any  # pocket_tts.TTSModel
State = Any


class Pocket:
    """Answers requests.

    Args:
        kind: `pocket_tts.TTSModel`.
    """

    def __init__(self, kind: Any) -> None:  # noqa: ANN401 - the package is optional
        self._kind = kind
        self._models: dict[str, Model] = {}
        self._states: dict[tuple[str, str], State] = {}
        self._cloned: tuple[tuple[str, str, int], State] | None = None

    def describe(self) -> dict[str, Any]:
        """What it can do, as `Caps` has it."""
        return {
            "name": "Pocket TTS",
            "licence": "CC-BY-4.0",
            "commercial": True,
            "quality": "good",
            "languages": sorted(MODELS),
            "voices": VOICES,
            "phone_times": False,
            "clones": True,
        }

    def load(self, language: str) -> Model:
        """The model of a language, loaded once.

        Raises:
            FileNotFoundError: This version of the package has none.
        """
        if language not in self._models:
            self._models[language] = self._first_model(language)
        return self._models[language]

    def _first_model(self, language: str) -> Model:
        names = MODELS.get(language, ())
        for name in names:
            try:
                return self._kind.load_model(language=name)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"pocket-tts has no model for {language!r}: looked for {', '.join(names) or 'none'}")

    def speak(self, message: Message, answer: Answer) -> None:
        """Speak one clause."""
        asked = read_request(message, languages=MODELS, voices=VOICES, clones=True)
        if not any(letter.isalnum() for letter in asked.text):
            return
        try:
            model = self.load(asked.language)
        except FileNotFoundError as error:
            raise Refused(str(error)) from None
        start = 0
        for samples in self._sound(model, self._state(model, asked), asked, answer):
            body = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
            answer.send("sound", body, start=start, rate_hz=model.sample_rate, phones=[])
            start += len(samples)

    def _state(self, model: Model, asked: SpeakRequest) -> State:
        if asked.reference is not None:
            return self._clone(model, asked.language, Path(asked.reference))
        key = asked.language, asked.voice or _DEFAULT_VOICE
        if key not in self._states:
            self._states[key] = model.get_state_for_audio_prompt(key[1])
        return self._states[key]

    def _clone(self, model: Model, language: str, reference: Path) -> State:
        """What a recording sounds like; kept for the next clause, and only the last one."""
        try:
            key = language, str(reference), reference.stat().st_mtime_ns
            if self._cloned is None or self._cloned[0] != key:
                # A `Path` is read where it lies; a string could also be an address, which would be fetched.
                self._cloned = key, model.get_state_for_audio_prompt(reference, truncate=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise Refused(f"the voice in {reference} cannot be cloned: {error}") from None
        return self._cloned[1]

    def _sound(self, model: Model, state: State, asked: SpeakRequest, answer: Answer) -> Iterator[Samples]:
        """The sound as it comes, or all of it at once where its speed must be changed: the network has none."""
        chunks = _until_cancelled(model, state, asked.text, answer)
        if asked.rate == 1.0:
            yield from chunks
            return
        whole = list(chunks)
        if not whole or answer.cancelled:
            return
        try:
            yield stretch(np.concatenate(whole), model.sample_rate, asked.rate)
        except ConfigError as error:
            raise Refused(f"rate is {asked.rate}: {error}") from None


def _until_cancelled(model: Model, state: State, text: str, answer: Answer) -> Iterator[Samples]:
    """Chunks of float32 [n]. The package is not for two clauses at a time: one that is cancelled is heard out."""
    stop = threading.Event()
    # The newest versions stop when they are told so.
    can_stop = "stop" in inspect.signature(model.generate_audio_stream).parameters
    for chunk in model.generate_audio_stream(state, text, **({"stop": stop} if can_stop else {})):
        if answer.cancelled:
            stop.set()
        else:
            yield np.asarray(chunk.numpy(), np.float32).ravel()


def main() -> None:
    """Speak until the pipe is closed."""
    channel = Channel()
    try:
        pocket = Pocket(importlib.import_module("pocket_tts").TTSModel)
        for language in sys.argv[1:]:
            pocket.load(language)
    except (ImportError, OSError) as error:
        channel.send({"kind": "missing", "what": str(error)})
        return
    serve(channel, pocket.describe(), {"speak": pocket.speak})


if __name__ == "__main__":
    main()
