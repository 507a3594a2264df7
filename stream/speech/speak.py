"""A speaker in a process of its own, whatever the program behind it.

The worker answers `speak` (text, language, rate, voice; for a cloned voice also reference and consent) with `sound`
messages: `start` and `phones` in samples, `rate_hz`, and the samples themselves as signed 16-bit integers. What it says
of itself when ready is its `Caps`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stream.clock import Clock
from stream.errors import BackEndError
from stream.frames import NS_PER_S
from stream.speech.host import Failure, Health, Host, Program
from stream.speech.protocol import Caps, ClonedVoice, Phone, SpokenChunk, Voice, read_caps
from stream.speech.speak_request import NO_CLONES, consent_needed
from stream.speech.wire import Message


class ProcessSpeaker:
    """See `Speaker`. The program starts with the first request.

    Args:
        program: What to run.
        clock: Measures its deadlines.
        on_failure: Told of every crash and hang, on the thread that speaks.
    """

    def __init__(self, program: Program, clock: Clock, on_failure: Callable[[Failure], None] | None = None) -> None:
        self._host = Host(program, clock, on_failure)

    @property
    def caps(self) -> Caps:
        """See `Speaker.caps`; starts the program.

        Raises:
            ConfigError: It is not installed.
            BackEndError: It failed.
        """
        return read_caps(self._host.start().fields)

    def speak(
        self, clause_id: int, text: str, language: str, *, rate: float = 1.0, voice: Voice | None = None
    ) -> Iterator[SpokenChunk]:
        """See `Speaker.speak`."""
        whose = self._cloned(voice) if isinstance(voice, ClonedVoice) else {"voice": voice}
        answer = self._host.exchange("speak", clause_id, text=text, language=language, rate=rate, **whose)
        for message in answer:
            yield spoken_chunk(clause_id, message)

    def _cloned(self, voice: ClonedVoice) -> dict[str, Any]:
        """The fields of a request that ask for a cloned voice; a recording without consent is not even sent."""
        if not voice.consent:
            raise BackEndError(consent_needed(str(voice.reference)))
        if not self.caps.clones:
            raise BackEndError(f"{self.caps.name}: {NO_CLONES}")
        return {"voice": None, "reference": str(voice.reference.absolute()), "consent": True}

    def cancel(self, clause_id: int) -> None:
        """See `Speaker.cancel`."""
        self._host.cancel(clause_id)

    def health(self) -> Health:
        """How its process is."""
        return self._host.health()

    def close(self) -> None:
        """See `Speaker.close`."""
        self._host.close()


def spoken_chunk(clause_id: int, message: Message) -> SpokenChunk:
    """What a `sound` message holds."""
    rate_hz = message.fields["rate_hz"]
    phones = tuple(
        Phone(ipa, start * NS_PER_S // rate_hz, end * NS_PER_S // rate_hz)
        for ipa, start, end in message.fields["phones"]
    )
    samples = np.frombuffer(message.body, "<i2").astype(np.float32) / np.float32(32768)
    return SpokenChunk(clause_id, message.fields["start"] * NS_PER_S // rate_hz, rate_hz, samples, phones)
