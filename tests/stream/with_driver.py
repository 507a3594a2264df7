"""What FFmpeg and PyAV do with a card's codecs, on the stand-in of a driver; run in a process of its own.

Prints what was found as JSON, for `test_driver_stand_in.py`.
"""

import contextlib
import ctypes
import json
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import Device
from kernels.yuv import Region
from stream.card_picture import CardRoom
from stream.frames import NS_PER_MS, VideoFrame
from stream.media.codec_device import Codecs, SharedCard, open_codec, open_shared
from stream.transport.video_codec import Codec, VideoDecoder, VideoEncoder, keep_frame
from tests.stream.transport.test_card_codecs import data_of, picture

PRIMARY = 0x1000
HEIGHT, WIDTH = 120, 160
# H.264 codes whole macroblocks; VP8's are not told to the driver.
CODED_HEIGHT = {"H264": 128, "VP8": 120}

driver = ctypes.CDLL("libcuda.so.1")
driver.stand_in_context_of.restype = ctypes.c_size_t
driver.stand_in_context_of.argtypes = [ctypes.c_uint64, ctypes.c_size_t]


class PrimaryDevice:
    """The part of a `Device` that codecs ask for."""

    index = 0

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        driver.cuCtxPushCurrent_v2(ctypes.c_size_t(PRIMARY))
        yield
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_size_t()))


DEVICE: Any = PrimaryDevice()


def units(codec: Codec, count: int) -> list[bytes]:
    encoder = VideoEncoder(codec)
    return [data_of(codec, encoder.encode(picture(n, HEIGHT, WIDTH), n)) for n in range(count)]


def ramp(number: int, step: int = 1, first: int = 0, above: int = 0) -> NDArray[np.uint8]:
    """What the driver decodes picture `number` to; a plane of pairs lies below the coded rows of luma."""
    rows = above + np.arange(HEIGHT // step)[:, None]
    columns = first + step * np.arange(WIDTH // step)
    return (16 + number + rows + 2 * columns).astype(np.uint8)


def is_ramp(frame: VideoFrame, number: int, above: int) -> bool:
    expected = ramp(number), ramp(number, 2, 0, above), ramp(number, 2, 1, above)
    return all(np.array_equal(a, b) for a, b in zip(frame.planes, expected, strict=True))


def context_of(frame: VideoFrame) -> int:
    assert frame.on_card is not None
    luma, blue, _ = frame.on_card.at
    size = blue.address + blue.stride * blue.height - luma.address
    return int(driver.stand_in_context_of(luma.address, size))


def write(frame: VideoFrame, value: int) -> None:
    """As a kernel does."""
    assert frame.on_card is not None
    luma = frame.on_card.at[0]
    ctypes.memset(luma.address + 10 * luma.stride + 20, value, 30)
    frame.on_card.changed(Region(10, 20, 12, 50))


def kept(codec: Codec) -> dict[str, object]:
    """Three pictures that stay on the card, the first of which is drawn in while the others are decoded."""
    room = CardRoom(1 << 30)
    shared = SharedCard(lambda: DEVICE, room)
    decoder = VideoDecoder(codec, Codecs(decode="nvidia", encode="nvidia", shared=shared), keeps=lambda: True)
    one, two, three = units(codec, 3)
    begun, above = driver.stand_in_decoded(), CODED_HEIGHT[codec]
    (first,) = decoder.decode(one, 0)
    assert first.on_card is not None
    luma, blue, red = first.on_card.at
    found = {
        "side": decoder.side,
        "format": [first.on_card.source.format.name, first.on_card.source.sw_format.name],
        "size": [first.height, first.width],
        "context": context_of(first),
        "mapped": driver.stand_in_mapped(),
        "rows between planes": (blue.address - luma.address) // luma.stride,
        "pairs": [red.address - blue.address, blue.step, red.step],
        "first": is_ramp(first, begun, above),
    }
    write(first, 7)
    (second,) = decoder.decode(two, 1)
    assert second.on_card is not None
    found |= {
        "second": is_ramp(second, begun + 1, above),
        "apart": second.on_card.at[0].address != luma.address,
        "drawn": bool((first.planes[0][10, 20:50] == 7).all()),
        "beside": np.array_equal(first.planes[0][11:], ramp(begun)[11:]),
    }
    rooms, address = driver.stand_in_rooms(), luma.address
    del first
    (third,) = decoder.decode(three, 2)
    assert third.on_card is not None
    found |= {
        "third": is_ramp(third, begun + 2, above),
        "room used again": third.on_card.at[0].address == address and driver.stand_in_rooms() == rooms,
    }
    del second, third
    driver_frames = decoder._context
    del decoder, driver_frames
    return found | {"taken at the end": room.taken}


def without_sharing() -> dict[str, object]:
    """The codec of a card whose primary context somebody else has begun."""
    context = open_codec("h264", "r", 0)
    (frame,) = context.decode(av.Packet(units("H264", 1)[0]))
    return {"format": frame.format.name}


def encoded() -> dict[str, object]:
    """What NVENC is given: a picture that stayed on the card, one from memory, and one that was drawn in."""
    codecs = Codecs(
        decode="nvidia", encode="nvidia", shared=SharedCard(lambda: DEVICE, CardRoom(1 << 30)), open=open_codec
    )
    decoder, encoder = VideoDecoder("H264", codecs, keeps=lambda: True), VideoEncoder("H264", codecs=codecs)
    frames = [decoder.decode(data, number * NS_PER_MS)[0] for number, data in enumerate(units("H264", 4))]
    frames[1] = frames[1].in_memory()
    luma = ctypes.c_ubyte.from_address(frames[2].on_card.at[0].address)  # type: ignore[union-attr]
    luma.value = 99
    said = [
        encoder.encode(frame, number, keyframe=number == 3).payloads[0][1:].decode()
        for number, frame in enumerate(frames)
    ]
    return {
        "said": said,
        "from_card": encoder.from_card,
        "fallbacks": encoder.fallbacks,
        "restarts": encoder.restarts,
        "registered": driver.stand_in_registered(),
    }


def mapped_where_no_copy_is_made() -> int:
    """Surfaces of NVDEC's that are in use while a picture is held, where FFmpeg was told not to copy."""
    decoder = open_shared("h264", "r", DEVICE)
    decoder.options = {"hwaccel_flags": "unsafe_output"}
    frames = decoder.decode(av.Packet(units("H264", 1)[0]))
    mapped = int(driver.stand_in_mapped())
    frames.clear()
    return mapped


def opened_by_a_picture() -> str:
    """What becomes of an encoder that is not opened before its first picture."""
    (frame,) = open_shared("h264", "r", DEVICE).decode(av.Packet(units("H264", 1)[0]))
    encoder = open_shared("h264_nvenc", "w", DEVICE)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "nv12"
    try:
        encoder.encode(frame)
    except av.FFmpegError as error:
        return type(error).__name__
    return "opened"


def main() -> None:
    typed: Device = DEVICE
    assert keep_frame(av.VideoFrame(16, 16, "nv12"), typed, CardRoom(1 << 30), None) is None
    found = {
        "H264": kept("H264"),
        "VP8": kept("VP8"),
        "not shared": without_sharing(),
        "encoded": encoded(),
        "mapped where no copy is made": mapped_where_no_copy_is_made(),
        "opened by a picture": opened_by_a_picture(),
        "rooms": driver.stand_in_rooms(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
