"""From which languages to which this machine dubs, found out once when the server starts."""

from dataclasses import dataclass

from stream.clock import Clock
from stream.errors import BackEndError, ConfigError
from stream.speech.apertium import APERTIUM
from stream.speech.espeak import ESPEAK
from stream.speech.moonshine import MOONSHINE
from stream.speech.recognise import ProcessRecogniser
from stream.speech.speak import ProcessSpeaker
from stream.speech.stretch import check_stretch
from stream.speech.translate import ProcessTranslator


@dataclass(frozen=True, slots=True)
class DubOffer:
    """What can be dubbed.

    Attributes:
        pairs: Source and target languages.
        warning: Why there are none, or what a listener must know.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    warning: str | None = None


NO_DUB = DubOffer()


def find_offer(clock: Clock) -> DubOffer:
    """Start each back end once and ask what it can do; without one of them there is no dubbing, and it is said why."""
    speaker, recogniser = ProcessSpeaker(ESPEAK, clock), ProcessRecogniser(MOONSHINE, clock)
    translator = ProcessTranslator(APERTIUM, clock)
    try:
        check_stretch()
        heard, spoken = recogniser.caps.languages, speaker.caps.languages
        pairs = tuple(sorted(pair for pair in translator.pairs if pair[0] in heard and pair[1] in spoken))
    except (BackEndError, ConfigError) as error:
        return DubOffer(warning=f"Dubbing is not set up: {error}")
    finally:
        for back_end in (speaker, recogniser, translator):
            back_end.close()
    return DubOffer(pairs, "Translation and voice are of draft quality: often wrong, and robotic." if pairs else None)
