"""Which back ends are named, and the programs that they are; which of them a pair of languages takes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.errors import ConfigError
from stream.speech.apertium import APERTIUM
from stream.speech.espeak import ESPEAK
from stream.speech.firefox import firefox
from stream.speech.host import Program
from stream.speech.kokoro import MODEL as KOKORO
from stream.speech.kokoro import kokoro
from stream.speech.model_list import MODELS
from stream.speech.moonshine import MOONSHINE
from stream.speech.piper import piper
from stream.speech.pocket import pocket
from stream.speech.whisper import NAMES, whisper, whisper_folder

ENGLISH = "en"
AUTO = "auto"
"""As a source: whatever is spoken. It is heard in English words."""

Pairs = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackEnds:
    """What a chain is made of.

    Attributes:
        models: Where `visavis models` keeps what it has fetched.
        recogniser: "auto" hears English with Moonshine, and other languages with a Whisper that was fetched;
            "moonshine"; a Whisper of `visavis models list`; or the folder of one.
        translator: "apertium", or a folder of Firefox's translation models.
        speaker: "espeak"; "kokoro-82m"; "piper-joe"; "pocket"; or the folder of a voice of Kokoro or Piper.
    """

    models: Path
    recogniser: str = AUTO
    translator: str = "apertium"
    speaker: str = "espeak"

    def translator_program(self) -> Program:
        """What translates.

        Raises:
            ConfigError: It is no back end's name and no folder.
        """
        if self.translator == "apertium":
            return APERTIUM
        return firefox(_folder("translator", self.translator, "apertium, or a folder of Firefox's translation models"))

    def speaker_program(self) -> Program:
        """What speaks.

        Raises:
            ConfigError: It is no back end's name and no folder.
        """
        if self.speaker == "espeak":
            return ESPEAK
        if self.speaker == KOKORO:
            # With one thread it cannot keep up with who speaks, on the cores that it was measured on.
            return kokoro(self.models, threads=2)
        if self.speaker == "pocket":
            return pocket()
        if self.speaker in MODELS and MODELS[self.speaker].task == "speak":
            return piper(self.models, self.speaker)
        names = ", ".join(["espeak", "pocket", *(name for name, model in MODELS.items() if model.task == "speak")])
        folder = _folder("speaker", self.speaker, f"one of {names}, or the folder of a voice")
        made = kokoro if (folder / "vocab.json").is_file() else piper
        return made(self.models, str(folder))

    def recogniser_program(self, source: str, *, into_english: bool) -> Program:
        """What hears `source`, in its own words or in English ones.

        Raises:
            ConfigError: Nothing does; says what to fetch.
        """
        if self._hears_with_moonshine(source):
            return MOONSHINE
        name = self._whisper_for(source)
        language = None if source == AUTO else source
        return whisper(whisper_folder(name, self.models), language=language, translate=into_english)

    def _hears_with_moonshine(self, source: str) -> bool:
        if self.recogniser == "moonshine" and source != ENGLISH:
            raise ConfigError(f"moonshine hears English (en), not {source!r}; recogniser can be auto or a Whisper")
        return source == ENGLISH and self.recogniser in (AUTO, "moonshine")

    def _whisper_for(self, source: str) -> str:
        if self.recogniser != AUTO:
            return self.recogniser
        for name in NAMES:
            if _hears(name, source) and (self.models / name).is_dir():
                return name
        can = next((name for name in NAMES if _hears(name, source)), "whisper-base")
        raise ConfigError(f"no recogniser here hears {source!r}. Fetch one that does: visavis models get {can}")

    def sources(self) -> tuple[str, ...]:
        """Languages that are offered: what is here has been tried with them. A Whisper may hear others too."""
        found = {ENGLISH} if self.recogniser in (AUTO, "moonshine") else set[str]()
        for name in NAMES if self.recogniser == AUTO else [self.recogniser]:
            if name in MODELS and (self.models / name).is_dir():
                found |= set(MODELS[name].languages)
                found |= {AUTO} if len(MODELS[name].languages) > 1 else set()
        return tuple(sorted(found))


EMBEDDED = BackEnds(models=Path(os.devnull))
"""Those that need no model to be fetched."""


def _hears(name: str, source: str) -> bool:
    """Whether a model may be asked for a language: one that knows several knows more than were tried."""
    return source in MODELS[name].languages or len(MODELS[name].languages) > 1


def _folder(what: str, named: str, expected: str) -> Path:
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{what} is {named!r}, expected {expected}")
    return folder


def heard_in_english(source: str, targets: Sequence[str], pairs: Pairs) -> bool:
    """Whether words are to be heard in English: into that a recogniser translates better than a draft translator."""
    if source in (ENGLISH, AUTO):
        return source == AUTO
    return ENGLISH in targets or not all(target == source or (source, target) in pairs for target in targets)


def reaches(source: str, target: str, pairs: Pairs) -> bool:
    """Whether words of `source` can be had in `target`, directly or heard in English."""
    if source == target:
        return False
    if source == ENGLISH:
        return (source, target) in pairs
    return target == ENGLISH or (source, target) in pairs or (ENGLISH, target) in pairs
