"""A filter that hides who is there: whatever fails, no pixel of the camera's picture leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from kernels.portrait_layout import PORTRAIT_BACKDROP, PORTRAIT_CLASSES
from kernels.yuv import rgb_to_i420
from models.engine import EngineError
from stream.dub import Dub
from stream.dub_job import DubJob
from stream.errors import MediaError
from stream.filter_job import FilterJob, FilterRun
from stream.filter_stage import FilterStage, FilterTask
from stream.filters import Chosen, FilterShelf, lay
from stream.frames import NS_PER_MS, NS_PER_S, FaceCrop, SyncedFrame, VideoFrame
from stream.media import Encoding
from stream.passage import Mode
from tests.stream.clip_maker import make_clip
from tests.stream.fake_faces import FakeFinder, face
from tests.stream.fake_filter import FakeFilter, Fakes
from tests.stream.fake_generator import FakeGenerator
from tests.stream.session_fakes import FRAME_NS, Ramp
from tests.stream.tagged import HandClock
from tests.stream.test_dub import voice_file
from tests.stream.test_session_filters import Studio, play

pytestmark = pytest.mark.unit

BACKDROP = tuple(int(p[0, 0]) for p in rgb_to_i420(np.full((2, 2, 3), PORTRAIT_BACKDROP, np.uint8)))
# Levels that neither the backdrop nor what the fake draws can give: what is left of the camera's picture shows.
CAMERA, DRAWN = (250, 20, 230), 235
LIMIT = 240


def mask(**options: object) -> FakeFilter:
    """Draws all white."""
    return FakeFilter("mask", 1.0, region="portrait", source="portrait", classes=PORTRAIT_CLASSES, **options)  # type: ignore[arg-type]


def camera(pts_ns: int = 0, height: int = 97, width: int = 129) -> VideoFrame:
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (
        np.full(size, level, np.uint8) for size, level in zip(((height, width), half, half), CAMERA, strict=True)
    )
    return VideoFrame(pts_ns, 0, "yuv420p", (y, u, v))


def shows_camera(frame: VideoFrame) -> bool:
    """Whether any sample is nearer to the camera's than the backdrop and what is drawn can be."""
    y, u, v = frame.planes
    return bool((y > LIMIT).any() or (u < BACKDROP[1] - 8).any() or (v > BACKDROP[2] + 16).any())


def is_backdrop(frame: VideoFrame) -> bool:
    return all(np.all(plane == level) for plane, level in zip(frame.planes, BACKDROP, strict=True))


def middle(frame: VideoFrame, **options: float) -> FaceCrop:
    return face(frame.pts_ns, centre=(frame.width / 2, frame.height / 2), side=options.get("side", 40.0))


def test_a_portrait_is_drawn_where_the_face_is_and_all_else_is_a_backdrop() -> None:
    frame, stage = camera(), FilterStage(HandClock())
    stage.process(FilterTask(frame, [middle(frame)], lay(mask())))
    assert not shows_camera(frame)
    assert frame.planes[0][48, 64] == DRAWN
    assert frame.planes[0][0, 0] == BACKDROP[0]
    assert (stage.made, stage.hidden) == (1, {})


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (47, 63), (480, 640)])
def test_without_a_face_the_backdrop_is_all_there_is(height: int, width: int) -> None:
    frame, stage = camera(height=height, width=width), FilterStage(HandClock())
    stage.process(FilterTask(frame, (), lay(mask())))
    assert is_backdrop(frame)
    assert (stage.hidden, stage.passed) == ({"no_face": 1}, {})


def test_a_network_that_raises_leaves_a_backdrop_and_a_picture_hidden_after_a_drawn_one_repeats_it() -> None:
    stage, network = FilterStage(HandClock()), mask()
    first, second, third = camera(0), camera(40 * NS_PER_MS), camera(2 * NS_PER_S)
    stage.process(FilterTask(first, [middle(first)], lay(network)))
    network.fails = True
    with pytest.raises(EngineError):
        stage.process(FilterTask(second, [middle(second, side=60.0)], lay(network)))
    assert is_backdrop(second)
    stage.hide(second)
    assert all(np.array_equal(a, b) for a, b in zip(first.planes, second.planes, strict=True))
    # Two seconds later it is another moment.
    stage.hide(third)
    assert is_backdrop(third)


def test_what_was_drawn_is_not_shown_in_a_picture_of_another_size_nor_after_the_face_left() -> None:
    stage, network = FilterStage(HandClock()), mask()
    first, other, empty = camera(0), camera(1, height=64, width=64), camera(2)
    stage.process(FilterTask(first, [middle(first)], lay(network)))
    stage.hide(other)
    assert is_backdrop(other)
    stage.process(FilterTask(empty, (), lay(network)))
    later = camera(3)
    stage.hide(later)
    assert is_backdrop(later)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": 0.99}, "strength stays 1"),
        ({"wipe": 0.01}, "wipe 0"),
        ({"order": "after"}, "order must be before"),
        ({"area": "frame"}, "for portrait alone"),
        ({"area": "face"}, "for portrait alone"),
    ],
)
def test_nothing_that_lets_the_camera_through_can_be_chosen(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lay(mask(), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for frame alone"):
        Chosen(FakeFilter(), area="portrait")


def test_a_filter_that_hides_but_would_be_shown_the_picture_is_not_opened() -> None:
    shelf = FilterShelf(["peeps"], Fakes(FakeFilter("peeps", region="portrait")).open, HandClock())
    assert shelf.names == []
    assert "shown the picture that it is to hide" in shelf.notes[0]


# -- in a session ------------------------------------------------------------------------------------


def no_face(_: VideoFrame) -> list[FaceCrop]:
    return []


def breaks(_: VideoFrame) -> list[FaceCrop]:
    raise RuntimeError("the finder broke")


class Late:
    """Lets the two runs pass that warm a network up, then breaks it."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1
        if self.runs > 2:
            raise EngineError("the network broke")


def mask_of(level: float) -> FakeFilter:
    made = mask()
    made.level = level
    return made


# The camera's pictures are 255 all over.
TROUBLE = [
    pytest.param(lambda: Studio(mask(), find=no_face), "no_face", id="no face"),
    pytest.param(lambda: Studio(mask(), find=breaks), "no_face", id="no finder"),
    pytest.param(lambda: Studio(mask(act=Late())), "failed", id="the network raises"),
    pytest.param(lambda: Studio(mask_of(float("nan"))), "failed", id="not finite"),
]


def luma(studio: Studio) -> int:
    return max(int(frame.planes[0].max()) for frame in studio.peer.pictures)


@pytest.mark.parametrize("mode", [Mode.PASS_THROUGH, Mode.RE_VOICE])
@pytest.mark.parametrize(("studio", "reason"), TROUBLE)
def test_whatever_fails_every_picture_leaves_as_a_backdrop(
    studio: Callable[[], Studio], reason: str, mode: Mode
) -> None:
    async def act(made: Studio) -> None:
        made.session.choose_filter(lay(made.engines.filters.find("mask")))
        made.session.switch(mode, Ramp(10_000 * NS_PER_MS))
        await made.feed(0, 40 * FRAME_NS)

    made = play(studio, act)
    assert len(made.peer.pictures) > 30
    assert all(is_backdrop(frame) for frame in made.peer.pictures)
    account = made.account()
    # A stage that raised for a second on end is off, and still hides.
    assert set(account["hidden"]) - {"off", "no_face"} == {reason} - {"no_face"}  # type: ignore[call-overload]
    assert account["passed"] == {}


def test_without_time_the_last_drawn_picture_is_shown_again_without_lips() -> None:
    async def act(made: Studio) -> None:
        made.session.choose_filter(lay(made.engines.filters.find("mask")))
        made.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        await made.feed(0, 5 * FRAME_NS)
        made.session.filtering.runner.expected_ns = NS_PER_S
        await made.feed(5 * FRAME_NS, 8 * FRAME_NS)

    made = play(lambda: Studio(mask()), act)
    assert made.account()["hidden"]["no_time"] == 3  # type: ignore[index]
    assert luma(made) <= DRAWN
    assert made.session.render.meter.figures().count == 5


def test_pictures_that_come_before_the_face_finder_is_open_are_hidden_too() -> None:
    async def act(made: Studio) -> None:
        made.open_gate = threading.Event()
        made.session.choose_filter(lay(made.engines.filters.find("mask")))
        made.session._opening = None
        await made.feed(0, 2 * FRAME_NS)

    made = play(lambda: Studio(mask(), find=no_face), act)
    assert made.peer.pictures
    assert all(is_backdrop(frame) for frame in made.peer.pictures)


def test_pictures_taken_before_it_was_taken_away_are_hidden_and_later_ones_are_not() -> None:
    async def act(made: Studio) -> None:
        made.session.choose_filter(lay(made.engines.filters.find("mask")))
        await made.feed(0, 3 * FRAME_NS)
        made.session.choose_filter(None)
        filtering = made.session.filtering
        assert filtering.chosen_at(2 * FRAME_NS) is not None
        await made.feed(3 * FRAME_NS, 6 * FRAME_NS)

    made = play(lambda: Studio(mask(), find=no_face), act)
    assert [is_backdrop(frame) for frame in made.peer.pictures] == [True] * 3 + [False] * 3


# -- in a file ---------------------------------------------------------------------------------------


def filtered(tmp_path: Path, find: Callable[[VideoFrame], list[FaceCrop]] | None, network: FakeFilter) -> list[int]:
    """The levels of luma that a filtered clip has."""
    source, output = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=range(3)), tmp_path / "out.mkv"
    job = FilterJob(
        source=source, output=output, chosen=lay(network), keep_going=True, overwrite=True, encoding=Encoding(quality=0)
    )
    asyncio.run(FilterRun(job, lambda: FakeFinder(find)).run())
    # Else it would not be seen if some of it were left.
    assert luma_of(source)[0] < BACKDROP[0] - 20
    return luma_of(output)


def luma_of(clip: Path) -> list[int]:
    with av.open(clip) as container:
        return sorted({int(y) for frame in container.decode(video=0) for y in np.unique(frame.to_ndarray()[:48])})


def test_a_clip_without_a_face_becomes_a_backdrop_and_is_refused_unless_that_is_wanted(tmp_path: Path) -> None:
    levels = filtered(tmp_path, no_face, mask())
    assert levels[0] >= BACKDROP[0] - 1
    assert levels[-1] <= BACKDROP[0] + 1
    job = FilterJob(source=tmp_path / "in.mkv", output=tmp_path / "none.mkv", chosen=lay(mask()))
    with pytest.raises(MediaError, match="--keep-going to write its sound with a backdrop"):
        asyncio.run(FilterRun(job, lambda: FakeFinder(no_face)).run())
    assert not (tmp_path / "none.mkv").exists()


def test_a_clip_whose_faces_are_found_or_not_shows_the_drawn_and_the_backdrop_alone(tmp_path: Path) -> None:
    # Between the backdrop and white lie the edges of the portrait's square; below is what the camera saw.
    for find, network in ((None, mask()), (breaks, mask()), (None, mask(act=Late()))):
        levels = filtered(tmp_path, find, network)
        assert levels[0] >= BACKDROP[0] - 1
        assert levels[-1] <= DRAWN + 1


def covered(frame: VideoFrame) -> list[FaceCrop]:
    return [face(frame.pts_ns, centre=(frame.width / 2, frame.height / 2), side=frame.height * 0.8, visible=0.0)]


def test_nothing_stands_before_the_mouth_of_a_person_that_was_drawn() -> None:
    shown: list[SyncedFrame] = []

    async def act(made: Studio) -> None:
        made.session.choose_filter(lay(made.engines.filters.find("mask")))
        made.session.switch(Mode.RE_VOICE, Ramp(10_000 * NS_PER_MS))
        await made.feed(0, 5 * FRAME_NS)

    play(lambda: Studio(mask(), find=covered, draw=shown.append), act)
    assert [(each.faces[0].visible, each.faces[0].confidence) for each in shown] == [(1.0, 0.9)] * 5


def test_in_a_file_too_lips_are_made_on_a_drawn_face_whatever_covers_the_real_one(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=range(5))
    job = DubJob(source=source, voice=voice_file(tmp_path), output=tmp_path / "out.mkv", filter=lay(mask()))
    figures = asyncio.run(Dub(job, FakeGenerator(), lambda: FakeFinder(covered)).run())
    assert (figures.made, figures.filtered, figures.passed) == (5, 5, {})
