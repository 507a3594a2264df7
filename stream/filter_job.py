"""File mode without a voice: a clip in, the same clip filtered out, with its own sound."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stream.clip_work import ClipWork, OwnSound, Progress, give_up_if
from stream.clock import Clock, MonotonicClock
from stream.dub_job import survey_whole
from stream.engines import FaceStage
from stream.errors import ConfigError, MediaError
from stream.faces import FaceFinder
from stream.filter_stage import FilterStage, FilterTask
from stream.filters import Chosen
from stream.frames import NS_PER_S, FaceCrop, VideoFrame
from stream.media import ClipReader, ClipWriter, Encoding, SoundReader
from stream.media.codec_device import CPU, Codecs
from stream.media.writer import check_destination
from stream.pipeline import Lane, StageRunner
from stream.stages import StageFigures

_CLOSE_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterJob:
    """What to filter.

    Attributes:
        source: The clip.
        output: Where the filtered clip goes.
        chosen: With what.
        mark: Text of the visible mark; empty for none.
        overwrite: The output may replace a file.
        keep_going: Filter what is there of a clip that is cut short, and write one that shows no face.
        encoding: How the output is encoded.
        codecs: Who decodes the source and encodes the output.
    """

    source: Path
    output: Path
    chosen: Chosen
    mark: str = ""
    overwrite: bool = False
    keep_going: bool = False
    encoding: Encoding = field(default_factory=Encoding)
    codecs: Codecs = CPU


@dataclass(frozen=True, slots=True)
class FilterFigures:
    """What a finished job has done and cost.

    Attributes:
        pictures: Pictures written.
        filtered: Pictures that were filtered.
        passed: Pictures that left unchanged, or as a backdrop where the filter hides who is there, by reason.
        damaged: Packets of the source that could not be decoded.
        media_s: Length of the output.
        wall_s: Time from the first picture to the finished file.
        stages: Milliseconds per picture.
        warnings: One line each.
        on_card: Pictures of the source that a card decoded.
        encoder: FFmpeg's name of the encoder that wrote the output.
    """

    pictures: int
    filtered: int
    passed: dict[str, int]
    damaged: int
    media_s: float
    wall_s: float
    stages: dict[str, StageFigures]
    warnings: tuple[str, ...]
    on_card: int = 0
    encoder: str = ""

    @property
    def times_real_time(self) -> float:
        """Seconds of media per second of work."""
        return self.media_s / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """A picture, and the faces in it where those are needed."""

    frame: VideoFrame
    faces: tuple[FaceCrop, ...] = ()


def check_filter_paths(job: FilterJob) -> None:
    """Refuse an output that cannot be written or would destroy the input.

    Raises:
        ConfigError: See above; the message names the path.
    """
    if job.source.resolve() == job.output.resolve():
        raise ConfigError(f"{job.output} is both the input and the output: give another name with -o")
    check_destination(job.output, overwrite=job.overwrite)


class FilterRun:
    """One job: checks all that can be checked before the first picture, then runs once.

    Args:
        job: What to filter.
        open_finder: Opens a face finder; called only where the filter works around faces.
        clock: Times the stages.

    Raises:
        ConfigError: The output may not be written.
        MediaError: The clip is missing, cut short, or not what it should be.
    """

    def __init__(self, job: FilterJob, open_finder: Callable[[], FaceFinder], *, clock: Clock | None = None) -> None:
        check_filter_paths(job)
        self._job = job
        self._clock = clock or MonotonicClock()
        self.survey = survey_whole(job.source, keep_going=job.keep_going)
        self._reader = ClipReader(job.source, job.codecs)
        self._sound = OwnSound(SoundReader(job.source) if self.survey.has_sound else None)
        self._work: ClipWork[_Seen] = ClipWork(
            self._reader, self.survey.pictures, self._sound, self._open_writer, self._clock
        )
        self._face_lane, self._filter_lane = Lane("faces"), Lane("filter")
        self._face_stage = FaceStage(open_finder)
        self._filter_stage = FilterStage(self._clock, mark=job.mark)
        self._faces: StageRunner[VideoFrame, tuple[FaceCrop, ...]] = StageRunner(
            self._face_stage, self._face_lane, self._clock
        )
        self._filter: StageRunner[FilterTask, VideoFrame] = StageRunner(
            self._filter_stage, self._filter_lane, self._clock
        )
        self._passed: Counter[str] = Counter()

    @property
    def picture_rate(self) -> float:
        """Nominal pictures a second of the clip."""
        return float(self._reader.format.rate)

    async def run(self, progress: Progress | None = None) -> FilterFigures:
        """Filter; `progress` is told pictures written and expected after each one.

        Raises:
            ConfigError: A stage gave up.
            MediaError: The output cannot be written, or the clip shows no face where one is needed.
        """
        start_ns = self._clock.now_ns()
        try:
            await self._work.run(self._seen, self._filtered, self._check_faces, progress)
        finally:
            await self._face_lane.finish(self._face_stage.close, _CLOSE_WITHIN_S)
            self._filter_lane.close()
        return self._figures((self._clock.now_ns() - start_ns) / NS_PER_S)

    def _open_writer(self) -> ClipWriter:
        name = self._job.chosen.name
        return ClipWriter(
            self._job.output,
            self._reader.format,
            channels=self._sound.channels,
            tags=self.survey.metadata,
            label=f"synthetic=picture; the pictures of this video were drawn by the filter {name} with visavis",
            encoding=self._job.encoding,
            codecs=self._job.codecs,
        )

    async def _seen(self, frame: VideoFrame) -> _Seen:
        if not self._job.chosen.needs_faces:
            return _Seen(frame)
        faces = await self._faces.apply(frame)
        if faces is None:
            self._passed["faces_failed"] += 1
            give_up_if(off=self._faces.off, stage=self._faces.name)
            return _Seen(frame)
        return _Seen(frame, faces)

    async def _filtered(self, seen: _Seen) -> VideoFrame:
        if await self._filter.apply(FilterTask(seen.frame, seen.faces, self._job.chosen)) is None:
            self._passed["failed"] += 1
            if self._job.chosen.anonymous:
                self._filter_stage.hide(seen.frame)
            give_up_if(off=self._filter.off, stage=self._filter.name)
        return seen.frame

    def _check_faces(self) -> None:
        stage, anonymous = self._filter_stage, self._job.chosen.anonymous
        if stage.made or self._job.keep_going or not (stage.passed + stage.hidden)["no_face"]:
            return
        remedy = (
            "--keep-going to write its sound with a backdrop"
            if anonymous
            else "--region frame to filter them whole, or --keep-going to write the clip as it is"
        )
        raise MediaError(
            f"{self._job.source.name}: no face was found in any of its {self._work.written} pictures; give {remedy}"
        )

    def _figures(self, wall_s: float) -> FilterFigures:
        coding, damaged = self._work.figures(), self._reader.damaged
        around_faces = self._job.chosen.needs_faces
        told = (f"{self._job.source.name}: {damaged} damaged packets were left out",) if damaged else ()
        return FilterFigures(
            self._work.written,
            self._filter_stage.made,
            dict(self._passed + self._filter_stage.passed + self._filter_stage.hidden),
            damaged,
            self._work.media_s,
            wall_s,
            {
                "decode": coding["decode"],
                **({"faces": self._faces.meter.figures()} if around_faces else {}),
                "filter": self._filter.meter.figures(),
                "encode": coding["encode"],
            },
            (*told, *self._work.codec_warnings(self._job.codecs)),
            self._reader.on_card,
            self._work.encoder,
        )
