"""What a speaker made of a clause: its sound for the ear, and its phones, without the silence around them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.frames import NS_PER_S
from stream.media import resample
from stream.speech.protocol import Clause, Phone, SpokenChunk
from stream.speech.track import spoken_part
from stream.voice import EAR_RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Voiced:
    """A clause that can be heard.

    Attributes:
        samples: float32 [n] at 48 kHz; empty where nothing was said.
        phones: From the first of the samples; empty where the speaker gives none.
    """

    samples: NDArray[np.float32]
    phones: tuple[Phone, ...]

    @property
    def duration_ns(self) -> int:
        """Of the samples."""
        return len(self.samples) * NS_PER_S // EAR_RATE_HZ


def as_spoken(clause: Clause, text: str) -> str:
    """A clause's translation as a voice is given it.

    Where words follow it ends in a comma, as a voice falls at the end of what it takes for a sentence.
    """
    text = text.strip()
    return f"{text}," if clause.ahead and text[-1:].isalnum() else text


def voiced(chunks: Iterable[SpokenChunk]) -> Voiced:
    """Put the chunks of one clause together."""
    spoken: Sequence[SpokenChunk] = list(chunks)
    if not spoken:
        return Voiced(np.zeros(0, np.float32), ())
    rate_hz = spoken[0].sample_rate_hz
    whole = np.concatenate([chunk.samples for chunk in spoken])
    part = spoken_part(whole, rate_hz)
    first_ns = part.start * NS_PER_S // rate_hz
    phones = tuple(
        Phone(phone.ipa, phone.start_ns - first_ns, phone.end_ns - first_ns)
        for chunk in spoken
        for phone in chunk.phones
    )
    return Voiced(resample(whole[part], rate_hz, EAR_RATE_HZ), phones)
