"""The engine's lane: who goes first, who goes together, and whose failure it is."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from models.engine import EngineError
from stream.batcher import Batcher
from stream.frames import NS_PER_MS, NS_PER_S, SyncedFrame, VideoFrame
from stream.load import EngineLoad
from stream.painter import Shot
from stream.pipeline import Lane, Outcome, Raised
from stream.render import RenderOptions, RenderStage
from tests.stream.tagged import HandClock, TagPainter, tagged

pytestmark = pytest.mark.unit

MS = NS_PER_MS
PLAIN = RenderOptions(badge="")


class Rig:
    """A batcher whose lane a test can hold up, with a stage for each session."""

    def __init__(self, painter: TagPainter, *, gather_ns: int = 0) -> None:
        self.clock, self.lane, self.painter = HandClock(), Lane("engine"), painter
        self.order: list[list[int]] = []
        self.before_paint: Callable[[], None] = lambda: None
        paint = painter.paint

        def noted(shots: Sequence[Shot]) -> list[Exception | None]:
            self.order.append([int(shot.mel[0, 0]) for shot in shots])
            self.before_paint()
            return paint(shots)

        painter.paint = noted  # type: ignore[method-assign]
        self.batcher = Batcher(self.lane, painter, self.clock, gather_ns=gather_ns)
        self.stages: dict[int, RenderStage] = {}
        self._numbers: dict[int, int] = {}

    def ask(self, session: int, due_ms: int | None = None, *, faces: int = 1) -> asyncio.Future[Outcome[VideoFrame]]:
        """Submit the session's next picture, due so many ms from now."""
        stage = self.stages.setdefault(session, RenderStage(self.painter, PLAIN))
        number = self._numbers[session] = self._numbers.get(session, -1) + 1
        deadline_ns = None if due_ms is None else self.clock.now_ns() + due_ms * MS
        return asyncio.ensure_future(self.batcher.submit(stage, tagged(session, number, faces=faces), deadline_ns))

    async def asked_at_once(
        self, *asks: Callable[[], asyncio.Future[Outcome[VideoFrame]]]
    ) -> list[Outcome[VideoFrame]]:
        """What becomes of requests that all wait when the lane comes to them."""
        return await asyncio.gather(*await self.queued(*asks))

    async def queued(
        self, *asks: Callable[[], asyncio.Future[Outcome[VideoFrame]]]
    ) -> list[asyncio.Future[Outcome[VideoFrame]]]:
        """Hold the lane up until all of these wait."""
        gate = threading.Event()
        held = asyncio.ensure_future(self.lane.run(lambda: held_by(gate)))
        await asyncio.sleep(0)
        asked = [ask() for ask in asks]
        await asyncio.sleep(0)
        gate.set()
        await held
        return asked


def held_by(gate: threading.Event) -> None:
    gate.wait(5)


def play(rig: Rig, act: Callable[[Rig], Awaitable[None]]) -> Rig:
    async def scenario() -> None:
        try:
            await act(rig)
        finally:
            rig.lane.close()

    asyncio.run(scenario())
    return rig


def test_the_picture_that_is_due_first_is_painted_first() -> None:
    async def act(rig: Rig) -> None:
        await rig.asked_at_once(lambda: rig.ask(1, 30), lambda: rig.ask(2, 10), lambda: rig.ask(3, 20))

    assert play(Rig(TagPainter(max_batch=1)), act).order == [[2], [3], [1]]


def test_pictures_without_a_deadline_go_after_those_with_one() -> None:
    async def act(rig: Rig) -> None:
        await rig.asked_at_once(lambda: rig.ask(1), lambda: rig.ask(2, 900))

    assert play(Rig(TagPainter(max_batch=1)), act).order == [[2], [1]]


def test_what_waits_is_painted_together_up_to_the_painters_batch_the_most_urgent_first() -> None:
    async def act(rig: Rig) -> None:
        await rig.asked_at_once(*(lambda n=n: rig.ask(n, 100 - 10 * n) for n in range(1, 6)))  # type: ignore[misc]

    assert play(Rig(TagPainter(max_batch=3)), act).order == [[5, 4, 3], [2, 1]]


def test_the_faces_of_a_picture_are_not_parted_even_where_they_are_more_than_a_batch() -> None:
    async def act(rig: Rig) -> None:
        await rig.asked_at_once(
            lambda: rig.ask(1, 10, faces=2), lambda: rig.ask(2, 20, faces=2), lambda: rig.ask(3, 30, faces=5)
        )

    assert play(Rig(TagPainter(max_batch=3)), act).order == [[1, 1], [2, 2], [3] * 5]


def test_a_picture_whose_deadline_has_passed_comes_back_untouched_and_costs_nobody_time() -> None:
    async def act(rig: Rig) -> None:
        early, late = await rig.asked_at_once(lambda: rig.ask(1, 10), lambda: rig.ask(2, -1))
        assert (early.late, late.late, late.result) == (False, True, None)
        rig.clock.time_ns += NS_PER_S
        assert rig.batcher.load.figures().late == 1

    rig = play(Rig(TagPainter()), act)
    assert rig.order == [[1]]
    # Not even its fade has moved: the next picture begins the session.
    assert rig.stages[2].made == 0
    assert rig.stages[2].passed.total() == 0


def test_a_picture_that_even_the_quickest_batch_would_not_have_ready_is_not_begun() -> None:
    async def act(rig: Rig) -> None:
        def takes_five_ms() -> None:
            rig.clock.time_ns += 5 * MS

        rig.before_paint = takes_five_ms
        for _ in range(200):
            await rig.ask(1, 80)
        rig.order.clear()
        assert (await rig.ask(2, 4)).late
        # A picture without a face needs no batch.
        assert not (await rig.ask(2, 4, faces=0)).late
        assert not (await rig.ask(2, 6)).late

    assert play(Rig(TagPainter(max_batch=1)), act).order == [[2]]


def test_an_engine_that_became_quicker_is_found_out_by_what_was_not_begun() -> None:
    async def act(rig: Rig) -> None:
        def takes_fifty_ms() -> None:
            rig.clock.time_ns += 50 * MS

        rig.before_paint = takes_fifty_ms
        for _ in range(200):
            await rig.ask(1, 80)
        rig.before_paint = lambda: None
        outcomes = [await rig.ask(1, 40) for _ in range(30)]
        # 50 ms fall below 40 in 12 steps of a fiftieth.
        assert [each.late for each in outcomes] == [True] * 12 + [False] * 18

    play(Rig(TagPainter(max_batch=1)), act)


def test_what_goes_wrong_with_one_picture_of_a_batch_is_its_own() -> None:
    bad = ValueError("landmarks of no face")

    async def act(rig: Rig) -> None:
        one, two, three = await rig.asked_at_once(*(lambda n=n: rig.ask(n, n) for n in (1, 2, 3)))  # type: ignore[misc]
        assert two.result == Raised(bad)
        assert isinstance(one.result, VideoFrame)
        assert isinstance(three.result, VideoFrame)

    rig = play(Rig(TagPainter(lambda count: [None, bad, None][:count])), act)
    assert rig.order == [[1, 2, 3]]


def test_an_engine_that_fails_fails_the_pictures_of_that_batch_only() -> None:
    answers = iter([EngineError("no"), [None, None]])

    async def act(rig: Rig) -> None:
        outcomes = await rig.asked_at_once(*(lambda n=n: rig.ask(n, n) for n in (1, 2, 3, 4)))  # type: ignore[misc]
        assert [isinstance(each.result, Raised) for each in outcomes] == [True, True, False, False]

    play(Rig(TagPainter(lambda _: next(answers), max_batch=2)), act)


def test_a_picture_with_nothing_to_paint_does_not_wait_for_the_paint_of_others() -> None:
    gate = threading.Event()

    async def act(rig: Rig) -> None:
        rig.before_paint = lambda: held_by(gate)
        to_paint, to_pass = await rig.queued(lambda: rig.ask(1, 10), lambda: rig.ask(2, 20, faces=0))
        await to_pass
        assert not to_paint.done()
        gate.set()
        await to_paint

    play(Rig(TagPainter()), act)


def test_a_request_that_nobody_waits_for_any_more_is_not_painted() -> None:
    async def act(rig: Rig) -> None:
        def given_up() -> asyncio.Future[Outcome[VideoFrame]]:
            asked = rig.ask(1, 10)
            asyncio.get_running_loop().call_soon(asked.cancel)
            return asked

        cancelled, other = await rig.queued(given_up, lambda: rig.ask(2, 20))
        await other
        assert cancelled.cancelled()

    assert play(Rig(TagPainter()), act).order == [[2]]


def test_closing_the_lane_finishes_what_was_asked() -> None:
    async def act(rig: Rig) -> None:
        asked = [rig.ask(n, 10) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        rig.lane.close()
        assert all(isinstance(each.result, VideoFrame) for each in await asyncio.gather(*asked))
        with pytest.raises(RuntimeError):
            await rig.ask(4, 10)

    play(Rig(TagPainter()), act)


# -- waiting for others: ten seconds are longer than any test, so whoever comes back was not kept waiting ----------


async def two_sessions_known(rig: Rig) -> None:
    await asyncio.gather(rig.ask(1, 10), rig.ask(2, 10))
    rig.order.clear()
    rig.clock.time_ns += NS_PER_S


def test_a_picture_waits_for_others_until_the_batch_is_full() -> None:
    async def act(rig: Rig) -> None:
        for session in (1, 2, 3):
            await rig.ask(session, 10)
        await two_sessions_known(rig)
        first = rig.ask(1, 50_000)
        await asyncio.sleep(0)
        await asyncio.gather(first, rig.ask(2, 50_000))

    assert play(Rig(TagPainter(max_batch=2), gather_ns=10 * NS_PER_S), act).order == [[1, 2]]


def test_when_every_session_is_there_nobody_is_waited_for() -> None:
    async def act(rig: Rig) -> None:
        await two_sessions_known(rig)
        await asyncio.gather(rig.ask(1, 50_000), rig.ask(2, 50_000))

    assert play(Rig(TagPainter(max_batch=8), gather_ns=10 * NS_PER_S), act).order == [[1, 2]]


def test_nobody_waits_so_long_that_the_deadline_would_be_missed() -> None:
    async def act(rig: Rig) -> None:
        def takes_five_ms() -> None:
            rig.clock.time_ns += 5 * MS

        rig.before_paint = takes_five_ms
        await two_sessions_known(rig)
        await rig.ask(1, 5)

    assert play(Rig(TagPainter(max_batch=8), gather_ns=10 * NS_PER_S), act).order == [[1]]


def test_a_painter_that_gains_nothing_from_a_batch_is_never_waited_for() -> None:
    async def act(rig: Rig) -> None:
        await two_sessions_known(rig)
        await rig.ask(1, 50_000)

    assert play(Rig(TagPainter(max_batch=1), gather_ns=10 * NS_PER_S), act).order == [[1]]


# -- the account ------------------------------------------------------------------------------------


def test_the_load_is_the_share_of_time_worked_and_the_slack_what_was_left_before_the_deadline() -> None:
    async def act(rig: Rig) -> None:
        def takes_ten_ms() -> None:
            rig.clock.time_ns += 10 * MS

        rig.before_paint = takes_ten_ms
        for _ in range(20):
            for session in (1, 2):
                await rig.ask(session, 80)
            rig.clock.time_ns += 20 * MS
        found = rig.batcher.load.figures()
        assert (found.sessions, found.pictures, found.faces, found.batches, found.late) == (2, 40, 40, 40, 0)
        assert found.busy_share == pytest.approx(0.5)
        assert found.slack_p5_ms == found.slack_p50_ms == pytest.approx(70.0)

    play(Rig(TagPainter(max_batch=1)), act)


def test_what_the_engine_needs_is_reckoned_in_full_batches() -> None:
    clock = HandClock()
    load = EngineLoad(clock)
    for faces in (1, 2, 1, 4, 2) * 20:
        load.worked((6 + faces) * MS, faces, 8)
        load.done(0, 0)
        clock.time_ns += 10 * MS
    found = load.figures()
    assert found.busy_share == pytest.approx((6 + 2) / 10)
    # 200 faces are 25 batches of 8: 25 times 6 ms and 200 times 1 ms, of one second.
    assert found.needed_share == pytest.approx(0.35)


@pytest.mark.parametrize("most", [1, 8])
def test_batches_that_are_all_of_one_size_tell_nothing_of_fuller_ones(most: int) -> None:
    clock = HandClock()
    load = EngineLoad(clock)
    for _ in range(100):
        load.worked(6 * MS, 1, most)
        load.done(0, 0)
        clock.time_ns += 10 * MS
    assert load.figures().needed_share == pytest.approx(load.figures().busy_share) == pytest.approx(0.6)


def test_what_is_older_than_ten_seconds_counts_no_more() -> None:
    async def act(rig: Rig) -> None:
        await rig.ask(1, 80)
        rig.clock.time_ns += 5 * NS_PER_S
        await rig.ask(2, 80)
        rig.clock.time_ns += 6 * NS_PER_S
        assert rig.batcher.load.figures().pictures == 1
        rig.clock.time_ns += 5 * NS_PER_S
        assert rig.batcher.load.figures().pictures == 0

    play(Rig(TagPainter()), act)


def test_what_is_needed_is_what_the_sessions_need_that_still_run() -> None:
    async def act(rig: Rig) -> None:
        def takes_ten_ms() -> None:
            rig.clock.time_ns += 10 * MS

        rig.before_paint = takes_ten_ms
        for _ in range(50):
            for session in (1, 2):
                await rig.ask(session, 80)
            rig.clock.time_ns += 20 * MS
        assert rig.batcher.load.figures().needed_share == pytest.approx(0.5)
        rig.batcher.leave(rig.stages[1])
        rig.clock.time_ns += NS_PER_S
        found = rig.batcher.load.figures()
        assert (found.sessions, found.needed_share) == (1, pytest.approx(0.25))
        rig.batcher.leave(rig.stages[2])
        rig.clock.time_ns += NS_PER_S
        found = rig.batcher.load.figures()
        assert (found.sessions, found.needed_share) == (0, 0.0)

    play(Rig(TagPainter(max_batch=1)), act)


def test_a_stage_that_leaves_forgets_its_faces_on_the_lane() -> None:
    async def act(rig: Rig) -> None:
        await rig.ask(1, 80)
        rig.batcher.leave(rig.stages[1])
        await rig.lane.run(lambda: None)
        assert rig.stages[1]._speakers == {}

    play(Rig(TagPainter()), act)


def test_a_stage_that_raises_before_the_paint_fails_its_own_picture_only() -> None:
    class Broken(RenderStage):
        def begin(self, item: SyncedFrame) -> list[Shot]:
            raise KeyError(item.frame.pts_ns)

    async def act(rig: Rig) -> None:
        rig.stages[1] = Broken(rig.painter, PLAIN)
        one, two = await rig.asked_at_once(lambda: rig.ask(1, 10), lambda: rig.ask(2, 10))
        assert isinstance(one.result, Raised)
        assert isinstance(two.result, VideoFrame)

    play(Rig(TagPainter()), act)


def test_whatever_goes_wrong_in_the_batcher_itself_nobody_is_left_waiting() -> None:
    def broken(*_: int) -> None:
        raise KeyError("the account")

    async def act(rig: Rig) -> None:
        rig.batcher.load.worked = broken  # type: ignore[method-assign]
        assert isinstance((await rig.ask(1, 10)).result, Raised)

    play(Rig(TagPainter()), act)


# -- work that needs no painter ----------------------------------------------------------------------


def test_what_filters_need_is_what_the_sessions_need_that_still_run() -> None:
    clock = HandClock()
    load = EngineLoad(clock)
    for _ in range(100):
        # One session has pictures painted and filtered, the other filtered only.
        load.worked(2 * MS, 1)
        load.done(0, 0)
        for session in (0, 1):
            load.filtered(1 * MS)
            load.done(session, 0, painted=False)
        clock.time_ns += 10 * MS
    found = load.figures()
    assert found.busy_share == pytest.approx(found.needed_share) == pytest.approx(0.4)
    load.left(0)
    clock.time_ns += NS_PER_S
    found = load.figures()
    # The average of the two.
    assert (found.sessions, found.needed_share) == (1, pytest.approx(0.2))


def test_a_filter_that_came_too_late_is_needed_as_much_as_one_that_did_not() -> None:
    clock = HandClock()
    load = EngineLoad(clock)
    for number in range(100):
        late = number % 2 == 0
        if not late:
            load.filtered(4 * MS)
        load.done(0, -1 if late else 0, late=late, painted=False)
        clock.time_ns += 10 * MS
    found = load.figures()
    assert (found.filtered, found.late, found.pictures) == (50, 50, 0)
    assert found.busy_share == pytest.approx(0.2)
    assert found.needed_share == pytest.approx(0.4)
