"""Lips drawn in pictures on the card are, bit for bit, those of the way up and down; the card is a stand-in."""

import ctypes
import gc
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import pytest

from kernels.cuda.device import Device
from models.engine import DeviceMemoryError, EngineError
from stream.card_picture import CardRoom
from stream.frames import FaceCrop, SyncedFrame, VideoFrame
from stream.painter import CpuPainter, Shot
from stream.render import RenderOptions, RenderStage
from stream.transport.video_codec import keep_frame
from tests.kernels.cuda.fake_card import FakeCard
from tests.stream import card_stand_in
from tests.stream.test_card_painter import Card, difference, frame_of, mel_of, one, shot_of

pytestmark = pytest.mark.unit

ROOM = 1 << 26


class Surfaces:
    """Puts pictures where a decoder would have left them."""

    def __init__(self, card: Card) -> None:
        self.codecs = card_stand_in.Card(memory=card.fake)
        self.room = CardRoom(ROOM)
        self._memory, self._device = card.fake, card.engine.device

    def holding(self, frame: VideoFrame, device: Device | None = None) -> VideoFrame:
        """The same picture on the card."""
        picture: Any = av.VideoFrame(frame.width, frame.height, "yuv420p")
        for plane, samples in zip(picture.planes, frame.planes, strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            rows[: samples.shape[0], : samples.shape[1]] = samples
        picture.pts = frame.pts_ns
        surface = card_stand_in.SurfaceFrame(self.codecs, self._memory, picture.reformat(format="nv12"))
        kept = keep_frame(surface, device or self._device, self.room, None)
        assert kept is not None
        assert difference(kept, frame) == 0
        return kept


def record(card: Card) -> None:
    """Have the launches for one face recorded; a whole warm-up takes the stand-in seconds."""
    assert card.painter.paint([shot_of(card, frame_of(), one(card))]) == [None]


Faces = Callable[[Card], list[FaceCrop]]

FACES: dict[str, Faces] = {
    "two that overlap": lambda card: [one(card), one(card, centre=(135.0, 80.0), face_id=1)],
    "one partly outside": lambda card: [one(card, centre=(190.0, 140.0))],
    "one that is averaged": lambda card: [one(card, side=400.0)],
}


@pytest.mark.parametrize("faces", FACES.values(), ids=FACES.keys())
def test_what_is_drawn_in_a_picture_on_the_card_is_what_its_boxes_would_have_brought(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(monkeypatch)
    copied, kept = frame_of(), Surfaces(card).holding(frame_of())
    for frame in (copied, kept):
        assert set(card.painter.paint([shot_of(card, frame, crop) for crop in faces(card)])) == {None}
    assert difference(copied, frame_of()) > 10
    assert difference(kept, copied) == 0


def test_a_fade_is_the_same_too(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    copied, kept = frame_of(), Surfaces(card).holding(frame_of())
    for frame in (copied, kept):
        card.painter.paint([shot_of(card, frame, one(card), alpha=0.25)])
    assert difference(kept, copied) == 0


def test_sessions_on_the_card_and_in_memory_go_in_one_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    surfaces = Surfaces(card)
    crops = [[one(card)], FACES["two that overlap"](card), [one(card, side=70.0)]]

    def paint(frames: Sequence[VideoFrame]) -> None:
        shots = [shot_of(card, frame, crop, seed=i) for i, frame in enumerate(frames) for crop in crops[i]]
        assert card.painter.paint(shots) == [None] * 4
        assert card.network.batches[-1] == 4

    copied = [frame_of(seed=i) for i in range(3)]
    paint(copied)
    mixed = [frame_of(seed=i) if i == 0 else surfaces.holding(frame_of(seed=i)) for i in range(3)]
    paint(mixed)
    assert [difference(a, b) for a, b in zip(mixed, copied, strict=True)] == [0, 0, 0]


def test_no_pixel_crosses_the_bus_for_lips(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    record(card)
    surfaces = Surfaces(card)
    frame = surfaces.holding(frame_of())
    surfaces.codecs.downloads = card.fake.up = card.fake.down = 0
    assert card.painter.paint([shot_of(card, frame, one(card))]) == [None]
    tables, mel = card.painter._tick._layout.bytes, card.painter._tick._mel[:1].nbytes
    assert (card.fake.up, card.fake.down, surfaces.codecs.downloads) == (tables + mel, 0, 0)
    assert frame.planes is not None
    assert surfaces.codecs.downloads == 150 * 200 * 3 // 2


def test_of_a_made_picture_the_mark_alone_goes_up_beside_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    record(card)
    surfaces = Surfaces(card)

    def made(frame: VideoFrame) -> VideoFrame:
        stage = RenderStage(card.painter, RenderOptions(fade_ms=1.0))
        return stage.process(SyncedFrame(frame, (one(card, centre=(80.0, 50.0), side=60.0),), mel_of(card)))

    kept, copied = surfaces.holding(frame_of()), frame_of()
    card.fake.up = card.fake.down = 0
    made(kept)
    tables, mel = card.painter._tick._layout.bytes, card.painter._tick._mel[:1].nbytes
    mark = card.fake.up - tables - mel
    assert 0 < mark < 2000
    # It came down once, before anything was drawn in it.
    assert (surfaces.codecs.downloads, card.fake.down) == (150 * 200 * 3 // 2, 0)
    assert difference(kept, made(copied)) == 0


def test_a_mouth_under_the_mark_is_marked_as_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    surfaces = Surfaces(card)
    kept, copied = surfaces.holding(frame_of()), frame_of()
    for frame in (kept, copied):
        stage = RenderStage(card.painter, RenderOptions(fade_ms=1.0))
        stage.process(SyncedFrame(frame, (one(card, centre=(160.0, 120.0)),), mel_of(card)))
    assert difference(kept, copied) == 0


def test_a_card_that_fails_leaves_the_picture_as_it_was_decoded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    record(card)
    surfaces = Surfaces(card)
    frame = surfaces.holding(frame_of())
    # Something of it has been drawn before the failure is seen.
    luma = frame.on_card.at[0]  # type: ignore[union-attr]

    def fail() -> None:
        ctypes.memset(luma.address + 75 * luma.stride, 0, 100)
        raise EngineError("an illegal memory access was encountered")

    monkeypatch.setattr(card.engine.device, "synchronise", fail)
    (verdict,) = card.painter.paint([shot_of(card, frame, one(card))])
    assert isinstance(verdict, EngineError)
    assert frame.on_card is None
    assert difference(frame, frame_of()) == 0
    assert surfaces.room.taken == 0


def test_a_card_without_room_for_a_face_leaves_the_picture_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    frame = Surfaces(card).holding(frame_of())
    slots = card.painter._slots
    slots._most = slots.bytes
    held = [slots.take() for _ in range(len(slots._free))]
    (verdict,) = card.painter.paint([shot_of(card, frame, one(card))])
    assert isinstance(verdict, DeviceMemoryError)
    assert frame.on_card is not None
    assert difference(frame, frame_of()) == 0
    held.clear()
    assert card.painter.paint([shot_of(card, frame, one(card))]) == [None]


def test_a_picture_in_another_context_is_not_drawn_in(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    frame = Surfaces(card).holding(frame_of(), FakeCard().open(monkeypatch))
    (verdict,) = card.painter.paint([shot_of(card, frame, one(card))])
    assert isinstance(verdict, EngineError)
    assert difference(frame, frame_of()) == 0


def test_a_picture_is_not_touched_after_it_was_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    surfaces = Surfaces(card)
    frames = [surfaces.holding(frame_of(seed=seed)) for seed in range(2)]
    assert card.painter.paint([shot_of(card, each, one(card)) for each in frames]) == [None] * 2
    frames.clear()
    # Another in the same rows.
    assert card.painter.paint([shot_of(card, frame_of(), one(card))]) == [None]
    gc.collect()
    assert (len(surfaces.codecs.released), surfaces.room.taken) == (2, 0)
    assert surfaces.codecs.untouched()


def test_the_processors_painter_refuses_planes_that_no_encoder_would_see(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    frame = Surfaces(card).holding(frame_of())
    painter = CpuPainter(card.engine)
    (verdict,) = painter.paint([Shot(frame, one(card), mel_of(card), 1.0, None)])
    assert isinstance(verdict, ValueError)
    assert "read-only" in str(verdict)
    assert difference(frame, frame_of()) == 0
