"""A clip's way through file mode: decoder, two steps, encoder, each on threads of their own, joined by bounded queues.

The output exists only when it is complete.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.clock import Clock
from stream.errors import ConfigError, MediaError, SessionClosed
from stream.frames import NS_PER_S, VideoFrame
from stream.media import ClipReader, ClipWriter, SoundReader
from stream.media.codec_device import Codecs
from stream.pipeline import Lane
from stream.queues import BoundedQueue
from stream.stages import StageFigures, StageMeter

T = TypeVar("T")
U = TypeVar("U")
Progress = Callable[[int, int], None]
Samples = NDArray[np.float32]

# Pictures between two threads: enough to ride out a slow one, 1.4 MB each at 720p.
_QUEUE = 4


class Sound(Protocol):
    """What is heard, from time zero on, taken in pieces."""

    @property
    def channels(self) -> int:
        """1 or 2; 0 for a silent film."""
        ...

    def until(self, pts_ns: int) -> Samples:
        """What is heard from the end of the last piece to `pts_ns`, float32 [channels, n] at 48 kHz."""
        ...

    def close(self) -> None:
        """Close what it is read from."""
        ...


class OwnSound:
    """The clip's own sound, as it is; nothing where it has none.

    Args:
        source: Of the clip; None where it has no sound.
    """

    def __init__(self, source: SoundReader | None) -> None:
        self._source = source
        self._taken = 0
        self.channels = 0 if source is None else 2

    def until(self, pts_ns: int) -> Samples:
        """See `Sound`."""
        if self._source is None:
            return np.zeros((0, 0), np.float32)
        count = max(0, round(pts_ns * 48_000 / NS_PER_S) - self._taken)
        self._taken += count
        return self._source.read(count)

    def close(self) -> None:
        """See `Sound`."""
        if self._source is not None:
            self._source.close()


class ClipWork(Generic[T]):
    """Carries the pictures of one clip, once.

    Args:
        reader: The clip.
        pictures: How many there should be.
        sound: What goes with them.
        open_writer: Opens the output.
        clock: Times decoder and encoder.

    Attributes:
        written: Pictures so far.
        encoder: FFmpeg's name of the encoder that writes the pictures, "" before the output is begun.
    """

    def __init__(
        self, reader: ClipReader, pictures: int, sound: Sound, open_writer: Callable[[], ClipWriter], clock: Clock
    ) -> None:
        self._reader = reader
        self._pictures = pictures
        self._sound = sound
        self._open_writer = open_writer
        self._clock = clock
        self._decode_lane, self._encode_lane = Lane("decode"), Lane("encode")
        self._meters = {"decode": StageMeter(), "encode": StageMeter()}
        self._last_ns = 0
        self._picture_ns = round(Fraction(NS_PER_S) / reader.format.rate)
        self.written = 0
        self.encoder = self._encoder_note = ""

    @property
    def media_s(self) -> float:
        """Length of what was written; the last picture is shown as long as the one before it."""
        return (self._last_ns + self._picture_ns) / NS_PER_S

    def figures(self) -> dict[str, StageFigures]:
        """Milliseconds a picture of decoder and encoder."""
        return {name: meter.figures() for name, meter in self._meters.items()}

    def codec_warnings(self, codecs: Codecs) -> tuple[str, ...]:
        """Say who did what the card was to do."""
        told = [self._encoder_note] if self._encoder_note else []
        by_processor = self.written - self._reader.on_card
        if codecs.decode == "nvidia" and by_processor > 0:
            told.append(f"the processor decoded {by_processor} of {self.written} pictures, NVDEC the others")
        return tuple(told)

    async def run(
        self,
        first: Callable[[VideoFrame], Awaitable[T]],
        second: Callable[[T], Awaitable[VideoFrame]],
        check: Callable[[], None],
        progress: Progress | None,
    ) -> None:
        """Carry all pictures, each step working on one while the others have theirs.

        Args:
            first: From a decoded picture to what the second step takes.
            second: From that to the picture to write.
            check: Raises where the whole must not be kept, at the end.
            progress: Told pictures written and expected after each one.

        Raises:
            ConfigError: A step gave up.
            MediaError: The output cannot be written, or `check` has refused it.
        """
        encode = self._encode_lane
        try:
            writer = await encode.run(self._open_writer)
            self.encoder, self._encoder_note = writer.encoder, writer.note
            try:
                await self._carry(writer, first, second, progress)
                check()
                await encode.run(lambda: self._finish(writer))
            finally:
                # On its own thread, after whatever is still being encoded there; also when this task is cancelled.
                await asyncio.shield(encode.run(writer.abort))
        finally:
            self._decode_lane.close()
            encode.close()
            self._sound.close()

    async def _carry(
        self,
        writer: ClipWriter,
        first: Callable[[VideoFrame], Awaitable[T]],
        second: Callable[[T], Awaitable[VideoFrame]],
        progress: Progress | None,
    ) -> None:
        """Run the four stages side by side until the clip ends or one of them fails."""
        frames: BoundedQueue[VideoFrame] = BoundedQueue(_QUEUE)
        between: BoundedQueue[T] = BoundedQueue(_QUEUE)
        done: BoundedQueue[VideoFrame] = BoundedQueue(_QUEUE)

        async def write() -> None:
            while (frame := await _next(done)) is not None:
                await self._metered("encode", self._encode_lane, functools.partial(self._encode, writer, frame))
                if progress is not None:
                    progress(self.written, self._pictures)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._decode(frames))
                group.create_task(_relay(frames, first, between))
                group.create_task(_relay(between, second, done))
                group.create_task(write())
        except* (ConfigError, MediaError) as failures:
            raise _first(failures) from None

    async def _decode(self, frames: BoundedQueue[VideoFrame]) -> None:
        pictures = self._reader.frames()
        while (frame := await self._metered("decode", self._decode_lane, lambda: next(pictures, None))) is not None:
            await frames.put(frame)
        await frames.close()

    async def _metered(self, stage: str, lane: Lane, work: Callable[[], U]) -> U:
        def timed() -> U:
            start_ns = self._clock.now_ns()
            result = work()
            self._meters[stage].add(self._clock.now_ns() - start_ns)
            return result

        return await lane.run(timed)

    # -- on the encoder's thread -------------------------------------------------------------------

    def _encode(self, writer: ClipWriter, frame: VideoFrame) -> None:
        writer.write_sound(self._sound.until(frame.pts_ns))
        writer.write_picture(frame)
        if self.written:
            self._picture_ns = frame.pts_ns - self._last_ns
        self._last_ns = frame.pts_ns
        self.written += 1

    def _finish(self, writer: ClipWriter) -> None:
        """Show the last picture as long as the one before it, fill its time with sound, complete the file."""
        writer.write_sound(self._sound.until(self._last_ns + self._picture_ns))
        writer.finish()


async def _next(queue: BoundedQueue[U]) -> U | None:
    """The next item; None when there are no more."""
    try:
        return await queue.get()
    except SessionClosed:
        return None


async def _relay(source: BoundedQueue[T], work: Callable[[T], Awaitable[U]], sink: BoundedQueue[U]) -> None:
    """Work on every item in order, then close the queue behind."""
    while (item := await _next(source)) is not None:
        await sink.put(await work(item))
    await sink.close()


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one failure of a group; the others follow from it."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def give_up_if(*, off: bool, stage: str) -> None:
    """A live session goes on without a broken stage; a file that nobody waits for is better not written.

    Raises:
        ConfigError: The stage is off.
    """
    if off:
        raise ConfigError(
            f"the {stage} stage failed for a second on end, or its device has no memory: "
            "run again with --debug to see why"
        )
