"""What a speaker's worker is asked, checked against what it can do. It needs only the standard library."""

from collections.abc import Collection
from dataclasses import dataclass

from stream.speech.wire import Message
from stream.speech.worker import Refused

RATES = (0.5, 2.0)

NO_CLONES = "it does not clone voices; name one of its own"


def consent_needed(reference: str) -> str:
    """Why a recording is not spoken with, and what to do."""
    return (
        f"the voice in {reference} is cloned only with the consent of the person who speaks there: ask that person, "
        "and then state it (ClonedVoice(reference, consent=True))"
    )


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """One clause to speak.

    Attributes:
        rate: Speed against the voice's own.
        voice: One of the speaker's; None for the language's own, or for a cloned one.
        reference: Path of the recording to clone, with consent; None for the speaker's own voices.
    """

    text: str
    language: str
    rate: float
    voice: str | None
    reference: str | None


def read_request(
    message: Message, *, languages: Collection[str], voices: Collection[str], clones: bool = False
) -> SpeakRequest:
    """Read a `speak` message.

    Args:
        message: As `ProcessSpeaker` sends it.
        languages: BCP 47 tags of what is spoken.
        voices: Names of the speaker's own.
        clones: Whether it speaks with a recorded voice.

    Raises:
        Refused: It asks for what is not there, or for a person's voice without consent.
    """
    fields = message.fields
    reference = fields.get("reference")
    if reference is not None and fields.get("consent") is not True:
        raise Refused(consent_needed(reference))
    if reference is not None and not clones:
        raise Refused(NO_CLONES)
    language, voice, rate = fields["language"], fields["voice"], fields["rate"]
    if language not in languages:
        raise Refused(f"it does not speak {language!r}; it speaks {', '.join(sorted(languages))}")
    if voice is not None and voice not in voices:
        known = f"it has {', '.join(sorted(voices))}" if voices else "it has only its own"
        raise Refused(f"it has no voice {voice!r}; {known}")
    if not RATES[0] <= rate <= RATES[1]:
        raise Refused(f"rate is {rate}, it must be between {RATES[0]} and {RATES[1]}")
    return SpeakRequest(str(fields["text"]), language, rate, voice, reference)
