"""A session with filters: what a switch costs, what a broken filter costs, and what has no time."""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from models.engine import EngineError
from stream.clock import VirtualClock
from stream.config import SessionConfig
from stream.engines import Engines
from stream.filters import Chosen, FilterShelf
from stream.frames import NS_PER_S, FaceCrop, SyncedFrame, VideoFrame
from stream.passage import Mode
from tests.stream.fake_faces import face
from tests.stream.fake_filter import FakeFilter, Fakes
from tests.stream.session_fakes import CHUNK_NS, FRAME_NS, MS, FakeEngine, FakeFinder, FakeRender, Ramp, Rig, picture

pytestmark = pytest.mark.unit

LEVELS = {"dark": -1.0, "grey": 0.0, "light": 1.0}
LUMA = {None: 255, "dark": 16, "grey": 126, "light": 235}
"""What the lower right pixel becomes; 255 is what comes in."""


class Studio(Rig):
    """A session whose filters each paint in one grey."""

    def __init__(
        self,
        *filters: FakeFilter,
        config: SessionConfig | None = None,
        draw: Callable[[SyncedFrame], None] = lambda _: None,
        find: Callable[[VideoFrame], list[FaceCrop]] | None = None,
        when_covered: str = "",
    ) -> None:
        clock = VirtualClock()
        greys = [FakeFilter(name, level) for name, level in LEVELS.items()]
        self.fakes = Fakes(*(filters or greys), when_covered=when_covered)
        self.made_engines: list[FakeEngine] = []
        self.made_finders: list[FakeFinder] = []
        engines = Engines(
            self._made_engine,
            lambda _: self._made_finder(find or a_face_in_the_middle),
            lambda painter: FakeRender(painter, draw),
            clock=clock,
            open_filters=self.fakes.shelf,
        )
        super().__init__(clock=clock, engines=engines, config=config)
        self.left = asyncio.Event()
        send_video = self.peer.send_video

        async def noted(frame: VideoFrame) -> None:
            await send_video(frame)
            self.left.set()

        self.peer.send_video = noted  # type: ignore[method-assign]

    def _made_engine(self) -> FakeEngine:
        self.made_engines.append(FakeEngine())
        return self.made_engines[-1]

    def _made_finder(self, find: Callable[[VideoFrame], list[FaceCrop]]) -> FakeFinder:
        self.made_finders.append(FakeFinder(find))
        return self.made_finders[-1]

    def chosen(self, name: str | None, **options: object) -> Chosen | None:
        return None if name is None else Chosen(self.engines.filters.find(name), **options)  # type: ignore[arg-type]

    def choose(self, name: str | None, **options: object) -> None:
        self.session.choose_filter(self.chosen(name, **options))

    def last_pixels(self) -> list[int]:
        """One for each picture that was sent."""
        return [int(frame.planes[0][-1, -1]) for frame in self.peer.pictures]

    async def show(self, number: int) -> None:
        """Let picture `number` arrive, unlike the one before, and wait until it has left."""
        if self.peer.epoch_ns is None:
            self.peer.epoch_ns = 0
        for now_ns in (number * FRAME_NS - CHUNK_NS, number * FRAME_NS):
            await self.clock.advance_to(max(0, now_ns))
        frame = picture(number * FRAME_NS, self.clock.now_ns())
        frame.planes[0][1, 1] = number % 256
        self.left.clear()
        await self.peer.video_in.put(frame)
        await self.left.wait()

    def account(self) -> dict[str, object]:
        return self.session.filtering.public()


def a_face_in_the_middle(frame: VideoFrame) -> list[FaceCrop]:
    return [face(frame.pts_ns, centre=(2.0, 2.0), side=4.0)]


def play(studio: Callable[[], Studio], act: Callable[[Studio], Awaitable[None]]) -> Studio:
    async def scenario() -> Studio:
        made = studio()
        async with made.running():
            await act(made)
        return made

    return asyncio.run(scenario())


async def frames(studio: Studio, count: int, begin: int = 0) -> None:
    await studio.feed(begin * FRAME_NS, (begin + count) * FRAME_NS)


def test_a_thousand_switches_drop_nothing_build_nothing_and_each_is_seen_on_the_next_picture() -> None:
    names = [None, *LEVELS]
    dice = np.random.default_rng(1)
    asked = [names[i] for i in dice.integers(0, len(names), 1000)]

    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(100_000 * MS))
        for number, name in enumerate(asked):
            order = ("before", "after")[number % 2]
            studio.choose(name, **({} if name is None else {"order": order}))
            await studio.show(number)

    studio = play(Studio, act)
    assert studio.last_pixels() == [LUMA[name] for name in asked]
    assert [frame.pts_ns for frame in studio.peer.pictures] == [number * FRAME_NS for number in range(1000)]
    assert studio.session.overtaken == studio.session.playout.late == 0
    assert studio.fakes.opened == list(LEVELS)
    assert len(studio.made_engines) == 1
    assert studio.account()["passed"] == {}
    assert studio.account()["filtered"] == sum(name is not None for name in asked)
    # The sound has no gap either.
    starts = [chunk.pts_ns for chunk in studio.peer.sounds]
    assert starts == list(range(0, len(starts) * CHUNK_NS, CHUNK_NS))
    assert len(starts) >= 1990


def test_a_switch_while_a_picture_is_being_filtered_waits_for_the_next_one() -> None:
    def switch() -> None:
        if studios[0].fakes.by_name["dark"].runs == 3:
            studios[0].session.filtering.chosen = studios[0].chosen("light")

    studios: list[Studio] = []

    def open_studio() -> Studio:
        studios.append(Studio(FakeFilter("dark", -1.0), FakeFilter("light", 1.0)))
        return studios[0]

    async def act(studio: Studio) -> None:
        studio.choose("dark")
        # Two runs warmed it up.
        studio.fakes.by_name["dark"].act = switch
        await frames(studio, 3)

    assert play(open_studio, act).last_pixels() == [LUMA["dark"], LUMA["light"], LUMA["light"]]


@pytest.mark.parametrize(("order", "drawn", "filtered"), [("before", 0, 1), ("after", 1, 0)])
def test_a_picture_is_filtered_while_the_lips_of_another_are_made(order: str, drawn: int, filtered: int) -> None:
    begun, ended = threading.Event(), threading.Event()

    def draw(item: SyncedFrame) -> None:
        if item.frame.pts_ns == drawn * FRAME_NS:
            begun.set()
            assert ended.wait(5)

    async def act(studio: Studio) -> None:
        grey = studio.fakes.by_name["grey"]
        warm_up = grey.runs

        def beside() -> None:
            if grey.runs == warm_up + filtered + 1:
                assert begun.wait(5)
                ended.set()

        grey.act = beside
        studio.session.switch(Mode.RE_VOICE, Ramp(100_000 * MS))
        studio.choose("grey", order=order)
        await studio.settle()
        studio.peer.epoch_ns = 0
        for number in (0, 1):
            frame = picture(number * FRAME_NS)
            frame.planes[0][1, 1] = number
            await studio.peer.video_in.put(frame)
            await studio.clock.advance_to(0)
        while len(studio.peer.pictures) < 2:
            studio.left.clear()
            await studio.left.wait()

    studio = play(lambda: Studio(FakeFilter("grey"), draw=draw), act)
    assert studio.account()["filtered"] == 2
    assert studio.session.passed == {}


@pytest.mark.parametrize("mode", [Mode.PASS_THROUGH, Mode.RE_VOICE])
def test_pictures_are_filtered_in_every_mode_and_lips_are_made_all_the_same(mode: Mode) -> None:
    async def act(studio: Studio) -> None:
        studio.choose("grey", wipe=0.5)
        if mode is Mode.RE_VOICE:
            studio.session.switch(mode, Ramp())
        await frames(studio, 10)

    studio = play(Studio, act)
    assert studio.last_pixels() == [LUMA["grey"]] * 10
    made = [frame.planes[0][0, 0] for frame in studio.peer.pictures[1:6]]
    expected = [frame.pts_ns // MS for frame in studio.peer.pictures[1:6]] if mode is Mode.RE_VOICE else [255] * 5
    assert made == expected


@pytest.mark.parametrize(("order", "first_pixel"), [("before", 40), ("after", LUMA["grey"])])
def test_before_the_lips_a_filter_leaves_them_and_after_them_it_changes_them(order: str, first_pixel: int) -> None:
    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp())
        await frames(studio, 1)
        studio.choose("grey", order=order)
        await frames(studio, 1, 1)

    assert play(Studio, act).peer.pictures[1].planes[0][0, 0] == first_pixel


def test_filtered_pass_through_has_a_delay_in_which_to_filter_and_loses_it_step_by_step() -> None:
    async def act(studio: Studio) -> None:
        studio.choose("grey")
        await frames(studio, 10)
        studio.choose(None)
        await frames(studio, 50, 10)

    studio = play(lambda: Studio(config=SessionConfig(filter_delay_ms=50)), act)
    delays = studio.peer.delays_ns
    assert set(delays[:10]) == {50 * MS}
    assert delays[-1] == 0
    assert all(0 <= one - other <= 2 * MS for one, other in itertools.pairwise(delays[10:]))
    assert len(delays) == 60
    assert studio.session.playout.late == 0


# -- around faces ------------------------------------------------------------------------------------


def test_a_filter_for_faces_has_them_found_in_pass_through_and_no_lips_are_made() -> None:
    async def act(studio: Studio) -> None:
        studio.choose("grey", area="face")
        await frames(studio, 5)

    studio = play(Studio, act)
    assert len(studio.made_finders) == 1
    assert studio.session.faces.meter.figures().count >= 4
    assert studio.account()["filtered"] >= 4
    assert studio.session.passed == {"pass_through": 5}


def test_without_a_face_a_picture_passes_and_is_counted() -> None:
    async def act(studio: Studio) -> None:
        studio.choose("grey", area="face")
        await frames(studio, 5)

    studio = play(lambda: Studio(find=lambda _: []), act)
    assert studio.last_pixels() == [255] * 5
    assert studio.account()["passed"] == {"no_face": 5}


def test_a_filter_for_whole_frames_has_no_faces_found() -> None:
    async def act(studio: Studio) -> None:
        studio.choose("grey")
        await frames(studio, 5)

    assert play(Studio, act).made_finders == []


# -- failures ----------------------------------------------------------------------------------------


def test_a_filter_that_raises_costs_its_effect_only_then_it_is_off_and_another_choice_tries_again() -> None:
    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * MS))
        studio.choose("broken")
        studio.fakes.by_name["broken"].fails = True
        await frames(studio, 40)
        assert studio.health.status == "degraded"
        assert any("filter is off" in reason for reason in studio.health.reasons)
        studio.choose("light")
        await frames(studio, 5, 40)

    broken = FakeFilter("broken", 0.0)
    studio = play(lambda: Studio(broken, FakeFilter("light", 1.0)), act)
    assert studio.last_pixels() == [255] * 40 + [LUMA["light"]] * 5
    assert studio.health.status == "ok"
    assert studio.session.playout.late == studio.session.overtaken == 0
    passed = studio.account()["passed"]
    # A second of 25 pictures, and the one that begins the next.
    assert passed == {"failed": 26, "off": 14}
    assert not studio.session.render.off
    made = [int(frame.planes[0][0, 0]) for frame in studio.peer.pictures[1:40]]
    assert made == [frame.pts_ns // MS % 256 for frame in studio.peer.pictures[1:40]]


def test_a_picture_that_raises_now_and_then_costs_no_other() -> None:
    def now_and_then() -> None:
        if shaky.runs % 3 == 0:
            raise EngineError("now and then")

    shaky = FakeFilter("shaky", 0.0)

    async def act(studio: Studio) -> None:
        shaky.runs, shaky.act = 0, now_and_then
        studio.choose("shaky")
        for number in range(30):
            await studio.show(number)

    studio = play(lambda: Studio(shaky), act)
    assert studio.account()["passed"] == {"failed": 10}
    assert studio.account()["filtered"] == 20
    assert not studio.session.filtering.runner.off
    assert len(studio.peer.pictures) == 30


# -- time --------------------------------------------------------------------------------------------


def test_a_filter_that_takes_too_long_lets_the_next_pictures_pass_unfiltered_counted_and_in_time() -> None:
    slow = FakeFilter("slow", 0.0)

    async def act(studio: Studio) -> None:
        def wait() -> None:
            studio.clock._now_ns += 300 * MS

        studio.choose("slow")
        slow.act = wait
        for number in (0, *range(8, 28)):
            await studio.show(number)

    studio = play(lambda: Studio(slow, config=SessionConfig(filter_delay_ms=60)), act)
    # The first one showed how long it takes; after twelve pictures it is thought to be quicker.
    assert studio.account()["passed"] == {"no_time": 19}
    assert [number for number, level in enumerate(studio.last_pixels()) if level != 255] == [0, 13]
    assert studio.session.playout.late == 2


@pytest.mark.parametrize(("follows", "hurries"), [(True, True), (False, False)])
def test_a_filter_that_follows_what_moves_does_without_before_its_pictures_are_late(
    follows: bool, hurries: bool
) -> None:
    slow = FakeFilter("slow", 0.0, follows=follows)

    async def act(studio: Studio) -> None:
        hurried = 0

        def wait() -> None:
            nonlocal hurried
            studio.clock._now_ns += (20 if slow.hurries > hurried else 50) * MS
            hurried = slow.hurries

        studio.choose("slow")
        slow.act = wait
        # One in two: the fake takes its time from the session's own clock.
        for number in range(0, 80, 2):
            await studio.show(number)

    studio = play(lambda: Studio(slow, config=SessionConfig(filter_delay_ms=60)), act)
    assert studio.account()["passed"] == {}
    assert studio.account()["filtered"] == 40
    assert studio.account()["hurried"] == slow.hurries
    # Time is short after the fifth picture, and from then on every other time or so.
    assert (8 <= slow.hurries <= 30) == hurries


def test_after_a_slow_filter_a_quick_one_is_seen_at_once() -> None:
    async def act(studio: Studio) -> None:
        studio.choose("dark")
        studio.session.filtering.runner.expected_ns = NS_PER_S
        await frames(studio, 3)
        studio.choose("light")
        await frames(studio, 3, 3)

    studio = play(Studio, act)
    assert studio.last_pixels() == [255] * 3 + [LUMA["light"]] * 3
    assert studio.account()["passed"] == {"no_time": 3}


# -- the shelf ---------------------------------------------------------------------------------------


def test_a_filter_whose_engine_is_missing_is_left_out_with_its_remedy_or_stops_a_server_that_named_it() -> None:
    fakes = Fakes(FakeFilter("here"))
    shelf = FilterShelf(["here", "gone"], fakes.open, VirtualClock())
    assert shelf.names == ["here"]
    assert "Fetch it again" in shelf.notes[0]
    with pytest.raises(EngineError, match="Fetch it again"):
        FilterShelf(["here", "gone"], fakes.open, VirtualClock(), required=True)
    assert fakes.by_name["here"].closed


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (FakeFilter(region="sky"), "region 'sky'"),
        (FakeFilter(source="smell"), "source 'smell'"),
        (FakeFilter(source="layout", classes=("sky", "sea")), "sky, sea"),
    ],
)
def test_a_filter_for_what_this_version_does_not_have_is_closed_and_refused(made: FakeFilter, words: str) -> None:
    shelf = FilterShelf([made.name], Fakes(made).open, VirtualClock())
    assert shelf.names == []
    assert words in shelf.notes[0]
    assert made.closed


def test_filters_end_with_the_engines() -> None:
    async def act(studio: Studio) -> None:
        await frames(studio, 1)

    studio = play(Studio, act)
    # Closing does not wait for the engine's thread.
    studio.engines.lane._executor.shutdown(wait=True)
    assert all(each.closed for each in studio.fakes.by_name.values())


def test_lips_are_told_what_drew_the_picture_that_they_are_made_in() -> None:
    looks: list[object] = []

    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * MS))
        # The face finder opens beside the first pictures, which pass meanwhile.
        first = 0
        while not looks and first < 100:
            await studio.show(first)
            first += 1
        looks.clear()
        for number, (name, options) in enumerate(
            (
                ("dark", {"order": "after"}),
                ("light", {"order": "after"}),
                ("light", {"order": "before"}),
                ("light", {"order": "before", "strength": 0.5}),
                ("dark", {"order": "before"}),
                (None, {}),
            ),
            first,
        ):
            studio.choose(name, **options)
            await studio.show(number)

    play(lambda: Studio(draw=lambda item: looks.append(item.look)), act)
    assert looks == [None, None, ("light", "frame"), ("light", "frame"), ("dark", "frame"), None]
