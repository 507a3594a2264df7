"""File mode: a clip and a voice in, a dubbed clip out, through the stages that serve the live path.

Decoding, faces, lips and encoding each have a thread and meet in bounded
queues, so that both cores of a small machine are busy. The output exists only
when it is complete.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import TypeVar

from models.catalogue import mel_window
from models.engine import Engine
from stream.align import meet
from stream.card_painter import painter_for
from stream.clock import Clock, MonotonicClock
from stream.dub_job import DubFigures, DubJob, check_paths, length_warnings, open_soundtrack, open_voice, survey_whole
from stream.engines import FaceStage
from stream.errors import ConfigError, MediaError, SessionClosed
from stream.faces import FaceFinder
from stream.frames import NS_PER_S, FaceCrop, SyncedFrame, VideoFrame
from stream.media import ClipReader, ClipWriter
from stream.painter import Painter
from stream.pipeline import Lane, StageRunner
from stream.queues import BoundedQueue
from stream.render import RenderStage
from stream.stages import StageMeter

LABEL = "synthetic=lips+voice; lips and voice of this video were made with visavis"

T = TypeVar("T")
Progress = Callable[[int, int], None]

# Pictures between two threads: enough to ride out a slow one, 1.4 MB each at 720p.
_QUEUE = 4
_CLOSE_WITHIN_S = 3.0


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
        self._lanes = {name: Lane(name) for name in ("decode", "faces", "render", "encode")}
        self._meters = {"decode": StageMeter(), "encode": StageMeter()}
        self._face_stage = FaceStage(open_finder)
        self._render_stage = RenderStage(open_painter(engine), job.render)
        self._faces: StageRunner[VideoFrame, tuple[FaceCrop, ...]] = StageRunner(
            self._face_stage, self._lanes["faces"], self._clock
        )
        self._render: StageRunner[SyncedFrame, VideoFrame] = StageRunner(
            self._render_stage, self._lanes["render"], self._clock
        )
        self._passed: Counter[str] = Counter()
        self._written = 0
        self._last_ns = 0
        self._encoder = self._encoder_note = ""
        self._picture_ns = round(Fraction(NS_PER_S) / self._reader.format.rate)
        self.warnings = length_warnings(job, voice, self.survey)

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
        encode = self._lanes["encode"]
        try:
            writer = await encode.run(self._open_writer)
            self._encoder, self._encoder_note = writer.encoder, writer.note
            try:
                await self._carry(writer, progress)
                self._check_faces()
                await encode.run(lambda: self._finish(writer))
            finally:
                # On its own thread, after whatever is still being encoded there; also when this task is cancelled.
                await asyncio.shield(encode.run(writer.abort))
        finally:
            await self._close()
        return self._figures((self._clock.now_ns() - start_ns) / NS_PER_S)

    def _open_writer(self) -> ClipWriter:
        return ClipWriter(
            self._job.output,
            self._reader.format,
            channels=self._sound.channels,
            tags=self.survey.metadata,
            label=LABEL,
            encoding=self._job.encoding,
            codecs=self._job.codecs,
        )

    async def _carry(self, writer: ClipWriter, progress: Progress | None) -> None:
        """Run the four stages side by side until the clip ends or one of them fails."""
        frames: BoundedQueue[VideoFrame] = BoundedQueue(_QUEUE)
        synced: BoundedQueue[SyncedFrame] = BoundedQueue(_QUEUE)
        drawn: BoundedQueue[VideoFrame] = BoundedQueue(_QUEUE)

        async def find(frame: VideoFrame) -> None:
            await synced.put(await self._met(frame))

        async def draw(item: SyncedFrame) -> None:
            await drawn.put(await self._drawn(item))

        async def write(frame: VideoFrame) -> None:
            await self._metered("encode", lambda: self._encode(writer, frame))
            if progress is not None:
                progress(self._written, self.survey.pictures)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._decode(frames))
                group.create_task(_relay(frames, find, synced))
                group.create_task(_relay(synced, draw, drawn))
                group.create_task(_relay(drawn, write, None))
        except* (ConfigError, MediaError) as failures:
            raise _first(failures) from None

    async def _decode(self, frames: BoundedQueue[VideoFrame]) -> None:
        pictures = self._reader.frames()
        while (frame := await self._metered("decode", lambda: next(pictures, None))) is not None:
            await frames.put(frame)
        await frames.close()

    async def _met(self, frame: VideoFrame) -> SyncedFrame:
        faces = await self._faces.apply(frame)
        if faces is not None:
            met = meet(frame, faces, self._voice)
            self._passed["no_voice"] += met.mel is None and not faces
            return met
        self._passed["faces_failed"] += 1
        _give_up_if(off=self._faces.off, stage=self._faces.name)
        return SyncedFrame(frame, (), None)

    async def _drawn(self, item: SyncedFrame) -> VideoFrame:
        # With a face but without a voice, lips that were made fade out.
        if item.mel is None and not item.faces:
            return item.frame
        frame = await self._render.apply(item)
        if frame is not None:
            return frame
        self._passed["render_failed"] += 1
        _give_up_if(off=self._render.off, stage=self._render.name)
        return item.frame

    async def _metered(self, stage: str, work: Callable[[], T]) -> T:
        def timed() -> T:
            start_ns = self._clock.now_ns()
            result = work()
            self._meters[stage].add(self._clock.now_ns() - start_ns)
            return result

        return await self._lanes[stage].run(timed)

    # -- on the encoder's thread -------------------------------------------------------------------

    def _encode(self, writer: ClipWriter, frame: VideoFrame) -> None:
        writer.write_sound(self._sound.until(frame.pts_ns))
        writer.write_picture(frame)
        if self._written:
            self._picture_ns = frame.pts_ns - self._last_ns
        self._last_ns = frame.pts_ns
        self._written += 1

    def _finish(self, writer: ClipWriter) -> None:
        """Show the last picture as long as the one before it, fill its time with sound, complete the file."""
        writer.write_sound(self._sound.until(self._last_ns + self._picture_ns))
        writer.finish()

    # -- the end -----------------------------------------------------------------------------------

    def _check_faces(self) -> None:
        if self._render_stage.made or self._job.keep_going:
            return
        raise MediaError(
            f"{self._job.source.name}: no face could be re-voiced in any of its {self._written} pictures; "
            "use a clip with a face that looks at the camera, or give --keep-going to replace only the sound"
        )

    async def _close(self) -> None:
        """End the threads; the finder and the painter go on the ones that they lived on."""
        await self._lanes["faces"].finish(self._face_stage.close, _CLOSE_WITHIN_S)
        await self._lanes["render"].finish(self._end_render, _CLOSE_WITHIN_S)
        for lane in self._lanes.values():
            lane.close()
        self._sound.close()

    def _end_render(self) -> None:
        self._render_stage.close()
        self._render_stage.painter.close()

    def _figures(self, wall_s: float) -> DubFigures:
        stages = {
            "decode": self._meters["decode"].figures(),
            "faces": self._faces.meter.figures(),
            "render": self._render.meter.figures(),
            "encode": self._meters["encode"].figures(),
        }
        return DubFigures(
            self._written,
            self._render_stage.made,
            dict(self._passed + self._render_stage.passed),
            self._reader.damaged,
            (self._last_ns + self._picture_ns) / NS_PER_S,
            wall_s,
            stages,
            (*self.warnings, *self._damage_warning(), *self._codec_warnings()),
            self._reader.on_card,
            self._encoder,
        )

    def _codec_warnings(self) -> tuple[str, ...]:
        """Say who did what the card was to do."""
        told = [self._encoder_note] if self._encoder_note else []
        by_processor = self._written - self._reader.on_card
        if self._job.codecs.decode == "nvidia" and by_processor > 0:
            told.append(f"the processor decoded {by_processor} of {self._written} pictures, NVDEC the others")
        return tuple(told)

    def _damage_warning(self) -> tuple[str, ...]:
        damaged = self._reader.damaged
        return (f"{self._job.source.name}: {damaged} damaged packets were left out",) if damaged else ()


async def _relay(
    source: BoundedQueue[T],
    work: Callable[[T], Awaitable[None]],
    sink: BoundedQueue[VideoFrame] | BoundedQueue[SyncedFrame] | None,
) -> None:
    """Work on every item in order, then close the queue behind."""
    while True:
        try:
            item = await source.get()
        except SessionClosed:
            break
        await work(item)
    if sink is not None:
        await sink.close()


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one failure of a group; the others follow from it."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _give_up_if(*, off: bool, stage: str) -> None:
    """A live session goes on without a broken stage; a file that nobody waits for is better not written."""
    if off:
        raise ConfigError(
            f"the {stage} stage failed for a second on end, or its device has no memory: "
            "run again with --debug to see why"
        )
