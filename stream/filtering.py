"""A session's filter: what is chosen now, its turns on a thread of its own, and the account of what came of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stream.clock import Clock
from stream.filter_stage import FilterStage, FilterTask
from stream.filters import Chosen
from stream.frames import FaceCrop, VideoFrame
from stream.load import EngineLoad
from stream.pipeline import Lane, Outcome, StageRunner, attempt

# A picture hurries where it has less time than this, measured by what one takes of late. Lips and the browser use the
# same cores, so that one in a hundred takes twice as long: with 1.5, on a slow host, 3 in 100 were late anyway.
_HURRIED_BELOW = 2.5


class Filtering:
    """Has the pictures of one session filtered in their turn, each within its own deadline.

    Args:
        stage: The session's own.
        lane: The session's thread for filters: while one picture is filtered, the lips of another are made.
        load: Told what filters take: it is taken from the cores that lips are made on.
        session: By which `load` knows the session.
        clock: The clock of the deadlines.
        on_off: Told the reason when filtering is switched off or rests.
        on_again: Told when it works again after a rest.

    Attributes:
        chosen: What the next picture gets; None for no filter.
        runner: Meters the stage, and decides when to stop trusting it.
        hurried: Pictures in which nothing was followed for want of time.
    """

    def __init__(
        self,
        stage: FilterStage,
        lane: Lane,
        load: EngineLoad,
        session: int,
        clock: Clock,
        *,
        on_off: Callable[[str], None],
        on_again: Callable[[], None],
    ) -> None:
        async def through(task: FilterTask, deadline_ns: int | None) -> Outcome[VideoFrame]:
            return await lane.run(lambda: self._turn(task, deadline_ns))

        self.chosen: Chosen | None = None
        self.hurried = 0
        self._stage = stage
        self._load, self._session = load, session
        self._clock = clock
        self._passed: Counter[str] = Counter()
        self._hidden: Counter[str] = Counter()
        self._veil: tuple[Chosen, int] | None = None
        self.runner: StageRunner[FilterTask, VideoFrame] = StageRunner(
            stage, lane, clock, through=through, on_off=on_off, on_again=on_again
        )

    def choose(self, chosen: Chosen | None, now_ns: int) -> None:
        """Take another filter, or the same one laid on differently, from the next picture on.

        Args:
            chosen: None for no filter.
            now_ns: The session's time. Pictures that were taken before it, while one was chosen that hides who is
                there, are still drawn by that one: a dub holds pictures back for seconds.
        """
        before, self.chosen = self.chosen, chosen
        if before is not None and before.anonymous and (chosen is None or not chosen.anonymous):
            self._veil = before, now_ns
        if before is None or chosen is None or (before.filter, before.area) != (chosen.filter, chosen.area):
            self.runner.relearn()
        self.runner.retry()

    def chosen_at(self, pts_ns: int) -> Chosen | None:
        """What a picture of that time is drawn with."""
        if self._veil is not None and pts_ns < self._veil[1]:
            return self._veil[0]
        return self.chosen

    @property
    def seeks_faces(self) -> bool:
        """Whether pictures are of no use to the filter without their faces."""
        chosen = self.chosen
        return chosen is not None and chosen.needs_faces and chosen.is_seen and not self.runner.off

    async def apply(
        self,
        frame: VideoFrame,
        faces: Sequence[FaceCrop],
        chosen: Chosen,
        deadline_ns: int | None,
        *,
        lips: bool = False,
    ) -> bool:
        """Lay the filter on the picture, or leave it as it is and count why.

        With a filter that hides who is there, a picture that is not drawn shows the last one that was, or a backdrop.

        Args:
            frame: Changed in place.
            faces: Where its faces are.
            chosen: What was chosen when the picture's turn began.
            deadline_ns: Clock time by which it must be done; None for whenever.
            lips: Its lips were made.

        Returns:
            Whether it was drawn.
        """
        why_not = await self.draw(FilterTask(frame, faces, chosen, lips), deadline_ns)
        if why_not is None:
            return True
        (self._hidden if chosen.anonymous else self._passed)[why_not] += 1
        if chosen.anonymous:
            self._stage.hide(frame)
        return False

    async def draw(self, task: FilterTask, deadline_ns: int | None) -> str | None:
        """Have a picture filtered; the reason where it was not: "off", "no_time" or "failed"."""
        runner = self.runner
        if runner.off:
            return "off"
        if deadline_ns is not None and self._clock.now_ns() + runner.expected_ns > deadline_ns:
            runner.spare()
            return "no_time"
        late = runner.late
        if await runner.apply(task, deadline_ns) is not None:
            return None
        return "no_time" if runner.late > late else "failed"

    def _turn(self, task: FilterTask, deadline_ns: int | None) -> Outcome[VideoFrame]:
        """Filter a picture whose turn did not come too late; this is the lane's side."""
        begun_ns = self._clock.now_ns()
        late = deadline_ns is not None and deadline_ns < begun_ns
        done = None if late else attempt(self._stage.process, self._hurrying(task, begun_ns, deadline_ns))
        ended_ns = self._clock.now_ns()
        if not late:
            self._load.filtered(ended_ns - begun_ns)
        slack_ns = None if deadline_ns is None else deadline_ns - ended_ns
        self._load.done(self._session, slack_ns, late=late, painted=False)
        return Outcome(done, ended_ns - begun_ns, late=late)

    def _hurrying(self, task: FilterTask, now_ns: int, deadline_ns: int | None) -> FilterTask:
        """The picture; where it could be late and its filter follows what moves, without that."""
        if deadline_ns is None or not task.chosen.filter.follows:
            return task
        if deadline_ns - now_ns >= _HURRIED_BELOW * self.runner.expected_ns:
            return task
        self.hurried += 1
        return replace(task, hurried=True)

    def public(self) -> dict[str, Any]:
        """As the page takes it: what is chosen, how many pictures were filtered, passed or hidden, and the costs."""
        return {
            "chosen": None if self.chosen is None else self.chosen.public(),
            "filtered": self._stage.made,
            "hurried": self.hurried,
            "passed": dict(self._passed + self._stage.passed),
            "hidden": dict(self._hidden + self._stage.hidden),
            "off": self.runner.off,
            "latency_ms": {
                name: {"p50": round(figures.p50_ms, 2), "p95": round(figures.p95_ms, 2)}
                for name, figures in self._stage.latencies().items()
            },
        }
