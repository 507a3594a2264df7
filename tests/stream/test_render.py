"""The render stage: which pixels it may touch, when it touches none, and how lips come and go."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.crop import crop_face
from kernels.mel import SILENCE
from kernels.paste import mouth_mask
from kernels.warp import apply
from models.engine import Engine, EngineError
from stream.frames import FaceCrop, Planes, SyncedFrame, VideoFrame
from stream.painter import CpuPainter
from stream.render import RenderOptions, RenderStage
from tests.stream.fake_faces import SIZE, face
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit

FRAME_NS = 40_000_000
LOUD = np.full((80, 27), 4.0, np.float32)
QUIET = np.full((80, 27), SILENCE, np.float32)
MIDDLE = (80.0, 60.0)
PLAIN = RenderOptions(badge="")


def stage_of(engine: Engine, options: RenderOptions | None = None) -> RenderStage:
    return RenderStage(CpuPainter(engine), options or RenderOptions())


def noise(height: int = 120, width: int = 160, seed: int = 0) -> Planes:
    random = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (random.integers(16, 236, size, np.uint8) for size in ((height, width), half, half))
    return y, u, v


def frame(number: int = 0, height: int = 120, width: int = 160) -> VideoFrame:
    return VideoFrame(number * FRAME_NS, 0, "yuv420p", noise(height, width))


def synced(
    number: int, faces: list[FaceCrop], mel: NDArray[np.float32] | None = LOUD, height: int = 120, width: int = 160
) -> SyncedFrame:
    return SyncedFrame(frame(number, height, width), tuple(faces), mel)


def one(number: int, confidence: float = 0.9) -> list[FaceCrop]:
    return [face(number * FRAME_NS, centre=MIDDLE, confidence=confidence)]


def change(item: SyncedFrame, out: VideoFrame) -> float:
    """Mean absolute change of luma; the frame of `synced` is noise that can be made again."""
    height, width = item.frame.height, item.frame.width
    return float(np.abs(out.planes[0].astype(int) - noise(height, width)[0]).mean())


def allowed(crop: FaceCrop, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels of the frame that the mask reaches, by the definition: its support, mapped point by point."""
    in_crop = apply(crop.to_crop.astype(np.float64), crop.landmarks.astype(np.float64)).astype(np.float32)
    mask = mouth_mask(in_crop, SIZE)
    y, x = np.mgrid[0:height, 0:width]
    places = apply(crop.to_crop.astype(np.float64), np.stack([x.ravel(), y.ravel()], 1).astype(np.float64))
    column, row = np.clip(np.rint(places).astype(int), 0, SIZE - 1).T
    inside = (mask[row, column] > 0) & (np.abs(places - SIZE / 2) < SIZE / 2).all(axis=1)
    return inside.reshape(height, width)


def grown(area: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    padded = np.pad(area, by)
    height, width = area.shape
    shifts = [padded[i : i + height, j : j + width] for i in range(2 * by + 1) for j in range(2 * by + 1)]
    return np.logical_or.reduce(shifts)


@pytest.mark.parametrize(("height", "width"), [(120, 160), (121, 161)])
def test_every_pixel_outside_the_mouth_is_the_decoders_own(height: int, width: int) -> None:
    item = synced(0, one(0), height=height, width=width)
    out = stage_of(FakeGenerator(), PLAIN).process(item)
    before = noise(height, width)
    touched = out.planes[0] != before[0]
    assert touched.any()
    # Two pixels: interpolation reaches the neighbours of a masked pixel.
    may_change = grown(allowed(item.faces[0], height, width), 2)
    assert not (touched & ~may_change).any()
    chroma_may = may_change[::2, ::2]
    chroma_may = grown(chroma_may, 1)
    for now, was in zip(out.planes[1:], before[1:], strict=True):
        assert not ((now != was) & ~chroma_may).any()


def test_the_badge_is_the_only_other_thing_that_changes() -> None:
    item = synced(0, one(0))
    marked = stage_of(FakeGenerator(), RenderOptions()).process(item)
    unmarked = stage_of(FakeGenerator(), PLAIN).process(synced(0, one(0)))
    rows, columns = np.nonzero(marked.planes[0] != unmarked.planes[0])
    assert len(rows)
    assert rows.min() > 100
    assert columns.min() > 80
    assert any((a != b).any() for a, b in zip(marked.planes[1:], unmarked.planes[1:], strict=True))


@pytest.mark.parametrize(
    ("faces", "mel", "reason"),
    [
        ([], LOUD, "no_face"),
        (one(0), None, "no_voice"),
        ([], None, "no_voice"),
        (one(0, confidence=0.2), LOUD, "low_confidence"),
    ],
)
def test_a_picture_that_cannot_be_re_voiced_leaves_as_it_came(
    faces: list[FaceCrop], mel: NDArray[np.float32] | None, reason: str
) -> None:
    stage = stage_of(FakeGenerator())
    item = synced(0, faces, mel)
    assert stage.process(item) is item.frame
    assert all(np.array_equal(now, was) for now, was in zip(item.frame.planes, noise(), strict=True))
    assert dict(stage.passed) == {reason: 1}
    assert stage.made == 0


def test_the_mel_decides_what_the_mouth_looks_like() -> None:
    loud = stage_of(FakeGenerator(), PLAIN).process(synced(0, one(0), LOUD))
    quiet = stage_of(FakeGenerator(), PLAIN).process(synced(0, one(0), QUIET))
    red, _, blue = crop_face(loud.planes, one(0)[0].to_crop, SIZE)[62, 48].astype(int)
    assert red > 200 > 60 > blue
    red, _, blue = crop_face(quiet.planes, one(0)[0].to_crop, SIZE)[62, 48].astype(int)
    assert blue > 200 > 60 > red


def test_the_first_picture_of_a_stream_speaks_at_once() -> None:
    stage = stage_of(FakeGenerator(), PLAIN)
    first, later = (change(item, stage.process(item)) for item in (synced(0, one(0)), synced(1, one(1))))
    assert first == pytest.approx(later)


def test_a_face_that_appears_fades_in_over_four_pictures() -> None:
    stage = stage_of(FakeGenerator(), PLAIN)
    stage.process(synced(0, []))
    items = [synced(n, one(n)) for n in range(1, 7)]
    changes = [change(item, stage.process(item)) for item in items]
    full = changes[-1]
    # Rounding to whole levels costs up to half of one; the mean over the picture far less.
    assert changes[:4] == pytest.approx([full * k / 4 for k in (1, 2, 3, 4)], abs=0.1 * full)
    assert changes[4] == full


def test_a_voice_that_ends_fades_out_and_then_the_picture_passes() -> None:
    stage = stage_of(FakeGenerator(), PLAIN)
    stage.process(synced(0, one(0)))
    items = [synced(n, one(n), None) for n in range(1, 6)]
    changes = [change(item, stage.process(item)) for item in items]
    assert all(a > b for a, b in pairwise(changes[:4]))
    assert changes[3:] == [0.0, 0.0]
    assert stage.passed["no_voice"] == 2


def test_doubt_needs_more_than_a_wobble_to_let_a_face_go() -> None:
    stage = stage_of(FakeGenerator(), PLAIN)
    stage.process(synced(0, one(0)))
    wobbling = [synced(n, one(n, confidence=0.5)) for n in range(1, 5)]
    kept = [change(item, stage.process(item)) for item in wobbling]
    assert kept == [kept[0]] * 4
    lost = [synced(n, one(n, confidence=0.1)) for n in range(5, 10)]
    assert [change(item, stage.process(item)) for item in lost][-1] == 0.0
    assert stage.passed["low_confidence"] == 2
    doubtful = synced(10, one(10, confidence=0.5))
    assert change(doubtful, stage.process(doubtful)) == 0.0


def test_a_face_that_is_missed_for_one_picture_comes_back_without_a_jump() -> None:
    stage = stage_of(FakeGenerator(), PLAIN)
    stage.process(synced(0, one(0)))
    missed = synced(1, [])
    assert change(missed, stage.process(missed)) == 0.0
    back = synced(2, one(2))
    full = synced(8, one(8))
    assert change(back, stage.process(back)) == pytest.approx(change(full, stage.process(full)), rel=0.02)


def test_after_a_gap_the_stage_starts_anew() -> None:
    stage = stage_of(FakeGenerator(), PLAIN)
    stage.process(synced(0, []))
    later = synced(100, one(100))
    next_one = synced(101, one(101))
    assert change(later, stage.process(later)) == pytest.approx(change(next_one, stage.process(next_one)))


def two(number: int) -> list[FaceCrop]:
    pts_ns = number * FRAME_NS
    small = face(pts_ns, centre=(30.0, 60.0), side=40.0, face_id=1)
    return [small, face(pts_ns, centre=(110.0, 60.0), side=70.0, face_id=2)]


def test_two_faces_are_one_batch_and_both_speak() -> None:
    engine = FakeGenerator()
    out = stage_of(engine, PLAIN).process(synced(0, two(0)))
    touched = out.planes[0] != noise()[0]
    assert engine.batches == [2]
    assert touched[:, :60].any()
    assert touched[:, 70:].any()


def test_only_the_largest_face_speaks_when_asked_so() -> None:
    engine = FakeGenerator()
    out = stage_of(engine, RenderOptions(badge="", faces="largest")).process(synced(0, two(0)))
    touched = out.planes[0] != noise()[0]
    assert engine.batches == [1]
    assert not touched[:, :60].any()
    assert touched[:, 70:].any()


def test_an_engine_that_fails_leaves_the_picture_whole() -> None:
    item = synced(0, one(0))
    with pytest.raises(EngineError):
        stage_of(FakeGenerator(fails=True)).process(item)
    assert all(np.array_equal(now, was) for now, was in zip(item.frame.planes, noise(), strict=True))


@pytest.mark.parametrize(("identity", "first_again"), [("same_frame", False), ("reference", True)])
def test_the_identity_picture_follows_the_policy(identity: str, first_again: bool) -> None:
    engine = FakeGenerator()
    seen: list[NDArray[np.float32]] = []
    infer = engine.infer
    engine.infer = lambda feed: seen.append(feed["face"][0, :3]) or infer(feed)  # type: ignore[method-assign,func-returns-value]
    stage = RenderStage(CpuPainter(engine, identity=identity), PLAIN)
    for number in (0, 1):
        planes = noise(seed=number)
        stage.process(SyncedFrame(VideoFrame(number * FRAME_NS, 0, "yuv420p", planes), tuple(one(number)), LOUD))
    assert np.array_equal(seen[0], seen[1]) == first_again


def test_under_another_look_faces_are_taken_anew_and_speak_on() -> None:
    stage = RenderStage(CpuPainter(FakeGenerator(), identity="reference"), PLAIN)
    banks = []
    for number, look in enumerate([None, None, ("mask", "portrait"), ("mask", "portrait"), None]):
        shots = stage.begin(replace(synced(number, one(number)), look=look))
        assert [shot.alpha for shot in shots] == [1.0]
        banks.append(shots[0].bank)
    changed = [now is not before for before, now in pairwise(banks)]
    assert changed == [False, True, False, True]


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="doubted <= trusted"):
        RenderOptions(trusted=0.3, doubted=0.5)
