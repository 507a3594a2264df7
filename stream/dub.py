"""File mode: a clip and a voice in, a dubbed clip out, through the stages that serve the live path.

Decoding, faces, lips and encoding each have a thread and meet in bounded
queues, so that both cores of a small machine are busy. The output exists only
when it is complete.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from models.catalogue import mel_window
from models.engine import Engine
from stream.align import meet
from stream.card_painter import painter_for
from stream.clip_work import ClipWork, Progress, give_up_if
from stream.clock import Clock, MonotonicClock
from stream.dub_job import DubFigures, DubJob, check_paths, length_warnings, open_soundtrack, open_voice, survey_whole
from stream.engines import FaceStage
from stream.errors import MediaError
from stream.faces import FaceFinder
from stream.filter_stage import FilterStage, FilterTask
from stream.filters import Chosen
from stream.frames import NS_PER_S, FaceCrop, SyncedFrame, VideoFrame
from stream.media import ClipReader, ClipWriter
from stream.painter import Painter
from stream.pipeline import Lane, StageRunner
from stream.render import RenderStage
from stream.when_covered import StandIn, drawn_by

_CLOSE_WITHIN_S = 3.0


def label_of(chosen: Chosen | None, when_covered: Chosen | None = None) -> str:
    """The sentence in a dubbed file that says what of it was made."""
    drawn = ", ".join(
        f"its pictures {which}were drawn by the filter {each.name}"
        for which, each in (("", chosen), ("with a covered mouth ", when_covered))
        if each is not None
    )
    made = "lips and voice of this video were made with visavis"
    return f"synthetic=lips+voice+picture; {made}, {drawn}" if drawn else f"synthetic=lips+voice; {made}"


@dataclass(frozen=True, slots=True)
class _Lanes:
    """A thread for each of the two steps."""

    faces: Lane
    render: Lane


class Dub:
    """One job: checks all that can be checked before the first picture, then runs once.

    Args:
        job: What to dub.
        engine: The generator.
        open_finder: Opens a face finder; called on the thread that uses it.
        clock: Times the stages.
        open_painter: Makes the painter around the generator.

    Raises:
        ConfigError: The output may not be written.
        MediaError: Clip or voice are missing, cut short, or not what they should be.
    """

    def __init__(
        self,
        job: DubJob,
        engine: Engine,
        open_finder: Callable[[], FaceFinder],
        *,
        clock: Clock | None = None,
        open_painter: Callable[[Engine], Painter] = painter_for,
    ) -> None:
        check_paths(job)
        self._job = job
        self._clock = clock or MonotonicClock()
        self.survey = survey_whole(job.source, keep_going=job.keep_going)
        self._reader = ClipReader(job.source, job.codecs)
        voice = open_voice(job, mel_window(engine))
        self._voice = voice
        self._sound = open_soundtrack(job, voice, self.survey)
        self._work: ClipWork[SyncedFrame] = ClipWork(
            self._reader, self.survey.pictures, self._sound, self._open_writer, self._clock
        )
        self._lanes = _Lanes(Lane("faces"), Lane("render"))
        self._face_stage = FaceStage(open_finder)
        self._render_stage = RenderStage(open_painter(engine), job.render)
        self._faces: StageRunner[VideoFrame, tuple[FaceCrop, ...]] = StageRunner(
            self._face_stage, self._lanes.faces, self._clock
        )
        self._render: StageRunner[SyncedFrame, VideoFrame] = StageRunner(
            self._render_stage, self._lanes.render, self._clock
        )
        self._filter_stage, self._filter = self._open_filter()
        _, self._covering = self._open_filter()
        self._stand_in = StandIn(job.when_covered, self._cover)
        self._passed: Counter[str] = Counter()
        self._unfiltered: Counter[str] = Counter()
        self.warnings = length_warnings(job, voice, self.survey)

    def _open_filter(self) -> tuple[FilterStage, StageRunner[FilterTask, VideoFrame]]:
        stage = FilterStage(self._clock, mark=self._job.filter_mark, lips_mark=self._job.render.badge)
        return stage, StageRunner(stage, self._lanes.render, self._clock)

    @property
    def picture_rate(self) -> float:
        """Nominal pictures a second of the clip."""
        return float(self._reader.format.rate)

    async def run(self, progress: Progress | None = None) -> DubFigures:
        """Dub; `progress` is told pictures written and expected after each one.

        Raises:
            ConfigError: A stage gave up.
            MediaError: The output cannot be written, or the clip shows no face.
        """
        start_ns = self._clock.now_ns()
        try:
            await self._work.run(self._met, self._drawn, self._check_faces, progress)
        finally:
            await self._close()
        return self._figures((self._clock.now_ns() - start_ns) / NS_PER_S)

    def _open_writer(self) -> ClipWriter:
        return ClipWriter(
            self._job.output,
            self._reader.format,
            channels=self._sound.channels,
            tags=self.survey.metadata,
            label=label_of(self._job.filter, self._job.when_covered),
            encoding=self._job.encoding,
            codecs=self._job.codecs,
        )

    async def _met(self, frame: VideoFrame) -> SyncedFrame:
        faces = await self._faces.apply(frame)
        if faces is not None:
            met = meet(frame, faces, self._voice)
            self._passed["no_voice"] += met.mel is None and not faces
            return met
        self._passed["faces_failed"] += 1
        give_up_if(off=self._faces.off, stage=self._faces.name)
        return SyncedFrame(frame, (), None)

    async def _drawn(self, item: SyncedFrame) -> VideoFrame:
        chosen = self._job.filter
        if (stood_in := await self._stand_in.draw(item, chosen)) is not None:
            return await self._with_lips(stood_in)
        if chosen is not None and chosen.order == "before":
            drawn = await self._filtered(item, chosen)
            if chosen.anonymous and not drawn:
                return item.frame
            item = drawn_by(item, chosen)
        made = self._render_stage.made
        frame = await self._with_lips(item)
        if chosen is not None and chosen.order == "after":
            await self._filtered(item, chosen, lips=self._render_stage.made > made)
        return frame

    async def _cover(self, task: FilterTask, _: int | None) -> str | None:
        """See `stream.when_covered.Draw`. A filter that nobody chose does not end the job when it fails for good."""
        if self._covering.off:
            return "off"
        return None if await self._covering.apply(task) is not None else "failed"

    async def _filtered(self, item: SyncedFrame, chosen: Chosen, *, lips: bool = False) -> bool:
        """Lay the filter on the picture, in place; whether that went well."""
        if await self._filter.apply(FilterTask(item.frame, item.faces, chosen, lips)) is not None:
            return True
        self._unfiltered["failed"] += 1
        if chosen.anonymous:
            self._filter_stage.hide(item.frame)
        give_up_if(off=self._filter.off, stage=self._filter.name)
        return False

    async def _with_lips(self, item: SyncedFrame) -> VideoFrame:
        # With a face but without a voice, lips that were made fade out.
        if item.mel is None and not item.faces:
            return item.frame
        frame = await self._render.apply(item)
        if frame is not None:
            return frame
        self._passed["render_failed"] += 1
        give_up_if(off=self._render.off, stage=self._render.name)
        return item.frame

    # -- the end -----------------------------------------------------------------------------------

    def _check_faces(self) -> None:
        if self._render_stage.made or self._job.keep_going:
            return
        raise MediaError(
            f"{self._job.source.name}: no face could be re-voiced in any of its {self._work.written} pictures; "
            "use a clip with a face that looks at the camera, or give --keep-going to replace only the sound"
        )

    async def _close(self) -> None:
        """End the threads; the finder and the painter go on the ones that they lived on."""
        await self._lanes.faces.finish(self._face_stage.close, _CLOSE_WITHIN_S)
        await self._lanes.render.finish(self._end_render, _CLOSE_WITHIN_S)

    def _end_render(self) -> None:
        self._render_stage.close()
        self._render_stage.painter.close()

    def _figures(self, wall_s: float) -> DubFigures:
        coding = self._work.figures()
        stages = {
            "decode": coding["decode"],
            "faces": self._faces.meter.figures(),
            "render": self._render.meter.figures(),
            **({} if self._job.filter is None else {"filter": self._filter.meter.figures()}),
            **({} if self._job.when_covered is None else {"when_covered": self._covering.meter.figures()}),
            "encode": coding["encode"],
        }
        return DubFigures(
            self._work.written,
            self._render_stage.made,
            dict(self._passed + self._render_stage.passed),
            self._reader.damaged,
            self._work.media_s,
            wall_s,
            stages,
            (
                *self.warnings,
                *self._damage_warning(),
                *self._cover_warning(),
                *self._work.codec_warnings(self._job.codecs),
            ),
            self._reader.on_card,
            self._work.encoder,
            self._filter_stage.made,
            dict(self._unfiltered + self._filter_stage.passed + self._filter_stage.hidden),
            self._stand_in.drawn,
            dict(self._stand_in.passed),
        )

    def _cover_warning(self) -> tuple[str, ...]:
        left, chosen = self._stand_in.passed.total(), self._stand_in.chosen
        if chosen is None or not left:
            return ()
        return (f"{chosen.name} failed on {left} pictures with a covered mouth, or soon after: they are as without it",)

    def _damage_warning(self) -> tuple[str, ...]:
        damaged = self._reader.damaged
        return (f"{self._job.source.name}: {damaged} damaged packets were left out",) if damaged else ()
