"""One peer's session: its two tracks walk through the stages and leave on one timeline.

Only here are tasks started, all in one TaskGroup, and all end with the peer:
queues close from upstream to downstream, and a loop ends when its own is empty.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from stream.align import meet
from stream.card_picture import CardPicture
from stream.clock import Clock
from stream.config import SessionConfig
from stream.dubbing import SEND_AHEAD_NS, Dubbing
from stream.engines import Engines, RenderStageLike
from stream.errors import SessionClosed
from stream.filtering import Filtering
from stream.filters import Chosen
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk, FaceCrop, SyncedFrame, VideoFrame
from stream.health import Health
from stream.passage import LoopedVoice, Mode, Passage, Spoken, Voice
from stream.pipeline import Call, Lane, Raised, StageRunner, attempt
from stream.playout import PeerLike, Playout
from stream.queues import BoundedQueue, Leaky
from stream.speech.wish import DubWish
from stream.transport.codec_threads import give_memory_back
from stream.when_covered import StandIn, drawn_by

log = logging.getLogger(__name__)

_RATE_HZ = 48_000
_CHUNK_SAMPLES = 960
_CHUNK_NS = _CHUNK_SAMPLES * NS_PER_S // _RATE_HZ
# Together below the three seconds that a dead peer may cost.
_LOOPS_END_WITHIN_S = 2.0
_STAGES_END_WITHIN_S = 0.8
# One more session is refused when the 95th percentile of a picture's latency is beyond this share of the delay.
_STRAIN_SHARE = 0.75
_STRAIN_AFTER = 50
# Pictures that are held back at most: 10 s at 30 a second.
_HELD = 300
# Pictures of at most this many earlier passages may still be on their way.
_PASSAGES_KEPT = 4


OpenDubbing = Callable[[DubWish, Callable[[], int], int, Callable[[str], None]], Dubbing]
"""Makes a live dub from a wish, the session's time, the exit's delay and whom to tell that it was given up."""


@dataclass(frozen=True, slots=True)
class _Met:
    """A picture that met its voice.

    Attributes:
        synced: What lips are made of; without faces it passes.
        faces: Those of the picture, for a filter that works around them.
        chosen: What it is filtered with: as was chosen when its turn began.
    """

    synced: SyncedFrame
    faces: tuple[FaceCrop, ...] = ()
    chosen: Chosen | None = None


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A picture that has its lips, or has none made.

    Attributes:
        frame: It.
        met: What it was drawn from.
        lips: Whether lips were made.
    """

    frame: VideoFrame
    met: _Met
    lips: bool


class Session:
    """Runs one peer in the mode asked for until the peer is gone.

    Args:
        peer: Where media comes from and goes to.
        config: Delays and tolerances.
        engines: The generator, its thread and the face finders of this process.
        clock: The peer's clock.
        health: Told when a stage is switched off.
        name: The session's name in logs and in health.
        open_dubbing: Makes a live dub for a wish; None where there are no speech back ends.
    """

    def __init__(
        self,
        peer: PeerLike,
        config: SessionConfig,
        engines: Engines,
        clock: Clock,
        *,
        health: Health | None = None,
        name: str = "session",
        open_dubbing: OpenDubbing | None = None,
    ) -> None:
        self.peer = peer
        self.name = name
        self.voice: Voice | None = None
        self._config = config
        self._engines = engines
        self._clock = clock
        self._health = health or Health()
        self._open_dubbing = open_dubbing
        self.dubbing: Dubbing | None = None
        self._passages = [Passage(-NS_PER_S, Mode.PASS_THROUGH, None)]
        self._tasks, self._running = asyncio.TaskGroup(), False
        self._opening: asyncio.Task[object] | None = None
        self._begun, self._changed = asyncio.Event(), asyncio.Event()
        self._held: BoundedQueue[VideoFrame] = BoundedQueue(1)
        self._to_render: BoundedQueue[_Met] = BoundedQueue(2, Leaky.DOWNSTREAM)
        self._to_finish: BoundedQueue[_Drawn] = BoundedQueue(1)
        self._passed: Counter[str] = Counter()
        self.face_lane = Lane(f"faces-{name}")
        self._face_stage = engines.face_stage()
        self.faces: StageRunner[VideoFrame, tuple[FaceCrop, ...]] = StageRunner(
            self._face_stage, self.face_lane, clock, on_off=self._tell("faces")
        )
        self._painter = engines.painter
        self._renderer: RenderStageLike = engines.render_stage()
        self.render: StageRunner[SyncedFrame, VideoFrame] = StageRunner(
            self._renderer,
            engines.lane,
            clock,
            through=lambda synced, deadline_ns: engines.batcher.submit(self._renderer, synced, deadline_ns),
            rebuild=self._with_new_engine,
            on_off=self._tell("render"),
            on_again=lambda: self._health.recover(name, "render"),
        )
        self.filter_lane = Lane(f"filter-{name}")
        self.filtering = self._open_filtering("filter")
        self.covering = self._open_filtering("the filter for covered mouths")
        self.stand_in = StandIn(engines.filters.when_covered, self.covering.draw)
        peer.delay_ns = self._delay_ns(Mode.PASS_THROUGH)
        self.playout = Playout(peer, config, clock)

    def _open_filtering(self, feature: str) -> Filtering:
        """What filters pictures with a memory and an account of its own, by its name in health."""
        return Filtering(
            self._engines.filter_stage(),
            self.filter_lane,
            self._engines.batcher.load,
            id(self._renderer),
            self._clock,
            on_off=self._tell(feature),
            on_again=lambda: self._health.recover(self.name, feature),
        )

    # -- the mode ---------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """The mode that new pictures are in."""
        return self._passages[-1].mode

    def switch(self, mode: Mode, voice: Voice | None = None, dub: DubWish | None = None) -> None:
        """Change mode and voice from the next picture on; nothing on its way is dropped.

        Without a voice the one chosen last stays, and so does a dub that goes on as it was.

        Raises:
            ValueError: Re-voice was asked for without a voice, a dub without a wish or without back ends.
        """
        self.voice = voice or self.voice
        start_ns = self._media_now_ns()
        passage = self._passage(mode, start_ns, dub)
        self._passages = [*self._passages[1 - _PASSAGES_KEPT :], passage]
        self._held.resize(_HELD if passage.hold_ns else 1)
        self.faces.retry()
        self.render.retry()
        self.filtering.runner.retry()
        self.covering.runner.retry()
        self._health.recover(self.name)
        self.playout.aim(self._delay_ns(mode) + passage.hold_ns)
        self._changed.set()
        self._prepare()

    def choose_filter(self, chosen: Chosen | None) -> None:
        """Filter pictures from the next one on that is drawn, or leave them; the mode and the voice go on."""
        self.filtering.choose(chosen, self._media_now_ns())
        self._health.recover(self.name, "filter")
        self.playout.aim(self._delay_ns(self.mode) + self._passages[-1].hold_ns)
        self._prepare()

    def _passage(self, mode: Mode, start_ns: int, dub: DubWish | None) -> Passage:
        before = self.dubbing
        if mode is Mode.RE_VOICE and self.voice is None:
            raise ValueError("re-voice needs a voice")
        if mode is Mode.DUB:
            if self._open_dubbing is None:
                raise ValueError("a dub needs speech back ends")
            wish = dub or (before.wish if before is not None else None)
            if wish is None:
                raise ValueError("a dub needs to know from which language to which")
            if before is None or before.wish != wish:
                self.dubbing = self._open_dubbing(wish, self._media_now_ns, self._delay_ns(mode), self._tell("dub"))
                self._start_dubbing(self.dubbing)
        else:
            self.dubbing = None
        if before is not None and before is not self.dubbing:
            self._end_dubbing(before)
        if self.dubbing is not None:
            return Passage(start_ns, mode, self.dubbing, self.dubbing.hold_ns, self.dubbing)
        if mode is Mode.PASS_THROUGH or self.voice is None:
            return Passage(start_ns, mode, None)
        return Passage(start_ns, mode, LoopedVoice(self.voice, start_ns, self._pause_ns))

    def _start_dubbing(self, dubbing: Dubbing) -> None:
        """Start its loops with the session's, or now if those run."""
        if self._running:
            self._tasks.create_task(dubbing.run())

    def _end_dubbing(self, dubbing: Dubbing) -> None:
        if self._running:
            self._tasks.create_task(dubbing.close())

    @property
    def _pause_ns(self) -> int:
        return round(self._config.voice_pause_ms * NS_PER_MS)

    def _delay_ns(self, mode: Mode) -> int:
        config = self._config
        filtered_ms = config.filter_delay_ms if self.filtering.chosen is not None else 0.0
        delays_ms = {
            Mode.PASS_THROUGH: max(config.pass_through_delay_ms, filtered_ms),
            Mode.RE_VOICE: config.re_voice_delay_ms,
            Mode.DUB: config.dub_delay_ms,
        }
        return round(delays_ms[mode] * NS_PER_MS)

    def _media_now_ns(self) -> int:
        """The session's time; zero until the first media has come."""
        epoch_ns = self.peer.epoch_ns
        return 0 if epoch_ns is None else self._clock.now_ns() - epoch_ns

    def _passage_at(self, pts_ns: int) -> Passage:
        """The passage that a picture or sound of this time belongs to."""
        for passage in reversed(self._passages):
            if passage.start_ns <= pts_ns:
                return passage
        return self._passages[0]

    # -- the way of the media ---------------------------------------------------------------------

    async def run(self) -> None:
        """Carry media until the peer is gone, then end every task within three seconds."""
        try:
            async with self._tasks:
                loops = (self._gather, self._find_faces, self._draw, self._finish, self._hear)
                media = [self._tasks.create_task(loop()) for loop in loops]
                speaking = self._tasks.create_task(self._speak())
                self._running = True
                if self.dubbing is not None:
                    self._start_dubbing(self.dubbing)
                self._prepare()
                await self.peer.closed.wait()
                await self.peer.video_in.close()
                await self.peer.audio_in.close()
                speaking.cancel()
                if self.dubbing is not None:
                    await self.dubbing.close()
                _, stuck = await asyncio.wait(media, timeout=_LOOPS_END_WITHIN_S)
                for task in stuck:
                    log.error("%s: %s did not end by itself", self.name, task.get_coro())
                    task.cancel()
        finally:
            await self._release()

    async def _release(self) -> None:
        """Give back what the session held; the shared engine stays."""
        self._health.recover(self.name)
        await self.peer.close()
        self._engines.batcher.leave(self._renderer)
        self.filter_lane.close()
        if not await self.face_lane.finish(self._end_faces, _STAGES_END_WITHIN_S):
            log.error("%s: its face thread hangs in %s and was left behind", self.name, self.faces.name)

    def _end_faces(self) -> None:
        """The last thing on the face thread."""
        self._face_stage.close()
        give_memory_back()

    async def _gather(self) -> None:
        """Pictures from the peer into the room in which a dub's pictures wait."""
        try:
            while True:
                frame = await self.peer.video_in.get()
                self._begun.set()
                await self._held.put(frame)
        except SessionClosed:
            await self._held.close()

    async def _find_faces(self) -> None:
        """Pictures through the face stage, to their meeting with the voice, and through a filter that goes first."""
        try:
            while True:
                frame = await self._released(await self._held.get())
                met = replace(await self._met(frame), chosen=self.filtering.chosen_at(frame.pts_ns))
                await self._to_render.put(await self._filtered_before(met))
        except SessionClosed:
            await self._to_render.close()

    async def _released(self, frame: VideoFrame) -> VideoFrame:
        """The picture when its time has come."""
        hold_ns = self._passage_at(frame.pts_ns).hold_ns
        if not hold_ns or self.peer.closed.is_set():
            return frame
        due_ns = (self.peer.epoch_ns or 0) + frame.pts_ns + hold_ns
        await self._clock.sleep_until(due_ns)
        # Its time in the engine begins now.
        return replace(frame, arrival_ns=max(frame.arrival_ns, due_ns))

    async def _met(self, frame: VideoFrame) -> _Met:
        """The picture with what is needed to re-voice it, or with no mel when it is to pass."""
        passage = self._passage_at(frame.pts_ns)
        if passage.voice is None:
            return await self._passes(frame, "pass_through")
        if self.render.off:
            return await self._passes(frame, "render_off")
        faces, why_not = await self._faces_of(frame, self.render.expected_ns)
        if why_not == "no_time":
            # Overload: an original picture in time is better than a made one too late, which is no picture.
            self.render.spare()
        if why_not is not None:
            self._passed[why_not] += 1
            return _Met(SyncedFrame(frame, (), None))
        synced = meet(frame, faces, passage.voice)
        if synced.mel is None:
            self._passed["not_dubbed"] += 1
        return _Met(synced, faces)

    async def _passes(self, frame: VideoFrame, reason: str) -> _Met:
        """The picture without lips; with its faces where a filter needs them."""
        self._passed[reason] += 1
        faces: tuple[FaceCrop, ...] = ()
        if self.filtering.seeks_faces:
            faces, _ = await self._faces_of(frame, self.filtering.runner.expected_ns)
        return _Met(SyncedFrame(frame, (), None), faces)

    async def _faces_of(self, frame: VideoFrame, then_ns: int) -> tuple[tuple[FaceCrop, ...], str | None]:
        """The faces of a picture that takes so long after they are found; or none, and why."""
        # What could not be opened is left to the stage, which tries again and is counted.
        if self._opening is None or not self._opening.done():
            return (), "faces_opening"
        if not self.playout.has_time(frame, self.faces.expected_ns + then_ns):
            self.faces.spare()
            return (), "no_time"
        faces = await self.faces.apply(frame)
        if faces is None:
            return (), "faces_off" if self.faces.off else "faces_failed"
        return faces, None

    def _prepare(self) -> None:
        """Open the face finder when it will be needed; until it is there, pictures pass."""
        needed = self.mode is not Mode.PASS_THROUGH or self.filtering.seeks_faces
        if self._running and self._opening is None and needed:
            opener = StageRunner(Call("opening the face finder", self._face_stage.open), self.face_lane, self._clock)
            self._opening = self._tasks.create_task(opener.apply(None))

    async def _filtered_before(self, met: _Met) -> _Met:
        """Filter a picture that lips are still to be made in, while those of the one before it are made."""
        chosen, deadline_ns = met.chosen, self.playout.deadline_ns(met.synced.frame)
        lips_ns = self.render.expected_ns if met.synced.faces else 0
        by_ns = None if deadline_ns is None else deadline_ns - lips_ns
        if (stood_in := await self.stand_in.draw(met.synced, chosen, by_ns)) is not None:
            return _Met(stood_in, met.faces, self.stand_in.chosen)
        if chosen is None:
            return met
        met = await self._in_memory(met)
        if chosen.order != "before":
            return met
        frame = met.synced.frame
        drawn = await self.filtering.apply(frame, met.faces, chosen, by_ns)
        if chosen.anonymous and not drawn:
            # Lips would be drawn on a backdrop, or on another moment's face.
            return replace(met, synced=SyncedFrame(frame, (), None))
        return replace(met, synced=drawn_by(met.synced, chosen))

    async def _draw(self) -> None:
        """Pictures through the render stage; those that need no lips only pass, in order."""
        try:
            while True:
                met = await self._where_it_is_drawn(await self._to_render.get())
                made = self._renderer.made
                frame = await self._with_lips(met.synced, self.playout.deadline_ns(met.synced.frame))
                await self._to_finish.put(_Drawn(frame, met, self._renderer.made > made))
        except SessionClosed:
            await self._to_finish.close()

    async def _finish(self) -> None:
        """Pictures through a filter that goes last, while lips are made in the next one, and out."""
        try:
            while True:
                drawn = await self._to_finish.get()
                chosen = drawn.met.chosen
                if chosen is not None and chosen.order == "after":
                    deadline_ns = self.playout.deadline_ns(drawn.frame)
                    await self.filtering.apply(drawn.frame, drawn.met.faces, chosen, deadline_ns, lips=drawn.lips)
                await self.playout.picture(drawn.frame)
        except SessionClosed:
            return

    async def _where_it_is_drawn(self, met: _Met) -> _Met:
        """The picture in memory, unless nobody changes it or its painter does so on the card that it lies on."""
        if not met.synced.faces or self._engines.paints_where_it_lies(met.synced.frame):
            return met
        return await self._in_memory(met)

    async def _in_memory(self, met: _Met) -> _Met:
        frame = met.synced.frame
        if not isinstance(frame.picture, CardPicture):
            return met
        # What lay in the context of an engine that has failed is lost.
        brought = await self.face_lane.run(lambda: attempt(frame.in_memory))
        if isinstance(brought, Raised):
            return met
        return replace(met, synced=replace(met.synced, frame=brought))

    async def _with_lips(self, synced: SyncedFrame, deadline_ns: int | None) -> VideoFrame:
        # Without mel a mouth that was drawn until now is faded back, which needs its face.
        if synced.mel is None and not synced.faces:
            return synced.frame
        late = self.render.late
        drawn = await self.render.apply(synced, deadline_ns)
        if drawn is None:
            self._passed["no_time" if self.render.late > late else "render_failed"] += 1
            return synced.frame
        return drawn

    async def _hear(self) -> None:
        """The peer's own sound: sent on while it passes through, let go while a voice speaks."""
        try:
            while True:
                chunk = await self.peer.audio_in.get()
                self._begun.set()
                passage = self._passage_at(chunk.pts_ns)
                if passage.dubbing is not None:
                    await self._overhear(passage.dubbing, chunk)
                if passage.voice is None:
                    await self.playout.sound(chunk)
        except SessionClosed:
            return

    async def _overhear(self, dubbing: Dubbing, chunk: AudioChunk) -> None:
        """Give a chunk to the dub; one that was closed meanwhile needs it no more."""
        with contextlib.suppress(SessionClosed):
            await dubbing.hear(chunk)

    async def _speak(self) -> None:
        """The voice: one chunk as each 20 ms of session time begins, whatever the pictures do."""
        try:
            await self._begun.wait()
            while True:
                self._changed.clear()
                passage = self._passages[-1]
                if passage.voice is None:
                    await self._changed.wait()
                else:
                    await self._say(passage, passage.voice)
        except SessionClosed:
            return

    async def _say(self, passage: Passage, voice: Spoken) -> None:
        """Speak until the passage is over; its first chunk follows the last one sent, without a gap."""
        end_ns = self.playout.sound_end_ns
        pts_ns = passage.start_ns if end_ns is None else end_ns
        # A dub is read late, so that the original has come and an interruption is heard at once.
        wait_ns = 0
        if passage.dubbing is not None:
            wait_ns = max(0, self._delay_ns(passage.mode) + passage.hold_ns - SEND_AHEAD_NS)
        while passage is self._passages[-1]:
            await self._clock.sleep_until((self.peer.epoch_ns or 0) + pts_ns + wait_ns)
            samples = voice.audio(pts_ns, _CHUNK_SAMPLES, _RATE_HZ)
            await self.playout.sound(AudioChunk(pts_ns, _RATE_HZ, samples))
            pts_ns += _CHUNK_NS

    # -- what becomes of it -----------------------------------------------------------------------

    @property
    def passed(self) -> dict[str, int]:
        """Pictures that left as they came, by reason."""
        return dict(self._passed + Counter(dict(self._renderer.passed)))

    @property
    def strained(self) -> bool:
        """Whether the pictures of the last seconds took so much of the delay that it may not last."""
        figures = self.playout.latency.figures()
        delay_ms = self._delay_ns(self.mode) / NS_PER_MS
        works = self.mode is not Mode.PASS_THROUGH or self.filtering.chosen is not None
        enough = works and figures.count >= _STRAIN_AFTER
        return enough and figures.p95_ms > _STRAIN_SHARE * delay_ms

    @property
    def overtaken(self) -> int:
        """Pictures that newer ones overtook between the stages; the peer counts those before them."""
        return self._to_render.stats.dropped

    def _tell(self, feature: str) -> Callable[[str], None]:
        return lambda reason: self._health.degrade(self.name, feature, reason)

    def _with_new_engine(self) -> RenderStageLike:
        """The render stage, after the painter that failed it for so long was replaced; runs on the engine's thread."""
        self._engines.rebuild(self._painter)
        self._painter = self._engines.painter
        return self._renderer
