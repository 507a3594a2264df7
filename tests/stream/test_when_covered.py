"""What happens while something stands before a mouth: a filter draws the picture, or it goes its ordinary way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from models.engine import EngineError
from stream.clock import VirtualClock
from stream.dub import Dub
from stream.dub_job import DubFigures, DubJob
from stream.engines import Engines
from stream.errors import ConfigError
from stream.filter_stage import FilterTask
from stream.filters import Chosen, FilterShelf, lay
from stream.frames import NS_PER_MS, NS_PER_S, FaceCrop, SyncedFrame, VideoFrame
from stream.media import ClipReader, Encoding
from stream.passage import Mode
from stream.render import RenderOptions
from stream.when_covered import CoverWatch, StandIn
from tests.stream.clip_maker import make_clip
from tests.stream.fake_faces import FakeFinder, face
from tests.stream.fake_filter import FakeFilter, Fakes
from tests.stream.fake_generator import FakeGenerator
from tests.stream.session_fakes import FRAME_NS, FakeEngine, FakeRender, Ramp, picture
from tests.stream.test_anonymous import Late, mask
from tests.stream.test_dub import voice_file
from tests.stream.test_session_filters import LUMA, Studio, frames, play

pytestmark = pytest.mark.unit

MEL = np.zeros((80, 27), np.float32)


def seen(number: int, *visible: float, mel: bool = True, plain: float = 0.9) -> SyncedFrame:
    """Picture `number`, 25 a second, with a face for each share of a mouth that is seen."""
    frame = picture(number * FRAME_NS)
    faces = (
        face(frame.pts_ns, centre=(2.0, 2.0), side=4.0, face_id=which, visible=share, confidence=plain)
        for which, share in enumerate(visible)
    )
    return SyncedFrame(frame, tuple(faces), MEL if mel else None)


def looked(*items: SyncedFrame) -> list[bool]:
    watch = CoverWatch()
    return [watch.look(item) for item in items]


# -- which pictures ----------------------------------------------------------------------------------


def test_it_begins_with_a_covered_mouth_and_ends_when_that_has_been_free_for_a_second() -> None:
    shares = [1.0, 1.0, 0.4, 0.0, *[1.0] * 30]
    # Free from picture 4 on: a second later is picture 29.
    assert (
        looked(*(seen(number, share) for number, share in enumerate(shares))) == [False] * 2 + [True] * 27 + [False] * 5
    )


def test_a_hand_that_comes_back_within_the_second_begins_it_anew() -> None:
    items = [seen(0, 0.0), seen(20, 1.0), seen(24, 0.2), seen(49, 1.0), seen(50, 1.0)]
    assert looked(*items) == [True, True, True, True, False]


def test_every_mouth_must_be_free() -> None:
    assert looked(seen(0, 1.0, 1.0), seen(1, 1.0, 0.0), seen(26, 1.0, 0.0), seen(27, 0.5, 1.0)) == [False, *[True] * 3]


def test_without_a_face_there_is_nobody_to_draw_and_the_second_runs_on() -> None:
    assert looked(seen(0, 0.0), seen(1), seen(2, 1.0), seen(26, 1.0)) == [True, False, True, False]


def test_a_silent_dub_does_not_begin_it_and_does_not_end_it() -> None:
    quiet = seen(0, 0.0, mel=False), seen(1, 0.0), seen(2, 0.0, mel=False), seen(27, 1.0, mel=False), seen(28, 1.0)
    assert looked(*quiet) == [False, True, True, True, False]


def test_a_face_that_would_not_speak_anyway_changes_nothing() -> None:
    assert looked(seen(0, 0.0, plain=0.3), seen(1, 0.0, plain=0.6)) == [False, True]


# -- one picture -------------------------------------------------------------------------------------


async def _white(task: FilterTask, _: int | None) -> str | None:
    for plane in task.frame.planes:
        plane[...] = 235
    return None


async def _spoilt(task: FilterTask, _: int | None) -> str | None:
    await _white(task, None)
    return "failed"


def stood_in(item: SyncedFrame, stand_in: StandIn, chosen: Chosen | None = None) -> SyncedFrame | None:
    return asyncio.run(stand_in.draw(item, chosen))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 6), (5, 7)])
def test_a_canvas_has_the_size_of_its_picture_and_shares_nothing_with_it(height: int, width: int) -> None:
    half = ((height + 1) // 2, (width + 1) // 2)
    frame = replace(
        picture(7), picture=tuple(np.zeros(size, np.uint8) for size in ((height, width), half, half)), arrival_ns=9
    )
    canvas = frame.canvas()
    assert [each.shape for each in canvas.planes] == [each.shape for each in frame.planes]
    assert (canvas.pts_ns, canvas.arrival_ns, canvas.colour) == (7, 9, frame.colour)
    assert not any(np.shares_memory(a, b) for a, b in zip(canvas.planes, frame.planes, strict=True))


def test_what_is_drawn_goes_to_the_lips_with_its_mouths_free_under_a_look_of_its_own() -> None:
    stand_in, item = StandIn(lay(mask()), _white), seen(0, 0.1)
    drawn = stood_in(item, stand_in)
    assert drawn is not None
    assert drawn.frame.planes[0].max() == 235
    assert drawn.look == ("mask", "portrait")
    assert [(each.visible, each.confidence) for each in drawn.faces] == [(1.0, 0.9)]
    assert drawn.mel is item.mel
    assert stand_in.public() == {"covered": 1, "covered_passed": {}}


def test_what_could_not_be_drawn_leaves_the_picture_as_it_came_and_is_counted() -> None:
    stand_in, item = StandIn(lay(mask()), _spoilt), seen(0, 0.1)
    assert stood_in(item, stand_in) is None
    assert np.all(item.frame.planes[0] == 255)
    assert stand_in.public() == {"covered": 0, "covered_passed": {"failed": 1}}


def test_nothing_stands_in_where_none_is_configured_or_a_filter_hides_who_is_there_already() -> None:
    assert stood_in(seen(0, 0.0), StandIn(None, _white)) is None
    assert stood_in(seen(0, 0.0), StandIn(lay(mask()), _white), lay(mask())) is None
    assert stood_in(seen(0, 0.0), StandIn(lay(mask()), _white), lay(FakeFilter())) is not None


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("maks", ("no filter 'maks'", "did you mean mask?")),
        ("zzz", ("no filter 'zzz'", "there is grey, mask")),
        ("grey", ("grey is for the region frame", "needs one for the region portrait")),
    ],
)
def test_a_filter_that_cannot_stand_in_stops_the_start_with_one_line(name: str, words: tuple[str, ...]) -> None:
    fakes = Fakes(FakeFilter(), mask(), when_covered=name)
    engine = FakeEngine()
    with pytest.raises(ConfigError) as raised:
        Engines(lambda: engine, lambda _: None, FakeRender, clock=VirtualClock(), open_filters=fakes.shelf)  # type: ignore[arg-type,return-value]
    said = str(raised.value)
    assert said.startswith("[filters] when_covered: ")
    assert "\n" not in said
    assert all(word in said for word in words)
    assert all(each.closed for each in fakes.by_name.values())


def test_one_that_cannot_be_opened_stops_the_start_with_its_remedy() -> None:
    fakes = Fakes(FakeFilter())
    with pytest.raises(EngineError, match="Fetch it again"):
        FilterShelf(["grey", "mask"], fakes.open, VirtualClock(), when_covered="mask")
    assert fakes.by_name["grey"].closed


# -- in a session ------------------------------------------------------------------------------------


COVERED = range(5, 10)
"""Pictures with a hand before the mouth; 35 is the first that is more than a second behind them."""


def hand(frame: VideoFrame) -> list[FaceCrop]:
    number = frame.pts_ns // FRAME_NS
    return [face(frame.pts_ns, centre=(2.0, 2.0), side=4.0, visible=float(number not in COVERED))]


def drawn_anew(studio: Studio) -> list[int]:
    """Which pictures are neither the camera's nor those of another filter."""
    return [number for number, level in enumerate(studio.last_pixels()) if level not in (LUMA[None], LUMA["grey"])]


def open_studio(
    *others: FakeFilter, items: list[SyncedFrame] | None = None, network: FakeFilter | None = None
) -> Studio:
    told = items if items is not None else []
    return Studio(network or mask(), *others, find=hand, draw=told.append, when_covered="mask")


def test_a_covered_mouth_has_its_picture_drawn_and_lips_are_made_on_it_until_it_was_free_for_a_second() -> None:
    items: list[SyncedFrame] = []

    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        await frames(studio, 40)

    studio = play(lambda: open_studio(items=items), act)
    assert drawn_anew(studio) == list(range(5, 35))
    assert studio.last_pixels()[:5] == studio.last_pixels()[35:] == [255] * 5
    # The render stage writes the time of the voice into the first pixel.
    made = [int(frame.planes[0][0, 0]) for frame in studio.peer.pictures[1:]]
    assert made == [frame.pts_ns // NS_PER_MS % 256 for frame in studio.peer.pictures[1:]]
    assert all(item.faces[0].confidence == 0.9 for item in items)
    assert [item.look is not None for item in items] == [False] * 5 + [True] * 30 + [False] * 5
    assert studio.session.stand_in.public() == {"covered": 30, "covered_passed": {}}
    assert studio.account()["filtered"] == 0


@pytest.mark.parametrize("order", ["before", "after"])
def test_it_takes_the_place_of_a_filter_that_was_chosen_for_those_pictures_alone(order: str) -> None:
    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        studio.choose("grey", order=order)
        await frames(studio, 40)

    studio = play(lambda: open_studio(FakeFilter()), act)
    assert drawn_anew(studio) == list(range(5, 35))
    assert studio.last_pixels()[:5] == studio.last_pixels()[35:] == [LUMA["grey"]] * 5
    assert studio.account()["filtered"] == 10


def test_where_it_fails_the_ordinary_picture_leaves_filtered_as_it_was_to_be() -> None:
    items: list[SyncedFrame] = []

    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        studio.choose("grey")
        await frames(studio, 34)
        assert any("the filter for covered mouths is off" in reason for reason in studio.health.reasons)
        studio.session.switch(Mode.RE_VOICE)
        assert studio.health.status == "ok"
        await frames(studio, 1, 34)

    studio = play(lambda: open_studio(FakeFilter(), items=items, network=mask(act=Late())), act)
    assert studio.last_pixels() == [LUMA["grey"]] * 35
    # A second of pictures and the one that begins the next; then it is off, until something is switched.
    assert studio.session.stand_in.public() == {"covered": 0, "covered_passed": {"failed": 27, "off": 3}}
    assert [item.faces[0].confidence for item in items] == [0.0 if n in COVERED else 0.9 for n in range(35)]
    assert studio.account()["passed"] == {}
    assert studio.session.playout.late == 0


def test_where_it_has_no_time_the_cameras_picture_leaves() -> None:
    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        await frames(studio, 7)
        studio.session.covering.runner.expected_ns = NS_PER_S
        await frames(studio, 3, 7)

    studio = play(open_studio, act)
    assert drawn_anew(studio) == [5, 6]
    assert studio.last_pixels()[7:] == [255] * 3
    assert studio.session.stand_in.public() == {"covered": 2, "covered_passed": {"no_time": 3}}


def test_what_only_passes_through_is_the_cameras_from_the_next_picture_on() -> None:
    async def act(studio: Studio) -> None:
        studio.choose("grey", area="face")
        await frames(studio, 6)
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        await frames(studio, 2, 6)
        studio.session.switch(Mode.PASS_THROUGH)
        await frames(studio, 2, 8)

    studio = play(lambda: open_studio(FakeFilter(region="face")), act)
    levels = studio.last_pixels()
    assert len({*levels[:6], *levels[8:]}) == 1
    assert studio.session.stand_in.public()["covered"] == 2


def test_without_a_filter_for_it_a_covered_mouth_costs_the_lips_as_before() -> None:
    items: list[SyncedFrame] = []

    async def act(studio: Studio) -> None:
        studio.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        await frames(studio, 10)

    studio = play(lambda: Studio(mask(), find=hand, draw=items.append), act)
    assert studio.last_pixels() == [255] * 10
    assert [item.faces[0].confidence for item in items[4:]] == [0.9, *[0.0] * 5]


# -- in a file ---------------------------------------------------------------------------------------


def hand_in_clip(frame: VideoFrame) -> Sequence[FaceCrop]:
    number = round(frame.pts_ns / FRAME_NS)
    return [face(frame.pts_ns, centre=(32.0, 24.0), side=40.0, visible=float(number not in COVERED))]


def dubbed(tmp_path: Path, network: FakeFilter | None, **options: object) -> tuple[DubFigures, list[bool]]:
    """The figures of a dub of 40 pictures, and which of them keep the clip's own corner."""
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=range(40))
    job = DubJob(
        source=source,
        voice=voice_file(tmp_path, 1.6),
        output=tmp_path / "out.mkv",
        encoding=Encoding(quality=0),
        render=RenderOptions(badge=""),
        when_covered=None if network is None else lay(network),
        **options,  # type: ignore[arg-type]
    )
    figures = asyncio.run(Dub(job, FakeGenerator(), lambda: FakeFinder(hand_in_clip)).run())
    before, after = ([each.planes for each in ClipReader(path).frames()] for path in (source, job.output))
    return figures, [bool(np.array_equal(a[0][:2], b[0][:2])) for a, b in zip(before, after, strict=True)]


def test_in_a_file_the_same_pictures_are_drawn_anew_and_none_is_without_lips(tmp_path: Path) -> None:
    figures, own = dubbed(tmp_path, mask())
    assert own == [True] * 5 + [False] * 30 + [True] * 5
    assert (figures.covered, figures.covered_passed) == (30, {})
    assert (figures.made, figures.passed, figures.filtered, figures.warnings) == (40, {}, 0, ())
    assert figures.stages["when_covered"].count == 30
    with av.open(str(tmp_path / "out.mkv")) as container:
        said = container.metadata["COMMENT"]
    assert said.startswith("synthetic=lips+voice+picture;")
    assert said.endswith("its pictures with a covered mouth were drawn by the filter mask")


def test_in_a_file_too_a_filter_that_fails_costs_nothing_else_and_a_line_says_so(tmp_path: Path) -> None:
    without, _ = dubbed(tmp_path, None)
    figures, own = dubbed(tmp_path, mask(fails=True), overwrite=True)
    assert own == [True] * 40
    assert figures.covered == 0
    assert sum(figures.covered_passed.values()) == 30
    assert (figures.made, figures.passed) == (without.made, without.passed)
    assert without.made < 40
    assert figures.warnings == (
        "mask failed on 30 pictures with a covered mouth, or soon after: they are as without it",
    )


def test_in_a_file_that_is_filtered_another_filter_rests_meanwhile(tmp_path: Path) -> None:
    figures, own = dubbed(tmp_path, mask(), filter=lay(FakeFilter()))
    assert own == [False] * 40
    assert (figures.covered, figures.filtered, figures.made) == (30, 10, 40)
