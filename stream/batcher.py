"""All sessions on the engine's one thread: the picture that is due first goes first, and those that fit go with it.

A batch is painted together, but what goes wrong with one picture is its own: only an engine that fails altogether
fails the pictures of that batch.
"""

import asyncio
import contextlib
import heapq
import itertools
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stream.clock import Clock
from stream.frames import NS_PER_MS, NS_PER_S, SyncedFrame, VideoFrame
from stream.load import EngineLoad
from stream.painter import Painter, Shot
from stream.pipeline import Lane, Outcome, Raised, attempt
from stream.stages import Stage

GATHER_NS = 3 * NS_PER_MS
"""How long a picture waits for others at most."""

# What has no deadline goes after all that has one.
_WHENEVER_NS = NS_PER_S
# What batches take at most and at least of late is remembered; each batch between brings both nearer by this part.
_FORGET = 50


class Drawing(Stage[SyncedFrame, VideoFrame], Protocol):
    """A render stage as the batcher sees it; `stream.render.RenderStage` is one."""

    painter: Painter

    def begin(self, item: SyncedFrame) -> Sequence[Shot]:
        """What there is to paint."""
        ...

    def finish(self, item: SyncedFrame, verdicts: Sequence[Exception | None]) -> VideoFrame:
        """The picture after its shots were painted; raises the first verdict that is an error."""
        ...

    def move_to(self, painter: Painter) -> None:
        """Go on with another painter."""
        ...

    def close(self) -> None:
        """Forget every face."""
        ...


@dataclass(frozen=True, slots=True)
class _Wait:
    """Who waits for a picture, and how long it may take."""

    session: int
    deadline_ns: int | None
    asked_ns: int
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Outcome[VideoFrame]]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """A picture that waits to be painted."""

    stage: Drawing
    item: SyncedFrame
    wait: _Wait

    @property
    def faces(self) -> int:
        """How many shots it may become at most."""
        return len(self.item.faces)


class Batcher:
    """Does the pictures of all render stages on one lane.

    Each request brings a turn of the lane, and a turn takes as many requests as go together; one that finds
    nothing left is over at once. So whatever else is asked of the lane comes between two batches.

    Args:
        lane: The engine's thread.
        painter: Draws; may be replaced between two batches, on the lane.
        clock: The clock of the deadlines.
        gather_ns: How long a request waits for others, where the painter can batch; 0 takes what is there.

    Attributes:
        load: What the thread is busy with.
    """

    def __init__(self, lane: Lane, painter: Painter, clock: Clock, *, gather_ns: int = GATHER_NS) -> None:
        self.painter = painter
        self.load = EngineLoad(clock)
        self._lane = lane
        self._clock = clock
        self._gather_ns = gather_ns
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, _Request]] = []
        self._asked = 0
        self._longest_ns = self._quickest_ns = 0

    async def submit(self, stage: Drawing, item: SyncedFrame, deadline_ns: int | None) -> Outcome[VideoFrame]:
        """Have a picture done; a session asks for one at a time.

        Args:
            stage: The session's own; it is used on the lane only.
            item: The picture.
            deadline_ns: Clock time after which it is of no use any more; None for whenever.

        Returns:
            What became of it; late where it could not be made before the deadline.
        """
        return await self._ask(_Request(stage, item, self._wait(id(stage), deadline_ns)))

    def _wait(self, session: int, deadline_ns: int | None) -> _Wait:
        loop = asyncio.get_running_loop()
        return _Wait(session, deadline_ns, self._clock.now_ns(), loop, loop.create_future())

    async def _ask(self, request: _Request) -> Outcome[VideoFrame]:
        wait = request.wait
        with self._changed:
            self._asked += 1
            due_ns = wait.asked_ns + _WHENEVER_NS if wait.deadline_ns is None else wait.deadline_ns
            heapq.heappush(self._waiting, (due_ns, self._asked, request))
            self._changed.notify()
        self._lane.post(self._turn)
        return await wait.answer

    def leave(self, stage: Drawing) -> None:
        """Have a stage forget its faces where they are painted; after its last picture."""
        self.load.left(id(stage))
        if not self._lane.closed:
            self._lane.post(stage.close)

    # -- on the lane -------------------------------------------------------------------------------

    def _turn(self) -> None:
        with self._changed:
            self._gather()
            requests = self._take()
        if not requests:
            return
        # Whatever goes wrong here, nobody is left waiting.
        if isinstance(failed := attempt(self._work, requests), Raised):
            self._answer([(request, Outcome(failed)) for request in requests])

    def _gather(self) -> None:
        """Wait for a fuller batch as long as that costs nobody anything."""
        while self._waiting:
            wait_ns = self._may_wait_ns()
            if wait_ns <= 0 or not self._changed.wait(wait_ns / NS_PER_S):
                return

    def _may_wait_ns(self) -> int:
        """Time until the batch has to go: the longest waiter has waited enough, or the most urgent one must not."""
        most = self.painter.max_batch
        paintings = [request for _, _, request in self._waiting]
        if most < 2 or sum(request.faces for request in paintings) >= most:
            return 0
        # With every session here there is nobody to wait for.
        if len(self._waiting) >= self.load.figures().sessions:
            return 0
        asked_ns = min(request.wait.asked_ns for request in paintings)
        go_ns = min(asked_ns + self._gather_ns, self._waiting[0][0] - self._longest_ns)
        return go_ns - self._clock.now_ns()

    def _take(self) -> list[_Request]:
        """The requests of the next batch, the most urgent first, at least one where there are any."""
        taken: list[_Request] = []
        faces = 0
        while self._waiting:
            request = self._waiting[0][2]
            if faces and faces + request.faces > self.painter.max_batch:
                break
            heapq.heappop(self._waiting)
            # Its session may have ended meanwhile.
            if not request.wait.answer.cancelled():
                taken.append(request)
                faces += request.faces
        return taken

    def _work(self, requests: Sequence[_Request]) -> None:
        begun_ns = self._clock.now_ns()
        to_paint: list[tuple[_Request, Sequence[Shot]]] = []
        for request in requests:
            if self._comes_too_late(request, begun_ns):
                self._answer([(request, Outcome(None, late=True))])
                continue
            shots = attempt(self._begin, request)
            if isinstance(shots, Raised):
                self._answer([(request, Outcome(shots))])
            elif shots:
                to_paint.append((request, shots))
            else:
                # What needs no paint does not wait for the paint of others.
                done = attempt(request.stage.finish, request.item, [])
                self._answer([(request, Outcome(done, self._clock.now_ns() - begun_ns))])
        if to_paint:
            self._paint(to_paint)

    def _comes_too_late(self, request: _Request, now_ns: int) -> bool:
        """Whether it would miss its deadline even in the quickest batch of late: painting it would only delay others.

        Nothing is learned from a picture that is not painted, so with each of them a shorter time is thought possible.
        """
        needed_ns = self._quickest_ns if request.faces else 0
        due_ns = request.wait.deadline_ns
        too_late = due_ns is not None and due_ns < now_ns + needed_ns
        if too_late:
            self._quickest_ns -= self._quickest_ns // _FORGET
        return too_late

    def _begin(self, request: _Request) -> Sequence[Shot]:
        if request.stage.painter is not self.painter:
            request.stage.move_to(self.painter)
        return request.stage.begin(request.item)

    def _paint(self, to_paint: Sequence[tuple[_Request, Sequence[Shot]]]) -> None:
        begun_ns = self._clock.now_ns()
        every_shot = [shot for _, shots in to_paint for shot in shots]
        painted = attempt(self.painter.paint, every_shot)
        verdicts = iter([painted.error] * len(every_shot) if isinstance(painted, Raised) else painted)
        done = [
            attempt(request.stage.finish, request.item, list(itertools.islice(verdicts, len(shots))))
            for request, shots in to_paint
        ]
        took_ns = self._clock.now_ns() - begun_ns
        self._longest_ns = max(took_ns, self._longest_ns - self._longest_ns // _FORGET)
        self._quickest_ns = min(took_ns, self._quickest_ns + took_ns // _FORGET)
        self.load.worked(took_ns, len(every_shot), self.painter.max_batch)
        self._answer([(request, Outcome(each, took_ns)) for (request, _), each in zip(to_paint, done, strict=True)])

    def _answer(self, outcomes: Sequence[tuple[_Request, Outcome[VideoFrame]]]) -> None:
        """Wake those who wait, all of one event loop together."""
        now_ns = self._clock.now_ns()
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[_Wait, Outcome[VideoFrame]]]] = defaultdict(list)
        for request, outcome in outcomes:
            wait = request.wait
            slack_ns = None if wait.deadline_ns is None else wait.deadline_ns - now_ns
            self.load.done(wait.session, slack_ns, late=outcome.late)
            by_loop[wait.loop].append((wait, outcome))
        for loop, answers in by_loop.items():
            # A loop that has ended has nobody waiting.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: Sequence[tuple[_Wait, Outcome[VideoFrame]]]) -> None:
    for wait, outcome in answers:
        if not wait.answer.done():
            wait.answer.set_result(outcome)
