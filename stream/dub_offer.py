"""What a server can dub, and how a wish for a dub is read from a request: strictly, with the remedy in each refusal."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stream.clock import Clock
from stream.errors import BackEndError, ConfigError
from stream.http_errors import Refusal
from stream.speech.back_ends import ENGLISH, BackEnds, reaches
from stream.speech.recognise import ProcessRecogniser
from stream.speech.speak import ProcessSpeaker
from stream.speech.stretch import check_stretch
from stream.speech.translate import ProcessTranslator
from stream.speech.wish import DubWish

DUB_FIELDS = ("from", "to", "video", "speaker_voice", "duck")
_SOURCE, _TARGET = "en", "es"
# A refusal names so many voices.
_NAMED = 12
_DRAFT = "Translation and voice are of draft quality: often wrong, and robotic"


@dataclass(frozen=True, slots=True)
class DubOffer:
    """What this server can dub; nothing where it has no speech back ends.

    Attributes:
        pairs: Source and target as BCP 47 tags; a source may be "auto".
        notes: What a person should know before choosing.
        voices: That `speaker_voice` may name, beside the languages' own.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()

    def public(self) -> dict[str, Any]:
        """As the page takes it."""
        languages = [{"from": source, "to": target} for source, target in self.pairs]
        return {"languages": languages, "voices": list(self.voices), "warning": "; ".join(self.notes) or None}


NO_DUB = DubOffer()


def find_offer(clock: Clock, back_ends: BackEnds) -> DubOffer:
    """Start each back end once and ask what it can do; without one of them there is no dubbing, and it is said why."""
    opened: list[ProcessSpeaker | ProcessTranslator | ProcessRecogniser] = []
    try:
        check_stretch()
        speaker = ProcessSpeaker(back_ends.speaker_program(), clock)
        opened.append(speaker)
        translator = ProcessTranslator(back_ends.translator_program(), clock)
        opened.append(translator)
        spoken, voices, pairs = speaker.caps.languages, speaker.caps.voices, translator.pairs
        sources = back_ends.sources()
        if ENGLISH in sources or not sources:
            recogniser = ProcessRecogniser(back_ends.recogniser_program(ENGLISH, into_english=False), clock)
            opened.append(recogniser)
            sources = tuple(sorted({*sources, *recogniser.caps.languages}))
        targets = {ENGLISH, *(target for _, target in pairs)} & set(spoken)
        offered = tuple(
            (source, target) for source in sources for target in sorted(targets) if reaches(source, target, pairs)
        )
        draft = "draft" in (speaker.caps.quality, translator.caps.quality)
    except (BackEndError, ConfigError) as error:
        return DubOffer(notes=(f"Dubbing is not set up: {error}",))
    finally:
        for back_end in opened:
            back_end.close()
    if not offered:
        return DubOffer(notes=("Dubbing is not set up: no pair of languages is installed",))
    return DubOffer(offered, (_DRAFT,) if draft else (), voices)


def read_dub_wish(fields: Mapping[str, Any], before: DubWish | None, offer: DubOffer) -> DubWish:
    """Read a wish from a query or a JSON object; what is not named stays as before.

    Raises:
        Refusal: 400, a value does not fit, or the server does not dub this pair.
    """
    if not offer.pairs:
        raise Refusal(400, 'mode is "dub", and this server has no speech back ends: install them, or take another mode')
    base = before or DubWish(source=_SOURCE, target=_TARGET)
    wish = DubWish(
        source=_tag(fields, "from", base.source),
        target=_tag(fields, "to", base.target),
        video=_video(fields.get("video", base.video)),
        voice=_voice(fields.get("speaker_voice", base.voice), offer.voices),
        duck=_duck(fields.get("duck", base.duck)),
    )
    if (wish.source, wish.target) not in offer.pairs:
        known = ", ".join(f"{source} to {target}" for source, target in offer.pairs)
        raise Refusal(400, f"from and to are {wish.source} to {wish.target}, this server dubs {known}")
    return wish


def _tag(fields: Mapping[str, Any], name: str, before: str) -> str:
    tag = fields.get(name, before)
    if not isinstance(tag, str) or not tag:
        raise Refusal(400, f'{name} is {json.dumps(tag)}, it must be a language such as "es"')
    return tag


def _video(value: object) -> Literal["live", "together"]:
    if value == "live":
        return "live"
    if value == "together":
        return "together"
    raise Refusal(400, f"video is {json.dumps(value)}, it must be live or together")


def _voice(value: object, known: tuple[str, ...]) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value in known:
        return value
    named = f"it has {', '.join(known[:_NAMED])}" if known else "it has none but the languages' own"
    more = f" and {len(known) - _NAMED} more: /api/options" if len(known) > _NAMED else ""
    raise Refusal(400, f"speaker_voice is {json.dumps(value)}, no voice of this server; {named}{more}")


def _duck(value: object) -> float:
    try:
        gain = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        gain = math.nan
    if not 0 <= gain <= 1:
        raise Refusal(400, f"duck is {json.dumps(value)}, it must be a gain from 0 to 1")
    return gain
