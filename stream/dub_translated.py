"""Dubbing a clip into other languages: it is heard once, and each language gets a voice that `Dub` lays into the clip.

The lips are made where the dub speaks or a dubbed clause is spoken in the clip, there with a closed mouth. Elsewhere,
and where a clause could not be dubbed, picture and sound stay the clip's own.
"""

import difflib
import os
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.mel import MelWindow
from stream.clock import Clock
from stream.dub_job import survey_whole
from stream.errors import ConfigError, MediaError
from stream.frames import NS_PER_MS, NS_PER_S
from stream.media import SoundReader
from stream.media.writer import CONTAINERS, check_destination
from stream.soundtrack import RAMP_NS, Ducking, Soundtrack, joined_spans
from stream.speech.captions import Caption, sub_rip, web_vtt
from stream.speech.chain import Chain
from stream.speech.offline import HEARING_RATE_HZ, Heard, WholeDub, recognise, speak
from stream.voice import EAR_RATE_HZ

Samples = NDArray[np.float32]

SOUND_ENDING = ".wav"
CAPTION_ENDINGS = (".vtt", ".srt")
# A sound mixed to mono is that much louder than each of the two channels that the dub goes into.
_OF_MONO = 0.5**0.5
_BLOCK_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What is wanted of a clip.

    Attributes:
        source: The clip, or only its sound where the outputs are sound.
        targets: Languages, BCP 47.
        output: Name of the result; with several languages each puts its own before the ending.
        language: What is spoken in the clip.
        captions: Where captions in the target languages go, named like `output`.
        source_captions: Where captions of what was said go.
        voice: One of the speaker's voices.
        duck: Gain of the clip's own sound under the dub, linear; 0 is silence.
        overwrite: Files may be replaced.
    """

    source: Path
    targets: tuple[str, ...]
    output: Path
    language: str
    captions: Path | None = None
    source_captions: Path | None = None
    voice: str | None = None
    duck: float = 0.15
    overwrite: bool = False

    @property
    def sound_only(self) -> bool:
        """Only the sound is written."""
        return self.output.suffix.lower() == SOUND_ENDING

    def named(self, path: Path, target: str) -> Path:
        """The name of a file in one of the target languages."""
        return path if len(self.targets) == 1 else path.with_name(f"{path.stem}.{target}{path.suffix}")


def check_translation(wanted: Translation) -> None:
    """Refuse files that cannot be written or would destroy each other, before any work.

    Raises:
        ConfigError: See above; the message names the path.
    """
    outputs = {wanted.named(wanted.output, target): (*CONTAINERS, SOUND_ENDING) for target in wanted.targets}
    if wanted.captions is not None:
        outputs |= {wanted.named(wanted.captions, target): CAPTION_ENDINGS for target in wanted.targets}
    if wanted.source_captions in outputs:
        raise ConfigError(f"{wanted.source_captions} is to hold two things: give --source-captions another name")
    if wanted.source_captions is not None:
        outputs[wanted.source_captions] = CAPTION_ENDINGS
    for path, endings in outputs.items():
        if path.resolve() == wanted.source.resolve():
            raise ConfigError(f"{path} is both an input and an output: give another name")
        check_destination(path, overwrite=wanted.overwrite, endings=endings)


def check_source(wanted: Translation, *, keep_going: bool) -> None:
    """See that the clip can be read, is whole and has sound, before a back end is started.

    Raises:
        MediaError: It cannot, is not, or has none.
    """
    if not wanted.sound_only:
        survey_whole(wanted.source, keep_going=keep_going)
    SoundReader(wanted.source, rate_hz=HEARING_RATE_HZ, channels=1).close()


def check_voice(wanted: Translation, chain: Chain) -> None:
    """See that the speaker has the voice that is wanted.

    Raises:
        ConfigError: It has not.
    """
    caps = chain.speaker.caps
    if wanted.voice is not None and wanted.voice not in caps.voices:
        near = difflib.get_close_matches(wanted.voice, caps.voices, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(caps.voices)}"
        raise ConfigError(f"{caps.name} has no voice {wanted.voice!r}: {advice}")


@dataclass(frozen=True, slots=True)
class Source:
    """A clip that was heard.

    Attributes:
        heard: What was understood of it.
        length_ns: From the clip's time zero to the end of its sound.
        took_ns: How long that took.
    """

    heard: Heard
    length_ns: int
    took_ns: int


def hear(wanted: Translation, chain: Chain, clock: Clock) -> Source:
    """Recognise what is said in the clip.

    Raises:
        MediaError: It cannot be read, has no sound, or nothing is said in it that was understood.
    """
    start_ns = clock.now_ns()
    reader = SoundReader(wanted.source, rate_hz=HEARING_RATE_HZ, channels=1)
    try:
        samples = reader.read_rest()[0]
    finally:
        reader.close()
    heard = recognise(samples, wanted.language, chain.recogniser)
    if not heard.clauses:
        raise MediaError(_nothing_heard(wanted.source.name, wanted.language, heard))
    length_ns = len(samples) * NS_PER_S // HEARING_RATE_HZ
    return Source(heard, length_ns, clock.now_ns() - start_ns)


def _nothing_heard(name: str, language: str, heard: Heard) -> str:
    if heard.lost:
        return f"{name}: the recogniser failed on all {heard.turns} turns; run again with --debug to see why"
    if heard.turns:
        return f"{name}: no word of {language!r} was understood in its {heard.turns} turns; is --from right?"
    return f"{name}: nobody speaks in it, so there is nothing to translate; --voice gives it another voice"


class TranslatedVoice:
    """A dub as `Dub` takes it; see the module for where the lips are made.

    Args:
        spoken: The dub.
    """

    def __init__(self, spoken: WholeDub) -> None:
        self._track = spoken.track
        times = [(line.start_ns, line.end_ns) for line in spoken.lines]
        times += [(line.clause.start_ns, line.clause.end_ns) for line in spoken.lines]
        self.spans = tuple(joined_spans(times, 2 * RAMP_NS))
        self._starts_ns = np.array([start for start, _ in self.spans], np.int64)

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = EAR_RATE_HZ) -> Samples:
        """See `Spoken.audio`."""
        return self._track.audio(pts_ns, count, sample_rate_hz)

    def mel(self, pts_ns: int) -> NDArray[np.float32] | None:
        """See `Spoken.mel`. Lips begin a ramp earlier than the dub: they have faded in when it speaks."""
        index = int(np.searchsorted(self._starts_ns, pts_ns + RAMP_NS, "right")) - 1
        if index < 0 or pts_ns >= self.spans[index][1]:
            return None
        return self._track.window(pts_ns)


def voiced(wanted: Translation, source: Source, chain: Chain, target: str, window: MelWindow) -> WholeDub:
    """Translate and speak what was heard.

    Raises:
        ConfigError: Not one clause could be dubbed.
    """
    spoken = speak(
        source.heard.clauses,
        target,
        chain.translators[target],
        chain.speaker,
        window=window,
        end_ns=source.length_ns,
        level=source.heard.level * _OF_MONO,
        voice=wanted.voice,
    )
    if not spoken.lines:
        raise ConfigError(f"no clause of {wanted.source.name} could be dubbed into {target!r}: {spoken.failures[0]}")
    return spoken


def warnings_of(source: Source, spoken: WholeDub) -> tuple[str, ...]:
    """One line for everything that did not come out as it should."""
    lines = list(spoken.failures)
    if source.heard.lost:
        lines.append(f"{source.heard.lost} of {source.heard.turns} turns were not understood and stay as they are")
    over_ns = spoken.track.end_ns - source.length_ns
    if over_ns > 100 * NS_PER_MS:
        lines.append(f"the dub is longer than the clip: its last {over_ns / NS_PER_S:.1f} s are cut")
    return tuple(lines)


def figures_of(source: Source, spoken: WholeDub, target: str) -> dict[str, object]:
    """What the report says of a dub; times in seconds."""
    late_s = [max(0, line.start_ns - line.clause.start_ns) / NS_PER_S for line in spoken.lines]
    speeds = [line.speed for line in spoken.lines]
    return {
        "language": target,
        "clauses": len(source.heard.clauses),
        "not_dubbed": len(spoken.failures),
        "isochrony": spoken.isochrony(),
        "late_s": {"p50": float(np.median(late_s)), "max": max(late_s)},
        "speed": {"min": min(speeds), "p50": float(np.median(speeds)), "max": max(speeds)},
        "recognised_s": source.took_ns / NS_PER_S,
    }


def summary_of(source: Source, spoken: WholeDub, target: str) -> str:
    """The dub in one line."""
    speeds = [line.speed for line in spoken.lines]
    return (
        f"{target}: {len(spoken.lines)} of {len(source.heard.clauses)} clauses dubbed, "
        f"{spoken.isochrony():.0%} of the dub within its clause's time, "
        f"speed {min(speeds):.2f} to {max(speeds):.2f}"
    )


def write_sound(wanted: Translation, source: Source, spoken: WholeDub, path: Path) -> None:
    """Write the sound alone: WAV, 48 kHz, 16 bit, stereo; whole or not at all.

    Raises:
        MediaError: It cannot be written.
    """
    voice = TranslatedVoice(spoken)
    reader = SoundReader(wanted.source)
    sound = Soundtrack(voice, reader, Ducking(wanted.duck, voice.spans))

    def write(partial: Path) -> None:
        with wave.open(str(partial), "wb") as file:
            file.setnchannels(sound.channels)
            file.setsampwidth(2)
            file.setframerate(EAR_RATE_HZ)
            for end_ns in (*range(_BLOCK_NS, source.length_ns, _BLOCK_NS), source.length_ns):
                file.writeframes(np.rint(sound.until(end_ns).T * 32767).astype("<i2").tobytes())

    try:
        _whole_or_not(path, write)
    finally:
        sound.close()


def write_captions(captions: list[Caption], path: Path) -> None:
    """Write captions as WebVTT, or as SubRip where the name ends in .srt.

    Raises:
        MediaError: They cannot be written.
    """
    text = sub_rip(captions) if path.suffix.lower() == ".srt" else web_vtt(captions)
    _whole_or_not(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def _whole_or_not(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    except OSError as error:
        raise MediaError(f"{path} cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)


def captions_of(spoken: WholeDub, target: str) -> list[Caption]:
    """What the dub says, while it says it."""
    return [Caption(line.start_ns, line.end_ns, line.text, target) for line in spoken.lines]


def source_captions_of(source: Source) -> list[Caption]:
    """What was said in the clip, while it was said."""
    return [Caption(each.start_ns, each.end_ns, each.text, each.language) for each in source.heard.clauses]
