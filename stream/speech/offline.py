"""Dubbing speech that is all there: recognised once, translated clause by clause, spoken, and fitted to its own times.

A clause's dub begins with the clause, or when the dub before it has ended. Isochrony is the share of the dub that is
heard while its clause is spoken, or at most half a second later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.mel import COLUMN_NS, MelWindow
from stream.errors import BackEndError
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.protocol import Clause, Recogniser, Recognition, Speaker, Translator
from stream.speech.stretch import stretch
from stream.speech.track import DubTrack
from stream.speech.vad import VadConfig, VoiceActivity
from stream.speech.voiced import Voiced, as_spoken, voiced
from stream.voice import EAR_RATE_HZ

Samples = NDArray[np.float32]

HEARING_RATE_HZ = 16_000
# Longer clauses than live: nobody waits, and a translator does better with whole sentences.
CLAUSES = ClauseConfig(max_words=14, max_ms=8000, pause_ms=400)
_VAD = VadConfig(hang_over_ms=CLAUSES.pause_ms)
# A quiet last consonant lies behind the last window that is surely speech.
_AFTER_TURN_NS = 200 * NS_PER_MS
# A recogniser that streams commits what two decodings agree on: much longer pieces cost it words.
_PUSH_NS = NS_PER_S
_MOST_GAIN = 4.0
_PEAK = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How a dub is fitted to its clause.

    Attributes:
        slowest: Least speed against the voice's own.
        fastest: Greatest speed.
        hurried: Greatest speed where the next clause would otherwise be too late.
        late_ms: So much later than in the source the next clause may begin before anything is hurried.
        tail_ms: A dub may end so long after its clause.
    """

    slowest: float = 0.85
    fastest: float = 1.3
    hurried: float = 1.5
    late_ms: int = 1000
    tail_ms: int = 500


@dataclass(frozen=True, slots=True)
class Heard:
    """What was understood of a recording.

    Attributes:
        clauses: In order.
        lost: Turns that the recogniser failed on.
        turns: Turns in all.
        level: Root mean square of the clauses' samples.
    """

    clauses: tuple[Clause, ...]
    lost: int
    turns: int
    level: float


@dataclass(frozen=True, slots=True)
class Line:
    """A clause in the other language, on the track.

    Attributes:
        start_ns: When its dub begins.
        end_ns: When it ends.
        speed: Against the voice's own.
    """

    clause: Clause
    text: str
    start_ns: int
    end_ns: int
    speed: float


@dataclass(frozen=True, slots=True)
class WholeDub:
    """A whole dub.

    Attributes:
        track: What is heard, and what the lips see.
        lines: The clauses on it, in order.
        failures: One line for every clause that is not on it.
    """

    track: DubTrack
    lines: tuple[Line, ...]
    failures: tuple[str, ...]

    def isochrony(self, config: FitConfig = FitConfig()) -> float:
        """Share of the dub's time that lies within its clause and the tail allowed after it, 0 to 1."""
        whole = sum(line.end_ns - line.start_ns for line in self.lines)
        return sum(_inside_ns(line, config) for line in self.lines) / whole if whole else 1.0


def _inside_ns(line: Line, config: FitConfig) -> int:
    # A dub begins on a mel column, so up to one of them after its clause, and none before.
    latest_ns = line.clause.end_ns + config.tail_ms * NS_PER_MS
    return max(0, min(line.end_ns, latest_ns) - max(line.start_ns, line.clause.start_ns))


def recognise(samples: Samples, language: str, recogniser: Recogniser) -> Heard:
    """Find the turns in a recording and turn them into clauses. A turn that the recogniser fails on is counted.

    Args:
        samples: float32 [n] at 16 kHz; its first sample is at time zero.
        language: What is spoken, where the recogniser does not say.
        recogniser: Used on this thread, not closed.
    """
    splitter = ClauseSplitter(CLAUSES, language)
    clauses: list[Clause] = []
    turns = find_turns(samples)
    lost = 0
    for start_ns, end_ns in turns:
        try:
            for heard in _recognitions(samples, start_ns, end_ns, recogniser):
                clauses += splitter.add(heard)
        except BackEndError:
            splitter.drop()
            lost += 1
        clauses += splitter.add(Recognition(end_ns, endpoint=True))
    return Heard(tuple(clauses), lost, len(turns), _level(samples, clauses))


def _level(samples: Samples, clauses: Sequence[Clause]) -> float:
    pieces = [samples[_at(clause.start_ns) : _at(clause.end_ns)] for clause in clauses]
    return _rms(np.concatenate(pieces)) if pieces else 0.0


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0


def find_turns(samples: Samples) -> list[tuple[int, int]]:
    """Start and end of every stretch of speech, with the quiet sounds at both of its ends."""
    activity = VoiceActivity(_VAD)
    try:
        events = [*activity.push(AudioChunk(0, HEARING_RATE_HZ, samples)), *activity.flush()]
    finally:
        activity.close()
    starts = [event.at_ns for event in events if event.kind == "start"]
    ends = [event.at_ns for event in events if event.kind == "end"]
    if not starts:
        return []
    limits = [*starts[1:], len(samples) * NS_PER_S // HEARING_RATE_HZ]
    return [(start, min(end + _AFTER_TURN_NS, limit)) for start, end, limit in zip(starts, ends, limits, strict=True)]


def _recognitions(samples: Samples, start_ns: int, end_ns: int, recogniser: Recogniser) -> list[Recognition]:
    heard: list[Recognition] = []
    for at_ns in range(start_ns, end_ns, _PUSH_NS):
        piece = samples[_at(at_ns) : _at(min(at_ns + _PUSH_NS, end_ns))]
        heard += recogniser.push(AudioChunk(at_ns, HEARING_RATE_HZ, piece))
    return [*heard, *recogniser.flush()]


def _at(time_ns: int) -> int:
    return time_ns * HEARING_RATE_HZ // NS_PER_S


def speak(
    clauses: Sequence[Clause],
    language: str,
    translator: Translator,
    speaker: Speaker,
    *,
    window: MelWindow,
    end_ns: int,
    level: float,
    voice: str | None = None,
    config: FitConfig = FitConfig(),
) -> WholeDub:
    """Translate every clause, speak it and lay it on a track.

    Args:
        clauses: In order.
        language: Into which.
        translator: Used on this thread, not closed.
        speaker: Used on this thread, not closed.
        window: Mel columns that one picture sees.
        end_ns: When the recording ends.
        level: Root mean square that each clause is brought to, as loud as the speaker was.
        voice: One of the speaker's voices.
        config: How a dub is fitted.
    """
    track = DubTrack(window, keep=True)
    lines: list[Line] = []
    failures: list[str] = []
    for index, clause in enumerate(clauses):
        next_ns = clauses[index + 1].start_ns if index + 1 < len(clauses) else end_ns
        try:
            text = translator.translate(clause, language).text
            if not text and not clause.text:
                continue
            spoken = _voiced(speaker, clause.clause_id, as_spoken(clause, text), language, voice)
        except BackEndError as error:
            failures.append(f"{clause.text!r} at {clause.start_ns / NS_PER_S:.1f} s was not dubbed: {error}")
            continue
        spoken = replace(spoken, samples=levelled(spoken.samples, level))
        lines.append(_laid(track, clause, text, spoken, next_ns, config))
    return WholeDub(track, tuple(lines), tuple(failures))


def _voiced(speaker: Speaker, clause_id: int, text: str, language: str, voice: str | None) -> Voiced:
    """Speak a clause.

    Raises:
        BackEndError: The speaker failed, or made no sound.
    """
    spoken = voiced(speaker.speak(clause_id, text, language, voice=voice))
    if not len(spoken.samples):
        raise BackEndError(f"the speaker made no sound of {text!r}")
    return spoken


def levelled(sound: Samples, level: float) -> Samples:
    """Bring a clause to a level, by 12 dB at most and without clipping."""
    gain = min(max(level / _rms(sound), 1 / _MOST_GAIN), _MOST_GAIN, _PEAK / float(np.abs(sound).max()))
    return sound * np.float32(gain)


def _laid(track: DubTrack, clause: Clause, text: str, spoken: Voiced, next_ns: int, config: FitConfig) -> Line:
    # On a mel column, where the track puts it.
    start_ns = -(-max(clause.start_ns, track.end_ns) // COLUMN_NS) * COLUMN_NS
    speed = fitting_speed(config, clause, start_ns=start_ns, duration_ns=spoken.duration_ns, next_ns=next_ns)
    start_ns = track.place(clause.clause_id, start_ns, stretch(spoken.samples, EAR_RATE_HZ, speed))
    return Line(clause, text, start_ns, track.end_ns, speed)


def fitting_speed(config: FitConfig, clause: Clause, *, start_ns: int, duration_ns: int, next_ns: int) -> float:
    """How fast a clause is spoken.

    It ends with its clause, or up to the tail later where a pause follows; it is slower than the voice's own speed only
    where the clause itself takes longer.

    Args:
        config: Limits.
        clause: What is dubbed.
        start_ns: When its dub begins.
        duration_ns: How long the dub lasts at the voice's own speed.
        next_ns: When the next clause, or the end of the recording, comes.
    """
    latest_ns = max(clause.end_ns, min(clause.end_ns + config.tail_ms * NS_PER_MS, next_ns))
    needed = duration_ns / max(latest_ns - start_ns, 1)
    if needed < 1.0:
        needed = min(1.0, duration_ns / max(clause.end_ns - start_ns, 1))
    speed = min(config.fastest, max(config.slowest, needed))
    too_late_ns = next_ns + config.late_ms * NS_PER_MS
    if start_ns + duration_ns / speed <= too_late_ns:
        return speed
    return min(config.hurried, duration_ns / max(too_late_ns - start_ns, 1))
