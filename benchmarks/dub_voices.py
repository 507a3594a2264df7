"""Dubs for the lips benchmark: of a file, and of a live session whose clock is virtual, both by the real chain.

What comes out is a voice as `Dub` takes it, so that pictures are made by one path.
"""

import asyncio
import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.mel import MelWindow
from stream.clock import MonotonicClock, VirtualClock
from stream.config import SessionConfig
from stream.dub_translated import TranslatedVoice
from stream.dubbing import SEND_AHEAD_NS, Dubbing
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.media import ClipReader, decode_sound
from stream.passage import Spoken
from stream.soundtrack import joined_spans
from stream.speech.back_ends import EMBEDDED
from stream.speech.chain import Chain, open_chain
from stream.speech.offline import HEARING_RATE_HZ, Line, recognise, speak
from stream.speech.protocol import Caps, Phone, Speaker, SpokenChunk, Voice
from stream.speech.track import spoken_part
from stream.speech.wish import DubWish
from stream.voice import EAR_RATE_HZ, add_at, sample_at

Samples = NDArray[np.float32]

_CHUNK_NS = 20 * NS_PER_MS
_CHUNK = EAR_RATE_HZ // 50
_DELAY_NS = round(SessionConfig().dub_delay_ms * NS_PER_MS)


@dataclass(frozen=True, slots=True)
class FileDub:
    """A clip's dub.

    Attributes:
        voice: As `Dub` takes it.
        phones: On the clip's time.
        text: What is said.
    """

    voice: TranslatedVoice
    phones: tuple[Phone, ...]
    text: tuple[str, ...]


class Overheard:
    """A speaker that remembers what it has said, by clause.

    Args:
        speaker: Who speaks.
    """

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.said: dict[int, list[SpokenChunk]] = {}

    @property
    def caps(self) -> Caps:
        """See `Speaker.caps`."""
        return self._speaker.caps

    def speak(
        self, clause_id: int, text: str, language: str, *, rate: float = 1.0, voice: Voice | None = None
    ) -> Iterator[SpokenChunk]:
        """See `Speaker.speak`."""
        self.said[clause_id] = []
        for chunk in self._speaker.speak(clause_id, text, language, rate=rate, voice=voice):
            self.said[clause_id].append(chunk)
            yield chunk

    def cancel(self, clause_id: int) -> None:
        """See `Speaker.cancel`."""
        self._speaker.cancel(clause_id)

    def close(self) -> None:
        """See `Speaker.close`."""
        self._speaker.close()


def file_dub(clip: Path, chain: Chain, target: str, window: MelWindow) -> FileDub:
    """Dub a clip's sound as `visavis dub --to` does.

    Raises:
        ValueError: Nothing was understood, or nothing could be said.
    """
    samples = decode_sound(clip, clip.name, rate_hz=HEARING_RATE_HZ)
    heard = recognise(samples, "en", chain.recogniser)
    speaker = Overheard(chain.speaker)
    end_ns = len(samples) * NS_PER_S // HEARING_RATE_HZ
    dub = speak(
        heard.clauses,
        target,
        chain.translators[target],
        speaker,
        window=window,
        end_ns=end_ns,
        level=heard.level,
    )
    if not dub.lines:
        raise ValueError(f"nothing of {clip.name} could be dubbed: {dub.failures or 'no word was understood'}")
    phones = tuple(phone for line in dub.lines for phone in placed_phones(line, speaker.said[line.clause.clause_id]))
    return FileDub(TranslatedVoice(dub), phones, tuple(line.text for line in dub.lines))


def placed_phones(line: Line, chunks: Sequence[SpokenChunk]) -> list[Phone]:
    """A clause's phones on the clip's time: without the silence that was cut, and as fast as it is spoken."""
    rate_hz = chunks[0].sample_rate_hz
    part = spoken_part(np.concatenate([chunk.samples for chunk in chunks]), rate_hz)
    first_ns: float = part.start * NS_PER_S / rate_hz
    last_ns: float = part.stop * NS_PER_S / rate_hz
    scale = (line.end_ns - line.start_ns) / (last_ns - first_ns)

    def at(time_ns: float) -> int:
        return line.start_ns + round((min(max(time_ns, first_ns), last_ns) - first_ns) * scale)

    moved = [Phone(phone.ipa, at(phone.start_ns), at(phone.end_ns)) for chunk in chunks for phone in chunk.phones]
    return [phone for phone in moved if phone.end_ns > phone.start_ns]


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What left a session: its sound, and the mel window that each of its pictures was given.

    Attributes:
        mels: By the picture's pts in ns; None where it left as it came.
        samples: float32 [n] at 48 kHz from session time zero on.
        turns: When the dub speaks; elsewhere the original is heard.
    """

    mels: Mapping[int, NDArray[np.float32] | None]
    samples: Samples
    turns: tuple[tuple[int, int], ...] = ()

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = EAR_RATE_HZ) -> Samples:  # noqa: ARG002 - the protocol's
        """See `Spoken.audio`."""
        heard = np.zeros(count, np.float32)
        add_at(heard, self.samples, -sample_at(pts_ns))
        return heard

    def mel(self, pts_ns: int) -> NDArray[np.float32] | None:
        """See `Spoken.mel`."""
        return self.mels.get(pts_ns)


def live_dub(clip: Path, target: str, window: MelWindow) -> Replayed:
    """Send a clip's sound and pictures through a live dub on a virtual clock; its work takes no time on it."""
    return asyncio.run(_live_dub(clip, target, window))


async def _live_dub(clip: Path, target: str, window: MelWindow) -> Replayed:
    sound = decode_sound(clip, clip.name, rate_hz=EAR_RATE_HZ)
    pictures_ns = [frame.pts_ns for frame in ClipReader(clip).frames()]
    clock = VirtualClock()
    wish = DubWish(source="en", target=target, duck=0.0)
    dubbing = Dubbing(
        wish,
        lambda _: open_chain("en", (target,), MonotonicClock(), EMBEDDED),
        window,
        clock,
        clock.now_ns,
        delay_ns=_DELAY_NS,
    )
    running = asyncio.create_task(dubbing.run())
    mels: dict[int, NDArray[np.float32] | None] = {}
    said: list[Samples] = []
    speaks: list[tuple[int, int]] = []
    for now_ns in range(0, pictures_ns[-1] + _DELAY_NS + _CHUNK_NS, _CHUNK_NS):
        await clock.advance_to(now_ns)
        first = now_ns * EAR_RATE_HZ // NS_PER_S
        await dubbing.hear(AudioChunk(now_ns, EAR_RATE_HZ, _padded(sound[first : first + _CHUNK])))
        await _settled(dubbing, clock)
        # A picture is given its window as it comes, sound is read when it must be sent: as in a session.
        for pts_ns in pictures_ns[len(mels) : bisect.bisect_right(pictures_ns, now_ns)]:
            mels[pts_ns] = dubbing.mel(pts_ns)
        if (sent_ns := now_ns - _DELAY_NS + SEND_AHEAD_NS) >= 0:
            said.append(dubbing.audio(sent_ns, _CHUNK))
            if dubbing.track.speaks(sent_ns, sent_ns + _CHUNK_NS):
                speaks.append((sent_ns, sent_ns + _CHUNK_NS))
    await dubbing.close()
    await running
    return Replayed(mels, np.concatenate(said), tuple(joined_spans(speaks, 0)))


def _padded(samples: Samples) -> Samples:
    return np.pad(samples, (0, _CHUNK - len(samples)))


async def _settled(dubbing: Dubbing, clock: VirtualClock) -> None:
    """Let the dub's threads and tasks come to rest: listening may give a clause, and that one something to place."""
    for lane in (dubbing._listen_lane, dubbing._speak_lane) * 2:
        await lane.run(lambda: None)
        await clock.advance_to(clock.now_ns())


@dataclass(frozen=True, slots=True)
class Skewed:
    """A voice with a fault: its lips come so much later than its sound.

    Attributes:
        voice: Without the fault.
        lips_late_ns: May be negative.
    """

    voice: Spoken
    lips_late_ns: int

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = EAR_RATE_HZ) -> Samples:
        """See `Spoken.audio`."""
        return self.voice.audio(pts_ns, count, sample_rate_hz)

    def mel(self, pts_ns: int) -> NDArray[np.float32] | None:
        """See `Spoken.mel`."""
        return self.voice.mel(pts_ns - self.lips_late_ns)
