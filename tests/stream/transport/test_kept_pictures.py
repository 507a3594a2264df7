"""Pictures that stay on the card between its decoder and its encoder; the card's memory is a stand-in's."""

import asyncio
import gc
from dataclasses import replace
from fractions import Fraction

import aioice
import av
import numpy as np
import pytest

from kernels.cuda.device import Device
from kernels.yuv import Planes, Region
from stream.badge import Badge
from stream.card_picture import CardRoom
from stream.frames import NS_PER_S, VideoFrame
from stream.media.codec_device import SharedCard
from stream.transport.peer import Peer, PeerConfig
from stream.transport.video_codec import Codec, VideoDecoder, VideoEncoder
from tests.kernels.cuda.fake_card import FakeCard, FakeError
from tests.stream.card_stand_in import BROKEN, Card
from tests.stream.transport.calls import Caller
from tests.stream.transport.test_card_codecs import data_of, picture, stream

pytestmark = pytest.mark.unit

STEP_NS = NS_PER_S // 30
HEIGHT, WIDTH = 120, 160
PICTURE_BYTES = HEIGHT * WIDTH * 3 // 2


class Kept:
    """A card with a decoder whose pictures stay there."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, codec: Codec = "H264", most: int = 1 << 26, **options: object
    ) -> None:
        self.memory = FakeCard()
        self.device: Device = self.memory.open(monkeypatch)
        self.card = Card(memory=self.memory, **options)  # type: ignore[arg-type]
        self.codecs = self.card.shared(self.device, most)
        self.decoder = VideoDecoder(codec, self.codecs, keeps=lambda: True)
        self.encoder = VideoEncoder("H264", codecs=self.codecs)

    @property
    def room(self) -> CardRoom:
        assert self.codecs.shared is not None
        return self.codecs.shared.room


def same(one: Planes, other: Planes) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_a_kept_picture_comes_down_when_asked_for_and_is_what_would_have_been_copied(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, plain = Kept(monkeypatch, codec), VideoDecoder(codec)
    for number, data in enumerate(stream(codec, 3)):
        (found,), (expected,) = kept.decoder.decode(data, number), plain.decode(data, number)
        assert kept.card.downloads == number * PICTURE_BYTES
        assert (found.height, found.width, found.pts_ns, found.colour) == (HEIGHT, WIDTH, number, expected.colour)
        assert found.on_card is not None
        assert same(found.planes, expected.planes)
        assert same(found.planes, expected.planes)
        assert kept.card.downloads == (number + 1) * PICTURE_BYTES
    assert kept.decoder.fallbacks == 0


def test_a_picture_that_nobody_changes_crosses_no_bus_and_is_encoded_as_its_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, decoder, encoder = Kept(monkeypatch), VideoDecoder("H264"), VideoEncoder("H264", codecs=Card().codecs())
    for number, data in enumerate(stream("H264", 5)):
        (kept_frame,), (frame,) = kept.decoder.decode(data, number * STEP_NS), decoder.decode(data, number * STEP_NS)
        ours = kept.encoder.encode(kept_frame, number * STEP_NS, keyframe=number == 3)
        assert data_of("H264", ours) == data_of("H264", encoder.encode(frame, number * STEP_NS, keyframe=number == 3))
        assert ours.keyframe == (number in (0, 3))
    assert (kept.card.downloads, kept.memory.up, kept.memory.down) == (0, 0, 0)
    assert (kept.encoder.from_card, kept.encoder.fallbacks, kept.encoder.restarts) == (5, 0, 0)


def test_pictures_from_the_card_and_from_memory_go_through_one_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, back = Kept(monkeypatch), VideoDecoder("H264")
    for number, data in enumerate(stream("H264", 6)):
        (frame,) = kept.decoder.decode(data, number * STEP_NS)
        sent = frame if number % 2 else frame.in_memory()
        encoded = kept.encoder.encode(sent, number * STEP_NS)
        (seen,) = back.decode(data_of("H264", encoded), number * STEP_NS)
        assert float(np.abs(seen.planes[0].astype(int) - picture(number).planes[0]).mean()) < 8
        assert encoded.keyframe == (number == 0)
    assert (kept.encoder.from_card, kept.encoder.restarts) == (3, 0)


def test_the_memory_of_a_picture_is_its_decoders_again_when_nobody_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    for number, data in enumerate(stream("H264", 4)):
        (frame,) = kept.decoder.decode(data, number * STEP_NS)
        kept.encoder.encode(frame, number * STEP_NS)
        assert kept.room.taken == (WIDTH + 13) * HEIGHT * 3 // 2
        del frame
    gc.collect()
    assert (kept.room.taken, kept.memory.used, len(kept.card.released)) == (0, 0, 4)
    assert kept.card.untouched()


def test_beyond_the_room_for_them_pictures_are_copied_and_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch, most=2 * (WIDTH + 13) * HEIGHT * 3 // 2)
    data = stream("H264", 5)
    held = [kept.decoder.decode(each, number)[0] for number, each in enumerate(data[:4])]
    assert [frame.on_card is not None for frame in held] == [True, True, False, False]
    assert all(frame.planes[0].flags.writeable for frame in held[2:])
    held.clear()
    (frame,) = kept.decoder.decode(data[4], 4)
    assert frame.on_card is not None


@pytest.mark.parametrize(("height", "width"), [(121, 160), (120, 161)])
def test_a_picture_with_an_odd_side_is_copied(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch, "VP8")
    row, column = np.mgrid[0:height, 0:width]
    half = (height + 1) // 2, (width + 1) // 2
    planes: Planes = ((40 + (row + column) % 160).astype(np.uint8), *(np.full(half, 120, np.uint8) for _ in "UV"))
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    source = av.VideoFrame(width, height, "yuv420p")
    for plane, samples in zip(source.planes, planes, strict=True):
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: samples.shape[0], : samples.shape[1]] = samples
    (packet,) = [*encoder.encode(source), *encoder.encode(None)]
    (frame,) = kept.decoder.decode(bytes(packet), 0)
    assert frame.on_card is None
    assert (frame.height, frame.width) == (height, width)


def test_where_nothing_is_to_stay_there_pictures_are_copied_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    decoder = VideoDecoder("H264", kept.codecs, keeps=lambda: False)
    (frame,) = decoder.decode(stream("H264", 1)[0], 0)
    assert frame.on_card is None
    assert frame.planes[0].flags.writeable


# -- changes ----------------------------------------------------------------------------------------------------------


def first(kept: Kept) -> VideoFrame:
    (frame,) = kept.decoder.decode(stream("H264", 1)[0], 0)
    return frame


def test_nobody_writes_into_planes_that_the_encoder_would_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = first(Kept(monkeypatch))
    with pytest.raises(ValueError, match="read-only"):
        frame.planes[0][:] = 0
    frame.in_memory().planes[0][:] = 0


def test_only_the_marks_rectangle_goes_up_and_it_is_the_processors_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    frame, expected = first(kept), first(Kept(monkeypatch)).in_memory()
    region = Badge().draw(frame)
    assert Badge().draw(expected) == region
    assert kept.memory.up == region.height * region.width * 3 // 2
    assert same(frame.planes, expected.planes)
    assert same(frame.in_memory().planes, expected.planes)


def test_a_mark_over_what_was_drawn_on_the_card_is_drawn_over_that(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    frame, expected = first(kept), first(Kept(monkeypatch)).in_memory()
    mark = Badge().draw(first(kept))
    kept.card.downloads = 0
    for each in (frame, expected):
        part = each.part(mark)
        for plane in part:
            plane[:] = 77
        each.put(mark, part)
        Badge().draw(each)
    assert same(frame.planes, expected.planes)
    # Once as it was decoded, once for the mark, once for this comparison.
    assert kept.card.downloads == 3 * PICTURE_BYTES


def test_a_mark_that_does_not_reach_the_card_leaves_the_picture_as_it_was_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Kept(monkeypatch)
    frame = first(kept)
    expected = tuple(plane.copy() for plane in frame.planes)
    frame.picture.changed(Region(0, 0, 2, 2))  # type: ignore[union-attr]
    kept.memory.sticky = FakeError("cuStreamSynchronize failed: illegal address")
    with pytest.raises(Exception, match="illegal address"):
        Badge().draw(frame)
    assert frame.on_card is None
    assert same(frame.planes, expected)


# -- what fails in a call ---------------------------------------------------------------------------------------------


def test_an_encoder_that_fails_takes_the_same_picture_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its opening is the first call, before any picture.
    kept, back = Kept(monkeypatch, fails_at={"w": 4}), VideoDecoder("H264")
    for number, data in enumerate(stream("H264", 6)):
        (frame,) = kept.decoder.decode(data, number * STEP_NS)
        encoded = kept.encoder.encode(frame, number * STEP_NS)
        (seen,) = back.decode(data_of("H264", encoded), number * STEP_NS)
        assert float(np.abs(seen.planes[0].astype(int) - picture(number).planes[0]).mean()) < 8
        assert encoded.keyframe == (number in (0, 2))
    assert (kept.encoder.side, kept.encoder.fallbacks, kept.encoder.from_card) == ("cpu", 1, 3)
    assert not kept.encoder.takes_from_card


def test_codecs_of_an_engine_that_was_opened_anew_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    data = stream("H264", 3, keyframes=(2,))
    (frame,) = kept.decoder.decode(data[0], 0)
    kept.encoder.encode(frame, 0)
    devices = [FakeCard().open(monkeypatch)]
    shared = kept.codecs.shared
    assert shared is not None
    object.__setattr__(shared, "device", lambda: devices[0])
    with pytest.raises(ValueError, match="waits for a keyframe"):
        kept.decoder.decode(data[1], STEP_NS)
    assert kept.encoder.encode(frame, STEP_NS).keyframe
    assert len(kept.decoder.decode(data[2], 2 * STEP_NS)) == 1
    assert (kept.decoder.fallbacks, kept.encoder.fallbacks) == (1, 1)


def test_a_picture_that_is_lost_with_its_card_is_left_out_and_the_call_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Kept(monkeypatch, fails_at={"w": 2})
    frame = first(kept)

    def gone(**_: str) -> object:
        raise BROKEN

    monkeypatch.setattr(frame.on_card.source, "reformat", gone)  # type: ignore[union-attr]
    assert kept.encoder.encode(frame, 0).payloads == []
    assert kept.encoder.encode(picture(1), STEP_NS).keyframe
    assert kept.encoder.fallbacks == 1


def test_another_decoders_memory_is_another_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    data = stream("H264", 2)
    other = VideoDecoder("H264", kept.codecs, keeps=lambda: True)
    for number, decoder in enumerate((kept.decoder, kept.decoder, other)):
        (frame,) = decoder.decode(data[number % 2], number * STEP_NS)
        assert kept.encoder.encode(frame, number * STEP_NS).keyframe == (number != 1)
    assert kept.encoder.restarts == 1


def test_a_device_that_was_closed_opens_no_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    kept.device.close()
    real = SharedCard(lambda: kept.device, kept.room)
    assert kept.codecs.shared is not None
    object.__setattr__(kept.codecs, "shared", real)
    assert len(kept.decoder.decode(stream("H264", 1)[0], 0)) == 1
    assert (kept.decoder.side, kept.decoder.fallbacks) == ("cpu", 1)


# -- the decision -----------------------------------------------------------------------------------------------------


def test_pictures_stay_where_both_codecs_and_the_generator_are_on_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card, device = Card(), FakeCard().open(monkeypatch)
    both = card.codecs()
    assert both.sharing(lambda: device, 64).shared is not None
    assert "and may stay there between" in str(both.sharing(lambda: device, 64))


@pytest.mark.parametrize("missing", ["decoder", "encoder", "generator", "other card", "room"])
def test_without_one_of_them_they_cross_the_bus_as_ever(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codecs, device = Card().codecs(), FakeCard().open(monkeypatch)
    changed = {"decoder": {"decode": "cpu"}, "encoder": {"encode": "cpu"}, "other card": {"card": 1}}
    codecs = replace(codecs, **changed.get(missing, {}))  # type: ignore[arg-type]
    drawing = None if missing == "generator" else device
    assert codecs.sharing(lambda: drawing, 0 if missing == "room" else 64) is codecs


# -- a whole call -----------------------------------------------------------------------------------------------------


def test_a_calls_pictures_stay_on_the_card_once_its_encoder_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    kept = Kept(monkeypatch)

    async def scenario() -> Peer:
        peer = Peer(PeerConfig(include_loopback=True), codecs=kept.codecs)
        caller = Caller(peer, "video")
        try:
            await caller.call()
            await caller.until(lambda: peer.stats().from_card >= 10)
        finally:
            await caller.hang_up()
        return peer

    stats = asyncio.run(scenario()).stats()
    assert (stats.decoder, stats.encoder, stats.codec_fallbacks) == ("h264 (NVDEC)", "h264_nvenc", 0)
    # The first ones are copied, as it is not known yet who will encode them.
    assert 10 <= stats.from_card < stats.sent + stats.replaced + 2
    assert (kept.memory.up, kept.memory.down) == (0, 0)
