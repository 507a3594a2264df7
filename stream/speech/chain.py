"""Which back ends make up a chain from one language to others, and what must be said about them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream.clock import Clock
from stream.errors import BackEndError, ConfigError
from stream.speech.back_ends import ENGLISH, BackEnds, heard_in_english, reaches
from stream.speech.glossary import Glossary, GlossaryTranslator
from stream.speech.host import Failure
from stream.speech.protocol import Recogniser, Speaker, Translator
from stream.speech.recognise import ProcessRecogniser
from stream.speech.sentence import SentenceTranslator
from stream.speech.speak import ProcessSpeaker
from stream.speech.translate import PassThrough, ProcessTranslator


@dataclass(frozen=True, slots=True)
class Chain:
    """Back ends that work together; each is used on one thread, and closed by who uses it.

    Attributes:
        translators: By target language.
        notes: What a listener must know of their quality, one line each.
        failures: Crashes, hangs and restarts of their processes.
    """

    recogniser: Recogniser
    translators: Mapping[str, Translator]
    speaker: Speaker
    notes: tuple[str, ...]
    failures: Counter[str]

    def close(self) -> None:
        """End every process, where one thread uses all of them; calling it twice is harmless."""
        self.recogniser.close()
        for translator in self.translators.values():
            translator.close()
        self.speaker.close()

    def counts(self) -> dict[str, int]:
        """How often their processes failed, by reason, and were started again."""
        return dict(self.failures)


def open_chain(
    source: str,
    targets: Sequence[str],
    clock: Clock,
    back_ends: BackEnds,
    *,
    untranslated: bool = True,
    glossary: Glossary | None = None,
) -> Chain:
    """Start the back ends that speak `source` in every one of `targets`.

    Args:
        source: BCP 47 tag of what is heard, or "auto".
        targets: BCP 47 tags of what is wanted.
        clock: Measures the back ends' deadlines.
        back_ends: What they are.
        glossary: Terms that are not left to the translator.
        untranslated: Words pass as they are where a pair is not installed; otherwise that is refused.

    Raises:
        ConfigError: A back end is not installed, or none hears `source` or speaks a target; nothing runs then.
        BackEndError: One cannot be started.
    """
    failures: Counter[str] = Counter()

    def count(failure: Failure) -> None:
        failures[failure.reason] += 1
        failures["restarted"] += failure.restarted

    opened: list[ProcessSpeaker | ProcessTranslator | ProcessRecogniser] = []
    try:
        speaker = ProcessSpeaker(back_ends.speaker_program(), clock, count)
        opened.append(speaker)
        translator = ProcessTranslator(back_ends.translator_program(), clock, count)
        opened.append(translator)
        into_english = heard_in_english(source, targets, translator.pairs)
        program = back_ends.recogniser_program(source, into_english=into_english)
        if not untranslated:
            _check_pairs(translator, source, targets)
        notes, translators = _translators(translator, ENGLISH if into_english else source, targets)
        _check_spoken(speaker, targets)
        if translator not in translators.values():
            translator.close()
        recogniser = ProcessRecogniser(program, clock, count)
        opened.append(recogniser)
        # Started now, so that the first clause does not wait for it.
        notes = [*_heard_notes(recogniser, into_english=into_english), *notes]
    except (ConfigError, BackEndError):
        for each in opened:
            each.close()
        raise
    translators = {target: _with_terms(each, glossary) for target, each in translators.items()}
    if speaker.caps.quality == "draft":
        notes.append(f"voice: {speaker.caps.name}, robotic")
    notes += [
        f"{each.caps.name} is not for commercial use" for each in (recogniser, speaker) if not each.caps.commercial
    ]
    return Chain(recogniser, translators, speaker, tuple(notes), failures)


def _with_terms(translator: Translator, glossary: Glossary | None) -> Translator:
    """A translator that knows the terms, and the sentence that it is in; what only passes words needs neither."""
    if isinstance(translator, PassThrough):
        return translator
    return SentenceTranslator(translator if glossary is None else GlossaryTranslator(translator, glossary))


def _translators(
    translator: Translator, source: str, targets: Sequence[str]
) -> tuple[list[str], dict[str, Translator]]:
    notes: list[str] = []
    chosen: dict[str, Translator] = {}
    for target in targets:
        if target == source or (source, target) not in translator.pairs:
            chosen[target] = PassThrough()
            if target != source:
                notes.append(f"{source} to {target} is not installed: you are heard untranslated")
        else:
            chosen[target] = translator
            if translator.caps.quality == "draft":
                notes.append(f"translation to {target}: {translator.caps.name}, draft quality, often wrong")
    return notes, chosen


def _heard_notes(recogniser: Recogniser, *, into_english: bool) -> list[str]:
    caps = recogniser.caps
    notes = [f"translation to English: {caps.name} while it listens, draft quality"] if into_english else []
    return [*notes, *([f"recognition: {caps.name}, draft quality"] if caps.quality == "draft" else [])]


def _check_pairs(translator: Translator, source: str, targets: Sequence[str]) -> None:
    for target in targets:
        if target == source:
            raise ConfigError(f"{target!r} is what is spoken already: name another language to dub into")
        if not reaches(source, target, translator.pairs):
            there = ", ".join(sorted(f"{one} to {other}" for one, other in translator.pairs))
            raise ConfigError(
                f"{translator.caps.name} has no pair {source} to {target}; installed: {there}. Name one of these, or "
                "install the pair: docs/dub.md says how (apt-cache search apertium lists those of Apertium)"
            )


def _check_spoken(speaker: Speaker, targets: Sequence[str]) -> None:
    for target in targets:
        if target not in speaker.caps.languages:
            raise ConfigError(f"{speaker.caps.name} does not speak {target!r}; name one of its languages")
