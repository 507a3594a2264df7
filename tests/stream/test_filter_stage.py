"""A filter laid on pictures of every kind: what changes, what must not, and what is remembered."""

import numpy as np
import pytest

from kernels.crop import upright_region
from kernels.frame_tensor import frame_to_tensor
from kernels.yuv import Colour, Region
from models.engine import EngineError
from stream.filter_sources import CLASSES, SOURCES, View
from stream.filter_stage import FilterStage, FilterTask
from stream.filters import Area, Chosen
from stream.frames import NS_PER_MS, NS_PER_S, FaceCrop, Planes, VideoFrame
from stream.stages import StageMeter
from tests.stream.fake_faces import face
from tests.stream.fake_filter import FakeFilter
from tests.stream.tagged import HandClock

pytestmark = pytest.mark.unit

MS = NS_PER_MS
# Luma of a filter's level 0 (grey 127.5) and 1 (white) in limited range.
GREY, WHITE = 126, 235


def picture(pts_ns: int = 0, height: int = 48, width: int = 64, seed: int = 0) -> VideoFrame:
    dice = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    planes = tuple(dice.integers(40, 200, size, np.uint8) for size in ((height, width), half, half))
    return VideoFrame(pts_ns, 0, "yuv420p", (planes[0], planes[1], planes[2]))


def copied(frame: VideoFrame) -> Planes:
    y, u, v = (plane.copy() for plane in frame.planes)
    return y, u, v


def stage(**options: str) -> FilterStage:
    return FilterStage(HandClock(), **options)


def same(one: Planes, other: Planes) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def one_face(pts_ns: int = 0, x: float = 64.0, y: float = 48.0, side: float = 30.0, face_id: int = 0) -> FaceCrop:
    return face(pts_ns, centre=(x, y), side=side, face_id=face_id)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63), (1, 1), (33, 2), (2160, 3840)])
def test_pictures_of_every_size_are_filtered_whole(height: int, width: int) -> None:
    frame = picture(height=height, width=width)
    stage().process(FilterTask(frame, (), Chosen(FakeFilter())))
    assert set(np.unique(frame.planes[0])) <= {GREY - 1, GREY, GREY + 1}
    assert all(np.all(np.abs(plane.astype(int) - 128) <= 1) for plane in frame.planes[1:])


def test_a_filter_on_planes_sees_and_changes_the_bytes_themselves() -> None:
    frame = picture()
    before = copied(frame)
    stage().process(FilterTask(frame, (), Chosen(FakeFilter(level=None, source="planes", size=(48, 64)), wipe=0.5)))
    for now, old in zip(frame.planes, before, strict=True):
        half = old.shape[1] // 2
        assert np.array_equal(now[:, :half], old[:, :half])
        assert np.array_equal(now[:, half:], 255 - old[:, half:])


@pytest.mark.parametrize("area", ["frame", "face"])
def test_a_filter_on_planes_is_laid_on_pictures_and_faces_of_any_size(area: str) -> None:
    frame = picture(height=97, width=129)
    before = copied(frame)
    chosen = Chosen(FakeFilter(source="planes", region=area), area=area)  # type: ignore[arg-type]
    stage().process(FilterTask(frame, (one_face(),), chosen))
    assert not same(frame.planes, before)


def test_the_network_sees_the_frame_as_the_kernel_has_it_in_its_own_colours() -> None:
    seen: list[np.ndarray] = []
    spy = FakeFilter(level=None)
    infer = spy.infer

    def noted(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(feed["frame"].copy())
        return infer(feed)

    spy.infer = noted  # type: ignore[method-assign,assignment]
    colour = Colour("bt709", full_range=True)
    frame = VideoFrame(0, 0, "yuv420p", picture().planes, colour)
    expected = frame_to_tensor(frame.planes, (32, 32), colour)
    stage().process(FilterTask(frame, (), Chosen(spy)))
    assert np.array_equal(seen[0][0], expected)


def test_strength_blends_and_nothing_of_it_leaves_every_byte() -> None:
    half, none = picture(), picture()
    before = half.planes[0].astype(int).copy()
    stage().process(FilterTask(half, (), Chosen(FakeFilter(), strength=0.5)))
    # One level: the blend is rounded, and so was the network's picture.
    assert np.abs(half.planes[0] - (before + GREY) / 2).max() <= 1.0
    untouched, laid = copied(none), stage()
    laid.process(FilterTask(none, (), Chosen(FakeFilter(), strength=0.0)))
    assert same(untouched, none.planes)
    assert laid.passed == {"unseen": 1}


@pytest.mark.parametrize("wipe", [0.25, 0.5, 0.51, 1.0])
def test_left_of_the_wipe_every_byte_stays_and_right_of_it_none_does(wipe: float) -> None:
    frame = picture()
    before = copied(frame)
    stage().process(FilterTask(frame, (), Chosen(FakeFilter(level=1.0), wipe=wipe)))
    column = 2 * round(wipe * 64 / 2)
    assert np.array_equal(frame.planes[0][:, :column], before[0][:, :column])
    assert (frame.planes[0][:, column:] == WHITE).all()
    for now, old in zip(frame.planes[1:], before[1:], strict=True):
        assert np.array_equal(now[:, : column // 2], old[:, : column // 2])


def test_around_a_face_only_its_square_changes_and_fades_out_towards_its_edges() -> None:
    frame = picture(height=96, width=128)
    seen = one_face()
    before, square = copied(frame), upright_region(seen.landmarks)
    stage().process(FilterTask(frame, [seen], Chosen(FakeFilter(level=1.0), area="face")))
    changed = frame.planes[0] != before[0]
    outside = np.ones_like(changed)
    outside[square.top : square.bottom, square.left : square.right] = False
    assert not changed[outside].any()
    middle = (square.top + square.bottom) // 2, (square.left + square.right) // 2
    assert frame.planes[0][middle] == WHITE
    # At its very edge the filter has hardly begun: a few levels of the 195 at most.
    edge = (
        frame.planes[0][square.top, square.left : square.right].astype(int)
        - before[0][square.top, square.left : square.right]
    )
    assert np.abs(edge).max() <= 12


def test_two_faces_are_filtered_from_the_same_picture_each_for_itself() -> None:
    frame = picture(height=96, width=192)
    faces = [one_face(x=50.0, face_id=1), one_face(x=140.0, face_id=2)]
    network = FakeFilter(level=1.0, region="face")
    stage().process(FilterTask(frame, faces, Chosen(network, area="face")))
    assert network.runs == 2
    assert all(frame.planes[0][48, x] == WHITE for x in (50, 140))


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (128.0, 96.0), (-300.0, 40.0), (500.0, 500.0)])
def test_a_face_at_the_border_or_beyond_it_is_filtered_as_far_as_it_is_in_the_picture(x: float, y: float) -> None:
    frame = picture(height=97, width=129)
    stage().process(FilterTask(frame, [one_face(x=x, y=y)], Chosen(FakeFilter(level=1.0), area="face")))
    inside = 0 <= x < 129 and 0 <= y < 97
    assert (frame.planes[0] == WHITE).any() == inside


def test_without_a_face_a_filter_for_faces_leaves_the_picture_and_counts_it() -> None:
    frame = picture()
    before, laid = copied(frame), stage()
    laid.process(FilterTask(frame, (), Chosen(FakeFilter(region="face"), area="face")))
    assert same(before, frame.planes)
    assert laid.passed == {"no_face": 1}


def test_a_square_stays_while_its_face_only_trembles() -> None:
    laid, network = stage(), FakeFilter(level=None)
    squares = []
    for number, x in enumerate((64.0, 64.2, 63.9, 64.1, 80.0)):
        frame = picture(number * 40 * MS, height=96, width=128)
        before = frame.planes[0].copy()
        laid.process(FilterTask(frame, [one_face(frame.pts_ns, x=x)], Chosen(network, area="face")))
        columns = np.flatnonzero((frame.planes[0] != before).any(axis=0))
        squares.append((columns[0], columns[-1]))
    assert len(set(squares[:4])) == 1
    assert squares[4] != squares[0]


# -- frozen in, frozen out ---------------------------------------------------------------------------


@pytest.mark.parametrize("area", ["frame", "face"])
@pytest.mark.parametrize("network", [FakeFilter(level=None), FakeFilter(level=None, remembers=True, noisy=True)])
def test_a_frozen_picture_stays_frozen_to_the_last_byte(network: FakeFilter, area: str) -> None:
    laid, results = stage(), []
    for number in range(20):
        frame = picture(number * 40 * MS, height=96, width=128)
        laid.process(FilterTask(frame, [one_face(frame.pts_ns)], Chosen(network, area=area)))  # type: ignore[arg-type]
        results.append(copied(frame))
    assert all(same(results[0], each) for each in results)


def test_two_sessions_make_the_same_of_the_same_pictures_whatever_others_do_between() -> None:
    network = FakeFilter(level=None, remembers=True, noisy=True)
    results = []
    for laid in (stage(), stage()):
        made = []
        for number in range(10):
            frame = picture(number * 40 * MS, seed=number)
            laid.process(FilterTask(frame, (), Chosen(network)))
            stage().process(FilterTask(picture(seed=99), (), Chosen(network)))
            made.append(copied(frame))
        results.append(made)
    assert all(same(one, other) for one, other in zip(*results, strict=True))


def brightness(laid: FilterStage, chosen: Chosen, pts_ns: int, seed: int) -> int:
    frame = picture(pts_ns, seed=seed)
    laid.process(FilterTask(frame, (), chosen))
    return int(frame.planes[0][0, 0])


def test_what_a_network_remembers_goes_from_picture_to_picture_and_ends_with_a_switch_or_a_gap() -> None:
    laid = stage()
    chosen, other = Chosen(FakeFilter(level=0.0, remembers=True)), Chosen(FakeFilter("other"))
    first, second = (brightness(laid, chosen, n * 40 * MS, n) for n in range(2))
    assert second > first
    brightness(laid, other, 80 * MS, 2)
    assert brightness(laid, chosen, 120 * MS, 3) == first
    assert brightness(laid, chosen, 160 * MS, 4) == second
    assert brightness(laid, chosen, 160 * MS + 2 * NS_PER_S, 5) == first
    # A stream that begins anew, and so goes back.
    assert brightness(laid, chosen, 0, 6) == first


def test_another_strength_or_wipe_is_no_switch() -> None:
    laid, network = stage(), FakeFilter(level=0.0, remembers=True)
    first = brightness(laid, Chosen(network), 0, 0)
    assert brightness(laid, Chosen(network, strength=0.99, wipe=0.0), 40 * MS, 1) > first


# -- what goes wrong ---------------------------------------------------------------------------------


def test_a_filter_that_raises_leaves_the_picture_as_it_came() -> None:
    frame = picture()
    before, laid = copied(frame), stage(mark="AI filter")
    with pytest.raises(EngineError):
        laid.process(FilterTask(frame, (), Chosen(FakeFilter(fails=True))))
    assert same(before, frame.planes)
    assert laid.made == 0


def test_a_picture_that_is_not_finite_is_not_shown_and_not_remembered() -> None:
    laid, network = stage(), FakeFilter(level=0.0, remembers=True)
    first = brightness(laid, Chosen(network), 0, 0)
    network.level = float("nan")
    frame = picture(40 * MS, seed=1)
    before = copied(frame)
    with pytest.raises(EngineError, match="not finite"):
        laid.process(FilterTask(frame, (), Chosen(network)))
    assert same(before, frame.planes)
    network.level = 0.0
    assert brightness(laid, Chosen(network), 80 * MS, 2) == first


@pytest.mark.parametrize("options", [{"strength": -0.1}, {"strength": 1.1}, {"wipe": 2.0}, {"wipe": float("nan")}])
def test_a_strength_or_a_wipe_outside_its_range_cannot_be_chosen(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        Chosen(FakeFilter(), **options)


# -- marks and meters --------------------------------------------------------------------------------


def test_a_filtered_picture_is_marked_on_the_left_and_made_lips_are_marked_again_on_the_right() -> None:
    plain, marked, both = (picture(height=96, width=256) for _ in range(3))
    stage().process(FilterTask(plain, (), Chosen(FakeFilter())))
    laid = stage(mark="AI filter", lips_mark="AI lips")
    laid.process(FilterTask(marked, (), Chosen(FakeFilter())))
    laid.process(FilterTask(both, (), Chosen(FakeFilter()), lips=True))
    left, right = slice(None, 128), slice(128, None)
    assert (marked.planes[0] != plain.planes[0])[:, left].any()
    assert not (marked.planes[0] != plain.planes[0])[:, right].any()
    assert (both.planes[0] != plain.planes[0])[:, right].any()


def test_each_filter_is_metered_by_its_name() -> None:
    clock, meters = HandClock(), {"grey": StageMeter(), "slow": StageMeter()}

    def wait() -> None:
        clock.time_ns += 7 * MS

    laid = FilterStage(clock, meters)
    for number, network in enumerate((FakeFilter(), FakeFilter("slow", act=wait), FakeFilter("slow", act=wait))):
        laid.process(FilterTask(picture(seed=number), (), Chosen(network)))
    figures = laid.latencies()
    assert {name: (each.count, each.p50_ms) for name, each in figures.items()} == {"grey": (1, 0.0), "slow": (2, 7.0)}


# -- what it is shown --------------------------------------------------------------------------------


def shown_as(source: str, frame: VideoFrame) -> np.ndarray:
    return SOURCES[source](View(frame, Region(0, 0, frame.height, frame.width), (32, 40)))


@pytest.mark.parametrize("source", ["grey", "lines"])
def test_grey_pictures_and_drawings_are_the_same_in_all_channels(source: str) -> None:
    shown = shown_as(source, picture())
    assert (shown.shape, shown.dtype) == ((3, 32, 40), np.float32)
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[0], shown[2])
    assert np.abs(shown).max() <= 1.0


def test_a_grey_picture_is_shown_as_it_is_and_a_blank_one_has_no_lines() -> None:
    flat = VideoFrame(0, 0, "yuv420p", tuple(np.full(size, 128, np.uint8) for size in ((48, 64), (24, 32), (24, 32))))  # type: ignore[arg-type]
    # The weights' sum is 1 to float32.
    np.testing.assert_allclose(shown_as("grey", flat), shown_as("picture", flat), atol=1e-6)
    assert (shown_as("lines", flat) == 1.0).all()


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_source_can_be_filtered_from(source: str) -> None:
    frame, seen = picture(height=96, width=128), one_face()
    classes = CLASSES.get(source, ())
    network = FakeFilter(level=1.0, source=source, classes=classes, region="face")
    luma = frame.planes[0][48, 64].item()
    stage().process(FilterTask(frame, [seen], Chosen(network, area="face")))
    # Grey gets colours, here none, and keeps its luma.
    assert frame.planes[0][48, 64] == (luma if source == "grey" else WHITE)
    assert frame.planes[1][24, 32] == 128


@pytest.mark.parametrize("area", ["frame", "face"])
def test_a_filter_that_is_shown_grey_lays_down_colours_alone(area: Area) -> None:
    frame, seen = picture(height=96, width=128), one_face()
    before = copied(frame)
    network = FakeFilter(level=0.5, source="grey", region=area)
    stage().process(FilterTask(frame, [seen], Chosen(network, strength=0.5, area=area)))
    assert np.array_equal(frame.planes[0], before[0])
    assert not np.array_equal(frame.planes[1], before[1])
    assert not np.array_equal(frame.planes[2], before[2])
