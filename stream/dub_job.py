"""What a dubbing job is, what can be checked before its first picture, and what it has cost in the end."""

from dataclasses import dataclass, field
from pathlib import Path

from kernels.mel import MelWindow
from stream.errors import ConfigError, MediaError
from stream.filters import Chosen
from stream.frames import NS_PER_S
from stream.media import Encoding, SoundReader, Survey, survey
from stream.media.codec_device import CPU, Codecs
from stream.media.writer import check_destination
from stream.passage import Spoken
from stream.render import RenderOptions
from stream.soundtrack import Ducking, Soundtrack
from stream.stages import StageFigures
from stream.voice import VoiceTrack

# A voice that misses the clip's length by less than this needs no word.
_LENGTH_TOLERANCE_NS = NS_PER_S // 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DubJob:
    """What to dub.

    Attributes:
        source: The clip.
        voice: Any file with sound, or a voice that is already on the clip's time.
        output: Where the dubbed clip goes.
        mix_original_db: Gain of the clip's own sound under the voice; None leaves it out.
        ducking: How loud the clip's own sound is where that changes; it goes before `mix_original_db`.
        overwrite: The output may replace a file.
        keep_going: Dub what is there of a clip that is cut short, and write one that shows no face.
        render: How lips are made and marked.
        encoding: How the output is encoded.
        codecs: Who decodes the source and encodes the output.
        filter: What the pictures are filtered with, before the lips are made or after; None for nothing.
        filter_mark: Text of the mark for filtered pictures; empty for none.
        when_covered: What draws the pictures with a covered mouth in place of `filter`; None for nothing.
    """

    source: Path
    voice: Path | Spoken
    output: Path
    mix_original_db: float | None = None
    ducking: Ducking | None = None
    overwrite: bool = False
    keep_going: bool = False
    render: RenderOptions = field(default_factory=RenderOptions)
    encoding: Encoding = field(default_factory=Encoding)
    codecs: Codecs = CPU
    filter: Chosen | None = None
    filter_mark: str = ""
    when_covered: Chosen | None = None


@dataclass(frozen=True, slots=True)
class DubFigures:
    """What a finished job has done and cost.

    Attributes:
        pictures: Pictures written.
        made: Pictures with lips made.
        passed: Pictures that left unchanged, by reason.
        damaged: Packets of the source that could not be decoded.
        media_s: Length of the output.
        wall_s: Time from the first picture to the finished file.
        stages: Milliseconds per picture.
        warnings: One line each.
        on_card: Pictures of the source that a card decoded.
        encoder: FFmpeg's name of the encoder that wrote the output.
        filtered: Pictures that were filtered.
        unfiltered: Pictures that were to be filtered and were not, by reason.
        covered: Pictures that were drawn anew because a mouth was covered.
        covered_passed: Pictures that were to be drawn so and were not, by reason.
    """

    pictures: int
    made: int
    passed: dict[str, int]
    damaged: int
    media_s: float
    wall_s: float
    stages: dict[str, StageFigures]
    warnings: tuple[str, ...]
    on_card: int = 0
    encoder: str = ""
    filtered: int = 0
    unfiltered: dict[str, int] = field(default_factory=dict)
    covered: int = 0
    covered_passed: dict[str, int] = field(default_factory=dict)

    @property
    def times_real_time(self) -> float:
        """Seconds of media per second of work."""
        return self.media_s / self.wall_s if self.wall_s else 0.0


def check_paths(job: DubJob) -> None:
    """Refuse an output that cannot be written or would destroy an input.

    Raises:
        ConfigError: See above; the message names the path.
    """
    for given in (job.source, job.voice):
        if isinstance(given, Path) and given.resolve() == job.output.resolve():
            raise ConfigError(f"{job.output} is both an input and the output: give another name with -o")
    check_destination(job.output, overwrite=job.overwrite)


def survey_whole(source: Path, *, keep_going: bool) -> Survey:
    """Survey the clip.

    Raises:
        MediaError: It is not a clip, or is cut short and that does not count as good enough.
    """
    found = survey(source)
    if found.cut_short and not keep_going:
        there_s, promised_s = found.length_ns / NS_PER_S, (found.promised_ns or 0) / NS_PER_S
        raise MediaError(
            f"{source.name} is cut short: {there_s:.1f} s of {promised_s:.1f} s are there; "
            "copy it again, or give --keep-going to dub what is there"
        )
    return found


def open_voice(job: DubJob, window: MelWindow) -> Spoken:
    """Open the voice.

    Raises:
        MediaError: It is a file that is missing, or not what it should be.
    """
    return VoiceTrack.open(job.voice, window=window) if isinstance(job.voice, Path) else job.voice


def open_soundtrack(job: DubJob, voice: Spoken, found: Survey) -> Soundtrack:
    """Open what will be heard.

    Raises:
        MediaError: The clip's own sound was asked for and there is none.
    """
    loudness = job.mix_original_db if job.ducking is None else job.ducking
    if loudness is None:
        return Soundtrack(voice)
    if not found.has_sound:
        raise MediaError(f"{job.source.name} has no sound to mix in: leave out --mix-original")
    return Soundtrack(voice, SoundReader(job.source), loudness)


def length_warnings(job: DubJob, voice: Spoken, found: Survey) -> tuple[str, ...]:
    """Say in one line that a voice from a file does not fill the clip, or does not fit into it."""
    if not isinstance(job.voice, Path) or not isinstance(voice, VoiceTrack):
        return ()
    longer_ns = voice.duration_ns - found.pictures_ns
    if abs(longer_ns) <= _LENGTH_TOLERANCE_NS:
        return ()
    voice_s, clip_s = voice.duration_ns / NS_PER_S, found.pictures_ns / NS_PER_S
    lengths = f"{job.voice.name} lasts {voice_s:.1f} s, {job.source.name} {clip_s:.1f} s"
    apart = f"the last {abs(longer_ns) / NS_PER_S:.1f} s"
    return (f"{lengths}: {apart} of the voice are cut" if longer_ns > 0 else f"{lengths}: {apart} are silent",)
