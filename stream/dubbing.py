"""One session's live dub: sound goes to the chain of back ends, and what they make is heard and seen on one track.

Two lanes, so that listening never waits for speaking. Whatever fails costs a clause: the original voice is heard, and a
counter says why.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.mel import MelWindow
from stream.clock import Clock
from stream.errors import SessionClosed
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.pipeline import Call, Lane, StageRunner
from stream.queues import BoundedQueue, Leaky
from stream.speech.captions import Caption
from stream.speech.chain import Chain
from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.downsample import Downsampler
from stream.speech.echo import EchoGuard
from stream.speech.interpreter import Interpreter, Prepared
from stream.speech.kept import KeptSound
from stream.speech.lag import LagConfig
from stream.speech.listener import Heard, Listener, Turn, talks_at
from stream.speech.protocol import Clause
from stream.speech.track import DubTrack
from stream.speech.wish import DubWish
from stream.voice import EAR_RATE_HZ, add_at

Samples = NDArray[np.float32]

READ_AHEAD_NS = 20 * NS_PER_MS
"""A dub begins so long after the newest picture whose lips may have been drawn."""
# A voice that has said all by then has nothing to say while the next words are translated.
_IDLE_WITHIN_NS = 100 * NS_PER_MS
# Sound is listened to in pieces of 40 ms: each costs a turn of the loop and of a lane.
_BATCH = 2
_RAMP_NS = 150 * NS_PER_MS
# The original stays low between two clauses that are no further apart.
_TOGETHER_NS = 700 * NS_PER_MS
_PENDING_NS = 4 * NS_PER_S
_CLOSED_NS = 300 * NS_PER_MS
_HEARD_CHUNKS = 500
_CLAUSES = 16
_SHOWN = 30
_REMEMBERED = 2000
_ORIGINAL_KEPT_NS = 8 * NS_PER_S
_CLOSE_WITHIN_S = 1.2
_KEPT_RATE_HZ = 24_000
_KEPT_S = 1800


@dataclass(frozen=True, slots=True)
class Line:
    """A clause as the page shows it.

    Attributes:
        closed_ns: Session time at which its words were known.
        ready_ns: Session time at which it could be spoken.
        heard_ns: When its dub begins, in session time; None where it is a caption only.
        end_ns: When its dub ends; of its words where it is not spoken.
    """

    clause: Clause
    target: str
    quality: str
    closed_ns: int
    ready_ns: int
    heard_ns: int | None
    end_ns: int


class Dubbing:
    """See the module. It is a voice on the session's timeline: `audio` and `mel` are read at the same times.

    Args:
        wish: Languages and picture.
        open_chain: Makes the back ends; runs on a lane, as it may take a second.
        window: Mel columns that one picture sees.
        clock: The session's.
        media_now_ns: The session's time.
        delay_ns: Of the exit, as long as pictures are not held back.
        lag: What the dub is held to.
        clauses: When a clause closes.
        on_off: Told the reason when a half of the chain is given up.
    """

    def __init__(
        self,
        wish: DubWish,
        open_chain: Callable[[DubWish], Chain],
        window: MelWindow,
        clock: Clock,
        media_now_ns: Callable[[], int],
        *,
        delay_ns: int,
        lag: LagConfig | None = None,
        clauses: ClauseConfig | None = None,
        on_off: Callable[[str], None] | None = None,
    ) -> None:
        self.wish = wish
        self._open_chain = open_chain
        self._media_now_ns = media_now_ns
        self._lag = lag or LagConfig()
        self._clause_config = clauses or ClauseConfig()
        self.hold_ns = self._lag.target_ms * NS_PER_MS - delay_ns if wish.video == "together" else 0
        self.delay_ns = delay_ns + self.hold_ns
        self.track = DubTrack(window)
        self._echo = EchoGuard(self.track.audio, self.delay_ns)
        self._listen_lane, self._speak_lane = Lane("dub-listen"), Lane("dub-speak")
        self._listening = StageRunner(_Stage("listen", self._listen), self._listen_lane, clock, on_off=on_off)
        self._speaking = StageRunner(_Stage("speak", self._prepare), self._speak_lane, clock, on_off=on_off)
        self._opening = StageRunner(Call("opening the chain", self._open), self._speak_lane, clock, on_off=on_off)
        self._heard: BoundedQueue[AudioChunk] = BoundedQueue(_HEARD_CHUNKS, Leaky.DOWNSTREAM)
        self._clauses: BoundedQueue[tuple[Clause, int]] = BoundedQueue(_CLAUSES, Leaky.DOWNSTREAM)
        self._downsampler = Downsampler()
        self._originals: deque[AudioChunk] = deque()
        self._turns: tuple[Turn, ...] = ()
        self._chain: Chain | None = None
        self._listener: Listener | None = None
        self._interpreter: Interpreter | None = None
        self._pending = 0
        self._current: int | None = None
        self._newest = 0
        self._wanted = 0  # clauses before this one were interrupted
        self._gain = 1.0
        self._lines: deque[Line] = deque(maxlen=_REMEMBERED)
        self._tentative = ""
        self._lag_ns: int | None = None
        self._echoed = 0
        self._kept = KeptSound(_KEPT_RATE_HZ, _KEPT_S)
        self._state = "starting"
        self._running: asyncio.Task[object] | None = None
        self._closed = False

    # -- sound in -----------------------------------------------------------------------------------

    async def hear(self, chunk: AudioChunk) -> None:
        """Take the peer's own sound, 48 kHz."""
        self._originals.append(chunk)
        while self._originals[0].end_ns < chunk.end_ns - _ORIGINAL_KEPT_NS:
            self._originals.popleft()
        await self._heard.put(chunk)

    async def run(self) -> None:
        """Listen and speak until `close`."""
        self._running = asyncio.current_task()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run_listening())
            tasks.create_task(self._run_speaking())

    async def _run_listening(self) -> None:
        if await self._opening.apply(None) is None:
            self._state = "off"
            await self._clauses.close()
            return
        self._state = "listening"
        try:
            while not self._closed:
                heard = await self._listening.apply(await self._batch())
                if self._listening.off:
                    self._state = "off"
                if heard is not None:
                    await self._take(heard)
        except SessionClosed:
            await self._clauses.close()

    async def _batch(self) -> list[AudioChunk]:
        """The next sound, and all that waits beyond it."""
        chunks = [await self._heard.get() for _ in range(_BATCH)]
        while len(self._heard):
            chunks.append(await self._heard.get())
        return chunks

    async def _take(self, heard: Heard) -> None:
        self._turns, self._tentative = heard.turns, heard.tentative
        for clause in heard.clauses:
            if self._echo.repeats(clause.text):
                self._echoed += 1
                continue
            self._pending += 1
            self._newest = clause.clause_id
            await self._clauses.put((clause, self._media_now_ns()))

    async def _run_speaking(self) -> None:
        try:
            while not self._closed:
                clause, closed_ns = await self._clauses.get()
                self._current = clause.clause_id
                prepared = await self._speaking.apply(clause)
                self._current = None
                self._pending = len(self._clauses)
                if prepared is None:
                    ready_ns = self._media_now_ns()
                    self._lines.append(Line(clause, "", "failed", closed_ns, ready_ns, None, clause.end_ns))
                elif clause.clause_id >= self._wanted:
                    self._place(prepared, closed_ns)
        except SessionClosed:
            return

    def _place(self, prepared: Prepared, closed_ns: int) -> None:
        assert self._interpreter is not None
        if prepared.empty:
            return
        ready_ns = self._media_now_ns()
        dubbed = self._interpreter.place(prepared, self.free_ns, self.delay_ns)
        self._echo.spoke(prepared.translated.text)
        heard_ns = None
        if dubbed.placement is not None:
            heard_ns, self._lag_ns = dubbed.placement.start_ns, dubbed.placement.lag_ns
        clause, translated = prepared.clause, prepared.translated
        self._lines.append(
            Line(clause, translated.text, translated.quality, closed_ns, ready_ns, heard_ns, dubbed.end_ns)
        )

    @property
    def free_ns(self) -> int:
        """First session time that no picture can have shown yet.

        Pictures just before it may have looked ahead into silence: their lips did not open for what comes.
        """
        return self._media_now_ns() - self.hold_ns + READ_AHEAD_NS

    # -- on the lanes -------------------------------------------------------------------------------

    def _open(self) -> bool:
        chain = self._chain = self._open_chain(self.wish)
        splitter = ClauseSplitter(self._clause_config, self.wish.source)
        self._listener = Listener(chain.recogniser, splitter, idle=lambda: is_idle(self.track, self.free_ns))
        self._interpreter = Interpreter(
            chain.translators[self.wish.target],
            chain.speaker,
            self.track,
            target=self.wish.target,
            voice=self.wish.voice,
            lag=self._lag,
        )
        return True

    def _listen(self, chunks: list[AudioChunk]) -> Heard:
        assert self._listener is not None
        clauses: list[Clause] = []
        for chunk in chunks:
            heard = self._listener.push(self._echo.filter(self._downsampler.push(chunk)))
            clauses += heard.clauses
        return Heard(tuple(clauses), heard.tentative, heard.turns)

    def _prepare(self, clause: Clause) -> Prepared:
        assert self._interpreter is not None
        return self._interpreter.prepare(clause)

    # -- sound and lips out -------------------------------------------------------------------------

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = EAR_RATE_HZ) -> Samples:
        """What is heard from session time `pts_ns` on: the dub, and the original under it. Read in order of time."""
        dub = self.track.audio(pts_ns, count, sample_rate_hz)
        duration_ns = count * NS_PER_S // sample_rate_hz
        goal = self.wish.duck if self._ducks(pts_ns, pts_ns + duration_ns) else 1.0
        step = duration_ns / _RAMP_NS
        end = min(goal, self._gain + step) if goal > self._gain else max(goal, self._gain - step)
        gains = np.linspace(self._gain, end, count, dtype=np.float32)
        self._gain = end
        heard: Samples = np.clip(dub + gains * self._original(pts_ns, count), -1.0, 1.0)
        self._kept.add(dub[:: EAR_RATE_HZ // _KEPT_RATE_HZ])
        return heard

    def _ducks(self, start_ns: int, end_ns: int) -> bool:
        """Whether the original is low: while the dub speaks, and between clauses as long as more are on their way."""
        if self.track.speaks(start_ns - _RAMP_NS, end_ns + _RAMP_NS):
            return True
        recent_ns = _PENDING_NS if self._pending else _TOGETHER_NS
        return self.track.speaks(start_ns - recent_ns, end_ns)

    def _original(self, pts_ns: int, count: int) -> Samples:
        heard = np.zeros(count, np.float32)
        first = pts_ns * EAR_RATE_HZ // NS_PER_S
        for chunk in reversed(self._originals):
            offset = chunk.pts_ns * EAR_RATE_HZ // NS_PER_S - first
            if offset + len(chunk.samples) <= 0:
                break
            add_at(heard, chunk.samples, offset)
        return heard

    def mel(self, pts_ns: int) -> NDArray[np.float32] | None:
        """What the lips at `pts_ns` follow: the dub, silence where it pauses; None shows the original mouth."""
        if self.track.speaks(pts_ns - _CLOSED_NS, pts_ns + _CLOSED_NS):
            return self.track.window(pts_ns)
        works = self._state == "listening" and not self._speaking.off
        return self.track.window(pts_ns) if works and talks_at(self._turns, pts_ns) else None

    # -- control ------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Be silent now: what was to be said is dropped, whether placed or on its way."""
        sent_ns = self._media_now_ns() - self.delay_ns + SEND_AHEAD_NS + 20 * NS_PER_MS
        self.track.cut(sent_ns)
        self._wanted = self._newest + 1
        if self._current is not None and self._interpreter is not None:
            self._interpreter.cancel(self._current)

    async def close(self) -> None:
        """End the loops, the lanes and the processes on them; not from within `run`."""
        self._closed, self._state = True, "off"
        await self._heard.close()
        await self._clauses.close()
        if self._current is not None and self._interpreter is not None:
            self._interpreter.cancel(self._current)
        if self._running is not None:
            _, stuck = await asyncio.wait([self._running], timeout=_CLOSE_WITHIN_S / 2)
            for task in stuck:
                task.cancel()
        listened = self._listen_lane.finish(self._close_listener, _CLOSE_WITHIN_S)
        spoken = self._speak_lane.finish(self._close_interpreter, _CLOSE_WITHIN_S)
        await asyncio.gather(listened, spoken)
        self._kept.close()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def _close_interpreter(self) -> None:
        if self._interpreter is not None:
            self._interpreter.close()

    # -- what becomes of it -------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """What happened, by kind."""
        counts = Counter(
            echo=self._echoed,
            listen_failed=self._listening.failed,
            speak_failed=self._speaking.failed,
            sound_dropped=self._heard.stats.dropped,
            clauses_dropped=self._clauses.stats.dropped,
        )
        for half in (self._listener, self._interpreter):
            counts.update(half.counts if half is not None else {})
        if self._chain is not None:
            counts.update(self._chain.counts())
        return dict(counts)

    def public(self) -> dict[str, Any]:
        """The state as a page shows it."""
        return {
            "from": self.wish.source,
            "to": self.wish.target,
            "video": self.wish.video,
            "state": self._shown_state(),
            "lag_ms": None if self._lag_ns is None else round(self._lag_ns / NS_PER_MS),
            "target_lag_ms": self._lag.target_ms,
            "lag_max_ms": self._lag.max_ms,
            "tentative": self._tentative,
            "captions": [_public(line) for line in list(self._lines)[-_SHOWN:]],
            "counts": self.counts,
            "warnings": list(self._warnings()),
        }

    def _shown_state(self) -> str:
        if self._state != "listening":
            return self._state
        return "degraded" if self._speaking.off or self._listening.off else "listening"

    def _warnings(self) -> list[str]:
        warnings = list(self._chain.notes) if self._chain is not None else []
        if self._opening.failed or self._listening.off or self._speaking.off:
            warnings.append("the chain of back ends is off: you are heard in your own voice")
        return warnings

    def captions(self, text: str = "target") -> list[Caption]:
        """All captions that are remembered: of the "source", or of the "target" at the times of its dub."""
        if text == "source":
            return [
                Caption(line.clause.start_ns, line.clause.end_ns, line.clause.text, line.clause.language)
                for line in self._lines
            ]
        return [
            Caption(line.heard_ns or line.clause.start_ns, line.end_ns, line.target, self.wish.target)
            for line in self._lines
            if line.target
        ]

    def wav(self) -> bytes:
        """The dub so far, at most its last half hour, as a WAV file of 24 kHz."""
        return self._kept.wav()


SEND_AHEAD_NS = 40 * NS_PER_MS
"""A session sends sound so long before it leaves: an interruption has no more than this to wait for."""


def is_idle(track: DubTrack, free_ns: int) -> bool:
    """Whether the voice on a track has nothing to say from `free_ns`, the first free time, or soon after."""
    return track.end_ns <= free_ns + _IDLE_WITHIN_NS


class _Stage:
    """A method as a stage."""

    def __init__(self, name: str, work: Callable[[Any], Any]) -> None:
        self.name = name
        self.process = work


def _public(line: Line) -> dict[str, Any]:
    return {
        "id": line.clause.clause_id,
        "source": line.clause.text,
        "target": line.target,
        "start_ms": round(line.clause.start_ns / NS_PER_MS),
        "end_ms": round(line.clause.end_ns / NS_PER_MS),
        "closed_ms": round(line.closed_ns / NS_PER_MS),
        "ready_ms": round(line.ready_ns / NS_PER_MS),
        "heard_ms": None if line.heard_ns is None else round(line.heard_ns / NS_PER_MS),
        "spoken": line.heard_ns is not None,
        "quality": line.quality,
    }
